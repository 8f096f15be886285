//! What happens, told to whoever listens, in order; the last of it is remembered.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::time::Time;

/// How many events are remembered.
const REMEMBERED: usize = 1024;

/// Something that happened.
#[derive(Debug, Clone)]
pub struct Event {
    /// `container`, `image`, `network`, `volume` or `daemon`.
    pub kind: &'static str,
    /// What happened.
    pub action: String,
    /// To whom: an id or name.
    pub actor: String,
    /// Labels and more.
    pub attributes: BTreeMap<String, String>,
    /// When.
    pub time: Time,
}

impl Event {
    /// As the API writes it; until version 1.51, with what it says twice.
    pub fn json(&self, twice: bool) -> Value {
        let mut value = json!({
            "Type": self.kind,
            "Action": self.action,
            "Actor": {"ID": self.actor, "Attributes": self.attributes},
            "scope": "local",
            "time": self.time.as_second(),
            "timeNano": self.time.as_nanosecond(),
        });
        if twice && matches!(self.kind, "container" | "image") {
            value["status"] = json!(self.action);
            value["id"] = json!(self.actor);
            if let Some(image) = self.attributes.get("image") {
                value["from"] = json!(image);
            }
        }
        value
    }
}

/// Where events go.
#[derive(Debug)]
pub struct Events {
    past: Mutex<VecDeque<Event>>,
    sender: broadcast::Sender<Event>,
}

impl Default for Events {
    fn default() -> Self {
        Self { past: Mutex::default(), sender: broadcast::Sender::new(REMEMBERED) }
    }
}

impl Events {
    /// Tells of something.
    pub fn publish(
        &self,
        kind: &'static str,
        action: impl Into<String>,
        actor: &str,
        attributes: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>,
    ) {
        let attributes = attributes.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let event =
            Event { kind, action: action.into(), actor: actor.to_owned(), attributes, time: Time::now() };
        // Under the lock, so that all see the same order.
        let mut past = self.past.lock();
        past.push_back(event.clone());
        if past.len() > REMEMBERED {
            past.pop_front();
        }
        let _nobody_listens = self.sender.send(event);
    }

    /// What is remembered, and everything from now on.
    pub fn subscribe(&self) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let past = self.past.lock();
        (past.iter().cloned().collect(), self.sender.subscribe())
    }
}
