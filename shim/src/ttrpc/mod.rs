//! ttrpc: the protocol between containerd and its shims, and from shims back to containerd.
//!
//! A [frame] is a ten-byte header and a message; a call is one request frame and one response frame with the
//! same stream number. Only unary calls exist in the task API, so streams of data frames are refused,
//! clearly. Source: <https://github.com/containerd/ttrpc/blob/main/PROTOCOL.md>.

pub mod client;
pub mod frame;
pub mod server;
mod status;

pub use client::Client;
pub use server::{Call, Service};
pub use status::{Code, Status};
