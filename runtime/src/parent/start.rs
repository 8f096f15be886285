//! `start`, and the second half of `run`: the program runs.

use super::error::{Error, OrError, Result};
use super::notify;
use crate::hook::{self, HookState, Output};
use crate::log::Log;
use crate::state::{self, Fifo, Record, StateDir, Status};
use crate::sys::fd;
use std::io::Write;
use std::os::fd::AsFd;

/// Starts the program of a created container and runs its `poststart` hooks.
///
/// # Errors
/// It is not a created container.
pub fn start(dir: &StateDir, log: &Log) -> Result<()> {
    let (lock, record) = dir.lock_made()?;
    let cannot = |why: &str| Err(Error::Other(format!("cannot start a container {why}")));
    let (status, init) = state::look(dir, &record)?;
    let (fifo, init) = match (status, dir.open_fifo()?, init) {
        (Status::Created, Fifo::Waited(fifo), Some(init)) => (fifo, init),
        // Nobody else removes the FIFO meanwhile: who waited on it has ended.
        (Status::Stopped | Status::Created, ..) => return cannot("that has stopped"),
        (Status::Running, ..) => {
            return Err(Error::Other("cannot start an already running container".into()));
        }
        (status, ..) => return cannot(&format!("in the {} state", status.name())),
    };
    let notify = notify::listen(dir)?;
    (&fifo).write_all(b"s").map_err(super::error::file_error("write", dir.path()))?;
    // From now on it counts as running. What is waited for now may take as long as its hooks do, which may call others.
    dir.remove_fifo();
    drop(lock);
    // The other end closes when the program runs, or when its process ends.
    fd::wait_for_hangup(fifo.as_fd()).or_error(|| "wait for the container's process".into())?;
    after(&record, log);
    match notify {
        Some(listener) => listener.wait(init.pid, init.pidfd.as_fd()),
        None => Ok(()),
    }
}

/// Runs `poststart` hooks. Their failure is logged, and the container goes on (runtime.md, "Lifecycle").
pub fn after(record: &Record, log: &Log) {
    let state = hook_state(record, "running", Some(record.pid));
    for problem in hook::run_all("poststart", &record.hooks.poststart, &state) {
        log.warn(&problem);
    }
}

/// What hooks are told of a container on record.
#[must_use]
pub fn hook_state(record: &Record, status: &'static str, pid: Option<i32>) -> HookState {
    HookState {
        oci_version: record.oci_version.clone(),
        id: record.id.clone(),
        status,
        pid,
        bundle: record.bundle.clone(),
        annotations: record.annotations.clone(),
        // A file that cannot be opened any more is no reason not to run a hook.
        output: Output::open(&record.annotations).unwrap_or_default(),
    }
}
