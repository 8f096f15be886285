//! Every call in every state of a container and of an executed process: what is answered, and with which
//! code.

use integration::shim::wire::Writer;
use integration::shim::{Pod, Stdio, pod};
use integration::skip;
use std::time::Duration;

/// The call succeeds.
const OK: u64 = 0;
const INVALID: u64 = 3;
/// A Wait that was given no time.
const LATE: u64 = 4;
const NOT_FOUND: u64 = 5;
const EXISTS: u64 = 6;
const NOT_NOW: u64 = 9;
/// What moves the container to its next state, and is tried there.
const MOVES: u64 = 99;

/// A call, and what it is answered in the states created, running, paused, stopped and deleted.
type Row = (&'static str, [u64; 5]);

const OF_CONTAINERS: &[Row] = &[
    ("State", [OK, OK, OK, OK, NOT_FOUND]),
    ("Connect", [OK, OK, OK, OK, OK]),
    ("Pids", [OK, OK, OK, OK, NOT_FOUND]),
    ("Stats", [OK, OK, OK, OK, NOT_FOUND]),
    ("Wait", [LATE, LATE, LATE, OK, NOT_FOUND]),
    ("ResizePty", [OK, OK, OK, OK, NOT_FOUND]),
    ("CloseIO", [OK, OK, OK, OK, NOT_FOUND]),
    ("Update", [OK, OK, OK, NOT_NOW, NOT_FOUND]),
    ("Update of nothing", [INVALID, INVALID, INVALID, NOT_NOW, NOT_FOUND]),
    ("Kill", [OK, OK, OK, NOT_FOUND, NOT_FOUND]),
    ("Kill of no signal", [INVALID, INVALID, INVALID, INVALID, NOT_FOUND]),
    ("Exec", [OK, OK, NOT_NOW, NOT_NOW, NOT_FOUND]),
    ("Start", [MOVES, NOT_NOW, NOT_NOW, NOT_NOW, NOT_FOUND]),
    ("Pause", [NOT_NOW, MOVES, NOT_NOW, NOT_NOW, NOT_FOUND]),
    ("Resume", [NOT_NOW, NOT_NOW, MOVES, NOT_NOW, NOT_FOUND]),
    ("Delete", [MOVES, NOT_NOW, NOT_NOW, MOVES, NOT_FOUND]),
    ("Create", [EXISTS, EXISTS, EXISTS, EXISTS, MOVES]),
    ("Shutdown", [OK, OK, OK, OK, MOVES]),
];

/// The same for an executed process: announced, running, frozen, ended, deleted.
const OF_EXECS: &[Row] = &[
    ("State", [OK, OK, OK, OK, NOT_FOUND]),
    ("Wait", [LATE, LATE, LATE, OK, NOT_FOUND]),
    ("ResizePty", [OK, OK, OK, OK, NOT_FOUND]),
    ("CloseIO", [OK, OK, OK, OK, NOT_FOUND]),
    ("Kill", [NOT_NOW, OK, OK, NOT_FOUND, NOT_FOUND]),
    ("Start", [MOVES, NOT_NOW, NOT_NOW, NOT_NOW, NOT_FOUND]),
    ("Delete", [MOVES, NOT_NOW, NOT_NOW, MOVES, NOT_FOUND]),
    ("Exec", [EXISTS, EXISTS, NOT_NOW, EXISTS, MOVES]),
];

/// The code with which a call is answered.
fn answered(pod: &mut Pod, call: &str, exec: &str) -> u64 {
    let named = pod.named(0, exec);
    let (method, request) = match call {
        "Create" => {
            let container = pod.containers[0].clone();
            ("Create", pod.create_request(&container, &Stdio::default()))
        }
        // A name of its own for each, for it is not removed again.
        "Exec" if exec.is_empty() => {
            let name = format!("x{}", pod.state(0, ""));
            ("Exec", pod.exec_request(0, &name, &["true"], &Stdio::default()))
        }
        "Exec" => ("Exec", pod.exec_request(0, exec, &["true"], &Stdio::default())),
        // Signal 0 disturbs nobody.
        "Kill" => ("Kill", named.number(3, 0)),
        "Kill of no signal" => ("Kill", named.number(3, 9999)),
        "Update" => ("Update", Writer::new().text(1, &pod.id()).message(2, &Writer::any("r", b"{}"))),
        "Update of nothing" => ("Update", named),
        call => (call, named),
    };
    let stream = match call {
        "Wait" => pod.client.send_within(Duration::from_millis(50), method, &request),
        _ => pod.client.send(method, &request),
    };
    pod.client.answer(stream).err().map_or(OK, |failure| failure.code)
}

/// Tries every call of a table in one state.
fn hold(pod: &mut Pod, table: &[Row], exec: &str, state: usize) {
    let wrong: Vec<String> = table
        .iter()
        .filter(|(_, codes)| codes[state] != MOVES)
        .filter_map(|(call, codes)| {
            // The name of an Exec is made from the state, which a deleted container has not.
            if *call == "Exec" && exec.is_empty() && state == 4 {
                return None;
            }
            let code = answered(pod, call, exec);
            (code != codes[state]).then(|| format!("{call}: {code} and not {}", codes[state]))
        })
        .collect();
    assert!(wrong.is_empty(), "in state {state} of {exec:?}: {wrong:#?}");
}

#[test]
fn every_call_in_every_state_of_a_container() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: the codes of others are Unknown");
    }
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.create(0, &Stdio::default());
    hold(&mut pod, OF_CONTAINERS, "", 0);
    pod.start(0, "").unwrap();
    // Both what is announced and what was is gone with the container.
    hold(&mut pod, OF_CONTAINERS, "", 1);
    pod.call("Pause", 0, "").unwrap();
    hold(&mut pod, OF_CONTAINERS, "", 2);
    pod.call("Resume", 0, "").unwrap();
    pod.kill(0, "", 9, false).unwrap();
    pod.wait(0, "");
    hold(&mut pod, OF_CONTAINERS, "", 3);
    pod.call("Delete", 0, "").unwrap();
    hold(&mut pod, OF_CONTAINERS, "", 4);
    assert_eq!(answered(&mut pod, "Create", ""), OK, "the id is free again");
}

#[test]
fn every_call_in_every_state_of_an_executed_process() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: the codes of others are Unknown");
    }
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.run(0);
    pod.exec(0, "e", &["sleep", "600"], &Stdio::default()).unwrap();
    hold(&mut pod, OF_EXECS, "e", 0);
    pod.start(0, "e").unwrap();
    hold(&mut pod, OF_EXECS, "e", 1);
    pod.call("Pause", 0, "").unwrap();
    hold(&mut pod, OF_EXECS, "e", 2);
    pod.call("Resume", 0, "").unwrap();
    pod.kill(0, "e", 9, false).unwrap();
    assert_eq!(pod.wait(0, "e"), 137);
    hold(&mut pod, OF_EXECS, "e", 3);
    pod.call("Delete", 0, "e").unwrap();
    hold(&mut pod, OF_EXECS, "e", 4);
    assert_eq!(answered(&mut pod, "Exec", "e"), OK, "the id is free again");
}

#[test]
fn nobody_waits_for_a_process_that_is_deleted_unstarted() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: others never answer");
    }
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.run(0);
    let waits = ["alone", "with-the-container"].map(|name| {
        pod.exec(0, name, &["true"], &Stdio::default()).unwrap();
        let request = pod.named(0, name);
        pod.client.send("Wait", &request)
    });
    pod.call("Delete", 0, "alone").unwrap();
    assert_eq!(pod.client.answer(waits[0]).unwrap_err().code, NOT_FOUND);
    pod.remove(0);
    assert_eq!(pod.client.answer(waits[1]).unwrap_err().code, NOT_FOUND);
}
