//! Capability sets of this thread (capabilities(7)).

use super::{Result, check};

/// `CAP_SYS_ADMIN` in a set.
pub const SYS_ADMIN: u64 = 1 << 21;

/// `_LINUX_CAPABILITY_VERSION_3`.
const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Sets effective, permitted and inheritable at once; bit N is capability N.
///
/// # Errors
/// The errno of capset(2).
pub fn set(effective: u64, permitted: u64, inheritable: u64) -> Result<()> {
    let header = Header { version: VERSION_3, pid: 0 };
    let half = |shift: u32| Data {
        effective: u32::try_from((effective >> shift) & 0xffff_ffff).unwrap_or(0),
        permitted: u32::try_from((permitted >> shift) & 0xffff_ffff).unwrap_or(0),
        inheritable: u32::try_from((inheritable >> shift) & 0xffff_ffff).unwrap_or(0),
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 wants one header and two data blocks, which is what is passed.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) }).map(drop)
}

/// The effective, permitted and inheritable sets of this thread.
///
/// # Errors
/// The errno of capget(2).
pub fn get() -> Result<(u64, u64, u64)> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 wants one header and two data blocks, which is what is passed.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    let join = |low: u32, high: u32| u64::from(low) | (u64::from(high) << 32);
    let [low, high] = data;
    Ok((
        join(low.effective, high.effective),
        join(low.permitted, high.permitted),
        join(low.inheritable, high.inheritable),
    ))
}

/// Whether `capability` is in the bounding set; `EINVAL` for a number the kernel does not know.
///
/// # Errors
/// The errno of prctl(2).
pub fn in_bounding(capability: u32) -> Result<bool> {
    // SAFETY: no pointers.
    check(unsafe { libc::syscall(libc::SYS_prctl, libc::PR_CAPBSET_READ, capability, 0, 0, 0) })
        .map(|v| v == 1)
}

/// Drops `capability` from the bounding set.
///
/// # Errors
/// The errno of prctl(2).
pub fn drop_bounding(capability: u32) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::syscall(libc::SYS_prctl, libc::PR_CAPBSET_DROP, capability, 0, 0, 0) }).map(drop)
}

/// Empties the ambient set.
///
/// # Errors
/// The errno of prctl(2).
pub fn clear_ambient() -> Result<()> {
    let command = libc::PR_CAP_AMBIENT_CLEAR_ALL;
    // SAFETY: no pointers.
    check(unsafe { libc::syscall(libc::SYS_prctl, libc::PR_CAP_AMBIENT, command, 0, 0, 0) }).map(drop)
}

/// Adds `capability` to the ambient set.
///
/// # Errors
/// The errno of prctl(2).
pub fn raise_ambient(capability: u32) -> Result<()> {
    let command = libc::PR_CAP_AMBIENT_RAISE;
    // SAFETY: no pointers.
    check(unsafe { libc::syscall(libc::SYS_prctl, libc::PR_CAP_AMBIENT, command, capability, 0, 0) })
        .map(drop)
}
