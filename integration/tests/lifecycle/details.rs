//! What moby's own tests ask of a daemon, and no user's first day does (`moby.rs` runs them all).

use integration::shim::engine::Engine;
use integration::skip;

use super::{Check, curl, engine, has_networks, hold};

#[test]
fn mounts_are_as_deep_as_they_are_wanted() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let inside = |mount: &str, script: &str| {
        format!(
            "docker run --rm --network none --mount type=bind,src=$PWD/outer,dst=/host{mount} busybox {script}"
        )
    };
    let old = curl(
        "-X POST -H Content-Type:application/json -d '{\"Image\":\"busybox\",\"Cmd\":[\"touch\",\"/host/inner/x\"],\"NetworkDisabled\":false,\"HostConfig\":{\"NetworkMode\":\"none\",\"Binds\":[\"'$PWD'/outer:/host:ro\"]}}'",
        "v1.43/containers/create?name=old",
    );
    let checks: &[(String, i32, &[&str])] = &[
        ("mkdir -p outer/inner && mount -t tmpfs inner outer/inner && touch outer/inner/in".into(), 0, &[]),
        (inside("", "ls /host/inner"), 0, &["in"]),
        (inside(",bind-recursive=disabled", "ls -A /host/inner/in"), 1, &["No such file"]),
        (inside(",ro,bind-recursive=writable", "touch /host/inner/x"), 0, &[]),
        (inside(",ro,bind-recursive=writable", "touch /host/x"), 1, &["Read-only"]),
        (inside(",ro", "touch /host/inner/x"), 1, &["Read-only"]),
        ("docker run --rm --network none -v $PWD/outer:/host:ro busybox touch /host/inner/x".into(), 1, &["Read-only"]),
        (inside(",ro,bind-recursive=readonly,bind-propagation=rprivate", "touch /host/inner/x"), 1, &["Read-only"]),
        // What the host has mounted to be read only is no more than that in a container.
        ("mount -o remount,ro,bind outer/inner && docker run --rm --network none -v $PWD/outer/inner:/host busybox touch /host/x".into(), 1, &["Read-only"]),
        ("mount -o remount,rw,bind outer/inner".into(), 0, &[]),
        // Before API 1.44 what is mounted below was not read-only.
        (old, 0, &[" 201"]),
        ("docker start -a old && docker rm old && umount outer/inner".into(), 0, &[]),
        // A mount at /dev stands for all that is in it.
        ("docker run --rm --network none -v /dev:/dev:ro busybox sh -c 'grep -c \" /dev/pts \" /proc/mounts; touch /dev/x'".into(), 1, &["Read-only"]),
        ("docker run --rm --network none -v $PWD/outer:/proc/sys busybox ls /proc/sys".into(), 0, &["inner"]),
    ];
    hold(&engine, checks);
}

#[test]
fn mounts_propagate_where_they_can() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let run = "docker run --rm --network none --privileged";
    let checks: &[(String, i32, &[&str])] = &[
        ("mkdir -p plain shared && mount --bind plain plain && mount --make-private plain && mount --bind shared shared && mount --make-shared shared".into(), 0, &[]),
        (format!("{run} -v $PWD/shared:/s:shared busybox sh -c 'mkdir /s/m && mount -t tmpfs m /s/m && touch /s/m/made' && ls shared/m && umount shared/m"), 0, &["made"]),
        (format!("{run} -v $PWD/plain:/s:shared busybox true"), 125, &["plain but it is not a shared mount"]),
        (format!("{run} -v $PWD/plain:/s:rslave busybox true"), 125, &["it is not a shared or slave mount"]),
        // Whatever the names of mounts are.
        ("mkdir -p \"plain/a b\" plain/$(printf '\\377') && mount --bind plain/$(printf '\\377') plain/$(printf '\\377') && mount --bind \"plain/a b\" \"plain/a b\" && mount --make-shared \"plain/a b\"".into(), 0, &[]),
        (format!("{run} -v \"$PWD/plain/a b\":/s:shared busybox true && umount plain/?*"), 0, &[]),
        // What has the engine's mounts in it follows them, said or not.
        ("docker create --name root -v /:/host busybox && docker inspect -f '{{range .Mounts}}{{.Propagation}}{{end}}' root && docker run --rm --network none --volumes-from root busybox ls /host/etc/passwd && docker rm root".into(), 0, &["rslave", "passwd"]),
        ("umount plain shared".into(), 0, &[]),
        // What is mounted into a volume is seen by those who have it.
        ("docker run -d --name late --network none -v late:/v busybox sleep 1000 && place=$(docker volume inspect -f '{{.Mountpoint}}' late) && mount --bind $place $place && mount --make-shared $place && docker restart -t 0 late && mkdir $place/m && mount -t tmpfs m $place/m && docker exec late grep /v/m /proc/mounts; umount $place/m $place; docker rm -f late".into(), 0, &["/v/m tmpfs"]),
    ];
    hold(&engine, checks);
}

#[test]
fn parts_of_volumes_are_mounted_and_nothing_beside_them() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let run = |part: &str, script: &str| {
        format!(
            "docker run --rm --network none --mount type=volume,src=vol,dst=/part,volume-subpath={part} busybox {script}"
        )
    };
    let checks: &[(String, i32, &[&str])] = &[
        ("docker run --rm --network none -v vol:/v busybox sh -c 'mkdir -p /v/a/b /v/bin && echo one >/v/a/b/file && ln -s /v/a /v/out && ln -s a/b /v/in && ln -s ../../../../etc /v/up'".into(), 0, &[]),
        (run("a/b", "cat /part/file"), 0, &["one"]),
        (run("in", "cat /part/file"), 0, &["one"]),
        (run(".", "cat /part/a/b/file"), 0, &["one"]),
        (run("./a/b", "cat /part/file"), 0, &["one"]),
        (run("a/b/file", "cat /part"), 0, &["one"]),
        (run("out", "ls /part"), 125, &["escapes the base directory"]),
        (run("up", "ls /part"), 125, &["escapes the base directory"]),
        (run("none", "ls /part"), 127, &["cannot access path", "no such file or directory"]),
        ("docker run --rm --network none --mount type=volume,src=vol,dst=/bin,volume-subpath=bin busybox ls /bin/busybox".into(), 0, &["/bin/busybox"]),
        // It goes with its container, and the volume stays as it was.
        ("! grep /mounts/ /proc/mounts && docker run --rm --network none -v vol:/v busybox cat /v/a/b/file".into(), 0, &["one"]),
        ("echo two >two && docker create --name files --mount type=volume,src=vol,dst=/one,volume-subpath=a/b/file -v $PWD/two:/two busybox && docker cp files:/one - | tar -xO && docker cp files:/two - | tar -xO && docker rm files".into(), 0, &["one\ntwo\n"]),
        ("docker create --name part --mount type=volume,src=vol,dst=/part,volume-subpath=a busybox && docker cp part:/part/b/file - | tar -xO && docker rm part".into(), 0, &["one"]),
    ];
    hold(&engine, checks);
}

#[test]
fn images_are_mounted_and_kept_for_those_who_have_them() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let run = |image: &str, script: &str| {
        format!("docker run --rm --network none --mount type=image,src={image},dst=/i busybox {script}")
    };
    let checks: &[(String, i32, &[&str])] = &[
        ("printf 'FROM scratch\nCOPY one /dir/one\n' >Dockerfile && echo first >one && docker build -q -t single . && printf 'FROM single\nCOPY one /dir/two\nCOPY in /dir\n' >Dockerfile && mkdir in && ln -s / in/out && docker build -q -t several .".into(), 0, &[]),
        (run("single", "cat /i/dir/one"), 0, &["first"]),
        (run("several", "ls /i/dir"), 0, &["one\nout\ntwo"]),
        (run("several", "touch /i/x"), 1, &["Read-only"]),
        (run("several,image-subpath=dir", "touch /i/two"), 1, &["Read-only"]),
        (run("several,image-subpath=dir/two", "cat /i"), 0, &["first"]),
        (run("several,image-subpath=dir/out", "ls /i"), 125, &["escapes the base directory"]),
        ("! grep /mounts/ /proc/mounts && docker create --name has --network none --mount type=image,src=several,dst=/i busybox ls /i/dir && docker rmi several".into(), 1, &["is using its referenced image"]),
        // Whoever forces it takes the name, not the files.
        ("docker rmi -f several single && docker image prune -f && docker start -a has && docker rm has && docker image prune -f; ls data/layers | wc -l".into(), 0, &["two", "\n1\n"]),
    ];
    hold(&engine, checks);
}

#[test]
fn namespaces_are_shared_with_those_who_may() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let run = "docker run --rm --network none";
    let checks: &[(String, i32, &[&str])] = &[
        (format!("{run} -d --name donor --ipc shareable busybox sleep 100 && docker exec donor sh -c 'echo said >/dev/shm/word'"), 0, &[]),
        (format!("{run} --name heir --ipc container:donor busybox cat /dev/shm/word && docker exec donor readlink /proc/1/ns/ipc >a && {run} --ipc container:donor busybox readlink /proc/1/ns/ipc >b && cmp a b"), 0, &["said"]),
        (format!("{run} -d --name own busybox sleep 100 && {run} --ipc container:own busybox true"), 125, &["non-shareable IPC (hint: use IpcMode:shareable"]),
        ("docker create --name late --pid container:donor busybox true && docker inspect -f '{{.HostConfig.PidMode}}' late".into(), 0, &["container:"]),
        ("docker rm -f donor own && ! grep /mounts/ /proc/mounts && docker start late".into(), 1, &["No such container"]),
        (format!("{run} -d --name donor busybox true; docker create --name joins --pid container:late busybox true && docker start joins"), 1, &["failed to join PID namespace", "is not running"]),
        // --init is for those who have processes of their own.
        (format!("{run} --init --pid host busybox sh -c 'tr \"\\0\" \" \" </proc/self/cmdline'"), 0, &["tr"]),
        (format!("{run} --security-opt writable-cgroups=true busybox sh -c 'grep /sys/fs/cgroup /proc/mounts'"), 0, &[" rw"]),
        (format!("{run} --security-opt writable-cgroups=1 busybox true"), 125, &["invalid --security-opt 2: \"writable-cgroups=1\""]),
        (format!("{run} -w /tmp/../etc/ busybox pwd"), 0, &["/etc"]),
        ("docker run -d --name box --network none --pids-limit 20 --tmpfs /t busybox sleep 100 && docker update --pids-limit -1 box && docker exec box sh -c 'cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; true' && docker inspect -f '{{.HostConfig.PidsLimit}} {{len .Mounts}}' box".into(), 0, &["max\n", "0 0"]),
        ("docker exec -u nosuch box true".into(), 1, &["Error response from daemon: unable to find user nosuch"]),
        ("docker cp box:/etc/./ - | tar -t | head -1; docker rm -f box".into(), 0, &["./"]),
        ("docker run -d --rm --name gone --network none busybox sleep 100 && docker update --restart always gone".into(), 1, &["Restart policy cannot be updated because AutoRemove is enabled"]),
        ("docker run -d --name ill --network none --health-cmd 'echo begun; sleep 9' --health-timeout 200ms --health-interval 200ms busybox sleep 100; for i in $(seq 50); do docker inspect -f '{{json .State.Health.Log}}' ill | grep begun && break; sleep 0.1; done".into(), 0, &["Health check exceeded timeout (200ms): begun"]),
        // One that takes too long is ended: the next would find it still there.
        ("docker run -d --name slow --network none --health-cmd 'exec sleep 999' --health-timeout 100ms --health-interval 100ms --health-retries 5 busybox sleep 100; for i in $(seq 50); do docker inspect -f '{{.State.Health.Status}}' slow | grep unhealthy && break; sleep 0.1; done; docker top slow >top && test $(grep -c 'sleep 999' top) -le 1".into(), 0, &["unhealthy"]),
    ];
    hold(&engine, checks);
}

#[test]
fn requests_are_read_as_dockerd_reads_them() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let json = "-H Content-Type:application/json";
    let checks: &[(String, i32, &[&str])] = &[
        (curl("-i", "_ping"), 0, &["Cache-Control: no-cache, no-store, must-revalidate", "Pragma: no-cache"]),
        (curl("-X POST -H Content-Type:text/plain -d '{}'", "v1.51/volumes/create"), 0, &["unsupported Content-Type header (text/plain): must be 'application/json'", " 400"]),
        (curl(&format!("-X POST {json} -d '{{}} more'"), "v1.51/volumes/create"), 0, &["unexpected content after JSON", " 400"]),
        (curl("-X POST -H 'Content-Type: application/json; charset=utf-8' -d 'null'", "v1.51/volumes/create"), 0, &[" 201"]),
        // Go's client says that it has no credentials by `null`.
        ("printf 'FROM busybox\\nLABEL a=b\\n' >Dockerfile && tar -cf c.tar Dockerfile".into(), 0, &[]),
        (curl("-X POST -H 'X-Registry-Config: bnVsbA==' -H Content-Type:application/x-tar --data-binary @c.tar", "v1.51/build?t=made"), 0, &["Successfully tagged made:latest"]),
        ("docker run -d --name box --network none busybox sleep 100".into(), 0, &[]),
        // No settings at all are the container's, which the changes see; they are written as a Dockerfile is.
        (
            format!(
                "docker create --name based -e X=y busybox && {} && docker inspect -f '{{{{.Config.Env}}}} {{{{.Config.Labels}}}}' made && docker rm based",
                curl(
                    &format!("-X POST {json} -d '{{}}'"),
                    "v1.51/commit?container=based&repo=made&changes=ENV%20A=\\$X%5C%0A%23%20note%0A%20B=2&changes=LABEL%20l=1"
                )
            ),
            0,
            &["X=y", "A=y B=2", "map[l:1]"],
        ),
        (curl("-X POST", "v1.51/containers/box/resize?w=10"), 0, &["invalid resize height \\\"\\\": invalid syntax"]),
        (curl("-X POST", "v1.51/containers/box/resize?h=1&w=4294967296"), 0, &["invalid resize width \\\"4294967296\\\": value out of range"]),
        (curl("", "v1.51/images/Upper/json"), 0, &["invalid reference format", " 400"]),
        (curl("-X POST", "v1.51/images/busybox/tag?repo=sha256&tag=x"), 0, &["refusing to create an ambiguous tag", " 400"]),
        // Whoever does not want the rest of an archive does not end the engine.
        ("docker export box | head -c 3000 | wc -c; docker cp box:/ - | head -c 70000 | wc -c; docker version".into(), 0, &["3000", "70000", "Corten"]),
        ("docker rm -f box".into(), 0, &[]),
    ];
    hold(&engine, checks);
}

/// A file whose header has neither owner nor time, as of Rust's `Header::new_gnu`.
const BLANK: &str = r#"python3 - >t.tar <<'END'
import sys
head = bytearray(b"f.txt".ljust(100, b"\0") + b"0000644\0" + bytes(16) + b"00000000003\0" + bytes(12) + b" " * 8 + b"0" + bytes(100) + b"ustar  \0" + bytes(247))
head[148:156] = b"%06o\0 " % sum(head)
sys.stdout.buffer.write(head + b"hi\n".ljust(1536, b"\0"))
END"#;

#[test]
fn blank_numbers_in_archives_are_zero() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let put = "-X PUT -H Content-Type:application/x-tar --data-binary @t.tar";
    let checks: &[(String, i32, &[&str])] = &[
        (BLANK.into(), 0, &[]),
        ("docker create --name box --network none busybox true".into(), 0, &[]),
        (curl(put, "v1.51/containers/box/archive?path=/"), 0, &[" 200"]),
        ("docker cp box:/f.txt - | tar -tv --numeric-owner".into(), 0, &["-rw-r--r-- 0/0"]),
        ("docker rm box; docker import t.tar blank".into(), 0, &["sha256:"]),
    ];
    hold(&engine, checks);
}

/// A client that attaches, starts, reads to the end and looks at what has become of the container.
const READER: &str = r#"import http.client, json, os, socket
class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(os.environ["DOCKER_HOST"][7:])
def ask(method, path):
    one = Unix("x")
    one.request(method, "/v1.51/containers/box/" + path)
    return one.getresponse()
for _ in range(10):
    attached = ask("POST", "attach?stream=1&stdout=1")
    ask("POST", "start").read()
    said = attached.read()
    state = json.loads(ask("GET", "json").read())["State"]
    print(said[8:], state["Status"], state["ExitCode"])
"#;

/// A client that closes its connection as soon as there is an answer, and looks for the image then.
const HASTY: &str = r#"import http.client, os, socket, sys
class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(os.environ["DOCKER_HOST"][7:])
one = Unix("x")
one.request("POST", "/v1.51/images/load?quiet=1", open(sys.argv[1], "rb").read(), {"Content-Type": "application/x-tar"})
one.getresponse()
one.sock.close()
two = Unix("x")
two.request("GET", "/v1.51/images/%s/json" % sys.argv[2])
print(two.getresponse().status)
"#;

#[test]
fn images_are_kept_named_and_saved_as_docker_does() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    std::fs::write(engine.directory.join("hasty.py"), HASTY).unwrap();
    let checks: &[Check] = &[
        (
            "docker tag busybox docker.io/short && docker images --format '{{.Repository}}:{{.Tag}}' | grep ^short:latest && docker rmi short",
            0,
            &["short:latest"],
        ),
        // Both ways of telling what is in an archive, for those who read one of them.
        (
            "docker tag busybox b:1 && docker tag busybox b:2 && docker save b -o b.tar && tar -xOf b.tar index.json | jq -r '.manifests[].annotations[\"org.opencontainers.image.ref.name\"]' | sort | tr '\\n' ' ' && tar -xOf b.tar manifest.json | jq -c '.[0].RepoTags'",
            0,
            &["1 2", r#"["b:1","b:2"]"#],
        ),
        (
            "skopeo inspect oci-archive:b.tar:1 | jq -r .Os && skopeo inspect docker-archive:b.tar:b:1 | jq -r .Os",
            0,
            &["linux\nlinux\n"],
        ),
        (
            "skopeo copy -q docker-archive:b.tar:b:2 oci:layout:x && jq -r .schemaVersion layout/index.json",
            0,
            &["2"],
        ),
        // A name that is given twice is in it once.
        (
            "docker save b:1 b:1 -o twice.tar && tar -xOf twice.tar manifest.json | jq -c '.[0].RepoTags' && tar -xOf twice.tar index.json | jq '.manifests | length'",
            0,
            &["[\"b:1\"]\n", "\n1\n"],
        ),
        ("docker rmi b:1 b:2 && docker load -qi b.tar && docker rmi b:1 b:2", 0, &["Loaded image: b:1"]),
        (
            "p=linux/$(docker version -f '{{.Server.Arch}}'); docker load -qi b.tar --platform $p && docker rmi b:1 b:2; docker load -qi b.tar --platform linux/s390x",
            1,
            &["Loaded image: b:1", "does not match the specified platform (linux/s390x)"],
        ),
        // An image in use keeps its last name, and no other.
        (
            "docker tag busybox c:1 && docker tag busybox c:2 && docker rmi busybox && docker create --name uses c:1 true && docker image prune -af | grep untagged && docker images -q c | wc -l && docker rm uses && docker tag c:2 busybox",
            0,
            &["untagged: c:1", "\n1\n"],
        ),
        // What was made here is known by its steps' names.
        (
            "printf 'FROM busybox\nLABEL a=b\nRUN echo x >/x\n' | docker build -q --network none -t steps - && docker commit $(docker create steps) again && docker rm $(docker ps -aq) && docker history -q again | sed 's/^[0-9a-f]*$/id/' | head -4 | xargs",
            0,
            &["id id id id\n"],
        ),
        ("docker history -q --no-trunc again | grep -cx $(docker inspect -f '{{.Id}}' steps)", 0, &["1\n"]),
        // Freed is what went, not what others have, too.
        (
            "docker rmi steps again; printf 'FROM busybox\nRUN head -c 5000 /dev/zero >/x\n' | docker build -q --network none - && docker image prune -f",
            0,
            &["reclaimed space: 5kB"],
        ),
        (
            "docker save busybox -o one.tar && docker rmi -f $(docker images -q) && python3 hasty.py one.tar busybox",
            0,
            &["200"],
        ),
        // Go writes a list of nothing as null.
        (
            r#"mkdir n && cd n && echo '{"os":"linux","rootfs":{"type":"layers","diff_ids":null}}' >config.json && echo '[{"Config":"config.json","RepoTags":["empty:1"],"Layers":null}]' >manifest.json && tar -cf ../n.tar . && docker load -qi ../n.tar"#,
            0,
            &["empty:1"],
        ),
        (
            "tar -C n -c . | docker import --platform linux/riscv64 - other && docker inspect -f '{{.Architecture}}' other && head -c 9000000 /dev/zero | docker import --platform windows - bad",
            1,
            &["riscv64", "operating system is not supported"],
        ),
        (
            "tar -C n -c . | docker import --platform linux/arm64/v8 - other && docker inspect -f '{{.Architecture}}/{{.Variant}}' other",
            0,
            &["\narm64/v8\n"],
        ),
        ("docker pull -q --platform odd busybox", 1, &["unknown operating system or architecture"]),
    ];
    hold(&engine, checks);
}

#[test]
fn whoever_has_read_all_finds_the_container_ended() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    std::fs::write(engine.directory.join("reader.py"), READER).unwrap();
    let script = "docker create --name box --network none busybox sh -c 'echo said; exit 7' && python3 reader.py | sort | uniq -c";
    hold(&engine, &[(script, 0, &["10 b'said\\n' exited 7"])]);
}

#[test]
fn long_paths_are_no_obstacle() {
    let long = "d".repeat(200);
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let script = format!(
        "mkdir {long} && docker save busybox -o one.tar && (cortend -H unix://$PWD/o.sock --root $PWD/{long}/data --exec-root /run/o >other.log 2>&1 &) && for i in $(seq 100); do [ -e o.sock ] && break; sleep 0.1; done; docker -H unix://$PWD/o.sock load -qi one.tar && docker -H unix://$PWD/o.sock run --rm --network none --cgroup-parent {} busybox echo ran && printf 'FROM busybox\nWORKDIR /made\nRUN pwd\n' | docker -H unix://$PWD/o.sock build --network none --cgroup-parent {} -",
        engine.cgroup_parent(),
        engine.cgroup_parent()
    );
    hold(&engine, &[(script, 0, &["ran\n", "/made\n", "Successfully built"])]);
}

#[test]
fn networks_are_found_by_their_whole_id_first() {
    let Some(engine) = engine().filter(|_| has_networks()) else {
        return skip::say("needs docker and netavark");
    };
    let script = "id=$(docker network create one) && docker network create $id >/dev/null && docker network rm $id >/dev/null && docker network ls --format '{{.Name}}' | grep -cx one; docker network ls -q --filter name=$id | wc -l";
    hold(&engine, &[(script, 0, &["0\n1"])]);
}

#[test]
fn networks_are_kept_apart_but_for_what_they_publish() {
    let Some(engine) = engine().filter(|_| has_networks()) else {
        return skip::say("needs docker and netavark");
    };
    keep_networks_apart(&engine);
}

pub(super) fn keep_networks_apart(engine: &Engine) {
    let get = "printf 'GET /hostname HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 3";
    let address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let checks: &[(String, i32, &[&str])] = &[
        ("mkdir sys && mount -t sysfs sys sys && mount --bind sys/class/net /sys/class/net && mount --bind sys/devices/virtual/net /sys/devices/virtual/net && docker network create one && docker network create two && docker network create --internal inner".into(), 0, &[]),
        ("docker run -d --name web --hostname webhost --network one -p 8099:80 busybox busybox httpd -f -h /etc && docker run -d --name same --network one busybox sleep 100 && docker run -d --name other --network two busybox sleep 100 && docker run -d --name usual busybox sleep 100".into(), 0, &[]),
        // A port of the bridge answers itself, also where the kernel filters bridges.
        ("docker exec same busybox ping -c1 -W2 web".into(), 0, &["1 packets received"]),
        (format!("ip=$(docker inspect -f '{address}' web); for name in other usual; do docker exec $name busybox ping -c1 -W1 $ip; done"), 1, &["100% packet loss"]),
        (format!("for each in two:other bridge:usual one:same one:web; do net=${{each%:*}}; name=${{each#*:}}; at=$(docker network inspect -f '{{{{(index .IPAM.Config 0).Gateway}}}}' $net); docker exec $name sh -c \"{get} $at 8099\" | grep -c webhost; done"), 0, &["1\n1\n1\n1"]),
        // Without IPv6 in its network, an interface has no address of it.
        ("docker exec usual cat /proc/net/if_inet6 && ! docker exec usual grep eth0 /proc/net/if_inet6".into(), 0, &["lo"]),
        ("docker network create --ipv6 six && docker run --rm --network six busybox grep -c eth0 /proc/net/if_inet6".into(), 0, &["2"]),
        ("docker run -d --name mac --mac-address 02:42:ac:11:00:42 busybox sleep 100 && docker inspect -f '{{.Config.MacAddress}}' mac && docker inspect -f '[{{.Config.MacAddress}}]' usual".into(), 0, &["02:42:ac:11:00:42\n[]"]),
        // A network that leads nowhere has names without a resolver.
        ("docker run -d --name first --network inner --network-alias alias busybox sleep 100 && docker run -d --name second --network inner busybox sleep 100 && docker exec second busybox ping -c1 -W2 alias && docker exec first busybox ping -c1 -W2 second && docker rename first renamed && docker exec second busybox ping -c1 -W2 renamed && docker rm -f renamed && docker exec second cat /etc/hosts | grep -c renamed".into(), 1, &["1 packets received", "\n0"]),
    ];
    hold(engine, checks);
}

#[test]
fn each_stage_of_a_build_is_told_and_the_image_is_an_event() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let checks: &[(String, i32, &[&str])] = &[
        ("printf 'FROM busybox AS a\\nLABEL x=y\\nFROM a\\nLABEL z=z\\n' >Dockerfile && tar -cf c.tar Dockerfile && : >Dockerfile && tar -cf e.tar Dockerfile".into(), 0, &[]),
        (format!("{} | grep -c '\"aux\"'; docker events --since 0 --until $(( $(date +%s) + 1 )) --filter type=image --filter event=create | wc -l", curl("-X POST -H Content-Type:application/x-tar --data-binary @c.tar", "v1.51/build")), 0, &["2\n1"]),
        (curl("-X POST -H Content-Type:application/x-tar --data-binary @e.tar", "v1.51/build"), 0, &["cannot be empty"]),
    ];
    hold(&engine, checks);
}
