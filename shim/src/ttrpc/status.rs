//! How a call fails: a gRPC status code and a message. Callers branch on the code and people read the
//! message.

use crate::proto::rpc;

/// The gRPC status codes that this protocol's callers know. Values are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    /// An error without a more precise code, such as the runtime's own.
    Unknown = 2,
    /// The request is malformed or contradicts itself.
    InvalidArgument = 3,
    /// The operation took longer than it may.
    DeadlineExceeded = 4,
    /// No such container or process, or it has ended already.
    NotFound = 5,
    /// The identifier is taken.
    AlreadyExists = 6,
    /// A message is larger than the protocol allows.
    ResourceExhausted = 8,
    /// The container or process is not in a state for this.
    FailedPrecondition = 9,
    /// No such service or method, or not one that this host supports.
    Unimplemented = 12,
    /// The peer is not ready, or gone.
    Unavailable = 14,
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// What callers branch on.
    pub code: Code,
    /// What people read.
    pub message: String,
}

impl Status {
    /// A status with the given code and message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// [`Code::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, message)
    }

    /// [`Code::FailedPrecondition`].
    pub fn failed_precondition(message: impl Into<String>) -> Self {
        Self::new(Code::FailedPrecondition, message)
    }

    /// [`Code::InvalidArgument`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// [`Code::Unknown`].
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::new(Code::Unknown, message)
    }

    /// The message that goes over the wire.
    pub fn to_wire(&self) -> rpc::Status {
        rpc::Status { code: self.code as i32, message: self.message.clone() }
    }
}
