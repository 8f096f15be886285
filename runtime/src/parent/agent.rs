//! Seccomp agents: who answers system calls that a filter hands to user space (config-linux.md, "Container process
//! state").

use super::error::{OrError, Result, file_error};
use crate::hook::HookState;
use crate::sys::{Errno, fd};
use nix::sys::socket::{MsgFlags, recv};
use serde::Serialize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// The name under which the listener's descriptor is announced.
const LISTENER_NAME: &str = "seccompFd";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessState<'a> {
    oci_version: &'a str,
    fds: [&'a str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    metadata: &'a str,
    state: &'a HookState,
}

/// Hands the listener of the process `pid` to the agent at `path`.
///
/// # Errors
/// Nobody listens there, or the agent hangs up.
pub fn hand_over(
    path: &str,
    metadata: &str,
    pid: i32,
    state: &HookState,
    listener: BorrowedFd<'_>,
) -> Result<()> {
    let what = "linux.seccomp.listenerPath: connect to";
    let agent = UnixStream::connect(path).map_err(file_error(what, path))?;
    let state = ProcessState { oci_version: &state.oci_version, fds: [LISTENER_NAME], pid, metadata, state };
    let bytes = serde_json::to_vec(&state).map_err(|error| super::Error::Other(error.to_string()))?;
    let what = || format!("linux.seccomp.listenerPath: send the listener to {path}");
    fd::send(agent.as_fd(), &bytes, Some(listener)).or_error(what)?;
    // An agent answers nothing. But one that hung up on what it had not read has left its mark by now, or will have been
    // too late to be told from one that dies.
    match recv(agent.as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT) {
        Err(Errno::ECONNRESET) => Err(Errno::ECONNRESET).or_error(what),
        _ => Ok(()),
    }
}
