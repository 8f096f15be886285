//! What requests say. Clients leave a field out, write `null`, or send it empty, and mean the same: nothing. What they say
//! and cannot have is refused by rules.

use bollard_stubs::models::HostConfig;
use serde_json::{Value, json};

use crate::error::{Error, Result, error};

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

/// Whether a field says nothing.
pub fn is_nothing(field: &Value) -> bool {
    [json!(null), json!(""), json!(0), json!([])].contains(field)
}

/// Gives a field that says nothing another value; in objects, each of their fields.
pub fn fill(own: &mut Value, from: &Value) {
    match (own, from) {
        (Value::Object(own), Value::Object(from)) => {
            for (name, value) in from {
                fill(own.entry(name).or_insert(Value::Null), value);
            }
        }
        (own, from) if is_nothing(own) && !from.is_null() => own.clone_from(from),
        _ => {}
    }
}

/// A signal: `KILL`, `SIGKILL`, `9` or `RTMIN+3`, as the runtime understands it; 0 is none here.
///
/// # Errors
/// When there is no such signal.
pub fn signal(text: &str) -> Result<u32> {
    let number = runtime::command::kill::signal(text).ok().and_then(|number| u32::try_from(number).ok());
    number.filter(|number| *number > 0).ok_or_else(|| error!(invalid, "invalid signal: {text}"))
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
    let first = rules.iter().find(|(holds, _)| *holds);
    first.map_or(Ok(()), |(_, message)| Err(Error::invalid(message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        let numbers = ["9", "KILL", "sigkill", "SIGTERM", "RTMIN", "RTMIN+3", "SIGRTMAX-1"]
            .map(|text| signal(text).ok());
        assert_eq!(numbers, [9, 9, 9, 15, 34, 37, 63].map(Some));
        assert!(["0", "65", "NOPE", "RTMIN+99", ""].iter().all(|text| signal(text).is_err()));
    }

    #[test]
    fn what_says_nothing_is_filled() {
        let mut own = json!({"a": "", "b": 0, "c": "own", "d": {"x": 1}, "e": []});
        fill(&mut own, &json!({"a": "A", "b": 2, "c": "C", "d": {"x": 7, "y": 8}, "e": ["E"], "f": null}));
        assert_eq!(own, json!({"a": "A", "b": 2, "c": "own", "d": {"x": 1, "y": 8}, "e": ["E"], "f": null}));
    }
}
