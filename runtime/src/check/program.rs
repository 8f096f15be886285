//! Whether the program is in the root file system, looked for by the code that looks for it in a container.
//!
//! A process of its own changes its root to the bundle's, as far as this process may, and leaves nothing. What is
//! mounted into the container is not there: where a mount could bring the program along, nothing is said.

use super::mend::Mended;
use super::{Finding, Level};
use crate::child::program;
use crate::path;
use crate::plan::{Plan, environment};
use crate::sys::{clone, reason};
use crate::wire::Failure;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat};
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The smallest header of an ELF file (elf(5), 32 bits).
const SMALLEST_ELF: usize = 52;

/// Looks for the program and the working directory.
#[must_use]
pub fn look(mended: &Mended) -> Vec<Finding> {
    let Some(accepted) = mended.accepted.as_ref().filter(|_| !mended.touched("root")) else {
        return Vec::new();
    };
    let plan = &accepted.plan;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let Ok(root) = open(&plan.root.path, flags, Mode::empty()) else { return Vec::new() };
    let mut findings = Vec::new();
    if !mended.touched("process.args") && !hidden(plan, root.as_fd()) {
        findings.extend(program(mended, plan, root.as_fd()));
    }
    findings.extend(descriptor(mended, plan));
    if !mended.touched("process.cwd")
        && !covered(plan, Path::new(OsStr::from_bytes(plan.process.cwd.as_bytes())))
    {
        findings.extend(directory(mended, plan, root.as_fd()));
    }
    findings
}

/// Whether a mount stands at a path or above it. What runtimes mount by themselves has no programs.
fn covered(plan: &Plan, path: &Path) -> bool {
    plan.mounts.iter().any(|mount| path.starts_with(&mount.destination))
}

/// Whether a mount could bring the program: at one of the places where it is looked for, as named and as resolved.
fn hidden(plan: &Plan, root: BorrowedFd<'_>) -> bool {
    let Some(name) = plan.process.args.first() else { return true };
    let mut directories: Vec<PathBuf> = Vec::new();
    if let Some(slash) = name.to_bytes().iter().rposition(|byte| *byte == b'/') {
        let directory = Path::new(OsStr::from_bytes(&name.to_bytes()[..=slash])).to_owned();
        let cwd = Path::new(OsStr::from_bytes(plan.process.cwd.as_bytes()));
        directories.push(cwd.join(directory));
        directories.push(cwd.join(OsStr::from_bytes(name.to_bytes())));
    } else {
        let search = environment::value(&plan.process.env, "PATH").unwrap_or_default();
        let parts = search.split(|byte| *byte == b':').filter(|part| part.first() == Some(&b'/'));
        directories.extend(parts.map(|part| PathBuf::from(OsStr::from_bytes(part))));
    }
    let resolved: Vec<PathBuf> = directories.iter().filter_map(|path| resolve(plan, root, path)).collect();
    directories.iter().chain(&resolved).any(|path| covered(plan, path))
}

/// Where a path of the root file system leads, from its root.
fn resolve(plan: &Plan, root: BorrowedFd<'_>, wanted: &Path) -> Option<PathBuf> {
    let found = path::resolve(root, wanted.as_os_str(), path::Missing::Fail).ok()?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&found);
    let target = std::fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
    let base = std::fs::canonicalize(&plan.root.path).ok()?;
    Some(Path::new("/").join(target.strip_prefix(base).ok()?))
}

/// Runs something with the root file system as this process's root; `None` when that cannot be done.
fn inside<T>(root: BorrowedFd<'_>, run: impl Fn() -> T) -> Option<T> {
    let mut outcome = None;
    let mut enter = || {
        let entered = || {
            nix::unistd::fchdir(root)?;
            nix::unistd::chroot(c".").or_else(|_| {
                clone::unshare(libc::CLONE_NEWUSER)?;
                nix::unistd::chroot(c".")
            })
        };
        if entered().is_ok() && nix::unistd::chdir(c"/").is_ok() {
            outcome = Some(run());
        }
    };
    clone::with_borrowed_memory(false, None, &mut enter).ok()?;
    outcome
}

fn program(mended: &Mended, plan: &Plan, root: BorrowedFd<'_>) -> Option<Finding> {
    let process = &plan.process;
    let look = || {
        let _ = nix::unistd::chdir(process.cwd.as_c_str());
        program::find(&process.args, &process.env)
    };
    let failed = |problem: String| {
        let expected = "a program of the root file system that may be executed";
        let fix = "correct the name or PATH, or put the program into the root file system";
        mended.finding(Level::Error, "process.args[0]", problem, expected, fix)
    };
    match inside(root, look)? {
        Ok(found) => executable(plan, root, &found).map(failed),
        Err(failure) => Some(failed(failure.text)),
    }
}

/// Why the kernel would not execute a file, as far as its first bytes tell.
fn executable(plan: &Plan, root: BorrowedFd<'_>, file: &CStr) -> Option<String> {
    let cwd = Path::new(OsStr::from_bytes(plan.process.cwd.as_bytes()));
    let file = cwd.join(OsStr::from_bytes(file.to_bytes()));
    let name = CString::new(file.as_os_str().as_bytes()).ok()?;
    let opened = path::open_in_root(root, &name, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY).ok()?;
    if path::file_type(&fstat(&opened).ok()?) != nix::sys::stat::SFlag::S_IFREG {
        return None;
    }
    let mut head = Vec::new();
    File::from(opened).take(256).read_to_end(&mut head).ok()?;
    let shown = file.display();
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let interpreter = line.split(u8::is_ascii_whitespace).find(|word| !word.is_empty())?;
        let interpreter = CString::new(interpreter).ok()?;
        let found = inside(root, || program::find(std::slice::from_ref(&interpreter), &[]))?;
        return found
            .err()
            .map(|Failure { text, .. }| format!("{shown} is a script, and its interpreter: {text}"));
    }
    let elf = head.starts_with(b"\x7fELF") && head.len() >= SMALLEST_ELF;
    let other =
        std::fs::read_dir("/proc/sys/fs/binfmt_misc").is_ok_and(|mut entries| entries.next().is_some());
    (!elf && !other).then(|| format!("{shown} is neither an ELF program nor a script: exec format error"))
}

fn directory(mended: &Mended, plan: &Plan, root: BorrowedFd<'_>) -> Option<Finding> {
    let cwd = plan.process.cwd.as_c_str();
    let expected = "a directory of the container";
    let outcome = inside(root, || nix::unistd::chdir(cwd))?;
    // What is not there is made; what root may not enter, the container's user may.
    let errno = outcome
        .err()
        .filter(|errno| !matches!(errno, crate::sys::Errno::ENOENT | crate::sys::Errno::EACCES))?;
    let problem = format!("chdir to {}: {}", cwd.to_string_lossy(), reason(errno));
    let fix = "name a directory; one that does not exist is made";
    Some(mended.finding(Level::Error, "process.cwd", problem, expected, fix))
}

/// A working directory that is an open descriptor is one of the runtime's: the host (CVE-2024-21626).
fn descriptor(mended: &Mended, plan: &Plan) -> Option<Finding> {
    let cwd = Path::new(OsStr::from_bytes(plan.process.cwd.as_bytes()));
    let parts: Vec<&OsStr> = cwd.iter().collect();
    let leads = parts.get(1).is_some_and(|part| *part == "proc") && parts.iter().any(|part| *part == "fd");
    leads.then(|| {
        let problem = "leads to an open descriptor, which would be the host's (CVE-2024-21626)".to_owned();
        mended.finding(
            Level::Error,
            "process.cwd",
            problem,
            "a directory of the container",
            "name a directory of the image",
        )
    })
}
