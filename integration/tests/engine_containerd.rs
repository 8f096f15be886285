//! The runtime under containerd and its runc shim, as `ctr run --runc-binary`.

use integration::engine::{containerd, unique};
use integration::outcome::Outcome;
use integration::report::Report;
use integration::{host, leaks, needs, outcome, proc};
use std::fs;

/// The daemon, or a skip.
macro_rules! containerd {
    () => {
        needs!(containerd(), "root, containerd, ctr, umoci and skopeo")
    };
}

/// Runs a command of ctr's until all of the container's output has come, five times at most: ctr 1.6 leaves
/// when it hears of the end, and containerd's own shim may tell of that first.
fn whole(mut run: impl FnMut() -> Outcome, is_all: impl Fn(&Outcome) -> bool) -> Outcome {
    for _ in 1..5 {
        let outcome = run();
        if is_all(&outcome) {
            return outcome;
        }
    }
    run()
}

/// What the probe sees.
fn report(run: impl FnMut() -> Outcome) -> Report {
    let parse = |run: &Outcome| serde_json::from_str::<Report>(&run.stdout);
    parse(&whole(run, |run| parse(run).is_ok()).ok()).unwrap()
}

#[test]
fn a_task_runs_and_its_output_and_status_come_back() {
    let containerd = containerd!();
    let words = ["sh", "-c", "echo out; echo err >&2; exit 7"];
    let run = || containerd.run(&[], &unique("run"), &words);
    let run = whole(run, |run| !run.stdout.is_empty() && run.stderr.contains("err\n"));
    assert_eq!((run.code(), run.stdout.as_str()), (7, "out\n"), "{run:#?}");
    assert!(run.stderr.contains("err\n"), "{run:#?}");
}

#[test]
fn isolation_is_containerds() {
    let containerd = containerd!();
    let report = report(|| containerd.run(&[], &unique("run"), &["/probe", "report"]));
    assert_eq!((report.pid, report.no_new_privs), (1, true));
    assert_eq!(report.fds.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(report.interfaces, ["lo"]);
}

#[test]
fn a_terminal() {
    let containerd = containerd!();
    let (mut console, mut child) = containerd
        .run_on_terminal(&unique("tty"), &["sh", "-c", "stty size; read line; echo got $line; exit 3"]);
    console.expect("\r\n");
    console.write("hello\n");
    console.expect("got hello");
    console.rest();
    assert_eq!(outcome::wait(&mut child, "ctr run --tty").code(), Some(3));
}

#[test]
fn a_missing_program_is_said_so() {
    let containerd = containerd!();
    let run = containerd.run(&[], &unique("run"), &["/no/such/program"]);
    assert!(!run.status.success());
    assert!(
        run.stderr.contains("/no/such/program") && run.stderr.contains("no such file or directory"),
        "{run:#?}"
    );
}

#[test]
fn exec_enters_the_task() {
    let containerd = containerd!();
    let task = containerd.detached(&[], &["sleep", "600"]);
    let inside = whole(|| task.exec(&[], &["echo", "inside"]), |run| !run.stdout.is_empty());
    assert_eq!(inside.ok().stdout, "inside\n");
    assert_eq!(task.exec(&[], &["sh", "-c", "exit 8"]).code(), 8);
    let flags = ["--cwd", "/tmp", "--user", "1000:1000"];
    let report = report(|| task.exec(&flags, &["/probe", "report"]));
    assert_eq!((report.uid.as_slice(), report.cwd.as_str()), (&[1000; 4][..], "/tmp"));
    assert!(!task.exec(&[], &["/no/such/program"]).status.success());
}

#[test]
fn pause_resume_and_kill() {
    let containerd = containerd!();
    let task = containerd.detached(&[], &["sleep", "600"]);
    let pid = task.pid();
    assert_eq!(task.status(), "RUNNING");
    task.call("pause", &[], &[]).ok();
    assert_eq!(task.status(), "PAUSED");
    task.call("resume", &[], &[]).ok();
    assert_eq!(task.status(), "RUNNING");
    task.call("kill", &["--signal", "SIGKILL"], &[]).ok();
    outcome::until("the end", || task.status() == "STOPPED");
    assert!(!host::alive(pid));
    let deleted = task.call("delete", &[], &[]);
    assert!(deleted.stderr.contains("137"), "{deleted:#?}");
    assert_eq!(leaks::cgroups(&task.id), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_second_kill_finds_nothing() {
    let containerd = containerd!();
    let task = containerd.detached(&[], &["true"]);
    outcome::until("the end", || task.status() == "STOPPED");
    let run = task.call("kill", &["--signal", "SIGTERM"], &[]);
    assert!(run.status.success() || run.stderr.contains("process already finished"), "{run:#?}");
}

#[test]
fn limits_and_metrics() {
    let containerd = containerd!();
    let task = containerd.detached(&["--memory-limit", "67108864", "--cpus", "0.5"], &["sleep", "600"]);
    let pid = task.pid();
    if let Some(limit) = host::cgroup_text(pid, "memory", "memory.limit_in_bytes", "memory.max") {
        assert_eq!(limit, "67108864");
    }
    let metrics = task.call("metrics", &["--format", "json"], &[]).ok().stdout;
    assert!(metrics.contains("67108864"), "{metrics}");
    let pids = task.call("ps", &[], &[]).ok().stdout;
    assert!(pids.contains(&pid.to_string()), "{pids}");
}

#[test]
fn the_users_mounts_and_environment() {
    let containerd = containerd!();
    let shared = containerd.directory.join(unique("shared"));
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("file"), "text").unwrap();
    let mount = format!("type=bind,src={},dst=/data,options=rbind:ro", shared.display());
    let flags = ["--mount", &mount, "--env", "A=b c", "--cwd", "/data"];
    let words = ["sh", "-c", "cat file; echo \" $A\"; touch new 2>/dev/null || echo refused; echo end"];
    let run = whole(|| containerd.run(&flags, &unique("run"), &words), |run| run.stdout.ends_with("end\n"));
    assert_eq!(run.ok().stdout, "text b c\nrefused\nend\n");
}

#[test]
fn namespaces_of_the_host_and_privileges() {
    let containerd = containerd!();
    // That of this program: not everybody may look at those of process 1.
    let own = format!("pid:/proc/{}/ns/pid", std::process::id());
    let seen = |flags: &[&str]| report(|| containerd.run(flags, &unique("run"), &["/probe", "report"]));
    assert_eq!(seen(&["--with-ns", &own]).namespaces["pid"], proc::namespaces("self")["pid"]);
    let network = |flags: &[&str]| seen(flags).namespaces["net"].clone();
    // The daemon's host has a network namespace of its own, which is not the machine's.
    let host = network(&["--net-host"]);
    assert_eq!(network(&["--net-host"]), host);
    assert_ne!(network(&[]), host);
}

#[test]
fn the_default_seccomp_profile() {
    let containerd = containerd!();
    let report = report(|| containerd.run(&["--seccomp"], &unique("run"), &["/probe", "report"]));
    assert_eq!(report.seccomp, 2);
}

#[test]
fn a_read_only_root() {
    let containerd = containerd!();
    let run = || containerd.run(&["--read-only"], &unique("run"), &["/probe", "try", "create", "/file"]);
    let run = whole(run, |run| !run.stdout.is_empty());
    assert_eq!(run.ok().stdout, "EROFS\n");
}

#[test]
fn a_user_namespace_by_the_engine() {
    let containerd = containerd!();
    let flags = ["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"];
    let run = || containerd.run(&flags, &unique("run"), &["cat", "/proc/self/uid_map"]);
    let run = whole(run, |run| !run.stdout.is_empty());
    assert_eq!(run.ok().stdout.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
}

#[test]
fn many_at_once_and_nothing_left() {
    let containerd = containerd!();
    let tasks: Vec<_> = (0..6).map(|_| containerd.detached(&[], &["sleep", "600"])).collect();
    let ids: Vec<String> = tasks.iter().map(|task| task.id.clone()).collect();
    for task in &tasks {
        let alive = whole(|| task.exec(&[], &["echo", "alive"]), |run| !run.stdout.is_empty());
        assert_eq!(alive.ok().stdout, "alive\n");
    }
    drop(tasks);
    for id in ids {
        assert_eq!(leaks::cgroups(&id), Vec::<std::path::PathBuf>::new());
    }
}
