//! `--log`, `--log-format`, `--log-level`, `--debug`; where errors go and what they look like; exit codes.

use super::bare;
use integration::container::Container;
use integration::outcome::LogLine;
use integration::runtime::{Kind, runtime};
use integration::since;
use serde_json::Value;
use std::fs;
use std::process::Command;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn an_error_is_one_line_on_standard_error() {
    let c = Container::new();
    let root = c.root.to_str().unwrap();
    let output = bare(&["--root", root, "state", "missing"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    let error = text(&output.stderr);
    assert_eq!(error.trim_end().lines().count(), 1, "{error}");
    if runtime().kind != Kind::Crun {
        assert!(error.contains("container does not exist"), "{error}");
    }
}

#[test]
fn the_log_takes_errors_as_json() {
    let c = Container::new();
    let (root, log) = (c.root.to_str().unwrap(), c.text_path("the.log"));
    for _ in 0..2 {
        bare(&["--root", root, "--log", &log, "--log-format", "json", "state", "missing"]);
    }
    let content = fs::read_to_string(&log).unwrap();
    assert_eq!(content.lines().count(), 2, "it is appended to: {content}");
    for line in content.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        let mut keys: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["level", "msg", "time"]);
        let line: LogLine = serde_json::from_str(line).unwrap();
        assert_eq!(line.level, "error");
        assert!(!line.msg.contains('\n') && !line.msg.is_empty());
        assert!(line.time.contains('T'), "{}", line.time);
    }
}

/// The log is an extra: standard error has the message as well, because containerd before 1.7 and people read
/// it.
#[test]
fn standard_error_has_the_message_as_well() {
    let c = Container::new();
    let run = c.call(&["state", "missing"]);
    assert!(run.stderr.contains(run.error()), "{run:#?}");
}

#[test]
fn the_log_takes_errors_as_text() {
    let c = Container::new();
    let (root, log) = (c.root.to_str().unwrap(), c.text_path("the.log"));
    bare(&["--root", root, "--log", &log, "--log-format", "text", "state", "missing"]);
    let content = fs::read_to_string(&log).unwrap();
    assert_eq!(content.lines().count(), 1, "{content}");
    if runtime().kind != Kind::Crun {
        assert!(content.contains("level=error") && content.contains("does not exist"), "{content}");
    }
}

#[test]
fn debug_tells_more() {
    let mut c = Container::new();
    c.args(&["/bin/true"]).globals = vec!["--debug".into()];
    let run = c.run(&[]).ok();
    assert!(!run.logged("debug").is_empty(), "{run:#?}");
    c.globals.clear();
    assert!(c.run(&[]).ok().logged("debug").is_empty());
}

#[test]
fn the_level_of_the_log_can_be_chosen() {
    since!("--log-level", "runc -", "crun 1.9");
    let mut c = Container::new();
    c.capabilities(&["CAP_OF_THE_FUTURE"]).args(&["/bin/true"]);
    c.globals = vec!["--log-level".into(), "error".into()];
    assert!(c.run(&[]).ok().log.is_empty());
    c.globals = vec!["--log-level".into(), "warning".into()];
    assert!(!c.run(&[]).ok().logged("warning").is_empty());
    c.globals = vec!["--log-level".into(), "debug".into()];
    assert!(!c.run(&[]).ok().logged("debug").is_empty());
    c.globals = vec!["--log-level".into(), "wishful".into()];
    assert_ne!(c.run(&[]).code(), 0);
}

#[test]
fn a_log_that_cannot_be_written_is_an_error() {
    let c = Container::new();
    let root = c.root.to_str().unwrap();
    let output = bare(&["--root", root, "--log", "/no/such/directory/log", "list"]);
    assert_ne!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("/no/such/directory/log"), "{output:?}");
}

#[test]
fn wrong_usage_is_refused() {
    for args in [
        &["--no-such-flag", "list"][..],
        &["no-such-command"],
        &["run", "--no-such-flag", "x"],
        &["state"],
        &["state", "one", "two"],
        &["kill"],
        &["create"],
        &["exec", "--user"],
    ] {
        let output = bare(args);
        // An unknown command prints the help and fails in runc from 1.0 on.
        assert_ne!(output.status.code(), Some(0), "{args:?}: {output:?}");
        assert!(!output.stderr.is_empty() || !output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn a_wrong_log_format_is_refused() {
    let output = bare(&["--log-format", "poem", "list"]);
    assert_ne!(output.status.code(), Some(0));
}

#[test]
fn the_root_of_the_host_is_no_state_directory() {
    since!("refusal of --root /", "runc 1.0", "crun -");
    let c = Container::new();
    let output = bare(&["--root", "/", "list"]);
    let again = bare(&["--root", "/", "delete", "--force", &c.id]);
    if runtime().is_ours() {
        assert_ne!(output.status.code(), Some(0));
        assert_ne!(again.status.code(), Some(0));
    }
    assert!(!std::path::Path::new("/").join(&c.id).exists());
}

/// Options may be written as `--name=value`, as callers in Go do.
#[test]
fn values_may_follow_an_equals_sign() {
    let mut c = Container::new();
    c.args(&["/bin/echo", "ran"]).write_config();
    let root = format!("--root={}", c.root.display());
    let bundle = format!("--bundle={}", c.bundle().display());
    let mut command = c.command("unused", &[]);
    let program = command.get_program().to_owned();
    let mut args: Vec<_> = command.get_args().map(std::ffi::OsStr::to_owned).collect();
    args.truncate(args.len() - 6);
    command = Command::new(program);
    let output =
        command.args(args).args([&root, "--log-format=json", "run", &bundle, &c.id]).output().unwrap();
    assert_eq!(text(&output.stdout), "ran\n", "{output:?}");
}

#[test]
fn the_rootless_option_is_taken() {
    let mut c = Container::new();
    c.args(&["/bin/echo", "ran"]);
    for value in ["auto", "false", "true"] {
        c.globals = vec![format!("--rootless={value}")];
        assert_eq!(c.run(&[]).ok().stdout, "ran\n", "{value}");
    }
    since!("check of --rootless", "runc 1.0", "crun -");
    c.globals = vec!["--rootless=perhaps".into()];
    assert_ne!(c.run(&[]).code(), 0);
}
