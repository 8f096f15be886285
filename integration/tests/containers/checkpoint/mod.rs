//! `checkpoint` and `restore`, with a real criu.

use integration::container::Container;
use integration::criu;
use integration::outcome::{self, Outcome};
use serde_json::json;
use std::fs;
use std::process::{Command, Stdio};

/// Leaves the test where there is no criu that works.
macro_rules! criu {
    () => {
        integration::needs!(criu::path(), "criu (integration/src/fetch-criu.sh)")
    };
}

mod basics;
mod labels;
mod memory;
mod resources;
mod users;

/// A script that counts in the file `/count`, and begins only if there is none: one that started anew would
/// be seen.
const COUNTER: &str = "[ ! -e /count ] || exit 9; i=0; while :; do i=$((i+1)); echo $i > /count.new; mv /count.new /count; sleep 0.01; done";

/// A container with a root that can be written to.
fn container(script: &str) -> Container {
    let mut c = Container::new();
    c.put("/root/readonly", json!(false)).shell(script);
    c
}

/// Runs the runtime with criu in its path and nothing of the test's as standard I/O: files of the host have
/// no place in a checkpoint.
fn call_with(c: &Container, name: &str, args: &[&str], change: impl FnOnce(&mut Command)) -> Outcome {
    let mut command = c.command(name, args);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.env("PATH", criu::path().unwrap());
    change(&mut command);
    let child = command.spawn().unwrap();
    outcome::finish(child, &format!("{command:?}"), c.bundle(), name)
}

fn call(c: &Container, name: &str, args: &[&str]) -> Outcome {
    call_with(c, name, args, |_| {})
}

fn start(c: &Container) {
    c.write_config();
    let (bundle, pid) = (c.text_path(""), c.text_path("pid"));
    call(c, "run", &["run", "--detach", "--bundle", &bundle, "--pid-file", &pid, &c.id]).ok();
}

fn checkpoint(c: &Container, flags: &[&str]) -> Outcome {
    let images = c.text_path("images");
    let mut args = vec!["checkpoint", "--image-path", &images];
    args.extend(flags);
    args.push(&c.id);
    call(c, "checkpoint", &args)
}

fn restore(c: &Container, flags: &[&str]) -> Outcome {
    restore_with(c, flags, |_| {})
}

fn restore_with(c: &Container, flags: &[&str], change: impl FnOnce(&mut Command)) -> Outcome {
    let (images, bundle, pid) = (c.text_path("images"), c.text_path(""), c.text_path("pid"));
    let mut args =
        vec!["restore", "--detach", "--image-path", &images, "--bundle", &bundle, "--pid-file", &pid];
    args.extend(flags);
    args.push(&c.id);
    call_with(c, "restore", &args, change)
}

fn count(c: &Container) -> u64 {
    fs::read_to_string(c.rootfs("count")).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn until_it_counts(c: &Container) -> u64 {
    let before = count(c);
    outcome::until("the counter to go on", || count(c) > before + 3);
    count(c)
}

/// What an `exec` of a script in a restored container writes.
fn inside(c: &Container, script: &str) -> String {
    c.exec(&[], &["/bin/sh", "-c", script]).ok().stdout
}
