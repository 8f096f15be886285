//! The task API as its caller sees it: shims are started, asked, and reconnected to. A container has a shim of its
//! own, which is its processes' parent and outlives this program.

mod client;
mod events;
mod shim;

pub use client::{Call, CallError, call, has_ended, is_ours};
pub use events::listen;
pub use shim::{NAMESPACE, clean_up, find, start};
