//! The program: its directory, its `HOME`, its file, and the descriptors it gets.

use super::{OrFail, Step, failure};
use crate::path;
use crate::plan::environment;
use crate::sys::fd::{self, LazyFd};
use crate::sys::{self, Errno};
use crate::weak;
use crate::wire::Failure;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{SFlag, fstat, stat};
use nix::unistd::{AccessFlags, faccessat};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};

/// Enters the working directory, while this process still may.
///
/// # Errors
/// It cannot be entered, other than for lack of permission: then the container's user tries again.
pub fn enter_directory(cwd: &CStr) -> Step<()> {
    match nix::unistd::chdir(cwd) {
        Ok(()) | Err(Errno::EACCES) => Ok(()),
        Err(errno) => Err(errno).or_fail(|| format!("process.cwd: chdir to {}", cwd.to_string_lossy())),
    }
}

/// Makes sure, as the container's user, that the working directory is inside the container: one opened through a
/// descriptor of the host would not be (CVE-2024-21626).
///
/// # Errors
/// It is outside, or cannot be entered.
pub fn verify_directory(cwd: &CStr) -> Step<()> {
    let inside = |path: &std::path::Path| path.is_absolute();
    let entered = || nix::unistd::getcwd().is_ok_and(|here| inside(&here));
    if cwd.to_bytes() != b"/" && std::env::current_dir().is_ok_and(|here| here == std::path::Path::new("/")) {
        // Not entered as root (a file system that does not trust it), or "/" by another name.
        nix::unistd::chdir(cwd).or_fail(|| format!("process.cwd: chdir to {}", cwd.to_string_lossy()))?;
    }
    if entered() || weak::off("cwd") {
        return Ok(());
    }
    Err(failure(
        "current working directory is outside of container mount namespace root -- possible container breakout detected",
    ))
}

/// Adds `HOME` from the container's `/etc/passwd` when the environment has none, as runc does.
pub fn add_home(env: &mut Vec<CString>, uid: u32, root: BorrowedFd<'_>) {
    if environment::value(env, "HOME").is_some_and(|home| !home.is_empty()) {
        return;
    }
    env.retain(|entry| entry.as_bytes() != b"HOME=");
    let home = home_of(uid, root).unwrap_or_else(|| "/".to_owned());
    if let Ok(entry) = CString::new(format!("HOME={home}")) {
        env.push(entry);
    }
}

/// The sixth field of the first line for `uid`.
fn home_of(uid: u32, root: BorrowedFd<'_>) -> Option<String> {
    const MAX: u64 = 1 << 20;
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = LazyFd::from(path::open_in_root(root, c"/etc/passwd", flags).ok()?);
    // An image may have put a FIFO or a device there.
    let stat = fstat(&file).ok().filter(|stat| path::file_type(stat) == SFlag::S_IFREG)?;
    let bytes = fd::read_whole(file.as_fd(), u64::try_from(stat.st_size).unwrap_or(0), MAX).ok()?;
    bytes.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = std::str::from_utf8(line).ok()?.split(':');
        let id: u32 = fields.nth(2)?.parse().ok()?;
        let home = fields.nth(2)?;
        (id == uid && !home.is_empty()).then(|| home.to_owned())
    })
}

/// Finds the program as execvp(3) would, in the words that engines match on.
///
/// # Errors
/// It does not exist, is a directory, or may not be executed.
pub fn find(args: &[CString], env: &[CString]) -> Step<CString> {
    let name = args.first().ok_or_else(|| failure("process.args: is empty"))?;
    if name.to_bytes().contains(&b'/') {
        return match executable(name) {
            Ok(()) => Ok(name.clone()),
            Err(errno) => Err(refused(name, name, errno)),
        };
    }
    let path = environment::value(env, "PATH").unwrap_or_default();
    let mut denied = None;
    for directory in path.split(|byte| *byte == b':') {
        // An empty entry once meant the working directory. Nobody wants a program from there by accident.
        if directory.is_empty() {
            continue;
        }
        let Ok(candidate) = CString::new([directory, b"/", name.to_bytes()].concat()) else { continue };
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::EACCES) => denied = Some(candidate),
            Err(_) => {}
        }
    }
    match denied {
        Some(candidate) => Err(refused(name, &candidate, Errno::EACCES)),
        None => Err(Failure {
            errno: Some(Errno::ENOENT),
            text: format!("exec: {name:?}: executable file not found in $PATH"),
        }),
    }
}

fn executable(path: &CStr) -> Result<(), Errno> {
    let stat = stat(path)?;
    if path::file_type(&stat) == SFlag::S_IFDIR {
        return Err(Errno::EISDIR);
    }
    match faccessat(fd::cwd(), path, AccessFlags::X_OK, AtFlags::AT_EACCESS) {
        // Filters that do not know faccessat2(2).
        Err(Errno::ENOSYS | Errno::EPERM | Errno::EINVAL) if stat.st_mode & 0o111 != 0 => Ok(()),
        result => result,
    }
}

fn refused(name: &CStr, path: &CStr, errno: Errno) -> Failure {
    let reason = sys::reason(errno);
    let text = match errno {
        Errno::EACCES => format!("exec: {name:?}: {reason}"),
        // Docker knows the first of these reasons, podman only the second.
        Errno::EISDIR => format!("exec: {name:?}: {reason}: permission denied"),
        _ => format!("exec: {name:?}: stat {}: {reason}", path.to_string_lossy()),
    };
    Failure { errno: Some(errno), text }
}

/// Marks everything but standard I/O and the `preserve` descriptors after it to be closed by execve(2)
/// (CVE-2024-21626). Those to preserve must be open.
///
/// # Errors
/// One to preserve is not open.
pub fn close_descriptors(preserve: u32) -> Step<()> {
    preserve_descriptors(preserve)?;
    if weak::off("descriptors") {
        return Ok(());
    }
    match fd::cloexec_from(3 + preserve) {
        Err(Errno::ENOSYS | Errno::EINVAL) => close_listed(3 + preserve),
        result => result.or_fail(|| "close inherited descriptors".into()),
    }
}

/// Has this many descriptors after standard I/O stay open through execve(2).
///
/// # Errors
/// One is not open.
pub fn preserve_descriptors(preserve: u32) -> Step<()> {
    (3..3 + preserve).try_for_each(|number| {
        fd::set_cloexec(i32::try_from(number).unwrap_or(i32::MAX), false)
            .or_fail(|| format!("--preserve-fds: descriptor {number}"))
    })
}

/// [`close_descriptors`] before Linux 5.11.
fn close_listed(first: u32) -> Step<()> {
    let what = || "list open descriptors".to_owned();
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut list =
        nix::dir::Dir::open("/proc/self/fd", flags, nix::sys::stat::Mode::empty()).or_fail(what)?;
    for entry in list.iter() {
        let entry = entry.or_fail(what)?;
        let number: Option<u32> = entry.file_name().to_str().ok().and_then(|name| name.parse().ok());
        if let Some(number) = number.filter(|number| *number >= first) {
            // The listing itself is closed by then.
            let _ = fd::set_cloexec(i32::try_from(number).unwrap_or(i32::MAX), true);
        }
    }
    Ok(())
}
