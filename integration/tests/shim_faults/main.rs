//! Faults around the shim: runtimes that hang or fail, mounts that do not answer, daemons and shims that are
//! killed, peers that do not read. What nobody asked for must not happen, and what was asked must be
//! answered.

use integration::disk::Disk;
use integration::shim::client::frame;
use integration::shim::pod::{self, deleted, until};
use integration::shim::wire::Writer;
use integration::shim::{Client, Output, Pod, Stdio};
use integration::{host, leaks, needs, proc, skip};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::fs;
use std::io::Write as _;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::process::Command;
use std::time::Duration;

mod rootfs;

#[test]
fn a_hung_start_stops_nothing_else_and_ends_with_its_deadline() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: others wait for ever");
    }
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.script_runtime("[ $verb = start ] && case \"$*\" in *-a) exec sleep 1000;; esac");
    let other = pod.add(&["sh", "-c", "exit 3"], |_| {});
    pod.create(0, &Stdio::default());
    let request = pod.named(0, "");
    let stuck = pod.client.send_within(Duration::from_secs(3), "Start", &request);
    // Meanwhile.
    pod.run(other);
    assert_eq!(pod.wait(other, ""), 3);
    assert_eq!(pod.state(0, ""), 1);
    pod.call("Pids", 0, "").unwrap();
    let failed = pod.client.answer(stuck).unwrap_err();
    assert_eq!(failed.code, 4, "{failed:?}");
    assert!(failed.text.contains("OCI runtime start failed: the runtime did not end within"), "{failed:?}");
    until("the runtime was killed", || {
        !proc::pids().iter().any(|pid| {
            let words = proc::nul_separated(&format!("/proc/{pid}/cmdline"));
            words == ["sleep", "1000"]
                && proc::Status::of(&pid.to_string()).get("PPid") == pod.shim_pid().to_string()
        })
    });
    pod.kill(0, "", 9, false).unwrap();
    assert_eq!(pod.wait(0, ""), 137);
    pod.call("Delete", 0, "").unwrap();
}

#[test]
fn a_hung_create_leaves_nothing() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: others wait for ever");
    }
    let mut pod = Pod::new(&["sleep", "600"]);
    // Hangs when it has made everything.
    let real = pod::real_runtime();
    pod.script_runtime(&format!("[ $verb = create ] && {{ {real} \"$@\"; exec sleep 1000; }}"));
    let container = pod.containers[0].clone();
    let request = pod.create_request(&container, &Stdio::default());
    let stream = pod.client.send_within(Duration::from_secs(3), "Create", &request);
    assert_eq!(pod.client.answer(stream).unwrap_err().code, 4);
    assert_eq!(pod.call("State", 0, "").unwrap_err().code, 5);
    until("its process is dead", || leaks::processes(&container.id).is_empty());
    assert!(leaks::cgroups(&container.id).is_empty());
    pod.shutdown();
}

/// As a hung Create, whose part Start plays for a container that comes from a checkpoint.
#[test]
fn a_hung_restore_leaves_nothing() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: others wait for ever");
    }
    let mut pod = Pod::new(&["sleep", "600"]);
    let container = pod.containers[0].clone();
    let real = pod::real_runtime();
    let (bundle, id) = (container.bundle.display(), &container.id);
    let create = format!("{real} --root \"$2\" create --bundle {bundle} {id} </dev/null >/dev/null 2>&1");
    pod.script_runtime(&format!("[ $verb = restore ] && {{ {create}; exec sleep 1000; }}"));
    let request = pod.create_request(&container, &Stdio::default()).text(8, "/image");
    pod.client.call("Create", &request).unwrap();
    let request = pod.named(0, "");
    let stream = pod.client.send_within(Duration::from_secs(3), "Start", &request);
    until("it is restored in part", || !leaks::processes(&container.id).is_empty());
    assert_eq!(pod.client.answer(stream).unwrap_err().code, 4);
    pod.call("Delete", 0, "").unwrap();
    until("its process is dead", || leaks::processes(&container.id).is_empty());
    assert!(leaks::cgroups(&container.id).is_empty());
    pod.shutdown();
}

#[test]
fn a_hung_exec_is_killed_and_another_one_works() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: others wait for ever");
    }
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.script_runtime("[ $verb = exec ] && case \"$*\" in *stuck*) exec sleep 1000;; esac");
    pod.run(0);
    pod.exec(0, "stuck", &["true"], &Stdio::default()).unwrap();
    pod.exec(0, "fine", &["true"], &Stdio::default()).unwrap();
    let request = pod.named(0, "stuck");
    let stuck = pod.client.send_within(Duration::from_secs(2), "Start", &request);
    pod.start(0, "fine").unwrap();
    assert_eq!(pod.wait(0, "fine"), 0);
    assert_eq!(pod.client.answer(stuck).unwrap_err().code, 4);
    // Created, as it was: it has not run.
    assert_eq!(pod.state(0, "stuck"), 1);
    pod.call("Delete", 0, "stuck").unwrap();
    // The container can end: nothing is counted as running.
    pod.kill(0, "", 9, false).unwrap();
    assert_eq!(pod.wait(0, ""), 137);
}

#[test]
fn a_hung_kill_answers_and_the_next_one_works() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: others wait for ever");
    }
    let mut pod = Pod::new(&["sleep", "600"]);
    let flag = pod.directory().join("hang");
    pod.script_runtime(&format!("[ $verb = kill ] && [ -e {} ] && exec sleep 1000", flag.display()));
    pod.run(0);
    fs::write(&flag, "").unwrap();
    let request = pod.named(0, "").number(3, 9);
    let stream = pod.client.send_within(Duration::from_secs(2), "Kill", &request);
    assert_eq!(pod.state(0, ""), 2);
    assert_eq!(pod.client.answer(stream).unwrap_err().code, 4);
    fs::remove_file(&flag).unwrap();
    pod.kill(0, "", 9, false).unwrap();
    assert_eq!(pod.wait(0, ""), 137);
}

#[test]
fn a_runtime_that_fails_is_quoted_and_one_that_is_missing_named() {
    let mut pod = Pod::new(&["sleep", "600"]);
    let stdio = Stdio::default();
    let terminal = Stdio::terminal(pod.directory(), "init");
    // A process without terminal has the runtime's own streams.
    let log = r#"while [ "$1" != --log ]; do shift; done
        echo '{"level":"error","msg":"the moon is in the wrong phase"}' > "$2""#;
    for (said, stdio) in [(log, &stdio), ("echo 'the moon is in the wrong phase' >&2", &terminal)] {
        pod.script_runtime(&format!("[ $verb = create ] && {{ {said}; exit 1; }}"));
        let stream = pod.send_create(0, stdio);
        let failed = pod.client.answer(stream).unwrap_err();
        assert!(failed.text.contains("the moon is in the wrong phase"), "{failed:?}");
    }
    let options = Writer::new().text(6, "/no/such/runtime");
    pod.options = Writer::any("containerd.runc.v1.Options", &options.done());
    let stream = pod.send_create(0, &stdio);
    let failed = pod.client.answer(stream).unwrap_err();
    assert!(failed.text.contains("/no/such/runtime"), "{failed:?}");
    assert!(
        failed.text.contains("executable file not found") || failed.text.contains("no such file"),
        "{failed:?}"
    );
    let options = Writer::new().text(1, "x");
    pod.options = Writer::any("some.unknown.Options", &options.done());
    let stream = pod.send_create(0, &stdio);
    assert!(pod.client.answer(stream).is_err());
}

#[test]
fn containers_survive_the_death_of_containerd() {
    let mut pod = Pod::new(&["sh", "-c", "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.05; done"]);
    let stdio = Stdio { stdin: String::new(), ..Stdio::fifos(pod.directory(), "init") };
    let (out, _err) = (Output::of(&stdio.stdout), Output::of(&stdio.stderr));
    let pid = pod.create(0, &stdio);
    pod.start(0, "").unwrap();
    out.expect("line 3\n");
    // In the middle of calls: one that waits, one that has only half arrived.
    let request = pod.named(0, "");
    pod.client.send("Wait", &request);
    pod.client.raw(&[0, 0, 0]);
    pod.sink.down();
    pod.client = Client::connect(&pod.socket).unwrap();
    assert!(host::alive(pid));
    out.expect("line 20\n");
    pod.sink.up();
    assert_eq!(pod.call("Connect", 0, "").unwrap().number(2), pid as u64);
    assert!(!pod.call("Pids", 0, "").unwrap().all(1).is_empty());
    pod.remove(0);
    let lines = out.end();
    for (index, line) in lines.lines().enumerate() {
        assert_eq!(line, format!("line {}", index + 1));
    }
}

#[test]
fn work_is_finished_when_its_caller_is_gone() {
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.send_create(0, &Stdio::default());
    pod.client = Client::connect(&pod.socket).unwrap();
    until("the container is created all the same", || {
        pod.call("State", 0, "").is_ok_and(|state| state.number(4) == 1)
    });
    pod.start(0, "").unwrap();
}

#[test]
fn a_killed_shim_is_cleaned_up_after() {
    let mut pod = Pod::new(&["sh", "-c", "sleep 600 & sleep 600"]);
    let container = pod.containers[0].clone();
    let pid = pod.run(0);
    pod.exec(0, "e", &["sleep", "600"], &Stdio::default()).unwrap();
    pod.start(0, "e").unwrap();
    let shim = pod.shim_pid();
    kill(Pid::from_raw(shim), Signal::SIGKILL).unwrap();
    let response = deleted(&pod.delete_command(&container));
    assert_eq!((response.number(1), response.number(2)), (pid as u64, 137));
    until("no process is left", || leaks::processes(&container.id).is_empty());
    until("no cgroup is left", || leaks::cgroups(&container.id).is_empty());
}

#[test]
fn a_runtime_dies_with_its_shim() {
    let mut pod = Pod::new(&["sleep", "600"]);
    // A time that nobody else sleeps.
    let time = (1_000_000 + std::process::id()).to_string();
    pod.script_runtime(&format!("[ $verb = create ] && exec sleep {time}"));
    pod.send_create(0, &Stdio::default());
    let stuck = || {
        let is = |pid: &i32| proc::nul_separated(&format!("/proc/{pid}/cmdline")) == ["sleep", &time];
        proc::pids().into_iter().filter(is).filter(|pid| host::alive(*pid)).count()
    };
    until("the runtime is at work", || stuck() == 1);
    let connection = Client::connect(&pod.socket);
    let shim = i32::try_from(connection.unwrap().call("Connect", &Writer::new()).unwrap().number(1)).unwrap();
    kill(Pid::from_raw(shim), Signal::SIGKILL).unwrap();
    until("the runtime is dead", || stuck() == 0);
}

/// It waits for a disk that does not answer, and outlives the first process, as it has the host's process ids.
/// Nothing but the cgroup is kept for it.
#[test]
fn a_process_that_cannot_be_killed_does_not_keep_its_container() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: with others it is the runtime's affair");
    }
    let parts = integration::rootfs::base().join(format!("disk-{}", std::process::id()));
    let disk = needs!(Disk::stuck(&parts), "ext4 on a loop device, and fsfreeze");
    let mut pod = Pod::with(&["sh", "-c", "echo > /tmp/disk/file & exec sleep 600"], |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "pid");
        let mount = json!({ "destination": "/tmp/disk", "type": "bind", "source": disk.path(),
            "options": ["bind", "rw"] });
        config["mounts"].as_array_mut().unwrap().push(mount);
    });
    let id = pod.id();
    let init = pod.run(0);
    let stuck = || leaks::processes(&id).into_iter().find(|pid| *pid != init);
    let state = |pid: i32| proc::Status::of(&pid.to_string()).get("State").to_owned();
    until("it is stuck", || stuck().is_some_and(|pid| state(pid).starts_with('D')));
    let stuck = stuck().unwrap();
    pod.kill(0, "", 9, false).unwrap();
    assert_eq!(pod.wait(0, ""), 137);
    let request = pod.named(0, "");
    // As CRI gives it.
    let stream = pod.client.send_within(Duration::from_secs(10), "Delete", &request);
    assert_eq!(pod.client.answer(stream).unwrap().number(2), 137);
    let log = pod.containers[0].log();
    assert!(log.contains(&format!("processes [{stuck}] of it live")), "{log}");
    assert!(host::alive(stuck));
    assert!(!pod.directory().join("state").join(pod.namespace()).join(&id).exists(), "the runtime's record");
    pod.shutdown();
    drop(disk);
    until("it is dead", || !host::alive(stuck));
}

#[test]
fn a_client_that_does_not_read_harms_nobody() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: others store without end");
    }
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.run(0);
    let shim = pod.shim_pid();
    let resident = || proc::resident(shim);
    let before = resident();
    let mut deaf = std::os::unix::net::UnixStream::connect(&pod.socket).unwrap();
    deaf.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let request = Writer::new().text(1, "containerd.task.v2.Task").text(2, "Stats");
    let request = request.message(3, &Writer::new().text(1, &pod.id())).done();
    let mut number = 1;
    let blocked = loop {
        match deaf.write_all(&frame(number, 1, 0, &request)) {
            Ok(()) => number += 2,
            Err(error) => break error,
        }
        assert!(number < 1_000_000, "the shim takes requests without end");
    };
    assert_eq!(blocked.kind(), std::io::ErrorKind::WouldBlock, "after {number}");
    assert_eq!(pod.state(0, ""), 2);
    assert!(resident() < before + 4096, "{} kB, before {before}", resident());
    drop(deaf);
    assert_eq!(pod.state(0, ""), 2);
}

/// Connects to the socket that a descriptor is open on, and says whether a request is answered there.
const ASK: &str = r#"
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect("/proc/self/fd/" + sys.argv[1])
print("connected,", end=" ")
try:
    s.send(bytes.fromhex(sys.argv[2]))
    print("answered" if s.recv(10) else "closed")
except (BrokenPipeError, ConnectionResetError):
    print("closed")
"#;

/// The folder of the socket is root's alone. Whoever came past that all the same, such as by a descriptor, is not served.
#[test]
fn only_the_same_user_is_served() {
    let pod = Pod::new(&["true"]);
    fs::set_permissions(&pod.socket, fs::Permissions::from_mode(0o666)).unwrap();
    // Not through the folder, which would refuse the connection before the shim does.
    let socket = fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(&pod.socket).unwrap();
    nix::fcntl::fcntl(&socket, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let named = Writer::new().text(1, &pod.id());
    let request = Writer::new().text(1, pod.client.service).text(2, "Connect").message(3, &named);
    let request: String = frame(1, 1, 0, &request.done()).iter().map(|byte| format!("{byte:02x}")).collect();
    let ask = |user: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(user).args(["/usr/bin/python3", "-c", ASK, &socket.as_raw_fd().to_string(), &request]);
        command.output()
    };
    let Ok(own) = ask(&["--clear-groups"]) else { skip!("needs setpriv and python3") };
    assert_eq!(String::from_utf8_lossy(&own.stdout), "connected, answered\n", "{own:?}");
    for user in
        [&["--reuid=65534", "--regid=65534", "--clear-groups"][..], &["--regid=65534", "--clear-groups"]]
    {
        let other = ask(user).unwrap();
        assert_eq!(String::from_utf8_lossy(&other.stdout), "connected, closed\n", "{user:?}: {other:?}");
    }
}

#[test]
fn a_shim_that_nobody_needs_ends_by_itself() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: others stay for ever");
    }
    // containerd has died between start and Create.
    let mut pod = Pod::with_variables(&["true"], &[("CORTEN_SHIM_IDLE_EXIT", "2")]);
    let shim = pod.shim_pid();
    pod.client = Client::connect(&Pod::new(&["true"]).socket).unwrap();
    until("the shim has noticed", || !host::alive(shim));
    assert!(!pod.socket.exists());
}

#[test]
fn shutdown_does_nothing_while_there_are_containers() {
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.run(0);
    let shim = pod.shim_pid();
    let id = pod.id();
    pod.client.call("Shutdown", &Writer::new().text(1, &id).number(2, 1)).unwrap();
    assert_eq!(pod.state(0, ""), 2);
    pod.remove(0);
    pod.shutdown();
    assert!(!host::alive(shim));
    // The last event is delivered before the end.
    assert_eq!(pod.sink.briefs(&id).last().map(String::as_str), Some(&*format!("delete {id}")));
}

#[test]
fn sigterm_ends_the_shim_and_not_its_containers() {
    let mut pod = Pod::new(&["sleep", "600"]);
    let stdio = Stdio::fifos(pod.directory(), "init");
    let _outputs = [Output::of(&stdio.stdout), Output::of(&stdio.stderr)];
    let pid = pod.create(0, &stdio);
    pod.start(0, "").unwrap();
    let shim = pod.shim_pid();
    kill(Pid::from_raw(shim), Signal::SIGTERM).unwrap();
    until("the shim has ended", || !host::alive(shim));
    assert!(host::alive(pid));
    let log = pod.containers[0].log();
    assert!(log.contains("ending because of SIGTERM") && !log.contains("panic"), "{log}");
}

#[test]
fn the_log_tells_of_everything_on_sigusr1() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: others write their stacks");
    }
    let mut pod = Pod::new(&["sleep", "600"]);
    let pid = pod.run(0);
    kill(Pid::from_raw(pod.shim_pid()), Signal::SIGUSR1).unwrap();
    let container = pod.containers[0].clone();
    let mut text = String::new();
    until("a line is written", || {
        text += &container.log();
        text.contains(&format!("pid {pid} running"))
    });
    assert!(text.contains("level=info msg=") && text.contains("time=\"20"), "{text}");
}

#[test]
fn a_shim_that_hangs_holds_up_no_start() {
    let mut pod = Pod::new(&["true"]);
    let shim = Pid::from_raw(pod.shim_pid());
    kill(shim, Signal::SIGSTOP).unwrap();
    let _connections = pod.fill_backlog();
    let container = pod.containers[0].clone();
    let mut start = pod.start_command(&container, &[]);
    let mut start = start.stdout(std::process::Stdio::null()).spawn().unwrap();
    let mut ended = None;
    let give_up = std::time::Instant::now() + integration::shim::client::patience();
    while ended.is_none() && std::time::Instant::now() < give_up {
        std::thread::sleep(Duration::from_millis(10));
        ended = start.try_wait().unwrap();
    }
    kill(shim, Signal::SIGKILL).unwrap();
    start.kill().unwrap();
    start.wait().unwrap();
    assert!(ended.is_some_and(|status| status.success()), "another shim serves in its place");
}

/// What shims were complained about, and that the tests would notice it in this one.
#[test]
fn each_fault_is_noticed() {
    integration::shim::weakened::each_is_noticed(&[
        (
            "an unmount that takes long costs the Delete, and the shim stays for ever",
            "rootfs::an_unmount_that_hangs_stops_neither_delete_nor_anything_else",
            "unmount",
        ),
        ("whoever comes to the socket is served", "only_the_same_user_is_served", "peer"),
        ("a shim that containerd has forgotten stays", "a_shim_that_nobody_needs_ends_by_itself", "watchdog"),
        (
            "one kill that hangs, and nothing can be killed any more",
            "a_hung_kill_answers_and_the_next_one_works",
            "deadlines",
        ),
        (
            "an exec that hangs holds its caller for ever",
            "a_hung_exec_is_killed_and_another_one_works",
            "deadlines",
        ),
        (
            "a start that hangs holds the pod for ever",
            "a_hung_start_stops_nothing_else_and_ends_with_its_deadline",
            "deadlines",
        ),
        ("a shim that hangs keeps the next one from starting", "a_shim_that_hangs_holds_up_no_start", "hung"),
        ("a killed shim leaves its container running", "a_killed_shim_is_cleaned_up_after", "cleanup"),
        (
            "a failure without its cause",
            "a_runtime_that_fails_is_quoted_and_one_that_is_missing_named",
            "reasons",
        ),
    ]);
}
