//! Where the child goes before it makes anything: control groups, namespaces.

use super::{Handed, OrFail, Step};
use crate::path;
use crate::plan::Plan;
use crate::plan::namespaces::NEWTIME;
use crate::sys::{Errno, clone, process};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Enters v1 control groups. Writing 0 for oneself spares the grace period that writing a pid costs.
///
/// # Errors
/// The kernel refuses: a control group that is frozen, or full.
pub fn cgroups(files: &[BorrowedFd<'_>]) -> Step<()> {
    for file in files {
        nix::unistd::write(file, b"0").or_fail(|| "join the container's cgroup".into())?;
    }
    Ok(())
}

/// Enters the namespaces to join and makes those that have to be made here.
///
/// # Errors
/// A namespace cannot be entered.
pub fn namespaces(plan: &Plan, handed: &Handed<'_>) -> Step<()> {
    let offsets = &plan.namespaces.time_offsets;
    // While the file is this process's own: it is root's of the host as soon as nobody can look into this process.
    let set_clocks = handed.late & NEWTIME != 0 && !offsets.is_empty();
    let clocks = set_clocks.then(|| open_clocks(handed.proc)).transpose()?;
    if plan.namespaces.separate(libc::CLONE_NEWUSER) {
        become_root(plan.process.identity.keep_groups)?;
    }
    // The mount namespace is the last one: paths mean something else in it.
    let (mount, others): (Vec<_>, Vec<_>) =
        handed.joins.iter().partition(|(flag, ..)| *flag == libc::CLONE_NEWNS);
    for (flag, _, file) in others.into_iter().chain(mount) {
        // This process was born in these two.
        if !matches!(*flag, libc::CLONE_NEWPID | libc::CLONE_NEWUSER) {
            clone::setns(file.as_fd(), *flag).or_fail(|| plan.namespaces.joining(*flag))?;
        }
    }
    if handed.late != 0 {
        clone::unshare(handed.late).or_fail(|| "create namespaces".into())?;
    }
    if let Some(clocks) = clocks {
        write_clocks(&clocks, offsets)?;
    }
    if handed.late & NEWTIME == 0 { Ok(()) } else { enter_time(handed.proc) }
}

/// Enters the time namespace that was made for the children of this process, which has none: before Linux 6.3 its execve(2)
/// would leave it where it is.
fn enter_time(proc: BorrowedFd<'_>) -> Step<()> {
    let what = || "enter the new time namespace".to_owned();
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let made = openat(proc, c"self/ns/time_for_children", flags, Mode::empty()).or_fail(what)?;
    clone::setns(made.as_fd(), NEWTIME).or_fail(what)
}

/// Sets the clocks of a time namespace that nothing runs in yet (time_namespaces(7)).
///
/// # Errors
/// The kernel refuses an offset.
pub fn time_offsets(proc: BorrowedFd<'_>, offsets: &str) -> Step<()> {
    write_clocks(&open_clocks(proc)?, offsets)
}

fn open_clocks(proc: BorrowedFd<'_>) -> Step<OwnedFd> {
    path::open_in_proc(proc, c"self/timens_offsets", libc::O_WRONLY)
        .or_fail(|| "linux.timeOffsets: open /proc/self/timens_offsets".into())
}

fn write_clocks(file: &OwnedFd, offsets: &str) -> Step<()> {
    nix::unistd::write(file, offsets.as_bytes())
        .map(drop)
        .or_fail(|| "linux.timeOffsets: write /proc/self/timens_offsets".into())
}

/// Becomes root of the user namespace this process is in.
///
/// # Errors
/// Its map has no id 0.
pub fn become_root(keep_groups: bool) -> Step<()> {
    match if keep_groups { Ok(()) } else { process::set_groups(&[]) } {
        // Rootless, with setgroups(2) denied: the caller's groups stay, without effect on the host.
        Ok(()) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(errno).or_fail(|| "drop supplementary groups".into()),
    }
    process::set_gid(0).or_fail(|| "become group 0 of the user namespace".into())?;
    process::set_uid(0).or_fail(|| "become user 0 of the user namespace".into())?;
    // A change of ids makes a process dumpable by the rules of the namespace it entered.
    process::set_dumpable(false).or_fail(|| "make this process undumpable".into())
}
