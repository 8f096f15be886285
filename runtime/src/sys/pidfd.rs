//! Processes by descriptor: a pidfd never means another process than the one it was opened for.

use super::{Errno, Result, check};
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
