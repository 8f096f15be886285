//! The directory of the container in which mount points and nodes are made one after the other: as a rule `/dev`.

use crate::path::{self, Missing};
use crate::sys::Errno;
use crate::sys::fd::{self, LazyFd};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The directory in which mount points were made last, as long as nothing was mounted since but on those: who opened it
/// again would find the same one.
#[derive(Debug, Default)]
pub struct Fresh(Option<Kept>);

#[derive(Debug)]
struct Kept {
    /// Its path in the container, with a slash behind.
    path: OsString,
    fd: LazyFd,
    /// It is a file system that was made here, and that nobody else can reach: a name in it leads to what it was given to.
    ours: bool,
    /// This process is in it.
    entered: bool,
}

/// A mount point that was not there.
#[derive(Debug)]
pub enum Point {
    /// A descriptor of it.
    Open(LazyFd),
    /// Its name in the directory that this process has entered.
    Named(CString),
}

impl Point {
    /// A descriptor of it.
    ///
    /// # Errors
    /// The errno of openat(2).
    pub fn open(self) -> Result<LazyFd, Errno> {
        match self {
            Self::Open(fd) => Ok(fd),
            Self::Named(name) => {
                let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
                openat(fd::cwd(), name.as_c_str(), flags, Mode::empty()).map(LazyFd::from)
            }
        }
    }
}

impl Fresh {
    /// Keeps the root of a file system that was just made and mounted at `destination`; `alone`: in a mount namespace that
    /// nobody else is in.
    pub fn mounted(&mut self, destination: &OsStr, fd: LazyFd, alone: bool) {
        let mut path = destination.to_owned();
        path.push("/");
        self.0 = Some(Kept { path, fd, ours: alone, entered: false });
    }

    /// Something was mounted at `destination`, which was reached through no link where it is `certain`.
    pub fn others(&mut self, destination: &OsStr, certain: bool) {
        let destination = Path::new(destination);
        let elsewhere = |kept: &Kept| !Path::new(&kept.path).starts_with(destination);
        self.0 = self.0.take().filter(|kept| certain && elsewhere(kept));
        if let Some(kept) = &mut self.0 {
            kept.entered = false;
        }
    }

    /// Gives the directory at `path`, which ends with a slash, away, and says whether it is one that nobody else can reach.
    ///
    /// # Errors
    /// The errno of the lookup.
    pub fn take(&mut self, root: BorrowedFd<'_>, path: &OsStr) -> Result<(LazyFd, bool), Errno> {
        self.kept(root, path).map(|kept| (kept.fd, kept.ours))
    }

    fn kept(&mut self, root: BorrowedFd<'_>, path: &OsStr) -> Result<Kept, Errno> {
        match self.0.take().filter(|kept| kept.path == path) {
            Some(kept) => Ok(kept),
            None => {
                let fd = path::resolve(root, path, Missing::Directory)?.into();
                Ok(Kept { path: path.to_owned(), fd, ours: false, entered: false })
            }
        }
    }

    /// Makes a mount point that is not there.
    ///
    /// # Errors
    /// The errno of the call: `EEXIST` where there is something.
    pub fn point(&mut self, root: BorrowedFd<'_>, destination: &OsStr) -> Result<Point, Errno> {
        let (path, name) = path::split_last(destination).ok_or(Errno::ENOENT)?;
        let mut kept = self.kept(root, path)?;
        if !kept.ours {
            let made = path::make_one(kept.fd.as_fd(), name, Missing::Directory);
            self.0 = Some(kept);
            return made.map(|fd| Point::Open(fd.into()));
        }
        if !kept.entered {
            nix::unistd::fchdir(&kept.fd)?;
            kept.entered = true;
        }
        let made = mkdirat(&kept.fd, name, Mode::from_bits_truncate(0o755));
        self.0 = Some(kept);
        made?;
        CString::new(name.as_bytes()).map(Point::Named).map_err(|_| Errno::EINVAL)
    }
}
