//! One container: its first process, the processes executed in it, and what serialises operations on it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use crate::cgroup::{Cgroup, OomWatch};
use crate::oci::{Error, Restore, Runtime, limits, thaw};
use crate::process::{Process, State};
use crate::proto::task_types::Status as WireState;
use crate::reactor::Condition;
use crate::reactor::task::TaskId;
use crate::stdio::Prepared;
use crate::ttrpc::{Code, Status};

/// Whether a container has been paused through this shim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Freeze {
    /// Its processes run.
    #[default]
    No,
    /// It is being frozen.
    Pausing,
    /// It is frozen.
    Paused,
}

/// A container.
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its bundle.
    pub bundle: PathBuf,
    /// The runtime that it is made with.
    pub runtime: Runtime,
    /// The owner of its pipes.
    pub io_owner: (u32, u32),
    /// Where criu works when no other place is asked for.
    pub criu_work: PathBuf,
    /// Its first process.
    pub init: Rc<Process>,
    /// We have mounted its root filesystem.
    pub mounted: bool,
    /// When its first process ends, the kernel ends the others.
    pub own_pid_namespace: bool,
    /// The checkpoint that Start takes up, with the streams for it.
    pub restore: RefCell<Option<(Restore, Prepared)>>,
    /// Its out-of-memory kills.
    pub oom: RefCell<Option<OomWatch>>,
    /// Who listens for them.
    pub oom_task: Cell<Option<TaskId>>,
    /// The rest of what changes, by its methods alone.
    pub life: Life,
}

/// Where a container is in its life.
#[derive(Default)]
pub struct Life {
    cgroup: RefCell<Option<Rc<Cgroup>>>,
    execs: RefCell<BTreeMap<String, Rc<Process>>>,
    freeze: Cell<Freeze>,
    killed: Cell<bool>,
    /// Executed processes that run or are being started.
    running: Cell<usize>,
    /// The first process is dead: nothing more is started.
    init_gone: Cell<bool>,
    busy: Cell<bool>,
    changed: Condition,
}

impl Container {
    /// Waits for the right to change the container as a whole. Questions and signals need no such right, so
    /// that they are answered while an operation is stuck.
    pub async fn lock(self: &Rc<Self>) -> Busy {
        self.life.changed.until(|| !self.life.busy.replace(true)).await;
        Busy(Rc::clone(self))
    }

    /// The process with the given exec id; the first one when that is empty.
    pub fn process(&self, exec_id: &str) -> Result<Rc<Process>, Status> {
        if exec_id.is_empty() {
            return Ok(Rc::clone(&self.init));
        }
        let found = self.life.execs.borrow().get(exec_id).cloned();
        found.ok_or_else(|| Status::not_found(format!("process does not exist {exec_id}")))
    }

    /// Every executed process.
    pub fn execs(&self) -> Vec<Rc<Process>> {
        self.life.execs.borrow().values().cloned().collect()
    }

    /// Adds an executed process, unless its id is taken.
    pub fn add_exec(&self, process: &Rc<Process>) -> Result<(), Status> {
        let mut execs = self.life.execs.borrow_mut();
        if execs.contains_key(&process.id) {
            return Err(Status::new(Code::AlreadyExists, format!("id {}", process.id)));
        }
        execs.insert(process.id.clone(), Rc::clone(process));
        Ok(())
    }

    /// Forgets an executed process.
    pub fn remove_exec(&self, exec_id: &str) {
        self.life.execs.borrow_mut().remove(exec_id);
    }

    /// Counts a process that is being started; fails when the container is at its end.
    pub fn begin_exec(&self) -> Result<(), Status> {
        if self.life.init_gone.get() {
            let message = format!("container {} init process is not running", self.id);
            return Err(Status::failed_precondition(message));
        }
        self.life.running.set(self.life.running.get() + 1);
        Ok(())
    }

    /// A started process has ended, or could not be started.
    pub fn end_exec(&self) {
        self.life.running.set(self.life.running.get().saturating_sub(1));
        self.life.changed.changed();
    }

    /// Waits until no executed process is left.
    pub async fn execs_ended(&self) {
        self.life.changed.until(|| self.life.running.get() == 0).await;
    }

    /// The first process is dead.
    pub fn set_init_gone(&self) {
        self.life.init_gone.set(true);
    }

    /// Whether it has been paused.
    pub fn freeze(&self) -> Freeze {
        self.life.freeze.get()
    }

    /// Whether it is frozen, by whoever did that. Unlike [`freeze`](Self::freeze), that is so for a moment
    /// when a runtime signals all of its processes.
    pub fn is_frozen(&self) -> bool {
        self.freezer().map_or(self.freeze() == Freeze::Paused, |cgroup| cgroup.is_frozen().unwrap_or(false))
    }

    /// Lets its processes go on, whoever has frozen them.
    pub async fn thaw(&self) -> Result<(), Error> {
        let frozen = self.is_frozen();
        self.set_freeze(Freeze::No);
        if !frozen {
            return Ok(());
        }
        match self.freezer() {
            // Not by another runtime: it may be what hangs.
            Some(cgroup) => thaw(&cgroup),
            None => self.runtime.resume(&self.id, None, limits::CONTROL).await,
        }
    }

    fn freezer(&self) -> Option<Rc<Cgroup>> {
        self.cgroup().filter(|cgroup| cgroup.freezer_path().is_some())
    }

    /// Its first process has been sent SIGKILL.
    pub fn set_killed(&self) {
        self.life.killed.set(true);
    }

    /// Whether its first process has been sent SIGKILL, or is dead.
    pub fn is_ending(&self) -> bool {
        self.life.killed.get() || self.life.init_gone.get()
    }

    /// It has been paused or not.
    pub fn set_freeze(&self, freeze: Freeze) {
        self.life.freeze.set(freeze);
    }

    /// Its control groups, once it has some.
    pub fn cgroup(&self) -> Option<Rc<Cgroup>> {
        self.life.cgroup.borrow().clone()
    }

    /// Its control groups have been found.
    pub fn set_cgroup(&self, cgroup: Cgroup) {
        self.life.cgroup.replace(Some(Rc::new(cgroup)));
    }

    /// Nobody listens for out-of-memory kills any more.
    pub fn forget_oom(&self) {
        if let Some(task) = self.oom_task.take() {
            task.abort();
        }
        self.oom.take();
    }

    /// The state of one of its processes, as State reports it.
    pub fn state_of(&self, process: &Process) -> WireState {
        match (process.state(), self.life.freeze.get()) {
            (State::Created | State::Running, Freeze::Pausing) => WireState::Pausing,
            (State::Created | State::Running, Freeze::Paused) => WireState::Paused,
            (state, _) => state.to_wire(),
        }
    }

    /// Fails unless the first process runs and is not frozen; `verb` names what was to be done.
    pub fn must_run(&self, verb: &str) -> Result<(), Status> {
        let state = match (self.init.state(), self.life.freeze.get()) {
            (State::Running, Freeze::No) => return Ok(()),
            (State::Running, _) => "paused",
            (state, _) => state.name(),
        };
        Err(Status::failed_precondition(format!("cannot {verb} a container in {state} state")))
    }
}

/// The right to change a container, until it is dropped.
pub struct Busy(Rc<Container>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.life.busy.set(false);
        self.0.life.changed.changed();
    }
}
