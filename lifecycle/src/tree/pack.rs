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

/// What is said of an entry before it: names and values, as pax has them.
type Records = Vec<(String, Vec<u8>)>;

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
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFDIR => {
                let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let here = nix::fcntl::openat(folder.as_fd(), last, flags, Mode::empty())?;
                let deep = deep && !(self.source == Source::Tree && is_kernels(folder, last, &here, &stat)?);
                self.directory(&here, &stat, name, deep)
            }
            libc::S_IFREG => self.file(folder, last, &stat, name),
            libc::S_IFLNK => {
                let target = readlinkat(folder.as_fd(), last)?;
                self.link(&stat, EntryType::Symlink, name, Path::new(&target))
            }
            kind @ (libc::S_IFIFO | libc::S_IFCHR | libc::S_IFBLK) => {
                let mut header = header_of(&stat, self.source);
                header.set_entry_type(match kind {
                    libc::S_IFIFO => EntryType::Fifo,
                    libc::S_IFCHR => EntryType::Char,
                    _ => EntryType::Block,
                });
                let number = |value: u64| u32::try_from(value).map_err(io::Error::other);
                header.set_device_major(number(major(stat.st_rdev))?)?;
                header.set_device_minor(number(minor(stat.st_rdev))?)?;
                self.append(header, name, Records::new(), io::empty())
            }
            // Sockets mean nothing outside of their host.
            _ => Ok(()),
        }
    }

    fn directory(&mut self, here: &OwnedFd, stat: &FileStat, name: &Path, deep: bool) -> io::Result<()> {
        if !name.as_os_str().is_empty() {
            let mut header = header_of(stat, self.source);
            header.set_entry_type(EntryType::Directory);
            // With a slash at its end.
            self.append(header, &name.join(""), xattrs(here)?, io::empty())?;
        }
        if !deep {
            return Ok(());
        }
        if self.source == Source::Upper && is_opaque(here) {
            self.marker(&name.join(OPAQUE))?;
        }
        let entries = std::fs::read_dir(by_descriptor(here))?;
        let mut names = entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
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

    fn file(&mut self, folder: &OwnedFd, last: &Path, stat: &FileStat, name: &Path) -> io::Result<()> {
        let id = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.links.get(&id).cloned() {
            return self.link(stat, EntryType::Link, name, &first);
        }
        if stat.st_nlink > 1 {
            self.links.insert(id, name.to_owned());
        }
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = File::from(nix::fcntl::openat(folder.as_fd(), last, flags, Mode::empty())?);
        let mut header = header_of(stat, self.source);
        // Of what is open: it may have been swapped since.
        let stat = nix::sys::stat::fstat(file.as_fd())?;
        if !is_kind(&stat, libc::S_IFREG) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        header.set_size(size);
        // It may also shrink or grow while it is read: the entry keeps the size that was announced.
        let content = io::Read::take(io::Read::chain(&file, io::repeat(0)), size);
        self.append(header, name, xattrs(&file)?, content)
    }

    fn link(&mut self, stat: &FileStat, kind: EntryType, name: &Path, target: &Path) -> io::Result<()> {
        let mut header = header_of(stat, self.source);
        header.set_entry_type(kind);
        if !is_literal(name) {
            return self.builder.append_link(&mut header, name, target);
        }
        let target = target.as_os_str().as_bytes();
        header.set_link_name_literal(&target[..target.len().min(SHORT)])?;
        self.append(header, name, vec![("linkpath".into(), target.to_vec())], io::empty())
    }

    /// Adds an entry, and what does not fit into its header before it.
    fn append(
        &mut self,
        mut header: Header,
        name: &Path,
        mut records: Records,
        content: impl io::Read,
    ) -> io::Result<()> {
        let literal = is_literal(name).then(|| name.as_os_str().as_bytes());
        records.extend(literal.map(|name| ("path".into(), name.to_vec())));
        if !records.is_empty() {
            let records = records.iter().map(|(key, value)| (key.as_str(), &value[..]));
            self.builder.append_pax_extensions(records)?;
        }
        let Some(name) = literal else { return self.builder.append_data(&mut header, name, content) };
        let short = &name[..name.len().min(SHORT)];
        header.as_old_mut().name[..short.len()].copy_from_slice(short);
        header.set_cksum();
        self.builder.append(&header, content)
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
}

/// Whether a name has to stay as it is, with the `/` or `.` that it begins with: clients put another name in the place
/// of that, and the builder would tidy it away.
fn is_literal(name: &Path) -> bool {
    name.starts_with("/") || name.as_os_str().as_bytes().starts_with(b"./")
}

/// Attributes that belong to a file: capabilities and the user's own.
fn xattrs(fd: &impl AsFd) -> io::Result<Records> {
    let path = by_descriptor(fd);
    let names = match xattr::list_deref(&path) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(Records::new()),
        other => other?,
    };
    let mut records = Records::new();
    for name in names.map(|name| name.to_string_lossy().into_owned()) {
        let own = name.starts_with("user.") && !name.starts_with("user.overlay.");
        if (own || name == "security.capability")
            && let Some(value) = xattr::get_deref(&path, &name)?
        {
            records.push((format!("SCHILY.xattr.{name}"), value));
        }
    }
    Ok(records)
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
