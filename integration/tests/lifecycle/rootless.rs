//! The engine of a user without privilege: `nobody`, with ranges of ids that only this mount namespace knows of.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use integration::runtime;
use integration::shim::engine::{Engine, Release, Said, image};
use integration::shim::pod::{program, until};
use integration::skip;

use super::{Check, has_networks};

const USER: u32 = 65534;

/// As logind makes it.
const RUN: &str = "/run/user/65534";

/// Runs a script as the user.
fn user(engine: &Engine, script: &str) -> Said {
    let home = engine.directory.join("home").display().to_string();
    let environment = format!(
        "export HOME={home} TMPDIR={home} XDG_RUNTIME_DIR={RUN} DOCKER_HOST=unix://{RUN}/corten/cortend.sock DOCKER_CONFIG={home} DOCKER_BUILDKIT=0; cd"
    );
    let who = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"];
    engine.run(&[&who[..], &["sh", "-c", &format!("{environment}\n{script}")]].concat())
}

/// The user's home with the programs and an image in it, and the daemon started; `None` when something is missing.
fn engine() -> Option<Engine> {
    Release::Distribution.find("docker")?;
    ["newuidmap", "unshare", "nsenter"]
        .iter()
        .try_for_each(|name| Release::Distribution.find(name).map(drop))?;
    let engine = Engine::new(Release::Distribution);
    let home = engine.directory.join("home");
    fs::create_dir_all(&home).unwrap();
    engine.run(&["install", "-d", "-o", "nobody", "-m", "700", RUN]).ok();
    // Copies: the user needs not have a way to where they were built.
    fs::copy(runtime::built("cortend"), home.join("cortend")).unwrap();
    fs::copy(program(), home.join("containerd-shim-corten-v2")).unwrap();
    fs::copy(image("docker-archive"), home.join("image.tar")).unwrap();
    for path in [&home, &home.join("image.tar")] {
        chown(path, Some(USER), Some(USER)).unwrap();
    }
    fs::set_permissions(&engine.directory, fs::Permissions::from_mode(0o755)).unwrap();
    for (name, text) in
        [("subuid", "nobody:700000:65536\n"), ("subgid", "nogroup:700000:65536\nnobody:700000:65536\n")]
    {
        let file = engine.directory.join(name).display().to_string();
        fs::write(&file, text).unwrap();
        engine.run(&["mount", "--bind", &file, &format!("/etc/{name}")]).ok();
    }
    start(&engine);
    user(&engine, "docker load -qi image.tar").ok();
    Some(engine)
}

fn start(engine: &Engine) {
    user(engine, "./cortend </dev/null >>log 2>&1 & echo $! > pid");
    until("cortend answers", || user(engine, "docker version").status == 0);
}

#[test]
fn a_user_without_privilege_has_an_engine() {
    let Some(engine) = engine() else { return skip::say("needs docker, uidmap and util-linux") };
    let networks = has_networks();
    let mut checks: Vec<Check<'_>> = vec![
        ("docker run --rm --network none busybox id", 0, &["uid=0(root)"]),
        ("docker run --rm --network none -u tester busybox id -u", 0, &["1000"]),
        ("docker run --rm --network host busybox ip link", 0, &["lo"]),
        ("docker run --rm --network none busybox cat /proc/self/uid_map", 0, &["65534", "700000"]),
        // Root in a container is the user outside.
        (
            "docker run --rm --network none -v $HOME:/home busybox touch /home/made && stat -c %u made",
            0,
            &["65534"],
        ),
        (
            "docker run --rm --network none -v /etc:/host busybox touch /host/corten-made",
            1,
            &["Permission denied"],
        ),
        ("docker info --format '{{.SecurityOptions}}'", 0, &["name=rootless"]),
        // What needs the host is refused.
        (
            "docker run --rm --network none -p 8080:80 busybox true",
            125,
            &["published ports need an engine that runs as root"],
        ),
        // Where the hierarchy is the user's, limits are possible; here nobody has given it.
        ("docker run --rm --network none -m 64m busybox true", 126, &["needs a cgroup"]),
        (
            "printf 'FROM busybox\\nRUN mkdir /o && echo a > /o/a\\nRUN rm -r /o && mkdir /o && echo hi > /o/hi && chown 1000 /o/hi\\nUSER 1000\\nCMD ls -n /o' | docker build --network none -t built - && docker run --rm --network none built",
            0,
            &["Successfully tagged built", "1000", "hi"],
        ),
        ("docker run --rm --network none built ls /o/a", 1, &["No such file"]),
        (
            "docker run -d --network none --name stays busybox sleep 1000 && docker exec stays ps && docker exec -u tester stays id -u && docker top stays",
            0,
            &["sleep 1000", "1000"],
        ),
        (
            "kill -9 $(cat pid); while grep -q '^State:.[^Z]' /proc/$(cat pid)/status 2>/dev/null; do sleep 0.05; done",
            0,
            &[],
        ),
    ];
    let run = |checks: &[Check<'_>]| {
        let mut failures = Vec::new();
        for (script, status, parts) in checks {
            let said = user(&engine, script);
            let text = format!("{}{}", said.out, said.err);
            if said.status != *status || !parts.iter().all(|part| text.contains(part)) {
                failures.push(format!(
                    "{script}\n  status {}, expected {status} and {parts:?}: {text}",
                    said.status
                ));
            }
        }
        assert!(failures.is_empty(), "{}\n{}", failures.join("\n"), user(&engine, "cat log").out);
    };
    run(&checks);
    start(&engine);
    checks = vec![
        // In the namespaces that its containers are in.
        ("docker exec stays echo again", 0, &["again"]),
        ("docker restart -t 0 stays && docker rm -f stays && docker ps -aq | wc -l", 0, &["0"]),
    ];
    if networks {
        checks.push((
            "docker network create mine && docker run -d --name server --network mine busybox sh -c 'while :; do echo served | nc -l -p 80; done' && for i in $(seq 50); do docker run --rm --network mine busybox nc -w 2 server 80 && break; done; docker rm -f server",
            0,
            &["served"],
        ));
    }
    run(&checks);
}
