//! System calls that take long: a disk that is slow, a server that does not answer.

use super::pod::until;
use crate::proc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// How long a delayed call takes, in seconds: longer than anything that a test waits for.
const SECONDS: u64 = 600;

/// strace, attached to processes and their children to be, delaying a system call until this is dropped.
pub struct Delay(Child);

impl Delay {
    /// Delays a call of these processes; only calls that concern `file`, if one is given. `None` without
    /// strace.
    pub fn of(pids: &[i32], call: &str, file: Option<&Path>) -> Option<Delay> {
        Delay::from_the(1, pids, call, file)
    }

    /// As [`Delay::of`], from the call on that is a process's `first` one.
    pub fn from_the(first: u32, pids: &[i32], call: &str, file: Option<&Path>) -> Option<Delay> {
        let inject = format!("inject={call}:delay_enter={}:when={first}+", SECONDS * 1_000_000);
        let mut command = Command::new("strace");
        command.args(["-f", "-q", "-e", &format!("trace={call}"), "-e", &inject, "-o", "/dev/null"]);
        for pid in pids {
            command.args(["-p", &pid.to_string()]);
        }
        if let Some(file) = file {
            command.arg("-P").arg(file);
        }
        let child = command.stderr(Stdio::null()).spawn().ok()?;
        let tracer = child.id().to_string();
        until("strace is attached", || {
            pids.iter().all(|pid| proc::Status::of(&pid.to_string()).get("TracerPid") == tracer)
        });
        Some(Delay(child))
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}
