#![no_main]

#[path = "../properties.rs"]
#[allow(dead_code, reason = "a target is one of them")]
mod properties;

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::rules(input));
