//! What is noted of a container while it is made, for whoever has to clean up after a runtime that was killed.

use super::{RECORD, Record, Result, StateError, to_json};
use crate::sys::fd::LazyFd;
use std::fs;
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

    /// Notes the record of the container that is made now: what was noted becomes its `state.json`.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn finish(&self, record: &Record) -> Result<()> {
        self.note(record)?;
        let path = self.path.with_file_name(RECORD);
        fs::rename(&self.path, &path).map_err(|source| StateError::Io {
            operation: "rename to",
            path,
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
