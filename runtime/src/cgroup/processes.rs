//! The processes of a container: list, signal, wait for, move; and the end of its cgroup.

use super::dir::absent;
use super::error::{Error, Result};
use super::limits::write_all;
use super::tree::{self, PATIENCE, Patience};
use super::{Cgroup, Member, host, systemd};
use crate::sys::{Errno, pidfd};
use nix::sys::signal::Signal;
use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// How long processes that were killed may keep a container from being deleted: one that waits for a dead disk never
/// ends.
const LINGER: Duration = Duration::from_secs(3);

/// How long processes may take to stop so that all are signalled at once.
const STOP: Duration = Duration::from_millis(500);

/// Where a process is: each controller (empty for the hierarchy of v2) with the path in its hierarchy.
///
/// # Errors
/// There is no such process.
pub fn of_process(pid: i32) -> Result<Vec<(String, String)>> {
    let mut places = Vec::new();
    for hierarchy in host::of_process(&pid.to_string())? {
        let names = hierarchy.controllers.split(',');
        places.extend(names.map(|name| (name.to_owned(), hierarchy.own.clone())));
    }
    Ok(places)
}

impl Cgroup {
    /// Every process in the cgroup and in those below it, in the numbers of this process's PID namespace.
    ///
    /// # Errors
    /// A cgroup that cannot be read. One that is gone has none.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let Some(member) = self.counting() else { return Ok(Vec::new()) };
        let mut pids = tree::all_processes(&member.dir)
            .map_err(|errno| member.dir.error("read", "cgroup.procs", errno))?;
        pids.retain(|pid| *pid > 0);
        Ok(pids)
    }

    /// Whether a process runs in the cgroup or below it.
    ///
    /// # Errors
    /// As [`Cgroup::processes`].
    pub fn is_populated(&self) -> Result<bool> {
        if let (true, Some(member)) = (self.is_v2(), self.unified()) {
            let file = "cgroup.events";
            return match member.dir.read(file) {
                Ok(text) => Ok(text.lines().any(|line| line == "populated 1")),
                Err(errno) if absent(Some(errno)) => Ok(false),
                Err(errno) => Err(member.dir.error("read", file, errno)),
            };
        }
        Ok(!self.processes()?.is_empty())
    }

    /// Whether its own limit on processes leaves no room for so many more. Where that cannot be told, it does.
    #[must_use]
    pub fn has_no_room_for(&self, more: u64) -> bool {
        let Some(member) = self.legacy("pids").or_else(|| self.unified()) else { return false };
        let number = |name| member.dir.number(name).ok();
        let (current, most) = (number("pids.current"), number("pids.max"));
        current.zip(most).is_some_and(|(current, most)| current.saturating_add(more) > most)
    }

    /// The hierarchy whose list of processes counts: on v1 the one that a container can least leave.
    fn counting(&self) -> Option<&Member> {
        ["devices", "freezer", "pids", "memory"]
            .iter()
            .find_map(|name| self.legacy(name))
            .or_else(|| self.unified())
            .or_else(|| self.members.first())
    }

    /// Sends a signal to every process of the container. `SIGKILL` reaches also those that are being made meanwhile.
    ///
    /// # Errors
    /// The kernel's refusal. Processes that are gone by then are no error.
    pub fn kill_all(&self, signal: i32) -> Result<()> {
        let kill = signal == Signal::SIGKILL as i32;
        if kill && self.kill_by_file()? && self.is_v2() {
            return Ok(());
        }
        let frozen = self.is_frozen()?;
        // While frozen, no process can be made that would be missed.
        let froze = !frozen && self.freeze_within(STOP).is_ok();
        let result = self.signal_each(signal);
        // A frozen process of v1 does not even die.
        if froze || kill && frozen && !self.is_v2() {
            self.thaw()?;
        }
        result
    }

    /// `cgroup.kill` (Linux 5.14), on v2 and beside v1. False when there is none.
    fn kill_by_file(&self) -> Result<bool> {
        let Some(member) = self.unified() else { return Ok(false) };
        match member.dir.write("cgroup.kill", "1") {
            Ok(()) => Ok(true),
            // Gone, or an older kernel; a threaded cgroup cannot be killed so.
            Err(Errno::ENOENT | Errno::ENODEV | Errno::EOPNOTSUPP) => Ok(absent_dir(member)),
            Err(errno) => Err(member.dir.error("write", "cgroup.kill", errno)),
        }
    }

    /// Signals processes that are in the cgroup and are meant: a number that was read may be another process's when it
    /// is opened, one that is still listed after that is not.
    fn signal_each(&self, signal: i32) -> Result<()> {
        let error =
            |pid: i32| move |errno| Error::Io { operation: "signal", path: format!("process {pid}"), errno };
        // In parts: there may be more processes than descriptors.
        for part in self.processes()?.chunks(512) {
            let mut opened: Vec<(i32, OwnedFd)> = Vec::with_capacity(part.len());
            for pid in part {
                match pidfd::open(*pid) {
                    Ok(process) => opened.push((*pid, process)),
                    Err(Errno::ESRCH) => {}
                    Err(errno) => return Err(error(*pid)(errno)),
                }
            }
            let still: HashSet<i32> = self.processes()?.into_iter().collect();
            for (pid, process) in opened.iter().filter(|(pid, _)| still.contains(pid)) {
                match pidfd::send_signal(process.as_fd(), signal) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(errno) => return Err(error(*pid)(errno)),
                }
            }
        }
        Ok(())
    }

    /// Waits until no process is left, as after [`Cgroup::kill_all`].
    ///
    /// # Errors
    /// Processes that do not end.
    pub fn wait_empty(&self) -> Result<()> {
        let Some(member) = self.counting() else { return Ok(()) };
        let patience = Patience::of(PATIENCE);
        while self.is_populated()? {
            if patience.left().is_zero() {
                let what = format!("processes {:?}", self.processes()?);
                return Err(patience.busy(member.dir.path(), what));
            }
            tree::wait_for_change(&member.dir, patience.deadline)?;
        }
        Ok(())
    }

    /// Moves a process into the cgroup. This is the slow way, which always works: see [`Cgroup::clone_target`].
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn attach(&self, pid: i32) -> Result<()> {
        for member in &self.members {
            match (member.dir.write("cgroup.procs", &pid.to_string()), &self.unit) {
                (Ok(()), _) => {}
                // From outside of the user's own part of the tree only systemd can move processes into it.
                (Err(Errno::EACCES | Errno::EPERM), Some(unit)) => systemd::attach(unit, "", pid)?,
                (Err(errno), _) => {
                    return Err(super::make::apply_error("write", &member.dir.file("cgroup.procs"), errno));
                }
            }
        }
        Ok(())
    }

    /// Whether something waits for the container's process to exist.
    pub fn needs_adopt(&self) -> bool {
        self.late.is_some()
    }

    /// Does what could not be done before the container's process existed: asks systemd for the scope around it, which
    /// moves it there, and sets its limits. The process must be in its cgroup before it enters a cgroup namespace.
    ///
    /// # Errors
    /// As [`super::create`].
    pub fn adopt(&mut self, pid: i32) -> Result<()> {
        let Some(late) = self.late.take() else { return Ok(()) };
        match late.scope {
            None => write_all(&late.settings, self),
            Some(scope) => systemd::adopt(self, scope, pid),
        }
    }

    /// Ends what is left of the container: kills processes that still run in its cgroup, and removes it. Where none do,
    /// that is one rmdir(2) for each hierarchy.
    ///
    /// # Errors
    /// As [`Cgroup::remove`], after a few seconds: whoever deletes a container gives up after ten.
    pub fn destroy(&mut self) -> Result<()> {
        if self.unit.is_some() || !self.members.iter().all(|member| tree::remove_idle(&member.dir)) {
            if self.is_populated()? {
                self.kill_all(Signal::SIGKILL as i32)?;
            }
            return self.remove_within(LINGER);
        }
        self.joins.clear();
        Ok(())
    }

    /// Removes the cgroup with all those below it. Processes in it must have ended or be about to.
    ///
    /// # Errors
    /// Processes that do not end, or the kernel's refusal. What could be removed is.
    pub fn remove(&mut self) -> Result<()> {
        self.remove_within(PATIENCE)
    }

    fn remove_within(&mut self, limit: Duration) -> Result<()> {
        let patience = Patience::of(limit);
        let mut result = match self.unit.take() {
            None => Ok(()),
            Some(unit) => systemd::remove(&unit).map_err(Error::from),
        };
        self.joins.clear();
        for member in &self.members {
            let removed = tree::remove(&member.dir, patience);
            result = result.and(removed);
        }
        result
    }
}

/// A cgroup that is gone has been killed.
fn absent_dir(member: &Member) -> bool {
    nix::sys::stat::lstat(member.dir.path()).is_err()
}
