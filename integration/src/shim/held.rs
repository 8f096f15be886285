//! What a process holds: memory, descriptors, threads, children.

use crate::proc;
use std::fs;

/// What a process holds. Memory is in kB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Children of its first thread, zombies too.
    pub children: usize,
    /// Resident memory, shared pages too.
    pub resident: u64,
    /// Resident memory, of shared pages its share only.
    pub share: u64,
    /// Memory of its own that it has written to. What a child made by fork still shares is not in it.
    pub dirty: u64,
    /// Memory that is in no file, shared with a child or not.
    pub anonymous: u64,
}

impl Held {
    /// Of a process that lives.
    ///
    /// # Panics
    /// When it does not.
    pub fn of(pid: i32) -> Held {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let kilobytes = |name: &str| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        Held {
            descriptors: proc::entries(format!("/proc/{pid}/fd")).len(),
            threads: proc::entries(format!("/proc/{pid}/task")).len(),
            children: proc::children(pid).len(),
            resident: kilobytes("Rss:"),
            share: kilobytes("Pss:"),
            dirty: kilobytes("Private_Dirty:"),
            anonymous: kilobytes("Anonymous:"),
        }
    }

    /// What is counted and not measured: it must come back to what it was.
    pub fn counts(self) -> (usize, usize, usize) {
        (self.descriptors, self.threads, self.children)
    }
}
