//! `--trace`: one timeline of a command and of the container's process.

use integration::container::Container;
use integration::since;
use serde_json::{Value, json};
use std::fs;

/// A step: who (1 is the command, 2 the container's process), name, begin and end in microseconds.
#[derive(Debug, Clone)]
struct Step {
    who: u64,
    name: String,
    begin: f64,
    end: f64,
}

/// The container writes what its commands do into a file of this name in its directory.
fn traced(container: &mut Container, file: &str) {
    container.globals = vec!["--trace".into(), container.text_path(file)];
}

/// All steps of a trace; the file has to be whole.
#[track_caller]
fn steps(container: &Container, file: &str) -> Vec<Step> {
    let text = fs::read_to_string(container.path(file)).unwrap();
    let events: Vec<Value> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let pids: Vec<&Value> = events.iter().map(|event| &event["pid"]).collect();
    assert!(pids.iter().all(|pid| *pid == pids[0]), "the trace of one process: {text}");
    let complete = events.iter().filter(|event| event["ph"] == "X");
    let steps = complete.map(|event| {
        let begin = event["ts"].as_f64().unwrap();
        let end = begin + event["dur"].as_f64().unwrap();
        Step { who: event["tid"].as_u64().unwrap(), name: event["name"].as_str().unwrap().into(), begin, end }
    });
    steps.collect()
}

#[track_caller]
fn named<'a>(steps: &'a [Step], name: &str) -> &'a Step {
    steps.iter().find(|step| step.name == name).unwrap_or_else(|| panic!("no step {name:?}: {steps:#?}"))
}

/// Each step begins after the one before it in the list.
#[track_caller]
fn in_order(steps: &[Step], who: u64, names: &[&str]) {
    let found: Vec<&Step> = names.iter().map(|name| named(steps, name)).collect();
    assert!(found.iter().all(|step| step.who == who), "{found:#?}");
    assert!(found.windows(2).all(|pair| pair[0].begin < pair[1].begin), "{found:#?}");
}

/// Of two steps of one process one is part of the other, or they do not meet. A nanosecond is lost in the
/// text.
#[track_caller]
fn nested(steps: &[Step]) {
    for (one, other) in steps.iter().flat_map(|one| steps.iter().map(move |other| (one, other))) {
        let apart = one.end <= other.begin + 0.01 || other.end <= one.begin + 0.01;
        let inside =
            |inner: &Step, outer: &Step| inner.begin >= outer.begin - 0.01 && inner.end <= outer.end + 0.01;
        let fine = one.who != other.who || apart || inside(one, other) || inside(other, one);
        assert!(fine, "{one:?} and {other:?}");
    }
}

const OF_THE_CHILD: [&str; 6] = [
    "reset signals",
    "root file system and mounts",
    "mount /proc",
    "pivot_root",
    "user and capabilities",
    "load the filter, report",
];

#[test]
fn a_run_is_one_timeline_of_both_processes() {
    since!("--trace", "runc -", "crun -");
    let mut container = Container::docker_like();
    fs::write(container.path("trace.json"), "something that was there before").unwrap();
    traced(&mut container, "trace.json");
    container.args(&["/bin/true"]).run(&[]).ok();
    let steps = steps(&container, "trace.json");
    nested(&steps);
    in_order(
        &steps,
        1,
        &[
            "run",
            "read config.json",
            "plan",
            "compile the seccomp filter",
            "make the state directory",
            "make the control groups",
            "make the container's process",
            "clone",
            "wait until it is ready",
            "start the program",
            "wait for the program",
            "delete",
        ],
    );
    in_order(&steps, 2, &OF_THE_CHILD);
    // One clock: what the child did, it did after it was born and before the command knew of it.
    let (clone, last) = (named(&steps, "clone"), named(&steps, "write the record"));
    for step in steps.iter().filter(|step| step.who == 2) {
        assert!(clone.begin < step.begin && step.end <= last.begin + 0.01, "{step:?}: {clone:?} to {last:?}");
    }
    let whole = named(&steps, "run");
    assert!(steps.iter().all(|step| step.begin >= whole.begin && step.end <= whole.end), "{steps:#?}");
    // It has executed itself from a sealed file, and that is in the file too.
    let text = fs::read_to_string(container.path("trace.json")).unwrap();
    let sealed = |kind: &str| {
        let is = format!("{{\"ph\":\"{kind}\"");
        text.lines().filter(|line| line.starts_with(&is)).count()
    };
    assert_eq!((sealed("B"), sealed("E")), (1, 1), "{text}");
}

#[test]
fn a_container_whose_clock_is_another_one_is_on_the_same_timeline() {
    since!("--trace", "runc -", "crun -");
    let mut container = Container::new();
    container.namespace("time", None);
    container.put("/linux/timeOffsets", json!({ "monotonic": { "secs": 864_000, "nanosecs": 5 } }));
    if !std::path::Path::new("/proc/self/ns/time").exists() {
        integration::skip!("needs time namespaces");
    }
    traced(&mut container, "trace.json");
    container.args(&["/bin/true"]).run(&[]).ok();
    let steps = steps(&container, "trace.json");
    let (first, last) = (named(&steps, "clone"), named(&steps, "write the record"));
    in_order(&steps, 2, &OF_THE_CHILD);
    // The clocks are compared one after the other, and that takes time.
    let slack = 1000.0;
    for step in steps.iter().filter(|step| step.who == 2) {
        assert!(
            step.begin > first.begin - slack && step.end < last.begin + slack,
            "{step:?}, {first:?}, {last:?}"
        );
    }
}

#[test]
fn each_command_can_be_traced() {
    since!("--trace", "runc -", "crun -");
    let mut container = Container::docker_like();
    container.args(&["/bin/sleep", "1000"]);
    for (file, verb) in [("create", "create"), ("start", "start"), ("exec", "exec"), ("delete", "delete")] {
        traced(&mut container, file);
        match verb {
            "create" => drop(container.create()),
            "start" => drop(container.start()),
            "exec" => drop(container.exec(&[], &["/bin/true"]).ok()),
            _ => drop(container.delete_force().ok()),
        }
        let steps = steps(&container, file);
        nested(&steps);
        assert_eq!(named(&steps, verb).who, 1);
        let of_child = steps.iter().filter(|step| step.who == 2).count();
        assert_eq!(of_child > 0, matches!(verb, "create" | "exec"), "{verb}: {steps:#?}");
    }
}

#[test]
fn a_command_that_fails_leaves_a_whole_timeline() {
    since!("--trace", "runc -", "crun -");
    let mut container = Container::docker_like();
    traced(&mut container, "trace.json");
    assert_ne!(container.args(&["/no/such"]).run(&[]).code(), 0);
    in_order(&steps(&container, "trace.json"), 2, &OF_THE_CHILD[..5]);
    container.put("/process/cwd", json!("relative"));
    assert_ne!(container.run(&[]).code(), 0);
    let seen = steps(&container, "trace.json");
    in_order(&seen, 1, &["read config.json", "plan"]);
    assert!(seen.iter().all(|step| step.who == 1), "{seen:#?}");
}

#[test]
fn a_file_that_cannot_be_written_is_said_before_anything_is_done() {
    since!("--trace", "runc -", "crun -");
    let mut container = Container::docker_like();
    traced(&mut container, "no/such/directory");
    let outcome = container.run(&[]);
    assert_eq!(outcome.code(), 1);
    assert!(outcome.error().contains("no such file or directory"), "{outcome:#?}");
    assert!(!container.root.join(&container.id).exists());
}
