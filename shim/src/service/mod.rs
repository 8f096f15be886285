//! The task service: one method for each call of `containerd.task.v2.Task` and `v3.Task`, which are the same.
//!
//! Calls run side by side as tasks of the event loop. What changes a container as a whole takes its lock;
//! questions and signals take none, so a container that is stuck in one operation still answers.

mod control;
mod create;
mod delete;
mod exits;
mod query;
mod start;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use prost::Message;

use crate::bootstrap::NO_SANDBOXES;
use crate::container::Container;
use crate::events::Publisher;
use crate::reactor::Condition;
use crate::ttrpc::server::Answer;
use crate::ttrpc::{Call, Code, Status};

/// The services that are this one.
const NAMES: [&str; 2] = ["containerd.task.v2.Task", "containerd.task.v3.Task"];

/// For calls that do not say how long they wait; each of them does something that has a limit of its own.
const NO_LIMIT: Duration = Duration::from_secs(3600);

/// The containers of one shim.
pub struct Service {
    namespace: String,
    publisher: Rc<Publisher>,
    /// The soft limit of open files that the shim was started with, and that children get.
    open_files: Option<u64>,
    containers: RefCell<BTreeMap<String, Rc<Container>>>,
    creating: RefCell<BTreeSet<String>>,
    connections: Cell<usize>,
    last_used: Cell<Instant>,
    stopping: Cell<bool>,
    changed: Condition,
}

impl Service {
    /// A service without containers.
    pub fn new(namespace: String, publisher: Rc<Publisher>, open_files: Option<u64>) -> Rc<Self> {
        Rc::new(Self {
            namespace,
            publisher,
            open_files,
            containers: RefCell::default(),
            creating: RefCell::default(),
            connections: Cell::new(0),
            last_used: Cell::new(Instant::now()),
            stopping: Cell::new(false),
            changed: Condition::new(),
        })
    }

    /// Waits until somebody has asked the shim to end.
    pub async fn stopped(&self) {
        self.changed.until(|| self.stopping.get()).await;
    }

    /// Asks it to end.
    pub fn stop(&self) {
        self.stopping.set(true);
        self.changed.changed();
    }

    /// It has or is about to have containers.
    pub fn is_used(&self) -> bool {
        !self.containers.borrow().is_empty() || !self.creating.borrow().is_empty()
    }

    /// Waits until it has no containers and none is being created.
    pub async fn unused(&self) {
        self.changed.until(|| !self.is_used()).await;
    }

    /// When somebody has last wanted anything.
    pub fn last_used(&self) -> Instant {
        self.last_used.get()
    }

    /// Waits until somebody wants something after `time`.
    pub async fn used_after(&self, time: Instant) {
        self.changed.until(|| self.last_used.get() > time).await;
    }

    /// How long nobody has wanted anything, and whether anybody is connected.
    pub fn idle(&self) -> (Duration, bool) {
        (self.last_used.get().elapsed(), self.connections.get() > 0)
    }

    /// Some lines about everything, for the log.
    pub fn describe(&self) -> String {
        let mut text =
            format!("{} connections, {} tasks", self.connections.get(), crate::reactor::task::count());
        for container in self.containers.borrow().values() {
            let init = &container.init;
            text += &format!("; container {}: pid {} {}", container.id, init.pid(), init.state().name());
            for exec in container.execs() {
                text += &format!(", exec {}: pid {} {}", exec.id, exec.pid(), exec.state().name());
            }
        }
        text
    }

    /// A container is gone.
    fn forget(&self, id: &str) {
        self.containers.borrow_mut().remove(id);
        self.last_used.set(Instant::now());
        self.changed.changed();
    }

    fn container(&self, id: &str) -> Result<Rc<Container>, Status> {
        let found = self.containers.borrow().get(id).cloned();
        found.ok_or_else(|| Status::not_found("container not created"))
    }

    async fn dispatch(self: Rc<Self>, call: Call) -> Result<Vec<u8>, Status> {
        if !NAMES.contains(&call.service.as_str()) {
            let advice =
                if call.service.ends_with(".Sandbox") { NO_SANDBOXES } else { "it is not served here" };
            return Err(Status::new(Code::Unimplemented, format!("service {}: {advice}", call.service)));
        }
        let limit = call.deadline.map_or(NO_LIMIT, |at| at.saturating_duration_since(Instant::now()));
        // The largest are boxed: a Wait lives as long as its process, and should not be as large as a Create.
        match call.method.as_str() {
            "State" => encode(&self.state(&decode(&call)?)?),
            "Create" => encode(&Box::pin(self.create(decode(&call)?, limit)).await?),
            "Start" => encode(&Box::pin(self.start(&decode(&call)?, limit)).await?),
            "Delete" => encode(&Box::pin(self.delete(&decode(&call)?, limit)).await?),
            "Pids" => encode(&Box::pin(self.pids(&decode(&call)?, limit)).await?),
            "Pause" => encode(&Box::pin(self.pause(&decode(&call)?, limit)).await?),
            "Resume" => encode(&Box::pin(self.resume(&decode(&call)?, limit)).await?),
            "Checkpoint" => encode(&Box::pin(self.checkpoint(decode(&call)?, limit)).await?),
            "Kill" => encode(&Box::pin(self.kill(&decode(&call)?, limit)).await?),
            "Exec" => encode(&self.exec(decode(&call)?)?),
            "ResizePty" => encode(&self.resize_pty(&decode(&call)?)?),
            "CloseIO" => encode(&self.close_io(&decode(&call)?)?),
            "Update" => encode(&Box::pin(self.update(&decode(&call)?, limit)).await?),
            "Wait" => encode(&self.wait(&decode(&call)?, &call).await?),
            "Stats" => encode(&self.stats(&decode(&call)?)?),
            "Connect" => encode(&self.connect(&decode(&call)?)),
            "Shutdown" => encode(&self.shutdown(&decode(&call)?)),
            #[cfg(debug_assertions)]
            "Panic" if std::env::var_os("CORTEN_WEAKEN").is_some() => break_off(),
            other => Err(Status::new(Code::Unimplemented, format!("method {other}"))),
        }
    }
}

impl crate::ttrpc::Service for Service {
    fn call(self: Rc<Self>, call: Call) -> Answer {
        self.last_used.set(Instant::now());
        self.changed.changed();
        Box::pin(self.dispatch(call))
    }

    fn connected(&self, up: bool) {
        let count = self.connections.get();
        self.connections.set(if up { count + 1 } else { count.saturating_sub(1) });
        self.last_used.set(Instant::now());
        self.changed.changed();
        if up {
            self.publisher.retry_now();
        }
    }
}

fn decode<M: Message + Default>(call: &Call) -> Result<M, Status> {
    M::decode(&call.payload[..]).map_err(|error| Status::invalid(format!("{} request: {error}", call.method)))
}

/// A fault of the shim itself, for the test of what is said of one.
#[cfg(debug_assertions)]
#[expect(clippy::panic)]
fn break_off() -> ! {
    panic!("as it was asked to")
}

fn encode(message: &impl Message) -> Result<Vec<u8>, Status> {
    Ok(message.encode_to_vec())
}
