//! Several shims that have to do with each other: one below another, one in the place of a dead one, copies
//! of one that come to nothing; and a runtime whose program does not begin to run.

use integration::shim::engine::{Engine, RUNTIME, Release};
use integration::shim::pod::{self, address_of, deleted, until};
use integration::shim::wire::Writer;
use integration::shim::{Client, Delay, Pod, Stdio};
use integration::{host, leaks, proc, skip};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn pid_of(socket: &Path) -> i32 {
    let connect = Client::connect(socket).unwrap().call("Connect", &Writer::new()).unwrap();
    i32::try_from(connect.number(1)).unwrap()
}

fn parent(pid: i32) -> String {
    proc::Status::of(&pid.to_string()).get("PPid").to_owned()
}

/// A containerd inside of a container, as in Docker in Docker: what its shims leave behind falls to the shim
/// outside, which adopts orphans. Neither may take the other for its own.
#[test]
fn a_shim_below_another_one_disturbs_neither() {
    let mut inner = Pod::new(&["sleep", "600"]);
    // The inner shim is to be started by a descendant of the outer one.
    let first = inner.shim_pid();
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    until("the inner shim is dead", || !host::alive(first));
    let start = inner.start_command(&inner.containers[0].clone(), &[]);
    let words: Vec<String> = std::iter::once(start.get_program())
        .chain(start.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let mut outer = Pod::new(&["sleep", "600"]);
    let flag = outer.directory().join("started");
    let script = format!(
        "[ -e {flag} ] || (cd {bundle} && TTRPC_ADDRESS={sink} {words} </dev/null >{flag} 2>&1)",
        flag = flag.display(),
        bundle = inner.containers[0].bundle.display(),
        sink = inner.directory().join("containerd.sock.ttrpc").display(),
        words = words.join(" ")
    );
    outer.script_runtime(&script);
    outer.run(0);
    assert_eq!(fs::read_to_string(&flag).unwrap(), format!("unix://{}", inner.socket.display()));
    let (above, below) = (outer.shim_pid(), pid_of(&inner.socket));
    assert_eq!(parent(below), above.to_string(), "an orphan of the outer shim's");

    // Both work, and the outer one counts nothing of the inner one's as its own.
    inner.client = Client::connect(&inner.socket).unwrap();
    let contained = inner.run(0);
    let pids = outer.call("Pids", 0, "").unwrap().all(1);
    assert_eq!(pids.len(), 1);
    assert_eq!(parent(contained), below.to_string());
    outer.exec(0, "e", &["sh", "-c", "exit 3"], &Stdio::default()).unwrap();
    outer.start(0, "e").unwrap();
    assert_eq!(outer.wait(0, "e"), 3);

    // The inner one dies, with its container: reaped, and told of by nobody.
    let id = outer.id();
    outer.sink.wait("/tasks/exit", &id, 1);
    let before = outer.sink.briefs(&id).len();
    kill(Pid::from_raw(below), Signal::SIGKILL).unwrap();
    until("the dead shim is reaped", || !Path::new(&format!("/proc/{below}")).exists());
    assert_eq!(outer.state(0, ""), 2);
    let container = inner.containers[0].clone();
    assert_eq!(deleted(&inner.delete_command(&container)).number(1), contained as u64);
    until("its container is reaped", || !Path::new(&format!("/proc/{contained}")).exists());
    assert_eq!(outer.sink.briefs(&id).len(), before);

    // Once more from above, and now the outer one ends first.
    fs::remove_file(&flag).unwrap();
    let probe = outer.add(&["sleep", "600"], |_| {});
    outer.run(probe);
    let again = pid_of(&inner.socket);
    assert_eq!(parent(again), above.to_string());
    inner.client = Client::connect(&inner.socket).unwrap();
    let contained = inner.run(0);
    outer.remove(probe);
    outer.remove(0);
    outer.shutdown();
    assert_eq!(inner.state(0, ""), 2);
    assert!(host::alive(contained));
    inner.remove(0);
    inner.shutdown();
}

/// A copy of the shim that is to become the runtime, and cannot: its program is on a file system that does
/// not answer. The rest of the pod does not wait for it, and with the deadline it goes.
#[test]
fn a_program_that_does_not_begin_to_run_stops_nothing_else() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: others wait for it");
    }
    let mut pod = Pod::new(&["sleep", "600"]);
    let other = pod.add(&["sleep", "600"], |_| {});
    pod.run(0);
    let program = pod.script_runtime("");
    let shim = pod.shim_pid();
    let Some(delay) = Delay::of(&[shim], "execve", Some(&program)) else { skip!("needs strace") };
    let container = pod.containers[other].clone();
    let request = pod.create_request(&container, &Stdio::default());
    let stuck = pod.client.send_within(Duration::from_secs(3), "Create", &request);
    let copies = || {
        let own = |pid: &&i32| {
            proc::nul_separated(&format!("/proc/{pid}/cmdline"))
                .contains(&pod::program().to_string_lossy().into_owned())
        };
        proc::children(shim).iter().filter(own).count()
    };
    until("the copy is there", || copies() == 1);
    for _ in 0..5 {
        assert_eq!(pod.state(0, ""), 2);
        pod.call("Stats", 0, "").unwrap();
    }
    let failed = pod.client.answer(stuck).unwrap_err();
    assert_eq!(failed.code, 4, "{failed:?}");
    assert!(failed.text.contains("OCI runtime create failed: the runtime did not end within"), "{failed:?}");
    // What strace holds is dead when strace lets it go: it has been killed.
    drop(delay);
    until("the copy is gone", || copies() == 0);
    // Another shim is not needed: the same one starts it now.
    pod.run(other);
    assert_eq!(pod.state(other, ""), 2);
}

/// A shim that was killed, whose socket another one has taken: `delete` for the dead one's containers leaves
/// the new one alone.
#[test]
fn cleaning_up_after_a_dead_shim_leaves_its_successor_alone() {
    let mut pod = Pod::new(&["sleep", "600"]);
    let second = pod.add(&["sleep", "600"], |_| {});
    let dead = pod.run(0);
    let shim = pod.shim_pid();
    kill(Pid::from_raw(shim), Signal::SIGKILL).unwrap();
    until("the shim is dead", || !host::alive(shim));
    let container = pod.containers[second].clone();
    let started = pod.start_command(&container, &[]).output().unwrap();
    assert_eq!(address_of(&started), pod.socket);
    pod.client = Client::connect(&pod.socket).unwrap();
    let living = pod.run(second);
    let first = pod.containers[0].clone();
    // What becomes of the one that was a child of the dead shim is not known here: it does not exist.
    assert_eq!(pod.call("State", 0, "").unwrap_err().code, 5);
    assert_eq!(deleted(&pod.delete_command(&first)).number(1), dead as u64);
    until("its processes are dead", || leaks::processes(&first.id).is_empty());
    assert!(host::alive(living) && pod.socket.exists());
    assert_eq!(pod.state(second, ""), 2);
    // `delete` for a bundle that is gone, as after a create that containerd has rolled back.
    fs::remove_dir_all(&first.bundle).unwrap();
    let mut command = Command::new(pod::program());
    command.args(["-namespace", pod.namespace(), "-address", "", "-id", &first.id, "-bundle"]);
    command.arg(&first.bundle).arg("delete").current_dir("/");
    assert_eq!(deleted(&command.output().unwrap()).number(2), 137);
    assert_eq!(pod.state(second, ""), 2);
}

/// A shim that was told to end, and waits for containerd to take its last events; returns its pid.
fn ending(pod: &mut Pod) -> i32 {
    let shim = pod.shim_pid();
    pod.run(0);
    pod.sink.down();
    pod.remove(0);
    let request = pod.named(0, "");
    pod.client.call("Shutdown", &request).unwrap();
    until("its socket is gone", || !pod.socket.exists());
    assert!(host::alive(shim), "it has events to deliver");
    shim
}

/// A container is deleted and at once made again, as by `docker restart`: its new shim listens where the old
/// one did, which is still there.
#[test]
fn a_shim_that_ends_does_not_take_the_socket_of_its_successor() {
    let mut pod = Pod::new(&["sleep", "600"]);
    let old = ending(&mut pod);
    let container = pod.containers[0].clone();
    assert_eq!(address_of(&pod.start_command(&container, &[]).output().unwrap()), pod.socket);
    assert!(host::alive(old), "both are there");
    until("the old one is gone", || !host::alive(old));
    assert!(pod.socket.exists(), "the new one can be reached");
    pod.client = Client::connect(&pod.socket).unwrap();
    pod.run(0);
    pod.remove(0);
}

/// A shim that was given up for hung, goes on, and ends: another one listens in its place by then.
#[test]
fn a_shim_that_hung_does_not_take_the_socket_of_its_successor() {
    let mut pod = Pod::new(&["sleep", "600"]);
    let old = pod.shim_pid();
    kill(Pid::from_raw(old), Signal::SIGSTOP).unwrap();
    let connections = pod.fill_backlog();
    let container = pod.containers[0].clone();
    let started = pod.start_command(&container, &[]).output().unwrap();
    drop(connections);
    kill(Pid::from_raw(old), Signal::SIGCONT).unwrap();
    assert_eq!(address_of(&started), pod.socket);
    // The first one still has its connection.
    let request = pod.named(0, "");
    let _ended = pod.client.call("Shutdown", &request);
    until("the old one is gone", || !host::alive(old));
    assert!(pod.socket.exists(), "the new one can be reached");
    pod.client = Client::connect(&pod.socket).unwrap();
    assert_ne!(pod.shim_pid(), old);
    pod.run(0);
    pod.remove(0);
    pod.shutdown();
}

/// A container whose Create comes when the shim is ending is not made: its shim would be gone in a moment.
#[test]
fn a_shim_that_ends_makes_no_container() {
    let mut pod = Pod::new(&["sleep", "600"]);
    ending(&mut pod);
    let stream = pod.send_create(0, &Stdio::default());
    let refused = pod.client.answer(stream).unwrap_err();
    assert_eq!(refused.code, 14, "Unavailable: {refused:?}");
    let id = pod.id();
    assert!(leaks::processes(&id).is_empty());
}

/// containerd and a shim are killed together: the next containerd comes up at once, and nothing of the
/// container stays.
#[test]
fn containerd_comes_up_beside_a_dead_shim() {
    for release in Release::ALL {
        let Some(mut engine) = Engine::containerd(release) else {
            skip::say(&format!("needs containerd ({release:?})"));
            continue;
        };
        engine.start("doomed", &["sh", "-c", "sleep 600 & sleep 600"]).ok();
        let shims = engine.shims();
        engine.start("living", &["sleep", "600"]).ok();
        engine.kill("containerd", Signal::SIGKILL);
        kill(Pid::from_raw(shims[0]), Signal::SIGKILL).unwrap();
        engine.start_containerd("");
        let tasks = || engine.ctr(&["task", "ls"]).ok();
        until("the dead one is forgotten", || !tasks().contains("doomed"));
        assert!(tasks().contains("RUNNING"), "{}", tasks());
        engine.ctr(&["container", "rm", "doomed"]).ok();
        let said = engine.ctr(&[
            "run",
            "--rm",
            "--runtime",
            RUNTIME,
            integration::shim::engine::IMAGE,
            "doomed",
            "echo",
            "again",
        ]);
        assert_eq!(said.ok(), "again\n");
        engine.ctr(&["task", "kill", "-s", "SIGKILL", "living"]).ok();
        until("the living one ends", || {
            engine.ctr(&["task", "rm", "living"]).status == 0 || !tasks().contains("living")
        });
        until("nothing is left", || {
            let after = engine.residue();
            (after.shims, after.mounts, after.states, after.bundles, after.cgroups, after.sockets)
                == (0, 0, 0, 0, 0, 0)
        });
    }
}

/// What shims were complained about, and that the tests would notice it in this one.
#[test]
fn each_fault_is_noticed() {
    // What strace holds up, it holds for 15 s.
    integration::shim::weakened::each_is_noticed_within(
        25,
        &[
            (
                "a copy of the shim hangs, and with it the pod",
                "a_program_that_does_not_begin_to_run_stops_nothing_else",
                "exec",
            ),
            ("zombies of a shim below", "a_shim_below_another_one_disturbs_neither", "orphans"),
            (
                "a container that is restarted has a shim that nobody can reach",
                "a_shim_that_ends_does_not_take_the_socket_of_its_successor",
                "successor",
            ),
            ("a container is made and forgotten", "a_shim_that_ends_makes_no_container", "ending"),
        ],
    );
}
