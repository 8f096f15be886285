//! What goes wrong with trees, archives and overlays.

use std::io;
use std::path::{Path, PathBuf};

/// An operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something about a path.
    #[error("{step} {}: {source}", path.display())]
    At {
        /// What was done.
        step: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What is read is no archive, or has no end.
    #[error("read the archive: {0}")]
    Archive(io::Error),
    /// Nobody takes what is written.
    #[error("write the archive: {0}")]
    Write(io::Error),
    /// The kernel does not make this overlay.
    #[error("mount the container's file system: {0}")]
    Mount(io::Error),
}

/// The result of what is done with a tree.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// For `map_err` of an operation on a path.
    pub(crate) fn at<E: Into<io::Error>>(
        step: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::At { step, path, source: source.into() }
    }
}
