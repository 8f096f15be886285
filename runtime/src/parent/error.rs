//! What can go wrong on the host's half, each as one sentence for the user.

use crate::plan::PlanError;
use crate::spec::LoadError;
use crate::state::StateError;
use crate::sys::{Errno, reason};
use crate::wire::Failure;
use crate::{cgroup, sys};
use std::path::PathBuf;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A JSON file cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// config.json asks for something that cannot be.
    #[error("config.json: {0}")]
    Plan(#[from] PlanError),
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// Control groups cannot be made or changed.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// A step in the container failed.
    #[error("{}", .0.text)]
    Step(Failure),
    /// A system call failed.
    #[error("{what}: {}", reason(*.errno))]
    System {
        /// What was being done.
        what: String,
        /// The kernel's reason.
        errno: Errno,
    },
    /// A file could not be used.
    #[error("{what} {}: {}", path.display(), reason(sys::errno_of(source)))]
    File {
        /// What was done to it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// Everything else.
    #[error("{0}")]
    Other(String),
}

/// The result of a step on the host.
pub type Result<T> = std::result::Result<T, Error>;

/// Turns the kernel's errno into an error that says what was being done.
pub trait OrError<T> {
    /// `what` is what was done; the reason is added.
    ///
    /// # Errors
    /// The error, when there is one.
    fn or_error(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> OrError<T> for std::result::Result<T, Errno> {
    fn or_error(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|errno| Error::System { what: what(), errno })
    }
}

/// An error about a file.
pub fn file_error(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.into();
    move |source| Error::File { what, path, source }
}
