//! `delete`: takes back all that a container has.

use super::{Command, CommandError, Context, only_id};
use crate::cgroup::{self, Cgroup};
use crate::cli::{Parsed, switch};
use crate::hook;
use crate::log::Log;
use crate::parent::start::hook_state;
use crate::state::{self, Lock, Record, StateDir, StateError, Status};
use crate::sys::pidfd;
use std::os::fd::AsFd;

/// `delete`.
pub const DELETE: Command = Command {
    name: "delete",
    arguments: "ID",
    about: "delete a container that has stopped",
    flags: &[
        switch("force", "f", "kill a container that still runs; none to delete is no error"),
        switch("regex", "r", "delete every container whose id matches the pattern"),
    ],
    run: delete,
    enters: false,
};

fn delete(context: &Context, parsed: &Parsed) -> Result<i32, CommandError> {
    let id = only_id("delete", parsed)?;
    let force = parsed.on("force")?;
    match parsed.on("regex")? {
        true => super::each_matching(context, id, |id| one(context, id, force))?,
        false => one(context, id, force)?,
    }
    Ok(0)
}

fn one(context: &Context, id: &str, force: bool) -> Result<(), CommandError> {
    let opened = StateDir::open(&context.root, id).and_then(|dir| lock(&dir, force).map(|lock| (dir, lock)));
    let (dir, lock) = match opened {
        Err(StateError::Missing) if force => return Ok(()),
        result => result?,
    };
    let record = match dir.record() {
        // A runtime that was killed before it wrote the first record had made nothing else.
        Err(StateError::Missing | StateError::Damaged { .. }) if force => {
            Cgroup::from_journal(&dir.journal()).destroy()?;
            return Ok(dir.remove()?);
        }
        result => result?,
    };
    let status = state::status(&dir, &record)?;
    if status != Status::Stopped && !force {
        return Err(CommandError::other(format!(
            "cannot delete container {id} that is not stopped: {}",
            status.name()
        )));
    }
    remove(&dir, lock, &record, &context.log)
}

/// The lock of a container. One that is being made is not waited for, since its hooks may take as long as they like, or be who
/// asks: by force its process is ended, and its `create` takes all back.
fn lock(dir: &StateDir, force: bool) -> Result<Lock, StateError> {
    if let Some(lock) = dir.try_lock()? {
        return Ok(lock);
    }
    match dir.record() {
        Ok(record) if record.is_made() => return dir.lock(),
        Ok(_) | Err(StateError::Missing) if force => {}
        Ok(_) => return Err(StateError::Creating),
        Err(error) => return Err(error),
    }
    dir.dismiss()?;
    if let Ok(record) = dir.record()
        && !record.is_made()
        && let Some(init) = state::init(&record)?
    {
        let _ = pidfd::send_signal(init.pidfd.as_fd(), libc::SIGKILL);
    }
    // A `create` that was killed may have left a process that is on no record yet, and has the lock with its descriptors.
    let _ = Cgroup::from_journal(&dir.journal()).kill_all(libc::SIGKILL);
    dir.lock()
}

/// Ends what still runs, then removes control groups and state, and runs `poststop` hooks, which keep nobody waiting.
///
/// # Errors
/// Something cannot be removed.
pub fn remove(dir: &StateDir, lock: Lock, record: &Record, log: &Log) -> Result<(), CommandError> {
    if let Some(init) = state::init(record)? {
        let _ = pidfd::send_signal(init.pidfd.as_fd(), libc::SIGKILL);
        // A frozen process does not die before it is thawed, which killing the group does.
        kill_group(record)?;
        let ended = pidfd::has_exited(init.pidfd.as_fd(), PATIENCE).unwrap_or(true);
        if !ended {
            let problem = format!("container init (pid {}) still exists after it was killed", init.pid);
            return Err(CommandError::other(problem));
        }
        // It may be a child of this process (`run`); of another one otherwise.
        let _ = nix::sys::wait::waitpid(
            nix::unistd::Pid::from_raw(init.pid),
            Some(nix::sys::wait::WaitPidFlag::WNOHANG),
        );
    }
    let mut cgroup = match &record.cgroup {
        Some(cgroup) => Cgroup::open(cgroup)?,
        // A create that was killed: its processes, if it came to that, are in what it had noted.
        None => Cgroup::from_journal(&dir.journal()),
    };
    // A process that cannot be killed has its cgroup as long as it likes, and nothing else of the container.
    let left = match cgroup.destroy() {
        Err(busy @ cgroup::Error::Busy { .. }) => Err(busy),
        result => Ok(result?),
    };
    for group in record.resctrl.iter().chain(&record.monitor) {
        let _ = std::fs::remove_dir(group);
    }
    dir.remove()?;
    drop(lock);
    let state = hook_state(record, "stopped", None);
    for problem in hook::run_all("poststop", &record.hooks.poststop, &state) {
        log.warn(&problem);
    }
    Ok(left?)
}

/// How long a killed process may take to end, in milliseconds. It takes that long only in uninterruptible I/O.
const PATIENCE: i32 = 10_000;

fn kill_group(record: &Record) -> Result<(), CommandError> {
    if let Some(cgroup) = &record.cgroup {
        let cgroup = Cgroup::open(cgroup)?;
        if cgroup.is_frozen().unwrap_or(false) {
            cgroup.kill_all(libc::SIGKILL)?;
            cgroup.thaw()?;
        }
    }
    Ok(())
}
