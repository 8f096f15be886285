//! Mounts whose owners are mapped (mount_setattr(2) with `MOUNT_ATTR_IDMAP`, Linux 5.12).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::pipe2;
use runtime::sys::fd::cwd;
use runtime::sys::mount::{idmap, open_tree};

use super::{Error, attach, c_path};
use crate::sys;

/// Makes a user namespace with the given maps: `container:host:count`, several with commas.
///
/// A namespace exists through a process: one is forked, mapped from outside, and killed once the namespace is
/// open.
pub(super) fn user_namespace(uids: &str, gids: &str) -> io::Result<OwnedFd> {
    let (ready_read, ready_write) = pipe2(OFlag::O_CLOEXEC)?;
    let parent = nix::unistd::getpid();
    let pid = sys::fork(|| {
        let ready = set_pdeathsig(Signal::SIGKILL)
            .and_then(|()| unshare(CloneFlags::CLONE_NEWUSER))
            .and_then(|()| nix::unistd::write(&ready_write, b"1"));
        // The parent may have ended before its end was a signal.
        while ready.is_ok() && nix::unistd::getppid() == parent {
            nix::unistd::pause();
        }
        1
    })?;
    drop(ready_write);
    let namespace = open_mapped(pid, &ready_read, uids, gids);
    let _killed = sys::kill(pid, libc::SIGKILL);
    let _reaped = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
    namespace
}

fn open_mapped(pid: i32, ready: &OwnedFd, uids: &str, gids: &str) -> io::Result<OwnedFd> {
    if nix::unistd::read(ready, &mut [0])? != 1 {
        return Err(io::Error::other("a user namespace cannot be made here"));
    }
    // The kernel's form: blanks between the numbers and a line for each range.
    let table = |map: &str| map.replace(',', "\n").replace(':', " ");
    std::fs::write(format!("/proc/{pid}/uid_map"), table(uids))?;
    std::fs::write(format!("/proc/{pid}/gid_map"), table(gids))?;
    Ok(File::open(format!("/proc/{pid}/ns/user"))?.into())
}

/// A detached copy of what is mounted at `path`, with its owners mapped.
pub(super) fn mapped_copy(path: &Path, namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let copy = open_tree(cwd(), &c_path(path)?, libc::OPEN_TREE_CLONE)?;
    idmap(copy.as_fd(), false, namespace)?;
    Ok(copy)
}

/// Replaces the mount at `target` by one whose owners are mapped.
pub(super) fn remap(target: &Path, namespace: BorrowedFd<'_>) -> Result<(), Error> {
    let copy = mapped_copy(target, namespace).map_err(Error::step("map the owners of", target))?;
    umount2(target, MntFlags::MNT_DETACH).map_err(Error::errno("unmount", target))?;
    attach(copy, target).map_err(Error::step("mount on", target))
}
