//! What can go wrong with control groups, in one line each: the field, its value, the file, the kernel's reason.

use crate::sys::{Errno, reason};

/// The result of an operation on control groups.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a control group could not be made, limited, asked or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a limit.
    #[error("{field}: {value}: write {path}: {}{hint}", reason(*errno))]
    Limit {
        /// The field of config.json, such as `linux.resources.memory.limit`.
        field: String,
        /// Its value, as asked for.
        value: String,
        /// The file written.
        path: String,
        /// The kernel's reason.
        errno: Errno,
        /// What else is known, with its leading blank; often empty.
        hint: String,
    },
    /// A limit needs a controller that this cgroup has not.
    #[error("{field}: {value}: the {controller} controller is not available in {path}{why}")]
    NoController {
        /// The field of config.json.
        field: String,
        /// Its value, as asked for.
        value: String,
        /// The controller that it needs.
        controller: String,
        /// The cgroup.
        path: String,
        /// Why not, with its leading punctuation.
        why: String,
    },
    /// A value that means nothing on this kind of host, or contradicts another one.
    #[error("invalid configuration: {field}: {value}: {why}")]
    Invalid {
        /// The field of config.json.
        field: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// A cgroup could not be made or joined.
    #[error("unable to apply cgroup configuration: {operation} {path}: {}{hint}", reason(*errno))]
    Apply {
        /// What was done.
        operation: &'static str,
        /// To what.
        path: String,
        /// The kernel's reason.
        errno: Errno,
        /// What else is known, with its leading blank; often empty.
        hint: String,
    },
    /// Another operation on a file of a cgroup failed.
    #[error("{operation} {path}: {}", reason(*errno))]
    Io {
        /// What was done.
        operation: &'static str,
        /// To what.
        path: String,
        /// The kernel's reason.
        errno: Errno,
    },
    /// A file of a cgroup does not hold what the kernel documents.
    #[error("{path}: unexpected content {content:?}")]
    Content {
        /// The file.
        path: String,
        /// The line that could not be read.
        content: String,
    },
    /// A container asked for a cgroup in which processes run already.
    #[error("container's cgroup is not empty: {count} process(es) found in {path}")]
    NotEmpty {
        /// How many.
        count: usize,
        /// The cgroup.
        path: String,
    },
    /// A container asked for an existing cgroup that is frozen: its process would never start.
    #[error("container's cgroup unexpectedly frozen: {path}")]
    Frozen {
        /// The cgroup.
        path: String,
    },
    /// The kernel refused the device filter.
    #[error("linux.resources.devices: {operation} the filter of {path}: {}{log}", reason(*errno))]
    DeviceFilter {
        /// What was done.
        operation: &'static str,
        /// The cgroup.
        path: String,
        /// The kernel's reason.
        errno: Errno,
        /// What the verifier said, with its leading punctuation; often empty.
        log: String,
    },
    /// The container has no cgroup that could do this.
    #[error("cannot {what}: {why}")]
    Unsupported {
        /// What was asked for.
        what: &'static str,
        /// Why it cannot be.
        why: &'static str,
    },
    /// Processes did not go away in time.
    #[error("{path}: still in use after {seconds} s: {what}")]
    Busy {
        /// The cgroup.
        path: String,
        /// How long this waited.
        seconds: u64,
        /// What is in the way.
        what: String,
    },
    /// systemd, or the bus to it, refused.
    #[error(transparent)]
    Systemd(#[from] super::systemd::Error),
}

impl Error {
    /// The kernel's reason, where there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Limit { errno, .. }
            | Self::Apply { errno, .. }
            | Self::Io { errno, .. }
            | Self::DeviceFilter { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// The field of config.json that it is about, where it is about one.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Limit { field, .. } | Self::NoController { field, .. } | Self::Invalid { field, .. } => {
                Some(field)
            }
            Self::DeviceFilter { .. } => Some("linux.resources.devices"),
            Self::Systemd(error) => error.field(),
            _ => None,
        }
    }

    /// What is wrong, without the field and its value.
    pub fn problem(&self) -> String {
        match self {
            Self::Invalid { why, .. } => why.clone(),
            Self::NoController { controller, path, why, .. } => {
                format!("the {controller} controller is not available in {path}{why}")
            }
            error => error.to_string(),
        }
    }

    /// Whether the caller lacks the permission, in the wide sense: a read-only cgroupfs is one, too.
    pub(super) fn is_permission(&self) -> bool {
        matches!(self.errno(), Some(Errno::EPERM | Errno::EACCES | Errno::EROFS))
    }
}
