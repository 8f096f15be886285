//! Harness for tests that run real containers.
//!
//! A test builds a bundle, runs a runtime on it as an operator would (the binary, never a library call), and
//! asserts on what the container's process saw (the [`report`] of the `probe` program) or on what the kernel
//! says from the host ([`host`]). Nothing here knows how the runtime works inside.
//!
//! | module | what it holds |
//! |---|---|
//! | [`container`] | one bundle with its id and state directory; deleted by force when dropped |
//! | [`config`], [`rootfs`] | the configurations and the root filesystem tests start from |
//! | [`runtime`] | which binary is tested, and from which version a feature can be expected |
//! | [`outcome`] | a finished command: status, output, log |
//! | [`report`], [`proc`] | what the probe reports; parsers of `/proc` files for both sides |
//! | [`host`] | the kernel's view from outside: processes, cgroup files, mount tables |
//! | [`leaks`] | what a container has left behind |
//! | [`console`], [`sockets`] | a terminal to run under; receivers of terminals, pidfds and notifications |
//! | [`criu`] | the criu that tests of checkpoints use |
//! | [`observe`] | what a program costs: system calls, page faults, memory |
//! | [`trace`] | kills a program, or lets a call of it fail, at its n-th system call |
//! | [`user`] | the unprivileged user of the rootless tests |
//! | [`engine`] | containerd, dockerd and podman, private to one test program |
//! | [`shim`] | the shim without and with engines: a containerd's side of ttrpc, its events, its FIFOs |
//! | [`mod@skip`] | leaves a test, saying what it lacks |
//! | [`sys`] | system calls that neither the standard library nor nix wraps |
//!
//! `RUNTIME=/path` puts another runtime in Corten's place; see [`runtime`].

// A harness reports a broken expectation by panicking: that is what fails a test.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![deny(unsafe_code)]

pub mod config;
pub mod console;
pub mod container;
pub mod criu;
pub mod disk;
pub mod engine;
pub mod host;
pub mod leaks;
pub mod observe;
pub mod outcome;
pub mod proc;
pub mod report;
pub mod rootfs;
pub mod runtime;
pub mod shim;
pub mod skip;
pub mod sockets;
#[allow(unsafe_code)]
pub mod sys;
pub mod trace;
pub mod user;
