//! User notification: a container's listener in the hands of a real agent, and what becomes of the container
//! when there is none, or when it goes away.

#![expect(clippy::unwrap_used)]

use integration::container::Container;
use integration::outcome;
use integration::sockets::Receiver;
use integration::sockets::agent::Agent;
use integration::{leaks, since, sys};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;

const EDOM: i32 = 33;

/// mkdir is answered with an error of the agent's own; rmdir and execve it lets happen.
fn answer(number: i32) -> Option<i32> {
    (i64::from(number) == libc::SYS_mkdir).then_some(EDOM)
}

/// A container whose filter asks about these calls, and its agent's socket.
fn asking(names: &[&str]) -> (Container, std::path::PathBuf) {
    let mut c = Container::new();
    let socket = c.path("agent.sock");
    c.put(
        "/linux/seccomp",
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": socket.to_str().unwrap(),
        "syscalls": [{ "names": names, "action": "SCMP_ACT_NOTIFY" }] }),
    );
    c.put("/root/readonly", json!(false));
    (c, socket)
}

/// All processes of the container are asked about, each by its own number, and the agent's answers are what
/// they get.
#[test]
fn an_agent_answers_for_every_process_of_a_container() {
    since!("SCMP_ACT_NOTIFY", "runc 1.1", "crun 0.19");
    let (mut c, socket) = asking(&["mkdir", "rmdir"]);
    let agent = Agent::at(&socket, 1, answer);
    c.shell("rmdir /mnt && for i in 1 2 3; do (mkdir /made$i; echo $?) & done; wait; ls -d /made* 2>/dev/null; true");
    let run = c.run(&[]).ok();
    assert_eq!(run.stdout, "1\n1\n1\n", "{run:#?}");
    assert_eq!(run.stderr.matches("argument out of domain").count(), 3, "{run:#?}");
    assert!(!c.rootfs("mnt").exists(), "rmdir happened");
    let calls = agent.calls();
    assert_eq!(calls.len(), 4, "{calls:?}");
    let mut threads: Vec<u32> = calls.iter().map(|call| call.0).collect();
    threads.sort_unstable();
    threads.dedup();
    assert_eq!(threads.len(), 4, "each process by its own number: {calls:?}");
    leaks::assert_none(&c);
}

/// The message to the agent is the container process state of the specification, for create and for exec.
#[test]
fn an_agent_is_told_whose_listener_it_gets() {
    since!("SCMP_ACT_NOTIFY", "runc 1.1", "crun 0.19");
    let (mut c, socket) = asking(&["mkdir"]);
    c.put("/linux/seccomp/listenerMetadata", json!("MKNOD=/dev/null, \"quoted\" \u{2603}"));
    c.put("/annotations/org.example.key", json!("value"));
    let agent = Agent::at(&socket, 2, answer);
    c.args(&["/probe", "sleep"]);
    c.create();
    let first = agent.states(1).remove(0);
    let init = c.pid();
    assert_eq!(first["ociVersion"], c.config["ociVersion"]);
    assert_eq!(first["fds"], json!(["seccompFd"]));
    assert_eq!(first["pid"], init);
    assert_eq!(first["metadata"], c.config["linux"]["seccomp"]["listenerMetadata"]);
    let state = &first["state"];
    assert_eq!(state["ociVersion"], c.config["ociVersion"]);
    assert_eq!((&state["id"], &state["status"]), (&json!(c.id), &json!("creating")));
    assert_eq!((&state["pid"], &state["bundle"]), (&json!(init), &json!(c.bundle())));
    assert_eq!(state["annotations"]["org.example.key"], "value");
    c.start();
    assert_eq!(c.exec(&[], &["/probe", "try", "mkdir", "/new"]).ok().stdout, "EDOM\n");
    let second = agent.states(2).remove(1);
    assert_eq!((&second["fds"], &second["metadata"]), (&first["fds"], &first["metadata"]));
    assert_eq!((&second["state"]["status"], &second["state"]["pid"]), (&json!("running"), &json!(init)));
    let process = second["pid"].as_i64().unwrap();
    assert!(process > 0 && process != i64::from(init), "{second}");
    assert_eq!(agent.calls(), [(u32::try_from(process).unwrap(), i32::try_from(libc::SYS_mkdir).unwrap())]);
}

/// The agent is asked about execve itself: it has to have its listener before the program runs.
#[test]
fn an_agent_may_be_asked_about_the_very_first_call() {
    since!("SCMP_ACT_NOTIFY for execve", "runc 1.1", "crun -");
    let (mut c, socket) = asking(&["execve"]);
    let agent = Agent::at(&socket, 2, answer);
    c.sleeping();
    assert_eq!(agent.calls().len(), 1);
    assert_eq!(c.exec(&[], &["/bin/echo", "ran"]).ok().stdout, "ran\n");
    assert_eq!(agent.calls().len(), 2);
}

#[test]
fn without_an_agent_there_is_no_container() {
    since!("SCMP_ACT_NOTIFY", "runc 1.1", "crun 0.19");
    // Nobody there; something else there; somebody who has stopped listening.
    let (c, socket) = asking(&["mkdir"]);
    for prepare in [
        (|_| {}) as fn(&std::path::Path),
        |path| std::fs::write(path, "").unwrap(),
        |path| drop(UnixListener::bind(path).unwrap()),
    ] {
        let _ = std::fs::remove_file(&socket);
        prepare(&socket);
        for outcome in [c.run(&[]), c.try_create(&[])] {
            let error = outcome.error();
            assert!(error.contains(socket.to_str().unwrap()), "{error}");
            leaks::assert_none(&c);
        }
    }
}

#[test]
fn errors_name_the_field_of_the_agent() {
    since!("JSON paths in errors", "runc -", "crun -");
    let (mut c, socket) = asking(&["mkdir"]);
    assert!(c.run(&[]).error().contains("linux.seccomp.listenerPath: connect to"), "{:#?}", c.run(&[]));
    c.put("/linux/seccomp/listenerPath", json!(""));
    let run = c.run(&[]);
    assert!(
        run.error().contains("linux.seccomp.syscalls[0]: SCMP_ACT_NOTIFY needs linux.seccomp.listenerPath"),
        "{run:#?}"
    );
    c.put("/linux/seccomp/listenerPath", json!(socket.to_str().unwrap()));
    c.put("/linux/seccomp/syscalls/0/names", json!(["write"]));
    assert!(c.run(&[]).error().contains("write"), "the runtime itself would wait for the agent");
    leaks::assert_none(&c);
}

/// An agent that takes the listener and dies: its calls answer ENOSYS, and nothing hangs.
#[test]
fn an_agent_that_dies_after_it_was_handed_the_listener() {
    since!("SCMP_ACT_NOTIFY", "runc 1.1", "crun 0.19");
    let (mut c, socket) = asking(&["mkdir"]);
    let receiver = Receiver::at(&socket);
    c.args(&["/probe", "sleep"]);
    // `create` returns, so the listener has been taken: by the kernel, into a socket that nobody will read.
    c.create();
    drop(receiver);
    c.start();
    let late = c.exec(&[], &["/probe", "try", "mkdir", "/new"]);
    assert!(late.error().contains("linux.seccomp.listenerPath: connect to"), "{late:#?}");
    let own = |pid: &i32| *pid != c.pid();
    assert_eq!(leaks::processes(&c.id).into_iter().find(own), None, "the refused process is gone");
    assert_eq!(c.status(), "running", "and the container lives on");
    // With another agent in its place things go on.
    std::fs::remove_file(&socket).unwrap();
    let agent = Agent::at(&socket, 1, answer);
    assert_eq!(c.exec(&[], &["/probe", "try", "mkdir", "/new"]).ok().stdout, "EDOM\n");
    assert_eq!(agent.calls().len(), 1);
    c.delete_force();
    leaks::assert_none(&c);
}

/// Where execve is asked about, a dead agent means that the program cannot be run: an error, and nothing is
/// left.
#[test]
fn an_agent_that_dies_before_the_first_call() {
    since!("SCMP_ACT_NOTIFY for execve", "runc 1.1", "crun -");
    let (mut c, socket) = asking(&["execve"]);
    let receiver = Receiver::at(&socket);
    let run = c.args(&["/probe", "sleep"]).launch_run(&[]);
    drop(receiver.receive());
    drop(receiver);
    let run = run.finish();
    assert!(run.error().contains("function not implemented"), "{run:#?}");
    leaks::assert_none(&c);
}

/// An agent that closes the connection as soon as it is there, without a look at it. It may come too late for
/// the runtime to see; then the calls answer ENOSYS. In no case does anything hang or remain.
#[test]
fn an_agent_that_hangs_up() {
    since!("SCMP_ACT_NOTIFY", "runc 1.1", "crun 0.19");
    let (mut c, socket) = asking(&["mkdir"]);
    let listener = UnixListener::bind(&socket).unwrap();
    let refuser = std::thread::spawn(move || drop(listener.accept().unwrap()));
    let run = c.args(&["/probe", "try", "mkdir", "/new"]).run(&[]);
    refuser.join().unwrap();
    match run.status.success() {
        true => assert_eq!(run.stdout, "ENOSYS\n"),
        false => assert!(run.error().contains("linux.seccomp.listenerPath: send the listener"), "{run:#?}"),
    }
    leaks::assert_none(&c);
}

/// The socket can be named beside the profile, as crun reads it: the profile's own first, then the
/// annotation, then the environment.
#[test]
fn the_agent_can_be_named_by_annotation_and_environment() {
    since!("a receiver beside the profile", "runc -", "crun 0.20");
    const KEY: &str = "/annotations/run.oci.seccomp.receiver";
    const VARIABLE: &str = "RUN_OCI_SECCOMP_RECEIVER";
    let attempt = ["/probe", "try", "mkdir", "/new"];
    for way in ["profile", "annotation", "environment"] {
        let (mut c, socket) = asking(&["mkdir"]);
        let socket = socket.to_str().unwrap().to_owned();
        c.args(&attempt);
        let mut variable = "/nowhere".to_owned();
        match way {
            "profile" => {
                c.put(KEY, json!("/nowhere"));
            }
            "annotation" => {
                c.put("/linux/seccomp/listenerPath", Value::Null).put(KEY, json!(socket));
            }
            _ => {
                c.put("/linux/seccomp/listenerPath", Value::Null);
                variable.clone_from(&socket);
            }
        }
        let agent = Agent::at(socket.as_ref(), 1, answer);
        let run = c.run_with(&[], |command| _ = command.env(VARIABLE, &variable)).ok();
        assert_eq!(run.stdout, "EDOM\n", "{way}");
        assert_eq!(agent.states(1)[0]["state"]["id"], c.id);
    }
    let (mut c, _) = asking(&["mkdir"]);
    c.put("/linux/seccomp/listenerPath", Value::Null).put(KEY, json!("relative.sock"));
    assert!(c.run(&[]).error().contains("is not an absolute path"));
    leaks::assert_none(&c);
}

/// An exec finds the agent that create found, wherever its path came from.
#[test]
fn an_exec_finds_the_agent_of_the_environment() {
    since!("a receiver that exec knows", "runc -", "crun -");
    let (mut c, socket) = asking(&["mkdir"]);
    let agent = Agent::at(&socket, 2, answer);
    c.put("/linux/seccomp/listenerPath", Value::Null).args(&["/probe", "ready-then-sleep"]);
    c.write_config();
    let bundle = c.bundle().to_str().unwrap().to_owned();
    let run = ["run", "--detach", "--bundle", &bundle, &c.id];
    c.call_with(&run, |command| _ = command.env("RUN_OCI_SECCOMP_RECEIVER", &socket)).ok();
    assert_eq!(c.exec(&[], &["/probe", "try", "mkdir", "/new"]).ok().stdout, "EDOM\n");
    assert_eq!(agent.states(2).len(), 2);
}

/// A process that is stopped while it waits for its agent: it is asked about again, and only once where the
/// profile says SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV.
#[test]
fn a_waiting_call_is_interrupted_unless_the_profile_says_otherwise() {
    since!("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "runc 1.5", "crun -");
    for flags in [json!([]), json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])] {
        let (mut c, socket) = asking(&["mkdir"]);
        c.put("/linux/seccomp/flags", flags.clone());
        let receiver = Receiver::at(&socket);
        c.shell("mkdir /new; echo $?");
        let run = c.launch_run(&[]);
        let handed = receiver.receive();
        let listener = handed.fds[0].as_fd();
        let asked = sys::notification(listener).unwrap();
        let caller = Pid::from_raw(i32::try_from(asked.pid).unwrap());
        kill(caller, Signal::SIGSTOP).unwrap();
        if flags == json!([]) {
            let status = || integration::proc::Status::of(&caller.to_string());
            outcome::until("a stopped process", || status().get("State").starts_with('T'));
            kill(caller, Signal::SIGCONT).unwrap();
            let late = sys::answer(listener, asked.id, None).unwrap_err();
            assert_eq!(late.raw_os_error(), Some(libc::ENOENT));
            let again = sys::notification(listener).unwrap();
            sys::answer(listener, again.id, None).unwrap();
        } else {
            kill(caller, Signal::SIGCONT).unwrap();
            sys::answer(listener, asked.id, None).expect("it is still the same call");
        }
        assert_eq!(run.finish().ok().stdout, "0\n");
    }
}

/// Killing a container whose process waits for an agent that never answers.
#[test]
fn a_container_that_waits_for_its_agent_can_be_killed() {
    since!("SCMP_ACT_NOTIFY", "runc 1.1", "crun 0.19");
    let (mut c, socket) = asking(&["mkdir"]);
    let receiver = Receiver::at(&socket);
    c.args(&["/probe", "try", "mkdir", "/new"]);
    c.create();
    let _handed = receiver.receive();
    c.start();
    outcome::until("the call", || {
        let call = std::fs::read_to_string(format!("/proc/{}/syscall", c.pid())).unwrap_or_default();
        call.starts_with(&format!("{} ", libc::SYS_mkdir))
    });
    c.delete_force();
    leaks::assert_none(&c);
}
