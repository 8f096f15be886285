//! Input that is meant to exhaust: bounded time and memory, one clear error or success.

use integration::container::Container;
use integration::outcome::Outcome;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs;

/// Runs the runtime with at most this much address space: more than it may ever need, less than the machine
/// has.
fn bounded(c: &mut Container, megabytes: u64) {
    let words = ["prlimit".to_owned(), format!("--as={}", megabytes << 20), "--".to_owned()];
    c.via.splice(0..0, words.map(OsString::from));
}

/// Success, or one clear error: no death by a signal, no message of many pages.
#[track_caller]
fn assert_orderly(run: &Outcome) {
    let end = (run.status, run.stderr.chars().take(500).collect::<String>());
    assert!(run.status.code().is_some(), "{end:?}");
    if !run.status.success() {
        let error = run.error();
        assert!(error.len() < 8192, "an error of {} bytes: {}…", error.len(), &error[..200]);
    }
}

fn run_text(c: &mut Container, text: &str) -> Outcome {
    fs::write(c.path("config.json"), text).unwrap();
    c.call(&["run", "--bundle", c.bundle().to_str().unwrap(), &c.id])
}

#[test]
fn json_that_is_deep() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let depth = 1_000_000;
        let mut c = Container::new();
        bounded(&mut c, 512);
        let text =
            format!("{{\"ociVersion\":\"1.0.2\",\"x\":{}1{}}}", open.repeat(depth), close.repeat(depth));
        let run = run_text(&mut c, &text);
        assert_orderly(&run);
        assert!(!run.status.success());
    }
}

#[test]
fn json_that_is_huge() {
    let mut c = Container::new();
    bounded(&mut c, 1024);
    c.put("/annotations/x", json!("y".repeat(16 << 20))).args(&["/bin/true"]);
    assert_orderly(&c.run(&[]));
}

#[test]
fn mounts_without_number() {
    let mut c = Container::new();
    bounded(&mut c, 1024);
    let many: Vec<Value> = (0..100_000)
        .map(|number| json!({ "destination": format!("/tmp/{number}"), "type": "bind", "source": "/nonexistent", "options": ["bind"] }))
        .collect();
    let mounts = c.config["mounts"].as_array_mut().unwrap();
    mounts.extend(many);
    c.args(&["/bin/true"]);
    let run = c.run(&[]);
    assert_orderly(&run);
    assert!(!run.status.success());
}

#[test]
fn variables_without_number() {
    let mut c = Container::new();
    bounded(&mut c, 1024);
    c.args(&["/bin/true"]).put("/process/env", json!(["@"]));
    let many: Vec<String> = (0..1_000_000).map(|number| format!("\"V{number}=x\"")).collect();
    let text = c.config.to_string().replace("\"@\"", &many.join(","));
    // More than the kernel takes: an error, after all of them were looked at.
    let run = run_text(&mut c, &text);
    assert_orderly(&run);
    assert!(!run.status.success());
}

/// More than 64 KiB of id maps, whose length another runtime kept in 16 bits (CVE-2021-43784).
#[test]
fn id_maps_of_thousands_of_lines() {
    for lines in [200_u32, 10_000] {
        let mut c = Container::new();
        bounded(&mut c, 1024);
        let map: Vec<Value> = (0..lines)
            .map(|line| json!({ "containerID": line * 2, "hostID": 200_000 + line * 2, "size": 1 }))
            .collect();
        c.namespace("user", None);
        c.put("/linux/uidMappings", json!(map)).put("/linux/gidMappings", json!(map));
        c.give_rootfs_to(200_000);
        // Its group is not mapped.
        c.unmount("/dev/pts");
        c.args(&["/bin/cat", "/proc/self/uid_map"]);
        let run = c.run(&[]);
        assert_orderly(&run);
        // The kernel takes 340 lines, and a page of text (user_namespaces(7)); what comes out is what went
        // in.
        assert!(run.status.success() == (lines <= 340), "{lines} lines: {run:#?}");
        if run.status.success() {
            assert_eq!(run.stdout.lines().count(), lines as usize);
        }
    }
}

#[test]
fn namespace_paths_of_any_length() {
    let mut c = Container::new();
    bounded(&mut c, 512);
    c.namespace("network", Some(&format!("/{}", "x/".repeat(70_000)))).args(&["/bin/true"]);
    let run = c.run(&[]);
    assert_orderly(&run);
    assert!(!run.status.success());
}

/// Lists in which no two entries are the same: work that grows with the square of their number would show.
#[test]
fn different_entries_without_number() {
    let many = |entry: &dyn Fn(u32) -> Value| json!((0..50_000).map(entry).collect::<Vec<_>>());
    let device = |number: u32| json!({ "allow": true, "type": "c", "major": number / 256, "minor": number % 256, "access": "r" });
    let node =
        |number: u32| json!({ "path": format!("/dev/x{number}"), "type": "c", "major": 1, "minor": 3 });
    let call = |number: u32| json!({ "names": [format!("call{number}")], "action": "SCMP_ACT_ERRNO" });
    let setting = |number: u32| (format!("net.x.y{number}"), json!("1"));
    let interface = |number: u32| (format!("if{number}"), json!({}));
    for (pointer, value) in [
        ("/process/capabilities/bounding", many(&|number| json!(format!("CAP_{number}")))),
        ("/process/capabilities/ambient", many(&|number| json!(format!("CAP_{number}")))),
        ("/linux/maskedPaths", many(&|number| json!(format!("/nonexistent/{number}")))),
        ("/linux/resources/devices", many(&device)),
        ("/linux/resources/devices", json!((0..8000).map(device).collect::<Vec<_>>())),
        ("/linux/devices", many(&node)),
        ("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": many(&call) })),
        ("/linux/sysctl", Value::Object((0..50_000).map(setting).collect())),
        ("/linux/netDevices", Value::Object((0..200_000).map(interface).collect())),
        ("/hooks/poststop", many(&|number| json!({ "path": format!("relative{number}") }))),
    ] {
        let mut c = Container::new();
        bounded(&mut c, 1024);
        c.via.splice(0..0, ["timeout", "--signal=SEGV", "60"].map(OsString::from));
        c.args(&["/bin/true"]).put(pointer, value);
        let run = c.run(&[]);
        assert_orderly(&run);
        assert!(run.stderr.len() < 1 << 20, "{pointer}: {} bytes of messages", run.stderr.len());
    }
}

/// Filters of a few megabytes that compile to next to nothing, or to far too much: every rule looks at every
/// other.
#[test]
fn conditions_without_number() {
    let equal = |value: u32| json!({ "index": 0, "value": value * 2, "op": "SCMP_CMP_EQ" });
    let args = |count: u32| (0..count).map(equal).collect::<Vec<_>>();
    let rule =
        |names: Value, args: Vec<Value>| json!({ "names": names, "action": "SCMP_ACT_ERRNO", "args": args });
    let many = (0..20_000).map(|value| rule(json!(["reboot"]), vec![equal(value)])).collect();
    let useless = json!({ "names": vec!["reboot"; 20_000], "action": "SCMP_ACT_TRAP" });
    for (what, syscalls) in [
        ("rules on one call", many),
        ("conditions on one call", vec![rule(json!(["reboot"]), args(20_000))]),
        ("times one call", vec![rule(json!(vec!["reboot"; 20_000]), args(2000))]),
        ("rules that decide nothing", vec![rule(json!(["reboot"]), Vec::new()), useless]),
    ] {
        let mut c = Container::new();
        bounded(&mut c, 1024);
        c.via.splice(0..0, ["timeout", "--signal=SEGV", "60"].map(OsString::from));
        c.put("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": syscalls }));
        let run = c.args(&["/bin/true"]).run(&[]);
        assert_orderly(&run);
        assert!(run.stderr.len() < 1 << 20, "{what}: {} bytes of messages", run.stderr.len());
    }
}

/// Files that come from others, and that never answer: refused, not waited for. The process of an exec is its
/// caller's own.
#[test]
fn files_that_never_answer_are_refused() {
    let fifo = |c: &Container| {
        let path = c.path("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for what in ["namespace", "config.json", "seccomp"] {
        let mut c = Container::new();
        let path = fifo(&c);
        let bundle = c.bundle().to_str().unwrap().to_owned();
        c.via.splice(0..0, ["timeout", "--signal=SEGV", "20"].map(OsString::from));
        let run = match what {
            "namespace" => c.namespace("network", Some(&path)).args(&["/bin/true"]).run(&[]),
            "config.json" => {
                fs::rename(&path, c.path("config.json")).unwrap();
                c.call(&["run", "--bundle", &bundle, &c.id])
            }
            _ => c.call(&["seccomp", "compile", &path]),
        };
        assert_orderly(&run);
        assert!(!run.status.success(), "{what}: {run:#?}");
    }
}

#[test]
fn lists_of_every_kind_without_number() {
    let fill = |value: Value| json!(vec![value; 50_000]);
    for (pointer, value) in [
        ("/process/args", fill(json!("x"))),
        ("/process/user/additionalGids", fill(json!(1))),
        ("/process/capabilities/bounding", fill(json!("CAP_KILL"))),
        ("/process/rlimits", fill(json!({ "type": "RLIMIT_CORE", "soft": 1, "hard": 1 }))),
        ("/linux/maskedPaths", fill(json!("/nonexistent"))),
        ("/linux/readonlyPaths", fill(json!("/nonexistent"))),
        ("/linux/resources/devices", fill(json!({ "allow": false, "access": "rwm" }))),
        ("/linux/namespaces", fill(json!({ "type": "pid" }))),
    ] {
        let mut c = Container::new();
        bounded(&mut c, 1024);
        c.args(&["/bin/true"]).put(pointer, value);
        assert_orderly(&c.run(&[]));
    }
}
