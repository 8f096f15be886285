//! Standard input, output and error of the program.

use super::covers::is_null;
use super::{OrFail, Step};
use crate::path;
use crate::sys::fd::{self, LazyFd};
use crate::sys::{Errno, mount, tty};
use crate::weak;
use nix::fcntl::{FcntlArg, OFlag, fcntl, openat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstat, makedev, mknodat};
use nix::unistd::Uid;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A name in a directory that is to be a null device.
#[derive(Debug, Clone, Copy)]
pub struct NullDevice<'a> {
    /// The directory.
    pub dir: BorrowedFd<'a>,
    /// The name.
    pub name: &'a CStr,
    /// It was made here, and nobody else has had it in hand.
    pub own: bool,
}

/// Makes the terminal, or the three that were inherited, fit for the container. The host's `/dev/null` becomes the
/// container's, which is `null`: root of the host's user namespace could change the host's own node. A pipe becomes the
/// user's, so that `/dev/stdout` can be opened.
///
/// # Errors
/// A descriptor cannot be changed.
pub fn hand_over(terminal: Option<&OwnedFd>, null: Option<NullDevice<'_>>, uid: u32) -> Step<()> {
    match terminal {
        Some(terminal) => own(terminal.as_fd(), uid),
        None => inherited(null, uid),
    }
}

/// Puts the terminal, if there is one, in place of the three. With `controlling` it becomes the terminal of this session.
///
/// # Errors
/// The terminal cannot become the controlling one, or take their place.
pub fn attach(terminal: Option<OwnedFd>, controlling: bool) -> Step<()> {
    let Some(terminal) = terminal else { return Ok(()) };
    if controlling {
        tty::set_controlling(terminal.as_fd()).or_fail(|| "set the controlling terminal".into())?;
    }
    let what = || "attach the terminal".to_owned();
    nix::unistd::dup2_stdin(&terminal).or_fail(what)?;
    nix::unistd::dup2_stdout(&terminal).or_fail(what)?;
    nix::unistd::dup2_stderr(&terminal).or_fail(what)
}

fn inherited(device: Option<NullDevice<'_>>, uid: u32) -> Step<()> {
    let mut null: Option<LazyFd> = None;
    for (number, fd) in fd::standard_streams().into_iter().enumerate() {
        let stat = fstat(fd).or_fail(|| format!("stat descriptor {number}"))?;
        if !is_null(&stat) {
            if stat.st_uid != uid && !is_read(fd, &stat) {
                own(fd, uid)?;
            }
            continue;
        }
        let Some(device) = device else { continue };
        if null.is_none() {
            let opened = open_null(device).or_fail(|| "open /dev/null in the container".into())?;
            null = opened.map(LazyFd::from);
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

/// Whether it is a file that was opened to be read: its owner could open it again, and write to it.
fn is_read(fd: BorrowedFd<'_>, stat: &FileStat) -> bool {
    let file = matches!(path::file_type(stat), SFlag::S_IFREG | SFlag::S_IFDIR | SFlag::S_IFBLK);
    let flags = || fcntl(fd, FcntlArg::F_GETFL).unwrap_or(libc::O_RDONLY);
    file && flags() & libc::O_ACCMODE == libc::O_RDONLY && !weak::off("read-file")
}

/// The container's `/dev/null`, if it is one (CVE-2026-88265), or one that is nobody's. Nothing where that cannot be made:
/// a user namespace owns no node of the host either.
fn open_null(NullDevice { dir, name, own }: NullDevice<'_>) -> Result<Option<OwnedFd>, Errno> {
    if weak::off("null") {
        return openat(dir, name, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).map(Some);
    }
    let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    if let Ok(null) = openat(dir, name, flags, Mode::empty())
        && (own || is_null(&fstat(&null)?))
    {
        return Ok(Some(null));
    }
    Ok(new_null().ok())
}

/// A null device in a file system that is mounted nowhere.
fn new_null() -> Result<OwnedFd, Errno> {
    let context = mount::fsopen(c"tmpfs")?;
    mount::fsconfig_create(context.as_fd())?;
    let place = mount::fsmount(context.as_fd(), libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC)?;
    let mode = Mode::from_bits_truncate(0o666);
    mknodat(&place, "null", SFlag::S_IFCHR, mode, makedev(1, 3))?;
    fchmodat(&place, "null", mode, FchmodatFlags::FollowSymlink)?;
    openat(&place, "null", OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
}

/// Gives a descriptor of standard I/O to the container's user. It is fine if that cannot be done: a file on a
/// read-only file system, or one that the user namespace has no id for.
fn own(fd: BorrowedFd<'_>, uid: u32) -> Step<()> {
    match nix::unistd::fchown(fd, Some(Uid::from_raw(uid)), None) {
        Ok(()) | Err(Errno::EINVAL | Errno::EPERM | Errno::EROFS) => Ok(()),
        Err(errno) => Err(errno).or_fail(|| "change the owner of standard I/O".into()),
    }
}
