//! One error for the whole engine: what kind it is decides the HTTP status, and the text is what the user reads.
//!
//! The texts are those of dockerd where clients are known to look at them.

use std::fmt;
use std::io;
use std::path::Path;

pub use hyper::StatusCode;

/// An operation that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What kind of failure it is, in the words of the API.
    pub status: StatusCode,
    /// What the user reads.
    pub message: String,
    /// The exit status of the program that has failed, if it is to be told.
    pub code: Option<i64>,
}

/// The result of nearly everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident $status:ident)*) => {
        impl Error {
            $($(#[$doc])* pub fn $name(message: impl fmt::Display) -> Self {
                Self { status: StatusCode::$status, message: message.to_string(), code: None }
            })*
        }
    };
}

constructors! {
    /// The request makes no sense.
    invalid BAD_REQUEST
    /// Not allowed.
    forbidden FORBIDDEN
    /// There is no such thing.
    not_found NOT_FOUND
    /// It is in a state in which this cannot be done.
    conflict CONFLICT
    /// It failed.
    internal INTERNAL_SERVER_ERROR
    /// It is not offered.
    not_implemented NOT_IMPLEMENTED
    /// It is not possible now.
    unavailable SERVICE_UNAVAILABLE
}

impl Error {
    /// It is so already.
    pub fn not_modified() -> Self {
        Self { status: StatusCode::NOT_MODIFIED, ..Self::internal("") }
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
        Self { message: format!("{words}: {}", self.message), ..self }
    }
}

/// Whether it was done: not, when it has failed for the reason that it needs not be done.
///
/// # Errors
/// When it has failed for another reason.
pub fn unless(reason: StatusCode, done: Result<()>) -> Result<bool> {
    match done {
        Err(error) if error.status == reason => Ok(false),
        done => done.map(|()| true),
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
internal! { io::Error nix::errno::Errno serde_json::Error tokio::task::JoinError }

impl From<tree::Error> for Error {
    fn from(error: tree::Error) -> Self {
        match error {
            tree::Error::Archive(_) => Self::invalid(error),
            other => Self::internal(other),
        }
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

/// `ensure!(condition, kind, "text {}", value)`: leaves the function with an error unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $kind:ident, $($text:tt)+) => {
        if !$condition {
            $crate::error::bail!($kind, $($text)+)
        }
    };
}

pub(crate) use {bail, ensure, error};
