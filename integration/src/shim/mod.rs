//! Harness for tests of the containerd shim. Without containerd ([`Pod`]) it starts a shim as containerd does,
//! speaks ttrpc to it, takes its events, and can go away like a daemon that is killed; with real engines
//! ([`engine::Engine`]), which `cortend` is one of, it does what their users do. [`weakened`] shows that the
//! tests would notice a fault.
//!
//! The protocol is coded here a second time, from its description, so that the shim's coding cannot agree
//! with itself alone.
//!
//! `SHIM=/path` puts another shim in Corten's place, `SHIM_RUNTIME=name` makes it use a certain OCI runtime.

pub mod client;
pub mod delay;
pub mod engine;
pub mod fifo;
pub mod held;
pub mod pod;
pub mod said;
pub mod sink;
pub mod weakened;
pub mod wire;

pub use client::{Client, Failure};
pub use delay::Delay;
pub use fifo::{Output, Stdio};
pub use held::Held;
pub use pod::{Container, Pod};
pub use said::Said;
pub use sink::{Event, Sink};
