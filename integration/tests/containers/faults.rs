//! Faults in the middle: the runtime or the container's init killed at every system call, every system call
//! failing.
//!
//! Whatever happens, `delete --force` has to find and remove all that is left, and a command that failed has
//! to have cleaned up by itself. By default each kind of call is struck where it is made first; with
//! `EVERY_CALL=1` each single call is, which takes minutes.

use integration::container::Container;
use integration::runtime::{Kind, runtime};
use integration::trace::{self, Ending, Fault, Place, Traced, Who};
use integration::{leaks, outcome, since};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use serde_json::json;
use std::process::{Command, Stdio};

/// A container with a bit of everything that has to be undone: namespaces, a cgroup, mounts, limits, a
/// filter.
fn rich() -> Container {
    let mut c = Container::docker_like();
    c.args(&["/probe", "sleep"]).namespace("cgroup", None);
    c
}

/// A command of the runtime with its output out of the way.
fn quiet(c: &Container, args: &[&str]) -> Command {
    let mut command = c.command("traced", args);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn create_command(c: &Container) -> Command {
    c.write_config();
    let pid_file = c.text_path("pid");
    quiet(c, &["create", "--bundle", c.bundle().to_str().unwrap(), "--pid-file", &pid_file, &c.id])
}

/// The calls at which to strike: the first of each kind, which are spread over the whole command; or all of
/// them. Of a control that makes thousands, a sample.
fn places(calls: &[i64]) -> Vec<usize> {
    if std::env::var_os("EVERY_CALL").is_some() {
        let step = if runtime().kind == Kind::Corten { 1 } else { calls.len().div_ceil(60).max(1) };
        return (0..calls.len()).step_by(step).collect();
    }
    (0..calls.len()).filter(|nth| !calls[..*nth].contains(&calls[*nth])).collect()
}

/// Deletes by force, and demands that nothing is left; says where the fault was if not.
#[track_caller]
fn delete_and_check(c: &Container, traced: &Traced, at: &str) {
    let delete = c.delete_force();
    assert!(delete.status.success(), "{at}: {delete:#?}");
    // A process that lost its runtime ends by itself; nothing but its end is waited for.
    let deadline = std::time::Instant::now() + outcome::BOUND / 3;
    loop {
        let left = leaks::left(c);
        if left.is_empty() {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{at}, {:?}: left behind: {left:#?}", traced.ending);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let state = c.call(&["state", &c.id]);
    assert!(!state.status.success(), "{at}: {state:#?}");
    // So that the next round makes the same calls as the first.
    let _ = std::fs::remove_dir(&c.root);
}

/// Kills `who` at each of its calls during a command, then deletes. `prepare` makes the container and the
/// command.
fn kill_everywhere(who: Who, prepare: impl Fn(&Container) -> Command) {
    kill_everywhere_with(rich(), who, prepare);
}

fn kill_everywhere_with(c: Container, who: Who, prepare: impl Fn(&Container) -> Command) {
    let calm = trace::run(prepare(&c), None);
    assert_eq!(calm.ending, Ending::Exited(0));
    let calls = calm.calls_of(who);
    delete_and_check(&c, &calm, "without a fault");
    let mut struck = 0;
    for nth in places(&calls) {
        let at = format!("{who:?} killed at call {nth}, {}", trace::name(calls[nth]));
        let traced = trace::run(prepare(&c), Some((Place::Nth(who, nth), Fault::Kill)));
        struck += usize::from(traced.struck);
        if who == Who::Program && traced.struck {
            assert_eq!(traced.ending, Ending::Killed(Signal::SIGKILL), "{at}");
        } else if traced.struck && traced.ending != Ending::Exited(0) {
            // The runtime outlived its child: it has to tidy up by itself.
            assert_settled(&c, &at);
        }
        delete_and_check(&c, &traced, &at);
    }
    assert!(struck > 0, "{who:?} was killed at none of {} calls", calls.len());
}

/// A command that failed has left nothing, at once.
#[track_caller]
fn assert_settled(c: &Container, at: &str) {
    let left = leaks::left(c);
    assert!(left.is_empty(), "{at}: left behind: {left:#?}");
}

#[test]
fn a_create_killed_at_any_call_can_be_deleted() {
    kill_everywhere(Who::Program, create_command);
}

#[test]
fn a_create_whose_child_is_killed_at_any_call_cleans_up() {
    since!("clean-up after the death of its child", "runc -", "crun -");
    kill_everywhere(Who::Child, create_command);
}

/// Hooks of a creation run while the container is on record already.
#[test]
fn a_create_with_hooks_killed_at_any_call_can_be_deleted() {
    for who in [Who::Program, Who::Child] {
        let mut c = rich();
        for kind in ["createRuntime", "createContainer"] {
            c.put(&format!("/hooks/{kind}/-"), json!({ "path": "/bin/true" }));
        }
        kill_everywhere_with(c, who, create_command);
    }
}

/// A container that joins a PID namespace is made by two processes, one after the other.
#[test]
fn a_create_in_anothers_pid_namespace_killed_at_any_call_cleans_up() {
    since!("clean-up after the death of its child", "runc -", "crun -");
    let mut first = Container::new();
    let pid = first.sleeping();
    for who in [Who::Program, Who::Child] {
        let mut c = rich();
        c.namespace("pid", Some(&format!("/proc/{pid}/ns/pid")));
        kill_everywhere_with(c, who, create_command);
    }
}

#[test]
fn a_start_killed_at_any_call_can_be_deleted() {
    kill_everywhere(Who::Program, |c| {
        c.create();
        quiet(c, &["start", &c.id])
    });
}

#[test]
fn an_exec_killed_at_any_call_does_not_disturb() {
    kill_everywhere(Who::Program, |c| {
        if c.root.join(&c.id).exists() {
            c.delete_force().ok();
        }
        c.run_detached();
        quiet(c, &["exec", &c.id, "/bin/true"])
    });
}

#[test]
fn a_delete_killed_at_any_call_can_be_repeated() {
    kill_everywhere(Who::Program, |c| {
        c.run_detached();
        quiet(c, &["delete", "--force", &c.id])
    });
}

#[test]
fn a_pause_killed_at_any_call_can_be_deleted() {
    kill_everywhere(Who::Program, |c| {
        c.run_detached();
        quiet(c, &["pause", &c.id])
    });
}

/// Calls whose failure says nothing: the end itself, and the C library's own bookkeeping of memory and
/// signals.
const SPARED: [i64; 10] = [
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_rt_sigreturn,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_arch_prctl,
    libc::SYS_set_tid_address,
];

/// Lets each call of `who` fail. The command either fails, says why, and leaves nothing; or it can do without
/// the call, and the container works and can be deleted.
fn fail_everywhere(who: Who, error: Errno) {
    let c = rich();
    let calm = trace::run(create_command(&c), None);
    let calls = calm.calls_of(who);
    delete_and_check(&c, &calm, "without a fault");
    let mut struck = 0;
    for nth in places(&calls).into_iter().filter(|nth| !SPARED.contains(&calls[*nth])) {
        let at = format!("call {nth} of {who:?}, {}, failing with {error}", trace::name(calls[nth]));
        let log = c.path("traced.log");
        let _ = std::fs::remove_file(&log);
        let traced = trace::run(create_command(&c), Some((Place::Nth(who, nth), Fault::Fail(error))));
        struck += usize::from(traced.struck);
        match traced.ending {
            // The last call of the child is that in which it waits for the start: it ends after the creation
            // then.
            Ending::Exited(0) if nth + 1 == calls.len() => {}
            Ending::Exited(0) => assert_eq!(c.status(), "created", "{at}"),
            Ending::Exited(1) => assert_settled(&c, &at),
            // The start-up code of the language gives up before the program begins.
            Ending::Killed(Signal::SIGABRT) if since_exec(&calls[..nth]) < START_UP => {
                assert_settled(&c, &at)
            }
            other => panic!("{at}: {other:?}"),
        }
        delete_and_check(&c, &traced, &at);
    }
    assert!(struck > 0, "none of {} calls of {who:?} failed", calls.len());
}

/// How many calls were made after the last program began.
fn since_exec(calls: &[i64]) -> usize {
    let exec = |call: &i64| [libc::SYS_execve, libc::SYS_execveat].contains(call);
    calls.iter().rev().position(exec).unwrap_or(calls.len())
}

/// How many calls the C library and the language make before `main`.
const START_UP: usize = 25;

#[test]
fn a_create_with_any_call_failing_leaves_nothing() {
    since!("clean-up after any failing call", "runc -", "crun -");
    fail_everywhere(Who::Program, Errno::EIO);
}

#[test]
fn a_create_with_any_call_of_its_child_failing_leaves_nothing() {
    since!("clean-up after any failing call", "runc -", "crun -");
    fail_everywhere(Who::Child, Errno::EIO);
}

/// Kernels before a call was invented answer ENOSYS. The runtime does without it, or says so and leaves
/// nothing.
#[test]
fn a_kernel_without_a_newer_call_is_handled() {
    since!("observation of a program with threads", "runc -", "crun 1.0");
    for call in trace::NEWER {
        let c = rich();
        let at = format!("without {}", trace::name(call));
        let traced = trace::run(create_command(&c), Some((Place::Every(call), Fault::Fail(Errno::ENOSYS))));
        match traced.ending {
            Ending::Exited(0) => {
                c.start();
                assert_eq!(c.status(), "running", "{at}");
            }
            Ending::Exited(1) => assert_settled(&c, &at),
            other => panic!("{at}: {other:?}"),
        }
        delete_and_check(&c, &traced, &at);
    }
}

/// The number of calls is a cost that does not depend on the machine's load.
#[test]
fn the_same_command_makes_the_same_calls() {
    since!("a number of calls that can be repeated", "runc -", "crun 1.0");
    let count = || {
        let c = rich();
        let traced = trace::run(create_command(&c), None);
        c.delete_force().ok();
        (traced.calls_of(Who::Program).len(), traced.calls_of(Who::Child).len())
    };
    let (program, child) = count();
    let (again, child_again) = count();
    // Reads of a pipe or a file may come in more parts; beyond that the work is the same.
    assert!(program.abs_diff(again) <= 8, "{program} and {again} calls of the runtime");
    assert!(child.abs_diff(child_again) <= 8, "{child} and {child_again} calls of its child");
    println!("create: {program} calls of the runtime, {child} of its child");
}
