//! Every unsafe line of the engine: a call that neither nix nor rustix have.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// `SIOCOUTQ` of unix(7): how much of what was written to a socket the other side has not read; in a Unix socket that is
/// the memory it takes.
///
/// # Errors
/// The errno of ioctl(2).
pub fn unread(socket: BorrowedFd<'_>) -> io::Result<libc::c_int> {
    let mut amount = 0;
    // SAFETY: the kernel writes one int to where `amount` is.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut amount) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(amount) }
}

/// A descriptor whose readiness can be waited for.
///
/// # Errors
/// The errno of epoll_ctl(2).
pub fn watched(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is one open descriptor for as long as it lives, and here nobody can close it or take it out.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, interest) }?)
}
