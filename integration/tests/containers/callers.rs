//! How callers start the program: where they put flags, what they ignore, limit or close, and what is not
//! mounted.

use integration::container::{Container, End, shell_view};
use integration::{leaks, since};
use std::io::Write;
use std::process::Stdio;

/// runc takes flags among the arguments, except for what another program is to have.
#[test]
fn flags_may_follow_the_id() {
    since!("flags after arguments", "runc 1.0", "crun -");
    let mut c = Container::new();
    c.sleeping();
    c.call(&["update", &c.id, "--pids-limit", "20"]).ok();
    c.call(&["kill", &c.id, "--all", "--", "0"]).ok();
    let run = c.exec(&[], &["/bin/sh", "-c", "echo \"$@\"", "sh", "--detach", "-t", "--", "-e"]).ok();
    assert_eq!(run.stdout.trim(), "--detach -t -- -e", "{run:#?}");
    // A word with a dash that is no flag is an argument here.
    let run = c.call(&["kill", &c.id, "-77"]);
    assert!(!run.error().contains("flag provided"), "{run:#?}");
    c.call(&["delete", &c.id, "--force"]).ok();
    leaks::assert_none(&c);
    c.shell("true").write_config();
    let bundle = c.bundle().to_str().unwrap().to_owned();
    c.call(&["run", &c.id, "--bundle", &bundle]).ok();
}

/// As crun takes them.
#[test]
fn switches_of_one_letter_may_stand_together() {
    since!("switches in one word", "runc -", "crun 1.0");
    let mut c = Container::new();
    c.sleeping();
    let file = c.text_path("pid");
    let run = c.exec(&["-td", "--pid-file", &file], &["/bin/true"]);
    // Both were read: a terminal for a process that is left alone needs a socket.
    assert!(run.error().contains("console socket"), "{run:#?}");
    let run = c.call(&["list", "-qf", "json"]).ok();
    assert_eq!(run.stdout.trim(), c.id);
}

#[test]
fn what_takes_no_arguments_refuses_them() {
    since!("refusal of arguments", "runc 1.0", "crun -");
    let c = Container::new();
    for command in ["list", "features", "spec"] {
        let run = c.call(&[command, "more"]);
        assert!(run.error().contains("requires exactly 0 argument(s)"), "{run:#?}");
        assert_eq!((run.code(), run.stdout.contains('{')), (1, false), "{run:#?}");
    }
}

/// Scripts pass on what they were not given: `--cwd "$dir"`, `kill id "$signal"`.
#[test]
fn an_empty_value_is_none() {
    since!("empty values", "runc 1.0", "crun -");
    let mut c = Container::new();
    c.put("/process/cwd", "/tmp".into()).args(&["/probe", "signals"]);
    c.run_detached();
    c.await_line("ready");
    let run = c.exec(&["--cwd="], &["/bin/pwd"]).ok();
    assert_eq!(run.stdout.trim(), "/tmp");
    c.kill("").ok();
    assert_eq!(c.wait(), End::Exited(0));
}

#[test]
fn what_to_run_is_refused_with_the_status_of_exec() {
    since!("exit status 255 of exec", "runc 1.0", "crun -");
    let mut c = Container::new();
    c.sleeping();
    for (flags, words) in
        [(&[][..], &[][..]), (&["--user", "somebody"], &["/probe"]), (&["--user", "1:"], &["/probe"])]
    {
        let run = c.exec(flags, words);
        assert_eq!(run.code(), 255, "{run:#?}");
        assert!(run.error().contains("exec failed"), "{run:#?}");
    }
}

/// `SIGCHLD` stays ignored through execve(2): below such a caller, what has ended would be gone without a
/// status.
#[test]
fn a_caller_that_ignores_the_end_of_its_children() {
    let mut c = Container::new();
    c.prepared("trap '' CHLD");
    c.put("/hooks", serde_json::json!({ "createRuntime": [{ "path": "/bin/true" }], "poststart": [{ "path": "/bin/true" }] }));
    c.shell("exit 7");
    assert_eq!(c.run(&[]).code(), 7);
    let mut c = Container::new();
    c.prepared("trap '' CHLD XFSZ RTMIN").sleeping();
    assert_eq!(c.exec(&[], &["/bin/sh", "-c", "exit 8"]).code(), 8);
    let status = c.exec(&[], &["/bin/cat", "/proc/self/status"]).ok().stdout;
    assert!(status.contains("SigIgn:\t0000000000000000"), "{status}");
    since!("processes as a table", "runc 1.0", "crun -");
    assert_eq!(c.call(&["ps", &c.id]).ok().stdout.lines().count(), 2);
}

/// A limit on the size of files must end a create with a message, and not the program half-way.
#[test]
fn files_that_may_not_grow() {
    since!("survival of a file size limit", "runc 1.0", "crun -");
    let mut c = Container::new();
    c.prepared("ulimit -f 0").shell("true").write_config();
    let bundle = c.bundle().to_str().unwrap().to_owned();
    let mut command = c.command("limited", &["run", "--bundle", &bundle, &c.id]);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(1));
    leaks::assert_none(&c);
}

/// What is left open because a command is about to end must leave room for what is opened later.
#[test]
fn few_files_that_may_be_open() {
    let mut c = Container::docker_like();
    c.prepared("ulimit -n 40").sleeping();
    assert_eq!(c.exec(&[], &["/bin/sh", "-c", "exit 7"]).code(), 7);
    c.delete_force().ok();
    let mut c = Container::docker_like();
    c.prepared("ulimit -n 40").shell("exit 8");
    assert_eq!(c.run(&[]).code(), 8);
    leaks::assert_none(&c);
}

/// Where nobody can tell, a container has not stopped: `delete` would leave its processes behind.
#[test]
fn without_proc_nothing_is_said_to_have_stopped() {
    let mut c = Container::new();
    c.sleeping();
    let usual = std::mem::replace(&mut c.via, shell_view("umount -l /proc"));
    let run = c.call(&["delete", &c.id]);
    assert_eq!(run.code(), 1, "{run:#?}");
    c.via = usual;
    assert_eq!(c.status(), "running");
}

/// The same below a filter that does not know the call by which it is looked for.
#[test]
fn without_pidfds_nothing_is_said_to_have_stopped() {
    since!("an error where nobody can tell", "runc -", "crun -");
    let mut c = Container::new();
    c.sleeping();
    for error in [libc::EPERM, libc::ENOSYS, libc::EMFILE] {
        let run = c.call_with(&["delete", &c.id], |command| {
            integration::sys::refuse(command, libc::SYS_pidfd_open, error);
        });
        assert_eq!(run.code(), 1, "{run:#?}");
        assert!(run.error().contains("pidfd_open"), "{run:#?}");
    }
    assert_eq!(c.status(), "running");
}

/// A shell's `<(...)` is a pipe.
#[test]
fn a_process_may_come_from_a_pipe() {
    let mut c = Container::new();
    c.sleeping();
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(br#"{"args": ["/bin/sh", "-c", "exit 6"], "cwd": "/", "env": ["A=b"]}"#).unwrap();
    drop(writer);
    let run = c.call_with(&["exec", "--process", "/dev/stdin", &c.id], |command| {
        command.stdin(reader);
    });
    assert_eq!(run.code(), 6, "{run:#?}");
}

/// State and hooks name the bundle by a path that leads there without detours.
#[test]
fn a_bundle_may_be_named_by_way_of_its_parent() {
    let mut c = Container::new();
    c.args(&["/probe", "sleep"]).write_config();
    let around = format!("{}/rootfs/..", c.bundle().display());
    c.call(&["create", "--bundle", &around, &c.id]).ok();
    assert_eq!(c.state()["bundle"], c.bundle().to_str().unwrap());
}

/// Without privilege there may be no control group to ask.
#[test]
fn processes_are_listed_without_a_control_group() {
    since!("ps without cgroups", "runc -", "crun -");
    let mut c = Container::new();
    c.globals.push("--cgroup-manager=disabled".to_owned());
    c.args(&["/probe", "orphans", "3"]);
    c.run_detached();
    c.await_line("ready");
    let run = c.call(&["ps", "--format", "json", &c.id]).ok();
    assert_eq!(run.json().as_array().map(Vec::len), Some(4), "{run:#?}");
    assert!(run.json().as_array().unwrap().contains(&c.pid().into()), "{run:#?}");
    // Where the processes of the whole host are in its PID namespace, only the first one is known to be the
    // container's.
    let mut c = Container::new();
    c.globals.push("--cgroup-manager=disabled".to_owned());
    c.without_namespace("pid").sleeping();
    assert_eq!(c.call(&["ps", "--format", "json", &c.id]).ok().json(), serde_json::json!([c.pid()]));
}

/// A container that was to be a virtual machine, or to change its own control groups, is not silently another
/// one.
#[test]
fn annotations_that_are_not_acted_on_are_warned_of() {
    since!("warnings about annotations", "runc -", "crun -");
    for name in ["run.oci.handler", "run.oci.delegate-cgroup", "run.oci.seccomp.plugins"] {
        let mut c = Container::new();
        c.put("/annotations", serde_json::json!({ name: "some" })).shell("true");
        let run = c.run(&[]).ok();
        let warnings = run.logged("warning");
        assert!(warnings.iter().any(|text| text.contains(name)), "{run:#?}");
    }
}
