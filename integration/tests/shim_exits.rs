//! Exits: each told once, after its start and in the right order; none lost, none left as a zombie.

use integration::shim::pod::{self, until};
use integration::shim::wire::Writer;
use integration::shim::{Pod, Stdio};
use integration::{host, leaks, proc, skip};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::collections::BTreeMap;

/// Events of one exec in their order.
fn of_exec(pod: &Pod, exec: &str) -> Vec<String> {
    let briefs = pod.sink.briefs(&pod.id());
    briefs.into_iter().filter(|brief| brief.ends_with(&format!(" {exec}"))).collect()
}

#[test]
fn an_exit_is_told_after_its_start_however_short_the_process() {
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.run(0);
    for number in 0..60 {
        let name = format!("e{number}");
        pod.exec(0, &name, &["true"], &Stdio::default()).unwrap();
        pod.start(0, &name).unwrap();
    }
    let id = pod.id();
    pod.sink.wait("/tasks/exit", &id, 60);
    for number in 0..60 {
        let name = format!("e{number}");
        let expected = ["exec-added", "exec-started", "exit"].map(|topic| format!("{topic} {name}"));
        assert_eq!(of_exec(&pod, &name), expected);
    }
}

#[test]
fn short_containers_tell_create_start_exit_delete() {
    let mut pod = Pod::new(&["true"]);
    for round in 0..15 {
        let number = if round == 0 { 0 } else { pod.add(&["true"], |_| {}) };
        pod.run(number);
        assert_eq!(pod.wait(number, ""), 0);
        pod.call("Delete", number, "").unwrap();
        let id = pod.containers[number].id.clone();
        pod.sink.wait("/tasks/delete", &id, 1);
        let expected = ["create", "start", "exit", "delete"].map(|topic| format!("{topic} {id}"));
        assert_eq!(pod.sink.briefs(&id), expected);
    }
}

#[test]
fn the_first_process_is_the_last_to_exit() {
    for own_namespace in [true, false] {
        let mut pod = Pod::with(&["sleep", "600"], |config| {
            if !own_namespace {
                let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
                namespaces.retain(|namespace| namespace["type"] != "pid");
            }
        });
        pod.run(0);
        for number in 0..10 {
            let name = format!("e{number}");
            pod.exec(0, &name, &["sleep", "600"], &Stdio::default()).unwrap();
            pod.start(0, &name).unwrap();
        }
        pod.kill(0, "", 9, false).unwrap();
        assert_eq!(pod.wait(0, ""), 137);
        let id = pod.id();
        let exits = pod.sink.wait("/tasks/exit", &id, 11);
        let names: Vec<String> = exits.iter().map(|exit| exit.body.text(2)).collect();
        assert_eq!(names.len(), 11);
        assert_eq!(names.last(), Some(&id), "{names:?}");
        assert!(exits.iter().all(|exit| exit.body.number(4) == 137), "{names:?}");
        for number in 0..10 {
            assert_eq!(pod.wait(0, &format!("e{number}")), 137);
        }
        assert!(pod.exec(0, "late", &["true"], &Stdio::default()).is_err());
    }
}

#[test]
fn an_exec_cannot_start_when_the_container_has_ended() {
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.run(0);
    pod.exec(0, "late", &["true"], &Stdio::default()).unwrap();
    pod.kill(0, "", 9, false).unwrap();
    pod.wait(0, "");
    let refused = pod.start(0, "late").unwrap_err();
    assert_eq!(refused.code, 9, "{refused:?}");
    assert!(refused.text.contains("init process is not running"), "{refused:?}");
    pod.call("Delete", 0, "late").unwrap();
    pod.call("Delete", 0, "").unwrap();
}

/// As containerd's own tests have it of the Go shim.
#[test]
fn what_was_announced_and_never_ran_has_not_failed() {
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.run(0);
    pod.exec(0, "e", &["sh", "-c", "exit 6"], &Stdio::default()).unwrap();
    let deleted = pod.call("Delete", 0, "e").unwrap();
    assert_eq!((deleted.number(1), deleted.number(2)), (0, 0));
}

/// A caller that looks after a failed Start must not take the process for one that ran.
#[test]
fn what_could_not_be_started_is_as_it_was_and_nobody_waits_for_it() {
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.run(0);
    pod.exec(0, "e", &["/no/such/program"], &Stdio::default()).unwrap();
    let early = pod.client.send("Wait", &pod.named(0, "e"));
    pod.start(0, "e").unwrap_err();
    pod.client.answer(early).unwrap();
    assert_eq!(pod.state(0, "e"), 1);
    if pod::is_ours() {
        let refused = pod.start(0, "e").unwrap_err();
        assert_eq!(refused.code, 9, "{refused:?}");
        assert!(refused.text.contains("cannot start a process that failed to start"), "{refused:?}");
    }
    pod.call("Delete", 0, "e").unwrap();
}

#[test]
fn every_exit_of_many_at_once_is_told_once() {
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.run(0);
    let count = 100;
    let names: Vec<String> = (0..count).map(|number| format!("e{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        pod.exec(0, name, &["sh", "-c", &format!("exit {}", number % 7)], &Stdio::default()).unwrap();
    }
    let starts: Vec<u32> = names.iter().map(|name| pod.client.send("Start", &pod.named(0, name))).collect();
    for stream in starts {
        pod.client.answer(stream).unwrap();
    }
    let waits: BTreeMap<String, u64> = names.iter().map(|name| (name.clone(), pod.wait(0, name))).collect();
    for (number, name) in names.iter().enumerate() {
        assert_eq!(waits[name], number as u64 % 7);
    }
    let id = pod.id();
    let exits = pod.sink.wait("/tasks/exit", &id, count);
    assert_eq!(exits.len(), count);
    for exit in exits {
        assert_eq!(
            waits.get(&exit.body.text(2)),
            Some(&exit.body.number(4)),
            "the event says what Wait says"
        );
    }
    for name in &names {
        pod.call("Delete", 0, name).unwrap();
        assert_eq!(of_exec(&pod, name).len(), 3);
    }
}

#[test]
fn orphans_are_reaped_and_disturb_nobody() {
    let script = "while :; do (sleep 0.01 & sleep 0.01 &) ; sleep 0.02; done";
    let mut pod = Pod::with(&["sh", "-c", script], |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "pid");
    });
    pod.run(0);
    let shim = pod.shim_pid();
    for number in 0..20 {
        let name = format!("e{number}");
        pod.exec(0, &name, &["sh", "-c", &format!("exit {number}")], &Stdio::default()).unwrap();
        pod.start(0, &name).unwrap();
        assert_eq!(pod.wait(0, &name), number);
        pod.call("Delete", 0, &name).unwrap();
    }
    let zombies = || {
        let state = |pid: &&i32| proc::Status::of(&pid.to_string()).get("State").starts_with('Z');
        proc::children(shim).iter().filter(state).count()
    };
    until("no zombie is left", || zombies() == 0);
    pod.kill(0, "", 9, false).unwrap();
    assert_eq!(pod.wait(0, ""), 137);
}

/// Its streams are connected when the process is there already.
#[test]
fn a_process_whose_streams_fail_is_killed_and_reaped() {
    let mut pod = Pod::new(&["sleep", "600"]);
    let stdio = Stdio { stdin: "/no/such/fifo".to_owned(), ..Stdio::default() };
    let stream = pod.send_create(0, &stdio);
    let failed = pod.client.answer(stream).unwrap_err();
    assert!(failed.text.contains("/no/such/fifo"), "{failed:?}");
    let shim = pod.shim_pid();
    until("the shim has no child", || proc::children(shim).is_empty());
    assert!(leaks::processes(&pod.id()).is_empty());
    pod.run(0);
    pod.exec(0, "e", &["sleep", "600"], &stdio).unwrap();
    let failed = pod.start(0, "e").unwrap_err();
    assert!(failed.text.contains("/no/such/fifo"), "{failed:?}");
    until("the container's first process is its only child", || proc::children(shim).len() == 1);
}

/// Its end and that of the runtime that removed it are one signal to a shim that was not looking.
#[test]
fn a_process_that_ended_unseen_is_reaped() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: others need not have the runtime remove it");
    }
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.script_runtime("[ $verb = delete ] && kill -STOP $PPID");
    let stream = pod.send_create(0, &Stdio { stdin: "/no/such/fifo".to_owned(), ..Stdio::default() });
    let shim = pod.shim_pid();
    let is_dead = |pid: &i32| proc::Status::of(&pid.to_string()).get("State").starts_with('Z');
    until("runtime and process have ended", || {
        let children = proc::children(shim);
        children.len() == 2 && children.iter().all(is_dead)
    });
    kill(Pid::from_raw(shim), Signal::SIGCONT).unwrap();
    pod.client.answer(stream).unwrap_err();
    until("the shim has no child", || proc::children(shim).is_empty());
}

#[test]
fn an_out_of_memory_kill_is_told_before_the_exit() {
    if !host::has_controller("memory") {
        skip!("needs a memory controller");
    }
    let script = "exec awk 'BEGIN { x = \"xxxxxxxxxxxxxxxx\"; while (1) x = x x }'";
    let mut pod = Pod::with(&["sh", "-c", script], |config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": 32 << 20, "swap": 32 << 20 });
    });
    pod.run(0);
    assert_eq!(pod.wait(0, ""), 137);
    let id = pod.id();
    pod.sink.wait("/tasks/exit", &id, 1);
    let briefs = pod.sink.briefs(&id);
    let at = |what: &str| briefs.iter().position(|brief| *brief == format!("{what} {id}"));
    assert!(at("oom").is_some_and(|oom| Some(oom) < at("exit")), "{briefs:?}");
    pod.call("Delete", 0, "").unwrap();
}

#[test]
fn an_out_of_memory_kill_of_an_executed_process_is_told() {
    if !host::has_controller("memory") {
        skip!("needs a memory controller");
    }
    let mut pod = Pod::with(&["sleep", "600"], |config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": 32 << 20, "swap": 32 << 20 });
    });
    pod.run(0);
    let script = "awk 'BEGIN { x = \"xxxxxxxxxxxxxxxx\"; while (1) x = x x }'";
    pod.exec(0, "hungry", &["sh", "-c", script], &Stdio::default()).unwrap();
    pod.start(0, "hungry").unwrap();
    assert_eq!(pod.wait(0, "hungry"), 137);
    let id = pod.id();
    pod.sink.wait("/tasks/oom", &id, 1);
    assert_eq!(pod.state(0, ""), 2);
}

#[test]
fn pausing_and_resuming_is_told() {
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.run(0);
    pod.call("Pause", 0, "").unwrap();
    pod.call("Resume", 0, "").unwrap();
    let id = pod.id();
    pod.sink.wait("/tasks/resumed", &id, 1);
    let expected = ["create", "start", "paused", "resumed"].map(|topic| format!("{topic} {id}"));
    assert_eq!(pod.sink.briefs(&id), expected);
}

#[test]
fn events_carry_what_clients_read() {
    let mut pod = Pod::new(&["sh", "-c", "exit 9"]);
    let pid = pod.run(0) as u64;
    pod.wait(0, "");
    pod.call("Delete", 0, "").unwrap();
    let id = pod.id();
    let of = |topic: &str| pod.sink.wait(topic, &id, 1).remove(0);
    let create = of("/tasks/create");
    assert_eq!(
        (create.kind.as_str(), create.namespace.as_str()),
        ("containerd.events.TaskCreate", pod.namespace())
    );
    assert_eq!(create.body.text(2), pod.containers[0].bundle.to_string_lossy());
    assert_eq!(create.body.number(6), pid);
    assert_eq!(of("/tasks/start").body.number(2), pid);
    let exit = of("/tasks/exit");
    assert_eq!((exit.body.text(2), exit.body.number(3), exit.body.number(4)), (id.clone(), pid, 9));
    let delete = of("/tasks/delete");
    assert_eq!((delete.body.number(2), delete.body.number(3), delete.body.has(5)), (pid, 9, false));
}

#[test]
fn events_wait_for_containerd() {
    let mut pod = Pod::new(&["sleep", "600"]);
    let second = pod.add(&["sh", "-c", "sleep 0.2; exit 3"], |_| {});
    pod.run(0);
    pod.run(second);
    let id = pod.containers[second].id.clone();
    pod.sink.wait("/tasks/start", &id, 1);
    pod.sink.down();
    assert_eq!(pod.wait(second, ""), 3);
    for number in 0..5 {
        let name = format!("e{number}");
        pod.exec(0, &name, &["true"], &Stdio::default()).unwrap();
        pod.start(0, &name).unwrap();
        pod.wait(0, &name);
    }
    std::thread::sleep(std::time::Duration::from_secs(1));
    pod.sink.up();
    // It connects again, as after a restart.
    pod.client = integration::shim::Client::connect(&pod.socket).unwrap();
    assert_eq!(pod.sink.wait("/tasks/exit", &id, 1)[0].body.number(4), 3);
    let first = pod.id();
    pod.sink.wait("/tasks/exit", &first, 5);
    for number in 0..5 {
        assert_eq!(of_exec(&pod, &format!("e{number}")).len(), 3);
    }
}

#[test]
fn an_event_that_is_refused_does_not_hold_up_the_next() {
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.sink.refuse("/tasks/create");
    pod.create(0, &Stdio::default());
    pod.start(0, "").unwrap();
    let id = pod.id();
    pod.sink.wait("/tasks/start", &id, 1);
}

#[test]
fn a_shim_without_events_works() {
    // As CRI-O starts one.
    let pod = Pod::new(&["sh", "-c", "exit 2"]);
    let container = pod.containers[0].clone();
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(container.bundle.join("config.json")).unwrap()).unwrap();
    config["annotations"] = json!({ "io.containerd.runc.v2.group": format!("{}-quiet", pod.namespace()) });
    std::fs::write(container.bundle.join("config.json"), config.to_string()).unwrap();
    let mut command = pod.start_command(&container, &[]);
    command.env("TTRPC_ADDRESS", "");
    if !pod::is_ours() {
        skip!("needs Corten's shim: others do not start with an empty TTRPC_ADDRESS");
    }
    let socket = integration::shim::pod::address_of(&command.output().unwrap());
    let mut client = integration::shim::Client::connect(&socket).unwrap();
    let create = pod.create_request(&container, &Stdio::default());
    client.call("Create", &create).unwrap();
    let named = Writer::new().text(1, &container.id);
    client.call("Start", &named).unwrap();
    assert_eq!(client.call("Wait", &named).unwrap().number(1), 2);
    client.call("Delete", &named).unwrap();
    let pid = i32::try_from(client.call("Connect", &named).unwrap().number(1)).unwrap();
    client.call("Shutdown", &named).unwrap();
    until("the shim ends", || !host::alive(pid));
    assert!(pod.sink.events().is_empty());
}

/// Each of ten execs goes on only when all of them are under way: a shim that starts one after the other
/// never ends.
#[test]
fn execs_are_started_beside_each_other() {
    const COUNT: usize = 10;
    let mut pod = Pod::new(&["sleep", "600"]);
    let marks = pod.directory().join("marks");
    std::fs::create_dir(&marks).unwrap();
    pod.script_runtime(&format!(
        "[ $verb = exec ] && {{ : > {0}/$$; while [ $(ls {0} | wc -l) -lt {COUNT} ]; do sleep 0.05; done; }}",
        marks.display()
    ));
    pod.run(0);
    let names: Vec<String> = (0..COUNT).map(|number| format!("e{number}")).collect();
    for name in &names {
        pod.exec(0, name, &["true"], &Stdio::default()).unwrap();
    }
    let starts: Vec<u32> = names.iter().map(|name| pod.client.send("Start", &pod.named(0, name))).collect();
    for stream in starts {
        pod.client.answer(stream).unwrap();
    }
    for name in &names {
        assert_eq!(pod.wait(0, name), 0);
    }
}

/// Who traces a process (criu, a debugger) is told of its end before its parent can reap it.
#[test]
fn an_exit_is_known_although_somebody_else_saw_it_first() {
    let mut pod = Pod::new(&["sleep", "600"]);
    let pid = nix::unistd::Pid::from_raw(pod.run(0));
    nix::sys::ptrace::seize(pid, nix::sys::ptrace::Options::empty()).unwrap();
    pod.kill(0, "", 9, false).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    nix::sys::wait::waitpid(pid, Some(nix::sys::wait::WaitPidFlag::__WALL)).unwrap();
    assert_eq!(pod.wait(0, ""), 137);
    pod.call("Delete", 0, "").unwrap();
}

/// What shims were complained about, and that the tests would notice it in this one.
#[test]
fn each_fault_is_noticed() {
    integration::shim::weakened::each_is_noticed(&[
        (
            "the container is dead and its shim says nothing",
            "short_containers_tell_create_start_exit_delete",
            "exit",
        ),
        ("exits are lost when many end at once", "every_exit_of_many_at_once_is_told_once", "ownership"),
        ("exits are lost while containerd is down", "events_wait_for_containerd", "events"),
        (
            "the exit of an exec comes after that of its container",
            "the_first_process_is_the_last_to_exit",
            "order",
        ),
        (
            "an exit overtakes its start, and the exec hangs",
            "an_exit_is_told_after_its_start_however_short_the_process",
            "start-first",
        ),
        (
            "an exec is started in a container that is dead",
            "an_exec_cannot_start_when_the_container_has_ended",
            "after-end",
        ),
        ("thirty execs at once take sixteen seconds", "execs_are_started_beside_each_other", "beside"),
        (
            "an exit status is lost to a debugger",
            "an_exit_is_known_although_somebody_else_saw_it_first",
            "tracers",
        ),
        ("zombies of probes pile up", "orphans_are_reaped_and_disturb_nobody", "orphans"),
        ("an out-of-memory kill is not told", "an_out_of_memory_kill_is_told_before_the_exit", "oom"),
        (
            "an out-of-memory kill of an exec is not told",
            "an_out_of_memory_kill_of_an_executed_process_is_told",
            "oom",
        ),
    ]);
}
