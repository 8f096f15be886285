//! dockerd with Corten's shim, in the ways that Docker's releases allow: by path through the drop-in name, by
//! type, and by the absolute path of the shim.

use integration::shim::engine::{Engine, Release};
use integration::shim::pod::{self, until};
use nix::sys::signal::Signal;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A script, its status, and what its output contains.
type Check = (&'static str, i32, &'static [&'static str]);

/// What people do with containers that end. Each stands alone.
const RUN: &[Check] = &[
    ("docker run --rm busybox echo hello", 0, &["hello"]),
    ("docker run --rm busybox sh -c 'exit 7'", 7, &[]),
    ("docker run --rm busybox /no/such", 127, &["no such file or directory"]),
    ("docker run --rm busybox nosuch", 127, &["executable file not found"]),
    ("docker run --rm busybox /etc/passwd", 126, &["permission denied"]),
    ("docker run --rm -e A=b busybox sh -c 'echo $A'", 0, &["b"]),
    ("docker run --rm -w /tmp busybox pwd", 0, &["/tmp"]),
    ("docker run --rm -u 1000:1000 busybox id", 0, &["uid=1000", "gid=1000"]),
    ("docker run --rm --hostname here busybox hostname", 0, &["here"]),
    ("docker run --rm --read-only busybox touch /x", 1, &["Read-only"]),
    ("docker run --rm --tmpfs /t:size=1m busybox grep ' /t ' /proc/mounts", 0, &["tmpfs", "size=1024k"]),
    (
        "docker run --rm -v /etc:/host:ro busybox sh -c 'ls /host/passwd; touch /host/x'",
        1,
        &["/host/passwd", "Read-only"],
    ),
    (
        "docker run --rm -m 64m busybox sh -c 'cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null'",
        1,
        &["67108864"],
    ),
    (
        "docker run --rm --pids-limit 57 busybox sh -c 'cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null'",
        1,
        &["57"],
    ),
    (
        "docker run --rm --cpus 0.57 busybox sh -c 'cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null'",
        1,
        &["57000"],
    ),
    (
        "docker run --rm --cap-drop ALL busybox sh -c 'grep CapEff /proc/self/status'",
        0,
        &["0000000000000000"],
    ),
    ("docker run --rm busybox ip link set lo down", 2, &["Operation not permitted"]),
    ("docker run --rm --cap-add NET_ADMIN busybox ip link set lo down", 0, &[]),
    ("docker run --rm --security-opt no-new-privileges busybox grep NoNewPrivs /proc/self/status", 0, &["1"]),
    ("docker run --rm busybox grep Seccomp: /proc/self/status", 0, &["2"]),
    ("docker run --rm --device /dev/null:/dev/mine busybox ls -l /dev/mine", 0, &["/dev/mine"]),
    ("docker run --rm --ulimit nofile=100:100 busybox sh -c 'ulimit -n'", 0, &["100"]),
    ("docker run --rm --init busybox ps", 0, &["init"]),
    ("docker run --rm --pid host busybox sh -c '[ $(ps | wc -l) -gt 3 ]'", 0, &[]),
    ("docker run --rm --network none busybox sh -c 'ls /sys/class/net | wc -l'", 0, &["1"]),
    ("docker run --rm --network host busybox ls /sys/class/net", 0, &["docker0"]),
    ("script -qec 'docker run --rm -t busybox tty' /dev/null", 0, &["/dev/pts/0"]),
    ("echo typed | docker run --rm -i busybox cat", 0, &["typed"]),
    ("docker run --rm busybox sh -c 'dd if=/dev/zero bs=1M count=5 2>/dev/null' | wc -c", 0, &["5242880"]),
];

/// What people do with one container that lives, one after the other.
const LIVE: &[Check] = &[
    (
        "docker run -d --name live busybox sh -c 'trap \"exit 0\" TERM; trap \"echo heard\" USR1; echo started; while :; do sleep 0.1; done'",
        0,
        &[],
    ),
    ("docker exec live echo inside", 0, &["inside"]),
    ("docker exec live sh -c 'exit 3'", 3, &[]),
    ("docker exec live nosuch; c=$?; [ $c = 126 ] || [ $c = 127 ]", 0, &["executable file not found"]),
    ("docker exec -u 1000 -e X=y -w /tmp live sh -c 'id -u; echo $X; pwd'", 0, &["1000", "y", "/tmp"]),
    ("echo typed | docker exec -i live cat", 0, &["typed"]),
    ("script -qec 'docker exec -t live tty' /dev/null", 0, &["/dev/pts/"]),
    ("docker logs live", 0, &["started"]),
    ("docker top live", 0, &["sleep"]),
    ("docker stats --no-stream live", 0, &["live"]),
    (
        "docker pause live && docker inspect -f '{{.State.Status}}' live && docker unpause live",
        0,
        &["paused"],
    ),
    ("docker exec live true", 0, &[]),
    (
        "docker update -m 64m --memory-swap 64m live && docker exec live sh -c 'cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null'",
        1,
        &["67108864"],
    ),
    ("echo data > file && docker cp file live:/tmp/ && docker exec live cat /tmp/file", 0, &["data"]),
    ("docker restart -t 1 live && docker exec live echo again", 0, &["again"]),
    ("docker kill -s USR1 live && until docker logs live | grep heard; do sleep 0.1; done", 0, &["heard"]),
    (
        "docker start live && docker stop -t 2 live && docker inspect -f 'ended with {{.State.ExitCode}}' live",
        0,
        &["ended with 0"],
    ),
    ("docker start live && docker kill live && docker wait live", 0, &["137"]),
    ("docker rm live", 0, &[]),
];

/// What takes containers, networks or images of its own. Each stands alone.
const APART: &[Check] = &[
    (
        "docker run -d --name oom -m 16m --memory-swap 16m busybox tail /dev/zero && docker wait oom && docker inspect -f '{{.State.OOMKilled}}' oom; docker rm oom",
        0,
        &["137", "true"],
    ),
    (
        "docker run -d --name policy --restart on-failure:2 busybox false; until docker inspect -f '{{.RestartCount}} {{.State.Status}}' policy | grep '2 exited'; do sleep 0.1; done; docker rm -f policy",
        0,
        &["2"],
    ),
    (
        "docker run -d --name web -p 127.0.0.1:8080:80 busybox sh -c 'while :; do echo served | nc -l -p 80; done' && until docker run --rm --network host busybox nc -w 2 127.0.0.1 8080 | grep .; do sleep 0.1; done; docker rm -f web",
        0,
        &["served"],
    ),
    (
        "docker network create mine && docker run -d --name peer --network mine busybox sh -c 'while :; do echo named | nc -l -p 80; done' && until docker run --rm --network mine busybox nc -w 2 peer 80 | grep .; do sleep 0.1; done; docker rm -f peer; docker network rm mine",
        0,
        &["named"],
    ),
    (
        "docker run -d --name healthy --health-cmd true --health-interval 1s busybox sleep 60; until docker inspect -f '{{.State.Health.Status}}' healthy | grep ^healthy; do sleep 0.1; done; docker rm -f healthy",
        0,
        &["healthy"],
    ),
    (
        "printf 'FROM busybox\\nRUN echo built > /built\\nCMD cat /built\\n' | docker build -q -t made - && docker run --rm made",
        0,
        &["built"],
    ),
];

/// How many checks are under way at once.
const WORKERS: usize = 4;

/// Holds a dockerd against lists of checks: the checks of a list one after the other, the lists several at a
/// time.
fn hold(engine: &Engine, lists: &[&[Check]]) {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let work = || {
        while let Some(list) = lists.get(next.fetch_add(1, Ordering::Relaxed)) {
            for check in *list {
                failures.lock().unwrap().extend(failure(engine, check));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(work);
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{:?}\n{}\n{}", engine.release, failures.join("\n"), engine.log("dockerd"));
    until("no shim is left", || engine.shims().is_empty());
}

fn failure(engine: &Engine, (script, status, parts): &Check) -> Option<String> {
    let wrong = engine.docker_command(script).is_not(*status, parts)?;
    Some(format!("{script}\n  {wrong}"))
}

/// Every shim is Corten's by its program, and `runtime` is whose the state of the container is.
fn run_by(engine: &Engine, runtime: &str) {
    engine.docker_command("docker run -d --name whose busybox sleep 1000").ok();
    let shims = engine.shims();
    assert_eq!(shims.len(), 1, "{shims:?}");
    let program_of = |pid| fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert_eq!(program_of(shims[0]), pod::program().canonicalize().unwrap());
    // Neither runtime reads the other's state.
    let state = "root=$(dirname $(dirname $(find /run exec -name state.json)))";
    let status = format!("{state}; {runtime} --root $root state $(basename $root/*) | jq -r .status");
    assert_eq!(engine.docker_command(&status).ok(), "running\n");
    engine.docker_command("docker rm -f whose").ok();
}

/// A dockerd with this entry in its daemon.json (`BIN` is the folder of our programs) does all that people
/// do.
fn does_everything(release: Release, entry: &str) {
    let Some(engine) = Engine::docker(release, entry) else {
        return integration::skip::say(&format!("needs dockerd ({release:?})"));
    };
    run_by(&engine, "bin/corten");
    let alone = RUN.iter().chain(APART).map(std::slice::from_ref);
    let lists: Vec<&[Check]> = std::iter::once(LIVE).chain(alone).collect();
    hold(&engine, &lists);
}

/// 20.10 knows paths only: the shim is the one named containerd-shim-runc-v2 on containerd's PATH.
#[test]
fn by_the_drop_in_name() {
    does_everything(Release::Distribution, r#"{"path": "BIN/corten"}"#);
}

#[test]
fn by_type() {
    does_everything(Release::Newer, r#"{"runtimeType": "io.containerd.corten.v2"}"#);
}

#[test]
fn by_the_path_of_the_shim_with_another_runtime() {
    // Docker tells a shim that it does not know the name of a file, and none of the options in daemon.json.
    let entry =
        r#"{"runtimeType": "BIN/containerd-shim-corten-v2", "options": {"ConfigPath": "BIN/options.toml"}}"#;
    let Some(engine) = Engine::docker(Release::Newer, entry) else {
        return integration::skip::say("needs dockerd (Newer)");
    };
    fs::write(engine.directory.join("bin/options.toml"), "BinaryName = 'runc'\n").unwrap();
    run_by(&engine, "runc");
    hold(&engine, &[LIVE, &RUN[..6]]);
}

#[test]
fn containers_outlive_dockerd_with_live_restore() {
    let entry = r#"{"runtimeType": "io.containerd.corten.v2"}"#;
    let Some(mut engine) = Engine::docker(Release::Newer, entry) else {
        return integration::skip::say("needs dockerd (Newer)");
    };
    let config = fs::read_to_string(engine.directory.join("daemon.json")).unwrap();
    fs::write(engine.directory.join("daemon.json"), config.replacen('{', "{\"live-restore\": true, ", 1))
        .unwrap();
    let dockerd = engine.processes_of("dockerd")[0];
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(dockerd), Signal::SIGHUP).unwrap();
    until("live restore is on", || {
        engine.docker_command("docker info").out.contains("Live Restore Enabled: true")
    });
    engine.docker_command("docker run -d --name kept busybox sh -c 'while :; do date; sleep 0.2; done'").ok();
    let pid = engine.docker_command("docker inspect -f '{{.State.Pid}}' kept").ok();
    engine.kill("dockerd", Signal::SIGKILL);
    let dir = engine.directory.display().to_string();
    let _ = fs::remove_file(format!("{dir}/docker.pid"));
    let [file, data, exec, pidfile, socket] =
        ["daemon.json", "data", "exec", "docker.pid", "docker.sock"].map(|name| format!("{dir}/{name}"));
    let socket = format!("unix://{socket}");
    let words = ["dockerd", "--config-file", &file, "--data-root", &data, "--exec-root", &exec];
    engine.daemon("dockerd", &[&words[..], &["-H", &socket, "--pidfile", &pidfile]].concat());
    until("dockerd answers", || engine.docker_command("docker version").status == 0);
    assert_eq!(engine.docker_command("docker inspect -f '{{.State.Pid}}' kept").ok(), pid);
    assert_eq!(engine.docker_command("docker exec kept echo still").ok(), "still\n");
    engine.docker_command("docker rm -f kept").ok();
}
