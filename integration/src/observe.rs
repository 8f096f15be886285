//! Runs a program under ptrace(2) and says what it and its children cost: system calls, page faults, peak
//! memory.
//!
//! The program itself and its children are counted apart. A process stops counting when it becomes the
//! program of a container (busybox, the probe): what that does is not the runtime's doing.

use crate::proc::Status;
use crate::sys;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::kill;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use std::collections::{BTreeMap, HashMap};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// How often in a row all processes are found waiting before that is believed.
const SURE: usize = 5;

/// How long that may take on a machine that is very busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// What processes have cost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cost {
    /// How often each system call was made, by its number.
    pub calls: BTreeMap<i64, u64>,
    /// Page faults served without input or output.
    pub faults: u64,
    /// The most memory that one of them had resident at a time, in kB.
    pub peak: u64,
    /// The most that one of them had of its own in the end, in kB: nothing of its program's file.
    pub private: u64,
}

impl Cost {
    /// System calls, all together.
    pub fn total(&self) -> u64 {
        self.calls.values().sum()
    }

    fn add(&mut self, other: &Cost) {
        for (call, count) in &other.calls {
            *self.calls.entry(*call).or_default() += count;
        }
        self.faults += other.faults;
        self.peak = self.peak.max(other.peak);
        self.private = self.private.max(other.private);
    }
}

/// A run that was observed.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Of the program that was started.
    pub program: Cost,
    /// Of the processes and threads that it made, together.
    pub children: Cost,
    /// How the program ended, as a shell has it: its exit status, or 128 and the signal.
    pub status: i32,
}

impl Observed {
    /// System calls of all.
    pub fn calls(&self) -> u64 {
        self.program.total() + self.children.total()
    }

    /// The most memory that one process had.
    pub fn peak(&self) -> u64 {
        self.program.peak.max(self.children.peak)
    }

    /// The most memory of its own that one process had in the end.
    pub fn private(&self) -> u64 {
        self.program.private.max(self.children.private)
    }
}

/// Runs the command to its end; its children go on unobserved then.
///
/// # Panics
/// When it cannot be traced.
#[expect(clippy::zombie_processes)] // It is waited for below, with waitpid(2), together with its children.
pub fn run(mut command: Command) -> Observed {
    // ptrace binds to a thread, and what is traced is let go when that thread ends.
    let tracer = thread::Builder::new().name("observer".into()).spawn(move || {
        command.stdin(Stdio::null());
        sys::trace_me(&mut command);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Session::new(Pid::from_raw(child.id().cast_signed())).run()
    });
    tracer.unwrap().join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A process that is traced.
#[derive(Default)]
struct Task {
    inside: bool,
    /// It has become the container's program.
    over: bool,
    cost: Cost,
}

struct Session {
    program: Pid,
    tasks: HashMap<Pid, Task>,
    observed: Observed,
}

impl Session {
    fn new(program: Pid) -> Session {
        Session { program, tasks: HashMap::new(), observed: Observed::default() }
    }

    fn run(mut self) -> Observed {
        waitpid(self.program, Some(WaitPidFlag::__WALL)).unwrap();
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_TRACEEXIT;
        ptrace::setoptions(self.program, options).unwrap();
        ptrace::syscall(self.program, None).unwrap();
        loop {
            let (pid, status) = sys::wait_traced(0).unwrap().unwrap_or_default();
            if pid == self.program.as_raw() && libc::WIFEXITED(status) {
                return self.end(libc::WEXITSTATUS(status));
            }
            if pid == self.program.as_raw() && libc::WIFSIGNALED(status) {
                return self.end(128 + libc::WTERMSIG(status));
            }
            self.handle(Pid::from_raw(pid), status);
        }
    }

    /// A process has stopped, and goes on; or it has ended.
    fn handle(&mut self, pid: Pid, status: i32) {
        if !libc::WIFSTOPPED(status) {
            return;
        }
        let signal = match (libc::WSTOPSIG(status), status >> 16) {
            (signal, 0) if signal == libc::SIGTRAP | 0x80 => {
                self.at_call(pid);
                0
            }
            // A new process begins with a stop of its own.
            (libc::SIGSTOP | libc::SIGTRAP, 0) => 0,
            (signal, 0) => signal,
            (_, event) => {
                match event {
                    libc::PTRACE_EVENT_EXIT => self.look(pid),
                    libc::PTRACE_EVENT_EXEC => self.became(pid),
                    _ => {}
                }
                0
            }
        };
        // It may have been killed meanwhile.
        let _ = sys::go_on_to_next_call(pid.as_raw(), signal);
    }

    fn at_call(&mut self, pid: Pid) {
        let task = self.tasks.entry(pid).or_default();
        task.inside = !task.inside;
        if !task.inside || task.over {
            return;
        }
        let Ok(registers) = ptrace::getregs(pid) else { return };
        let call = registers.orig_rax.cast_signed();
        *task.cost.calls.entry(call).or_default() += 1;
        // Its memory is another one afterwards.
        if matches!(call, libc::SYS_execve | libc::SYS_execveat) {
            self.look(pid);
        }
    }

    /// Takes in what the kernel says of a process so far.
    fn look(&mut self, pid: Pid) {
        let task = self.tasks.entry(pid).or_default();
        if task.over {
            return;
        }
        let status = Status::of(&pid.to_string());
        let kilobytes = |name| {
            status.get(name).split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        task.cost.peak = task.cost.peak.max(kilobytes("VmHWM"));
        task.cost.private = task.cost.private.max(kilobytes("RssAnon"));
        task.cost.faults = faults(pid).unwrap_or(task.cost.faults);
    }

    fn became(&mut self, pid: Pid) {
        let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let of_container = ["busybox", "probe", "true"].iter().any(|name| program.ends_with(name));
        self.tasks.entry(pid).or_default().over = of_container;
    }

    /// A created container's process still has to arrive where it waits for its start.
    fn settle(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let mut waiting = 0;
        while waiting < SURE && Instant::now() < deadline {
            match sys::wait_traced(libc::WNOHANG) {
                Ok(None) => {
                    waiting = if self.tasks.keys().all(|pid| waits(*pid)) { waiting + 1 } else { 0 };
                    thread::sleep(Duration::from_millis(1));
                }
                Ok(Some((pid, status))) => {
                    self.handle(Pid::from_raw(pid), status);
                    waiting = 0;
                }
                // Nobody is left.
                Err(_) => return,
            }
        }
    }

    fn end(mut self, status: i32) -> Observed {
        self.settle();
        // Those that live on, such as the first process of a container that waits for its start.
        let rest: Vec<Pid> = self.tasks.keys().copied().filter(|pid| kill(*pid, None).is_ok()).collect();
        rest.into_iter().for_each(|pid| self.look(pid));
        for (pid, task) in &self.tasks {
            let whose =
                if *pid == self.program { &mut self.observed.program } else { &mut self.observed.children };
            whose.add(&task.cost);
        }
        self.observed.status = status;
        self.observed
    }
}

/// Whether a process sleeps or is no more (`state` of proc_pid_stat(5)): one that could run has not come to
/// its end yet.
fn waits(pid: Pid) -> bool {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = text.rsplit(')').next().and_then(|rest| rest.split_whitespace().next());
    matches!(state, None | Some("" | "S" | "Z" | "X"))
}

/// `minflt` of proc_pid_stat(5).
fn faults(pid: Pid) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit(')').next()?.split_whitespace().nth(7)?.parse().ok()
}
