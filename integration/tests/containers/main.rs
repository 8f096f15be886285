//! Tests of single containers, each through the runtime's command line, asserted from inside and from the
//! kernel.
//!
//! One program for all of them: they are linked once and run side by side.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

/// Leaves a test of what only Corten has.
macro_rules! ours {
    () => {
        if !integration::runtime::runtime().is_ours() {
            integration::skip!("needs Corten");
        }
    };
}

mod bad_input;
mod callers;
mod capabilities;
mod cgroups;
mod check;
mod checkpoint;
mod concurrency;
mod devices;
mod doctor;
mod exec;
mod faults;
mod hooks;
mod identity;
mod lifecycle;
mod limits;
mod logs;
mod masks;
mod mount_options;
mod mounts;
mod mounts_command;
mod namespaces;
mod process;
mod process_file;
mod queries;
mod rootless;
mod seal;
mod seccomp;
mod signals;
mod sockets;
mod terminal;
mod trace;

use integration::container::parse_report as parse;
use integration::runtime::runtime;
use std::process::{Command, Output};

/// The runtime with exactly these arguments, outside of any container.
fn bare(args: &[&str]) -> Output {
    Command::new(&runtime().path).args(args).output().unwrap()
}
