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
    let text = match errno {
        Errno::EAGAIN => "resource temporarily unavailable",
        Errno::EBADF => "bad file descriptor",
        Errno::EBADMSG => "bad message",
        Errno::EDEADLK => "resource deadlock avoided",
        Errno::EDQUOT => "disk quota exceeded",
        Errno::EIO => "input/output error",
        Errno::ELOOP => "too many levels of symbolic links",
        Errno::ENFILE => "too many open files in system",
        Errno::ENOMEM => "cannot allocate memory",
        Errno::ENOTTY => "inappropriate ioctl for device",
        Errno::EOPNOTSUPP => "operation not supported",
        Errno::ERANGE => "numerical result out of range",
        Errno::EXDEV => "invalid cross-device link",
        errno => errno.desc(),
    };
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

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::{Errno, reason};

    /// The names of addresses and protocols of networks, which no step of a container can fail with, are left out.
    #[test]
    fn reasons_are_in_the_words_of_glibc() {
        for number in (1..33).chain(34..37).chain([38, 39, 40, 61, 74, 95, 110, 116, 122]) {
            let words = std::io::Error::from_raw_os_error(number).to_string().to_lowercase();
            let words = words.split(" (os error").next().unwrap_or_default();
            assert_eq!(reason(Errno::from_raw(number)).to_lowercase(), words, "{number}");
        }
    }
}
