//! The messages of containerd's shim protocol. Written by `proto/generate.py`; do not edit.
#![allow(missing_docs)]
// The comments are those of the .proto files, which know nothing of HTML.
#![allow(rustdoc::invalid_html_tags, rustdoc::bare_urls)]

pub mod bootstrap;
pub mod cgroups_v1;
pub mod cgroups_v2;
pub mod events;
pub mod forward;
pub mod linux_runc;
pub mod rpc;
pub mod runc_options;
pub mod runtime_options;
pub mod task;
pub mod task_types;
pub mod ttrpc;
pub mod types;
pub mod well_known;
