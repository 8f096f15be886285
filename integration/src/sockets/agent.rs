//! A seccomp agent as operators run one: it takes listeners on a socket, and answers what is asked on each in
//! a thread of its own.

use super::Receiver;
use crate::{outcome, sys};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What an agent has been told and asked so far.
#[derive(Debug, Default)]
struct Seen {
    states: Vec<Value>,
    calls: Vec<(u32, i32)>,
}

/// An agent. It works until its last listener has nobody left to ask.
#[derive(Debug, Clone)]
pub struct Agent(Arc<Mutex<Seen>>);

impl Agent {
    /// Listens on a path, for `containers` listeners. `answer` gives the error for a call's number; `None`:
    /// let it happen.
    pub fn at(path: &Path, containers: usize, answer: fn(i32) -> Option<i32>) -> Agent {
        let receiver = Receiver::at(path);
        let agent = Agent(Arc::default());
        let own = agent.clone();
        std::thread::spawn(move || {
            for _ in 0..containers {
                let handed = receiver.receive();
                let state = serde_json::from_slice(&handed.data).unwrap();
                own.0.lock().unwrap().states.push(state);
                for listener in handed.fds {
                    let own = own.clone();
                    std::thread::spawn(move || own.serve(&listener, answer));
                }
            }
        });
        agent
    }

    fn serve(&self, listener: &OwnedFd, answer: fn(i32) -> Option<i32>) {
        loop {
            let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::NONE).unwrap();
            let events = fds[0].revents().unwrap();
            if events.contains(PollFlags::POLLIN) {
                // A caller that has died meanwhile wants no answer.
                let Ok(asked) = sys::notification(listener.as_fd()) else { continue };
                self.0.lock().unwrap().calls.push((asked.pid, asked.number));
                let _ = sys::answer(listener.as_fd(), asked.id, answer(asked.number));
            } else if events.contains(PollFlags::POLLHUP) {
                return;
            }
        }
    }

    /// The messages that came with the first `count` listeners, waited for.
    ///
    /// # Panics
    /// When fewer come in time.
    pub fn states(&self, count: usize) -> Vec<Value> {
        outcome::until("a listener for the agent", || self.0.lock().unwrap().states.len() >= count);
        self.0.lock().unwrap().states.clone()
    }

    /// Thread and number of every call so far.
    ///
    /// # Panics
    /// Never: no thread of the agent panics while it holds the lock.
    pub fn calls(&self) -> Vec<(u32, i32)> {
        self.0.lock().unwrap().calls.clone()
    }
}
