//! `kill`, and the signals that `run` passes on.

use integration::container::{Container, End};
use integration::{host, leaks, outcome, since};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn listening() -> Container {
    let mut c = Container::new();
    c.args(&["/probe", "signals"]);
    c.run_detached();
    c.await_line("ready");
    c
}

#[test]
fn a_signal_is_known_by_name_and_number() {
    let c = listening();
    for (given, name) in [
        ("USR1", "SIGUSR1"),
        ("SIGUSR2", "SIGUSR2"),
        ("1", "SIGHUP"),
        ("2", "SIGINT"),
        ("winch", "SIGWINCH"),
        ("SIGCONT", "SIGCONT"),
    ] {
        c.kill(given).ok();
        c.await_line(name);
    }
    c.kill("15").ok();
    assert_eq!(c.wait(), End::Exited(0));
}

#[test]
fn the_default_signal_is_term() {
    let c = listening();
    c.call(&["kill", &c.id]).ok();
    assert_eq!(c.wait(), End::Exited(0));
    assert_eq!(c.output(), "ready\nSIGTERM\n");
}

#[test]
fn real_time_signals_have_names() {
    // The probe names only the standard signals, so a shell traps this one.
    let mut c = Container::new();
    c.shell("trap 'echo got; exit 5' 36; echo ready; while :; do sleep 0.01; done");
    c.run_detached();
    c.await_line("ready");
    since!("real-time signals by name", "runc -", "crun 1.0");
    c.kill("SIGRTMIN+2").ok();
    assert_eq!(c.wait(), End::Exited(5));
}

#[test]
fn an_unknown_signal_is_refused() {
    let c = listening();
    for signal in ["WISHFUL", "SIG", "999", "-3"] {
        let run = c.kill(signal);
        assert_ne!(run.code(), 0, "{signal:?}: {run:#?}");
    }
    assert_eq!(c.status(), "running");
    assert_eq!(c.output(), "ready\n");
}

/// Callers ask with signal 0 whether a container lives.
#[test]
fn signal_0_tests_for_life() {
    let c = listening();
    c.kill("0").ok();
    assert_eq!(c.output(), "ready\n");
    c.kill("KILL").ok();
    c.wait();
    assert!(!c.kill("0").error().is_empty());
}

#[test]
fn a_stopped_or_missing_container_is_said_so() {
    let c = Container::new();
    assert!(c.kill("TERM").error().contains("does not exist"));
    let c = listening();
    c.kill("KILL").ok();
    assert_eq!(c.wait(), End::Killed(9));
    let run = c.kill("TERM");
    assert!(run.error().contains("container not running"), "{run:#?}");
    assert_eq!(run.code(), 1);
}

#[test]
fn all_reaches_every_process() {
    for flag in ["--all", "-a"] {
        let mut c = Container::new();
        c.without_namespace("pid").args(&["/probe", "orphans", "3"]);
        c.run_detached();
        c.await_line("ready");
        assert_eq!(leaks::processes(&c.id).len(), 4);
        c.call(&["kill", flag, &c.id, "KILL"]).ok();
        c.wait();
        outcome::until("the end of all", || leaks::processes(&c.id).is_empty());
        c.delete().ok();
        leaks::assert_none(&c);
    }
}

#[test]
fn all_works_when_init_is_gone() {
    since!("kill --all without init", "runc 1.0", "crun -");
    let mut c = Container::new();
    c.without_namespace("pid").args(&["/probe", "orphans", "2"]);
    c.run_detached();
    c.await_line("ready");
    kill(Pid::from_raw(c.pid()), Signal::SIGKILL).unwrap();
    c.wait();
    assert_eq!(leaks::processes(&c.id).len(), 2);
    c.call(&["kill", "--all", &c.id, "KILL"]).ok();
    outcome::until("the end of all", || leaks::processes(&c.id).is_empty());
}

#[test]
fn a_paused_container_can_be_killed() {
    let c = listening();
    let pid = c.pid();
    c.call(&["pause", &c.id]).ok();
    c.kill("KILL").ok();
    since!("thaw on kill", "runc 1.1", "crun 1.0");
    outcome::until("the end of init", || !host::alive(pid));
    assert_eq!(c.status(), "stopped");
}

#[test]
fn several_containers_by_a_pattern() {
    since!("kill --regex", "runc -", "crun 1.0");
    let mut first = Container::new();
    let mut second = Container::new();
    let mut third = Container::new();
    second.root = first.root.clone();
    third.root = first.root.clone();
    for c in [&mut first, &mut second, &mut third] {
        c.sleeping();
    }
    let pattern = format!("^({}|{})$", first.id, second.id);
    // One that has ended keeps the signal from none of the others.
    first.kill("KILL").ok();
    outcome::until("the end of the first", || first.status() == "stopped");
    let kill = first.call(&["kill", "--regex", &pattern, "KILL"]);
    assert!(kill.error().contains("container not running") && kill.error().contains(&first.id), "{kill:#?}");
    assert_eq!((first.wait(), second.wait()), (End::Killed(9), End::Killed(9)));
    assert_eq!(third.status(), "running");
    first.call(&["delete", "--regex", &pattern]).ok();
    assert!(first.call(&["state", &first.id]).error().contains("does not exist"));
    assert_eq!(third.status(), "running");
    first.call(&["delete", "--force", "--regex", &third.id]).ok();
    leaks::assert_none(&first);
}

#[test]
fn run_passes_signals_on() {
    let mut c = Container::new();
    c.args(&["/probe", "signals"]);
    let run = c.launch_run(&[]);
    run.await_line("ready");
    for (signal, name) in [
        (Signal::SIGUSR1, "SIGUSR1"),
        (Signal::SIGUSR2, "SIGUSR2"),
        (Signal::SIGHUP, "SIGHUP"),
        (Signal::SIGINT, "SIGINT"),
        (Signal::SIGQUIT, "SIGQUIT"),
    ] {
        kill(Pid::from_raw(run.pid()), signal).unwrap();
        run.await_line(name);
    }
    kill(Pid::from_raw(run.pid()), Signal::SIGTERM).unwrap();
    run.finish().ok();
    leaks::assert_none(&c);
}

/// The runtime's own children must not be reported to the container.
#[test]
fn run_keeps_sigchld_for_itself() {
    let mut c = Container::new();
    c.args(&["/probe", "signals"]);
    let run = c.launch_run(&[]);
    run.await_line("ready");
    c.exec(&[], &["/bin/true"]).ok();
    kill(Pid::from_raw(run.pid()), Signal::SIGTERM).unwrap();
    assert_eq!(run.finish().ok().stdout, "ready\nSIGTERM\n");
}
