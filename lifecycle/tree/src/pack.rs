//! Writing a part of a [`Root`] as a tar stream.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::readlinkat;
use nix::sys::stat::{FileStat, fstat, major, minor};
use nix::sys::statfs::{PROC_SUPER_MAGIC, SYSFS_MAGIC, TMPFS_MAGIC, fstatfs};
use tar::{Builder, EntryType, Header};

use super::overlay::WHITEOUT;
use super::{Apply, Change, Error, Result, Root, by_descriptor, clean, is_kind, within_reach};

/// What the files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Files as they are seen.
    Tree,
    /// Files as they are seen, without times: for a digest of what they are.
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
        self.one(root, &clean(path), name, true).map_err(Error::at("pack", path))
    }

    /// Adds what was changed in a tree, what is gone as `.wh.` entries: a layer.
    ///
    /// # Errors
    /// With the path.
    pub fn add_changes(&mut self, root: &Root, changes: &[Change]) -> Result<()> {
        for change in changes {
            let name = clean(&change.path);
            let packed = match change.kind {
                2 => self.hidden(&name),
                _ => self.one(root, &name, &name, false),
            };
            match packed {
                // A running container goes on working.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other.map_err(Error::at("pack", &change.path))?,
            }
        }
        Ok(())
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// When the end cannot be written.
    pub fn finish(self) -> Result<W> {
        let mut writer = self.builder.into_inner().map_err(Error::Write)?;
        writer.flush().map_err(Error::Write)?;
        Ok(writer)
    }

    /// Adds what is at a path, with all below it when it is `deep`. It is read through its descriptor: what a running
    /// container puts in its place meanwhile is not seen.
    fn one(&mut self, root: &Root, path: &Path, name: &Path, deep: bool) -> io::Result<()> {
        within_reach(name)?;
        let (file, stat) = root.look(path)?;
        let mut header = header_of(&stat, self.source);
        let id = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.links.get(&id).cloned() {
            header.set_entry_type(EntryType::Link);
            return self.append(header, name, &first, Records::new(), io::empty());
        }
        if stat.st_nlink > 1 && !is_kind(&stat, libc::S_IFDIR) && !is_kind(&stat, libc::S_IFSOCK) {
            self.links.insert(id, name.to_owned());
        }
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFDIR => {
                if !name.as_os_str().is_empty() {
                    header.set_entry_type(EntryType::Directory);
                    // With a slash at its end.
                    self.append(header, &name.join(""), Path::new(""), xattrs(&file)?, io::empty())?;
                }
                let deep = deep && !(self.source == Source::Tree && is_kernels(root, path, &file, &stat)?);
                if deep { self.inside(&Root::new(file), name) } else { Ok(()) }
            }
            libc::S_IFREG => self.file(&file, &stat, header, name),
            libc::S_IFLNK => {
                header.set_entry_type(EntryType::Symlink);
                let target = readlinkat(&file, "")?;
                self.append(header, name, Path::new(&target), Records::new(), io::empty())
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
                self.append(header, name, Path::new(""), Records::new(), io::empty())
            }
            // Sockets mean nothing outside of their host.
            _ => Ok(()),
        }
    }

    /// Adds all that is in a folder.
    fn inside(&mut self, folder: &Root, name: &Path) -> io::Result<()> {
        let entries = std::fs::read_dir(by_descriptor(folder))?;
        let mut names = entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
        names.sort();
        for entry in names {
            match self.one(folder, Path::new(&entry), &name.join(&entry), true) {
                // A running container goes on working.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn file(&mut self, file: &OwnedFd, stat: &FileStat, mut header: Header, name: &Path) -> io::Result<()> {
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        header.set_size(size);
        // It may shrink or grow while it is read: the entry keeps the size that was announced.
        let content = File::open(by_descriptor(file))?.chain(io::repeat(0)).take(size);
        self.append(header, name, Path::new(""), xattrs(file)?, content)
    }

    /// Adds an entry, and what does not fit into its header before it. Names stay as they are, with the `/` or `./` that
    /// they begin with: clients put another name in the place of that, and the builder would tidy it away.
    fn append(
        &mut self,
        mut header: Header,
        name: &Path,
        target: &Path,
        mut records: Records,
        content: impl Read,
    ) -> io::Result<()> {
        let old = header.as_old_mut();
        for (key, field, path) in [("path", &mut old.name, name), ("linkpath", &mut old.linkname, target)] {
            let path = path.as_os_str().as_bytes();
            let short = path.len().min(field.len());
            field[..short].copy_from_slice(&path[..short]);
            if short < path.len() {
                records.push((key.to_owned(), path.to_vec()));
            }
        }
        if !records.is_empty() {
            let records = records.iter().map(|(key, value)| (key.as_str(), &value[..]));
            self.builder.append_pax_extensions(records)?;
        }
        header.set_cksum();
        self.builder.append(&header, content)
    }

    fn hidden(&mut self, name: &Path) -> io::Result<()> {
        let mut hidden = OsString::from(WHITEOUT);
        hidden.push(name.file_name().unwrap_or_default());
        self.plain(&name.with_file_name(hidden), 0, 0, io::empty())
    }

    /// Adds a file that is in no tree; its time in seconds since 1970.
    ///
    /// # Errors
    /// When reading or writing fails.
    pub fn plain(&mut self, name: &Path, time: u64, size: u64, content: impl Read) -> io::Result<()> {
        let mut header = new_header();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(time);
        header.set_size(size);
        self.append(header, name, Path::new(""), Records::new(), content)
    }
}

/// Attributes that belong to a file: capabilities and the user's own.
pub(super) fn xattrs(fd: &impl AsFd) -> io::Result<Records> {
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
    records.sort();
    Ok(records)
}

/// Whether a folder of a running container is where the kernel's own files are mounted: nothing to copy.
fn is_kernels(above: &Root, name: &Path, here: &OwnedFd, stat: &FileStat) -> io::Result<bool> {
    if fstat(above.as_fd())?.st_dev == stat.st_dev {
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
    let (reader, writer) = std::io::pipe().map_err(Error::Write)?;
    std::thread::scope(|scope| {
        let packing = scope.spawn(move || {
            let mut pack = Pack::new(std::io::BufWriter::with_capacity(64 << 10, writer), Source::Tree);
            pack.add(from, path, name)?;
            pack.finish().map(drop)
        });
        let applied = apply.run(to, reader);
        let packed =
            packing.join().unwrap_or_else(|_| Err(Error::Write(io::Error::other("packing broke off"))));
        // A packer whose stream is not taken to its end has a failure that says less.
        applied.and(packed)
    })
}

fn header_of(stat: &FileStat, source: Source) -> Header {
    let mut header = new_header();
    header.set_mode(stat.st_mode & 0o7777);
    header.set_size(0);
    header.set_uid(stat.st_uid.into());
    header.set_gid(stat.st_gid.into());
    if source != Source::Content {
        header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    }
    header
}

/// Of a file. That is said: where nothing is, a name whose first hundred bytes end with a slash is a directory's to many.
fn new_header() -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_said_to_be_it() {
        let mut pack = Pack::new(Vec::new(), Source::Tree);
        pack.plain(Path::new("file"), 0, 0, io::empty()).unwrap();
        assert_eq!(pack.finish().unwrap()[156], b'0');
    }
}
