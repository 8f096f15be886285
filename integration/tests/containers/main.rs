//! Tests of single containers, each through the runtime's command line, asserted from inside and from the kernel.
//!
//! One program for all of them: they are linked once and run side by side.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod capabilities;
mod identity;
mod lifecycle;
mod masks;
mod mounts;
mod namespaces;
mod process;

use integration::container::parse_report as parse;
