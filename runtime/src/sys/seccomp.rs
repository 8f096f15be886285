//! seccomp(2): loading a filter.

use super::{Errno, Result};
use std::os::fd::{FromRawFd, OwnedFd};

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
