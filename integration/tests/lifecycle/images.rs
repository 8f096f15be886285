//! Images that come from registries and other programs.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use integration::shim::engine::{Engine, Release, image};
use integration::shim::pod::until;

use super::{Check, curl, engine, hold};

/// Starts a registry on port 5000, with more lines for its configuration.
pub(super) fn registry(engine: &mut Engine, more: &str) {
    let dir = engine.directory.display();
    let config = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {dir}/registry\n  delete:\n    enabled: true\nhttp:\n  addr: :5000\n{more}"
    );
    let file = engine.directory.join("registry.yml");
    std::fs::write(&file, config).unwrap();
    engine.daemon("docker-registry", &["docker-registry", "serve", &file.to_string_lossy()]);
}

/// Puts indexes into the registry: one of an image for another machine and of ours, one of the other alone, and
/// one that does not say for which machines its images are.
const INDEX: &str = r#"python3 - <<'END'
import hashlib, json, urllib.request
base = "http://127.0.0.1:5000/v2/oci/app"
def call(method, url, data=None, kind="application/octet-stream"):
    request = urllib.request.Request(url, data, {"Content-Type": kind, "Accept": kind}, method=method)
    return urllib.request.urlopen(request)
def digest(data): return "sha256:" + hashlib.sha256(data).hexdigest()
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
config = json.dumps({"architecture": "riscv64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}).encode()
where = call("POST", base + "/blobs/uploads/", b"").headers["Location"]
call("PUT", where + ("&" if "?" in where else "?") + "digest=" + digest(config), config)
ours = call("GET", base + "/manifests/2", kind=MANIFEST).read()
foreign = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "layers": [], "config": {
    "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(config), "size": len(config)}}).encode()
call("PUT", base + "/manifests/" + digest(foreign), foreign, MANIFEST)
machine = json.loads(call("GET", base + "/blobs/" + json.loads(ours)["config"]["digest"]).read())["architecture"]
def entry(data, arch):
    return {"mediaType": MANIFEST, "digest": digest(data), "size": len(data), "platform": {"os": "linux", "architecture": arch}}
silent = {"mediaType": MANIFEST, "digest": digest(ours), "size": len(ours)}
for tag, entries in (("several", [entry(foreign, "riscv64"), entry(ours, machine)]), ("foreign", [entry(foreign, "riscv64")]), ("silent", [entry(foreign, "riscv64"), silent])):
    call("PUT", base + "/manifests/" + tag, json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode(), INDEX)
print("index")
END"#;

/// Pulls one layer under two names at once, and counts how often the registry was asked for it.
const AT_ONCE: &str = r#"head -c 8000000 /dev/urandom > large && tar -cf large.tar large && docker import large.tar 127.0.0.1:5000/large/one:1
docker tag 127.0.0.1:5000/large/one:1 127.0.0.1:5000/large/two:1
for name in one two; do docker push -q 127.0.0.1:5000/large/$name:1; done
docker rmi 127.0.0.1:5000/large/one:1 127.0.0.1:5000/large/two:1
docker pull -q 127.0.0.1:5000/large/one:1 & docker pull -q 127.0.0.1:5000/large/two:1; wait
layer=$(skopeo inspect --raw --tls-verify=false docker://127.0.0.1:5000/large/one:1 | jq -r '.layers[0].digest')
docker images --format '{{.Repository}}' | grep -c large/
echo asked $(grep -c "\"GET /v2/large/.*/blobs/$layer" docker-registry.log)"#;

/// An index of the first version of registries, which says what it was asked for, and wants to know who asks for what
/// is private.
const INDEX_OF_NAMES: &str = r#"cat >index.py <<'END'
import http.server, json, urllib.parse
class Index(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        url = urllib.parse.urlparse(self.path)
        asked = dict(urllib.parse.parse_qsl(url.query))
        known = self.headers.get("Authorization") == "Basic bWU6c2VjcmV0"
        status = 404 if url.path != "/v1/search" else 401 if asked["q"] == "private" and not known else 200
        rows = [{"name": asked["q"] + str(stars), "description": "of " + asked["n"], "star_count": stars,
                 "is_official": stars > 5, "is_automated": True} for stars in (9, 4)] if status == 200 else []
        text = "<html>" if asked.get("q") == "odd" else json.dumps({"num_results": len(rows), "results": rows})
        self.send_response(status)
        self.send_header("WWW-Authenticate", 'Basic realm="index"')
        self.end_headers()
        self.wfile.write(text.encode())
http.server.ThreadingHTTPServer(("127.0.0.1", 5002), Index).serve_forever()
END
python3 index.py >/dev/null 2>&1 &
until busybox wget -qO- '127.0.0.1:5002/v1/search?q=x&n=1'; do sleep 0.1; done"#;

#[test]
fn indexes_are_searched() {
    let Some(engine) = engine() else { return integration::skip::say("needs docker") };
    let search = "docker search --format '{{.Name}} {{.Description}} {{.StarCount}}{{.IsOfficial}}'";
    let of = |rest: &str| format!("{search} {rest}");
    let log_in = r#"echo '{"auths":{"127.0.0.1:5002":{"auth":"bWU6c2VjcmV0"}}}' >config.json; "#;
    let checks: &[(String, i32, &[&str])] = &[
        (INDEX_OF_NAMES.into(), 0, &[]),
        (of("127.0.0.1:5002/a/thing"), 0, &["a/thing9 of 25 9[OK]\na/thing4 of 25 4\n"]),
        (of("--limit 7 127.0.0.1:5002/thing"), 0, &["thing9 of 7"]),
        (of("-f stars=5 127.0.0.1:5002/thing | xargs"), 0, &["thing9 of 25 9[OK]\n"]),
        (of("-f is-official=false -f stars=4 127.0.0.1:5002/thing | xargs"), 0, &["thing4 of 25 4\n"]),
        (of("-f is-automated=true 127.0.0.1:5002/thing | wc -l"), 0, &["0\n"]),
        (of("127.0.0.1:5002/odd"), 1, &["127.0.0.1:5002: it cannot be searched"]),
        (of("127.0.0.1:5003/thing"), 1, &["127.0.0.1:5003: Connection refused"]),
        (of("127.0.0.1:5002/private"), 1, &["authentication required"]),
        (format!("{log_in}{}", of("127.0.0.1:5002/private")), 0, &["private9"]),
    ];
    hold(&engine, checks);
}

/// `me` with the password `secret`, as htpasswd writes it.
const USERS: &str = "me:$2b$04$M0HXBa27b4AYEEfBVWhwzelXBzhR3rokU4SN6c57ZI0LIqWwVlbrC\n";

#[test]
fn registries_ask_who_it_is() {
    let Some(mut engine) = engine() else { return integration::skip::say("needs docker") };
    if Release::Distribution.find("docker-registry").is_none() {
        return integration::skip::say("needs docker-registry");
    }
    let users = engine.directory.join("users");
    std::fs::write(&users, USERS).unwrap();
    registry(&mut engine, &format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", users.display()));
    until("the registry answers", || {
        engine.run(&["sh", "-c", "busybox wget -qO- http://127.0.0.1:5000/v2/ 2>&1 | grep 401"]).status == 0
    });
    let body = r#"{"username":"me","password":"wrong","serveraddress":"127.0.0.1:5000"}"#;
    let mut socket = UnixStream::connect(engine.directory.join("docker.sock")).unwrap();
    write!(
        socket,
        "POST /v1.41/auth HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 401"), "{answer}");
    let checks: &[Check<'_>] = &[
        ("docker tag busybox 127.0.0.1:5000/mine:1; docker push 127.0.0.1:5000/mine:1", 1, &["unauthorized"]),
        (&curl("", "v1.51/distribution/127.0.0.1:5000/mine:1/json"), 0, &["unauthorized", " 401"]),
        ("echo wrong | docker login -u me --password-stdin 127.0.0.1:5000", 1, &["unauthorized"]),
        ("echo secret | docker login -u me --password-stdin 127.0.0.1:5000", 0, &["Login Succeeded"]),
        ("docker push -q 127.0.0.1:5000/mine:1 && docker rmi 127.0.0.1:5000/mine:1", 0, &["Untagged"]),
        // A build pulls its base with what the client knows of registries.
        (
            "printf 'FROM 127.0.0.1:5000/mine:1\nCMD echo mine' | docker build -t built - && docker run --rm --network none built",
            0,
            &["mine"],
        ),
        (
            "docker rmi 127.0.0.1:5000/mine:1; docker logout 127.0.0.1:5000; docker pull 127.0.0.1:5000/mine:1",
            1,
            &["unauthorized"],
        ),
    ];
    hold(&engine, checks);
}

#[test]
fn registries_without_tls_are_those_that_are_named() {
    if Release::Distribution.find("docker-registry").is_none() {
        return integration::skip::say("needs docker-registry");
    }
    let named = ["--insecure-registry", "192.0.2.0/25", "--insecure-registry", "http://R.test:5000"];
    let Some(mut engine) = super::engine_with(&named, |_| {}) else {
        return integration::skip::say("needs docker");
    };
    registry(&mut engine, "");
    let there = "for n in 1 129; do ip addr add 192.0.2.$n/32 dev lo; done
        echo 192.0.2.129 r.test s.test >hosts && mount --bind hosts /etc/hosts
        until busybox wget -qO- http://192.0.2.1:5000/v2/; do sleep 0.1; done";
    let of = |name| format!("docker tag busybox {name}:5000/a && docker push {name}:5000/a");
    let and_back = |name| format!("{} && docker rmi {name}:5000/a && docker pull {name}:5000/a", of(name));
    // Whom no authority knows.
    let own = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=r -keyout key -out cert && export REGISTRY_HTTP_ADDR=:5003
        export REGISTRY_HTTP_TLS_CERTIFICATE=$PWD/cert REGISTRY_HTTP_TLS_KEY=$PWD/key
        docker-registry serve registry.yml >/dev/null 2>&1 & until curl -sk https://192.0.2.1:5003/v2/; do sleep 0.1; done";
    let checks: &[(String, i32, &[&str])] = &[
        (there.into(), 0, &[]),
        (
            "docker info --format '{{json .RegistryConfig}}'".into(),
            0,
            &[r#"["127.0.0.0/8","::1/128","192.0.2.0/25"]"#, r#""r.test:5000":{"#, r#""Secure":false"#],
        ),
        (and_back("192.0.2.1"), 0, &["Pushed", "Downloaded newer image"]),
        (and_back("r.test"), 0, &["Layer already exists", "Downloaded newer image"]),
        // Only by addresses, and with the port.
        (of("192.0.2.129"), 1, &["192.0.2.129:5000: it does not use TLS, which cortend --insecure"]),
        (of("s.test"), 1, &["s.test:5000: it does not use TLS"]),
        ("docker pull r.test/a".into(), 1, &["r.test: Connection refused"]),
        (own.into(), 0, &[]),
        ("docker push 192.0.2.1:5000/a && docker tag busybox 192.0.2.1:5003/b && docker push 192.0.2.1:5003/b && docker pull 192.0.2.1:5003/a".into(), 0, &["Downloaded newer image"]),
        ("docker pull 192.0.2.129:5003/a".into(), 1, &["invalid peer certificate"]),
        ("cortend --insecure-registry 10.0.0.0/33".into(), 1, &["expected host[:port] or a network"]),
    ];
    hold(&engine, checks);
}

/// An authority that this machine does not know, a registry with a certificate of it that asks for one, and a client's.
const OWN_AUTHORITY: &str = r#"mkdir up work && mount -t overlay overlay -o lowerdir=/etc,upperdir=up,workdir=work /etc
echo 127.0.0.2 c.test >>/etc/hosts; pair='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
openssl req -x509 $pair -subj /CN=authority -keyout ca.key -out ca.crt
for name in c.test client; do
  openssl req $pair -subj /CN=$name -addext subjectAltName=DNS:$name -keyout $name.key -out $name.csr
  openssl x509 -req -in $name.csr -CA ca.crt -CAkey ca.key -CAcreateserial -copy_extensions copy -out $name.cert
done
export REGISTRY_HTTP_ADDR=:5003 REGISTRY_HTTP_TLS_CERTIFICATE=$PWD/c.test.cert REGISTRY_HTTP_TLS_KEY=$PWD/c.test.key
export REGISTRY_HTTP_TLS_CLIENTCAS="[$PWD/ca.crt]"
docker-registry serve registry.yml >registry.log 2>&1 &
until curl -s --cacert ca.crt --cert client.cert --key client.key https://c.test:5003/v2/; do sleep 0.1; done
docker tag busybox c.test:5003/a"#;

#[test]
fn registries_may_have_an_authority_and_clients_of_their_own() {
    if Release::Distribution.find("docker-registry").is_none() {
        return integration::skip::say("needs docker-registry");
    }
    let Some(mut engine) = engine() else { return integration::skip::say("needs docker") };
    registry(&mut engine, "");
    let folder = "/etc/docker/certs.d/c.test:5003";
    let checks: &[(String, i32, &[&str])] = &[
        (OWN_AUTHORITY.into(), 0, &[]),
        ("docker push c.test:5003/a".into(), 1, &["c.test:5003: invalid peer certificate"]),
        (
            format!("mkdir -p {folder} && cp ca.crt {folder} && docker push c.test:5003/a"),
            1,
            &["c.test:5003: received fatal alert"],
        ),
        (
            format!("cp client.cert {folder} && docker push c.test:5003/a"),
            1,
            &["read the key /etc/docker/certs.d/c.test:5003/client.key"],
        ),
        (
            format!(
                "cp client.key {folder} && docker push c.test:5003/a && docker rmi c.test:5003/a && docker pull c.test:5003/a"
            ),
            0,
            &["Downloaded newer image"],
        ),
        (
            format!("echo none >{folder}/ca.crt; docker pull c.test:5003/a"),
            1,
            &["ca.crt: no certificate is in it"],
        ),
    ];
    hold(&engine, checks);
}

#[test]
fn registries_elsewhere_are_asked_through_the_proxy() {
    let Some(engine) = engine() else { return integration::skip::say("needs docker") };
    // It hears what it is asked for, and hangs up.
    let start = "HTTPS_PROXY=http://127.0.0.1:5004 NO_PROXY=near.test cortend -H unix://$PWD/p.sock --root $PWD/p --exec-root $PWD/x >/dev/null 2>&1 & echo $! >pid
        sh -c 'while :; do busybox nc -l -p 5004 -w 1 >>asked </dev/null; done' >/dev/null 2>&1 & echo $! >>pid
        until docker -H unix://$PWD/p.sock version && grep -qs :138C /proc/net/tcp /proc/net/tcp6; do sleep 0.1; done";
    let pull = |name: &str| format!("docker -H unix://$PWD/p.sock pull {name}; cat asked");
    let checks: &[(String, i32, &[&str])] = &[
        (start.into(), 0, &[]),
        (pull("far.test/a"), 0, &["CONNECT far.test:443"]),
        (
            format!("echo >asked; {}; {} | grep -c CONNECT", pull("near.test/a"), pull("127.0.0.1:5005/a")),
            1,
            &["near.test: ", "0\n"],
        ),
        ("kill $(cat pid)".into(), 0, &[]),
    ];
    hold(&engine, checks);
}

#[test]
fn what_is_docker_hubs_may_come_from_a_mirror() {
    if Release::Distribution.find("docker-registry").is_none() {
        return integration::skip::say("needs docker-registry");
    }
    let mirrors =
        ["--registry-mirror", "http://127.0.0.1:5009", "--registry-mirror", "http://127.0.0.1:5000/"];
    let Some(mut engine) = super::engine_with(&mirrors, |_| {}) else {
        return integration::skip::say("needs docker");
    };
    registry(&mut engine, "");
    until("the registry answers", || {
        engine.run(&["sh", "-c", "busybox wget -qO- http://127.0.0.1:5000/v2/"]).status == 0
    });
    let checks: &[Check<'_>] = &[
        (
            "docker info --format '{{.RegistryConfig.Mirrors}}'",
            0,
            &["[http://127.0.0.1:5009/ http://127.0.0.1:5000/]"],
        ),
        (
            "docker tag busybox 127.0.0.1:5000/library/small && docker push -q 127.0.0.1:5000/library/small && docker rmi -f $(docker images -q)",
            0,
            &[],
        ),
        ("docker run --rm --network none small echo mirrored", 0, &["mirrored"]),
        ("docker images --format '{{.Repository}}'", 0, &["small\n"]),
        // And all tags of it.
        (
            "docker tag small 127.0.0.1:5000/library/small:two && docker push -q 127.0.0.1:5000/library/small:two && docker rmi -f $(docker images -q)",
            0,
            &[],
        ),
        (
            "docker pull -qa small && docker images --format '{{.Repository}}:{{.Tag}}' | sort | tr '\\n' ' '",
            0,
            &["small:latest small:two "],
        ),
        ("cortend --registry-mirror http://host/path", 1, &["expected https://host"]),
    ];
    hold(&engine, checks);
}

#[test]
fn images_go_to_registries_and_come_back() {
    let Some(mut engine) = engine() else { return integration::skip::say("needs docker") };
    if Release::Distribution.find("docker-registry").is_none() {
        return integration::skip::say("needs docker-registry");
    }
    let dir = engine.directory.display().to_string();
    registry(&mut engine, "");
    until("the registry answers", || {
        engine.run(&["sh", "-c", "busybox wget -qO- http://127.0.0.1:5000/v2/"]).status == 0
    });
    let archive = image("docker-archive").display().to_string();
    let copy = format!(
        "skopeo copy -q --dest-tls-verify=false --format oci docker-archive:{archive} docker://127.0.0.1:5000/oci/app:2"
    );
    let digest = "skopeo inspect --tls-verify=false -f '{{.Digest}}' docker://127.0.0.1:5000/oci/app:2";
    let by_digest = format!("docker pull 127.0.0.1:5000/oci/app@$({digest}) && docker images --digests");
    // A layer of the registry's that is not what its name says.
    let spoil = format!(
        "cd {dir}/registry/docker/registry/v2/blobs/sha256; for f in */*/data; do if [ $(stat -c %s $f) -gt 100000 ]; then printf x | dd of=$f bs=1 seek=5000 conv=notrunc 2>/dev/null; fi; done"
    );
    let zstd = format!(
        "skopeo copy -q --dest-tls-verify=false --format oci --dest-compress-format zstd docker-archive:{archive} docker://127.0.0.1:5000/oci/zstd:1"
    );
    let [of_several, of_one, of_none] = ["several", "2", "none"]
        .map(|tag| curl("", &format!("v1.51/distribution/127.0.0.1:5000/oci/app:{tag}/json")));
    let reload = format!("docker rmi -f $(docker images -q); docker load -qi {archive}");
    let checks: &[Check<'_>] = &[
        // Before the registry has the same layer in another compression, which skopeo would rather use.
        (&zstd, 0, &[]),
        ("skopeo inspect --raw --tls-verify=false docker://127.0.0.1:5000/oci/zstd:1", 0, &["tar+zstd"]),
        (
            "docker rmi -f busybox && docker pull -q 127.0.0.1:5000/oci/zstd:1 && docker run --rm --network none 127.0.0.1:5000/oci/zstd:1 echo small",
            0,
            &["small"],
        ),
        // It goes back as it came.
        (
            "docker tag 127.0.0.1:5000/oci/zstd:1 127.0.0.1:5000/oci/again:1 && docker push -q 127.0.0.1:5000/oci/again:1 && skopeo inspect --raw --tls-verify=false docker://127.0.0.1:5000/oci/again:1",
            0,
            &["tar+zstd"],
        ),
        // In an archive all layers are plain, and are the ones that are here.
        (
            "echo 'FROM 127.0.0.1:5000/oci/zstd:1\nCOPY Dockerfile /' >Dockerfile && tar -c Dockerfile | docker build -q -t mixed - && docker save -o mixed.tar mixed && rm -rf mixed && mkdir mixed && tar -xf mixed.tar -C mixed && docker inspect -f '{{range .RootFS.Layers}}{{println .}}{{end}}' mixed | sed -n 's/sha256:\\(.*\\)/\\1  \\1/p' >sums && (cd mixed/blobs/sha256 && sha256sum -c ../../../sums | cut -d: -f2) && jq -r .layers[].mediaType $(grep -l schemaVersion mixed/blobs/sha256/*)",
            0,
            &["OK\n OK\n", "vnd.oci.image.layer.v1.tar\napplication/vnd.oci.image.layer.v1.tar\n"],
        ),
        (
            "docker rmi mixed && docker load -qi mixed.tar && ls data/layers | wc -l && skopeo inspect docker-archive:mixed.tar | jq -c '.Layers | length' && docker rmi mixed",
            0,
            &["\n2\n2\n"],
        ),
        // What registries have no word for goes in one that they have.
        (
            "mkdir xz && echo x >xz/x && tar -cJf xz.tar xz && docker import xz.tar 127.0.0.1:5000/oci/xz:1 && docker push -q 127.0.0.1:5000/oci/xz:1 && skopeo copy -q --src-tls-verify=false docker://127.0.0.1:5000/oci/xz:1 dir:got-xz && jq -r .layers[0].mediaType got-xz/manifest.json && gzip -dc <got-xz/$(jq -r '.layers[0].digest[7:]' got-xz/manifest.json) | tar -t",
            0,
            &["tar+gzip\nxz/\nxz/x\n"],
        ),
        (&reload, 0, &["busybox"]),
        (
            "docker tag busybox 127.0.0.1:5000/me/app:1 && docker push 127.0.0.1:5000/me/app:1",
            0,
            &["1: digest: sha256:"],
        ),
        ("docker push 127.0.0.1:5000/me/app:1", 0, &["Layer already exists"]),
        // What another repository of the registry has is not sent again.
        (
            "docker tag busybox 127.0.0.1:5000/other/app:1 && docker push 127.0.0.1:5000/other/app:1 && skopeo inspect --tls-verify=false -f '{{.Os}}' docker://127.0.0.1:5000/other/app:1 && docker rmi 127.0.0.1:5000/other/app:1",
            0,
            &["Mounted from me/app", "linux"],
        ),
        // Nor is it taken for granted.
        (
            "docker tag busybox 127.0.0.1:5000/a/away:1 && docker push -q 127.0.0.1:5000/a/away:1 && rm -r registry/docker/registry/v2/repositories/a/away && docker tag busybox 127.0.0.1:5000/a/back:1 && docker push 127.0.0.1:5000/a/back:1 && grep -o 'mount=sha256.*from=a/away[^ ]* HTTP/1.1\" 202' docker-registry.log && docker rmi 127.0.0.1:5000/a/away:1 127.0.0.1:5000/a/back:1",
            0,
            &["Pushed", " 202"],
        ),
        // Of its names, and of its digests, those that were asked for.
        ("[ \"$(docker images -f reference='busy*' --format '{{.Repository}}')\" = busybox ]", 0, &[]),
        (
            "docker images -f reference='docker.io/library/busybox:*' --format '{{.Repository}}'",
            0,
            &["busybox"],
        ),
        (
            "docker tag busybox 127.0.0.1:5000/many:1 && docker tag busybox 127.0.0.1:5000/many:2 && docker push -aq 127.0.0.1:5000/many && docker push -a 127.0.0.1:5000/many | grep -c 'refers to' && skopeo list-tags --tls-verify=false docker://127.0.0.1:5000/many | jq -c '.Tags | sort'",
            0,
            &["\n1\n", r#"["1","2"]"#],
        ),
        // What is here already is not told of layer by layer.
        (
            "docker pull 127.0.0.1:5000/many:1 >out && ! grep exists out && docker rmi 127.0.0.1:5000/many:1 127.0.0.1:5000/many:2",
            0,
            &["Untagged: 127.0.0.1:5000/many:1", "Untagged: 127.0.0.1:5000/many:2"],
        ),
        (AT_ONCE, 0, &["\n2\n", "asked 1\n"]),
        ("docker pull 127.0.0.1:5000/me/app:1", 0, &["Image is up to date"]),
        (
            "docker rmi -f busybox 127.0.0.1:5000/me/app:1 >out && docker images -a --format '{{.Repository}}' | sort | xargs",
            0,
            &["127.0.0.1:5000/large/one 127.0.0.1:5000/large/two\n"],
        ),
        (
            "docker run --rm --network none 127.0.0.1:5000/me/app:1 echo pulled",
            0,
            &["Pull complete", "Downloaded newer image", "pulled"],
        ),
        ("docker rmi -f $(docker images -q)", 0, &["Deleted: sha256:"]),
        (&copy, 0, &[]),
        (
            "docker pull 127.0.0.1:5000/oci/app:2 && docker run --rm --network none 127.0.0.1:5000/oci/app:2 echo oci",
            0,
            &["oci"],
        ),
        // An index: of several machines' images, ours is taken.
        (INDEX, 0, &["index"]),
        (
            "docker rmi -f $(docker images -q) && docker pull -q 127.0.0.1:5000/oci/app:several && docker run --rm --network none 127.0.0.1:5000/oci/app:several echo ours",
            0,
            &["ours"],
        ),
        ("docker run --rm --network none 127.0.0.1:5000/oci/app:silent echo silent", 0, &["silent\n"]),
        // What a registry has is told without a pull.
        (
            &of_several,
            0,
            &[
                "application/vnd.oci.image.index.v1+json\",\"size\":",
                r#""Platforms":[{"architecture":"riscv64","os":"linux"},{"#,
                " 200",
            ],
        ),
        (
            &of_one,
            0,
            &["{\"Descriptor\":{\"digest\":\"sha256:", "image.manifest.v1+json", "\"os\":\"linux\"}]}\n 200"],
        ),
        (&of_none, 0, &["manifest unknown", " 404"]),
        // Another is taken when it is asked for, and used with a warning when it is not.
        (
            "docker pull -q --platform linux/riscv64 127.0.0.1:5000/oci/app:several && docker inspect -f '{{.Architecture}}' 127.0.0.1:5000/oci/app:several && docker create --name foreign --network none 127.0.0.1:5000/oci/app:several true && docker rm foreign && curl -s -o /dev/null -w 'told %{http_code}' --unix-socket ${DOCKER_HOST#unix://} 'http://x/v1.51/images/127.0.0.1:5000/oci/app:several/json?platform=%7B%22os%22:%22linux%22,%22architecture%22:%22riscv64%22%7D'",
            0,
            &[
                "told 200",
                "\nriscv64\n",
                "The requested image's platform (linux/riscv64) does not match the detected host platform (linux/",
                "no specific platform was requested",
            ],
        ),
        (
            "docker create --platform linux/riscv64 --name foreign --network none 127.0.0.1:5000/oci/app:several true >out 2>&1 && ! grep WARNING out && docker rm foreign",
            0,
            &["foreign\n"],
        ),
        // A client that is told so pulls the one that it wants.
        (
            "docker run --rm --network none --platform linux/$(docker version -f '{{.Server.Arch}}') 127.0.0.1:5000/oci/app:several echo ours; docker run --rm --network none 127.0.0.1:5000/oci/app:several echo again",
            0,
            &["Downloaded newer image", "ours\n", "again\n"],
        ),
        // What is built is for the platform of its base, which is the one that is asked for.
        (
            "printf 'FROM 127.0.0.1:5000/oci/app:several\nLABEL a=b\n' | docker build -q --platform linux/riscv64 -t its - && printf 'FROM scratch\nLABEL a=b\n' >Dockerfile && tar -c Dockerfile | docker build -q -t own - && tar -c Dockerfile | docker build -q --platform linux/arm64/v8 -t arm - && printf 'FROM --platform=linux/riscv64 scratch\nLABEL a=b\n' | docker build -q -t risc - && docker inspect -f '{{.Architecture}}{{.Variant}}' its own arm risc | xargs && docker rmi its own arm risc && docker pull -q 127.0.0.1:5000/oci/app:several",
            0,
            &["\nriscv64 ", " arm64v8 riscv64\n"],
        ),
        (
            "docker pull --platform linux/riscv64 127.0.0.1:5000/oci/app:2",
            0,
            &[
                "WARNING: image with reference 127.0.0.1:5000/oci/app:2 was found but its platform (linux/",
                "does not match the specified platform (linux/riscv64)",
            ],
        ),
        (
            "docker pull --platform linux/s390x 127.0.0.1:5000/oci/app:several",
            1,
            &["no matching manifest for linux/s390x in the manifest list"],
        ),
        ("docker pull 127.0.0.1:5000/oci/app:foreign", 1, &["no matching manifest for linux/"]),
        ("docker rmi -f $(docker images -q)", 0, &[]),
        ("docker pull -q 127.0.0.1:5000/oci/app:2", 0, &[]),
        (&by_digest, 0, &["127.0.0.1:5000/oci/app", "sha256:"]),
        // One of them is for another machine.
        ("docker pull -a 127.0.0.1:5000/oci/app", 1, &["up to date", "no matching manifest for linux/"]),
        ("docker pull 127.0.0.1:5000/no/such", 1, &["not found"]),
        ("docker pull 127.0.0.1:5001/no/server", 1, &["refused"]),
        ("docker pull Bad/name", 1, &["invalid reference format"]),
        ("docker push 127.0.0.1:5000/not/here", 1, &["does not exist locally"]),
        ("docker rmi -f $(docker images -q)", 0, &[]),
        (&spoil, 0, &[]),
        ("docker pull 127.0.0.1:5000/oci/app:2", 1, &["expected sha256:"]),
        ("ids=$(docker images -q) && [ -z \"$ids\" ]", 0, &[]),
    ];
    hold(&engine, checks);
}

#[test]
fn repositories_are_pulled_whole() {
    let Some(mut engine) = engine() else { return integration::skip::say("needs docker") };
    if Release::Distribution.find("docker-registry").is_none() {
        return integration::skip::say("needs docker-registry");
    }
    registry(&mut engine, "");
    until("the registry answers", || {
        engine.run(&["sh", "-c", "busybox wget -qO- http://127.0.0.1:5000/v2/"]).status == 0
    });
    let checks: &[(&str, i32, &[&str])] = &[
        (
            "for tag in a b c; do echo \"FROM busybox\nLABEL tag=$tag\" | docker build -q -t localhost:5000/some:$tag - && docker push -q localhost:5000/some:$tag; done",
            0,
            &[],
        ),
        (
            "docker rmi $(docker images -q localhost:5000/some) && docker images -q localhost:5000/some | wc -l",
            0,
            &["\n0\n"],
        ),
        (
            "for i in 1 2 3; do docker pull -a localhost:5000/some >out$i 2>&1 & done; wait; cat out?; docker images --format '{{.Tag}}' localhost:5000/some | sort",
            0,
            &["a\nb\nc\n"],
        ),
        ("docker pull -a localhost:5000/none", 1, &["name unknown"]),
        // The digests of a repository go with its last tag.
        (
            "docker tag localhost:5000/some:a kept && docker rmi localhost:5000/some:a && docker inspect -f '{{.RepoTags}} {{.RepoDigests}}' kept",
            0,
            &["[kept:latest] []"],
        ),
        ("docker push localhost:5000/some:b", 0, &["digest: sha256:"]),
    ];
    hold(&engine, checks);
}
