//! What a failed create or restore takes back.

use super::spawn::Spawned;
use crate::cgroup::Cgroup;
use crate::hook::{self, HookState};
use crate::spec::Hooks;
use crate::state::{Lock, StateDir};
use crate::sys::pidfd;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::os::fd::AsFd;
use std::path::PathBuf;

/// What a failed create has to take back, in reverse order of making.
#[derive(Debug)]
pub(crate) struct Undo<'a> {
    dir: Option<&'a StateDir>,
    /// Keeps other commands out until all is taken back.
    pub(crate) lock: Option<Lock>,
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) child: Option<Spawned>,
    pub(crate) stopped: Option<(&'a HookState, &'a Hooks)>,
    pub(crate) resctrl: Vec<PathBuf>,
}

impl<'a> Undo<'a> {
    /// So far there is a state directory.
    pub(crate) fn of(dir: &'a StateDir) -> Self {
        Self { dir: Some(dir), lock: None, cgroup: None, child: None, stopped: None, resctrl: Vec::new() }
    }

    /// Nothing is taken back any more.
    pub(crate) fn keep(&mut self) {
        (self.dir, self.cgroup, self.child, self.stopped) = (None, None, None, None);
        self.resctrl.clear();
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if let Some(child) = &self.child {
            let _ = pidfd::send_signal(child.pidfd.as_fd(), libc::SIGKILL);
            let _ = waitpid(Pid::from_raw(child.pid), None);
        }
        if let Some(cgroup) = &mut self.cgroup {
            let _ = cgroup.kill_all(libc::SIGKILL);
            let _ = cgroup.wait_empty();
            let _ = cgroup.remove();
        }
        for group in &self.resctrl {
            let _ = std::fs::remove_dir(group);
        }
        if let Some(dir) = self.dir {
            let _ = dir.remove();
        }
        self.lock = None;
        if let Some((state, hooks)) = self.stopped {
            let _ = hook::run_all("poststop", &hooks.poststop, &state.at("stopped", None));
        }
    }
}
