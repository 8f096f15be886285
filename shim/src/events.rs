//! Events: what happened to containers, told to containerd in order, each of them once.
//!
//! (Twice only when containerd dies between taking an event and saying so; its clients expect that.)
//!
//! Events wait in a queue while containerd is away, and are sent when it is back. Those that a client cannot
//! find out otherwise, exits, deletions and out-of-memory kills, are never dropped; of the others the oldest
//! go first when the queue is long.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use prost::Message;

use runtime::weak;

use crate::log;
use crate::proto::events::{
    TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskOOM, TaskPaused, TaskResumed,
    TaskStart,
};
use crate::proto::forward::ForwardRequest;
use crate::proto::types::Envelope;
use crate::proto::well_known::Any;
use crate::reactor::{Condition, First, clock, first};
use crate::time::timestamp;
use crate::ttrpc::Client;
use crate::ttrpc::client::Error;

/// How long containerd may take to accept one event.
const FORWARD_LIMIT: Duration = Duration::from_secs(5);

/// The pause after a failed attempt, doubled up to the second value.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// How often an event that containerd refuses, while it accepts calls, is offered again.
const REFUSALS: u32 = 5;

/// With more events than this waiting, the ones that may be lost are.
const LONG: usize = 512;

/// An event about a task.
pub trait Event: Message {
    /// Where subscribers find it.
    const TOPIC: &'static str;
    /// The full name of its message.
    const NAME: &'static str;
    /// It must not be lost.
    const KEEP: bool = false;
}

macro_rules! events {
    ($($message:ident $topic:literal $keep:literal)*) => {
        $(impl Event for $message {
            const TOPIC: &'static str = concat!("/tasks/", $topic);
            const NAME: &'static str = concat!("containerd.events.", stringify!($message));
            const KEEP: bool = $keep;
        })*
    };
}

events! {
    TaskCreate "create" false
    TaskStart "start" false
    TaskExit "exit" true
    TaskDelete "delete" true
    TaskOOM "oom" true
    TaskExecAdded "exec-added" false
    TaskExecStarted "exec-started" false
    TaskPaused "paused" false
    TaskResumed "resumed" false
}

struct Queued {
    topic: &'static str,
    keep: bool,
    request: Vec<u8>,
}

/// The queue and the one connection that empties it.
pub struct Publisher {
    address: String,
    namespace: String,
    queue: RefCell<VecDeque<Queued>>,
    sending: Cell<bool>,
    changed: Condition,
    /// containerd has shown signs of life: try again at once.
    retry_now: Cell<bool>,
}

impl Publisher {
    /// Publishes to the ttrpc server at `address`; nothing at all is published when that is empty.
    pub fn new(address: String, namespace: String) -> Rc<Self> {
        Rc::new(Self {
            address,
            namespace,
            queue: RefCell::default(),
            sending: Cell::new(false),
            changed: Condition::new(),
            retry_now: Cell::new(false),
        })
    }

    /// Puts an event into the queue, with the present time.
    pub fn publish<E: Event>(&self, event: &E) {
        if self.address.is_empty() {
            return;
        }
        let envelope = Envelope {
            timestamp: Some(timestamp(SystemTime::now())),
            namespace: self.namespace.clone(),
            topic: E::TOPIC.to_owned(),
            event: Some(Any { type_url: E::NAME.to_owned(), value: event.encode_to_vec() }),
        };
        let request = ForwardRequest { envelope: Some(envelope) }.encode_to_vec();
        self.enqueue(Queued { topic: E::TOPIC, keep: E::KEEP, request });
    }

    fn enqueue(&self, event: Queued) {
        let mut queue = self.queue.borrow_mut();
        if queue.len() >= LONG
            && let Some(oldest) = queue.iter().position(|waiting| !waiting.keep)
        {
            queue.remove(oldest);
        }
        queue.push_back(event);
        drop(queue);
        self.changed.changed();
    }

    /// containerd has just connected: it is there again.
    pub fn retry_now(&self) {
        self.retry_now.set(true);
        self.changed.changed();
    }

    /// Waits until every event is delivered, at most for `limit`.
    pub async fn flushed(&self, limit: Duration) {
        self.retry_now();
        let empty = || self.queue.borrow().is_empty() && !self.sending.get();
        if clock::within(limit, self.changed.until(empty)).await.is_none() {
            log::error(&format!("{} events could not be delivered", self.queue.borrow().len()));
        }
    }

    /// Delivers events for ever, one after the other.
    pub async fn deliver(self: Rc<Self>) {
        let mut client = None;
        loop {
            let event = self.changed.until_some(|| self.queue.borrow_mut().pop_front()).await;
            self.sending.set(true);
            self.deliver_one(&mut client, &event).await;
            self.sending.set(false);
            if self.queue.borrow().is_empty() {
                self.queue.borrow_mut().shrink_to(16);
                self.changed.changed();
            }
        }
    }

    /// Tries until the event is delivered, or containerd refuses it for good.
    async fn deliver_one(&self, client: &mut Option<Client>, event: &Queued) {
        let mut refusals = 0;
        let mut pause = RETRY.0;
        loop {
            let reused = client.is_some();
            match self.attempt(client, event).await {
                Ok(()) => return,
                Err(Error::Refused(status)) => {
                    refusals += 1;
                    // Unavailable (14) and cancelled (1): it is starting or stopping.
                    if refusals >= REFUSALS && !matches!(status.code, 1 | 14) {
                        log::error(&format!("event {} was refused: {}", event.topic, status.message));
                        return;
                    }
                }
                Err(error) => {
                    *client = None;
                    log::debug(&format!("event {}: {error}", event.topic));
                    if weak::off("events") {
                        return;
                    }
                    // A connection from before a restart of containerd shows only now that it is dead.
                    if reused {
                        continue;
                    }
                }
            }
            match first(clock::sleep(pause), self.changed.until(|| self.retry_now.take())).await {
                First::Left(()) => pause = (pause * 2).min(RETRY.1),
                // It connects to shims some time before it takes events.
                First::Right(()) => pause = RETRY.0,
            }
        }
    }

    async fn attempt(&self, client: &mut Option<Client>, event: &Queued) -> Result<(), Error> {
        let connection = match client {
            Some(connection) => connection,
            None => client.insert(Client::connect(&self.address)?),
        };
        let service = "containerd.services.events.ttrpc.v1.Events";
        connection.call(service, "Forward", event.request.clone(), &self.namespace, FORWARD_LIMIT).await?;
        Ok(())
    }
}
