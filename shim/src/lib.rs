//! Corten's containerd shim: the process that stands between containerd and the containers of one pod.
//!
//! One thread, one event loop. containerd starts the program with `start`; that makes a socket and a daemon which
//! serves the task API on it, is the parent of the containers, carries their stdio and reports what happens to them.
//!
//! | module | owns |
//! |---|---|
//! | [`reactor`] | the event loop: tasks, descriptors, timers |
//! | [`ttrpc`] | the wire protocol |
//! | [`proto`] | its messages, generated |
//! | [`sys`] | every unsafe line |
#![deny(unsafe_code)]

pub mod args;
pub mod bootstrap;
pub mod cgroup;
pub mod child;
pub mod cleanup;
pub mod container;
pub mod daemon;
pub mod events;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod helper;
pub mod info;
pub mod log;
pub mod metrics;
pub mod mount;
pub mod name;
pub mod oci;
pub mod options;
pub mod process;
pub mod proto;
pub mod reactor;
pub mod reaper;
pub mod service;
pub mod sha256;
pub mod stdio;
pub mod sys;
pub mod time;
pub mod ttrpc;
