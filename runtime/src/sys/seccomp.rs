//! seccomp(2): loading a filter, and answering its notifications (seccomp_unotify(2)).

use super::{Errno, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Bytes of one instruction (`struct sock_filter`).
pub const INSTRUCTION: usize = 8;

#[repr(C)]
struct Program {
    length: libc::c_ushort,
    instructions: *const libc::sock_filter,
}

/// `SECCOMP_SET_MODE_FILTER` with a program as it lies in memory, [`INSTRUCTION`] bytes each. With
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER` in `flags`, returns the notification descriptor.
///
/// # Errors
/// The errno of seccomp(2); `EINVAL` also for a flag that the kernel does not know.
pub fn load(filter: &[u8], flags: u64) -> Result<Option<OwnedFd>> {
    let length = libc::c_ushort::try_from(filter.len() / INSTRUCTION).map_err(|_| Errno::E2BIG)?;
    let program = Program { length, instructions: filter.as_ptr().cast() };
    // SAFETY: `program` is laid out as struct sock_fprog and points to at least `length` instructions; both outlive
    // the call. The kernel copies them byte by byte, so their alignment does not matter.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    let value = super::check(result)?;
    if flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER == 0 {
        return match value {
            0 => Ok(None),
            // With TSYNC, the number of the thread that could not be synchronised.
            _ => Err(Errno::EBUSY),
        };
    }
    // SAFETY: with NEW_LISTENER the kernel returned a new descriptor that nobody else owns.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(value) }))
}

/// A system call that waits for an answer.
#[derive(Debug, Clone, Copy)]
pub struct Notification {
    /// Names it in the answer.
    pub id: u64,
    /// `seccomp_data.nr`.
    pub number: u32,
    /// `seccomp_data.arch`.
    pub arch: u32,
    /// Its arguments.
    pub args: [u64; 6],
}

/// `SECCOMP_IOCTL_NOTIF_RECV` (Linux 5.0): the next call that waits on a listener.
///
/// # Errors
/// The errno of ioctl(2); `ENOENT` when the calling process has ended, or was interrupted, meanwhile.
pub fn receive(listener: BorrowedFd<'_>) -> Result<Notification> {
    // SAFETY: seccomp_notif is plain old data; the kernel demands that all of it is zero.
    let mut notification: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the request's number carries the size of seccomp_notif, which is all that the kernel writes;
    // `notification` outlives the call.
    Errno::result(unsafe {
        libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut notification)
    })?;
    let data = notification.data;
    Ok(Notification {
        id: notification.id,
        number: data.nr.cast_unsigned(),
        arch: data.arch,
        args: data.args,
    })
}

/// `SECCOMP_IOCTL_NOTIF_SET_FLAGS` with `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP` (Linux 6.6): who calls makes way for who
/// answers on the same processor, and the other way round, which takes a fraction of the time.
///
/// # Errors
/// The errno of ioctl(2): `EINVAL` before Linux 6.6.
pub fn wake_at_once(listener: BorrowedFd<'_>) -> Result<()> {
    const SYNC_WAKE_UP: libc::c_ulong = 1;
    let request = libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS;
    // SAFETY: the flags are the argument itself, not behind a pointer.
    Errno::result(unsafe { libc::ioctl(listener.as_raw_fd(), request, SYNC_WAKE_UP) }).map(drop)
}

/// `SECCOMP_IOCTL_NOTIF_SEND` with `SECCOMP_USER_NOTIF_FLAG_CONTINUE` (Linux 5.5): the kernel carries the call out, as
/// if there were no filter. What is let through like this is not checked: pointers may be changed meanwhile.
///
/// # Errors
/// The errno of ioctl(2); `ENOENT` when the calling process has ended, or was interrupted, meanwhile.
pub fn let_continue(listener: BorrowedFd<'_>, id: u64) -> Result<()> {
    // SAFETY: seccomp_notif_resp is plain old data, for which zeroes are valid.
    let mut answer: libc::seccomp_notif_resp = unsafe { std::mem::zeroed() };
    answer.id = id;
    // The flag is bit 0 in a field of 32 bits.
    answer.flags = 1;
    // SAFETY: the request's number carries the size of seccomp_notif_resp, which is all that the kernel reads; `answer`
    // outlives the call.
    Errno::result(unsafe {
        libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer)
    })
    .map(drop)
}
