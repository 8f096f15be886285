//! Structures are read from JSON objects, and from nothing else.
//!
//! serde's derive also takes an array for a structure, field by field in the order of their declaration. Go's decoder
//! refuses that: who looks at a configuration before this runtime does would read another one than is run, and the order
//! of fields in [`super::model`] would mean something. Keeps nothing and checks nothing: it only asks the deserializer for
//! a map wherever a structure is wanted.

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// A deserializer in which structures are objects, at every depth; or the part of one that the values below are read
/// through. A type that takes whatever stands there (`deserialize_any`, as [`serde_json::Value`]) must hold no structures.
#[derive(Debug)]
pub struct Objects<T>(pub T);

/// What reads a value, and what that is called in JSON.
struct Reader<V>(V, &'static str);

macro_rules! as_it_is {
    ($($method:ident($($name:ident: $kind:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(self, $($name: $kind,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method($($name,)* visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Objects<D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Reader(visitor, "an object"))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_seq(Reader(visitor, "an array"))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_option(Reader(visitor, "a value or null"))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        visitor.visit_newtype_struct(self)
    }

    as_it_is! {
        deserialize_any() deserialize_bool() deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_f32() deserialize_f64()
        deserialize_char() deserialize_str() deserialize_string() deserialize_bytes() deserialize_byte_buf()
        deserialize_unit() deserialize_identifier() deserialize_ignored_any() deserialize_tuple(length: usize)
        deserialize_unit_struct(name: &'static str) deserialize_tuple_struct(name: &'static str, length: usize)
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Reader<V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.1)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Objects(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Objects(members))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Objects(members))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Objects(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Objects(seed))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Objects<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Objects(deserializer))
    }
}

#[cfg(test)]
mod tests {
    use crate::spec::{LoadError, load};
    use serde_json::{Value, json};

    /// The JSON pointers of all objects in a value, and their paths.
    fn objects(value: &Value, pointer: &str, path: &str, found: &mut Vec<(String, String)>) {
        if value.is_object() {
            found.push((pointer.to_owned(), if path.is_empty() { "." } else { path }.to_owned()));
        }
        for (name, value) in value.as_object().into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            objects(value, &format!("{pointer}/{name}"), &path, found);
        }
        for (index, value) in value.as_array().into_iter().flatten().enumerate() {
            objects(value, &format!("{pointer}/{index}"), &format!("{path}[{index}]"), found);
        }
    }

    #[test]
    fn an_array_is_no_structure_wherever_it_stands() {
        let hook = json!([{ "path": "/hook" }]);
        let ids = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
        let device = json!([{ "major": 8, "minor": 0, "rate": 1, "weight": 10 }]);
        let whole = json!({
            "ociVersion": "1.0.2",
            "process": {
                "consoleSize": { "height": 1, "width": 1 }, "user": {}, "args": ["sh"], "capabilities": {},
                "rlimits": [{ "type": "RLIMIT_CPU", "soft": 1, "hard": 1 }], "scheduler": { "policy": "" },
                "ioPriority": { "class": "" }, "execCPUAffinity": {}
            },
            "root": {},
            "mounts": [{}, { "uidMappings": ids, "gidMappings": ids }],
            "hooks": {
                "prestart": hook, "createRuntime": hook, "createContainer": hook,
                "startContainer": hook, "poststart": hook, "poststop": hook
            },
            "annotations": {},
            "linux": {
                "uidMappings": ids, "gidMappings": ids, "sysctl": {}, "namespaces": [{ "type": "pid" }],
                "devices": [{ "path": "/dev/x", "type": "c" }], "netDevices": { "eth0": {} },
                "seccomp": { "defaultAction": "", "syscalls": [{ "names": [], "action": "", "args": [{}] }] },
                "intelRdt": {}, "memoryPolicy": {}, "personality": { "domain": "LINUX" },
                "timeOffsets": { "monotonic": {} },
                "resources": {
                    "devices": [{}], "memory": {}, "cpu": {}, "pids": {}, "network": { "priorities": [{}] },
                    "hugepageLimits": [{ "pageSize": "2MB", "limit": 1 }], "rdma": { "hfi": {} }, "unified": {},
                    "blockIO": {
                        "weightDevice": device, "throttleReadBpsDevice": device, "throttleWriteBpsDevice": device,
                        "throttleReadIOPSDevice": device, "throttleWriteIOPSDevice": device
                    }
                }
            }
        });
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("config.json");
        let read = |document: &Value| {
            std::fs::write(&file, document.to_string()).expect("written");
            load::config(&file)
        };
        read(&whole).expect("all of it can be read");
        let mut found = Vec::new();
        objects(&whole, "", "", &mut found);
        assert!(found.len() > 45, "{}", found.len());
        for (pointer, path) in found {
            let mut changed = whole.clone();
            *changed.pointer_mut(&pointer).expect("found there") = json!([]);
            let Err(LoadError::Json { field, source, .. }) = read(&changed) else { panic!("{path} is read") };
            assert_eq!(field, path);
            let text = source.to_string();
            assert!(
                text.starts_with("invalid type: sequence, expected an object at line 1"),
                "{path}: {text}"
            );
        }
    }

    #[test]
    fn every_file_is_read_so() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("file.json");
        for text in ["[]", "[[]]", "{\"syscalls\": [[]]}", "{\"user\": [1, 2]}", "{\"root\": []}"] {
            std::fs::write(&file, text).expect("written");
            let refused = [
                load::config(&file).is_err(),
                load::process(&file).is_err(),
                load::profile(&file).is_err(),
                load::mounts(&file).is_err(),
            ];
            let expected = match text {
                "[]" => [true, true, true, false],
                "[[]]" => [true; 4],
                "{\"syscalls\": [[]]}" => [false, false, true, true],
                "{\"user\": [1, 2]}" => [false, true, false, true],
                _ => [true, false, true, true],
            };
            assert_eq!(refused, expected, "{text}");
        }
    }
}
