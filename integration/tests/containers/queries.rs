//! What callers read and parse: `state`, `list`, `ps`, `features`, `spec`, `--version`, `help`, `events`.

use super::bare;
use integration::container::Container;
use integration::outcome::Outcome;
use integration::runtime::{Kind, runtime};
use integration::{host, outcome, since, skip};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;

#[test]
fn state_is_as_the_specification_says() {
    let mut c = Container::new();
    c.put("/annotations", json!({ "org.example.a": "b" }));
    c.args(&["/probe", "sleep"]);
    c.create();
    let state = c.state();
    assert_eq!(state["id"], c.id);
    assert_eq!(state["status"], "created");
    assert_eq!(state["pid"], c.pid());
    assert_eq!(state["bundle"], c.bundle().to_str().unwrap());
    assert_eq!(state["annotations"]["org.example.a"], "b");
    assert!(state["ociVersion"].as_str().is_some_and(|version| version.starts_with("1.")), "{state}");
    assert_eq!(state["rootfs"], c.rootfs("").to_str().unwrap().trim_end_matches('/'));
    assert_is_time(&state["created"]);
    // Only `list` looks the name up in runc.
    assert!(["", "root"].contains(&state["owner"].as_str().unwrap()), "{state}");
}

/// RFC 3339, as Go writes it: `2026-01-02T03:04:05.678901234Z`.
#[track_caller]
fn assert_is_time(value: &Value) {
    let text = value.as_str().unwrap_or_default();
    let digits = |range: std::ops::Range<usize>| {
        text.get(range).is_some_and(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let shape =
        digits(0..4) && digits(5..7) && digits(8..10) && digits(11..13) && digits(14..16) && digits(17..19);
    assert!(shape && text.as_bytes()[10] == b'T' && text.ends_with('Z'), "{value}");
}

#[test]
fn status_follows_the_container() {
    let mut c = Container::new();
    c.args(&["/probe", "sleep"]);
    c.create();
    assert_eq!(c.status(), "created");
    c.start();
    assert_eq!(c.status(), "running");
    c.call(&["pause", &c.id]).ok();
    assert_eq!(c.status(), "paused");
    c.call(&["resume", &c.id]).ok();
    assert_eq!(c.status(), "running");
    c.kill("KILL").ok();
    c.wait();
    assert_eq!(c.status(), "stopped");
    assert_eq!(c.state()["pid"], 0);
}

/// Three containers of one state directory: created, running, stopped.
fn three() -> [Container; 3] {
    let mut first = Container::new();
    let mut second = Container::new();
    let mut third = Container::new();
    second.root = first.root.clone();
    third.root = first.root.clone();
    first.args(&["/probe", "sleep"]);
    first.create();
    second.sleeping();
    third.sleeping();
    third.kill("KILL").ok();
    third.wait();
    [first, second, third]
}

#[test]
fn list_has_every_container() {
    let [first, second, third] = three();
    let list = first.call(&["list", "--format", "json"]).ok().json();
    let list = list.as_array().unwrap();
    assert_eq!(list.len(), 3);
    for (c, status) in [(&first, "created"), (&second, "running"), (&third, "stopped")] {
        let entry = list.iter().find(|entry| entry["id"] == c.id).unwrap();
        assert_eq!(entry["status"], status);
        assert_eq!(entry["bundle"], c.bundle().to_str().unwrap());
        assert_eq!(entry["pid"] == 0, status == "stopped");
        assert_eq!(entry["owner"], "root");
        assert_is_time(&entry["created"]);
    }
    assert_eq!(first.call(&["list", "-f", "json"]).ok().json().as_array().map(Vec::len), Some(3));

    let table = first.call(&["list"]).ok().stdout;
    let mut lines = table.lines();
    let head: Vec<_> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    assert_eq!(lines.count(), 3);

    for flag in ["--quiet", "-q"] {
        let mut ids: Vec<_> = first.call(&["list", flag]).ok().stdout.lines().map(str::to_owned).collect();
        ids.sort();
        let mut expected = [first.id.clone(), second.id.clone(), third.id.clone()];
        expected.sort();
        assert_eq!(ids, expected);
    }
}

#[test]
fn an_empty_list_is_empty() {
    let c = Container::new();
    fs::create_dir(&c.root).unwrap();
    assert_eq!(c.call(&["list", "-q"]).ok().stdout, "");
    let text = c.call(&["list", "--format", "json"]).ok().stdout;
    assert!(["null", "[]"].contains(&text.trim()), "{text:?}");
    let run = c.call(&["list", "--format", "prose"]);
    assert_ne!(run.code(), 0);
}

#[test]
fn ps_shows_the_processes() {
    let mut c = Container::new();
    c.args(&["/probe", "orphans", "2"]);
    c.run_detached();
    c.await_line("ready");
    let pids = c.call(&["ps", "--format", "json", &c.id]).ok().json();
    let mut pids: Vec<i64> = pids.as_array().unwrap().iter().filter_map(Value::as_i64).collect();
    pids.sort_unstable();
    let mut expected: Vec<i64> = integration::leaks::processes(&c.id).into_iter().map(i64::from).collect();
    expected.sort_unstable();
    assert_eq!(pids, expected);
    assert_eq!(pids.len(), 3);

    let table = c.call(&["ps", &c.id]).ok().stdout;
    assert!(table.lines().next().unwrap().contains("PID"), "{table}");
    assert_eq!(table.lines().count(), 4, "{table}");
    for pid in pids {
        assert!(
            table.lines().any(|line| line.split_whitespace().any(|word| word == pid.to_string())),
            "{pid}: {table}"
        );
    }
}

#[test]
fn ps_takes_the_arguments_of_ps() {
    since!("ps arguments", "runc 1.0", "crun -");
    let mut c = Container::new();
    let pid = c.sleeping();
    let table = c.call(&["ps", &c.id, "-e", "-o", "pid,comm"]).ok().stdout;
    let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words, [vec!["PID", "COMMAND"], vec![&pid.to_string(), "probe"]]);
}

#[test]
fn the_version_is_what_go_runc_parses() {
    for flag in ["--version", "-v"] {
        let output = bare(&[flag]);
        assert!(output.status.success());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let name = runtime().title.split(' ').next().unwrap();
        let first = text.lines().next().unwrap();
        let version = first.strip_prefix(&format!("{name} version ")).expect(first);
        assert!(version.split('.').count() >= 3, "{version}");
        let spec = text.lines().find_map(|line| line.strip_prefix("spec: ")).expect("spec: line");
        assert!(spec.starts_with("1."), "{spec}");
        if runtime().is_ours() {
            let commit = text.lines().find_map(|line| line.strip_prefix("commit: "));
            assert!(commit.is_some_and(|commit| !commit.is_empty()), "{text}");
            assert!(spec.starts_with("1.3."), "{spec}");
        }
    }
}

#[test]
fn features_are_the_document_of_the_specification() {
    since!("features", "runc 1.1", "crun 1.8");
    let output = bare(&["features"]);
    assert!(output.status.success());
    let features: Value = serde_json::from_slice(&output.stdout).unwrap();
    let has = |pointer: &str, wanted: &str| {
        let list = features.pointer(pointer).and_then(Value::as_array);
        list.is_some_and(|list| list.iter().any(|value| value == wanted))
    };
    assert_eq!(features["ociVersionMin"], "1.0.0");
    for hook in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        assert!(has("/hooks", hook), "{hook}");
    }
    for option in ["bind", "rbind", "ro", "rro", "nosuid", "tmpcopyup", "rprivate", "rshared"] {
        assert!(has("/mountOptions", option), "{option}");
    }
    for kind in ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"] {
        assert!(has("/linux/namespaces", kind), "{kind}");
    }
    for name in ["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE"] {
        assert!(has("/linux/capabilities", name), "{name}");
    }
    for action in ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_LOG"] {
        assert!(has("/linux/seccomp/actions", action), "{action}");
    }
    assert!(has("/linux/seccomp/archs", "SCMP_ARCH_X86_64"));
    assert_eq!(features.pointer("/linux/seccomp/enabled"), Some(&json!(true)));
    assert_eq!(features.pointer("/linux/cgroup/v1"), Some(&json!(true)));
    assert_eq!(features.pointer("/linux/cgroup/v2"), Some(&json!(true)));
}

/// What containerd and Kubernetes decide by, and what is new in the specification 1.3.
#[test]
fn features_name_what_engines_ask_for() {
    since!("features of specification 1.3", "runc 1.4", "crun -");
    let features: Value = serde_json::from_slice(&bare(&["features"]).stdout).unwrap();
    assert!(features["ociVersionMax"].as_str().is_some_and(|version| version.starts_with("1.3.")));
    for pointer in [
        "/linux/mountExtensions/idmap/enabled",
        "/linux/netDevices/enabled",
        "/linux/apparmor/enabled",
        "/linux/selinux/enabled",
        "/linux/intelRdt/enabled",
    ] {
        assert!(features.pointer(pointer).is_some_and(Value::is_boolean), "{pointer}");
    }
    assert_eq!(features.pointer("/linux/mountExtensions/idmap/enabled"), Some(&json!(true)));
    assert_eq!(features.pointer("/linux/netDevices/enabled"), Some(&json!(true)));
    assert!(features.pointer("/linux/memoryPolicy/modes").is_some_and(Value::is_array));
    assert!(features.pointer("/linux/namespaces").unwrap().as_array().unwrap().contains(&json!("time")));
    assert!(features["potentiallyUnsafeConfigAnnotations"].is_array());
}

/// Every mount option that `features` names must be taken; otherwise callers are led astray.
#[test]
fn every_mount_option_of_features_is_taken() {
    since!("mount options that are true to features", "runc -", "crun -");
    let features: Value = serde_json::from_slice(&bare(&["features"]).stdout).unwrap();
    for option in features["mountOptions"].as_array().unwrap() {
        let option = option.as_str().unwrap();
        if ["idmap", "ridmap", "remount", "copy-symlink", "tmpcopyup"].contains(&option) {
            continue; // Each has a test of its own: they need more than an option.
        }
        let mut c = Container::new();
        let source = c.text_path("rootfs/etc");
        c.mount(
            json!({ "destination": "/mnt", "type": "bind", "source": source, "options": ["rbind", option] }),
        );
        c.args(&["/bin/true"]);
        let run = c.run(&[]);
        assert!(run.status.success(), "{option}: {run:#?}");
    }
}

#[test]
fn spec_writes_a_configuration_that_runs() {
    let mut c = Container::new();
    let directory = c.path("new");
    fs::create_dir(&directory).unwrap();
    let in_it = |args: &[&str]| -> Outcome {
        c.call_with(args, |command| {
            command.current_dir(&directory);
        })
    };
    in_it(&["spec"]).ok();
    let text = fs::read_to_string(directory.join("config.json")).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(config["process"]["args"], json!(["sh"]));
    assert_eq!(config["process"]["terminal"], true);
    assert_eq!(config["root"]["path"], "rootfs");
    // An existing file is not overwritten.
    let again = in_it(&["spec"]);
    assert_ne!(again.code(), 0, "{again:#?}");
    assert_eq!(fs::read_to_string(directory.join("config.json")).unwrap(), text);

    let other = c.text_path("other");
    fs::create_dir(&other).unwrap();
    c.call(&["spec", "--bundle", &other]).ok();
    assert!(c.path("other/config.json").exists());

    c.config = config;
    let mark = format!("{}={}", integration::container::MARK, c.id);
    c.put("/process/env/-", json!(mark)).put("/process/terminal", json!(false));
    assert_eq!(c.script("id -u; pwd"), "0\n/\n");
}

#[test]
fn help_is_given() {
    for args in [
        &["--help"][..],
        &["help"],
        &["run", "--help"],
        &["exec", "--help"],
        &["help", "create"],
        &["help", "help"],
    ] {
        if runtime().kind == Kind::Crun && args[0] == "help" {
            skip!("{} has no help command", runtime().title);
        }
        let output = bare(args);
        assert!(output.status.success(), "{args:?}");
        assert!(
            String::from_utf8_lossy(&output.stdout).to_lowercase().contains("usage"),
            "{args:?}: {output:?}"
        );
    }
}

#[test]
fn an_output_that_is_full_is_told() {
    since!("a message for an output that is full", "runc -", "crun -");
    for args in [&["--version"][..], &["help"], &["--help"], &[], &["help", "run"], &["features"]] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = Command::new(&runtime().path).args(args).stdout(full).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("write to standard output: no space left on device"), "{args:?}: {output:?}");
        assert_eq!(output.status.code(), Some(1), "{args:?}");
    }
}

#[test]
fn every_command_is_in_the_help() {
    let text = String::from_utf8_lossy(&bare(&["--help"]).stdout).into_owned();
    let mut commands = vec![
        "create", "run", "start", "state", "kill", "delete", "list", "ps", "exec", "pause", "resume",
        "update", "spec",
    ];
    if runtime().is_ours() {
        commands.extend(["events", "features", "mounts", "completion", "help", "version"]);
    }
    for command in commands {
        assert!(text.split(|c: char| !c.is_alphanumeric()).any(|word| word == command), "{command}: {text}");
    }
}

#[test]
fn completion_is_written_for_shells() {
    since!("completion", "runc -", "crun -");
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let output = bare(&["completion", shell]);
        assert!(output.status.success(), "{shell}: {output:?}");
        // What is written must be a script of that shell.
        let path = integration::rootfs::base().join(format!("completion.{shell}"));
        fs::write(&path, output.stdout).unwrap();
        match Command::new(shell).arg(check).arg(&path).status() {
            Ok(status) => assert!(status.success(), "{shell}"),
            Err(_) => skip::say(&format!("needs {shell}")),
        }
    }
}

/// What the scripts ask for: containers of the root that is named, and nothing that only looks like one.
#[test]
fn containers_are_offered() {
    since!("completion", "runc -", "crun -");
    let [first, second, third] = three();
    fs::create_dir(first.root.join("no-container")).unwrap();
    let root = format!("--root={}", first.root.display());
    let mut expected = [&first.id, &second.id, &third.id].map(|id| format!("{id}\t"));
    expected.sort();
    let run = first.call(&["completion", "words", "--", &root, "delete", "--force", ""]).ok();
    assert_eq!(run.stdout.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn events_give_statistics() {
    let mut c = Container::new();
    c.args(&["/probe", "spin"]);
    c.run_detached();
    since!("events", "runc 1.0", "crun -");
    let run = c.call(&["events", "--stats", &c.id]).ok();
    let event = run.json();
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(c.id)));
    let data = &event["data"];
    if host::has_controller("pids") {
        assert!(data["pids"]["current"].as_u64().is_some_and(|count| count >= 1), "{event}");
    }
    if host::has_controller("cpuacct") || host::has_controller("cpu") {
        let total = || {
            let event = c.call(&["events", "--stats", &c.id]).ok().json();
            event["data"]["cpu"]["usage"]["total"].as_u64().unwrap()
        };
        let first = total();
        outcome::until("time that passes", || total() > first);
    }
    if host::has_controller("memory") {
        assert!(data["memory"]["usage"]["usage"].as_u64().is_some_and(|bytes| bytes > 0), "{event}");
    }
}

#[test]
fn events_come_at_an_interval_until_the_end() {
    since!("events", "runc 1.0", "crun -");
    let mut c = Container::new();
    c.sleeping();
    let run = c.launch(&["events", "--interval", "10ms", &c.id]);
    outcome::until("three events", || run.output().lines().count() >= 3);
    c.kill("KILL").ok();
    c.wait();
    c.delete().ok();
    let run = run.finish();
    for line in run.stdout.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["id"], c.id);
    }
}

#[test]
fn events_at_an_interval_beyond_all_time_wait_for_the_end() {
    since!("events", "runc -", "crun -");
    let mut c = Container::new();
    c.shell("sleep 2");
    c.run_detached();
    let run = c.call(&["events", "--interval", "10000000000000000000s", &c.id]).ok();
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
}

#[test]
fn events_tell_of_memory_that_ran_out() {
    since!("events", "runc 1.0", "crun -");
    if !host::has_controller("memory") {
        skip!("needs the memory controller");
    }
    let mut c = Container::new();
    c.put("/linux/resources/memory", json!({ "limit": 20_000_000, "swap": 20_000_000 }));
    c.put("/root/readonly", json!(false));
    c.shell("echo ready; while [ ! -e /go ]; do sleep 0.01; done; /probe allocate 200000000; sleep 600");
    c.run_detached();
    c.await_line("ready");
    let run = c.launch(&["events", "--interval", "20ms", &c.id]);
    outcome::until("a first event", || !run.output().is_empty());
    fs::write(c.rootfs("go"), "").unwrap();
    outcome::until("the oom event", || run.output().lines().any(|line| line.contains("\"oom\"")));
    c.delete_force().ok();
    run.finish();
}

#[test]
fn a_missing_container_is_said_so_by_every_command() {
    let c = Container::new();
    let id = c.id.as_str();
    for args in [
        vec!["state", id],
        vec!["start", id],
        vec!["kill", id],
        vec!["delete", id],
        vec!["ps", id],
        vec!["pause", id],
        vec!["resume", id],
        vec!["update", "--pids-limit", "5", id],
        vec!["exec", id, "true"],
        vec!["events", "--stats", id],
    ] {
        if runtime().kind == Kind::Crun && args[0] == "events" {
            continue;
        }
        let run = c.call(&args);
        if runtime().kind != Kind::Crun {
            assert!(run.error().contains("does not exist"), "{run:#?}");
        }
        assert_eq!(run.code(), if args[0] == "exec" { 255 } else { 1 }, "{args:?}");
    }
}
