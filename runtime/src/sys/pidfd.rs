//! Processes by descriptor: a pidfd never means another process than the one it was opened for.

use super::{Errno, Result, check};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// pidfd_open(2) (Linux 5.3).
///
/// # Errors
/// The errno of pidfd_open(2); `ESRCH` when there is no such process.
pub fn open(pid: i32) -> Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// pidfd_send_signal(2); signal 0 only asks whether the process is there.
///
/// # Errors
/// The errno of pidfd_send_signal(2); `ESRCH` when the process has been reaped.
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo asks for the one that kill(2) would send.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, none, 0) }).map(drop)
}

/// Which of these processes has ended first, in the order given where several have, within `timeout` milliseconds (-1: for
/// ever); `None`: none of them.
///
/// # Errors
/// The errno of poll(2).
pub fn first_to_exit<'a>(
    pidfds: impl Iterator<Item = BorrowedFd<'a>>,
    timeout: i32,
) -> Result<Option<usize>> {
    let mut polls: Vec<PollFd<'_>> = pidfds.map(|pidfd| PollFd::new(pidfd, PollFlags::POLLIN)).collect();
    let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::NONE);
    loop {
        match poll(&mut polls, timeout) {
            Err(Errno::EINTR) => {}
            result => return result.map(|_| polls.iter().position(|poll| poll.any() == Some(true))),
        }
    }
}

/// Whether the process has ended (it may be a zombie), waiting for that up to `timeout` milliseconds (-1: for ever).
///
/// # Errors
/// The errno of poll(2).
pub fn has_exited(pidfd: BorrowedFd<'_>, timeout: i32) -> Result<bool> {
    let mut poll = libc::pollfd { fd: pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    loop {
        // SAFETY: one valid pollfd.
        match Errno::result(unsafe { libc::poll(&raw mut poll, 1, timeout) }) {
            Err(Errno::EINTR) => {}
            result => return result.map(|ready| ready > 0),
        }
    }
}
