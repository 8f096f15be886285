//! One error for the whole engine: what kind it is decides the HTTP status, and the text is what the user reads.
//!
//! The texts are those of dockerd where clients are known to look at them.

use std::fmt;
use std::io;
use std::path::Path;

/// What went wrong, in the words of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request makes no sense (400).
    Invalid,
    /// Name or password are wrong (401).
    Unauthorized,
    /// Not allowed (403).
    Forbidden,
    /// There is no such thing (404).
    NotFound,
    /// It is in a state in which this cannot be done (409).
    Conflict,
    /// It is so already (304, without a text).
    NotModified,
    /// It failed (500).
    Internal,
    /// It is not offered (501).
    NotImplemented,
    /// It is not possible now (503).
    Unavailable,
}

impl Kind {
    /// The status of the answer.
    pub fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::NotModified => 304,
            Self::Internal => 500,
            Self::NotImplemented => 501,
            Self::Unavailable => 503,
        }
    }
}

/// An operation that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What kind of failure it is.
    pub kind: Kind,
    /// What the user reads.
    pub message: String,
}

/// The result of nearly everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident $kind:ident)*) => {
        impl Error {
            $($(#[$doc])* pub fn $name(message: impl fmt::Display) -> Self {
                Self { kind: Kind::$kind, message: message.to_string() }
            })*
        }
    };
}

constructors! {
    /// The request makes no sense.
    invalid Invalid
    /// Not allowed.
    forbidden Forbidden
    /// There is no such thing.
    not_found NotFound
    /// It is in a state in which this cannot be done.
    conflict Conflict
    /// It failed.
    internal Internal
    /// It is not offered.
    not_implemented NotImplemented
    /// It is not possible now.
    unavailable Unavailable
}

impl Error {
    /// It is so already.
    pub fn not_modified() -> Self {
        Self { kind: Kind::NotModified, message: String::new() }
    }

    /// For `map_err` of an operation on a path.
    pub fn at<E: fmt::Display>(step: &'static str, path: impl AsRef<Path>) -> impl FnOnce(E) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::internal(format!("{step} {}: {source}", path.display()))
    }

    /// For `map_err` of a step without a path.
    pub fn step<E: fmt::Display>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::internal(format!("{step}: {source}"))
    }

    /// The same failure with words before it.
    #[must_use]
    pub fn context(self, words: impl fmt::Display) -> Self {
        Self { kind: self.kind, message: format!("{words}: {}", self.message) }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::internal(error)
    }
}

impl From<nix::errno::Errno> for Error {
    fn from(error: nix::errno::Errno) -> Self {
        Self::internal(error)
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::internal(error)
    }
}

impl From<tokio::task::JoinError> for Error {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::internal(format!("a task of the engine broke off: {error}"))
    }
}
