//! Every unsafe line of the engine: the mount API and a few calls more, which nix does not have.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

fn check(result: libc::c_long) -> io::Result<libc::c_int> {
    match libc::c_int::try_from(result) {
        Ok(value) if value >= 0 => Ok(value),
        _ => Err(io::Error::last_os_error()),
    }
}

fn owned(fd: libc::c_int) -> OwnedFd {
    // SAFETY: only called with a descriptor that a system call of this file has just returned.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// fsopen(2): a context in which a file system is configured.
///
/// # Errors
/// The errno of fsopen(2).
pub fn fsopen(kind: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: `kind` is NUL-terminated and outlives the call.
    check(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), libc::FSOPEN_CLOEXEC) }).map(owned)
}

/// fsconfig(2), `FSCONFIG_SET_STRING`, or `FSCONFIG_SET_FLAG` without a value.
///
/// # Errors
/// The errno of fsconfig(2).
pub fn fsconfig_set(context: BorrowedFd<'_>, key: &CStr, value: Option<&CStr>) -> io::Result<()> {
    let command = if value.is_some() { libc::FSCONFIG_SET_STRING } else { libc::FSCONFIG_SET_FLAG };
    let value = value.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: the key and the value, if there is one, are NUL-terminated and outlive the call; a flag takes none.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, key.as_ptr(), value, 0) })
        .map(drop)
}

/// fsconfig(2), `FSCONFIG_CMD_CREATE`, and fsmount(2): a mount that is attached nowhere.
///
/// # Errors
/// The errno of either call.
pub fn fsmount(context: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let none = std::ptr::null::<libc::c_char>();
    let fd = context.as_raw_fd();
    // SAFETY: FSCONFIG_CMD_CREATE takes neither key nor value.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, fd, libc::FSCONFIG_CMD_CREATE, none, none, 0) })?;
    // SAFETY: no pointers are passed.
    check(unsafe { libc::syscall(libc::SYS_fsmount, fd, libc::FSMOUNT_CLOEXEC, 0) }).map(owned)
}

/// `SIOCOUTQ` of unix(7): how much of what was written to a socket the other side has not read; in a Unix socket that is
/// the memory it takes.
///
/// # Errors
/// The errno of ioctl(2).
pub fn unread(socket: BorrowedFd<'_>) -> io::Result<libc::c_int> {
    let mut amount = 0;
    // SAFETY: the kernel writes one int to where `amount` is.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut amount) }.into())?;
    Ok(amount)
}

/// Takes over a descriptor that this process was started with.
///
/// # Errors
/// `EBADF` when it is not open.
pub fn inherited(fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD takes no argument and changes nothing.
    check(unsafe { libc::fcntl(fd, libc::F_GETFD) }.into())?;
    // SAFETY: the descriptor is open, and each number is taken over once, at the start of the program, before
    // anything else could own it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
