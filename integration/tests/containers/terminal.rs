//! `process.terminal`: the console socket, the foreground terminal, sizes and modes.

use integration::console::Console;
use integration::container::{Container, End};
use integration::outcome;
use integration::sockets::Receiver;
use integration::{proc, since, skip, sys};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A container with a terminal, created with a console socket; its console.
fn created(c: &mut Container) -> Console {
    c.put("/process/terminal", json!(true));
    let path = c.path("console.sock");
    let receiver = Receiver::at(&path);
    c.try_create(&["--console-socket", path.to_str().unwrap()]).ok();
    let mut handed = receiver.receive();
    assert_eq!(handed.fds.len(), 1);
    Console::new(handed.fds.remove(0))
}

#[test]
fn the_console_socket_gets_the_master() {
    let mut c = Container::new();
    c.shell("stty -echo; echo started; read line; echo \"got $line\"");
    let mut console = created(&mut c);
    c.start();
    console.expect("started\r\n");
    console.write("hello\n");
    console.expect("got hello\r\n");
    assert_eq!(c.wait(), End::Exited(0));
}

/// Where the PID namespace is another container's, the process that gets the terminal is not the one that
/// opened it.
#[test]
fn the_program_in_a_joined_pid_namespace_has_a_terminal() {
    let mut first = Container::new();
    let pid = first.sleeping();
    let mut c = Container::new();
    c.namespace("pid", Some(&format!("/proc/{pid}/ns/pid")));
    let mut console = created(&mut c);
    c.start();
    let text = console.rest();
    let report: integration::report::Report = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(report.tty.is_tty, [true; 3]);
    assert_ne!(report.tty.controlling, 0, "it is the controlling terminal");
    assert_eq!((report.sid, report.pgid), (report.pid, report.pid));
    assert_eq!(report.pids, [1, report.pid]);
    assert_eq!(c.wait(), End::Exited(0));
}

#[test]
fn the_program_sees_a_terminal() {
    let mut c = Container::new();
    let mut console = created(&mut c);
    c.start();
    let text = console.rest();
    let report: integration::report::Report = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(report.tty.is_tty, [true; 3]);
    assert_ne!(report.tty.controlling, 0, "it is the controlling terminal");
    assert_eq!(report.fds.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    for fd in report.fds.values() {
        assert!(fd.target.starts_with("/dev/pts/") || fd.target == "/dev/console", "{fd:?}");
    }
    let console = &report.dev["/dev/console"];
    assert_eq!(console.kind, "c");
    assert_eq!(console.major, 136, "a pseudo-terminal of the container: {console:?}");
    assert!(report.is_mounted("/dev/console"));
}

#[test]
fn the_terminal_belongs_to_the_user() {
    let mut c = Container::new();
    c.put("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let mut console = created(&mut c);
    c.start();
    let report: integration::report::Report = serde_json::from_str(console.rest().trim()).unwrap();
    assert_eq!(report.tty.owner.0, 1000);
}

#[test]
fn the_console_size_is_set() {
    let mut c = Container::new();
    c.put("/process/consoleSize", json!({ "height": 33, "width": 111 }));
    let mut console = created(&mut c);
    assert_eq!(console.size(), (33, 111));
    c.start();
    let report: integration::report::Report = serde_json::from_str(console.rest().trim()).unwrap();
    assert_eq!(report.tty.size, Some((33, 111)));
}

#[test]
fn a_resize_reaches_the_program() {
    let mut c = Container::new();
    c.args(&["/probe", "window-sizes"]);
    let mut console = created(&mut c);
    console.resize(10, 20);
    c.start();
    console.expect("10x20\r\n");
    console.resize(30, 40);
    console.expect("30x40\r\n");
    c.kill("TERM").ok();
    assert_eq!(c.wait(), End::Exited(0));
}

#[test]
fn control_characters_are_signals() {
    let mut c = Container::new();
    c.shell("trap 'echo interrupted; exit 6' INT; echo ready; while :; do sleep 0.01; done");
    let mut console = created(&mut c);
    c.start();
    console.expect("ready");
    console.write("\x03");
    console.expect("interrupted");
    assert_eq!(c.wait(), End::Exited(6));
}

#[test]
fn the_message_is_the_name_of_the_terminal() {
    let mut c = Container::new();
    c.put("/process/terminal", json!(true)).args(&["/bin/true"]);
    let path = c.path("console.sock");
    let receiver = Receiver::at(&path);
    c.try_create(&["--console-socket", path.to_str().unwrap()]).ok();
    let handed = receiver.receive();
    let name = String::from_utf8_lossy(&handed.data).into_owned();
    assert!(name.starts_with("/dev/pt") || name.starts_with("pty"), "{name:?}");
}

#[test]
fn exec_has_a_terminal_by_the_socket() {
    let mut c = Container::new();
    c.sleeping();
    let path = c.path("console.sock");
    let receiver = Receiver::at(&path);
    let pid_file = c.text_path("exec.pid");
    c.exec(
        &["--tty", "--detach", "--pid-file", &pid_file, "--console-socket", path.to_str().unwrap()],
        &["/probe", "report"],
    )
    .ok();
    let mut console = Console::new(receiver.receive().fds.remove(0));
    let report: integration::report::Report = serde_json::from_str(console.rest().trim()).unwrap();
    assert_eq!(report.tty.is_tty, [true; 3]);
    assert_ne!(report.tty.controlling, 0);
}

#[test]
fn exec_takes_the_terminal_of_a_process_file() {
    let mut c = Container::new();
    c.sleeping();
    let path = c.path("console.sock");
    let receiver = Receiver::at(&path);
    let file = c.text_path("process.json");
    let process = json!({ "terminal": true, "consoleSize": { "height": 12, "width": 34 }, "user": { "uid": 0, "gid": 0 },
        "args": ["/probe", "report"], "env": [], "cwd": "/" });
    fs::write(&file, process.to_string()).unwrap();
    c.call(&["exec", "--detach", "--process", &file, "--console-socket", path.to_str().unwrap(), &c.id]).ok();
    let mut console = Console::new(receiver.receive().fds.remove(0));
    let report: integration::report::Report = serde_json::from_str(console.rest().trim()).unwrap();
    assert_eq!(report.tty.size, Some((12, 34)));
}

#[test]
fn a_terminal_needs_a_socket_when_detached() {
    let mut c = Container::new();
    c.put("/process/terminal", json!(true));
    let run = c.try_create(&[]);
    assert!(run.error().contains("console socket"), "{run:#?}");
    integration::leaks::assert_none(&c);

    let mut c = Container::new();
    c.put("/process/terminal", json!(false));
    let path = c.path("console.sock");
    let _receiver = Receiver::at(&path);
    let run = c.try_create(&["--console-socket", path.to_str().unwrap()]);
    assert!(run.error().contains("console socket"), "{run:#?}");
}

#[test]
fn a_console_socket_that_is_none_is_refused() {
    let mut c = Container::new();
    c.put("/process/terminal", json!(true));
    let run = c.try_create(&["--console-socket", &c.text_path("no.sock")]);
    assert!(!run.error().is_empty());
    fs::write(c.path("file.sock"), "").unwrap();
    let run = c.try_create(&["--console-socket", &c.text_path("file.sock")]);
    assert!(!run.error().is_empty());
    integration::leaks::assert_none(&c);
}

/// Runs a command of the runtime under a terminal of ours, as a user at a shell does.
struct Foreground {
    console: Console,
    child: Child,
}

impl Foreground {
    fn start(c: &Container, args: &[&str]) -> Foreground {
        let (console, side) = Console::pair();
        console.resize(24, 80);
        let mut command: Command = c.command("foreground", args);
        let copy = || Stdio::from(side.try_clone().unwrap());
        command.stdin(copy()).stdout(copy()).stderr(copy());
        sys::control_terminal(&mut command);
        let child = command.spawn().unwrap();
        drop(command);
        Foreground { console, child }
    }

    fn run(c: &mut Container) -> Foreground {
        c.put("/process/terminal", json!(true));
        c.write_config();
        let bundle = c.bundle().to_str().unwrap().to_owned();
        Foreground::start(c, &["run", "--bundle", &bundle, &c.id])
    }

    fn code(mut self) -> Option<i32> {
        // Somebody has to read, or a program at its end waits for room.
        self.console.rest();
        outcome::wait(&mut self.child, "foreground command").code()
    }
}

#[test]
fn run_in_the_foreground_carries_a_terminal() {
    let mut c = Container::new();
    c.shell("test -t 0 && test -t 1 && test -t 2 && echo terminal; read line; echo \"got $line\"; exit 9");
    let mut run = Foreground::run(&mut c);
    run.console.expect("terminal\r\n");
    run.console.write("hello\r");
    run.console.expect("got hello\r\n");
    assert_eq!(run.code(), Some(9));
    integration::leaks::assert_none(&c);
}

/// Raw, or every character would be echoed twice and ^C would end the runtime instead of the program.
#[test]
fn the_callers_terminal_is_raw_while_it_runs_and_as_before_after() {
    let mut c = Container::new();
    c.shell("trap 'echo interrupted; exit 3' INT; echo ready; while :; do sleep 0.01; done");
    let mut run = Foreground::run(&mut c);
    run.console.expect("ready\r\n");
    outcome::until("raw mode", || !run.console.is_cooked());
    run.console.write("\x03");
    run.console.expect("interrupted");
    // Keep a descriptor of the other side open through the end of the command: the modes are the terminal's.
    let status = outcome::wait(&mut run.child, "run");
    assert_eq!(status.code(), Some(3));
    assert!(run.console.is_cooked(), "the modes were not put back");
}

#[test]
fn the_callers_size_is_the_programs() {
    let mut c = Container::new();
    c.args(&["/probe", "window-sizes"]);
    let mut run = Foreground::run(&mut c);
    run.console.expect("24x80\r\n");
    run.console.resize(50, 132);
    run.console.expect("50x132\r\n");
    c.kill("TERM").ok();
    assert_eq!(run.code(), Some(0));
}

#[test]
fn nothing_of_a_long_output_is_lost() {
    let mut c = Container::new();
    c.shell("i=0; while [ $i -lt 5000 ]; do echo \"line $i of the output\"; i=$((i+1)); done");
    let mut run = Foreground::run(&mut c);
    let text = run.console.rest();
    assert_eq!(text.lines().count(), 5000);
    assert!(text.ends_with("line 4999 of the output\r\n"));
    assert_eq!(outcome::wait(&mut run.child, "run").code(), Some(0));
}

#[test]
fn exec_in_the_foreground_carries_a_terminal() {
    let mut c = Container::new();
    c.sleeping();
    let mut run = Foreground::start(
        &c,
        &[
            "exec",
            "--tty",
            &c.id,
            "/bin/sh",
            "-c",
            "test -t 0 && echo terminal; stty size; read line; echo \"got $line\"; exit 8",
        ],
    );
    run.console.expect("terminal\r\n24 80\r\n");
    run.console.write("hello\r");
    run.console.expect("got hello\r\n");
    assert_eq!(run.code(), Some(8));
}

/// A foreground `exec` of a script with a terminal, whose output is read, slowly, and thrown away; typed into
/// is the console.
fn flooding(c: &Container, script: &str) -> (Console, Child) {
    let (console, side) = Console::pair();
    let mut command = c.command("flood", &["exec", "--tty", &c.id, "/bin/sh", "-c", script]);
    command.stdin(Stdio::from(side.try_clone().unwrap())).stdout(Stdio::piped()).stderr(Stdio::null());
    sys::control_terminal(&mut command);
    let mut child = command.spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    outcome::until("more output than is read", || sys::unread(output.as_fd()).unwrap() > 32 << 10);
    std::thread::spawn(move || {
        while output.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    (console, child)
}

#[test]
fn a_program_that_writes_without_end_can_be_interrupted() {
    let mut c = Container::new();
    c.sleeping();
    let (mut console, mut child) = flooding(&c, "exec cat /dev/zero");
    // Before that it would interrupt the runtime.
    outcome::until("raw mode", || !console.is_cooked());
    console.write("\x03");
    assert_eq!(outcome::wait(&mut child, "exec").code(), Some(130));
}

#[test]
fn what_others_go_on_to_write_keeps_nobody() {
    let mut c = Container::new();
    c.sleeping();
    let others = "trap '' HUP; cat /dev/zero & sleep 1; exit 5";
    let (_console, mut child) = flooding(&c, others);
    assert_eq!(outcome::wait(&mut child, "exec").code(), Some(5));
}

/// A reader who does not read holds back what is written, but no signal.
#[test]
fn a_signal_arrives_though_nobody_reads() {
    let mut c = Container::new();
    c.sleeping();
    let (_console, side) = Console::pair();
    let mut command = c.command("full", &["exec", "--tty", &c.id, "/bin/cat", "/dev/zero"]);
    command.stdin(Stdio::from(side.try_clone().unwrap())).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let (mut unread, mut looks) = (0, 0);
    outcome::until("the pipe is full", || {
        let now = sys::unread(output.as_fd()).unwrap();
        looks = if now == unread && now > 0 { looks + 1 } else { 0 };
        unread = now;
        looks > 100
    });
    let [program] = proc::children(pid)[..] else { panic!("one program") };
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    outcome::until("the program has ended", || {
        matches!(proc::Status::of(&program.to_string()).get("State"), "" | "Z (zombie)")
    });
    let mut seen = Vec::new();
    output.read_to_end(&mut seen).unwrap();
    assert!(seen.len() > usize::try_from(unread).unwrap(), "what the terminal held is shown as well");
    assert_eq!(outcome::wait(&mut child, "exec").code(), Some(128 + Signal::SIGTERM as i32));
}

/// A runtime that ends by a signal must not leave the user with a raw terminal.
#[test]
fn a_terminated_run_puts_the_modes_back() {
    let mut c = Container::new();
    c.args(&["/probe", "signals"]);
    let mut run = Foreground::run(&mut c);
    run.console.expect("ready");
    outcome::until("raw mode", || !run.console.is_cooked());
    kill(Pid::from_raw(run.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    run.console.expect("SIGTERM");
    assert_eq!(outcome::wait(&mut run.child, "run").code(), Some(0));
    assert!(run.console.is_cooked());
}

/// What an image has at `/dev/console` is covered, and never opened: it may be a device that does something
/// then.
#[test]
fn a_console_that_is_another_device_is_not_opened() {
    let mut c = Container::new();
    let memory = nix::sys::stat::makedev(1, 1);
    let (kind, mode) = (nix::sys::stat::SFlag::S_IFCHR, nix::sys::stat::Mode::S_IRUSR);
    // Which the rules of this container keep it from opening.
    if nix::sys::stat::mknod(&c.rootfs("dev/console"), kind, mode, memory).is_err() {
        skip!("needs the right to make device nodes");
    }
    c.unmount("/dev");
    for directory in ["dev/pts", "dev/shm", "dev/mqueue"] {
        fs::create_dir(c.rootfs(directory)).unwrap();
    }
    c.shell("test -t 0 && stat -c %t /dev/console");
    let mut console = created(&mut c);
    c.start();
    console.expect("88\r\n");
    assert_eq!(c.wait(), End::Exited(0));
}

/// CVE-2025-52565: `/dev/console` of the image is a link to a place on the host.
#[test]
fn a_console_that_is_a_link_stays_in_the_root() {
    let mut c = Container::new();
    let outside = c.path("outside");
    fs::write(&outside, "precious").unwrap();
    c.unmount("/dev");
    std::os::unix::fs::symlink(&outside, c.rootfs("dev/console")).unwrap();
    for directory in ["dev/pts", "dev/shm", "dev/mqueue"] {
        fs::create_dir(c.rootfs(directory)).unwrap();
    }
    c.put("/process/terminal", json!(true)).args(&["/bin/true"]);
    let path = c.path("console.sock");
    let _receiver = Receiver::at(&path);
    since!("safe /dev/console", "runc 1.3", "crun 1.30");
    let _ = c.try_create(&["--console-socket", path.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(&outside).unwrap(), "precious");
    assert!(!integration::proc::mounts("self").iter().any(|mount| mount.target == outside.to_str().unwrap()));
}
