//! What the parent does while the child makes the container: it answers, message by message, until the child is ready.

use super::{Making, Undo};
use crate::child::identity;
use crate::hook;
use crate::parent::agent;
use crate::parent::error::{Error, OrError, Result};
use crate::parent::spawn::Spawned;
use crate::sys::{Errno, fd, pidfd};
use crate::wire::{FromChild, Wire};
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::Pid;
use std::os::fd::AsFd;

impl<'a> Making<'a> {
    /// Answers the child until another process goes on in its place, in the PID namespace that it joins; returns the
    /// number of that one.
    ///
    /// Who is in that namespace may have taken the connection from the new process: the number is believed when it is
    /// that of a child of this process, and there is no other.
    pub(super) fn follow(&mut self, wire: &Wire, undo: &mut Undo<'a>) -> Result<i32> {
        let ended = || Error::Other("the container's process was killed while it was made".into());
        let maker = undo.child.as_ref().ok_or_else(ended)?;
        let pid = loop {
            // The new process has a copy of the connection, which does not end with the maker.
            let what = || "wait for the container's process".to_owned();
            if !fd::readable_before(wire.as_fd(), maker.pidfd.as_fd()).or_error(what)? {
                return Err(ended());
            }
            match wire.hear().or_error(|| "hear from the container's process".into())? {
                FromChild::Moved(pid) => break pid,
                message => {
                    self.answer(message, wire, maker)?;
                }
            }
        };
        let _ = waitpid(Pid::from_raw(maker.pid), None);
        // Not reaped yet if it is a child, so the number is still its own.
        let what = || "open the container's process".to_owned();
        let wait = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let child = waitid(Id::Pid(Pid::from_raw(pid)), wait);
        let pidfd = child.and_then(|_| pidfd::open(pid)).or_error(what)?;
        undo.child = Some(Spawned { pid, pidfd, in_cgroup: true });
        wire.go().or_error(|| "release the container's process".into())?;
        Ok(pid)
    }

    /// Answers the child until it is ready.
    pub(super) fn converse(&mut self, wire: &Wire, child: &Spawned) -> Result<()> {
        loop {
            let message = wire.hear().or_error(|| "hear from the container's process".into())?;
            if self.answer(message, wire, child)? {
                return Ok(());
            }
        }
    }

    /// Answers one message; whether it was the last.
    fn answer(&mut self, message: FromChild, wire: &Wire, child: &Spawned) -> Result<bool> {
        let pid = child.pid;
        match message {
            FromChild::Mounted => {
                let state = self.hook_state.at("created", Some(pid));
                let waiting = Some(child.pidfd.as_fd());
                let run = |kind, hooks: &[_]| hook::run(kind, hooks, &state, waiting).map_err(Error::Other);
                run("prestart", &self.hooks.prestart)?;
                run("createRuntime", &self.hooks.create_runtime)?;
                wire.go().or_error(|| "release the container's process".into())?;
            }
            FromChild::Limits => {
                identity::limits(&self.plan.process, pid).map_err(Error::Step)?;
                wire.go().or_error(|| "release the container's process".into())?;
            }
            FromChild::Console(master) => self.console = Some(master),
            FromChild::Listener(listener) => {
                let state = self.hook_state.at("creating", Some(pid));
                agent::hand_over(self.listener.0, self.listener.1, pid, &state, listener.as_fd())?;
                wire.go().or_error(|| "release the container's process".into())?;
            }
            FromChild::Ready => return Ok(true),
            FromChild::Moved(_) => {
                return Err(Errno::EBADMSG).or_error(|| "hear from the container's process".into());
            }
            FromChild::Failure(failure) => return Err(Error::Step(failure)),
            FromChild::End => {
                return Err(Error::Other(
                    "the container's process was killed while it was made (is its memory limit too low?)"
                        .into(),
                ));
            }
        }
        Ok(false)
    }
}
