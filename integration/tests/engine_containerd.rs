//! The runtime under containerd and its runc shim, as `ctr run --runc-binary`.

use integration::engine::{containerd, unique};
use integration::report::Report;
use integration::{host, leaks, needs, outcome, proc};
use std::fs;

/// The daemon, or a skip.
macro_rules! containerd {
    () => {
        needs!(containerd(), "root, containerd, ctr, umoci and skopeo")
    };
}

#[test]
fn a_task_runs_and_its_output_and_status_come_back() {
    let containerd = containerd!();
    let run = containerd.run(&[], &unique("run"), &["sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((run.code(), run.stdout.as_str()), (7, "out\n"), "{run:#?}");
    assert!(run.stderr.contains("err\n"), "{run:#?}");
}

#[test]
fn isolation_is_containerds() {
    let containerd = containerd!();
    let text = containerd.run(&[], &unique("run"), &["/probe", "report"]).ok().stdout;
    let report: Report = serde_json::from_str(&text).unwrap();
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
    assert_eq!(task.exec(&[], &["echo", "inside"]).ok().stdout, "inside\n");
    assert_eq!(task.exec(&[], &["sh", "-c", "exit 8"]).code(), 8);
    let text = task.exec(&["--cwd", "/tmp", "--user", "1000:1000"], &["/probe", "report"]).ok().stdout;
    let report: Report = serde_json::from_str(&text).unwrap();
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
    let run = containerd.run(
        &["--mount", &mount, "--env", "A=b c", "--cwd", "/data"],
        &unique("run"),
        &["sh", "-c", "cat file; echo \" $A\"; touch new 2>/dev/null || echo refused"],
    );
    assert_eq!(run.ok().stdout, "text b c\nrefused\n");
}

#[test]
fn namespaces_of_the_host_and_privileges() {
    let containerd = containerd!();
    // That of this program: not everybody may look at those of process 1.
    let own = format!("pid:/proc/{}/ns/pid", std::process::id());
    let run = containerd.run(&["--with-ns", &own], &unique("run"), &["/probe", "report"]);
    let report: Report = serde_json::from_str(&run.ok().stdout).unwrap();
    assert_eq!(report.namespaces["pid"], proc::namespaces("self")["pid"]);
    let network = |flags: &[&str]| {
        let run = containerd.run(flags, &unique("run"), &["/probe", "report"]);
        let report: Report = serde_json::from_str(&run.ok().stdout).unwrap();
        report.namespaces["net"].clone()
    };
    // The daemon's host has a network namespace of its own, which is not the machine's.
    let host = network(&["--net-host"]);
    assert_eq!(network(&["--net-host"]), host);
    assert_ne!(network(&[]), host);
}

#[test]
fn the_default_seccomp_profile() {
    let containerd = containerd!();
    let run = containerd.run(&["--seccomp"], &unique("run"), &["/probe", "report"]);
    let report: Report = serde_json::from_str(&run.ok().stdout).unwrap();
    assert_eq!(report.seccomp, 2);
}

#[test]
fn a_read_only_root() {
    let containerd = containerd!();
    let run = containerd.run(&["--read-only"], &unique("run"), &["/probe", "try", "create", "/file"]);
    assert_eq!(run.ok().stdout, "EROFS\n");
}

#[test]
fn a_user_namespace_by_the_engine() {
    let containerd = containerd!();
    let flags = ["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"];
    let run = containerd.run(&flags, &unique("run"), &["cat", "/proc/self/uid_map"]);
    assert_eq!(run.ok().stdout.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
}

#[test]
fn many_at_once_and_nothing_left() {
    let containerd = containerd!();
    let tasks: Vec<_> = (0..6).map(|_| containerd.detached(&[], &["sleep", "600"])).collect();
    let ids: Vec<String> = tasks.iter().map(|task| task.id.clone()).collect();
    for task in &tasks {
        assert_eq!(task.exec(&[], &["echo", "alive"]).ok().stdout, "alive\n");
    }
    drop(tasks);
    for id in ids {
        assert_eq!(leaks::cgroups(&id), Vec::<std::path::PathBuf>::new());
    }
}
