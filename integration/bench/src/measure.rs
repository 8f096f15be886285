//! One command: how long it takes, and what it uses. System calls and peak memory are
//! `integration::observe`'s.

use crate::sys::{self, Usage};
use integration::observe::Cost;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

/// What one command, or several in a row, took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    /// From before the process is made until it is waited for.
    pub(crate) wall: Duration,
    /// Of the process and all that it waited for, and of a container's first process that came to the bench.
    pub(crate) usage: Usage,
}

impl Sample {
    /// This, and then that.
    pub(crate) fn and(mut self, other: Sample) -> Sample {
        self.wall += other.wall;
        self.uses(other.usage);
        self
    }

    /// Counts what a process used that the command did not wait for.
    pub(crate) fn uses(&mut self, other: Usage) {
        self.usage.cpu += other.cpu;
        self.usage.faults += other.faults;
    }
}

/// Runs a command to its end.
///
/// # Panics
/// When it fails: a time would mean nothing then.
pub(crate) fn run(command: &mut Command) -> Sample {
    attempt(command).unwrap_or_else(|status| panic!("{command:?} ended with wait status {status:#x}"))
}

/// Runs a command to its end; `Err` is the wait status of one that fails.
pub(crate) fn attempt(command: &mut Command) -> Result<Sample, i32> {
    let begun = Instant::now();
    let pid = start(command);
    let (_, status, usage) = sys::wait(Some(pid)).unwrap();
    let wall = begun.elapsed();
    if status == 0 { Ok(Sample { wall, usage }) } else { Err(status) }
}

/// Runs all commands to their end, so many at a time: the time of all together.
///
/// # Panics
/// When one fails.
pub(crate) fn crowd(mut commands: Vec<Command>, at_once: usize) -> Sample {
    let mut all = Sample::default();
    let mut running = Vec::new();
    commands.reverse();
    let begun = Instant::now();
    loop {
        while running.len() < at_once
            && let Some(mut command) = commands.pop()
        {
            running.push(start(&mut command));
        }
        if running.is_empty() {
            break;
        }
        let (pid, status, usage) = sys::wait(None).unwrap();
        all.uses(usage);
        // Others are what runtimes have left to the bench, which adopts orphans.
        if let Some(at) = running.iter().position(|known| *known == pid) {
            running.swap_remove(at);
            assert!(status == 0, "a command ended with wait status {status:#x}");
        }
    }
    all.wall = begun.elapsed();
    all
}

/// Starts a process that [`sys::wait`] waits for, since the standard library does not say what it used.
fn start(command: &mut Command) -> i32 {
    command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")).id().cast_signed()
}

/// Waits for the first process of a container, which has become a child of the bench.
pub(crate) fn reap(pid: i32) -> Usage {
    sys::wait(Some(pid)).map(|(_, _, usage)| usage).unwrap_or_default()
}

/// Binds this process and its children to one processor; `None`: to any.
pub(crate) fn pin(cpu: Option<usize>) {
    let mut set = CpuSet::new();
    let all = 0..CpuSet::count();
    all.filter(|number| cpu.is_none_or(|cpu| cpu == *number)).for_each(|number| set.set(number).unwrap());
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
}

/// What is counted in a run of its own, under ptrace(2).
#[derive(Debug, Clone, Default)]
pub(crate) struct Counted {
    /// System calls of all processes and threads, by their number; not those of the container's program.
    pub(crate) by_call: BTreeMap<i64, u64>,
    /// The most memory that one process had resident, in kB.
    pub(crate) peak: u64,
}

impl Counted {
    /// System calls, all together.
    pub(crate) fn calls(&self) -> u64 {
        self.by_call.values().sum()
    }

    /// What both cost together.
    pub(crate) fn and(mut self, other: &Self) -> Self {
        for (call, count) in &other.by_call {
            *self.by_call.entry(*call).or_default() += count;
        }
        Self { peak: self.peak.max(other.peak), ..self }
    }
}

/// Counts a command.
///
/// # Panics
/// When it fails.
pub(crate) fn count(command: Command) -> Counted {
    let text = format!("{command:?}");
    let observed = integration::observe::run(command);
    assert!(observed.status == 0, "{text} ended with {}", observed.status);
    let parts = [&observed.program, &observed.children];
    let part = |cost: &Cost| Counted { by_call: cost.calls.clone(), peak: cost.peak };
    parts.into_iter().fold(Counted::default(), |sum, cost| sum.and(&part(cost)))
}
