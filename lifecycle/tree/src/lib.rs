//! The files of images and containers: a directory tree of which nothing outside can be reached. Every path is resolved by
//! the kernel below one descriptor (`openat2(2)`, `RESOLVE_IN_ROOT`), so a link in a layer, or one that a running container
//! swaps in, ends inside it (CVE-2018-15664, CVE-2019-14271, CVE-2021-30465 are of this kind).
//!
//! This is where the engine meets what a stranger has packed, or what a container does to its files while they are read.
//! It knows nothing of images, containers or requests, and never resolves a path of theirs as text.
//!
//! | module | owns |
//! |---|---|
//! | [`Root`] | opening what is inside |
//! | `apply` | archives that become files |
//! | `holes` | files whose zeros take no room |
//! | `pack` | files that become an archive |
//! | `namespace` | a place where mounts are seen by nobody else |
//! | `overlay` | layers on one another, or copies where the kernel makes no overlays |
//! | `changes` | what is different above the layers |
//! | `remove` | the end of a tree, however deep it is |
#![forbid(unsafe_code)]

mod apply;
mod changes;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod holes;
mod namespace;
mod overlay;
mod pack;
mod remove;

pub use apply::{Apply, Whiteouts, is_archive, size_of};
pub use changes::{Change, changes};
pub use error::{Error, Result};
pub use holes::Holes;
pub use namespace::in_mount_namespace;
pub use overlay::{Lower, is_possible, mount, mount_at};
pub use pack::{Pack, Source, transfer};
pub use remove::remove;

use std::ffi::CString;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat};
use nix::unistd::{Gid, Uid, fchownat};
use runtime::path::{Missing, make_one, open_in_root};

/// The longest file that is read as a whole, such as /etc/passwd of an image.
const MAX_TEXT: u64 = 1 << 20;

/// How many links one path may lead through.
const MOST_LINKS: usize = 40;

/// The root of a tree.
#[derive(Debug)]
pub struct Root(OwnedFd, Option<Arc<OwnedFd>>);

impl Root {
    /// The tree below a directory of the host.
    ///
    /// # Errors
    /// With the path.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        nix::fcntl::open(path, flags, Mode::empty()).map(Self::new).map_err(Error::at("open", path))
    }

    /// The tree of a mount or directory that is open.
    pub fn new(fd: OwnedFd) -> Self {
        Self(fd, None)
    }

    /// The same, in a mount namespace that is there as long as this.
    #[must_use]
    pub fn within(self, namespace: OwnedFd) -> Self {
        Self(self.0, Some(Arc::new(namespace)))
    }

    /// The tree below a directory inside.
    ///
    /// # Errors
    /// The errno of openat2(2).
    pub fn below(&self, path: &Path) -> nix::Result<Self> {
        Ok(Self(self.folder(path)?, self.1.clone()))
    }

    /// Opens a path inside.
    ///
    /// # Errors
    /// The errno of openat2(2).
    pub fn get(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
        open_in_root(self.0.as_fd(), &path, flags.bits())
    }

    /// Opens a directory inside, for what is below it.
    ///
    /// # Errors
    /// The errno of openat2(2).
    pub fn folder(&self, path: &Path) -> nix::Result<OwnedFd> {
        self.get(path, OFlag::O_PATH | OFlag::O_DIRECTORY)
    }

    /// Opens a directory inside, which is not behind a link, to read what is in it.
    ///
    /// # Errors
    /// The errno of openat2(2).
    pub fn list(&self, path: &Path) -> nix::Result<OwnedFd> {
        self.get(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW)
    }

    /// What a path inside is, and not what it leads to.
    ///
    /// # Errors
    /// The errno of openat2(2).
    pub fn stat(&self, path: &Path) -> nix::Result<FileStat> {
        self.look(path).map(|(_, stat)| stat)
    }

    /// The same, and a descriptor of it, which is not opened for reading.
    ///
    /// # Errors
    /// The errno of openat2(2).
    pub fn look(&self, path: &Path) -> nix::Result<(OwnedFd, FileStat)> {
        let file = self.get(path, OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
        let stat = fstat(file.as_fd())?;
        Ok((file, stat))
    }

    /// Where a link inside leads to.
    ///
    /// # Errors
    /// The errno of openat2(2), or `EINVAL` and `ENOENT` for what is no link.
    pub fn link(&self, path: &Path) -> nix::Result<PathBuf> {
        readlinkat(self.get(path, OFlag::O_PATH | OFlag::O_NOFOLLOW)?, "").map(PathBuf::from)
    }

    /// Where a path leads to behind the links in it, whether that is there or not.
    ///
    /// # Errors
    /// `ELOOP` for more links than the kernel follows.
    pub fn resolve(&self, path: &Path) -> nix::Result<PathBuf> {
        let parts = |path: &Path| path.iter().rev().map(PathBuf::from).collect::<Vec<_>>();
        let (mut found, mut rest, mut links) = (PathBuf::new(), parts(path), 0);
        while let Some(part) = rest.pop() {
            // It is free of links, and may be taken as text.
            found = match part.is_absolute() {
                true => PathBuf::new(),
                false => clean(&found.join(part)),
            };
            if let Ok(target) = self.link(&found) {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::ELOOP);
                }
                found.pop();
                rest.extend(parts(&target));
            }
        }
        Ok(found)
    }

    /// Makes a directory and those above it, which then belong to `owner`, and opens it. Existing ones and links to them
    /// are followed.
    ///
    /// # Errors
    /// The errno of what failed.
    pub fn make_dirs(&self, path: &Path, owner: Option<(u32, u32)>) -> nix::Result<OwnedFd> {
        match self.folder(path) {
            Err(Errno::ENOENT) => {}
            other => return other,
        }
        let clean = clean(path);
        let (Some(above), Some(name)) = (clean.parent(), clean.file_name()) else {
            return Err(Errno::ENOENT);
        };
        let above = self.make_dirs(above, owner)?;
        let made = match make_one(above.as_fd(), name, Missing::Directory) {
            Err(Errno::EEXIST) => self.folder(&clean)?,
            other => other?,
        };
        if let Some((uid, gid)) = owner {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            fchownat(&made, "", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH)?;
        }
        Ok(made)
    }

    /// Opens a file for reading. What is none, such as a device or a pipe, is not even opened.
    ///
    /// # Errors
    /// The errno of what failed; `EINVAL` for what is no file.
    pub fn file(&self, path: &Path) -> io::Result<File> {
        let fd = self.get(path, OFlag::O_PATH)?;
        if !is_kind(&fstat(fd.as_fd())?, libc::S_IFREG) {
            return Err(Errno::EINVAL.into());
        }
        File::open(by_descriptor(&fd))
    }

    /// Reads a file of modest size; `None` when there is none.
    ///
    /// # Errors
    /// With the path.
    pub fn text(&self, path: &str) -> Result<Option<String>> {
        let file = match self.file(Path::new(path)) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            other => other.map_err(Error::at("open in the image", path))?,
        };
        let mut bytes = Vec::new();
        let failed = Error::at("read in the image", path);
        file.take(MAX_TEXT).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// How many folders may lie in one another: a tree is gone through with some stack and descriptors for each.
const DEEPEST: usize = 256;

/// Refuses what lies too deep.
fn within_reach(path: &Path) -> io::Result<()> {
    match path.components().count() > DEEPEST {
        true => Err(io::Error::other(format!("it is more than {DEEPEST} folders deep"))),
        false => Ok(()),
    }
}

/// The path by which calls without a descriptor variant reach an open file.
pub fn by_descriptor(fd: &impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

/// A path without `..`, `.` and leading slashes: as it is seen from the root of a tree whose links are not looked at.
pub fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    clean
}

/// Whether a stat is of this kind of file (`S_IF…`).
pub fn is_kind(stat: &FileStat, kind: libc::mode_t) -> bool {
    stat.st_mode & libc::S_IFMT == kind
}
