//! What requests say. Clients leave a field out, write `null`, or send it empty, and mean the same: nothing. What they say
//! and cannot have is refused by rules.

use std::mem;

use bollard_stubs::models::HostConfig;
use serde::Deserialize;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error as _, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
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

/// A request as the type that it is of; its fields have the names of that type's afterwards. One that is not there is
/// empty.
///
/// # Errors
/// When something in it is of another type.
pub fn understood<T: DeserializeOwned + Default>(value: &mut Value) -> Result<T> {
    let known =
        Option::deserialize(Fields(value)).map_err(|error| error!(invalid, "invalid JSON: {error}"))?;
    Ok(known.unwrap_or_default())
}

/// Words of which a request may have one or a list.
const WORDS: [&str; 3] = ["Cmd", "Entrypoint", "Shell"];

/// A request as dockerd reads it, whose fields have names in any case, and are left out where they are `null`. (Not so the
/// names that mean something by themselves: those of ports, volumes and networks.)
struct Fields<'a>(&'a mut Value);

impl<'de> Deserializer<'de> for Fields<'_> {
    type Error = serde_json::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let fields = match mem::take(self.0) {
            Value::Null => Default::default(),
            Value::Object(fields) => fields,
            other => return Err(Self::Error::custom(format!("{other} is not an object"))),
        };
        let named = |(name, value): (String, Value)| {
            let own = names.iter().find(|own| own.eq_ignore_ascii_case(&name));
            let name = own.map_or(name, |own| (*own).to_owned());
            let is_one = value.is_string() && WORDS.contains(&&*name);
            (name, if is_one { json!([value]) } else { value })
        };
        *self.0 = fields.into_iter().filter(|(_, value)| !value.is_null()).map(named).collect();
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::Array(list) => visitor.visit_seq(SeqDeserializer::new(list.iter_mut().map(Fields))),
            Value::Object(fields) => {
                let fields = fields.iter_mut().map(|(name, value)| (name.as_str(), Fields(value)));
                visitor.visit_map(MapDeserializer::new(fields))
            }
            other => other.clone().deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.clone().deserialize_enum(name, variants, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

impl IntoDeserializer<'_, serde_json::Error> for Fields<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
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
    use bollard_stubs::models::ContainerCreateBody;

    #[test]
    fn signals_have_names_and_numbers() {
        let numbers = ["9", "KILL", "sigkill", "SIGTERM", "RTMIN", "RTMIN+3", "SIGRTMAX-1"]
            .map(|text| signal(text).ok());
        assert_eq!(numbers, [9, 9, 9, 15, 34, 37, 63].map(Some));
        assert!(["0", "65", "NOPE", "RTMIN+99", ""].iter().all(|text| signal(text).is_err()));
    }

    #[test]
    fn fields_are_named_in_any_case() {
        let read = |mut value: Value| {
            let body = understood::<ContainerCreateBody>(&mut value);
            body.map(|body| (body, value)).map_err(|error| error.message)
        };
        let (body, value) = read(json!({
            "image": "i", "CMD": "true", "Env": null, "labels": {"image": "x", "Env": ""}, "Odd": 1,
            "hostconfig": {"memory": 7, "restartpolicy": {"name": "always"}, "Ulimits": [null, {"soft": 1}]},
            "NetworkingConfig": {"endpointsconfig": {"one": null, "Two": {"aliases": ["a"]}}},
        }))
        .unwrap();
        assert_eq!((body.image.as_deref(), body.cmd), (Some("i"), Some(vec!["true".to_owned()])));
        assert_eq!(
            value,
            json!({
                "Image": "i", "Cmd": ["true"], "Labels": {"image": "x", "Env": ""}, "Odd": 1,
                "HostConfig": {"Memory": 7, "RestartPolicy": {"Name": "always"}, "Ulimits": [{}, {"Soft": 1}]},
                "NetworkingConfig": {"EndpointsConfig": {"one": {}, "Two": {"Aliases": ["a"]}}},
            })
        );
        assert!(read(Value::Null).is_ok());
        for bad in [json!([]), json!(7), json!({"hostconfig": ""}), json!({"HostConfig": {"PidsLimit": "1"}})]
        {
            assert!(read(bad.clone()).is_err_and(|message| message.starts_with("invalid JSON: ")), "{bad}");
        }
    }

    #[test]
    fn what_says_nothing_is_filled() {
        let mut own = json!({"a": "", "b": 0, "c": "own", "d": {"x": 1}, "e": []});
        fill(&mut own, &json!({"a": "A", "b": 2, "c": "C", "d": {"x": 7, "y": 8}, "e": ["E"], "f": null}));
        assert_eq!(own, json!({"a": "A", "b": 2, "c": "own", "d": {"x": 1, "y": 8}, "e": ["E"], "f": null}));
    }
}
