//! Writing a part of a [`Root`] as a tar stream.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, readlinkat};
use nix::sys::stat::{FileStat, Mode, major, minor};
use nix::sys::statfs::{PROC_SUPER_MAGIC, SYSFS_MAGIC, TMPFS_MAGIC, fstatfs};
use tar::{Builder, EntryType, Header};

use super::overlay::{OPAQUE, WHITEOUT, is_opaque, is_whiteout};
use super::{Apply, Change, Root, by_descriptor, clean, is_kind, stat_at};
use crate::error::{Error, Result};

/// The longest name that a header holds.
const SHORT: usize = 100;

/// What the files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Files as they are seen.
    Tree,
    /// An overlay's upper directory: what is hidden becomes `.wh.` entries, as layers of images have it.
    Upper,
    /// Files as they are seen, without owners and times: for a digest of what is in them.
    Content,
}

/// Writes trees into one archive.
pub struct Pack<W: Write> {
    builder: Builder<W>,
    source: Source,
    links: HashMap<(u64, u64), PathBuf>,
}

impl<W: Write> Pack<W> {
    /// An empty archive.
    pub fn new(writer: W, source: Source) -> Self {
        Self { builder: Builder::new(writer), source, links: HashMap::new() }
    }

    /// Adds `path` of a tree, with all below it, under the name `name`; the name `""` leaves out the directory itself.
    ///
    /// # Errors
    /// With the path.
    pub fn add(&mut self, root: &Root, path: &Path, name: &Path) -> Result<()> {
        let failed = Error::at("pack", path);
        self.add_path(root, path, name).map_err(failed)
    }

    /// Adds what was changed in a tree, what is gone as `.wh.` entries: a layer.
    ///
    /// # Errors
    /// With the path.
    pub fn add_changes(&mut self, root: &Root, changes: &[Change]) -> Result<()> {
        for change in changes {
            let failed = Error::at("pack", &change.path);
            self.add_change(root, change).map_err(failed)?;
        }
        Ok(())
    }

    fn add_change(&mut self, root: &Root, change: &Change) -> io::Result<()> {
        let name = clean(&change.path);
        if change.kind == 2 {
            return self.hidden(&name);
        }
        let Some((folder, last)) = root.parent(&name)? else { return Ok(()) };
        self.one(&folder, &last, &name, false)
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// When the end cannot be written.
    pub fn finish(self) -> Result<W> {
        let mut writer = self.builder.into_inner()?;
        writer.flush()?;
        Ok(writer)
    }

    fn add_path(&mut self, root: &Root, path: &Path, name: &Path) -> io::Result<()> {
        match root.parent(path)? {
            None => {
                let here = root.list(Path::new(""))?;
                let stat = nix::sys::stat::fstat(here.as_fd())?;
                self.directory(&here, &stat, name, true)
            }
            Some((folder, last)) => self.one(&folder, &last, name, true),
        }
    }

    /// Adds a name of a folder, with all below it when it is `deep`.
    fn one(&mut self, folder: &OwnedFd, last: &Path, name: &Path, deep: bool) -> io::Result<()> {
        let stat = stat_at(folder, last)?;
        if self.source == Source::Upper && is_whiteout(&stat) {
            return self.hidden(name);
        }
        let mut header = header_of(&stat, self.source);
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFDIR => {
                let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let here = nix::fcntl::openat(folder.as_fd(), last, flags, Mode::empty())?;
                let deep = deep && !(self.source == Source::Tree && is_kernels(folder, last, &here, &stat)?);
                self.directory(&here, &stat, name, deep)
            }
            libc::S_IFREG => self.file(folder, last, &stat, &mut header, name),
            libc::S_IFLNK => {
                let target = readlinkat(folder.as_fd(), last)?;
                header.set_entry_type(EntryType::Symlink);
                self.link(&mut header, name, Path::new(&target))
            }
            kind @ (libc::S_IFIFO | libc::S_IFCHR | libc::S_IFBLK) => {
                header.set_entry_type(match kind {
                    libc::S_IFIFO => EntryType::Fifo,
                    libc::S_IFCHR => EntryType::Char,
                    _ => EntryType::Block,
                });
                let number = |value: u64| u32::try_from(value).map_err(io::Error::other);
                header.set_device_major(number(major(stat.st_rdev))?)?;
                header.set_device_minor(number(minor(stat.st_rdev))?)?;
                self.append(&mut header, name, io::empty())
            }
            // Sockets mean nothing outside of their host.
            _ => Ok(()),
        }
    }

    fn directory(&mut self, here: &OwnedFd, stat: &FileStat, name: &Path, deep: bool) -> io::Result<()> {
        if !name.as_os_str().is_empty() {
            let mut header = header_of(stat, self.source);
            header.set_entry_type(EntryType::Directory);
            self.xattrs(here)?;
            // With a slash at its end.
            self.append(&mut header, &name.join(""), io::empty())?;
        }
        if !deep {
            return Ok(());
        }
        if self.source == Source::Upper && is_opaque(here) {
            self.marker(&name.join(OPAQUE))?;
        }
        let mut names = Vec::new();
        for entry in std::fs::read_dir(by_descriptor(here))? {
            names.push(entry?.file_name());
        }
        names.sort();
        for entry in names {
            match self.one(here, Path::new(&entry), &name.join(&entry), true) {
                // A running container goes on working.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn file(
        &mut self,
        folder: &OwnedFd,
        last: &Path,
        stat: &FileStat,
        header: &mut Header,
        name: &Path,
    ) -> io::Result<()> {
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                header.set_entry_type(EntryType::Link);
                let first = first.clone();
                return self.link(header, name, &first);
            }
            self.links.insert((stat.st_dev, stat.st_ino), name.to_owned());
        }
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = File::from(nix::fcntl::openat(folder.as_fd(), last, flags, Mode::empty())?);
        // Of what is open: it may have been swapped since.
        let stat = nix::sys::stat::fstat(file.as_fd())?;
        if !is_kind(&stat, libc::S_IFREG) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        header.set_size(size);
        self.xattrs(&file)?;
        // It may also shrink or grow while it is read: the entry keeps the size that was announced.
        let content = io::Read::take(io::Read::chain(&file, io::repeat(0)), size);
        self.append(header, name, content)
    }

    fn append(&mut self, header: &mut Header, name: &Path, content: impl io::Read) -> io::Result<()> {
        match self.literal(header, name)? {
            true => self.builder.append(header, content),
            false => self.builder.append_data(header, name, content),
        }
    }

    fn link(&mut self, header: &mut Header, name: &Path, target: &Path) -> io::Result<()> {
        if !self.literal(header, name)? {
            return self.builder.append_link(header, name, target);
        }
        let target = target.as_os_str().as_bytes();
        self.long(EntryType::GNULongLink, target)?;
        header.set_link_name_literal(&target[..target.len().min(SHORT)])?;
        header.set_cksum();
        self.builder.append(header, io::empty())
    }

    /// Writes a name as it is when it begins with the `/` or `.` that was asked for: clients put another name in its
    /// place, and the builder would tidy it away.
    fn literal(&mut self, header: &mut Header, name: &Path) -> io::Result<bool> {
        let name = name.as_os_str().as_bytes();
        let Some(gnu) = header.as_gnu_mut().filter(|_| name.starts_with(b"/") || name.starts_with(b"./"))
        else {
            return Ok(false);
        };
        let short = &name[..name.len().min(SHORT)];
        gnu.name[..short.len()].copy_from_slice(short);
        header.set_cksum();
        self.long(EntryType::GNULongName, name)?;
        Ok(true)
    }

    /// What does not fit into the header of the entry that comes next.
    fn long(&mut self, kind: EntryType, text: &[u8]) -> io::Result<()> {
        if text.len() <= SHORT {
            return Ok(());
        }
        let mut header = Header::new_gnu();
        header.set_path("@LongLink")?;
        header.set_entry_type(kind);
        header.set_size(text.len() as u64 + 1);
        header.set_cksum();
        self.builder.append(&header, io::Read::chain(text, &[0][..]))
    }

    fn hidden(&mut self, name: &Path) -> io::Result<()> {
        let mut hidden = std::ffi::OsString::from(WHITEOUT);
        hidden.push(name.file_name().unwrap_or_default());
        self.marker(&name.with_file_name(hidden))
    }

    fn marker(&mut self, name: &Path) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0);
        header.set_size(0);
        self.builder.append_data(&mut header, name, io::empty())
    }

    /// Attributes that belong to a file: capabilities and the user's own.
    fn xattrs(&mut self, fd: &impl AsFd) -> io::Result<()> {
        let path = by_descriptor(fd);
        let names = match xattr::list_deref(&path) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(()),
            other => other?,
        };
        let mut records = Vec::new();
        for name in names.map(|name| name.to_string_lossy().into_owned()) {
            let own = name.starts_with("user.") && !name.starts_with("user.overlay.");
            if (own || name == "security.capability")
                && let Some(value) = xattr::get_deref(&path, &name)?
            {
                records.push((format!("SCHILY.xattr.{name}"), value));
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        self.builder.append_pax_extensions(records.iter().map(|(key, value)| (key.as_str(), &value[..])))
    }
}

/// Whether a folder of a running container is where the kernel's own files are mounted: nothing to copy.
fn is_kernels(above: &OwnedFd, name: &Path, here: &OwnedFd, stat: &FileStat) -> io::Result<bool> {
    if nix::sys::stat::fstat(above.as_fd())?.st_dev == stat.st_dev {
        return Ok(false);
    }
    let kind = fstatfs(here)?.filesystem_type();
    Ok([PROC_SUPER_MAGIC, SYSFS_MAGIC].contains(&kind) || kind == TMPFS_MAGIC && name == Path::new("dev"))
}

/// Copies a part of one tree into another, as a stream from one thread to another.
///
/// # Errors
/// With the path that failed.
pub fn transfer(from: &Root, path: &Path, name: &Path, to: &Root, apply: &Apply) -> Result<()> {
    let (reader, writer) = std::io::pipe()?;
    std::thread::scope(|scope| {
        let packing = scope.spawn(move || {
            let mut pack = Pack::new(std::io::BufWriter::with_capacity(64 << 10, writer), Source::Tree);
            pack.add(from, path, name)?;
            pack.finish().map(drop)
        });
        let applied = apply.run(to, reader);
        let packed = packing.join().unwrap_or_else(|_| Err(Error::internal("packing broke off")));
        // A packer whose stream is not taken to its end has a failure that says less.
        applied.and(packed)
    })
}

fn header_of(stat: &FileStat, source: Source) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(stat.st_mode & 0o7777);
    header.set_size(0);
    if source != Source::Content {
        header.set_uid(stat.st_uid.into());
        header.set_gid(stat.st_gid.into());
        header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    }
    header
}
