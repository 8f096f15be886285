//! One process of a container: its first one, or one that was executed in it. State only; the service does
//! the work.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::SystemTime;

use crate::child::Child;
use crate::proto::task_types::Status as WireState;
use crate::reactor::Condition;
use crate::stdio::{Io, Stdio};

/// Where a process is in its life.
///
/// ```text
/// created ─► running ─► stopped ─► deleted
/// ```
///
/// A created process may stop or be deleted without having run, and stays one when it cannot be started. Being
/// paused is a state of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is known, and waits to be started.
    Created,
    /// It has been started.
    Running,
    /// It has ended.
    Stopped,
    /// Its record is being removed or is gone.
    Deleted,
}

impl State {
    /// The state's name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Deleted => "deleted",
        }
    }

    /// The state's number in the protocol. One that is deleted is still asked for, and was stopped.
    pub fn to_wire(self) -> WireState {
        match self {
            Self::Created => WireState::Created,
            Self::Running => WireState::Running,
            Self::Stopped | Self::Deleted => WireState::Stopped,
        }
    }
}

/// How and when a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code, 128 plus a signal, or 255 when nobody knows.
    pub status: u32,
    /// When that was noticed.
    pub at: SystemTime,
}

/// The status of a process that could not be started, or whose end was not seen.
pub const UNKNOWN_STATUS: u32 = 255;

/// A process.
pub struct Process {
    /// The container's id, or the exec id.
    pub id: String,
    /// What the caller asked for.
    pub stdio: Stdio,
    /// The OCI description of an executed process, JSON.
    pub spec: Vec<u8>,
    state: Cell<State>,
    pid: Cell<u32>,
    child: RefCell<Option<Rc<Child>>>,
    ended: Cell<Option<Ended>>,
    held: Cell<bool>,
    io: RefCell<Option<Rc<Io>>>,
    changed: Condition,
}

impl Process {
    /// A process that does not run yet.
    pub fn new(id: &str, stdio: Stdio, spec: Vec<u8>) -> Rc<Self> {
        Rc::new(Self {
            id: id.to_owned(),
            stdio,
            spec,
            state: Cell::new(State::Created),
            pid: Cell::new(0),
            child: RefCell::default(),
            ended: Cell::new(None),
            held: Cell::new(false),
            io: RefCell::default(),
            changed: Condition::new(),
        })
    }

    /// Where it is in its life.
    pub fn state(&self) -> State {
        self.state.get()
    }

    /// Moves it on.
    pub fn set_state(&self, state: State) {
        self.state.set(state);
        self.changed.changed();
    }

    /// Its pid; 0 before it exists.
    pub fn pid(&self) -> u32 {
        self.pid.get()
    }

    /// It exists.
    pub fn set_child(&self, child: Rc<Child>) {
        self.pid.set(child.pid().cast_unsigned());
        self.child.replace(Some(child));
    }

    /// Holds back its exit: it must not be told before its start has been.
    pub fn hold_exit(&self) {
        self.held.set(true);
    }

    /// Lets its exit be told.
    pub fn release_exit(&self) {
        self.held.set(false);
        self.changed.changed();
    }

    /// Waits until its exit may be told.
    pub async fn released(&self) {
        self.changed.until(|| !self.held.get()).await;
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<Ended> {
        self.ended.get()
    }

    /// How it ended, for whoever removes it. One that never existed has not failed.
    pub fn last(&self) -> Ended {
        let status = if self.pid() == 0 { 0 } else { UNKNOWN_STATUS };
        self.ended().unwrap_or_else(|| Ended { status, at: SystemTime::now() })
    }

    /// Waits for its end.
    pub async fn wait(&self) -> Ended {
        self.changed.until_some(|| self.ended.get()).await
    }

    /// Waits until its record is removed though it has never existed: it will have no end.
    pub async fn dropped(&self) {
        let dropped = || self.state.get() == State::Deleted && self.pid() == 0 && self.ended.get().is_none();
        self.changed.until(dropped).await;
    }

    /// It has ended, and its exit status is known.
    pub fn set_ended(&self, status: u32) -> Ended {
        let ended = Ended { status, at: SystemTime::now() };
        self.ended.set(Some(ended));
        self.child.take();
        if self.state.get() != State::Deleted {
            self.state.set(State::Stopped);
        }
        if let Some(io) = self.io.borrow().as_ref() {
            io.process_ended();
        }
        self.changed.changed();
        ended
    }

    /// It could not be started, and never will be: it stays what it was, and nobody waits for it any more.
    pub fn set_failed(&self) {
        self.ended.set(Some(Ended { status: UNKNOWN_STATUS, at: SystemTime::now() }));
        self.child.take();
        self.set_state(State::Created);
    }

    /// Sends it a signal; false when it does not exist or has ended.
    pub fn signal(&self, signal: i32) -> std::io::Result<bool> {
        let child = self.child.borrow().clone();
        child.map_or(Ok(false), |child| child.signal(signal))
    }

    /// Its streams, while it has some.
    pub fn io(&self) -> Option<Rc<Io>> {
        self.io.borrow().clone()
    }

    /// Gives it its streams, or takes them away.
    pub fn set_io(&self, io: Option<Rc<Io>>) -> Option<Rc<Io>> {
        self.io.replace(io)
    }
}
