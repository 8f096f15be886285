//! The engine of a user without privilege: `nobody`, with ranges of ids that only this mount namespace knows
//! of.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use integration::runtime;
use integration::shim::Said;
use integration::shim::engine::{Engine, Release, image};
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

/// The user's home with the programs and an image in it, and the daemon started after what `prepare` does;
/// `None` when something is missing.
fn engine_with(prepare: impl FnOnce(&Engine)) -> Option<Engine> {
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
    prepare(&engine);
    start(&engine);
    user(&engine, "docker load -qi image.tar").ok();
    Some(engine)
}

fn start(engine: &Engine) {
    user(engine, "./cortend </dev/null >>log 2>&1 & echo $! > pid");
    until("cortend answers", || user(engine, "docker version").status == 0);
}

/// Runs the scripts as the user.
#[track_caller]
fn hold(engine: &Engine, checks: &[Check<'_>]) {
    let failures = super::failures(checks, |script| user(engine, script));
    assert!(failures.is_empty(), "{failures}\n{}", user(engine, "cat log").out);
}

#[test]
fn a_user_without_privilege_has_a_way_out() {
    if !has_networks() || Release::Distribution.find("slirp4netns").is_none() {
        return skip::say("needs netavark, aardvark-dns and slirp4netns");
    }
    if fs::File::open("/dev/net/tun").is_err() {
        return skip::say("needs /dev/net/tun");
    }
    let closed = |engine: &Engine| {
        // A device of one's own, since what others may do with the host's is not for a test to say.
        engine
            .run(&[
                "sh",
                "-c",
                &format!(
                    "cd {}; mknod tun c 10 200 && chmod 600 tun && mount --bind tun /dev/net/tun",
                    engine.directory.display()
                ),
            ])
            .ok();
    };
    let Some(engine) = engine_with(closed) else {
        return skip::say("needs docker, uidmap and util-linux");
    };
    let why = "containers reach each other, but nothing outside of this host's user";
    let closed: &[Check<'_>] = &[
        ("cat log", 0, &[why, "/dev/net/tun"]),
        ("docker info", 0, &[why]),
        ("docker run --rm busybox nc -w 2 192.0.2.1 8000", 1, &[]),
        // Who may not was told so; now the namespaces are made anew.
        (
            "all=\"$(cat pid) $(jq .pid $XDG_RUNTIME_DIR/corten/namespaces.json)\"; kill $all && for pid in $all; do while grep -q '^State:.[^Z]' /proc/$pid/status 2>/dev/null; do sleep 0.05; done; done",
            0,
            &[],
        ),
    ];
    engine.run(&["sh", "-c", "ip link add outside type bridge && ip addr add 192.0.2.1/24 dev outside && ip link set outside up && (setsid busybox nc -ll -p 8000 -e echo reached </dev/null >/dev/null 2>&1 &)"]).ok();
    until("somebody is outside", || {
        engine.run(&["busybox", "nc", "-w", "2", "192.0.2.1", "8000"]).out == "reached\n"
    });
    hold(&engine, closed);
    engine.run(&["chmod", "666", "/dev/net/tun"]).ok();
    start(&engine);
    let open: &[Check<'_>] = &[
        ("told=$(docker info 2>&1) && case $told in *'nothing outside'*) exit 1; esac", 0, &[]),
        ("docker run --rm busybox nc -w 2 192.0.2.1 8000", 0, &["reached"]),
    ];
    hold(&engine, open);
}

#[test]
fn a_user_without_privilege_has_an_engine() {
    let Some(engine) = engine_with(|_| {}) else { return skip::say("needs docker, uidmap and util-linux") };
    let networks = has_networks();
    let mut checks: Vec<Check<'_>> = vec![
        ("docker run --rm --network none busybox id", 0, &["uid=0(root)"]),
        ("docker run --rm --network none -u tester busybox id -u", 0, &["1000"]),
        (
            "[ $(docker run --rm --network host busybox readlink /proc/self/ns/net) = $(readlink /proc/$(jq .pid $XDG_RUNTIME_DIR/corten/namespaces.json)/ns/net) ]",
            0,
            &[],
        ),
        ("docker run --rm --network none busybox cat /proc/self/uid_map", 0, &["65534", "700000"]),
        (
            "cd $HOME && mkdir -p up/in && echo up >up/in/file && docker create --name still --network none -v in:/in busybox cat /in/file && tar -C up -c in | docker cp - still:/ && docker start -a still && docker rm -v still && docker volume rm in",
            0,
            &["\nup\n"],
        ),
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
        // What the kernel lets such a user mount is mounted on volumes, too.
        (
            "docker volume create -o type=tmpfs -o device=tmpfs -o o=size=2m fast && docker run --rm --network none -v fast:/f busybox busybox df -m /f && docker volume rm fast",
            0,
            &[" 2 "],
        ),
        (
            "mkdir own && docker volume create -o type=none -o device=$HOME/own -o o=bind own && docker run --rm --network none -v own:/own busybox touch /own/made && docker volume rm own && ls own",
            0,
            &["made"],
        ),
        (
            "docker volume create -o type=ext4 -o device=/dev/null disk && docker run --rm --network none -v disk:/x busybox true",
            125,
            &["failed to mount local volume: mount /dev/null", "mounting \"ext4\": operation not permitted"],
        ),
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
    hold(&engine, &checks);
    start(&engine);
    checks = vec![
        // In the namespaces that its containers are in.
        ("docker exec stays echo again", 0, &["again"]),
        ("docker restart -t 0 stays && docker rm -f stays", 0, &[]),
        (super::NONE_LEFT, 0, &[]),
    ];
    if networks {
        checks.push((
            "docker network create mine && docker run -d --name server --network mine busybox sh -c 'while :; do echo served | nc -l -p 80; done' && for i in $(seq 50); do docker run --rm --network mine busybox nc -w 2 server 80 | grep . && break; done; docker rm -f server",
            0,
            &["served"],
        ));
    }
    hold(&engine, &checks);
}
