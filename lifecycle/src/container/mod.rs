//! Containers: what is known of them, how they are made, started, watched, ended and removed.
//!
//! | file | what |
//! |---|---|
//! | `record` | what is written down |
//! | `settings`, `environment`, `log_options`, `mounts`, `user`, `spec` | from a request to a config.json |
//! | `create`, `start`, `stop`, `exit` | a container's life |
//! | `streams`, `exec`, `logs`, `health` | what goes in and comes out |
//! | `places`, `view` | its files, and what is mounted into them |

mod create;
pub mod environment;
mod exec;
mod exit;
mod health;
pub mod log_options;
mod logs;
pub mod mounts;
mod object;
pub mod places;
pub mod record;
pub mod settings;
pub mod spec;
mod start;
mod stop;
mod streams;
pub mod user;
pub mod view;

pub(crate) use create::part;
pub use create::{Removal, checked_name, create, remove};
pub use exec::{Exec, ExecConfig};
pub use exit::restore_all;
pub use logs::{Query, read as read_log};
pub use object::Container;
pub use record::{MountPoint, Record, Status};
pub use start::start;
pub use stop::{kill, pause, restart, stop, unpause};
pub use streams::{Input, Output, Sides, received, watch};
