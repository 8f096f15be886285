//! Session keyrings (keyctl(2)).

use super::{Result, check};
use std::ffi::CStr;

/// Joins the session keyring of that name, made if there is none that may be searched, and returns its serial number;
/// without a name always a new one.
///
/// # Errors
/// The errno of keyctl(2); `ENOSYS` where the kernel has no keyrings.
pub fn join_session(name: Option<&CStr>) -> Result<i32> {
    let name = name.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: `name` is null, which asks for a keyring without one, or NUL-terminated and outlives the call.
    check(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name) })
}

/// The description of a key, `type;uid;gid;permissions;name`.
///
/// # Errors
/// The errno of keyctl(2).
pub fn describe(key: i32) -> Result<String> {
    let mut buffer = vec![0_u8; 512];
    // SAFETY: the buffer is valid for the length given.
    let length = check(unsafe {
        libc::syscall(libc::SYS_keyctl, libc::KEYCTL_DESCRIBE, key, buffer.as_mut_ptr(), buffer.len())
    })?;
    buffer.truncate(usize::try_from(length).unwrap_or(0).saturating_sub(1));
    Ok(String::from_utf8_lossy(&buffer).into_owned())
}

/// Sets a key's permission mask.
///
/// # Errors
/// The errno of keyctl(2).
pub fn set_permissions(key: i32, mask: u32) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_SETPERM, key, mask) }).map(drop)
}
