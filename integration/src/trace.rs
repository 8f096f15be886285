//! Runs a program under ptrace(2), counts its system calls, and kills it or lets a call fail at a chosen one.
//!
//! Calls of the program itself and calls of its children are counted apart: a runtime that is killed is one
//! thing, a container's init that is killed while it is set up is another. A child is let go when it executes
//! a program.

use crate::sys;
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use seccomp_profiles::{Arch, table};
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Whose calls are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The program that was started.
    Program,
    /// Any process that it has made.
    Child,
}

/// What happens to a call before the kernel sees it.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// The process gets SIGKILL.
    Kill,
    /// The call returns this error and does nothing.
    Fail(Errno),
}

/// Where a fault strikes.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    /// At the n-th call, counted from 0.
    Nth(Who, usize),
    /// At every call of this number, whoever makes it.
    Every(i64),
}

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It exited.
    Exited(i32),
    /// It died of a signal.
    Killed(Signal),
}

/// A run under observation.
#[derive(Debug)]
pub struct Traced {
    /// The calls in order: whose, and the number.
    pub calls: Vec<(Who, i64)>,
    /// How the program ended.
    pub ending: Ending,
    /// Whether the fault struck.
    pub struck: bool,
}

impl Traced {
    /// The numbers of one side's calls, in order.
    pub fn calls_of(&self, who: Who) -> Vec<i64> {
        self.calls.iter().filter(|(whose, _)| *whose == who).map(|(_, number)| *number).collect()
    }
}

/// No traced command takes this long on the slowest machine: a bound against hanging, not a measure.
pub const BOUND: Duration = Duration::from_secs(30);

/// Runs the command to its end; its children go on untraced then.
///
/// # Panics
/// When it cannot be traced, or does not end within [`BOUND`]: it is killed then, with all its children.
pub fn run(command: Command, fault: Option<(Place, Fault)>) -> Traced {
    let what = format!("{command:?}");
    // ptrace binds to a thread, and what is traced is let go when that thread ends.
    let tracer = thread::Builder::new().name("tracer".into()).spawn(move || observe(command, fault)).unwrap();
    let seen = tracer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    // A process that was made under observation begins with a SIGSTOP, which it may not have met yet: without
    // this it would stop for ever, with all that it holds.
    let signal = if seen.late { Signal::SIGKILL } else { Signal::SIGCONT };
    for child in &seen.children {
        let _ = sys::pidfd_send_signal(child.as_fd(), signal as i32);
    }
    if seen.late {
        let last = seen.traced.calls.last().map(|(who, call)| format!("{who:?}: {}", name(*call)));
        panic!("{what} did not end within {BOUND:?}, fault {fault:?}, last call {last:?}; it was killed");
    }
    seen.traced
}

/// What a tracing thread leaves.
struct Seen {
    traced: Traced,
    /// The children that were still traced.
    children: Vec<OwnedFd>,
    /// It took too long and was killed.
    late: bool,
}

/// The body of the tracing thread.
#[expect(clippy::zombie_processes)] // It is waited for below, with waitpid(2), together with its children.
fn observe(mut command: Command, fault: Option<(Place, Fault)>) -> Seen {
    command.stdin(Stdio::null());
    sys::trace_me(&mut command);
    let child = command.spawn().unwrap();
    let program = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let (done, ended) = mpsc::channel::<()>();
    let late = &AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(move || {
            if ended.recv_timeout(BOUND) == Err(RecvTimeoutError::Timeout) {
                late.store(true, Ordering::SeqCst);
                // It is not reaped before the session below has seen its end, so the number is still its own.
                let _ = kill(program, Signal::SIGKILL);
            }
        });
        let (traced, children) = Session::new(program, fault).run();
        drop(done);
        Seen { traced, children, late: late.load(Ordering::SeqCst) }
    })
}

struct Session {
    program: Pid,
    fault: Option<(Place, Fault)>,
    /// The traced children.
    children: HashMap<Pid, OwnedFd>,
    /// Processes that are inside of a call, with the error to return at its end.
    inside: HashMap<Pid, Option<Errno>>,
    counts: [usize; 2],
    traced: Traced,
}

impl Session {
    fn new(program: Pid, fault: Option<(Place, Fault)>) -> Session {
        let traced = Traced { calls: Vec::new(), ending: Ending::Exited(-1), struck: false };
        let (children, inside) = (HashMap::new(), HashMap::new());
        Session { program, fault, children, inside, counts: [0; 2], traced }
    }

    fn run(mut self) -> (Traced, Vec<OwnedFd>) {
        waitpid(self.program, Some(WaitPidFlag::__WALL)).unwrap();
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC;
        // Fails only when it is dead already, which the first event says.
        let _ = ptrace::setoptions(self.program, options);
        let _ = ptrace::syscall(self.program, None);
        loop {
            // Only what this thread traces, so that other tests' children are left to them.
            match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)).unwrap() {
                WaitStatus::Exited(pid, code) if pid == self.program => {
                    self.traced.ending = Ending::Exited(code);
                    break;
                }
                WaitStatus::Signaled(pid, signal, _) if pid == self.program => {
                    self.traced.ending = Ending::Killed(signal);
                    break;
                }
                status => self.handle(status),
            }
        }
        (self.traced, self.children.into_values().collect())
    }

    fn handle(&mut self, status: WaitStatus) {
        match status {
            WaitStatus::PtraceSyscall(pid) => self.at_call(pid),
            WaitStatus::PtraceEvent(pid, _, event) => {
                if event == libc::PTRACE_EVENT_EXEC && pid != self.program {
                    let _ = ptrace::detach(pid, None);
                    self.forget(pid);
                } else {
                    self.adopt(pid, event);
                    let _ = ptrace::syscall(pid, None);
                }
            }
            // A new process begins with a stop of its own.
            WaitStatus::Stopped(pid, Signal::SIGSTOP | Signal::SIGTRAP) => {
                let _ = ptrace::syscall(pid, None);
            }
            WaitStatus::Stopped(pid, signal) => {
                let _ = ptrace::syscall(pid, Some(signal));
            }
            WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _) => self.forget(pid),
            _ => {}
        }
    }

    /// Notes the child that an event of its parent tells of.
    fn adopt(&mut self, parent: Pid, event: i32) {
        let births = [libc::PTRACE_EVENT_FORK, libc::PTRACE_EVENT_VFORK, libc::PTRACE_EVENT_CLONE];
        if !births.contains(&event) {
            return;
        }
        let Ok(number) = ptrace::getevent(parent) else { return };
        let Ok(pid) = i32::try_from(number) else { return };
        // None for a thread.
        if let Ok(pidfd) = sys::pidfd_open(pid) {
            self.children.insert(Pid::from_raw(pid), pidfd);
        }
    }

    fn forget(&mut self, pid: Pid) {
        self.children.remove(&pid);
        self.inside.remove(&pid);
    }

    fn at_call(&mut self, pid: Pid) {
        if let Some(error) = self.inside.remove(&pid) {
            if let Some(error) = error {
                self.set_result(pid, error);
            }
        } else {
            let error = self.enter(pid);
            self.inside.insert(pid, error);
        }
        let _ = ptrace::syscall(pid, None);
    }

    /// Notes a call, and lets the fault strike if this is its place.
    fn enter(&mut self, pid: Pid) -> Option<Errno> {
        let mut registers = ptrace::getregs(pid).ok()?;
        let who = if pid == self.program { Who::Program } else { Who::Child };
        let number = registers.orig_rax.cast_signed();
        let count = &mut self.counts[usize::from(who == Who::Child)];
        let nth = *count;
        *count += 1;
        self.traced.calls.push((who, number));
        let (place, fault) = self.fault?;
        let here = match place {
            Place::Nth(whose, n) => whose == who && n == nth,
            Place::Every(call) => call == number,
        };
        if !here {
            return None;
        }
        self.traced.struck = true;
        match fault {
            Fault::Kill => {
                let _ = kill(pid, Signal::SIGKILL);
                None
            }
            Fault::Fail(error) => {
                registers.orig_rax = u64::MAX;
                ptrace::setregs(pid, registers).ok()?;
                Some(error)
            }
        }
    }

    fn set_result(&self, pid: Pid, error: Errno) {
        if let Ok(mut registers) = ptrace::getregs(pid) {
            registers.rax = i64::from(-(error as i32)).cast_unsigned();
            let _ = ptrace::setregs(pid, registers);
        }
    }
}

/// System calls that came to Linux after the first of those that Corten is made for.
pub const NEWER: [i64; 25] = [
    libc::SYS_openat2,
    libc::SYS_close_range,
    libc::SYS_clone3,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pidfd_getfd,
    libc::SYS_faccessat2,
    libc::SYS_fchmodat2,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_statx,
    libc::SYS_memfd_create,
    libc::SYS_execveat,
    libc::SYS_renameat2,
    libc::SYS_keyctl,
    libc::SYS_bpf,
    libc::SYS_seccomp,
    457, // statmount
    458, // listmount
    467, // open_tree_attr
];

/// The name of a system call of this machine, for messages.
pub fn name(number: i64) -> String {
    let known =
        Arch::native().zip(u32::try_from(number).ok()).and_then(|(arch, call)| table::name(arch, call));
    known.map_or_else(|| format!("syscall {number}"), str::to_owned)
}
