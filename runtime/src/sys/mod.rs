//! System calls that the libraries do not wrap, and nothing else.
//!
//! The only module of this crate with `unsafe` code. Each function is one system call or ioctl, or the few that make one
//! step; it takes owned or borrowed file descriptors and plain data, and returns the kernel's errno. No policy, no path logic.
//! Beside them, [`arena`]: the memory of a short command; and what musl has more slowly than it need be.
#![allow(unsafe_code)]

pub mod arena;
pub mod bpf;
pub mod capability;
pub mod clone;
pub mod fd;
pub mod keyring;
pub mod mount;
#[cfg(any(target_env = "musl", test))]
mod musl;
pub mod net;
pub mod pidfd;
pub mod probe;
pub mod process;
pub mod regex;
pub mod sched;
pub mod seccomp;
pub mod shared;
pub mod tty;

pub use nix::errno::Errno;

/// The result of a system call.
pub type Result<T> = std::result::Result<T, Errno>;

/// The kernel's reason in the words that callers of a runtime match on: Go's, which are glibc's in lower case.
pub fn reason(errno: Errno) -> String {
    let text = errno.desc();
    match text.as_bytes() {
        [first, second, ..] if first.is_ascii_uppercase() && second.is_ascii_lowercase() => {
            format!("{}{}", first.to_ascii_lowercase() as char, &text[1..])
        }
        _ => text.to_owned(),
    }
}

/// What went wrong in an I/O error, in the same words: the standard library's own end in "(os error 2)".
#[must_use]
pub fn io_reason(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |errno| reason(Errno::from_raw(errno)))
}

/// The errno of an I/O error, `EIO` when it carries none.
pub fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// Turns the -1 of a raw system call into an errno, and its result into the type that the call returns.
fn check(result: libc::c_long) -> Result<libc::c_int> {
    // System calls used here return file descriptors, pids, small numbers or 0: all fit.
    Errno::result(result).map(|value| libc::c_int::try_from(value).unwrap_or(libc::c_int::MAX))
}
