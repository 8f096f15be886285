//! Images: names, configurations, layers, and the archives they travel in.
//!
//! | file | what |
//! |---|---|
//! | [`mod@reference`] | names |
//! | [`content`] | blobs by digest |
//! | [`layer`] | blobs, unpacked for overlayfs |
//! | `zstd` | one of the ways in which they are compressed |
//! | [`config`] | what an image says of itself |
//! | [`store`] | which images there are, what they are called, what may be removed |
//! | [`archive`] | `save` and `load` |

pub mod archive;
pub mod config;
pub mod content;
pub mod layer;
pub mod reference;
pub mod store;
mod zstd;

pub use config::ConfigFile;
pub use content::{Content, Unpacked};
pub use reference::{DEFAULT_DOMAIN, Reference, short};
pub use store::{Image, Store};
