//! What requests say. Clients leave a field out, write `null`, or send it empty, and mean the same: nothing. What they say
//! and cannot have is refused by rules.

use bollard_stubs::models::HostConfig;
use serde_json::{Value, json};

use crate::error::{Error, Result};

/// A text, unless it is empty.
pub fn text(field: &Option<String>) -> Option<&str> {
    field.as_deref().filter(|text| !text.is_empty())
}

/// A number, unless it is zero.
pub fn number(field: Option<i64>) -> Option<i64> {
    field.filter(|number| *number != 0)
}

/// A list; none is an empty one.
pub fn list<T>(field: &Option<Vec<T>>) -> &[T] {
    field.as_deref().unwrap_or_default()
}

/// Gives a field that says nothing another value; in objects, each of their fields.
pub fn fill(own: &mut Value, from: &Value) {
    match (own, from) {
        (Value::Object(own), Value::Object(from)) => {
            for (name, value) in from {
                fill(own.entry(name).or_insert(Value::Null), value);
            }
        }
        (own, from) if [json!(null), json!(""), json!(0), json!([])].contains(own) => own.clone_from(from),
        _ => {}
    }
}

/// Whether ports are to be published that are named one by one.
pub fn publishes(host: &HostConfig) -> bool {
    host.port_bindings.as_ref().is_some_and(|ports| !ports.is_empty())
}

/// Refuses what the first of these rules is about that holds.
///
/// # Errors
/// With its text.
pub fn refuse<const N: usize>(rules: [(bool, &str); N]) -> Result<()> {
    match rules.iter().find(|(holds, _)| *holds) {
        Some((_, message)) => Err(Error::invalid(message)),
        None => Ok(()),
    }
}
