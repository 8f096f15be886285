//! Unpacking a tar stream into a [`Root`]. The stream is hostile: its paths, links and whiteouts stay inside, its
//! holes take no room and little time, and attributes that would steer an overlay are not taken from it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, futimens, makedev, mkdirat, mknodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat, linkat, mkfifoat, symlinkat};
use runtime::path::stat_one;
use runtime::privilege::in_user_namespace;
use tar::{Archive, Entry, EntryType};

use super::overlay::{WHITEOUT, opaque};
use super::{Error, Holes, Result, Root, by_descriptor, clean, is_kind, remove, within_reach};

/// What a name that begins with `.wh.` means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Whiteouts {
    /// A file of a lower layer is hidden: written in overlayfs's way.
    Overlay,
    /// What lower layers have put here is removed.
    Remove,
    /// Nothing: it is a file like any other.
    #[default]
    Plain,
}

/// How a stream is unpacked.
#[derive(Debug, Clone, Default)]
pub struct Apply {
    /// What `.wh.` means.
    pub whiteouts: Whiteouts,
    /// The owner of everything, instead of those in the stream.
    pub owner: Option<(u32, u32)>,
    /// Refuse to put a directory where something else is, and the other way round.
    pub keep_kinds: bool,
    /// Where below the root the stream's paths begin.
    pub below: PathBuf,
    /// The stream is of a whole folder, whose own entry counts: the folder becomes what that one was.
    pub whole: bool,
}

/// How many bytes the sparse files of an archive may have: they take time, however short the archive is.
const MOST_SPARSE: u64 = 1 << 40;

/// How many bytes may be said of an entry before it.
const MOST_HEADERS: u64 = 8 << 20;

/// What an archive is made of, in bytes.
const BLOCK: u64 = 512;

/// Extended attributes that are the host's business.
const KEPT_OUT: [&str; 2] = ["trusted.overlay.", "user.overlay."];

impl Apply {
    /// Unpacks `stream`; returns the bytes in regular files.
    ///
    /// # Errors
    /// With the path of the entry that failed.
    pub fn run(&self, root: &Root, stream: impl Read) -> Result<u64> {
        let (mut bytes, mut done) = (0, Done::default());
        each(stream, |entry| {
            // About other entries, whatever it is called.
            if entry.header().entry_type() == EntryType::XGlobalHeader {
                return Ok(());
            }
            let name = clean(Path::new(OsStr::from_bytes(&entry.path_bytes())));
            // The folder that it is unpacked in stays as it is, unless it is a layer's.
            if name.as_os_str().is_empty() && !self.whole && self.whiteouts == Whiteouts::Plain {
                return Ok(());
            }
            let path = self.below.join(name);
            within_reach(&path).map_err(Error::at("unpack", &path))?;
            let size = self.entry(root, &path, entry, &mut done);
            bytes += size.map_err(Error::at("unpack", &path))?;
            Ok(())
        })?;
        // Deepest first: setting the time of a directory is the last thing that happens in it.
        for (path, time) in done.times.into_iter().rev() {
            if let Ok(fd) = root.list(&path) {
                let _time = futimens(fd.as_fd(), &time, &time);
            }
        }
        Ok(bytes)
    }

    fn entry<R: Read>(
        &self,
        root: &Root,
        path: &Path,
        entry: &mut Entry<'_, R>,
        done: &mut Done,
    ) -> io::Result<u64> {
        let directory = entry.header().entry_type() == EntryType::Directory;
        let Some(name) = path.file_name().map(Path::new) else {
            // The root itself: its mode and owner count, and nothing else of it.
            if directory {
                self.finish(entry, &root.get(Path::new(""), OFlag::O_PATH)?)?;
            }
            return Ok(0);
        };
        let folder = root.make_dirs(path.parent().unwrap_or(Path::new("")), None)?;
        if self.whiteouts != Whiteouts::Plain
            && let Some(hidden) = name.as_os_str().as_bytes().strip_prefix(WHITEOUT.as_bytes())
        {
            self.hide(&folder, path, hidden, done)?;
            return Ok(0);
        }
        done.paths.extend((self.whiteouts == Whiteouts::Remove).then(|| path.to_owned()));
        self.make_room(&folder, name, directory)?;
        let size = self.put(root, &folder, name, entry)?;
        done.times.extend(directory.then(|| (path.to_owned(), modified(entry))));
        Ok(size)
    }

    /// Does what a whiteout says, whose name is `.wh.` and then `hidden`.
    fn hide(&self, folder: &OwnedFd, path: &Path, hidden: &[u8], done: &Done) -> io::Result<()> {
        let overlay = self.whiteouts == Whiteouts::Overlay;
        let names = match hidden {
            // All that lower layers have in this directory.
            b".wh..opq" if overlay => {
                return xattr::set_deref(by_descriptor(folder), opaque(), b"y");
            }
            b".wh..opq" => {
                let entries = std::fs::read_dir(by_descriptor(folder))?;
                entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?
            }
            b"" | b"." | b".." => Vec::new(),
            // Other names with the prefix twice are notes of AUFS.
            _ if hidden.starts_with(WHITEOUT.as_bytes()) => Vec::new(),
            _ => vec![OsStr::from_bytes(hidden).to_owned()],
        };
        for name in names.iter().map(Path::new) {
            if overlay {
                match mknodat(folder.as_fd(), name, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0)) {
                    // Hidden below and made again in one layer: what is here counts.
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(errno.into()),
                }
            } else if !done.paths.contains(&path.with_file_name(name)) {
                remove(folder, name)?;
            }
        }
        Ok(())
    }

    fn put<R: Read>(
        &self,
        root: &Root,
        folder: &OwnedFd,
        name: &Path,
        entry: &mut Entry<'_, R>,
    ) -> io::Result<u64> {
        let own = Mode::from_bits_truncate(0o600);
        let at = folder.as_fd();
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
                let file = File::from(openat(at, name, flags | OFlag::O_CLOEXEC, own)?);
                let mut holes = Holes::new(&file);
                let size = io::copy(entry, &mut holes)?;
                holes.finish()?;
                self.finish(entry, &file.into())?;
                return Ok(size);
            }
            EntryType::Link => {
                let (target, _) = root.look(&self.below.join(clean(&link_target(entry)?)))?;
                // Through the descriptor, and no further when that is of a symbolic link.
                linkat(AT_FDCWD, &by_descriptor(&target), at, name, AtFlags::AT_SYMLINK_FOLLOW)?;
                return Ok(0);
            }
            EntryType::Directory => match mkdirat(at, name, Mode::from_bits_truncate(0o755)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno.into()),
            },
            EntryType::Symlink => symlinkat(&link_target(entry)?, at, name)?,
            EntryType::Fifo => mkfifoat(at, name, own)?,
            kind @ (EntryType::Char | EntryType::Block) => {
                let kind = if kind == EntryType::Char { SFlag::S_IFCHR } else { SFlag::S_IFBLK };
                let [major, minor] = [entry.header().device_major()?, entry.header().device_minor()?]
                    .map(|number| number.unwrap_or(0).into());
                match mknodat(at, name, kind, own, makedev(major, minor)) {
                    // Only the host's root makes devices; a container gets its own ones anyway.
                    Err(Errno::EPERM) if in_user_namespace() => return Ok(0),
                    other => other?,
                }
            }
            other => return Err(io::Error::other(format!("entries of type {other:?} are not known"))),
        }
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        self.finish(entry, &openat(at, name, flags, Mode::empty())?)?;
        Ok(0)
    }

    /// Removes what is where an entry goes, unless both are directories.
    fn make_room(&self, folder: &OwnedFd, name: &Path, directory: bool) -> io::Result<()> {
        let stat = match stat_one(folder.as_fd(), name.as_os_str()) {
            Err(Errno::ENOENT) => return Ok(()),
            other => other?,
        };
        match (is_kind(&stat, libc::S_IFDIR), directory) {
            (true, true) => Ok(()),
            (true, false) if self.keep_kinds => {
                Err(io::Error::other("cannot overwrite directory with non-directory"))
            }
            (false, true) if self.keep_kinds => {
                Err(io::Error::other("cannot overwrite non-directory with directory"))
            }
            _ => remove(folder, name),
        }
    }

    /// Owner, mode, attributes and time of what an entry has made: through its descriptor, as a running container may
    /// have put something else under its name.
    fn finish<R: Read>(&self, entry: &mut Entry<'_, R>, made: &OwnedFd) -> io::Result<()> {
        let header = entry.header();
        let number = |value: u64| u32::try_from(value).map_err(|_| io::Error::other("owner out of range"));
        let (uid, gid) = match self.owner {
            Some(owner) => owner,
            None => {
                let fields = header.as_old();
                (number(given(&fields.uid, header.uid())?)?, number(given(&fields.gid, header.gid())?)?)
            }
        };
        fchownat(made, "", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::AT_EMPTY_PATH)?;
        let path = by_descriptor(made);
        if header.entry_type() != EntryType::Symlink {
            let mode = given(&header.as_old().mode, header.mode())?;
            std::fs::set_permissions(&path, Permissions::from_mode(mode & 0o7777))?;
            set_xattrs(entry, &path)?;
        }
        let time = modified(entry);
        Ok(utimensat(AT_FDCWD, &path, &time, &time, UtimensatFlags::FollowSymlink)?)
    }
}

/// How much may be read of a stream, and how much was.
struct Bounds {
    left: Cell<u64>,
    read: Cell<u64>,
    /// It has ended within a block, which is filled up: docker's client does not write the end of the last one.
    is_cut: Cell<bool>,
}

impl Bounds {
    fn new() -> Self {
        Self { left: Cell::new(MOST_HEADERS), read: Cell::default(), is_cut: Cell::default() }
    }
}

/// A stream of which so much may be read.
struct Bounded<'a, R> {
    stream: R,
    bounds: &'a Bounds,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let Bounds { left, read, is_cut } = self.bounds;
        if left.get() == 0 {
            return Err(io::Error::other("what is said of an entry has more than 8 MiB"));
        }
        let most = bytes.len().min(usize::try_from(left.get()).unwrap_or(usize::MAX));
        let mut count = self.stream.read(&mut bytes[..most])?;
        if count == 0 && read.get() % BLOCK != 0 {
            is_cut.set(true);
            count = most.min(1);
            bytes[..count].fill(0);
        }
        left.set(left.get() - count as u64);
        read.set(read.get() + count as u64);
        Ok(count)
    }
}

/// Goes through an archive. What is said of an entry before it is kept in memory: names, attributes, and where there are
/// holes. A short archive is not to fill that.
fn each<R: Read>(stream: R, mut one: impl FnMut(&mut Entry<'_, Bounded<'_, R>>) -> Result<()>) -> Result<()> {
    let (bounds, mut sparse) = (Bounds::new(), 0_u64);
    let mut archive = Archive::new(Bounded { stream, bounds: &bounds });
    for entry in archive.entries().map_err(Error::Archive)? {
        let mut entry = entry.map_err(Error::Archive)?;
        if entry.header().entry_type() == EntryType::GNUSparse {
            sparse = sparse.saturating_add(entry.size());
            if sparse > MOST_SPARSE {
                let text = "the sparse files of the archive have more than 1 TiB";
                return Err(Error::Archive(io::Error::other(text)));
            }
        }
        bounds.left.set(u64::MAX);
        one(&mut entry)?;
        io::copy(&mut entry, &mut io::sink()).map_err(Error::Archive)?;
        if bounds.is_cut.get() {
            return Err(Error::Archive(ErrorKind::UnexpectedEof.into()));
        }
        bounds.left.set(MOST_HEADERS);
    }
    Ok(())
}

/// Bytes of the files in an archive, which is read to its end.
///
/// # Errors
/// When it is none.
pub fn size_of(stream: impl Read) -> Result<u64> {
    let mut size: u64 = 0;
    each(stream, |entry| {
        size = size.saturating_add(entry.size());
        Ok(())
    })?;
    Ok(size)
}

/// Whether a stream is an archive that has anything in it.
pub fn is_archive(stream: impl Read) -> bool {
    let bounds = Bounds::new();
    let mut archive = Archive::new(Bounded { stream, bounds: &bounds });
    archive.entries().is_ok_and(|mut entries| matches!(entries.next(), Some(Ok(_))))
}

/// The number in a field of a header: a blank one is 0, as Go reads it and Rust's `Header::new_gnu` leaves it.
fn given<T: Default>(field: &[u8], number: io::Result<T>) -> io::Result<T> {
    let is_blank = field.iter().all(|byte| matches!(byte, 0 | b' '));
    if is_blank { Ok(T::default()) } else { number }
}

/// What a stream has done so far.
#[derive(Default)]
struct Done {
    /// Directories, and the times that they are to have in the end.
    times: BTreeMap<PathBuf, TimeSpec>,
    /// What this layer has put here: whiteouts are about lower ones.
    paths: BTreeSet<PathBuf>,
}

fn modified<R: Read>(entry: &Entry<'_, R>) -> TimeSpec {
    let seconds = entry.header().mtime().ok().and_then(|time| i64::try_from(time).ok());
    TimeSpec::new(seconds.unwrap_or(0), 0)
}

fn link_target<R: Read>(entry: &Entry<'_, R>) -> io::Result<PathBuf> {
    let name = entry.link_name_bytes().ok_or_else(|| io::Error::other("a link without a target"))?;
    Ok(PathBuf::from(OsStr::from_bytes(&name)))
}

fn set_xattrs<R: Read>(entry: &mut Entry<'_, R>, path: &Path) -> io::Result<()> {
    for extension in entry.pax_extensions()?.into_iter().flatten() {
        let extension = extension?;
        let key = extension.key().unwrap_or_default();
        if key.starts_with("GNU.sparse.") {
            return Err(io::Error::other(
                "sparse files are not offered in pax's way (tar --format=gnu makes others)",
            ));
        }
        let name = key.strip_prefix("SCHILY.xattr.");
        let Some(name) = name.filter(|name| !KEPT_OUT.iter().any(|prefix| name.starts_with(prefix))) else {
            continue;
        };
        match xattr::set_deref(path, name, extension.value_bytes()) {
            // Not every file system has every class of attributes; a layer is usable without.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
            other => other?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
