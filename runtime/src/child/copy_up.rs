//! `tmpcopyup`: what a directory held is copied into the tmpfs that is about to cover it.
//!
//! Both sides are descriptors and no link is followed, so nothing outside of the two is read or written.

use super::{OrFail, Step, failure};
use crate::path;
use crate::sys::{Errno, errno_of};
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, fchownat, symlinkat};
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// Directories below each other before the copy is given up.
const MAX_DEPTH: usize = 256;

/// Copies everything below `from` into the empty directory `to`.
///
/// # Errors
/// The first file that cannot be copied.
pub fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Step<()> {
    let root = fstat(from).or_fail(|| "tmpcopyup: stat".into())?;
    // A detached mount is a path descriptor, which fchown(2) does not take.
    let (uid, gid) = (Uid::from_raw(root.st_uid), Gid::from_raw(root.st_gid));
    fchownat(to, "", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH)
        .or_fail(|| "tmpcopyup: change owner".into())?;
    directory(from, to, 0)
}

fn directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: usize) -> Step<()> {
    if depth > MAX_DEPTH {
        return Err(failure(format!("tmpcopyup: more than {MAX_DEPTH} directories below each other")));
    }
    let readable = openat(from, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .or_fail(|| "tmpcopyup: open".into())?;
    let listing = readable.try_clone().map_err(|error| failure(format!("tmpcopyup: {error}")))?;
    let mut listing = Dir::from_fd(listing).or_fail(|| "tmpcopyup: list".into())?;
    for entry in listing.iter() {
        let entry = entry.or_fail(|| "tmpcopyup: list".into())?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            one(readable.as_fd(), to, name, depth)?;
        }
    }
    Ok(())
}

fn one(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &OsStr, depth: usize) -> Step<()> {
    let what = || format!("tmpcopyup: copy {}", name.to_string_lossy());
    let stat = path::stat_one(from, name).or_fail(what)?;
    let kind = path::file_type(&stat);
    let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
    match kind {
        SFlag::S_IFDIR => {
            mkdirat(to, name, Mode::S_IRWXU).or_fail(what)?;
            let inner_from = open_one(from, name).or_fail(what)?;
            let inner_to = open_one(to, name).or_fail(what)?;
            directory(inner_from.as_fd(), inner_to.as_fd(), depth + 1)?;
            own(to, name, &stat).or_fail(what)?;
            fchmod(&inner_to, mode).or_fail(what)
        }
        SFlag::S_IFLNK => {
            let target = readlinkat(from, name).or_fail(what)?;
            symlinkat(target.as_os_str(), to, name).or_fail(what)?;
            own(to, name, &stat).or_fail(what)
        }
        SFlag::S_IFREG => {
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
            let mut source = File::from(openat(from, name, flags, Mode::empty()).or_fail(what)?);
            let flags =
                OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let mut copy = File::from(openat(to, name, flags, Mode::S_IRUSR | Mode::S_IWUSR).or_fail(what)?);
            std::io::copy(&mut source, &mut copy).map_err(|error| errno_of(&error)).or_fail(what)?;
            own(to, name, &stat).or_fail(what)?;
            fchmod(&copy, mode).or_fail(what)
        }
        _ => {
            mknodat(to, name, kind, mode, stat.st_rdev).or_fail(what)?;
            own(to, name, &stat).or_fail(what)
        }
    }
}

fn open_one(dir: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    openat(
        dir,
        name,
        OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
}

fn own(dir: BorrowedFd<'_>, name: &OsStr, stat: &FileStat) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fchownat(dir, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
}
