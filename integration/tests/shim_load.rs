//! Many of everything: processes at once, processes one after the other, containers in one shim. Nothing may
//! be lost, and nothing may stay.

use integration::shim::pod::{self, until};
use integration::shim::{Held, Pod, Stdio};
use integration::{proc, skip};
use std::fs;

#[test]
fn a_thousand_processes_at_once() {
    const COUNT: u64 = 1000;
    let mut pod = Pod::with(&["sleep", "600"], |config| {
        config["linux"]["resources"]["pids"] = serde_json::json!({ "limit": 5000 });
    });
    pod.run(0);
    let shim = pod.shim_pid();
    let before = Held::of(shim);
    for number in 0..COUNT {
        let command = format!("exit {}", number % 100);
        pod.exec(0, &format!("e{number}"), &["sh", "-c", &command], &Stdio::default()).unwrap();
    }
    let sent: Vec<u32> =
        (0..COUNT).map(|number| pod.client.send("Start", &pod.named(0, &format!("e{number}")))).collect();
    for stream in sent {
        pod.client.answer(stream).expect("Start");
    }
    let sent: Vec<u32> =
        (0..COUNT).map(|number| pod.client.send("Wait", &pod.named(0, &format!("e{number}")))).collect();
    for (number, stream) in (0..COUNT).zip(sent) {
        assert_eq!(pod.client.answer(stream).expect("Wait").number(1), number % 100);
    }
    let id = pod.id();
    let exits = pod.sink.wait("/tasks/exit", &id, usize::try_from(COUNT).unwrap());
    assert_eq!(exits.len() as u64, COUNT, "each exit is told once");
    let sent: Vec<u32> =
        (0..COUNT).map(|number| pod.client.send("Delete", &pod.named(0, &format!("e{number}")))).collect();
    for stream in sent {
        pod.client.answer(stream).expect("Delete");
    }
    until("everything is given back", || Held::of(shim).counts() == before.counts());
    assert_eq!(pod.state(0, ""), 2);
}

/// `SHIM_EXECS` processes, 400 by default: a shim that keeps 100 bytes of each shows it with either number.
#[test]
fn processes_one_after_the_other_leave_nothing() {
    let count = std::env::var("SHIM_EXECS").ok().and_then(|text| text.parse().ok()).unwrap_or(400);
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.run(0);
    let shim = pod.shim_pid();
    let bundle = pod.containers[0].bundle.clone();
    let files = || fs::read_dir(&bundle).unwrap().count();
    for number in 0..60 {
        pod.exec_once(number);
    }
    let (before, names) = (Held::of(shim), files());
    for number in 60..count {
        pod.exec_once(number);
    }
    until("descriptors and children are given back", || Held::of(shim).counts() == before.counts());
    let after = Held::of(shim);
    assert!(after.anonymous <= before.anonymous + 32, "{before:?} {after:?}");
    assert_eq!(files(), names, "files in the bundle");
}

#[test]
fn further_containers_cost_little() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: the bound is its own");
    }
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.run(0);
    let shim = pod.shim_pid();
    let one = Held::of(shim);
    assert_eq!(one.threads, 1);
    for _ in 0..20 {
        let number = pod.add(&["sleep", "600"], |_| {});
        pod.run(number);
    }
    let all = Held::of(shim);
    let each = all.anonymous.saturating_sub(one.anonymous) / 20;
    assert!(each < 50, "{each} kB for each container: {one:?} {all:?}");
    for number in (0..=20).rev() {
        pod.remove(number);
    }
    pod.shutdown();
}

#[test]
fn an_idle_shim_is_small() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: the bound is its own");
    }
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.run(0);
    let shim = pod.shim_pid();
    let resident = || proc::resident(shim);
    // The bounds are those of a release; a build for debugging has larger code and stack frames.
    let (most, own) = if cfg!(debug_assertions) { (5000, 400) } else { (1500, 300) };
    // It gives memory back some seconds after its last call.
    until("it is small", || resident() <= most && Held::of(shim).dirty <= own);
}

#[test]
fn containers_come_and_go_in_one_shim() {
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.run(0);
    let shim = pod.shim_pid();
    let before = Held::of(shim);
    let number = pod.add(&["sh", "-c", "exit 4"], |_| {});
    for _ in 0..40 {
        pod.run(number);
        assert_eq!(pod.wait(number, ""), 4);
        pod.call("Delete", number, "").unwrap();
    }
    until("everything is given back", || Held::of(shim).counts() == before.counts());
    assert!(Held::of(shim).anonymous <= before.anonymous + 64, "{before:?} {:?}", Held::of(shim));
}

/// What shims were complained about, and that the tests would notice it in this one.
#[test]
fn each_fault_is_noticed() {
    integration::shim::weakened::each_is_noticed(&[
        ("a shim takes megabytes for each container", "an_idle_shim_is_small", "small"),
        ("memory grows with each probe", "processes_one_after_the_other_leave_nothing", "memory"),
        ("descriptors pile up", "processes_one_after_the_other_leave_nothing", "descriptors"),
        (
            "files of executed processes stay in the bundle",
            "processes_one_after_the_other_leave_nothing",
            "files",
        ),
    ]);
}
