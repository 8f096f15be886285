//! The checked-in messages are what the script makes of the published files.

use std::process::Command;

#[test]
fn the_messages_are_those_of_the_published_files() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/proto/generate.py");
    match Command::new("python3").args([script, "--check"]).status() {
        Ok(status) => assert!(status.success(), "run shim/proto/generate.py"),
        Err(error) => eprintln!("skipped: needs python3 ({error})"),
    }
}
