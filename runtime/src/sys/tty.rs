//! Terminals: ioctl_tty(2) and the peer of a pseudoterminal.

use super::{Errno, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `TIOCGPTPEER` (Linux 4.13): opens the terminal that belongs to the master `master`, without a path.
///
/// # Errors
/// The errno of ioctl(2).
pub fn peer(master: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the argument of this ioctl is the open flags, no pointer.
    let fd = Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) })?;
    // SAFETY: the kernel returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `TIOCSPTLCK`: unlocks the terminal of the master `master`.
///
/// # Errors
/// The errno of ioctl(2).
pub fn unlock(master: BorrowedFd<'_>) -> Result<()> {
    let off: libc::c_int = 0;
    // SAFETY: the argument is a pointer to an int that outlives the call.
    Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const off) }).map(drop)
}

/// `TIOCGPTN`: the number N of the terminal `/dev/pts/N` that belongs to `master`.
///
/// # Errors
/// The errno of ioctl(2).
pub fn number(master: BorrowedFd<'_>) -> Result<u32> {
    let mut number: libc::c_uint = 0;
    // SAFETY: the argument is a pointer to an unsigned int that outlives the call.
    Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, &raw mut number) })?;
    Ok(number)
}

/// `TIOCSCTTY`: makes `terminal` the controlling terminal of this session.
///
/// # Errors
/// The errno of ioctl(2).
pub fn set_controlling(terminal: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: the argument is a number.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }).map(drop)
}

/// `TIOCSWINSZ`, in characters.
///
/// # Errors
/// The errno of ioctl(2).
pub fn set_size(terminal: BorrowedFd<'_>, rows: u16, columns: u16) -> Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the argument is a pointer to a winsize that outlives the call.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }).map(drop)
}

/// `TIOCGWINSZ`: rows and columns.
///
/// # Errors
/// The errno of ioctl(2); `ENOTTY` when it is no terminal.
pub fn size(terminal: BorrowedFd<'_>) -> Result<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the argument is a pointer to a winsize that outlives the call.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) })?;
    Ok((size.ws_row, size.ws_col))
}
