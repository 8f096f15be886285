//! Corten's runtime: one OCI container on this host. No daemon, no network, no images.
#![deny(unsafe_code)]

pub mod cgroup;
pub mod check;
pub mod checkpoint;
pub mod child;
pub mod cli;
pub mod command;
pub mod doctor;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod hook;
pub mod log;
pub mod lsm;
pub mod parent;
pub mod path;
pub mod plan;
pub mod privilege;
pub mod search;
pub mod seccomp;
pub mod spec;
pub mod state;
pub mod subordinate;
pub mod sys;
pub mod time;
pub mod trace;
pub mod weak;
pub mod wire;
