//! The runtime under podman, as root and as an unprivileged user.

#![expect(clippy::unwrap_used)]

use integration::engine::{Podman, podman, rootless_podman, unique};
use integration::report::{Report, capability_names};
use integration::{criu, host, leaks, needs, outcome};
use std::fs;

/// podman as root, or a skip.
macro_rules! podman {
    () => {
        needs!(podman(), "root and podman")
    };
}

/// podman as a user, or a skip.
macro_rules! rootless {
    () => {
        needs!(rootless_podman(), "root, podman, and useradd or the user corten-test")
    };
}

fn report(text: &str) -> Report {
    serde_json::from_str(text).unwrap()
}

/// What holds for root and for a user alike.
fn runs_and_reports(podman: &Podman, flags: &[&str]) {
    let run = podman.run(flags, &["sh", "-c", "echo out; echo err >&2; exit 42"]);
    assert_eq!((run.code(), run.stdout.as_str()), (42, "out\n"), "{run:#?}");
    assert!(run.stderr.contains("err\n"), "{run:#?}");
    let seen = report(&podman.text(flags, &["/probe", "report"]));
    assert_eq!(seen.pid, 1);
    assert_eq!(seen.seccomp, 2);
    assert_eq!(seen.fds.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
}

fn says_what_cannot_run(podman: &Podman, flags: &[&str]) {
    assert_eq!(podman.run(flags, &["/no/such/program"]).code(), 127);
    assert_eq!(podman.run(flags, &["no-such-program"]).code(), 127);
    assert_eq!(podman.run(flags, &["/etc/passwd"]).code(), 126);
}

fn has_a_life(podman: &Podman, flags: &[&str]) {
    let id =
        podman.detached(flags, &["sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"]);
    outcome::until("ready", || podman.client.call(&["logs", &id]).stdout == "ready\n");
    assert_eq!(podman.client.text(&["exec", &id, "echo", "inside"]), "inside");
    let seen = report(&podman.client.text(&[
        "exec",
        "--user",
        "1000",
        "--workdir",
        "/tmp",
        "--env",
        "A=b",
        &id,
        "/probe",
        "report",
    ]));
    assert_eq!((seen.uid[1], seen.cwd.as_str(), seen.var("A")), (1000, "/tmp", Some("b")));
    assert_eq!(podman.client.call(&["exec", &id, "sh", "-c", "exit 6"]).code(), 6);
    podman.client.text(&["stop", "--time", "30", &id]);
    assert_eq!(podman.client.text(&["inspect", "--format", "{{.State.ExitCode}}", &id]), "9");
    podman.client.text(&["start", &id]);
    podman.client.text(&["kill", &id]);
    assert_eq!(podman.client.text(&["wait", &id]), "137");
    podman.client.text(&["rm", "--force", &id]);
}

fn has_a_terminal(podman: &Podman, flags: &[&str]) {
    let mut words = vec!["run", "--rm", "-it"];
    words.extend(flags);
    words.extend(["busybox:test", "sh"]);
    let (mut console, mut child) = podman.client.on_terminal(&words);
    console.expect("# ");
    console.write("test -t 0 && echo is a $((6*7)) terminal\n");
    console.expect("is a 42 terminal");
    console.write("exit 5\n");
    console.rest();
    assert_eq!(outcome::wait(&mut child, "podman run -it").code(), Some(5));
}

#[test]
fn root_runs_a_container() {
    runs_and_reports(podman!(), &["--network", "none"]);
}

#[test]
fn a_user_runs_a_container() {
    let podman = rootless!();
    runs_and_reports(podman, &["--network", "none"]);
    let seen = report(&podman.text(&["--network", "none"], &["/probe", "report"]));
    assert_eq!(seen.uid, [0; 4]);
    let own = integration::user::user().unwrap();
    assert_eq!(seen.uid_map[0], [0, u64::from(own.uid), 1]);
}

#[test]
fn root_is_told_what_cannot_run() {
    says_what_cannot_run(podman!(), &["--network", "none"]);
}

#[test]
fn a_user_is_told_what_cannot_run() {
    says_what_cannot_run(rootless!(), &["--network", "none"]);
}

#[test]
fn a_container_of_root_has_a_life() {
    has_a_life(podman!(), &["--network", "none"]);
}

#[test]
fn a_container_of_a_user_has_a_life() {
    has_a_life(rootless!(), &["--network", "none"]);
}

#[test]
fn root_has_a_terminal() {
    has_a_terminal(podman!(), &["--network", "none"]);
}

#[test]
fn a_user_has_a_terminal() {
    has_a_terminal(rootless!(), &["--network", "none"]);
}

#[test]
fn pause_limits_and_stats() {
    let podman = podman!();
    let id =
        podman.detached(&["--network", "none", "--memory", "64m", "--pids-limit", "44"], &["sleep", "600"]);
    let pid: i32 = podman.client.text(&["inspect", "--format", "{{.State.Pid}}", &id]).parse().unwrap();
    if let Some(limit) = host::cgroup_text(pid, "memory", "memory.limit_in_bytes", "memory.max") {
        assert_eq!(limit, "67108864");
    }
    podman.client.text(&["pause", &id]);
    assert_eq!(podman.client.text(&["inspect", "--format", "{{.State.Status}}", &id]), "paused");
    podman.client.text(&["unpause", &id]);
    assert_eq!(podman.client.text(&["inspect", "--format", "{{.State.Status}}", &id]), "running");
    let top = podman.client.text(&["top", &id, "args"]);
    assert!(top.contains("sleep 600"), "{top}");
    podman.client.text(&["rm", "--force", "--time", "0", &id]);
    assert!(!host::alive(pid));
    assert_eq!(leaks::cgroups(&id), Vec::<std::path::PathBuf>::new());
}

#[test]
fn options_reach_the_container() {
    let podman = podman!();
    let text = podman.text(
        &[
            "--network",
            "none",
            "--hostname",
            "inside",
            "--user",
            "1000:2000",
            "--cap-drop",
            "all",
            "--cap-add",
            "kill",
            "--read-only",
            "--tmpfs",
            "/scratch:size=3m",
            "--ulimit",
            "nofile=300:400",
            "--ulimit",
            "nproc=500:500",
            "--oom-score-adj",
            "222",
            "--security-opt",
            "no-new-privileges",
            "--env",
            "A=b c",
            "--workdir",
            "/tmp",
            "--shm-size",
            "5m",
            "--umask",
            "0027",
        ],
        &["/probe", "report"],
    );
    let seen = report(&text);
    assert_eq!(seen.hostname, "inside");
    assert_eq!((seen.uid.as_slice(), seen.gid.as_slice()), (&[1000; 4][..], &[2000; 4][..]));
    assert_eq!(capability_names(seen.caps.bounding), ["CAP_KILL"]);
    assert!(seen.mount("/").has("ro") && seen.mount("/scratch").super_has("size=3072k"));
    assert_eq!(seen.limit("Max open files"), Some((300, 400)));
    assert_eq!((seen.oom_score_adj, seen.no_new_privs, seen.umask), (222, true, 0o027));
    assert_eq!((seen.var("A"), seen.cwd.as_str()), (Some("b c"), "/tmp"));
}

#[test]
fn volumes_and_shared_namespaces() {
    let podman = podman!();
    let shared = podman.directory.join(unique("shared"));
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("file"), "text").unwrap();
    let bind = format!("{}:/data:ro", shared.display());
    assert_eq!(podman.text(&["--network", "none", "-v", &bind], &["cat", "/data/file"]), "text");
    let id = podman.detached(&["--network", "none"], &["sleep", "600"]);
    let join = format!("container:{id}");
    let seen = report(&podman.text(&["--pid", &join, "--net", &join], &["/probe", "report"]));
    assert!(seen.pid != 1 && seen.pids.contains(&1));
    podman.client.text(&["rm", "--force", "--time", "0", &id]);
}

#[test]
fn a_bridge_and_published_ports() {
    let podman = podman!();
    let run = podman.client.call(&[
        "run",
        "--detach",
        "--publish",
        "18081:8080",
        "busybox:test",
        "/probe",
        "serve",
        "8080",
        "from inside",
    ]);
    if !run.status.success() && run.stderr.contains("netavark") {
        integration::skip!("needs a network set-up by netavark: {}", run.stderr.trim());
    }
    let id = run.ok().stdout.trim().to_owned();
    let fetch = format!("{} fetch 127.0.0.1:18081", integration::runtime::built("probe").display());
    outcome::until("an answer at the published port", || podman.on_host(&fetch).stdout == "from inside\n");
    podman.client.text(&["rm", "--force", "--time", "0", &id]);
}

#[test]
fn a_privileged_container() {
    let podman = podman!();
    let run = podman.run(&["--network", "none", "--privileged"], &["/probe", "try", "mount-tmpfs", "/mnt"]);
    if !run.status.success() && !integration::runtime::runtime().is_ours() {
        integration::skip!("needs all capabilities in the bounding set");
    }
    assert_eq!(run.ok().stdout, "ok\n");
}

/// A user namespace may not show the host's processes by a proc of its own: podman binds the host's instead,
/// and all of the host's devices are bound as well.
#[test]
fn a_privileged_container_of_a_user_with_the_hosts_pids() {
    let podman = rootless!();
    let flags = ["--network", "none", "--privileged", "--pid", "host"];
    let seen = report(&podman.text(&flags, &["/probe", "report"]));
    assert_eq!(seen.namespaces["pid"], integration::proc::namespaces("self")["pid"]);
    assert!(seen.pids.contains(&1) && seen.pid != 1);
    assert_eq!(podman.run(&flags, &["sh", "-c", "echo text > /dev/null"]).code(), 0);
}

#[test]
fn pods_share_what_they_should() {
    let podman = podman!();
    let pod = unique("pod");
    let made = podman.client.call(&["pod", "create", "--infra=false", "--name", &pod]);
    made.ok();
    let id = podman.client.text(&[
        "run",
        "--detach",
        "--pod",
        &pod,
        "--network",
        "none",
        "busybox:test",
        "sleep",
        "600",
    ]);
    assert_eq!(podman.client.text(&["exec", &id, "echo", "in the pod"]), "in the pod");
    podman.client.text(&["pod", "rm", "--force", "--time", "0", &pod]);
}

/// `podman container checkpoint` and `restore`, which ask conmon and the runtime.
#[test]
fn a_checkpoint_and_its_restore() {
    let podman = podman!();
    let path = needs!(criu::path(), "criu (integration/src/fetch-criu.sh)");
    let client = podman.client.clone().variable("PATH", path.as_ref());
    // A start anew is none of the restore.
    let script =
        "[ ! -e /tmp/count ] || exit 9; i=0; while :; do i=$((i+1)); echo $i > /tmp/count; sleep 0.02; done";
    let id = podman.detached(&["--network", "none"], &["sh", "-c", script]);
    let count = || client.call(&["exec", &id, "cat", "/tmp/count"]).stdout.trim().parse::<u64>().unwrap_or(0);
    outcome::until("the counter", || count() > 5);
    let before = count();
    client.text(&["container", "checkpoint", &id]);
    assert_eq!(client.text(&["inspect", "--format", "{{.State.Running}}", &id]), "false");
    client.text(&["container", "restore", &id]);
    assert_eq!(client.text(&["inspect", "--format", "{{.State.Running}}", &id]), "true");
    outcome::until("the counter to go on", || count() > before);
    client.text(&["rm", "--force", "--time", "0", &id]);
}
