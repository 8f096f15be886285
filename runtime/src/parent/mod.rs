//! The host's half of a `create` and of an `exec`.
//!
//! A list of steps in execution order. Owns what the container's process must not hold: state directory, control
//! groups, id maps, hooks of the runtime. What fails is undone in reverse order: nothing half-made is left.

pub mod agent;
pub mod cgroups;
pub mod create;
pub mod error;
pub mod exec;
pub mod foreground;
pub mod idmap;
pub mod live_mounts;
pub mod net_devices;
pub mod note;
pub mod notify;
pub mod output;
pub mod record;
pub mod resctrl;
pub mod seal;
pub mod sources;
pub mod spawn;
pub mod start;
pub mod undo;

pub use create::{Created, create};
pub use error::{Error, Result};
