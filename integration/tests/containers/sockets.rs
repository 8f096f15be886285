//! Descriptors and sockets that go into the container or come out of it: `--preserve-fds`, `LISTEN_FDS`,
//! `NOTIFY_SOCKET`, `--pidfd-socket`.

use integration::container::{Container, parse_report};
use integration::sockets::{Notifications, Receiver};
use integration::{host, since, sys};
use serde_json::json;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};

/// Descriptors of files in the bundle, for the runtime to be started with.
fn files(c: &Container, names: &[&str]) -> Vec<OwnedFd> {
    let open = |name: &&str| {
        fs::write(c.path(name), format!("text of {name}")).unwrap();
        OwnedFd::from(File::open(c.path(name)).unwrap())
    };
    names.iter().map(open).collect()
}

#[test]
fn preserved_descriptors_reach_the_program() {
    let mut c = Container::new();
    let fds = files(&c, &["first", "second"]);
    let run = c.shell("cat <&3; echo; cat <&4; ls /proc/self/fd | grep -c .").run_with(
        &["--preserve-fds", "2"],
        |command| {
            sys::pass_fds(command, fds);
        },
    );
    // 0, 1, 2, the two, and the directory that ls reads.
    assert_eq!(run.ok().stdout, "text of first\ntext of second6\n");
}

#[test]
fn descriptors_that_are_not_preserved_do_not() {
    let mut c = Container::new();
    c.args(&["/probe", "report"]);
    let fds = files(&c, &["first", "second", "third"]);
    let run = c.run_with(&["--preserve-fds", "1"], |command| sys::pass_fds(command, fds));
    assert_eq!(parse_report(&run.ok()).fds.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn exec_preserves_descriptors_as_well() {
    let mut c = Container::new();
    c.sleeping();
    let fds = files(&c, &["first", "second"]);
    let run = c.call_with(&["exec", "--preserve-fds", "1", &c.id, "/probe", "report"], |command| {
        sys::pass_fds(command, fds);
    });
    let report = parse_report(&run.ok());
    assert_eq!(report.fds.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn more_descriptors_than_there_are_are_refused() {
    let mut c = Container::new();
    c.args(&["/bin/true"]);
    since!("check of preserved descriptors", "runc -", "crun -");
    let run = c.run(&["--preserve-fds", "40"]);
    assert!(!run.error().is_empty());
    integration::leaks::assert_none(&c);
}

/// Gives the runtime variables as a service manager does: with its own pid in `LISTEN_PID`.
fn as_activated(c: &mut Container, variables: &str) {
    c.via.extend(["sh", "-c", &format!("LISTEN_PID=$$ {variables} exec \"$0\" \"$@\"")].map(Into::into));
}

/// Descriptors that were meant for another process (sd_listen_fds(3)) are not the container's.
#[test]
fn listening_sockets_of_another_process_are_not_handed_on() {
    since!("check of LISTEN_PID", "runc 1.0", "crun -");
    let mut c = Container::new();
    c.args(&["/probe", "report"]);
    let fds = files(&c, &["first"]);
    let run = c.run_with(&[], |command| {
        sys::pass_fds(command, fds);
        command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    });
    assert_eq!(parse_report(&run.ok()).fds.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn listening_sockets_are_handed_on() {
    let mut c = Container::new();
    c.args(&["/probe", "report"]);
    let fds = files(&c, &["first", "second"]);
    as_activated(&mut c, "LISTEN_FDS=2");
    let run = c.run_with(&[], |command| sys::pass_fds(command, fds));
    let report = parse_report(&run.ok());
    assert_eq!(report.fds.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(report.var("LISTEN_FDS"), Some("2"));
    assert_eq!(report.var("LISTEN_PID"), Some("1"));
}

#[test]
fn listening_sockets_and_preserved_ones_add_up() {
    let mut c = Container::new();
    c.args(&["/probe", "report"]);
    let fds = files(&c, &["first", "second", "third"]);
    as_activated(&mut c, "LISTEN_FDS=2");
    let run = c.run_with(&["--preserve-fds", "1"], |command| sys::pass_fds(command, fds));
    assert_eq!(parse_report(&run.ok()).fds.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn readiness_is_passed_to_the_service_manager() {
    let mut c = Container::new();
    c.shell("/probe notify 'READY=1' && exec /probe signals");
    let path = c.path("notify.sock");
    let manager = Notifications::at(&path);
    let pid_file = c.text_path("pid");
    c.write_config();
    let bundle = c.bundle().to_str().unwrap().to_owned();
    // A detached run waits for the container's READY and tells the manager who the main process is.
    let run =
        c.call_with(&["run", "--detach", "--pid-file", &pid_file, "--bundle", &bundle, &c.id], |command| {
            command.env("NOTIFY_SOCKET", &path);
        });
    run.ok();
    let mut all = String::new();
    while !(all.contains("READY=1") && all.contains("MAINPID=")) {
        all += &manager.receive();
        all += "\n";
    }
    assert!(all.lines().any(|line| line == format!("MAINPID={}", c.pid())), "{all:?}");
}

#[test]
fn the_program_does_not_see_the_managers_socket_itself() {
    let mut c = Container::new();
    let path = c.path("notify.sock");
    let manager = Notifications::at(&path);
    // Anything but READY stays inside: a container must not speak for the service.
    c.shell("/probe notify 'STATUS=from inside\\nMAINPID=1'; /probe notify 'READY=1'; echo $NOTIFY_SOCKET");
    let run = c.run_with(&[], |command| {
        command.env("NOTIFY_SOCKET", &path);
    });
    let text = run.ok().stdout;
    assert!(!text.contains(path.to_str().unwrap()), "{text}");
    let first = manager.receive();
    assert!(!first.contains("MAINPID=1\n") && !first.ends_with("MAINPID=1"), "{first:?}");
}

#[test]
fn the_pidfd_socket_gets_inits_pidfd() {
    since!("--pidfd-socket", "runc 1.2", "crun -");
    let mut c = Container::new();
    c.args(&["/probe", "sleep"]);
    let path = c.path("pidfd.sock");
    let receiver = Receiver::at(&path);
    c.try_create(&["--pidfd-socket", path.to_str().unwrap()]).ok();
    let handed = receiver.receive();
    assert_eq!(pid_of(&handed.fds[0]), c.pid());
}

#[test]
fn the_pidfd_socket_of_exec_gets_its_pidfd() {
    since!("--pidfd-socket", "runc 1.2", "crun -");
    let mut c = Container::new();
    c.sleeping();
    let path = c.path("pidfd.sock");
    let receiver = Receiver::at(&path);
    let pid_file = c.text_path("exec.pid");
    c.exec(
        &["--detach", "--pid-file", &pid_file, "--pidfd-socket", path.to_str().unwrap()],
        &["/probe", "sleep"],
    )
    .ok();
    let pid: i32 = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    assert_eq!(pid_of(&receiver.receive().fds[0]), pid);
    assert!(host::alive(pid));
}

#[test]
fn the_pidfd_receiver_may_be_an_annotation() {
    since!("run.oci.pidfd_receiver", "runc -", "crun 1.9");
    let mut c = Container::new();
    c.args(&["/probe", "sleep"]);
    let path = c.path("pidfd.sock");
    let receiver = Receiver::at(&path);
    c.put("/annotations", json!({ "run.oci.pidfd_receiver": path.to_str().unwrap() }));
    c.create();
    assert_eq!(pid_of(&receiver.receive().fds[0]), c.pid());
}

/// The pid behind a pidfd.
fn pid_of(fd: &OwnedFd) -> i32 {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix("Pid:")).expect("a pidfd");
    line.trim().parse().unwrap()
}
