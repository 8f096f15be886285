//! A mount namespace for a moment: what is mounted in it, nobody else sees.

use std::io;

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountPropagationFlags, mount_change};

/// Does something in a mount namespace of its own, with which all that it mounts goes, but for what a descriptor holds. A
/// thread has it, and ends with it: none that does other work may keep it.
///
/// # Errors
/// What `work` fails with; or that there cannot be one (`unshare(2)`, `CLONE_NEWNS`).
pub fn in_mount_namespace<T, E>(work: impl FnOnce() -> Result<T, E> + Send) -> Result<T, E>
where
    T: Send,
    E: From<io::Error> + Send,
{
    let alone = || {
        unshare(CloneFlags::CLONE_NEWNS).map_err(io::Error::from).map_err(refused)?;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).map_err(io::Error::from).map_err(refused)?;
        work()
    };
    let ended = std::thread::scope(|scope| scope.spawn(alone).join());
    ended.unwrap_or_else(|_| Err(io::Error::other("mounting broke off").into()))
}

fn refused(error: io::Error) -> io::Error {
    io::Error::other(format!("make a mount namespace: {error}"))
}
