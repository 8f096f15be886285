//! Unpacking a tar stream into a [`Root`]. The stream is hostile: its paths, links and whiteouts stay inside, its
//! size may be limited by the caller, and attributes that would steer an overlay are not taken from it.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstatat, makedev, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat};
use tar::{Archive, Entry, EntryType};

use super::{Root, by_descriptor, clean, is_kind};
use crate::error::{Error, Result};
use crate::sys;

/// What a name that begins with `.wh.` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteouts {
    /// A file of a lower layer is hidden: written in overlayfs's way.
    Overlay,
    /// What lower layers have put here is removed.
    Remove,
    /// Nothing: it is a file like any other.
    Plain,
}

/// How a stream is unpacked.
#[derive(Debug, Clone)]
pub struct Apply {
    /// What `.wh.` means.
    pub whiteouts: Whiteouts,
    /// The owner of everything, instead of those in the stream.
    pub owner: Option<(u32, u32)>,
    /// The mode of everything, instead of those in the stream.
    pub mode: Option<u32>,
    /// Refuse to put a directory where something else is, and the other way round.
    pub keep_kinds: bool,
    /// Where below the root the stream's paths begin.
    pub below: PathBuf,
}

/// What was unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Bytes in regular files.
    pub bytes: u64,
    /// The number of entries.
    pub entries: u64,
}

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Extended attributes that are the host's business.
const KEPT_OUT: [&str; 2] = ["trusted.overlay.", "user.overlay."];

impl Default for Apply {
    fn default() -> Self {
        Self {
            whiteouts: Whiteouts::Plain,
            owner: None,
            mode: None,
            keep_kinds: false,
            below: PathBuf::new(),
        }
    }
}

impl Apply {
    /// Unpacks `stream`.
    ///
    /// # Errors
    /// With the path of the entry that failed.
    pub fn run(&self, root: &Root, stream: impl Read) -> Result<Applied> {
        let mut applied = Applied::default();
        let mut archive = Archive::new(stream);
        let mut done = Done::default();
        let entries = archive.entries().map_err(Error::step("read the archive"))?;
        for entry in entries {
            let mut entry = entry.map_err(|error| Error::invalid(format!("read the archive: {error}")))?;
            let path = self.below.join(clean(Path::new(OsStr::from_bytes(&entry.path_bytes()))));
            applied.entries += 1;
            applied.bytes += self.entry(root, &path, &mut entry, &mut done)?;
        }
        // Deepest first: setting the time of a directory is the last thing that happens in it.
        for (path, time) in done.times.into_iter().rev() {
            if let Ok(fd) = root.get(&path, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
                let _time = nix::sys::stat::futimens(fd.as_fd(), &time, &time);
            }
        }
        Ok(applied)
    }

    fn entry<R: Read>(
        &self,
        root: &Root,
        path: &Path,
        entry: &mut Entry<'_, R>,
        done: &mut Done,
    ) -> Result<u64> {
        let failed = |step: &'static str| {
            let path = path.to_owned();
            move |error: io::Error| Error::internal(format!("{step} {}: {error}", path.display()))
        };
        let Some(name) = path.file_name().map(Path::new) else {
            // The root itself: its mode and owner count, and nothing else of it.
            if entry.header().entry_type() == EntryType::Directory {
                let here = root.get(Path::new(""), OFlag::O_RDONLY).map_err(|e| failed("open")(e.into()))?;
                self.finish_dir(entry, &here).map_err(failed("set up"))?;
            }
            return Ok(0);
        };
        let folder = path.parent().unwrap_or(Path::new(""));
        let folder = root.make_dirs(folder, 0o755).map_err(|e| failed("make the folder of")(e.into()))?;
        if self.whiteouts != Whiteouts::Plain && name.as_os_str().as_bytes().starts_with(WHITEOUT) {
            match self.whiteouts {
                Whiteouts::Overlay => whiteout(&folder, name).map_err(failed("hide"))?,
                _ => done.remove(&folder, path).map_err(failed("remove"))?,
            }
            return Ok(0);
        }
        done.paths.extend((self.whiteouts == Whiteouts::Remove).then(|| path.to_owned()));
        let place = Place { root, folder, name, path };
        let size = self.put(&place, entry).map_err(failed("unpack"))?;
        if entry.header().entry_type() == EntryType::Directory {
            done.times.push((path.to_owned(), modified(entry)));
        }
        Ok(size)
    }

    fn put<R: Read>(&self, place: &Place<'_>, entry: &mut Entry<'_, R>) -> io::Result<u64> {
        let kind = entry.header().entry_type();
        let directory = kind == EntryType::Directory;
        self.make_room(place, directory)?;
        let (folder, name) = (place.folder.as_fd(), place.name);
        match kind {
            EntryType::Directory => {
                match nix::sys::stat::mkdirat(folder, name, Mode::from_bits_truncate(0o755)) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(errno.into()),
                }
                let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let here = nix::fcntl::openat(folder, name, flags, Mode::empty())?;
                self.finish_dir(entry, &here)?;
                Ok(0)
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => self.put_file(place, entry),
            EntryType::Link => {
                let target = link_target(entry)?;
                let target = self.below.join(clean(&target));
                let (from, from_name) = place.root.parent(&target)?.ok_or(io::ErrorKind::InvalidInput)?;
                linkat(from.as_fd(), &from_name, folder, name, AtFlags::empty())?;
                Ok(0)
            }
            EntryType::Symlink => {
                symlinkat(&link_target(entry)?, folder, name)?;
                self.finish_unopened(place, entry, false)?;
                Ok(0)
            }
            EntryType::Fifo | EntryType::Char | EntryType::Block => {
                let kind = match kind {
                    EntryType::Fifo => SFlag::S_IFIFO,
                    EntryType::Char => SFlag::S_IFCHR,
                    _ => SFlag::S_IFBLK,
                };
                let number =
                    |value: io::Result<Option<u32>>| value.map(|value| u64::from(value.unwrap_or(0)));
                let major = number(entry.header().device_major())?;
                let minor = number(entry.header().device_minor())?;
                match mknodat(folder, name, kind, Mode::from_bits_truncate(0o600), makedev(major, minor)) {
                    // Only the host's root makes devices; a container gets its own ones anyway.
                    Err(Errno::EPERM) if crate::rootless::is() => return Ok(0),
                    other => other?,
                }
                self.finish_unopened(place, entry, true)?;
                Ok(0)
            }
            // Headers that describe other entries.
            EntryType::XGlobalHeader | EntryType::XHeader => Ok(0),
            other => Err(io::Error::other(format!("entries of type {other:?} are not known"))),
        }
    }

    fn put_file<R: Read>(&self, place: &Place<'_>, entry: &mut Entry<'_, R>) -> io::Result<u64> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd =
            nix::fcntl::openat(place.folder.as_fd(), place.name, flags, Mode::from_bits_truncate(0o600))?;
        let mut file = File::from(fd);
        let size = io::copy(entry, &mut file)?;
        let (uid, gid) = self.owner_of(entry)?;
        fchown(file.as_fd(), Some(uid), Some(gid))?;
        fchmod(file.as_fd(), self.mode_of(entry)?)?;
        set_xattrs(entry, &file)?;
        let time = modified(entry);
        nix::sys::stat::futimens(file.as_fd(), &time, &time)?;
        Ok(size)
    }

    /// Removes what is where an entry goes, unless both are directories.
    fn make_room(&self, place: &Place<'_>, directory: bool) -> io::Result<()> {
        let stat = match fstatat(place.folder.as_fd(), place.name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        let is_directory = is_kind(&stat, libc::S_IFDIR);
        match (is_directory, directory) {
            (true, true) => Ok(()),
            (true, false) if self.keep_kinds => {
                Err(io::Error::other("cannot overwrite directory with non-directory"))
            }
            (false, true) if self.keep_kinds && !is_kind(&stat, libc::S_IFLNK) => {
                Err(io::Error::other("cannot overwrite non-directory with directory"))
            }
            (true, false) => remove_tree(&place.folder, place.name),
            (false, _) => Ok(unlinkat(place.folder.as_fd(), place.name, UnlinkatFlags::NoRemoveDir)?),
        }
    }

    fn owner_of<R: Read>(&self, entry: &Entry<'_, R>) -> io::Result<(Uid, Gid)> {
        let number = |value: u64| u32::try_from(value).map_err(|_| io::Error::other("owner out of range"));
        let (uid, gid) = match self.owner {
            Some(owner) => owner,
            None => (number(entry.header().uid()?)?, number(entry.header().gid()?)?),
        };
        Ok((Uid::from_raw(uid), Gid::from_raw(gid)))
    }

    fn mode_of<R: Read>(&self, entry: &Entry<'_, R>) -> io::Result<Mode> {
        Ok(Mode::from_bits_truncate(self.mode.map_or_else(|| entry.header().mode(), Ok)? & 0o7777))
    }

    fn finish_dir<R: Read>(&self, entry: &mut Entry<'_, R>, here: &OwnedFd) -> io::Result<()> {
        let (uid, gid) = self.owner_of(entry)?;
        fchown(here.as_fd(), Some(uid), Some(gid))?;
        fchmod(here.as_fd(), self.mode_of(entry)?)?;
        set_xattrs(entry, here)
    }

    /// Owner, mode and time of something that opening would do harm to.
    fn finish_unopened<R: Read>(
        &self,
        place: &Place<'_>,
        entry: &Entry<'_, R>,
        mode: bool,
    ) -> io::Result<()> {
        let (uid, gid) = self.owner_of(entry)?;
        let (folder, name) = (place.folder.as_fd(), place.name);
        fchownat(folder, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        if mode {
            // Just made here, by us, and not a link.
            fchmodat(folder, name, self.mode_of(entry)?, FchmodatFlags::FollowSymlink)?;
        }
        let time = modified(entry);
        utimensat(folder, name, &time, &time, UtimensatFlags::NoFollowSymlink)?;
        Ok(())
    }
}

/// What a stream has done so far.
#[derive(Default)]
struct Done {
    /// Directories, and the times that they are to have in the end.
    times: Vec<(PathBuf, TimeSpec)>,
    /// What this layer has put here: whiteouts are about lower ones.
    paths: BTreeSet<PathBuf>,
}

impl Done {
    /// Does what a whiteout says.
    fn remove(&self, folder: &OwnedFd, path: &Path) -> io::Result<()> {
        let hidden = match hidden_name(path.file_name().unwrap_or_default()) {
            Some(Hidden::Name(name)) => vec![name.to_owned()],
            Some(Hidden::All) => std::fs::read_dir(by_descriptor(folder))?
                .map(|entry| entry.map(|entry| entry.file_name()))
                .collect::<io::Result<_>>()?,
            None => Vec::new(),
        };
        for name in hidden.iter().filter(|name| !self.paths.contains(&path.with_file_name(name))) {
            let name = Path::new(name);
            match fstatat(folder.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(stat) if is_kind(&stat, libc::S_IFDIR) => remove_tree(folder, name)?,
                Ok(_) => unlinkat(folder.as_fd(), name, UnlinkatFlags::NoRemoveDir)?,
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

/// Where an entry goes.
struct Place<'a> {
    root: &'a Root,
    folder: OwnedFd,
    name: &'a Path,
    path: &'a Path,
}

impl std::fmt::Debug for Place<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.path.fmt(formatter)
    }
}

fn modified<R: Read>(entry: &Entry<'_, R>) -> TimeSpec {
    let seconds = entry.header().mtime().ok().and_then(|time| i64::try_from(time).ok());
    TimeSpec::new(seconds.unwrap_or(0), 0)
}

fn link_target<R: Read>(entry: &Entry<'_, R>) -> io::Result<PathBuf> {
    let name = entry.link_name_bytes().ok_or_else(|| io::Error::other("a link without a target"))?;
    Ok(PathBuf::from(OsStr::from_bytes(&name)))
}

fn set_xattrs<R: Read>(entry: &mut Entry<'_, R>, fd: &impl AsFd) -> io::Result<()> {
    let mut wanted = Vec::new();
    if let Some(extensions) = entry.pax_extensions()? {
        for extension in extensions {
            let extension = extension?;
            let Some(name) = extension.key().ok().and_then(|key| key.strip_prefix("SCHILY.xattr.")) else {
                continue;
            };
            if !KEPT_OUT.iter().any(|prefix| name.starts_with(prefix)) {
                wanted.push((CString::new(name)?, extension.value_bytes().to_vec()));
            }
        }
    }
    for (name, value) in wanted {
        let path = CString::new(by_descriptor(fd).into_os_string().into_encoded_bytes())?;
        match sys::set_xattr(&path, &name, &value) {
            // Not every file system has every class of attributes; a layer is usable without.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
            other => other?,
        }
    }
    Ok(())
}

/// What a whiteout is about.
enum Hidden<'a> {
    /// One name of lower layers.
    Name(&'a OsStr),
    /// All that lower layers have in this directory.
    All,
}

fn hidden_name(name: &OsStr) -> Option<Hidden<'_>> {
    let bytes = name.as_bytes();
    let hidden = bytes.strip_prefix(WHITEOUT)?;
    match hidden {
        _ if bytes == OPAQUE => Some(Hidden::All),
        b"" | b"." | b".." => None,
        // Other names with the prefix twice are notes of AUFS.
        _ if hidden.starts_with(WHITEOUT) => None,
        _ => Some(Hidden::Name(OsStr::from_bytes(hidden))),
    }
}

fn whiteout(folder: &OwnedFd, name: &Path) -> io::Result<()> {
    let hidden = match hidden_name(name.as_os_str()) {
        Some(Hidden::Name(hidden)) => Path::new(hidden),
        Some(Hidden::All) => {
            let path = CString::new(by_descriptor(folder).into_os_string().into_encoded_bytes())?;
            return sys::set_xattr(&path, crate::rootless::opaque(), b"y");
        }
        None => return Ok(()),
    };
    match mknodat(folder.as_fd(), hidden, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0)) {
        // Hidden below and made again in one layer: what is here counts.
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Removes a directory tree without leaving it: links in it are not followed.
pub(super) fn remove_tree(folder: &OwnedFd, name: &Path) -> io::Result<()> {
    // The standard library's removal uses descriptors and does not follow links either.
    std::fs::remove_dir_all(by_descriptor(folder).join(name))
}

#[cfg(test)]
mod tests;
