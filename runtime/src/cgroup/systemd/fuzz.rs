//! The parts of [`crate::fuzz`] that look inside of this module.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a check fails by a panic")]

use super::message::{Body, Call, decode, message_length};
use super::properties::{Property, from_annotations, from_settings};
use super::value::Value;
use super::{Quota, Setting, round_quota, unit_name};
use std::collections::BTreeMap;

/// Writes become properties.
pub(in crate::cgroup) fn settings(settings: &[Setting], v2: bool) {
    let mut settings = settings.to_vec();
    round_quota(&mut settings, Quota::NEW);
    let once = settings.clone();
    round_quota(&mut settings, Quota::NEW);
    assert_eq!(settings, once, "what is rounded already stays");
    if let Ok(properties) = from_settings(&settings, v2, true, Quota::NEW) {
        send(&properties);
    }
}

/// A unit is one name, below one slice.
pub(in crate::cgroup) fn unit(text: &str) {
    if let Ok((slice, name)) = unit_name(text, "id", false) {
        assert!(slice.ends_with(".slice") && !slice.contains('/') && !name.contains('/'), "{text:?}");
    }
}

/// Annotations become properties; and every single value is tried by itself.
pub(in crate::cgroup) fn annotations(annotations: &BTreeMap<String, String>) {
    if let Ok(properties) = from_annotations(annotations) {
        send(&properties);
    }
    for value in annotations.values().filter_map(|text| Value::parse(text).ok()) {
        send(&[Property::new("Value", value)]);
    }
}

/// What is sent is as long as it says.
fn send(properties: &[Property]) {
    let mut body = Body::default();
    body.array(8, |body| {
        for property in properties {
            body.structure();
            body.string(&property.name);
            body.variant(&property.value);
        }
    });
    let call =
        Call { path: "/a", interface: "a.b", member: "C", destination: None, signature: "a(sv)", body };
    let bytes = call.encode(1, false);
    let head: [u8; 16] = bytes[..16].try_into().expect("a whole head");
    if let Some(length) = message_length(&head) {
        assert_eq!(length, bytes.len());
    }
    assert!(decode(&bytes).is_some());
}

/// What is received is decoded, or is none.
pub(in crate::cgroup) fn message(bytes: &[u8]) {
    if let Some(head) = bytes.first_chunk() {
        let _ = message_length(head);
    }
    let _ = decode(bytes);
}
