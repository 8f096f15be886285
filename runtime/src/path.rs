//! Paths inside a root filesystem that nobody trusts.
//!
//! Owns the one way in which this crate turns a path of a container into a file: descriptors below the descriptor of
//! the root, resolved by openat2(2) with `RESOLVE_IN_ROOT`, or component by component where something must be made.
//! Never joins strings inside a rootfs, never follows a magic link, never returns a file outside of the root
//! (CVE-2019-19921, CVE-2021-30465, CVE-2024-45310, CVE-2026-41579).

use crate::sys::fd::LazyFd;
use crate::sys::{Errno, Result, fd};
use crate::weak;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use std::collections::VecDeque;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Links followed before a lookup ends with `ELOOP`; the kernel's own limit.
const MAX_LINKS: usize = 40;
/// How often a lookup that raced with a rename is tried again (openat2(2), `EAGAIN`).
const MAX_RACES: usize = 128;

/// What is made where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Nothing: `ENOENT`.
    Fail,
    /// A directory, mode 0755.
    Directory,
    /// An empty regular file, mode 0644 less the umask.
    File,
}

/// The type of what a descriptor stands for.
pub fn file_type(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// Opens `path` inside `root` as a path descriptor (`O_PATH`), links followed as a process chrooted there would.
///
/// # Errors
/// The errno of the lookup; `ELOOP` for a magic link.
pub fn resolve(root: BorrowedFd<'_>, path: &OsStr, missing: Missing) -> Result<OwnedFd> {
    #[cfg(debug_assertions)]
    if weak::off("in-root") {
        return weak::resolve_by_name(root, path, missing);
    }
    let c_path = CString::new(path.as_bytes()).map_err(|_| Errno::EINVAL)?;
    match open_in_root(root, &c_path, libc::O_PATH) {
        Err(Errno::ENOENT) if missing != Missing::Fail => make(root, path, missing),
        Err(Errno::ENOSYS) => walk(root, path, missing),
        result => result,
    }
}

/// Makes what was not found. In most cases that is the last name only, in a directory that exists.
///
/// # Errors
/// As for [`resolve`].
pub fn make(root: BorrowedFd<'_>, path: &OsStr, missing: Missing) -> Result<OwnedFd> {
    #[cfg(debug_assertions)]
    if weak::off("in-root") {
        return weak::resolve_by_name(root, path, missing);
    }
    match make_last(root, path, missing) {
        // The parent does not exist either, or the name is a link to nowhere.
        Err(Errno::ENOENT | Errno::EEXIST | Errno::ENOSYS) => walk(root, path, missing),
        result => result,
    }
}

fn make_last(root: BorrowedFd<'_>, path: &OsStr, missing: Missing) -> Result<OwnedFd> {
    let (above, name) = split_last(path).ok_or(Errno::ENOENT)?;
    let above = CString::new(above.as_bytes()).map_err(|_| Errno::EINVAL)?;
    let parent = LazyFd::from(open_in_root(root, &above, libc::O_PATH)?);
    make_one(parent.as_fd(), name, missing)
}

/// The directory of a path, with the slash at its end, and its last name; `None` where that is none.
#[must_use]
pub fn split_last(path: &OsStr) -> Option<(&OsStr, &OsStr)> {
    let bytes = path.as_bytes();
    let (above, name) = bytes.split_at(bytes.iter().rposition(|byte| *byte == b'/')? + 1);
    let is_name = !matches!(name, b"" | b"." | b"..");
    is_name.then_some((OsStr::from_bytes(above), OsStr::from_bytes(name)))
}

/// Makes `name` in a directory, and opens it.
///
/// # Errors
/// The errno of mkdirat(2) or openat(2); `EEXIST` where there is something of that name.
pub fn make_one(parent: BorrowedFd<'_>, name: &OsStr, missing: Missing) -> Result<OwnedFd> {
    // Whoever is faster than this may have put a link there.
    match missing {
        Missing::Fail => Err(Errno::ENOENT),
        Missing::Directory => {
            mkdirat(parent, name, Mode::from_bits_truncate(0o755))?;
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            openat(parent, name, flags, Mode::empty()).map_err(|errno| match errno {
                Errno::ENOTDIR => Errno::EEXIST,
                errno => errno,
            })
        }
        Missing::File => {
            create_file(parent, name)?;
            let made = open_one(parent, name)?;
            match file_type(&fstat(&made)?) {
                SFlag::S_IFLNK => Err(Errno::EEXIST),
                _ => Ok(made),
            }
        }
    }
}

/// Opens `path` inside `root` as a path descriptor (`O_PATH`), where no link leads there.
///
/// # Errors
/// The errno of the lookup; `ELOOP` for a link on the way or at its end.
pub fn without_links(root: BorrowedFd<'_>, path: &OsStr) -> Result<OwnedFd> {
    open_without_links(root, path, libc::O_PATH)
}

/// As [`without_links`], and it is a directory.
///
/// # Errors
/// As for [`without_links`]; `ENOTDIR` for what is no directory.
pub fn directory_without_links(root: BorrowedFd<'_>, path: &OsStr) -> Result<OwnedFd> {
    open_without_links(root, path, libc::O_PATH | libc::O_DIRECTORY)
}

fn open_without_links(root: BorrowedFd<'_>, path: &OsStr, flags: i32) -> Result<OwnedFd> {
    let c_path = CString::new(path.as_bytes()).map_err(|_| Errno::EINVAL)?;
    match open_scoped(root, &c_path, flags, libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_SYMLINKS) {
        Err(Errno::ENOSYS) => walk_without_links(root, path, flags),
        result => result,
    }
}

/// [`open_without_links`] before Linux 5.6.
fn walk_without_links(root: BorrowedFd<'_>, path: &OsStr, flags: i32) -> Result<OwnedFd> {
    let mut here = root.try_clone_to_owned().map_err(|error| crate::sys::errno_of(&error))?;
    let mut kind = SFlag::S_IFDIR;
    for name in components(path) {
        here = match name.as_bytes() {
            b".." => return Err(Errno::EINVAL),
            _ => open_one(here.as_fd(), &name)?,
        };
        kind = file_type(&fstat(&here)?);
        if kind == SFlag::S_IFLNK {
            return Err(Errno::ELOOP);
        }
    }
    match flags & libc::O_DIRECTORY != 0 && kind != SFlag::S_IFDIR {
        true => Err(Errno::ENOTDIR),
        false => Ok(here),
    }
}

/// openat2(2) below `root` with `RESOLVE_IN_ROOT`, tried again when it raced with a rename.
///
/// # Errors
/// The errno of openat2(2).
pub fn open_in_root(root: BorrowedFd<'_>, path: &CStr, flags: i32) -> Result<OwnedFd> {
    open_scoped(root, path, flags, libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS)
}

/// Opens a file of a procfs without leaving it: no link, no mount on top (CVE-2025-52881). `proc` must be a verified
/// procfs.
///
/// # Errors
/// The errno of openat2(2); `EXDEV` when something is mounted on the way.
pub fn open_in_proc(proc: BorrowedFd<'_>, path: &CStr, flags: i32) -> Result<OwnedFd> {
    if weak::off("procfs") {
        let name = OsString::from_vec([b"/proc/", path.to_bytes()].concat());
        return openat(
            proc,
            name.as_os_str(),
            OFlag::from_bits_truncate(flags | libc::O_CLOEXEC),
            Mode::empty(),
        );
    }
    let resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_XDEV | libc::RESOLVE_NO_MAGICLINKS;
    match open_scoped(proc, path, flags, resolve) {
        Err(Errno::ENOSYS) => open_beneath_by_parts(proc, path, flags),
        result => result,
    }
}

fn open_scoped(dir: BorrowedFd<'_>, path: &CStr, flags: i32, resolve: u64) -> Result<OwnedFd> {
    for _ in 0..MAX_RACES {
        match fd::openat2(dir, path, flags, 0, resolve) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            result => return result,
        }
    }
    Err(Errno::EAGAIN)
}

/// [`open_in_proc`] before Linux 5.6: each part by itself, never a link, never another file system.
fn open_beneath_by_parts(proc: BorrowedFd<'_>, path: &CStr, flags: i32) -> Result<OwnedFd> {
    let device = fstat(proc)?.st_dev;
    let mut parts = path.to_bytes().split(|byte| *byte == b'/').filter(|part| !part.is_empty()).peekable();
    let mut here: Option<OwnedFd> = None;
    while let Some(part) = parts.next() {
        // `self` and `thread-self` are links that procfs itself makes, to a directory of its own.
        let own = here.is_none() && matches!(part, b"self" | b"thread-self");
        let last = parts.peek().is_none();
        let wanted = if last { flags } else { libc::O_PATH | libc::O_DIRECTORY };
        let nofollow = if own { 0 } else { libc::O_NOFOLLOW };
        let dir = here.as_ref().map_or(proc, AsFd::as_fd);
        let flags = OFlag::from_bits_truncate(wanted | nofollow | libc::O_CLOEXEC);
        let next = openat(dir, OsStr::from_bytes(part), flags, Mode::empty())?;
        if fstat(&next)?.st_dev != device {
            return Err(Errno::EXDEV);
        }
        here = Some(next);
    }
    here.ok_or(Errno::ENOENT)
}

/// Resolves `path` component by component, making what is missing. A link to somewhere that does not exist yet is
/// followed inside the root, so that `/etc/resolv.conf -> ../run/resolv.conf` gets its file where the link points.
fn walk(root: BorrowedFd<'_>, path: &OsStr, missing: Missing) -> Result<OwnedFd> {
    let mut todo: VecDeque<OsString> = components(path).collect();
    // Only names that were seen not to be links: reopening them from the root cannot lead elsewhere.
    let mut done: Vec<OsString> = Vec::new();
    let mut here = root.try_clone_to_owned().map_err(|error| crate::sys::errno_of(&error))?;
    let mut links = 0;
    while let Some(name) = todo.pop_front() {
        if name == ".." {
            done.pop();
            here = reopen(root, &done)?;
            continue;
        }
        let last = todo.is_empty();
        let next = match open_one(here.as_fd(), &name) {
            Err(Errno::ENOENT) => match missing {
                Missing::Fail => return Err(Errno::ENOENT),
                Missing::File if last => make_file(here.as_fd(), &name)?,
                Missing::Directory | Missing::File => make_directory(here.as_fd(), &name)?,
            },
            result => result?,
        };
        let stat = fstat(&next)?;
        if file_type(&stat) != SFlag::S_IFLNK {
            here = next;
            done.push(name);
            continue;
        }
        links += 1;
        if links > MAX_LINKS || on_procfs(next.as_fd())? {
            return Err(Errno::ELOOP);
        }
        let target = readlinkat(&next, OsStr::new(""))?;
        if target.as_bytes().first() == Some(&b'/') {
            done.clear();
            here = reopen(root, &done)?;
        }
        for part in components(&target).collect::<Vec<_>>().into_iter().rev() {
            todo.push_front(part);
        }
    }
    Ok(here)
}

fn components(path: &OsStr) -> impl Iterator<Item = OsString> {
    path.as_bytes()
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(|part| OsString::from_vec(part.to_vec()))
}

fn open_one(dir: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd> {
    openat(dir, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
}

fn reopen(root: BorrowedFd<'_>, names: &[OsString]) -> Result<OwnedFd> {
    let mut here = root.try_clone_to_owned().map_err(|error| crate::sys::errno_of(&error))?;
    for name in names {
        here = open_one(here.as_fd(), name)?;
        if file_type(&fstat(&here)?) != SFlag::S_IFDIR {
            return Err(Errno::ENOTDIR);
        }
    }
    Ok(here)
}

fn make_directory(dir: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd> {
    match mkdirat(dir, name, Mode::from_bits_truncate(0o755)) {
        Ok(()) | Err(Errno::EEXIST) => open_one(dir, name),
        Err(errno) => Err(errno),
    }
}

fn make_file(dir: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd> {
    match create_file(dir, name) {
        Ok(_) | Err(Errno::EEXIST) => open_one(dir, name),
        Err(errno) => Err(errno),
    }
}

/// Makes an empty regular file, mode 0644 less the umask.
///
/// # Errors
/// The errno of openat(2); `EEXIST` where there is something of that name, which is neither followed nor opened.
pub fn create_file(dir: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    openat(dir, name, flags, Mode::from_bits_truncate(0o644))
}

fn on_procfs(fd: BorrowedFd<'_>) -> Result<bool> {
    Ok(nix::sys::statfs::fstatfs(fd)?.filesystem_type() == nix::sys::statfs::PROC_SUPER_MAGIC)
}

/// Splits a container path into the descriptor of its parent directory, made if missing, and its last name.
///
/// # Errors
/// The errno of the lookup; `EINVAL` for `/` and for paths that end in `..`.
pub fn parent_in_root(root: BorrowedFd<'_>, path: &OsStr) -> Result<(OwnedFd, OsString)> {
    let mut names: Vec<OsString> = components(path).collect();
    let name = names.pop().filter(|name| name != "..").ok_or(Errno::EINVAL)?;
    let mut parent = OsString::from("/");
    for part in names {
        parent.push(part);
        parent.push("/");
    }
    Ok((resolve(root, &parent, Missing::Directory)?, name))
}

/// The state of `name` in `dir` itself, links not followed.
///
/// # Errors
/// The errno of fstatat(2).
pub fn stat_one(dir: BorrowedFd<'_>, name: &OsStr) -> Result<FileStat> {
    fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// Opens this machine's `/proc` and makes sure that it is a procfs and its root, not something mounted or linked in
/// its place (CVE-2019-16884).
///
/// # Errors
/// The errno of the lookup; `ENOTSUP` when it is something else.
pub fn verified_proc() -> Result<OwnedFd> {
    const ROOT_INODE: u64 = 1;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let proc = openat(fd::cwd(), "/proc", flags, Mode::empty())?;
    if !on_procfs(proc.as_fd())? || fstat(&proc)?.st_ino != ROOT_INODE {
        return Err(Errno::ENOTSUP);
    }
    Ok(proc)
}

#[cfg(test)]
mod tests;
