//! What can go wrong around the cases. A case that fails is a result, not an error.

use std::path::{Path, PathBuf};

/// Why the suites could not be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file or folder refused an operation.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A program could not be started, or failed where it may not.
    #[error("{program}: {message}")]
    Program {
        /// The program.
        program: String,
        /// Its error.
        message: String,
    },
    /// A file of ours does not have the form it should have.
    #[error("{}: {message}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The command line asks for what cannot be.
    #[error("{0}")]
    Usage(String),
}

/// The result of everything that is not a case.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Name the operation and the path of an I/O error.
pub(crate) trait At<T> {
    /// Turn an I/O error into ours.
    fn at(self, operation: &'static str, path: &Path) -> Result<T>;
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, operation: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io { operation, path: path.to_owned(), source })
    }
}
