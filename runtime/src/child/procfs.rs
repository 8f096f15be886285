//! A procfs of a PID namespace that this process is not in.
//!
//! A process that appears in a PID namespace can be looked into by those that are there. So a container that joins one is
//! made from outside of it, and its `/proc` has to be of a namespace that its maker has not entered.

use super::covers;
use crate::sys::capability::{self, SYS_ADMIN};
use crate::sys::{Errno, clone, fd, mount, process};
use crate::weak;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::Pid;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A context of a procfs that shows the processes of the namespace `pids`.
///
/// # Errors
/// The errno of the call that failed.
pub fn context(pids: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let context = mount::fsopen(c"proc")?;
    match mount::fsconfig_fd(context.as_fd(), c"pidns", pids) {
        Ok(()) if !weak::off("pidns") => Ok(context),
        // Before Linux 6.18 a procfs is of the namespace of the process that opened its context.
        _ => opened_inside(pids),
    }
}

/// Lets a process in the namespace open the context. For the two calls that it makes there it can be seen, so it has
/// nothing: an empty root, no descriptor but the socket, one capability.
fn opened_inside(pids: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    match clone::fork_into(0, None)? {
        clone::Forked::Child => {
            let _ = outside(pids, theirs.as_fd());
            clone::exit_now(0)
        }
        clone::Forked::Parent(pid, _) => {
            drop(theirs);
            let received = fd::receive(ours.as_fd(), &mut [0]);
            let _ = nix::sys::wait::waitpid(Pid::from_raw(pid), None);
            received?.1.ok_or(Errno::ECHILD)
        }
    }
}

/// The parent of the process inside.
fn outside(pids: BorrowedFd<'_>, socket: BorrowedFd<'_>) -> Result<(), Errno> {
    let empty = covers::empty_directory()?;
    nix::unistd::fchdir(&empty)?;
    nix::unistd::chroot(".")?;
    clone::setns(pids, libc::CLONE_NEWPID)?;
    capability::set(SYS_ADMIN, SYS_ADMIN, 0)?;
    // What owns them is never dropped: this process ends first.
    fd::close_all_but(0, &[socket.as_raw_fd().cast_unsigned()])?;
    match clone::fork_into(0, None)? {
        clone::Forked::Child => {
            let _ = process::set_parent_death_signal(libc::SIGKILL);
            let _ = mount::fsopen(c"proc").and_then(|context| fd::send(socket, b"c", Some(context.as_fd())));
            clone::exit_now(0)
        }
        clone::Forked::Parent(pid, _) => nix::sys::wait::waitpid(Pid::from_raw(pid), None).map(drop),
    }
}
