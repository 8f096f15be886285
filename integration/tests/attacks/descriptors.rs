//! What of the host a runtime leaves open, or lets itself be caught with.

use crate::Sentinel;
use integration::container::Container;
use integration::runtime::runtime;
use integration::{outcome, since, sys};
use serde_json::json;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::process::Command;

/// Descriptors that a careless caller leaves open, as one would.
fn careless(c: &Container) -> Vec<OwnedFd> {
    (0..8).map(|_| File::open(c.bundle()).unwrap().into()).collect()
}

#[test]
fn the_program_has_its_standard_streams_alone() {
    let mut c = Container::new();
    c.args(&["/probe", "report"]);
    let run = c.run_with(&[], |command| sys::pass_fds(command, careless(&c)));
    let report = integration::container::parse_report(&run.ok());
    assert_eq!(report.fds.keys().collect::<Vec<_>>(), [&0, &1, &2], "{:#?}", report.fds);
}

#[test]
fn an_executed_program_has_its_standard_streams_alone() {
    let mut c = Container::new();
    c.sleeping();
    let exec = c.call_with(&["exec", &c.id, "/probe", "report"], |command| {
        sys::pass_fds(command, careless(&c));
    });
    let report = integration::container::parse_report(&exec.ok());
    assert_eq!(report.fds.keys().collect::<Vec<_>>(), [&0, &1, &2], "{:#?}", report.fds);
}

#[test]
fn hooks_have_their_standard_streams_alone() {
    let mut c = Container::new();
    // The listing itself has one open: the fourth.
    let inside = ["createContainer", "startContainer"];
    let all = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    for kind in all {
        let file = c.text_path(&format!("hook-{kind}"));
        let script = format!("ls /proc/self/fd > {file}");
        c.put(&format!("/hooks/{kind}/-"), json!({ "path": "/bin/sh", "args": ["sh", "-c", script] }));
    }
    c.put("/root/readonly", json!(false));
    c.put(
        "/hooks/startContainer/-",
        json!({ "path": "/bin/sh", "args": ["sh", "-c", "ls /proc/self/fd > /tmp/hook-startContainer"] }),
    );
    c.args(&["/bin/true"]);
    c.run_with(&[], |command| sys::pass_fds(command, careless(&c))).ok();
    let read = |path| fs::read_to_string(path).unwrap().split_whitespace().count();
    for kind in all.iter().filter(|kind| !inside.contains(kind)) {
        assert_eq!(read(c.path(&format!("hook-{kind}"))), 4, "{kind}");
    }
    assert_eq!(read(c.rootfs("tmp/hook-startContainer")), 4, "startContainer");
}

/// A file that the program was to read, and nothing else: it does not become the user's, who could write to
/// it then.
#[test]
fn a_file_that_is_read_is_not_given_away() {
    let mut c = Container::new();
    let host = Sentinel::beside(&c);
    let read = |command: &mut Command| {
        command.stdin(File::open(host.path("file")).unwrap());
    };
    c.put("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    c.shell("cat; echo attacked >> /proc/self/fd/0");
    let run = c.run_with(&[], read);
    assert!(run.stdout.contains("the host's"), "{run:#?}");
    host.assert_unchanged("a file to read");
    let mut c = Container::new();
    c.sleeping();
    let attack =
        ["exec", "--user", "1000:1000", &c.id, "/bin/sh", "-c", "cat; echo attacked >> /proc/self/fd/0"];
    let exec = c.call_with(&attack, read);
    assert!(exec.stdout.contains("the host's"), "{exec:#?}");
    host.assert_unchanged("a file to read, of an exec");
}

/// Looks for the host from a working directory, upwards.
fn climb(host: &Sentinel) -> String {
    let file = host.path("file");
    let file = file.trim_start_matches('/');
    format!("for p in . .. ../.. ../../.. ../../../../..; do cat $p/{file} 2>/dev/null; done; true")
}

/// A descriptor that is still open when the working directory is entered leads out (CVE-2024-21626).
#[test]
fn a_working_directory_is_never_one_of_the_hosts() {
    for number in 3..20 {
        let mut c = Container::new();
        let host = Sentinel::beside(&c);
        c.put("/process/cwd", json!(format!("/proc/self/fd/{number}"))).shell(&climb(&host));
        let run = c.run(&[]);
        assert!(!run.stdout.contains("the host's"), "descriptor {number} leads out: {run:#?}");
    }
}

#[test]
fn a_working_directory_of_an_exec_is_never_one_of_the_hosts() {
    let mut c = Container::new();
    c.sleeping();
    let host = Sentinel::beside(&c);
    for number in 3..20 {
        let cwd = format!("/proc/self/fd/{number}");
        let exec = c.call_with(&["exec", "--cwd", &cwd, &c.id, "/bin/sh", "-c", &climb(&host)], |command| {
            sys::pass_fds(command, careless(&c));
        });
        assert!(!exec.stdout.contains("the host's"), "descriptor {number} leads out: {exec:#?}");
    }
}

/// A container that looks into each process that appears in its PID namespace, with `CAP_SYS_PTRACE`.
fn spying() -> (Container, Sentinel) {
    spying_with(&["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"])
}

fn spying_with(capabilities: &[&str]) -> (Container, Sentinel) {
    let mut spy = Container::new();
    let host = Sentinel::beside(&spy);
    spy.capabilities(capabilities);
    let name = runtime().path.file_name().unwrap().to_str().unwrap().to_owned();
    let sentinel = host.path("file");
    spy.args(&["/probe", "spy", sentinel.trim_start_matches('/'), &name]);
    spy.run_detached();
    spy.await_line("ready");
    (spy, host)
}

/// What a spy may see of a process: pipes and files of its standard streams, a socket that it cannot open, a
/// FIFO.
fn assert_nothing_seen(spy: &Container) {
    let seen = spy.output();
    let innocent = |line: &str| {
        let target = line.rsplit(' ').next().unwrap_or_default();
        let streams = [".in", ".out", ".err"].iter().any(|end| target.ends_with(end));
        let stream = target.starts_with(integration::rootfs::base().to_str().unwrap()) && streams;
        line == "ready"
            || stream
            || target == "/dev/null"
            || target.starts_with("socket:")
            // A procfs of the spy's own namespace, before it is mounted.
            || target == "anon_inode:[fscontext]"
            || target == "/null"
            // What a created container waits for its start by, until it has a program. Who may trace it can
            // start it in other ways, too.
            || line.trim_end_matches(" (deleted)").ends_with("/exec.fifo")
    };
    let bad: Vec<&str> = seen.lines().filter(|line| !innocent(line)).collect();
    assert!(bad.is_empty(), "a neighbour has seen {bad:#?}");
}

/// The first weakness of all (CVE-2016-9962): a process that enters a container brings descriptors of the
/// host along.
#[test]
fn a_neighbour_finds_nothing_of_the_host_in_an_exec() {
    let (spy, _host) = spying();
    for _ in 0..30 {
        spy.call_with(&["exec", &spy.id, "/bin/true"], |command| {
            command.env("SECRET_OF_THE_CALLER", "1");
        })
        .ok();
    }
    assert_nothing_seen(&spy);
}

/// Without that capability nothing at all can be seen of a process before it is the container's program, by
/// one that has the same user and capabilities.
#[test]
fn a_neighbour_without_privilege_sees_no_process_of_the_runtime() {
    let (spy, _host) = spying_with(&["CAP_DAC_OVERRIDE"]);
    for _ in 0..30 {
        spy.exec(&[], &["/bin/true"]).ok();
    }
    let seen = spy.output();
    // The program itself is as any other, and has no sockets.
    let bad: Vec<&str> =
        seen.lines().filter(|line| line.contains("socket:") || line.contains("host")).collect();
    assert!(bad.is_empty(), "a neighbour has seen {bad:#?}");
}

/// The same of a container that is made in the PID namespace of another one, as those of a pod are: its
/// process appears there when it has nothing of the host any more, root and working directory included.
#[test]
fn a_neighbour_finds_nothing_of_the_host_in_a_container_that_joins_it() {
    since!("a container that joins a PID namespace late", "runc -", "crun -");
    let (spy, _host) = spying();
    let namespace = format!("/proc/{}/ns/pid", spy.pid());
    for round in 0..15 {
        let mut c = Container::new();
        c.namespace("pid", Some(&namespace)).args(&["/bin/true"]);
        let off = std::env::var("CORTEN_WEAKEN").unwrap_or_default();
        // As before Linux 6.18, where its procfs is made in another way.
        let weaken = if round % 2 == 0 { off } else { format!("{off},pidns") };
        let change = |command: &mut Command| {
            command.env("SECRET_OF_THE_CALLER", "1").env("CORTEN_WEAKEN", &weaken);
        };
        if round % 3 == 0 {
            // It waits a while, and is started.
            c.write_config();
            let bundle = c.text_path("");
            c.call_with(&["create", "--bundle", &bundle, &c.id], change).ok();
            std::thread::sleep(std::time::Duration::from_millis(20));
            c.call_with(&["start", &c.id], change).ok();
            outcome::until("its end", || c.status() == "stopped");
        } else {
            c.run_with(&[], change).ok();
        }
    }
    assert_nothing_seen(&spy);
}

/// The program of the runtime is caught by `/proc/PID/exe` and written to when it has ended (CVE-2019-5736).
#[test]
fn a_neighbour_cannot_overwrite_the_runtime() {
    let (spy, _host) = spying();
    let before = fs::read(&runtime().path).unwrap();
    for program in ["/proc/self/exe", "/bin/true"] {
        for _ in 0..10 {
            let _ = spy.exec(&[], &[program, "--version"]);
        }
    }
    // The spy tries again and again; give it the time of some rounds after the last of them has ended.
    for _ in 0..20 {
        std::thread::sleep(std::time::Duration::from_millis(10));
        assert!(!spy.output().contains("overwritten"), "the runtime's program was opened for writing");
    }
    assert!(before == fs::read(&runtime().path).unwrap(), "the runtime's program has changed");
}

/// The same from the image: the container's own program is the runtime's, which then opens itself
/// (CVE-2019-5736).
#[test]
fn a_container_that_executes_the_runtime_gets_a_sealed_one() {
    since!("a sealed program that can be looked at", "runc -", "crun -");
    let mut c = Container::new();
    c.capabilities(&["CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE"]);
    c.args(&["/probe", "ready-then-sleep"]);
    c.create();
    // Between create and start the container's first process is the runtime.
    let pid = c.pid();
    let exe = format!("/proc/{pid}/exe");
    let refused =
        |path: &str| fs::File::options().write(true).open(path).unwrap_err().raw_os_error().unwrap();
    assert_eq!(refused(&exe), libc::EROFS, "the runtime's program could be written to");
    c.start();
    c.await_line("ready");
}

/// What a container's first process keeps open while it waits for its start.
#[test]
fn a_created_container_keeps_nothing_of_the_host_open() {
    since!("a created container that can be looked at", "runc -", "crun -");
    let mut c = Container::new();
    c.args(&["/probe", "ready-then-sleep"]);
    c.create();
    let pid = c.pid();
    let mut open = Vec::new();
    outcome::until("wait for start", || {
        let names = integration::proc::entries(format!("/proc/{pid}/fd"));
        open = names
            .iter()
            .filter_map(|name| fs::read_link(format!("/proc/{pid}/fd/{name}")).ok())
            .map(|target| target.to_string_lossy().into_owned())
            .collect();
        fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|call| call.contains("read"))
    });
    // One that keeps the lock of its state open would have its deletion wait.
    let _ended = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    let own = |target: &&String| {
        !target.starts_with(c.bundle().to_str().unwrap())
            && !target.starts_with("socket:")
            && !target.contains("null")
    };
    let others: Vec<&String> = open.iter().filter(own).collect();
    assert!(others.is_empty(), "{others:?} of {open:?}");
    assert!(open.iter().any(|target| target.ends_with("exec.fifo")), "{open:?}");
}
