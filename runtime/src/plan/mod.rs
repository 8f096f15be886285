//! What will be done, decided before anything is done.
//!
//! The only validator: turns [`crate::spec`] and the command line into enums, bit sets and laid-out strings. After it,
//! nothing can be invalid any more, only refused by the kernel. Reads nothing but its arguments (the rare host fact
//! is passed in), so that every rule is a table in a test. Problems name their JSON path.

pub mod annotations;
pub mod capabilities;
pub mod container;
pub mod cpuset;
pub mod devices;
pub mod environment;
pub mod hooks;
pub mod identity;
pub mod mounts;
pub mod namespaces;
pub mod options;
pub mod process;
pub mod rlimits;
pub mod scheduling;
pub mod sysctl;

pub use container::{Plan, RootPlan};
pub use process::ProcessPlan;

use std::ffi::CString;
use std::fmt::Display;

/// Why a configuration cannot be carried out.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlanError {
    /// A value that means nothing, or not here.
    #[error("{path}: {problem}")]
    Field {
        /// Where in config.json, e.g. `process.rlimits[2].type`.
        path: String,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// A seccomp profile that cannot be compiled; the text starts with its JSON path.
    #[error("{0}")]
    Seccomp(String),
}

impl PlanError {
    /// A problem with the field at `path`.
    pub fn at(path: impl Display, problem: impl Into<String>) -> Self {
        Self::Field { path: path.to_string(), problem: problem.into() }
    }
}

/// The result of a planning step.
pub type Result<T> = std::result::Result<T, PlanError>;

/// Facts of this host and this process that decide what can be planned.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// The capabilities that this process may hand on: its permitted set.
    pub grantable: u64,
    /// The number of the last capability that the kernel knows.
    pub last_capability: u32,
    /// Whether this process lacks privilege over the host: another user than root, or root of a user namespace.
    pub rootless: bool,
    /// Whether SELinux is enabled; where it is not, a mount label means nothing. Only asked where there is one.
    pub selinux: fn() -> bool,
}

/// A string for a system call; one with a NUL byte inside cannot be passed.
pub(crate) fn c_string(path: impl Display, text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| PlanError::at(path, format!("{text:?} contains a NUL character")))
}

/// The position of `name` in a table of names and values.
pub(crate) fn lookup<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

/// The names of a table, for a message that says what was expected.
pub(crate) fn names<T>(table: &[(&str, T)]) -> String {
    table.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}
