//! containerd itself with Corten's shim, through ctr: the distribution's release and newer ones.

use integration::shim::engine::{Engine, IMAGE, RUNTIME, Release};
use integration::shim::pod::until;
use integration::{host, skip};
use nix::sys::signal::Signal;
use std::process::{Child, Stdio};

/// Runs a test with every release that this machine has.
fn with_each(test: fn(&mut Engine)) {
    for release in Release::ALL {
        match Engine::containerd(release) {
            Some(mut engine) => test(&mut engine),
            None => integration::skip::say(&format!("needs containerd ({release:?})")),
        }
    }
}

fn run(engine: &Engine, options: &[&str], id: &str, words: &[&str]) -> integration::shim::Said {
    engine.ctr(&[&["run", "--rm", "--runtime", RUNTIME], options, &[IMAGE, id], words].concat())
}

/// As a user at a terminal.
fn run_in_terminal(engine: &Engine, line: &str) -> String {
    let socket = engine.directory.join("containerd.sock");
    let line = format!("ctr -a {} {line}", socket.display());
    let said = engine.run(&["script", "-qec", &line, "/dev/null"]);
    said.out.replace('\r', "")
}

#[test]
fn containers_run_and_say_how_they_ended() {
    with_each(|engine| {
        assert_eq!(run(engine, &[], "hello", &["echo", "hello"]).ok(), "hello\n");
        assert_eq!(run(engine, &[], "seven", &["sh", "-c", "exit 7"]).status, 7);
        assert_eq!(run(engine, &[], "killed", &["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]).status, 137);
        let missing = run(engine, &[], "missing", &["/no/such/program"]);
        assert!(missing.status != 0 && missing.err.contains("no such file or directory"), "{missing:?}");
        let big =
            run(engine, &[], "big", &["sh", "-c", "dd if=/dev/zero bs=1M count=8 2>/dev/null | tr '\\0' x"]);
        assert_eq!(big.ok().len(), 8 << 20);
        assert_eq!(engine.residue().bundles, 0);
    });
}

#[test]
fn terminals_work() {
    with_each(|engine| {
        let run = format!("run --rm -t --runtime {RUNTIME} {IMAGE} tty sh -c 'tty; exit 0'");
        assert!(run_in_terminal(engine, &run).contains("/dev/pts/0"));
        engine.start("live", &["sleep", "600"]).ok();
        let said = run_in_terminal(engine, "task exec -t --exec-id e1 live sh -c 'tty'");
        assert!(said.contains("/dev/pts/"), "{said}");
    });
}

#[test]
fn a_task_is_executed_in_paused_measured_and_killed() {
    with_each(|engine| {
        engine.start("live", &["sleep", "600"]).ok();
        assert_eq!(
            engine.ctr(&["task", "exec", "--exec-id", "e1", "live", "echo", "inside"]).ok(),
            "inside\n"
        );
        assert_eq!(engine.ctr(&["task", "exec", "--exec-id", "e2", "live", "sh", "-c", "exit 3"]).status, 3);
        let missing = engine.ctr(&["task", "exec", "--exec-id", "e3", "live", "nosuchprogram"]);
        assert!(missing.err.contains("executable file not found in $PATH"), "{missing:?}");
        engine.ctr(&["task", "pause", "live"]).ok();
        assert!(engine.ctr(&["task", "ls"]).ok().contains("PAUSED"));
        engine.ctr(&["task", "resume", "live"]).ok();
        assert!(engine.ctr(&["task", "ls"]).ok().contains("RUNNING"));
        assert!(engine.ctr(&["task", "ps", "live"]).ok().lines().count() >= 2);
        let metrics = engine.ctr(&["task", "metrics", "live"]).ok();
        assert!(metrics.contains("memory.usage_in_bytes") || metrics.contains("memory.usage"), "{metrics}");
        engine.ctr(&["task", "kill", "-s", "SIGKILL", "live"]).ok();
        until("it is stopped", || engine.ctr(&["task", "ls"]).ok().contains("STOPPED"));
        let removed = engine.ctr(&["task", "rm", "live"]);
        assert!(removed.err.contains("137") || removed.status == 137, "{removed:?}");
        engine.ctr(&["container", "rm", "live"]).ok();
        until("the shim has ended", || engine.shims().is_empty());
    });
}

/// `ctr events`, at work: what it prints goes into the file `events` of the engine's directory.
fn listen(engine: &Engine) -> Child {
    let socket = engine.directory.join("containerd.sock").display().to_string();
    let path = engine.directory.join("events");
    let mut listener = engine.command(&["ctr", "-a", &socket, "events"]);
    listener.stdout(std::fs::File::create(&path).unwrap()).stderr(Stdio::null());
    let listener = listener.spawn().unwrap();
    until("events are listened to", || {
        engine.ctr(&["namespaces", "label", &engine.name, "a=b"]);
        std::fs::read_to_string(&path).unwrap().contains("/namespaces/update")
    });
    listener
}

#[test]
fn events_arrive_in_their_order() {
    with_each(|engine| {
        let mut listener = listen(engine);
        let seen = || std::fs::read_to_string(engine.directory.join("events")).unwrap();
        engine.start("told", &["sleep", "600"]).ok();
        engine.ctr(&["task", "exec", "--exec-id", "e1", "told", "true"]).ok();
        engine.ctr(&["task", "pause", "told"]).ok();
        engine.ctr(&["task", "resume", "told"]).ok();
        engine.ctr(&["task", "kill", "-s", "KILL", "told"]).ok();
        until("the exit is told", || seen().matches("/tasks/exit").count() == 2);
        engine.ctr(&["task", "rm", "told"]);
        until("the deletion is told", || seen().contains("/tasks/delete"));
        let topics: Vec<String> = seen()
            .lines()
            .filter_map(|line| {
                line.split_whitespace().find(|word| word.starts_with("/tasks/")).map(str::to_owned)
            })
            .collect();
        let expected =
            ["create", "start", "exec-added", "exec-started", "exit", "paused", "resumed", "exit", "delete"];
        assert_eq!(topics, expected.map(|topic| format!("/tasks/{topic}")));
        let _ = listener.kill();
        let _ = listener.wait();
    });
}

#[test]
fn a_killed_containerd_finds_its_containers_again() {
    with_each(|engine| {
        // A client that reads all the while, as one that is not containerd may.
        let log = engine.directory.join("counted");
        let script = "i=0; while [ $i -lt 150 ]; do i=$((i+1)); echo $i; sleep 0.02; done; sleep 600";
        let uri = format!("file://{}", log.display());
        engine
            .ctr(&[
                "run",
                "-d",
                "--runtime",
                RUNTIME,
                "--log-uri",
                &uri,
                IMAGE,
                "counter",
                "sh",
                "-c",
                script,
            ])
            .ok();
        engine.start("live", &["sleep", "600"]).ok();
        let shims = engine.shims();
        assert_eq!(shims.len(), 2);
        for signal in [Signal::SIGKILL, Signal::SIGTERM] {
            engine.kill("containerd", signal);
            assert_eq!(engine.shims().len(), 2, "shims outlive containerd");
            engine.start_containerd("");
            let tasks = engine.ctr(&["task", "ls"]).ok();
            assert_eq!(tasks.matches("RUNNING").count(), 2, "{tasks}");
            assert_eq!(
                engine.ctr(&["task", "exec", "--exec-id", "again", "live", "echo", "still"]).ok(),
                "still\n"
            );
        }
        assert_eq!(engine.shims(), shims);
        until("the output is complete", || {
            std::fs::read_to_string(&log).unwrap_or_default().ends_with("\n150\n")
        });
        let text = std::fs::read_to_string(&log).unwrap();
        let expected: String = (1..=150).map(|number| format!("{number}\n")).collect();
        assert_eq!(text, expected, "not a byte is lost or doubled");
    });
}

#[test]
fn an_exit_while_containerd_is_away_is_told_afterwards() {
    with_each(|engine| {
        engine.start("leaving", &["sh", "-c", "while ! [ -e /leave ]; do sleep 0.05; done; exit 5"]).ok();
        engine.start("staying", &["sleep", "600"]).ok();
        let told = |engine: &Engine| {
            let text = std::fs::read_to_string(engine.directory.join("containerd.log")).unwrap();
            text.lines().filter(|line| line.contains("/tasks/exit") && line.contains("forwarded")).count()
        };
        let tasks = engine.ctr(&["task", "ls"]).ok();
        let line = tasks.lines().find(|line| line.starts_with("leaving")).unwrap();
        let inside: i32 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        let root = engine.outside(&format!("/proc/{inside}/root"));
        engine.kill("containerd", Signal::SIGKILL);
        std::fs::write(root.join("leave"), "").unwrap();
        until("it has left", || !engine.outside(&format!("/proc/{inside}/root")).join("leave").exists());
        assert_eq!(told(engine), 0);
        engine.start_containerd("");
        until("containerd has been told", || told(engine) == 1);
        // It removes tasks that it finds ended, whatever the shim; the others go on.
        let tasks = engine.ctr(&["task", "ls"]).ok();
        assert!(tasks.contains("staying") && tasks.contains("RUNNING"), "{tasks}");
    });
}

#[test]
fn a_killed_shim_takes_its_container_along_and_leaves_nothing() {
    with_each(|engine| {
        let script = "sleep 600 & sleep 600";
        engine.start("doomed", &["sh", "-c", script]).ok();
        let before = engine.residue();
        assert!(before.cgroups > 0 && before.mounts > 0 && before.states > 0, "{before:?}");
        let shim = engine.shims()[0];
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim), Signal::SIGKILL).unwrap();
        until("containerd has noticed", || !engine.ctr(&["task", "ls"]).ok().contains("RUNNING"));
        engine.ctr(&["task", "rm", "-f", "doomed"]);
        engine.ctr(&["container", "rm", "doomed"]).ok();
        until("nothing is left", || {
            let after = engine.residue();
            (after.shims, after.mounts, after.states, after.bundles, after.cgroups) == (0, 0, 0, 0, 0)
        });
        // Its id can be used again at once.
        assert_eq!(run(engine, &[], "doomed", &["echo", "again"]).ok(), "again\n");
    });
}

#[test]
fn user_namespaces_get_their_streams() {
    with_each(|engine| {
        let options = ["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536", "--remap-labels"];
        let said = run(engine, &options, "mapped", &["sh", "-c", "id -u; echo via > /dev/stdout"]);
        if said.err.contains("snapshotter does not support") {
            return integration::skip::say("needs a snapshotter that maps owners");
        }
        assert_eq!(said.ok(), "0\nvia\n");
    });
}

#[test]
fn the_runtime_can_be_another_one() {
    with_each(|engine| {
        // By the name of containerd's own shim, with the options that ctr has for it.
        let words = [
            "run",
            "--rm",
            "--runtime",
            "io.containerd.runc.v2",
            "--runc-binary",
            "runc",
            IMAGE,
            "foreign",
            "echo",
            "by runc",
        ];
        assert_eq!(engine.ctr(&words).ok(), "by runc\n");
        let words = [
            "run",
            "--rm",
            "--runtime",
            "io.containerd.runc.v2",
            "--runc-binary",
            "/no/runtime",
            IMAGE,
            "x",
            "true",
        ];
        let said = engine.ctr(&words);
        assert!(said.err.contains("/no/runtime"), "{said:?}");
    });
}

/// A task is saved as an image, with what it has written, and goes on from there under another name.
#[test]
fn a_task_goes_on_from_a_checkpoint() {
    integration::needs!(integration::criu::path(), "criu (integration/src/fetch-criu.sh)");
    with_each(|engine| {
        // What it has written is saved a moment after the task itself, which goes on: a file that has always
        // been there, of always the same size, is what criu finds again whenever that is.
        let script = "[ ! -e /count ] || exit 9; printf 000000 > /count; i=0; while :; do i=$((i+1)); printf %06d $i 1<> /count; sleep 0.02; done";
        engine.start("first", &["sh", "-c", script]).ok();
        let count = |engine: &Engine, id: &str| {
            let said = engine.ctr(&["task", "exec", "--exec-id", "look", id, "cat", "/count"]);
            said.out.trim().parse::<u64>().unwrap_or(0)
        };
        until("it counts", || count(engine, "first") > 5);
        engine.ctr(&["containers", "checkpoint", "--rw", "--image", "--task", "first", "saved:1"]).ok();
        let saved = count(engine, "first");
        assert!(saved > 5, "{saved}");
        until("the first goes on, too", || count(engine, "first") > saved);
        let remove = |engine: &Engine, id: &str| {
            engine.ctr(&["task", "kill", "-s", "SIGKILL", id]).ok();
            until("its end", || engine.ctr(&["task", "rm", id]).status == 0);
            engine.ctr(&["containers", "rm", id]).ok();
        };
        remove(engine, "first"); // Its control group is that of the second, too.
        engine.ctr(&["containers", "restore", "--live", "second", "saved:1"]).ok();
        until("it goes on", || count(engine, "second") > saved);
        remove(engine, "second");
    });
}

#[test]
fn an_out_of_memory_kill_is_an_event() {
    if !host::has_controller("memory") {
        skip!("needs a memory controller");
    }
    with_each(|engine| {
        let mut listener = listen(engine);
        let seen = || std::fs::read_to_string(engine.directory.join("events")).unwrap();
        let said = run(engine, &["--memory-limit", "33554432"], "hungry", &["sh", "-c", "tail /dev/zero"]);
        assert_eq!(said.status, 137, "{said:?}");
        until("it is told", || seen().contains("/tasks/delete"));
        let text = seen();
        let at = |topic: &str| text.find(topic);
        assert!(at("/tasks/oom").is_some_and(|oom| Some(oom) < at("/tasks/exit")), "{text}");
        let _ = listener.kill();
        let _ = listener.wait();
    });
}

/// 200 containers, 8 at a time, and nothing of any kind is left.
#[test]
fn many_containers_leave_nothing() {
    with_each(|engine| {
        engine.start("warm", &["true"]).ok();
        until("it has ended", || engine.ctr(&["task", "ls"]).ok().contains("STOPPED"));
        engine.ctr(&["task", "rm", "warm"]).ok();
        engine.ctr(&["container", "rm", "warm"]).ok();
        until("its shim has ended", || engine.shims().is_empty());
        let before = engine.residue();
        let count = if engine.release == Release::Newer { 200 } else { 40 };
        let next = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        if number >= count {
                            return;
                        }
                        let id = format!("many-{number}");
                        let said = run(
                            engine,
                            &[],
                            &id,
                            &["sh", "-c", &format!("echo {number}; exit {}", number % 3)],
                        );
                        assert_eq!(
                            (said.out.trim(), said.status),
                            (&*number.to_string(), i32::try_from(number % 3).unwrap()),
                            "{said:?} {:?}",
                            engine.release
                        );
                    }
                });
            }
        });
        until("nothing is left, of no kind", || engine.residue() == before);
    });
}
