//! What is noted of a container while it is made, for whoever has to clean up after a runtime that was killed.

use super::{Record, Result, StateError, to_json};
use crate::sys::fd::LazyFd;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

/// What is noted of a container while it is made: each line is whole, and the last record counts.
#[derive(Debug)]
pub struct Journal {
    pub(super) path: PathBuf,
    pub(super) file: LazyFd,
}

impl Journal {
    /// Notes a record.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn note(&self, record: &Record) -> Result<()> {
        let mut line = to_json(&self.path, record)?;
        line.push(b'\n');
        (&self.file).write_all(&line).map_err(|source| StateError::Io {
            operation: "write",
            path: self.path.clone(),
            source,
        })
    }
}

impl AsFd for Journal {
    /// For directories of control groups, a line each.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
