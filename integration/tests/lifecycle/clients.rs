//! Programs other than the command line: Compose, docker-py, and whoever comes over TCP.

use std::path::{Path, PathBuf};

use integration::shim::engine::Release;
use integration::shim::pod::until;
use integration::skip;

use super::{engine, engine_with, fetched, has_networks, hold};

const APPLICATION: &str = r#"mkdir app; cd app; cat > docker-compose.yml <<'END'
version: "2.4"
services:
  store:
    image: busybox
    command: sh -c "echo stored > /data/value; while :; do nc -l -p 5432 < /data/value; done"
    volumes: ["values:/data"]
    healthcheck: {test: ["CMD", "test", "-s", "/data/value"], interval: 200ms, retries: 50}
  api:
    build: {context: ., args: {WORD: built}}
    depends_on: {store: {condition: service_healthy}}
    command: sh -c "until nc -w 5 store 5432 | grep . > /got; do sleep 0.1; done; while :; do cat /word /got | nc -l -p 80; done"
  web:
    image: busybox
    depends_on: [api]
    ports: ["127.0.0.1:8088:80"]
    environment: {MODE: test}
    command: sh -c "while :; do echo $$MODE | nc -l -p 80; done"
volumes: {values: {}}
END
printf 'FROM busybox\nARG WORD\nRUN echo $WORD > /word\n' > Dockerfile"#;

/// Runs the application by a Compose, which has a character of its own in names, and its own words.
fn run_the_application(release: Release, between: char, words: [&str; 3]) {
    let (Some(engine), Some(compose)) = (engine(), release.find("docker-compose")) else {
        return skip::say("needs docker and docker-compose (integration/src/shim/fetch-engines.sh)");
    };
    if !has_networks() {
        return skip::say("needs netavark and aardvark-dns");
    }
    let [up, restarted, down] = words;
    let compose = format!("cd app; DOCKER_BUILDKIT=0 {}", compose.display());
    let (store, web) = (format!("app{between}store{between}1"), format!("app{between}web{between}1"));
    let checks: &[(String, i32, &[&str])] = &[
        (APPLICATION.to_owned(), 0, &[]),
        (format!("{compose} up -d"), 0, &[up, &web]),
        (format!("{compose} ps"), 0, &[&store, "(healthy)", "127.0.0.1:8088->80/tcp"]),
        // By the service's name; what it says came over the same way, from the volume.
        (
            format!(
                "for i in $(seq 50); do ({compose} exec -T web nc -w 2 api 80) | grep -A1 built && break; sleep 0.1; done"
            ),
            0,
            &["built\nstored"],
        ),
        (
            "for i in $(seq 50); do busybox nc -w 2 127.0.0.1 8088 | grep . && break; sleep 0.1; done".into(),
            0,
            &["test"],
        ),
        (
            format!(
                "{compose} run --rm -T api cat /word; ({compose} top store); ({compose} logs --tail 1 store)"
            ),
            0,
            &["built\n", "nc -l -p 5432"],
        ),
        (format!("({compose} restart -t 0 store); {compose} up -d --scale web=1"), 0, &[restarted]),
        (format!("{compose} down -t 0 -v"), 0, &[down, "app_default", "app_values"]),
        ("docker ps -aq; docker volume ls -q; docker network ls -q | wc -l".into(), 0, &["3\n"]),
    ];
    hold(&engine, checks);
}

#[test]
fn compose_runs_an_application_of_three_services() {
    run_the_application(
        Release::Distribution,
        '_',
        ["Successfully tagged app_api", "up-to-date", "Removing"],
    );
}

#[test]
fn the_newer_compose_runs_it_too() {
    run_the_application(Release::Newer, '-', ["Successfully tagged app-api", "Running", "Removed"]);
}

/// The pythons that have docker-py: the distribution's, and the one that `fetch-clients.sh` has made.
fn pythons() -> Vec<PathBuf> {
    let all = [PathBuf::from("/usr/bin/python3"), fetched().join("python/bin/python3")];
    let has = |python: &PathBuf| {
        let output = std::process::Command::new(python).args(["-c", "import docker"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    all.into_iter().filter(has).collect()
}

#[test]
fn programs_drive_it_with_docker_py() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let pythons = pythons();
    if pythons.is_empty() {
        return skip::say("needs docker-py: python3-docker, or tests/lifecycle/fetch-clients.sh");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lifecycle/client.py");
    let networks = if has_networks() { "NETWORKS=1 " } else { "" };
    for python in pythons {
        let said = engine.docker_command(&format!("{networks}{} {}", python.display(), script.display()));
        assert!(said.out.contains("all held"), "{}: {}{}", python.display(), said.err, engine.log("cortend"));
    }
}

/// An authority, a server's certificate and a client's, and one that nobody has signed.
const CERTIFICATES: &str = r#"mkdir tls; cd tls; exec 2>log
key() { openssl ecparam -name prime256v1 -genkey -noout -out $1.key; }
key ca; openssl req -x509 -new -key ca.key -subj /CN=ca -days 2 -out ca.pem
for name in server client; do
  key $name; openssl req -new -key $name.key -subj /CN=$name -out $name.csr
  printf "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=${name}Auth\n" > $name.ext
  openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile $name.ext -out $name.pem
done
key other; openssl req -x509 -new -key other.key -subj /CN=other -days 2 -out other.pem"#;

#[test]
fn over_tcp_both_sides_have_certificates() {
    const TLS: [&str; 9] = [
        "-H",
        "tcp://127.0.0.1:2376",
        "--tlsverify",
        "--tlscacert",
        "tls/ca.pem",
        "--tlscert",
        "tls/server.pem",
        "--tlskey",
        "tls/server.key",
    ];
    if std::process::Command::new("openssl").arg("version").output().is_err() {
        return skip::say("needs openssl");
    }
    let prepare = |engine: &integration::shim::engine::Engine| {
        engine.docker_command(CERTIFICATES).ok();
    };
    let Some(engine) = engine_with(&TLS, prepare) else { return skip::say("needs docker") };
    let docker = |name: &str| {
        format!(
            "DOCKER_HOST=tcp://127.0.0.1:2376 docker --tlsverify --tlscacert tls/ca.pem --tlscert tls/{name}.pem --tlskey tls/{name}.key"
        )
    };
    let checks: Vec<(String, i32, &[&str])> = vec![
        (docker("client") + " run --rm --network none busybox echo far", 0, &["far"]),
        (format!("echo typed | {} run --rm -i --network none busybox cat", docker("client")), 0, &["typed"]),
        // Who goes while nothing is said is noticed, and so is who falls silent: the kernel asks for a sign of life.
        ("docker run -d --name said --network none busybox sleep 1000".into(), 0, &[]),
        (
            format!(
                "open() {{ ss -Htno sport = 2376 | grep -v TIME-WAIT; }}; for command in events 'logs -f said' 'attach --no-stdin said' 'stats said' 'wait said'; do {} $command >/dev/null & pids=\"$pids $!\"; done; until [ $(open | wc -l) -ge 5 ]; do sleep 0.1; done; open | grep -o keepalive; kill -9 $pids; while open; do sleep 0.1; done; docker rm -f said",
                docker("client")
            ),
            0,
            &["keepalive", "said"],
        ),
        (docker("other") + " version --format '{{.Server.Version}}'", 1, &["tls"]),
        ("DOCKER_HOST=tcp://127.0.0.1:2376 docker version".into(), 1, &["TLS"]),
        ("busybox wget -qO- http://127.0.0.1:2376/_ping".into(), 1, &[]),
        ("cortend --root other -H tcp://127.0.0.1:2377".into(), 1, &["TCP needs certificates on both sides"]),
        ("cortend --root other -H tcp://127.0.0.1:2377 --tlsverify".into(), 1, &["TCP needs certificates on both sides"]),
        (
            "cortend --root other -H tcp://127.0.0.1:2377 --tlscacert tls/ca.pem --tlscert tls/server.pem --tlskey tls/server.key".into(),
            1,
            &["TCP needs certificates on both sides"],
        ),
        // There is one engine for what is in a folder.
        (
            "cortend --root data --exec-root other -H unix://$PWD/other.sock".into(),
            1,
            &["data/lock is in use by another engine"],
        ),
    ];
    hold(&engine, &checks);
    until("no shim is left", || engine.shims().is_empty());
}
