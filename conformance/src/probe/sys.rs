//! The system calls of the probe that no safe wrapper has: facts about the calling process that no file
//! shows.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_long};

/// A result, or the name of the error.
fn shown(result: c_long, show: impl Fn(c_long) -> String) -> String {
    if result < 0 { format!("{:?}", nix::errno::Errno::last()) } else { show(result) }
}

/// ioprio_get(2): `class/level`.
pub(crate) fn io_priority() -> String {
    const IOPRIO_WHO_PROCESS: c_int = 1;
    // SAFETY: takes two numbers and touches no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0) };
    shown(result, |value| format!("{}/{}", value >> 13, value & 0x1fff))
}

/// keyctl(KEYCTL_DESCRIBE) of the session keyring: `type;uid;gid;permissions;description`.
pub(crate) fn session_keyring() -> String {
    const KEYCTL_DESCRIBE: c_int = 6;
    const KEY_SPEC_SESSION_KEYRING: c_int = -3;
    let mut buffer = [0u8; 256];
    // SAFETY: the kernel writes at most `len` bytes to `buffer`, which lives until the call returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_DESCRIBE,
            KEY_SPEC_SESSION_KEYRING,
            buffer.as_mut_ptr(),
            buffer.len(),
        )
    };
    shown(result, |_| {
        let text: Vec<u8> = buffer.iter().copied().take_while(|byte| *byte != 0).collect();
        String::from_utf8_lossy(&text).into_owned()
    })
}

/// prctl(PR_GET_SECUREBITS).
pub(crate) fn securebits() -> String {
    // SAFETY: takes a number and touches no memory of ours.
    let result = unsafe { libc::prctl(libc::PR_GET_SECUREBITS) };
    shown(c_long::from(result), |bits| format!("{bits:#x}"))
}

/// prctl(PR_GET_DUMPABLE).
pub(crate) fn dumpable() -> String {
    // SAFETY: takes a number and touches no memory of ours.
    let result = unsafe { libc::prctl(libc::PR_GET_DUMPABLE) };
    shown(c_long::from(result), |value| value.to_string())
}

/// TIOCGWINSZ of standard output: `rows x columns`.
pub(crate) fn window() -> String {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel writes a `winsize` to `size`, which lives until the call returns.
    let result = unsafe { libc::ioctl(1, libc::TIOCGWINSZ, &raw mut size) };
    shown(c_long::from(result), |_| format!("{} x {}", size.ws_row, size.ws_col))
}
