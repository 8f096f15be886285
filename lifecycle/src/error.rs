//! One error for the whole engine: what kind it is decides the HTTP status, and the text is what the user reads.
//!
//! The texts are those of dockerd where clients are known to look at them.

use std::fmt;
use std::io;
use std::path::Path;

/// What went wrong, in the words of the API: each is the status of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// It is so already; this answer has no text.
    NotModified = 304,
    /// The request makes no sense.
    Invalid = 400,
    /// Name or password are wrong.
    Unauthorized = 401,
    /// Not allowed.
    Forbidden = 403,
    /// There is no such thing.
    NotFound = 404,
    /// It is in a state in which this cannot be done.
    Conflict = 409,
    /// It failed.
    Internal = 500,
    /// It is not offered.
    NotImplemented = 501,
    /// It is not possible now.
    Unavailable = 503,
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

macro_rules! internal {
    ($($source:ty)*) => {
        $(impl From<$source> for Error {
            fn from(error: $source) -> Self {
                Self::internal(error)
            }
        })*
    };
}

// What is passed on without more words.
internal! { io::Error nix::errno::Errno serde_json::Error }

impl From<tree::Error> for Error {
    fn from(error: tree::Error) -> Self {
        match error {
            tree::Error::Archive(_) => Self::invalid(error),
            other => Self::internal(other),
        }
    }
}

impl From<tokio::task::JoinError> for Error {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::internal(format!("a task of the engine broke off: {error}"))
    }
}

/// An [`Error`] of a kind, with a text as `format!` has it: `error!(invalid, "no such thing: {name}")`.
macro_rules! error {
    ($kind:ident, $($text:tt)+) => { $crate::error::Error::$kind(format!($($text)+)) };
}

/// Returns with such an error.
macro_rules! bail {
    ($kind:ident, $($text:tt)+) => { return Err($crate::error::error!($kind, $($text)+)) };
}

pub(crate) use {bail, error};
