//! Standard input, output and error of the program.

use super::{OrFail, Step};
use crate::path;
use crate::sys::{Errno, tty};
use crate::weak;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat, makedev};
use nix::unistd::Uid;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Puts the terminal in place of the three, or makes those that were inherited fit for the container. With `controlling`
/// it becomes the terminal of this session.
///
/// # Errors
/// The terminal cannot become the controlling one; a descriptor cannot be changed.
pub fn attach(terminal: Option<OwnedFd>, dev: Option<&OwnedFd>, uid: u32, controlling: bool) -> Step<()> {
    let Some(terminal) = terminal else { return inherited(dev, uid) };
    if controlling {
        tty::set_controlling(terminal.as_fd()).or_fail(|| "set the controlling terminal".into())?;
    }
    own(terminal.as_fd(), uid)?;
    let what = || "attach the terminal".to_owned();
    nix::unistd::dup2_stdin(&terminal).or_fail(what)?;
    nix::unistd::dup2_stdout(&terminal).or_fail(what)?;
    nix::unistd::dup2_stderr(&terminal).or_fail(what)
}

/// The host's `/dev/null` becomes the container's, and a pipe becomes the user's, so that `/dev/stdout` can be opened.
fn inherited(dev: Option<&OwnedFd>, uid: u32) -> Step<()> {
    let mut null: Option<OwnedFd> = None;
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    for (number, fd) in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()].into_iter().enumerate() {
        let stat = match fstat(fd) {
            Err(Errno::EBADF) => continue,
            result => result.or_fail(|| format!("stat descriptor {number}"))?,
        };
        if path::file_type(&stat) != SFlag::S_IFCHR || stat.st_rdev != makedev(1, 3) {
            if stat.st_uid != uid {
                own(fd, uid)?;
            }
            continue;
        }
        let Some(dev) = dev else { continue };
        if null.is_none() {
            null = open_null(dev.as_fd()).or_fail(|| "open /dev/null in the container".into())?;
        }
        let Some(null) = &null else { continue };
        match number {
            0 => nix::unistd::dup2_stdin(null),
            1 => nix::unistd::dup2_stdout(null),
            _ => nix::unistd::dup2_stderr(null),
        }
        .or_fail(|| format!("replace descriptor {number}"))?;
    }
    Ok(())
}

/// The container's `/dev/null`, if it is one (CVE-2026-88265).
fn open_null(dev: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Errno> {
    if weak::off("null") {
        return openat(dev, "null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).map(Some);
    }
    let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let null = match openat(dev, "null", flags, Mode::empty()) {
        Err(Errno::ELOOP | Errno::ENOENT | Errno::ENXIO | Errno::EISDIR) => return Ok(None),
        result => result?,
    };
    let stat = fstat(&null)?;
    let real = path::file_type(&stat) == SFlag::S_IFCHR && stat.st_rdev == makedev(1, 3);
    Ok(real.then_some(null))
}

/// Gives a descriptor of standard I/O to the container's user. It is fine if that cannot be done: a file on a
/// read-only file system, or one that the user namespace has no id for.
fn own(fd: BorrowedFd<'_>, uid: u32) -> Step<()> {
    match nix::unistd::fchown(fd, Some(Uid::from_raw(uid)), None) {
        Ok(()) | Err(Errno::EINVAL | Errno::EPERM | Errno::EROFS) => Ok(()),
        Err(errno) => Err(errno).or_fail(|| "change the owner of standard I/O".into()),
    }
}
