//! Who may reap which child.
//!
//! The shim is the parent of processes it has started, of container processes that a runtime has started and
//! left to it, and of orphans that nobody expects. The first two are *owned*: whoever owns one reaps it
//! through its pidfd, and nobody else does, so that an exit can neither be lost nor be taken for that of a
//! later process with the same pid. Orphans are reaped here. While a runtime is starting a process, a dead
//! child that nobody owns may be that very process, whose pid is not known yet: it is left alone until every
//! launch that it could belong to is over.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use runtime::weak;

use crate::sys;

#[derive(Default)]
struct Reaper {
    owned: RefCell<BTreeSet<i32>>,
    launches: RefCell<BTreeSet<u64>>,
    next_launch: Cell<u64>,
    /// Dead children that nobody owns, with the number of the first launch that began after they were seen.
    unclaimed: RefCell<BTreeMap<i32, u64>>,
}

thread_local! {
    static REAPER: Reaper = Reaper::default();
}

/// The right and the duty to reap one child.
pub struct Owned(i32);

/// Takes responsibility for a child.
pub fn own(pid: i32) -> Owned {
    REAPER.with(|reaper| {
        reaper.owned.borrow_mut().insert(pid);
        reaper.unclaimed.borrow_mut().remove(&pid);
    });
    Owned(pid)
}

impl Drop for Owned {
    fn drop(&mut self) {
        REAPER.with(|reaper| reaper.owned.borrow_mut().remove(&self.0));
    }
}

/// A runtime is starting a process whose pid is not known yet. Own the process before this is dropped.
pub struct Launch(u64);

/// Begins a launch.
pub fn launch() -> Launch {
    REAPER.with(|reaper| {
        let number = reaper.next_launch.get();
        reaper.next_launch.set(number + 1);
        reaper.launches.borrow_mut().insert(number);
        Launch(number)
    })
}

impl Drop for Launch {
    fn drop(&mut self) {
        REAPER.with(|reaper| reaper.launches.borrow_mut().remove(&self.0));
        sweep();
    }
}

/// Reaps dead children that nobody owns. Call it after SIGCHLD; it takes one system call when there are none.
pub fn sweep() {
    if weak::off("orphans") {
        return;
    }
    REAPER.with(|reaper| {
        while let Ok(Some(ended)) = sys::peek_ended_child() {
            if !reaper.reap_orphan(ended.pid) {
                // The kernel shows the first dead child only, and this one has to stay: look at all of them.
                reaper.scan();
                return;
            }
        }
        reaper.unclaimed.borrow_mut().clear();
    });
}

impl Reaper {
    /// Reaps the dead child `pid` unless somebody owns it or may come to.
    fn reap_orphan(&self, pid: i32) -> bool {
        if self.owned.borrow().contains(&pid) && !weak::off("ownership") {
            return false;
        }
        let free = match self.launches.borrow().first() {
            None => true,
            Some(oldest) => {
                let mut unclaimed = self.unclaimed.borrow_mut();
                oldest >= unclaimed.entry(pid).or_insert(self.next_launch.get())
            }
        };
        free && sys::reap_pid(pid).is_ok()
    }

    fn scan(&self) {
        // Needs CONFIG_PROC_CHILDREN, which every distribution sets; without it orphans wait for a quiet
        // moment.
        let children = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
        let mut still_there = BTreeSet::new();
        for pid in children.split_ascii_whitespace().filter_map(|word| word.parse().ok()) {
            if self.owned.borrow().contains(&pid) {
                continue;
            }
            if let Ok(Some(_)) = sys::peek_pid(pid)
                && !self.reap_orphan(pid)
            {
                still_there.insert(pid);
            }
        }
        self.unclaimed.borrow_mut().retain(|pid, _| still_there.contains(pid));
    }
}
