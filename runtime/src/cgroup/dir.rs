//! One directory of a cgroup filesystem: reading and writing the small files in it.

use super::error::{Error, Result};
use crate::sys::Errno;
use crate::sys::fd::{LazyFd, read_short, read_until};
use nix::fcntl::{AT_FDCWD, OFlag, open, openat};
use nix::sys::stat::Mode;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A directory of a cgroup filesystem, by path, and by descriptor where one is open.
#[derive(Debug)]
pub(super) struct Dir {
    path: String,
    fd: Option<LazyFd>,
}

impl Dir {
    /// A directory that is reached by its path each time.
    pub(super) fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), fd: None }
    }

    /// Opens the directory, so that it stays the same one and can be cloned into.
    pub(super) fn pin(&mut self) -> std::result::Result<(), Errno> {
        if self.fd.is_none() {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            self.fd = Some(open(self.path.as_str(), flags, Mode::empty())?.into());
        }
        Ok(())
    }

    /// The descriptor, after [`Dir::pin`].
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The path of a file in it, for messages.
    pub(super) fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    /// Opens a file in it.
    pub(super) fn open(&self, name: &str, flags: OFlag) -> std::result::Result<OwnedFd, Errno> {
        let flags = flags | OFlag::O_CLOEXEC;
        match &self.fd {
            Some(fd) => openat(fd, name, flags, Mode::empty()),
            None => openat(AT_FDCWD, self.file(name).as_str(), flags, Mode::empty()),
        }
    }

    /// Writes a value in one write(2), as cgroup files want it.
    pub(super) fn write(&self, name: &str, value: &str) -> std::result::Result<(), Errno> {
        let fd = LazyFd::from(self.open(name, OFlag::O_WRONLY)?);
        write_once(fd.as_fd(), value)
    }

    /// Reads a file that has one record: a value, a state.
    pub(super) fn read_value(&self, name: &str) -> std::result::Result<String, Errno> {
        let fd = LazyFd::from(self.open(name, OFlag::O_RDONLY)?);
        // Enough for any list of processors.
        let mut buffer = [0u8; 4096];
        let length = read_retry(fd.as_fd(), &mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned())
    }

    /// Reads a file of one record of any length, which the kernel tells at once as far as there is room (`single_open` of
    /// seq_file(9)): one that leaves room is whole.
    pub(super) fn read_record(&self, name: &str) -> std::result::Result<String, Errno> {
        let fd = LazyFd::from(self.open(name, OFlag::O_RDONLY)?);
        read_short(fd.as_fd()).map(text)
    }

    /// Reads a whole file.
    pub(super) fn read(&self, name: &str) -> std::result::Result<String, Errno> {
        let fd = LazyFd::from(self.open(name, OFlag::O_RDONLY)?);
        read_all(fd.as_fd())
    }

    /// A number in a file; `max` is `u64::MAX`. v1 files hold `-1` for it in places.
    pub(super) fn number(&self, name: &str) -> Result<u64> {
        let text = self.read_value(name).map_err(|errno| self.error("read", name, errno))?;
        parse_number(&text).ok_or_else(|| Error::Content { path: self.file(name), content: text })
    }

    /// As [`Dir::number`]; `None` when there is no such file.
    pub(super) fn optional_number(&self, name: &str) -> Result<Option<u64>> {
        match self.number(name) {
            Ok(value) => Ok(Some(value)),
            Err(error) if absent(error.errno()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// As [`Dir::read`]; `None` when there is no such file.
    pub(super) fn optional(&self, name: &str) -> Result<Option<String>> {
        match self.read(name) {
            Ok(text) => Ok(Some(text)),
            Err(errno) if absent(Some(errno)) => Ok(None),
            Err(errno) => Err(self.error("read", name, errno)),
        }
    }

    /// The names of the cgroups in it. Who may make some there may give them names that are no text.
    fn names(&self) -> std::result::Result<Vec<CString>, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let mut names = Vec::new();
        for entry in nix::dir::Dir::from_fd(self.open(".", flags)?)?.iter() {
            let entry = entry?;
            let name = entry.file_name();
            if entry.file_type() == Some(nix::dir::Type::Directory) && name != c"." && name != c".." {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// The cgroup of that name in it, by descriptor.
    fn below(&self, name: &CStr) -> std::result::Result<Self, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = match &self.fd {
            Some(fd) => openat(fd, name, flags, Mode::empty())?,
            None => return Err(Errno::EBADF),
        };
        Ok(Self { path: String::new(), fd: Some(fd.into()) })
    }

    /// Visits this cgroup and all below it, and leaves those below it, each after what is below that: with the one above
    /// it, and its name there. One descriptor is open at a time, and no path is longer than a name: a container that may make
    /// cgroups may make them as deep as it likes. What is gone by then has nothing below it.
    ///
    /// # Errors
    /// What `visit` or `leave` says; a cgroup that cannot be opened.
    pub(super) fn walk(
        &self,
        visit: &mut dyn FnMut(&Self) -> std::result::Result<(), Errno>,
        leave: &mut dyn FnMut(BorrowedFd<'_>, &CStr) -> std::result::Result<(), Errno>,
    ) -> std::result::Result<(), Errno> {
        let names = |dir: &Self| match dir.names() {
            Err(errno) if absent(Some(errno)) => Ok(Vec::new()),
            names => names,
        };
        let mut here = match self.open(".", OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            Err(errno) if absent(Some(errno)) => return Ok(()),
            fd => Self { path: String::new(), fd: Some(fd?.into()) },
        };
        visit(&here)?;
        let mut left = names(&here)?;
        let mut above: Vec<(CString, Vec<CString>)> = Vec::new();
        loop {
            if let Some(name) = left.pop() {
                match here.below(&name) {
                    Err(errno) if absent(Some(errno)) => continue,
                    next => here = next?,
                }
                visit(&here)?;
                above.push((name, std::mem::replace(&mut left, names(&here)?)));
            } else if let Some((name, others)) = above.pop() {
                here = here.below(c"..")?;
                leave(here.fd().ok_or(Errno::EBADF)?, &name)?;
                left = others;
            } else {
                return Ok(());
            }
        }
    }

    /// An error about a file in it.
    pub(super) fn error(&self, operation: &'static str, name: &str, errno: Errno) -> Error {
        Error::Io { operation, path: self.file(name), errno }
    }
}

/// Whether an errno says that a file, or the whole cgroup, is not there.
pub(super) fn absent(errno: Option<Errno>) -> bool {
    matches!(errno, Some(Errno::ENOENT | Errno::ENODEV))
}

/// The number a cgroup file holds; `max` and `-1` are `u64::MAX`.
pub(super) fn parse_number(text: &str) -> Option<u64> {
    match text.trim() {
        "max" | "-1" => Some(u64::MAX),
        text => text.parse().ok(),
    }
}

/// One write(2), repeated only when a signal interrupted it: lowering a memory limit can take long.
pub(super) fn write_once(fd: BorrowedFd<'_>, value: &str) -> std::result::Result<(), Errno> {
    loop {
        match nix::unistd::write(fd, value.as_bytes()) {
            Err(Errno::EINTR) => {}
            Ok(written) if written < value.len() => return Err(Errno::EIO),
            result => return result.map(drop),
        }
    }
}

/// Everything that is left to read.
pub(super) fn read_all(fd: BorrowedFd<'_>) -> std::result::Result<String, Errno> {
    read_until(fd, 4096, usize::MAX, |_, _| false).map(text)
}

/// What was read, as text.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn read_retry(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> std::result::Result<usize, Errno> {
    loop {
        match nix::unistd::read(fd, buffer) {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}
