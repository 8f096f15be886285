//! containerd's CRI service with Corten's shim, driven by crictl as a kubelet would: pods of several
//! containers.

use integration::shim::engine::{Engine, Release};
use integration::shim::pod::until;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The ways to configure the shim: by its own type, and by containerd's with the path of the shim.
const HANDLERS: [&str; 2] = ["corten", "typed"];

/// Runs a test with every release, and one of the ways to configure the shim.
fn with_each(test: fn(&mut Engine, &str)) {
    for release in Release::ALL {
        with_release(release, &HANDLERS[usize::from(release == Release::Distribution)..][..1], test);
    }
}

fn with_release(release: Release, handlers: &[&str], test: fn(&mut Engine, &str)) {
    let Some(mut engine) = Engine::cri(release) else {
        return integration::skip::say(&format!("needs containerd with CRI, crictl and CNI ({release:?})"));
    };
    for handler in handlers {
        test(&mut engine, handler);
        until("no shim is left", || engine.shims().is_empty());
    }
}

/// A pod with its containers.
struct Pod<'a> {
    engine: &'a Engine,
    id: String,
    file: String,
}

impl Pod<'_> {
    fn new<'a>(engine: &'a Engine, handler: &str, name: &str) -> Pod<'a> {
        let file = engine.directory.join(format!("{name}-{handler}.json")).to_string_lossy().into_owned();
        let config = json!({
            "metadata": { "name": format!("{name}-{handler}"), "namespace": "default", "uid": format!("{name}-{handler}"), "attempt": 1 },
            "log_directory": engine.directory.join("logs").join(format!("{name}-{handler}")),
            "linux": { "cgroup_parent": engine.cgroup_parent() },
        });
        fs::write(&file, config.to_string()).unwrap();
        let id = engine.crictl(&["runp", "--runtime", handler, &file]).ok().trim().to_owned();
        Pod { engine, id, file }
    }

    fn container(&self, name: &str, command: &[&str], edit: impl FnOnce(&mut Value)) -> String {
        let file = self.engine.directory.join(format!("{name}.json")).to_string_lossy().into_owned();
        let mut config = json!({
            "metadata": { "name": name }, "image": { "image": "docker.io/library/busybox:latest" },
            "command": command, "log_path": format!("{name}.log"), "linux": {},
        });
        edit(&mut config);
        fs::write(&file, config.to_string()).unwrap();
        let id = self.engine.crictl(&["create", &self.id, &file, &self.file]).ok().trim().to_owned();
        self.engine.crictl(&["start", &id]).ok();
        id
    }

    fn state(&self, container: &str) -> Value {
        let text = self.engine.crictl(&["inspect", container]).ok();
        serde_json::from_str::<Value>(&text).unwrap()["status"].clone()
    }

    fn remove(self) {
        self.engine.crictl(&["stopp", &self.id]).ok();
        self.engine.crictl(&["rmp", &self.id]).ok();
    }
}

#[test]
fn a_pod_of_several_containers_has_one_shim() {
    for release in Release::ALL {
        with_release(release, &HANDLERS, has_one_shim);
    }
}

fn has_one_shim(engine: &mut Engine, handler: &str) {
    let pod = Pod::new(engine, handler, "several");
    assert_eq!(engine.shims().len(), 1);
    let script = "echo started; while :; do sleep 1; done";
    let one = pod.container("one", &["sh", "-c", script], |_| {});
    let two = pod.container("two", &["sleep", "600"], |_| {});
    let short = pod.container("short", &["sh", "-c", "exit 3"], |_| {});
    // Work that may block is done by copies of the shim, which come and go.
    until("one shim serves the whole pod", || engine.shims().len() == 1);
    until("the short one has ended", || pod.state(&short)["state"] == "CONTAINER_EXITED");
    assert_eq!(pod.state(&short)["exitCode"], 3);
    assert_eq!(pod.state(&one)["state"], "CONTAINER_RUNNING");

    assert_eq!(engine.crictl(&["exec", "-s", &one, "echo", "sync"]).ok().trim(), "sync");
    let failed = engine.crictl(&["exec", "-s", &one, "sh", "-c", "exit 4"]);
    assert!(failed.status != 0 && failed.err.contains("exited with 4"), "{failed:?}");
    assert_eq!(engine.crictl(&["exec", &two, "echo", "streamed"]).ok(), "streamed\n");
    until("the log is written", || engine.crictl(&["logs", &one]).out.contains("started"));
    let stats: Value = serde_json::from_str(&engine.crictl(&["stats", "-o", "json"]).ok()).unwrap();
    assert!(stats["stats"].as_array().is_some_and(|list| list.len() >= 2), "{stats}");
    assert_eq!(engine.crictl(&["pods", "-q", "--state", "ready"]).ok().trim(), pod.id);
    engine.crictl(&["stop", "-t", "0", &one]).ok();
    assert_eq!(pod.state(&one)["exitCode"], 137);
    engine.crictl(&["rm", &one]).ok();
    assert_eq!(pod.state(&two)["state"], "CONTAINER_RUNNING");
    pod.remove();
    let residue = engine.residue();
    assert_eq!((residue.bundles, residue.states, residue.mounts), (0, 0, 0), "{residue:?}");
}

/// Pods come and go, several at a time, some of them while their containers run: nothing of any kind is left.
#[test]
fn pods_come_and_go() {
    with_each(|engine, handler| {
        let warm = Pod::new(engine, handler, "warm");
        warm.container("warm", &["true"], |_| {});
        warm.remove();
        until("its shim has ended", || engine.shims().is_empty());
        let before = engine.residue();
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while let number @ ..8 = next.fetch_add(1, Ordering::Relaxed) {
                        let name = format!("churn{number}");
                        let pod = Pod::new(engine, handler, &name);
                        let words: &[&str] = if number % 2 == 0 { &["sleep", "600"] } else { &["true"] };
                        for part in ["x", "y"] {
                            let id = pod.container(&format!("{name}{part}"), words, |_| {});
                            if number % 4 == 0 {
                                engine.crictl(&["exec", "-s", &id, "true"]).ok();
                            }
                        }
                        if number % 3 == 0 {
                            // All at once, as when a node is drained.
                            engine.crictl(&["rmp", "-f", &pod.id]).ok();
                        } else {
                            pod.remove();
                        }
                    }
                });
            }
        });
        until("nothing is left, of no kind", || engine.residue() == before);
    });
}

#[test]
fn ports_are_forwarded_and_streams_attached() {
    with_each(|engine, handler| {
        let pod = Pod::new(engine, handler, "ports");
        let server = "while :; do echo answered | nc -l -p 80; done";
        let server = pod.container("server", &["sh", "-c", server], |_| {});
        let crictl = Release::Newer.find("crictl").unwrap();
        let socket = format!("unix://{}/containerd.sock", engine.directory.display());
        let start = |words: &[&str], input: Stdio| {
            let mut command = engine.command(&[&*crictl.to_string_lossy(), "-r", &socket, "-i", &socket]);
            command.args(words).stdin(input).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        let mut forward = start(&["port-forward", &pod.id, "8088:80"], Stdio::null());
        until("the port answers", || {
            engine.run(&["busybox", "nc", "-w", "2", "127.0.0.1", "8088"]).out.contains("answered")
        });
        engine.end("crictl");
        let _ = forward.wait();
        assert_eq!(pod.state(&server)["state"], "CONTAINER_RUNNING");

        let echo =
            pod.container("echo", &["sh", "-c", "while read line; do echo got $line; done"], |config| {
                config["stdin"] = true.into();
            });
        let mut attach = start(&["attach", "-i", &echo], Stdio::piped());
        attach.stdin.take().unwrap().write_all(b"typed\n").unwrap();
        until("the input has arrived", || engine.crictl(&["logs", &echo]).out.contains("got typed"));
        engine.end("crictl");
        let _ = attach.wait();

        let terminal =
            pod.container("terminal", &["sh", "-c", "tty; sleep 600"], |config| config["tty"] = true.into());
        until("the terminal is logged", || engine.crictl(&["logs", &terminal]).out.contains("/dev/pts/0"));
        pod.remove();
    });
}

#[test]
fn containerd_is_restarted_under_a_running_pod() {
    with_each(|engine, handler| {
        let script = "i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo line $i; sleep 0.05; done; sleep 600";
        let (id, counter) = {
            let pod = Pod::new(engine, handler, "restarted");
            let counter = pod.container("counter", &["sh", "-c", script], |_| {});
            (pod.id, counter)
        };
        let shims = engine.shims();
        engine.kill("containerd", Signal::SIGKILL);
        engine.restart_cri();
        until("the pod is known again", || engine.crictl(&["pods", "-q"]).out.contains(&id));
        assert_eq!(engine.shims(), shims);
        assert_eq!(engine.crictl(&["exec", "-s", &counter, "echo", "still"]).ok().trim(), "still");
        until("the output is complete", || engine.crictl(&["logs", &counter]).out.contains("line 60\n"));
        let log = engine.crictl(&["logs", &counter]).ok();
        // A line that containerd has read and not written when it is killed went with it; no other is lost, or out of order.
        let wanted: Vec<String> = (1..=60).map(|number| format!("line {number}")).collect();
        let is_logged = |line: &&String| log.lines().any(|logged| logged == *line);
        let logged: Vec<_> = wanted.iter().filter(is_logged).collect();
        assert!(logged.len() >= wanted.len() - 1, "{log}");
        assert_eq!(log.lines().collect::<Vec<_>>(), logged, "{log}");
        engine.crictl(&["stopp", &id]).ok();
        engine.crictl(&["rmp", &id]).ok();
    });
}

#[test]
fn probes_do_not_pile_up() {
    with_each(|engine, handler| {
        let pod = Pod::new(engine, handler, "probed");
        let container = pod.container("probed", &["sleep", "600"], |_| {});
        let shim = engine.shims()[0];
        let fds = || fs::read_dir(format!("/proc/{shim}/fd")).unwrap().count();
        engine.crictl(&["exec", "-s", &container, "true"]).ok();
        let before = fds();
        for _ in 0..10 {
            engine.crictl(&["exec", "-s", &container, "true"]).ok();
        }
        until("the descriptors are given back", || fds() <= before);
        // A probe that leaves a process behind.
        let late = engine.crictl(&["exec", "-s", "--timeout", "2", &container, "sh", "-c", "sleep 600"]);
        assert_ne!(late.status, 0);
        assert_eq!(engine.crictl(&["exec", "-s", &container, "echo", "on"]).ok().trim(), "on");
        pod.remove();
    });
}

#[test]
fn an_out_of_memory_kill_is_the_reason() {
    with_each(|engine, handler| {
        let pod = Pod::new(engine, handler, "hungry");
        let container = pod.container("hungry", &["tail", "/dev/zero"], |config| {
            config["linux"]["resources"] = json!({ "memory_limit_in_bytes": 33_554_432 });
        });
        until("it has ended", || pod.state(&container)["state"] == "CONTAINER_EXITED");
        // containerd takes the two events up side by side.
        until("the reason is known", || pod.state(&container)["reason"] == "OOMKilled");
        let state = pod.state(&container);
        assert_eq!(state["exitCode"], 137, "{state}");
        pod.remove();
    });
}

#[test]
fn a_killed_shim_ends_its_pod() {
    with_each(|engine, handler| {
        let pod = Pod::new(engine, handler, "doomed");
        let container = pod.container("doomed", &["sleep", "600"], |_| {});
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(engine.shims()[0]), Signal::SIGKILL).unwrap();
        until("its containers are known to have ended", || {
            pod.state(&container)["state"] == "CONTAINER_EXITED"
        });
        pod.remove();
        let residue = engine.residue();
        assert_eq!((residue.bundles, residue.states, residue.mounts), (0, 0, 0), "{residue:?}");
    });
}

/// A runtime that is to be asked for pods by containerd's sandbox service (`sandboxer = "shim"`), which this
/// shim has not.
const SANDBOXED: &str = r#"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.corten]
      runtime_type = "io.containerd.corten.v2"
      sandboxer = "shim"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.plain]
      runtime_type = "io.containerd.corten.v2"
      sandboxer = "podsandbox"
"#;

#[test]
fn a_pod_of_the_sandbox_service_is_refused_with_what_to_change() {
    let Some(engine) = Engine::cri_with(Release::Newer, SANDBOXED) else {
        return integration::skip::say("needs containerd 2 with CRI, crictl and CNI");
    };
    let file = engine.directory.join("pod.json").to_string_lossy().into_owned();
    let config = json!({ "metadata": { "name": "p", "namespace": "default", "uid": "p", "attempt": 1 },
        "linux": { "cgroup_parent": engine.cgroup_parent() } });
    fs::write(&file, config.to_string()).unwrap();
    let refused = engine.crictl(&["runp", "--runtime", "corten", &file]);
    assert_ne!(refused.status, 0);
    assert!(refused.err.contains("sandboxer = \\\"podsandbox\\\""), "{refused:?}");
    until("no shim is left", || engine.shims().is_empty());
    let residue = engine.residue();
    assert_eq!((residue.bundles, residue.sockets, residue.mounts), (0, 0, 0), "{residue:?}");
    // The same shim, asked as it wants to be.
    let pod = Pod::new(&engine, "plain", "plain");
    pod.remove();
}
