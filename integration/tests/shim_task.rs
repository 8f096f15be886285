//! The task service without containerd: every call, in the states it can meet.

use integration::shim::client::{TASK_V3, frame};
use integration::shim::pod::{self, until};
use integration::shim::wire::Writer;
use integration::shim::{Client, Delay, Failure, Output, Pod, Stdio, fifo};
use integration::{host, needs, skip};
use serde_json::json;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const NOT_FOUND: u64 = 5;
const ALREADY_EXISTS: u64 = 6;
const FAILED_PRECONDITION: u64 = 9;
const UNIMPLEMENTED: u64 = 12;

#[test]
fn a_container_lives_and_ends() {
    let mut pod = Pod::new(&["sh", "-c", "echo out; echo err >&2; cat; exit 7"]);
    let stdio = Stdio::fifos(pod.directory(), "init");
    let (out, err) = (Output::of(&stdio.stdout), Output::of(&stdio.stderr));
    let pid = pod.create(0, &stdio);
    assert_eq!(pod.state(0, ""), 1);
    assert_eq!(pod.start(0, "").unwrap().number(1), pid as u64);
    assert_eq!(pod.state(0, ""), 2);
    fifo::write(&stdio.stdin, "typed\n");
    out.expect("typed");
    let close = pod.named(0, "").number(3, 1);
    pod.client.call("CloseIO", &close).unwrap();
    assert_eq!(pod.wait(0, ""), 7);
    assert_eq!(pod.state(0, ""), 3);
    let deleted = pod.call("Delete", 0, "").unwrap();
    assert_eq!((deleted.number(1), deleted.number(2)), (pid as u64, 7));
    assert_eq!(out.end(), "out\ntyped\n");
    assert_eq!(err.end(), "err\n");
    let id = pod.id();
    pod.sink.wait("/tasks/delete", &id, 1);
    let expected = ["create", "start", "exit", "delete"].map(|topic| format!("{topic} {id}"));
    assert_eq!(pod.sink.briefs(&id), expected);
    pod.shutdown();
}

#[test]
fn both_versions_of_the_service_are_there_and_no_other() {
    let mut pod = Pod::new(&["sleep", "60"]);
    pod.run(0);
    if pod::is_ours() {
        pod.client.service = TASK_V3;
        assert_eq!(pod.state(0, ""), 2);
    }
    for (service, method) in
        [("containerd.runtime.sandbox.v1.Sandbox", "Platform"), ("containerd.task.v2.Task", "Dance")]
    {
        pod.client.service = service;
        let refused = pod.client.call(method, &Writer::new()).unwrap_err();
        assert_eq!(refused.code, UNIMPLEMENTED, "{service} {method}: {refused:?}");
    }
}

#[test]
fn what_is_not_there_is_not_found() {
    let mut pod = Pod::new(&["sleep", "60"]);
    let methods = [
        "State",
        "Start",
        "Delete",
        "Pids",
        "Pause",
        "Resume",
        "Checkpoint",
        "Kill",
        "Exec",
        "ResizePty",
        "CloseIO",
        "Update",
        "Wait",
        "Stats",
    ];
    for method in methods {
        let refused = pod.call(method, 0, "").unwrap_err();
        assert_eq!((refused.code, refused.text.as_str()), (NOT_FOUND, "container not created"), "{method}");
    }
    // The one call that containerd makes to see whether the shim is alive.
    let connect = pod.call("Connect", 0, "").unwrap();
    assert!(connect.number(1) > 0 && connect.number(2) == 0);
    let pid = pod.run(0);
    assert_eq!(pod.call("Connect", 0, "").unwrap().number(2), pid as u64);
    for method in ["State", "Start", "Delete", "Kill", "ResizePty", "CloseIO", "Wait"] {
        let refused = pod.call(method, 0, "nobody").unwrap_err();
        assert_eq!(refused.code, NOT_FOUND, "{method}: {}", refused.text);
        assert!(refused.text.contains("process does not exist nobody"), "{}", refused.text);
    }
}

/// Every call in every state of a container: what is refused, and how.
#[test]
fn calls_in_the_wrong_state_are_refused() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: the codes of others are Unknown");
    }
    let mut pod = Pod::new(&["sleep", "600"]);
    let refused = |answer: Result<_, Failure>, text: &str| {
        let failure: Failure = Result::<integration::shim::wire::Message, _>::unwrap_err(answer);
        assert_eq!(failure.code, FAILED_PRECONDITION, "{failure:?}");
        assert!(failure.text.contains(text), "{failure:?}");
    };
    // Created.
    pod.create(0, &Stdio::default());
    refused(pod.call("Pause", 0, ""), "cannot pause a container in created state");
    refused(pod.call("Resume", 0, ""), "cannot resume a created container");
    refused(pod.call("Checkpoint", 0, ""), "cannot checkpoint a container in created state");
    let again = pod.send_create(0, &Stdio::default());
    assert_eq!(pod.client.answer(again).unwrap_err().code, ALREADY_EXISTS);
    // Running.
    pod.start(0, "").unwrap();
    refused(pod.start(0, ""), "cannot start a running process");
    refused(pod.call("Delete", 0, ""), "cannot delete a running process");
    refused(pod.call("Resume", 0, ""), "cannot resume a running container");
    pod.exec(0, "e", &["sleep", "600"], &Stdio::default()).unwrap();
    assert_eq!(pod.exec(0, "e", &["true"], &Stdio::default()).unwrap_err().code, ALREADY_EXISTS);
    refused(pod.kill(0, "e", 9, false), "process not created");
    pod.start(0, "e").unwrap();
    refused(pod.start(0, "e"), "cannot start a running process");
    refused(pod.call("Delete", 0, "e"), "cannot delete a running process");
    // Paused.
    pod.call("Pause", 0, "").unwrap();
    assert_eq!((pod.state(0, ""), pod.state(0, "e")), (4, 4));
    refused(pod.call("Pause", 0, ""), "cannot pause a container in paused state");
    refused(pod.exec(0, "f", &["true"], &Stdio::default()), "cannot exec in a paused state");
    refused(pod.call("Delete", 0, ""), "cannot delete a paused process");
    pod.call("Resume", 0, "").unwrap();
    assert_eq!((pod.state(0, ""), pod.state(0, "e")), (2, 2));
    // Stopped.
    pod.kill(0, "", 9, true).unwrap();
    assert_eq!(pod.wait(0, ""), 137);
    refused(pod.start(0, ""), "cannot start a stopped process");
    refused(pod.call("Pause", 0, ""), "cannot pause a container in stopped state");
    refused(pod.exec(0, "g", &["true"], &Stdio::default()), "cannot exec in a stopped state");
    let update = pod.named(0, "");
    refused(pod.client.call("Update", &update), "cannot update a stopped container");
    assert_eq!(pod.kill(0, "", 9, false).unwrap_err().code, NOT_FOUND);
    assert_eq!(pod.kill(0, "e", 9, false).unwrap_err().code, NOT_FOUND);
    pod.call("Delete", 0, "").unwrap();
    assert_eq!(pod.call("Delete", 0, "").unwrap_err().code, NOT_FOUND);
    assert_eq!(pod.call("State", 0, "").unwrap_err().code, NOT_FOUND);
}

#[test]
fn wait_answers_before_during_and_after() {
    let mut pod = Pod::new(&["sh", "-c", "exit 4"]);
    pod.create(0, &Stdio::default());
    let request = pod.named(0, "");
    let early: Vec<u32> = (0..20).map(|_| pod.client.send("Wait", &request)).collect();
    assert_eq!(pod.client.answer_within(early[0], Duration::from_millis(50)), None);
    pod.start(0, "").unwrap();
    for stream in early {
        assert_eq!(pod.client.answer(stream).unwrap().number(1), 4);
    }
    assert_eq!(pod.wait(0, ""), 4);
    // And from another connection, as after a restart of containerd.
    pod.client = Client::connect(&pod.socket).unwrap();
    assert_eq!(pod.wait(0, ""), 4);
}

#[test]
fn waiting_ends_with_its_deadline() {
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.run(0);
    let request = pod.named(0, "");
    let stream = pod.client.send_within(Duration::from_millis(100), "Wait", &request);
    assert_eq!(pod.client.answer(stream).unwrap_err().code, 4, "DeadlineExceeded");
    assert_eq!(pod.state(0, ""), 2);
}

/// Engines wait for a process without a deadline, for as long as it lives.
#[test]
fn waiting_without_a_deadline_lasts_as_long_as_the_process() {
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.run(0);
    let request = pod.named(0, "");
    let stream = pod.client.send("Wait", &request);
    assert_eq!(pod.client.answer_within(stream, Duration::from_secs(2)), None);
    pod.kill(0, "", 9, false).unwrap();
    assert_eq!(pod.client.answer(stream).unwrap().number(1), 137);
}

#[test]
fn a_created_container_can_be_killed_or_deleted() {
    let mut pod = Pod::new(&["sleep", "600"]);
    let other = pod.add(&["sleep", "600"], |_| {});
    let pid = pod.create(0, &Stdio::default());
    pod.kill(0, "", 9, false).unwrap();
    assert_eq!(pod.wait(0, ""), 137);
    assert!(pod.start(0, "").is_err());
    pod.call("Delete", 0, "").unwrap();
    assert!(!host::alive(pid));

    let pid = pod.create(other, &Stdio::default());
    let deleted = pod.call("Delete", other, "").unwrap();
    assert_eq!(deleted.number(1), pid as u64);
    until("the process is gone", || !host::alive(pid));
    let id = pod.containers[other].id.clone();
    pod.sink.wait("/tasks/delete", &id, 1);
    let expected = ["create", "exit", "delete"].map(|topic| format!("{topic} {id}"));
    assert_eq!(pod.sink.briefs(&id), expected);
}

#[test]
fn signals_of_every_number_arrive() {
    let mut pod = Pod::new(&[
        "sh",
        "-c",
        "trap 'exit 34' 34; trap 'exit 64' 64; trap 'exit 10' USR1; echo ready; while :; do sleep 0.01; done",
    ]);
    let stdio = Stdio { stdin: String::new(), ..Stdio::fifos(pod.directory(), "init") };
    let out = Output::of(&stdio.stdout);
    let _err = Output::of(&stdio.stderr);
    pod.create(0, &stdio);
    pod.start(0, "").unwrap();
    out.expect("ready");
    pod.kill(0, "", 10, false).unwrap();
    assert_eq!(pod.wait(0, ""), 10);

    let number = pod.add(&["sleep", "600"], |_| {});
    pod.run(number);
    // A real-time signal, which no handler takes: 128 plus its number.
    pod.exec(number, "rt", &["sleep", "600"], &Stdio::default()).unwrap();
    pod.start(number, "rt").unwrap();
    pod.kill(number, "rt", 64, false).unwrap();
    assert_eq!(pod.wait(number, "rt"), 128 + 64);
    assert!(pod.kill(number, "", 9999, false).is_err());
    assert_eq!(pod.state(number, ""), 2);
}

#[test]
fn processes_are_listed_with_their_exec_ids() {
    let mut pod = Pod::new(&["sh", "-c", "sleep 600 & wait"]);
    let init = pod.run(0);
    pod.exec(0, "probe", &["sleep", "600"], &Stdio::default()).unwrap();
    let exec = pod.start(0, "probe").unwrap().number(1);
    until("three processes", || pod.call("Pids", 0, "").unwrap().all(1).len() == 3);
    let pids = pod.call("Pids", 0, "").unwrap();
    let mut named = Vec::new();
    let mut all = Vec::new();
    for bytes in pids.all(1) {
        let process = integration::shim::wire::Message::read(&bytes).unwrap();
        all.push(process.number(1));
        if process.has(2) {
            assert!(process.message(2).text(1).ends_with("containerd.runc.v1.ProcessDetails"));
            named.push((process.number(1), process.message(2).message(2).text(1)));
        }
    }
    assert!(all.contains(&(init as u64)));
    assert_eq!(named, [(exec, "probe".to_owned())]);
}

#[test]
fn limits_can_be_changed_while_it_runs() {
    let mut pod = Pod::new(&["sleep", "600"]);
    let pid = pod.run(0);
    let Some(file) = host::cgroup_file(pid, "memory", "memory.limit_in_bytes", "memory.max") else {
        skip!("needs a memory controller")
    };
    let resources = json!({ "memory": { "limit": 64 << 20 } }).to_string();
    let any =
        Writer::any("types.containerd.io/opencontainers/runtime-spec/1/LinuxResources", resources.as_bytes());
    let request = Writer::new().text(1, &pod.id()).message(2, &any);
    pod.client.call("Update", &request).unwrap();
    assert_eq!(std::fs::read_to_string(file).unwrap().trim(), (64 << 20).to_string());
}

#[test]
fn statistics_are_of_the_kind_that_the_host_has() {
    let mut pod =
        Pod::new(&["sh", "-c", "dd if=/dev/zero of=/dev/null bs=1M count=100 2>/dev/null; sleep 600"]);
    let pid = pod.run(0);
    let stats = pod.call("Stats", 0, "").unwrap().message(1);
    let metrics = stats.message(2);
    if stats.text(1).ends_with("io.containerd.cgroups.v1.Metrics") {
        assert!(host::cgroup1(pid, "memory").is_some());
        until("processor time is counted", || {
            let metrics = pod.call("Stats", 0, "").unwrap().message(1).message(2);
            metrics.message(3).message(1).number(1) > 0
        });
        assert!(metrics.message(4).message(33).number(2) > 0, "memory usage");
        assert!(metrics.message(2).number(1) > 0, "processes");
    } else {
        assert!(stats.text(1).ends_with("io.containerd.cgroups.v2.Metrics"), "{}", stats.text(1));
        assert!(metrics.message(1).number(1) > 0, "processes");
        until("processor time is counted", || {
            let metrics = pod.call("Stats", 0, "").unwrap().message(1).message(2);
            metrics.message(2).number(1) > 0
        });
        if host::has_controller("memory") {
            assert!(metrics.message(4).number(32) > 0, "memory usage");
        }
    }
    pod.kill(0, "", 9, true).unwrap();
    pod.wait(0, "");
    pod.call("Delete", 0, "").unwrap();
    assert_eq!(pod.call("Stats", 0, "").unwrap_err().code, NOT_FOUND);
}

#[test]
fn what_the_runtime_says_reaches_the_caller() {
    let mut pod = Pod::new(&["/no/such/program"]);
    let stream = pod.send_create(0, &Stdio::default());
    let failed = match pod.client.answer(stream) {
        // Some runtimes find out when the program is to run.
        Ok(_) => pod.start(0, "").unwrap_err(),
        Err(failed) => failed,
    };
    assert!(
        failed.text.contains("OCI runtime create failed") || failed.text.contains("OCI runtime start failed"),
        "{failed:?}"
    );
    assert!(failed.text.contains("no such file or directory"), "{failed:?}");

    let number = pod.add(&["sleep", "600"], |_| {});
    pod.run(number);
    pod.exec(number, "e", &["nosuchprogram"], &Stdio::default()).unwrap();
    let failed = pod.start(number, "e").unwrap_err();
    assert!(failed.text.contains("OCI runtime exec failed"), "{failed:?}");
    assert!(failed.text.contains("executable file not found in $PATH"), "{failed:?}");
    pod.call("Delete", number, "e").unwrap();
    assert_eq!(pod.state(number, ""), 2);
}

#[test]
fn a_failed_create_leaves_nothing() {
    let mut pod = Pod::with(&["sleep", "600"], |config| {
        config["process"]["cwd"] = json!("relative");
    });
    let stream = pod.send_create(0, &Stdio::default());
    assert!(pod.client.answer(stream).is_err());
    let id = pod.id();
    assert_eq!(pod.call("State", 0, "").unwrap_err().code, NOT_FOUND);
    assert!(integration::leaks::processes(&id).is_empty());
    pod.shutdown();
}

#[test]
fn identifiers_cannot_leave_the_bundle() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: others trust containerd to have checked");
    }
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.run(0);
    for id in ["../../x", "a/b", "", "-rf", "a\nb"] {
        let refused = pod.exec(0, id, &["true"], &Stdio::default()).unwrap_err();
        assert_eq!(refused.code, 3, "{id:?}: {refused:?}");
        let mut container = pod.containers[0].clone();
        container.id = id.to_owned();
        let request = pod.create_request(&container, &Stdio::default());
        assert_eq!(pod.client.call("Create", &request).unwrap_err().code, 3, "{id:?}");
    }
}

#[test]
fn a_process_ends_when_the_pid_namespace_is_the_hosts() {
    let mut pod = Pod::with(&["sh", "-c", "sleep 600 & sleep 600 & exit 5"], |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "pid");
    });
    pod.run(0);
    assert_eq!(pod.wait(0, ""), 5);
    let id = pod.id();
    until("nothing is left of it", || integration::leaks::processes(&id).is_empty());
    pod.call("Delete", 0, "").unwrap();
}

#[test]
fn killing_a_paused_container_ends_it() {
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.run(0);
    pod.call("Pause", 0, "").unwrap();
    pod.kill(0, "", 9, false).unwrap();
    assert_eq!(pod.wait(0, ""), 137);
    pod.call("Delete", 0, "").unwrap();
}

/// The file that freezes a container, with what is written to it to freeze it, and the file that says whether
/// it was asked to be.
fn freezer(pid: i32) -> Option<(PathBuf, &'static str, PathBuf)> {
    let v1 = host::cgroup1(pid, "freezer").map(|dir| (dir.join("freezer.state"), "FROZEN"));
    let v2 = host::cgroup2(pid).map(|dir| (dir.join("cgroup.freeze"), "1"));
    let (file, word) = v1.into_iter().chain(v2).find(|(file, _)| file.exists())?;
    let asked = if word == "1" { file.clone() } else { file.with_file_name("freezer.self_freezing") };
    Some((file, word, asked))
}

/// By `runc resume`, or by hand.
#[test]
fn what_another_hand_has_thawed_can_be_resumed() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: others take it for paused until it ends");
    }
    let mut pod = Pod::new(&["sleep", "600"]);
    let pid = pod.run(0);
    let (file, frozen, _) = needs!(freezer(pid), "a freezer");
    pod.call("Pause", 0, "").unwrap();
    fs::write(&file, if frozen == "1" { "0" } else { "THAWED" }).unwrap();
    assert_eq!(pod.state(0, ""), 4);
    pod.call("Resume", 0, "").unwrap();
    assert_eq!(pod.state(0, ""), 2);
}

/// Frozen by `runc pause`, by an engine that was ended, or by hand.
#[test]
fn what_another_hand_has_frozen_can_be_resumed_and_killed() {
    let mut pod = Pod::new(&["sleep", "600"]);
    let pid = pod.run(0);
    let (file, frozen, asked) = needs!(freezer(pid), "a freezer");
    if pod::is_ours() {
        fs::write(&file, frozen).unwrap();
        pod.call("Resume", 0, "").unwrap();
        assert_eq!(fs::read_to_string(&asked).unwrap().trim(), "0");
        assert_eq!(pod.state(0, ""), 2);
        assert_eq!(pod.call("Resume", 0, "").unwrap_err().code, FAILED_PRECONDITION);
    }
    fs::write(&file, frozen).unwrap();
    pod.kill(0, "", 9, false).unwrap();
    assert_eq!(pod.wait(0, ""), 137);
    pod.call("Delete", 0, "").unwrap();
}

/// The runtime is killed in the midst of it, and cannot take it back.
#[test]
fn a_pause_that_does_not_end_in_time_leaves_the_container_running() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: others wait for it");
    }
    let mut pod = Pod::new(&["sleep", "600"]);
    let pid = pod.run(0);
    let (file, _, asked) = needs!(freezer(pid), "a freezer");
    // It looks whether the kernel has done it.
    let (call, file) = match file.ends_with("freezer.state") {
        true => ("read", file),
        false => ("pread64", file.with_file_name("cgroup.events")),
    };
    let shim = pod.shim_pid();
    let Some(delay) = Delay::of(&[shim], call, Some(&file)) else { skip!("needs strace") };
    let request = pod.named(0, "");
    let stream = pod.client.send_within(Duration::from_secs(2), "Pause", &request);
    until("it is being frozen", || fs::read_to_string(&asked).unwrap().trim() == "1");
    let failed = pod.client.answer(stream).unwrap_err();
    assert_eq!(failed.code, 4, "{failed:?}");
    drop(delay);
    assert_eq!(fs::read_to_string(&asked).unwrap().trim(), "0");
    assert_eq!(pod.state(0, ""), 2);
    pod.call("Pause", 0, "").unwrap();
    assert_eq!(pod.state(0, ""), 4);
    pod.kill(0, "", 9, false).unwrap();
    assert_eq!(pod.wait(0, ""), 137);
    pod.call("Delete", 0, "").unwrap();
}

/// What is frozen when its first process is dead already would be "paused" for ever, and could not be deleted.
#[test]
fn a_container_that_ends_while_it_is_paused_is_not_left_frozen() {
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.script_runtime("");
    let pid = pod.run(0);
    let (file, frozen, asked) = needs!(freezer(pid), "a freezer");
    let dies = format!("kill -9 {pid}; while [ -e /proc/{pid} ]; do sleep 0.01; done");
    let freeze = format!("echo {frozen} > {}", file.display());
    pod.script_runtime(&format!("[ $verb != pause ] || {{ {dies}; {freeze}; exit; }}"));
    pod.call("Pause", 0, "").unwrap_err();
    assert_eq!(fs::read_to_string(&asked).unwrap().trim(), "0");
    assert_eq!(pod.wait(0, ""), 137);
    pod.call("Delete", 0, "").unwrap();
}

#[test]
fn malformed_bytes_harm_nobody_else() {
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.run(0);
    let mut bad = Client::connect(&pod.socket).unwrap();
    // Not a request; an even stream; a stream used twice.
    bad.raw(&frame(1, 1, 0, b"\xff\xff\xff"));
    assert_eq!(bad.receive().unwrap().1.unwrap_err().code, 3);
    bad.raw(&frame(2, 1, 0, b""));
    assert_eq!(bad.receive().unwrap().1.unwrap_err().code, 3);
    bad.raw(&frame(1, 1, 0, b""));
    assert_eq!(bad.receive().unwrap().1.unwrap_err().code, 3);
    // Kinds of later versions are ignored; a payload that is no message of the method is refused.
    bad.raw(&frame(5, 99, 0, b"later"));
    let request = Writer::new().text(1, "containerd.task.v2.Task").text(2, "State").bytes(3, b"\xff\xff");
    bad.raw(&frame(7, 1, 0, &request.done()));
    let (stream, answer) = bad.receive().unwrap();
    assert_eq!((stream, answer.is_err()), (7, true));
    // Half a frame, and gone.
    bad.raw(&[0, 0, 1]);
    drop(bad);
    assert_eq!(pod.state(0, ""), 2);
}

#[test]
fn an_oversized_request_is_refused_and_the_connection_lives() {
    let mut pod = Pod::new(&["true"]);
    let mut header = (5_u32 << 20).to_be_bytes().to_vec();
    header.extend([0, 0, 0, 3, 1, 0]);
    pod.client.raw(&header);
    pod.client.raw(&vec![0; 5 << 20]);
    let (stream, answer) = pod.client.receive().unwrap();
    assert_eq!((stream, answer.unwrap_err().code), (3, 8), "ResourceExhausted");
    pod.client.raw(&frame(
        5,
        1,
        0,
        &Writer::new().text(1, "containerd.task.v2.Task").text(2, "Connect").done(),
    ));
    assert!(pod.client.receive().unwrap().1.is_ok());
}

/// A probe costs its container's runtime one call, and to ask how a process is costs none.
#[test]
fn a_probe_calls_the_runtime_once() {
    let mut pod = Pod::new(&["sleep", "600"]);
    let calls = pod.directory().join("calls");
    pod.script_runtime(&format!("echo \"$*\" >> {}", calls.display()));
    pod.run(0);
    std::fs::write(&calls, "").unwrap();
    for number in 0..3 {
        let name = format!("e{number}");
        pod.exec(0, &name, &["true"], &Stdio::default()).unwrap();
        for _ in 0..4 {
            pod.state(0, "");
            pod.state(0, &name);
        }
        pod.start(0, &name).unwrap();
        assert_eq!(pod.wait(0, &name), 0);
        pod.state(0, &name);
        pod.call("Delete", 0, &name).unwrap();
    }
    let text = std::fs::read_to_string(&calls).unwrap();
    assert_eq!(text.lines().filter(|line| line.contains(" exec ")).count(), 3, "{text}");
    assert_eq!(text.lines().count(), 3, "{text}");
}

/// Every engine but for runc's own type sends a text in TOML.
#[test]
fn options_as_a_text_are_understood_and_unknown_ones_refused() {
    let mut pod = Pod::new(&["sleep", "600"]);
    let root = pod.directory().join("elsewhere");
    let of = |text: &str| {
        let body = Writer::new().text(1, "io.containerd.corten.v2").text(3, text);
        Writer::any("runtimeoptions.v1.Options", &body.done())
    };
    pod.options = of("SystemdCgrup = true\n");
    let stream = pod.send_create(0, &Stdio::default());
    if pod::is_ours() {
        let refused = pod.client.answer(stream).unwrap_err();
        assert!(refused.code == 3 && refused.text.contains("SystemdCgrup"), "{refused:?}");
    }
    pod.options = of(&format!("Root = \"{}\"\n", root.display()));
    pod.run(0);
    assert!(root.join(pod.namespace()).join(pod.id()).exists(), "the state is where the options say");
}

/// The daemon runs in the first bundle when it is started, which goes with its container.
#[test]
fn the_first_bundle_may_be_the_first_to_go() {
    let mut pod = Pod::new(&["sleep", "600"]);
    let second = pod.add(&["sleep", "600"], |_| {});
    pod.run(0);
    pod.run(second);
    let shim = pod.shim_pid();
    pod.remove(0);
    std::fs::remove_dir_all(&pod.containers[0].bundle).unwrap();
    assert_eq!(std::fs::read_link(format!("/proc/{shim}/cwd")).unwrap(), std::path::Path::new("/"));
    pod.exec(second, "e", &["true"], &Stdio::default()).unwrap();
    pod.start(second, "e").unwrap();
    assert_eq!(pod.wait(second, "e"), 0);
    let third = pod.add(&["sh", "-c", "exit 5"], |_| {});
    pod.run(third);
    assert_eq!(pod.wait(third, ""), 5);
}

/// A shim that dies of its own fault says why, where containerd's log has it.
#[test]
fn a_panic_is_in_the_log() {
    if !pod::can_be_weakened() {
        skip!("needs Corten's shim in a debug build, which panics when it is asked to");
    }
    let weak = std::env::var("CORTEN_WEAKEN").unwrap_or_else(|_| "nothing".to_owned());
    let mut pod = Pod::with_variables(&["true"], &[("CORTEN_WEAKEN", &weak)]);
    let shim = pod.shim_pid();
    let container = pod.containers[0].clone();
    pod.client.send("Panic", &Writer::new());
    until("the shim is dead", || !host::alive(shim));
    let log = container.log();
    assert!(log.contains("as it was asked to") && log.contains("level=error"), "{log:?}");
}

/// What shims were complained about, and that the tests would notice it in this one.
#[test]
fn each_fault_is_noticed() {
    integration::shim::weakened::each_is_noticed(&[
        (
            "after an hour containerd takes its containers for dead",
            "waiting_without_a_deadline_lasts_as_long_as_the_process",
            "for-ever",
        ),
        ("a failure without its cause", "what_the_runtime_says_reaches_the_caller", "reasons"),
        ("a shim that died, and nobody knows of what", "a_panic_is_in_the_log", "panics"),
        ("eight calls of the runtime for one probe", "a_probe_calls_the_runtime_once", "from-memory"),
        (
            "options of a type of one's own are taken for something else",
            "options_as_a_text_are_understood_and_unknown_ones_refused",
            "options",
        ),
        ("a shim in a folder that is gone", "the_first_bundle_may_be_the_first_to_go", "root"),
    ]);
}
