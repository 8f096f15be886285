//! Checkpoint and restore: a container's processes on disk and back, by criu (<https://criu.org>).
//!
//! Owns what criu is told, the files beside its images, and what happens on its way: hooks, terminals, the state record.
//! The processes, their memory and their mounts are criu's own work.
//!
//! | part | what it does |
//! |---|---|
//! | `options` | what a user can ask for, and the message it becomes |
//! | `images` | the directories of images and logs, by descriptor; `descriptors.json` |
//! | `externals` | what lies in a container but belongs to the host: bind mounts, masks, devices |
//! | `dump`, `restore` | the two commands, step by step |
//! | `staging`, `view` | where criu finds what it restores from: a mount namespace of its own |
//! | `swrk`, `message` | criu as a child process, and its protocol |
//!
//! Must never: give criu a name that somebody else chose as the key of something (CVE-2026-119101: a mount point named
//! `]:` led to a mount of anything); write through a link in an image directory, which whoever made the images filled.

pub mod dump;
mod externals;
mod images;
mod message;
mod options;
mod restore;
mod staging;
mod swrk;
mod view;

pub use dump::dump;
pub use images::Images;
pub use options::{CONFIG, CgroupMode, NetworkLock, Options};
pub use restore::{Restored, Wish, restore};

use crate::parent;
use crate::plan::PlanError;
use crate::state::StateError;
use crate::{cgroup, spec};
use message::Kind;

/// criu calls it an error that it may not raise its limit of descriptors, and goes on.
const HARMLESS: &str = "rlimit: ";

/// Why a container could not be saved or restored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A step of this program failed.
    #[error(transparent)]
    Host(#[from] parent::Error),
    /// There is no criu.
    #[error("criu is needed for this: exec: \"criu\": executable file not found in $PATH")]
    NoCriu,
    /// criu says no.
    #[error(
        "criu failed: type {} errno {errno}{}", kind.name(),
        if message.is_empty() { String::new() } else { format!(": {message}") }
    )]
    Refused {
        /// What it was at.
        kind: Kind,
        /// The kernel's reason, if there was one; 0 if not.
        errno: i32,
        /// Its own reason.
        message: String,
    },
    /// criu ended without an answer.
    #[error("criu failed: {how}{}", if errors.is_empty() { String::new() } else { format!(": {errors}") })]
    Ended {
        /// How.
        how: String,
        /// What it wrote last.
        errors: String,
    },
    /// criu or the kernel lacks something.
    #[error("criu is missing features: {what}: {why}")]
    Missing {
        /// What is missing.
        what: &'static str,
        /// What cannot be done without.
        why: &'static str,
    },
    /// With what criu's log says.
    #[error("{error}{}; log file: {log}", if line.is_empty() { String::new() } else { format!("; its log says {line:?}") })]
    Logged {
        /// What went wrong.
        error: Box<Error>,
        /// The last error in the log.
        line: String,
        /// The log.
        log: String,
    },
    /// Everything else.
    #[error("{0}")]
    Other(String),
}

/// The result of a step.
pub type Result<T> = std::result::Result<T, Error>;

impl From<StateError> for Error {
    fn from(error: StateError) -> Self {
        Self::Host(error.into())
    }
}

impl From<cgroup::Error> for Error {
    fn from(error: cgroup::Error) -> Self {
        Self::Host(error.into())
    }
}

impl From<PlanError> for Error {
    fn from(error: PlanError) -> Self {
        Self::Host(error.into())
    }
}

impl From<spec::LoadError> for Error {
    fn from(error: spec::LoadError) -> Self {
        Self::Host(error.into())
    }
}
