//! Corten's runtime: one OCI container on this host. No daemon, no network, no images.
#![deny(unsafe_code)]

pub mod cgroup;
pub mod path;
pub mod plan;
pub mod spec;
pub mod sys;
