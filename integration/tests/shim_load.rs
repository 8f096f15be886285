//! Many of everything: processes at once, processes one after the other, containers in one shim. Nothing may be lost,
//! and nothing may stay.

use integration::shim::pod::{self, until};
use integration::shim::{Output, Pod, Stdio, fifo};
use integration::{proc, skip};
use std::fs;

/// What a shim holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    descriptors: usize,
    threads: usize,
    children: usize,
    /// Memory of its own, in kB.
    dirty: u64,
}

fn held(shim: i32) -> Held {
    let rollup = fs::read_to_string(format!("/proc/{shim}/smaps_rollup")).unwrap();
    let dirty = rollup.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).unwrap();
    let children = fs::read_to_string(format!("/proc/{shim}/task/{shim}/children")).unwrap();
    Held {
        descriptors: fs::read_dir(format!("/proc/{shim}/fd")).unwrap().count(),
        threads: fs::read_dir(format!("/proc/{shim}/task")).unwrap().count(),
        children: children.split_whitespace().count(),
        dirty: dirty.split_whitespace().next().unwrap().parse().unwrap(),
    }
}

#[test]
fn a_thousand_processes_at_once() {
    const COUNT: u64 = 1000;
    let mut pod = Pod::with(&["sleep", "600"], |config| {
        config["linux"]["resources"]["pids"] = serde_json::json!({ "limit": 5000 });
    });
    pod.run(0);
    let shim = pod.shim_pid();
    let before = held(shim);
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
    until("everything is given back", || {
        let now = held(shim);
        (now.descriptors, now.threads, now.children) == (before.descriptors, before.threads, before.children)
    });
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
    let round = |pod: &mut Pod, number: usize| {
        let name = format!("e{number}");
        let stdio = match number % 3 {
            0 => Stdio::fifos(pod.directory(), &name),
            1 => Stdio::terminal(pod.directory(), &name),
            _ => Stdio::default(),
        };
        pod.exec(0, &name, &["echo", "out"], &stdio).unwrap();
        let outputs = [&stdio.stdout, &stdio.stderr].map(|path| (!path.is_empty()).then(|| Output::of(path)));
        pod.start(0, &name).unwrap();
        if !stdio.stdin.is_empty() {
            drop(fifo::writer(&stdio.stdin));
        }
        assert_eq!(pod.wait(0, &name), 0);
        pod.call("Delete", 0, &name).unwrap();
        for output in outputs.into_iter().flatten() {
            output.end();
        }
        for path in [&stdio.stdin, &stdio.stdout, &stdio.stderr] {
            let _ = fs::remove_file(path);
        }
    };
    for number in 0..60 {
        round(&mut pod, number);
    }
    let (before, names) = (held(shim), files());
    for number in 60..count {
        round(&mut pod, number);
    }
    until("descriptors and children are given back", || {
        let now = held(shim);
        (now.descriptors, now.threads, now.children) == (before.descriptors, before.threads, before.children)
    });
    let after = held(shim);
    assert!(after.dirty <= before.dirty + 32, "{before:?} {after:?}");
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
    let one = held(shim);
    assert_eq!(one.threads, 1);
    for _ in 0..20 {
        let number = pod.add(&["sleep", "600"], |_| {});
        pod.run(number);
    }
    let all = held(shim);
    let each = all.dirty.saturating_sub(one.dirty) / 20;
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
    let resident = || {
        let status = proc::Status::of(&shim.to_string());
        status.get("VmRSS").split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    // The bounds are those of a release; a build for debugging has larger code and stack frames.
    let (most, own) = if cfg!(debug_assertions) { (5000, 400) } else { (1500, 300) };
    // It gives memory back some seconds after its last call.
    until("it is small", || resident() <= most && held(shim).dirty <= own);
}

#[test]
fn containers_come_and_go_in_one_shim() {
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.run(0);
    let shim = pod.shim_pid();
    let before = held(shim);
    let number = pod.add(&["sh", "-c", "exit 4"], |_| {});
    for _ in 0..40 {
        pod.run(number);
        assert_eq!(pod.wait(number, ""), 4);
        pod.call("Delete", number, "").unwrap();
    }
    until("everything is given back", || {
        let now = held(shim);
        (now.descriptors, now.threads, now.children) == (before.descriptors, before.threads, before.children)
    });
    assert!(held(shim).dirty <= before.dirty + 64, "{before:?} {:?}", held(shim));
}
