//! Corten's containerd shim: the process that stands between containerd and the containers of one pod.
//!
//! One thread, one event loop. containerd starts the program with `start`; that makes a socket and a daemon
//! which serves the task API on it, is the parent of the containers, carries their stdio and reports what
//! happens to them.
//!
//! | module | owns |
//! |---|---|
//! | [`args`], [`bootstrap`], [`cleanup`], [`info`] | what the program is started for, but for the daemon |
//! | [`daemon`] | the daemon's life, from its descriptors to when nobody needs it |
//! | [`service`] | the task API: what each call does |
//! | [`container`], [`process`] | what the calls are about, and the states of both |
//! | [`oci`], [`options`] | the runtime: how it is called, and what its callers want of it |
//! | [`stdio`] | the streams of a process, from its end to the caller's |
//! | [`events`] | what containerd is told, in order |
//! | [`child`], [`reaper`], [`helper`] | processes of the shim's own, and who reaps which |
//! | [`mount`] | root filesystems |
//! | [`cgroup`], [`metrics`] | control groups, and what they count as messages |
//! | [`reactor`] | the event loop: tasks, descriptors, timers |
//! | [`ttrpc`], [`proto`] | the wire protocol, and its messages, generated |
//! | [`sys`] | every unsafe line |
#![deny(unsafe_code)]

pub mod args;
pub mod bootstrap;
pub mod bundle;
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
