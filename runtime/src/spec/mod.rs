//! config.json, as written.
//!
//! Owns the shape of the OCI runtime specification 1.3 (Linux only) and the reading of its files. Strings stay strings
//! here: what they mean is decided in [`crate::plan`], the only validator. As in Go's decoder, unknown fields are
//! ignored and `null` is the same as absent.

pub mod load;
pub mod model;
pub mod objects;
pub mod resources;

pub use load::LoadError;
pub use model::*;
pub use objects::Objects;
pub use resources::*;
