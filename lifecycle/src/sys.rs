//! Every unsafe line of the engine: calls that neither nix nor rustix have.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

fn check(result: libc::c_int) -> io::Result<()> {
    if result >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `SIOCOUTQ` of unix(7): how much of what was written to a socket the other side has not read; in a Unix socket that is
/// the memory it takes.
///
/// # Errors
/// The errno of ioctl(2).
pub fn unread(socket: BorrowedFd<'_>) -> io::Result<libc::c_int> {
    let mut amount = 0;
    // SAFETY: the kernel writes one int to where `amount` is.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut amount) })?;
    Ok(amount)
}
