//! Networks as the API writes them.

use serde_json::{Value, json};

use crate::container::Record;
use crate::engine::Engine;

/// `NetworkSettings` of a container.
pub(super) fn of_container(engine: &Engine, record: &Record) -> Value {
    json!({
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": "",
        "Ports": {},
        "Networks": endpoints(engine, record),
    })
}

/// The networks of a container.
pub(super) fn endpoints(_engine: &Engine, record: &Record) -> Value {
    json!(record.networks)
}
