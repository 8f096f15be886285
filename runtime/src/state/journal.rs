//! What is noted of a container while it is made, for whoever has to clean up after a runtime that was killed.

use super::{Record, Result, StateError, to_json};
use crate::cgroup;
use crate::sys::Errno;
use crate::sys::fd::LazyFd;
use std::cell::RefCell;
use std::path::PathBuf;

/// What is noted of a container while it is made: each line is whole, and the last record counts.
#[derive(Debug)]
pub struct Journal {
    pub(super) path: PathBuf,
    pub(super) file: LazyFd,
    /// What is written with the next line: as yet nothing else was made.
    pub(super) pending: RefCell<Vec<u8>>,
}

impl Journal {
    /// Notes a record.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn note(&self, record: &Record) -> Result<()> {
        let mut line = to_json(&self.path, record)?;
        line.push(b'\n');
        self.write(&line).map_err(|errno| self.error(errno))
    }

    /// Has all that was noted be there, before something is made that is not told of it.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn flush(&self) -> Result<()> {
        let nothing_is_left = self.pending.borrow().is_empty();
        if nothing_is_left { Ok(()) } else { self.write(&[]).map_err(|errno| self.error(errno)) }
    }

    fn error(&self, errno: Errno) -> StateError {
        StateError::Io { operation: "write", path: self.path.clone(), source: errno.into() }
    }

    fn write(&self, lines: &[u8]) -> std::result::Result<(), Errno> {
        let mut bytes = self.pending.take();
        bytes.extend_from_slice(lines);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            match nix::unistd::write(&self.file, rest) {
                Ok(0) => return Err(Errno::EIO),
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

impl cgroup::Journal for Journal {
    /// For directories of control groups, a line each.
    fn append(&self, lines: &[u8]) -> std::result::Result<(), Errno> {
        self.write(lines)
    }
}
