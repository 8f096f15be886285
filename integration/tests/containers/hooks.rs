//! `hooks`: the six kinds, when they run, in which namespaces, what they read, and what their failure does.

use integration::container::{Container, End};
use integration::runtime::{Kind, runtime};
use integration::{host, leaks, outcome, proc, since};
use serde_json::{Value, json};
use std::fs;

/// Every hook writes a line to this file of the bundle, by a script on the host.
fn log_of(c: &Container) -> Vec<String> {
    let text = fs::read_to_string(c.path("hooks.log")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// A hook that runs a script of the host's shell.
fn host_hook(script: &str) -> Value {
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] })
}

/// Puts a hook of each kind that notes its name; those inside the container write through a bind of the
/// bundle.
fn note_all(c: &mut Container) {
    let log = c.text_path("hooks.log");
    fs::write(&log, "").unwrap();
    for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        c.put(&format!("/hooks/{kind}/-"), host_hook(&format!("echo {kind} >> {log}")));
    }
    c.mount(json!({ "destination": "/tmp/hooks.log", "type": "bind", "source": log, "options": ["bind"] }));
    c.put(
        "/hooks/startContainer/-",
        json!({ "path": "/bin/sh", "args": ["sh", "-c", "echo startContainer >> /tmp/hooks.log"] }),
    );
}

#[test]
fn every_kind_runs_at_its_time() {
    since!("poststart hooks after the start", "runc -", "crun 1.0");
    let mut c = Container::new();
    note_all(&mut c);
    c.args(&["/probe", "signals"]);
    c.create();
    assert_eq!(log_of(&c), ["prestart", "createRuntime", "createContainer"]);
    c.start();
    c.await_line("ready");
    outcome::until("the poststart hook", || log_of(&c).len() == 5);
    assert_eq!(log_of(&c)[3..], ["startContainer", "poststart"]);
    c.kill("TERM").ok();
    assert_eq!(c.wait(), End::Exited(0));
    assert_eq!(log_of(&c).len(), 5, "poststop belongs to delete");
    c.delete().ok();
    assert_eq!(log_of(&c)[5..], ["poststop"]);
    leaks::assert_none(&c);
}

#[test]
fn the_hosts_run_in_the_bundle_and_the_containers_where_its_process_is() {
    since!("hooks that run in the bundle", "runc 1.0", "crun -");
    let mut c = Container::new();
    let log = c.text_path("hooks.log");
    fs::write(&log, "").unwrap();
    for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        c.put(&format!("/hooks/{kind}/-"), host_hook(&format!("echo {kind} $(pwd -P) >> {log}")));
    }
    c.mount(json!({ "destination": "/tmp/hooks.log", "type": "bind", "source": log, "options": ["bind"] }));
    let own = "echo startContainer $(pwd) >> /tmp/hooks.log";
    c.put("/hooks/startContainer/-", json!({ "path": "/bin/sh", "args": ["sh", "-c", own] }));
    c.put("/process/cwd", json!("/etc"));
    c.args(&["/bin/true"]);
    c.run(&[]).ok();
    let bundle = fs::canonicalize(c.path("")).unwrap().display().to_string();
    let told: Vec<(String, String)> = log_of(&c)
        .iter()
        .filter_map(|line| line.split_once(' '))
        .map(|(kind, place)| (kind.to_owned(), place.replace(&bundle, "BUNDLE")))
        .collect();
    let place = |kind: &str| told.iter().find(|(own, _)| own == kind).map(|(_, place)| place.as_str());
    for kind in ["prestart", "createRuntime", "poststart", "poststop"] {
        assert_eq!(place(kind), Some("BUNDLE"), "{kind}: {told:?}");
    }
    assert_eq!(place("createContainer"), Some("BUNDLE/rootfs"), "{told:?}");
    assert_eq!(place("startContainer"), Some("/etc"), "{told:?}");
}

#[test]
fn run_calls_them_all() {
    let mut c = Container::new();
    note_all(&mut c);
    c.args(&["/bin/true"]);
    c.run(&[]).ok();
    let mut log = log_of(&c);
    assert_eq!(log[..3], ["prestart", "createRuntime", "createContainer"]);
    // The program runs when poststart is called, and may even have ended.
    log.sort();
    let mut all = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    all.sort_unstable();
    assert_eq!(log, all);
}

#[test]
fn hooks_of_a_kind_run_in_order() {
    let mut c = Container::new();
    let log = c.text_path("hooks.log");
    for number in 0..5 {
        c.put("/hooks/createRuntime/-", host_hook(&format!("echo {number} >> {log}")));
    }
    c.args(&["/bin/true"]);
    c.run(&[]).ok();
    assert_eq!(log_of(&c), ["0", "1", "2", "3", "4"]);
}

#[test]
fn hooks_read_the_state() {
    let mut c = Container::new();
    c.put("/annotations", json!({ "org.example.key": "value" }));
    let expected = [
        ("prestart", "created"),
        ("createRuntime", "created"),
        ("createContainer", "created"),
        ("poststart", "running"),
        ("poststop", "stopped"),
    ];
    for (kind, _) in expected {
        let file = c.text_path(kind);
        c.put(&format!("/hooks/{kind}/-"), host_hook(&format!("cat > {file}")));
    }
    c.args(&["/probe", "sleep"]);
    c.create();
    c.start();
    let pid = c.pid();
    outcome::until("the poststart hook", || {
        fs::read_to_string(c.path("poststart")).is_ok_and(|text| text.trim_end().ends_with('}'))
    });
    c.delete_force().ok();
    for (kind, status) in expected {
        let state: Value = serde_json::from_str(&fs::read_to_string(c.path(kind)).unwrap()).unwrap();
        assert_eq!(state["id"], c.id, "{kind}");
        // runc says "creating" of the first three, where the validation suite of the specification wants
        // "created"; it calls the fourth before the start, against the specification.
        if matches!(kind, "poststop") || runtime().kind != Kind::Runc {
            assert_eq!(state["status"], status, "{kind}");
        }
        assert_eq!(state["bundle"], c.bundle().to_str().unwrap(), "{kind}");
        assert_eq!(state["annotations"]["org.example.key"], "value", "{kind}");
        assert!(state["ociVersion"].is_string(), "{kind}");
        // A hook inside the container may be told the pid as it is there.
        if kind != "poststop" && kind != "createContainer" {
            assert_eq!(state["pid"], pid, "{kind}");
        }
    }
}

#[test]
fn the_start_hook_reads_the_state_as_well() {
    let mut c = Container::new();
    fs::write(c.path("state.out"), "").unwrap();
    let file = c.text_path("state.out");
    c.mount(json!({ "destination": "/tmp/state", "type": "bind", "source": file, "options": ["bind"] }));
    c.put("/hooks/startContainer/-", json!({ "path": "/bin/sh", "args": ["sh", "-c", "cat > /tmp/state"] }));
    c.args(&["/bin/true"]);
    c.run(&[]).ok();
    let state: Value = serde_json::from_str(&fs::read_to_string(c.path("state.out")).unwrap()).unwrap();
    assert_eq!((&state["id"], &state["status"]), (&json!(c.id), &json!("created")));
}

/// prestart, createRuntime, poststart and poststop run in the runtime's namespaces, createContainer and
/// startContainer in the container's; createContainer before the root is changed.
#[test]
fn hooks_run_in_the_right_namespaces() {
    let mut c = Container::new();
    let out = c.text_path("ns");
    for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        let script = format!("for ns in mnt uts net; do readlink /proc/self/ns/$ns; done > {out}.{kind}");
        c.put(&format!("/hooks/{kind}/-"), host_hook(&script));
    }
    fs::write(format!("{out}.startContainer"), "").unwrap();
    c.mount(json!({ "destination": "/tmp/ns", "type": "bind", "source": format!("{out}.startContainer"),
        "options": ["bind"] }));
    let script = "for ns in mnt uts net; do readlink /proc/self/ns/$ns; done > /tmp/ns";
    c.put("/hooks/startContainer/-", json!({ "path": "/bin/sh", "args": ["sh", "-c", script] }));
    c.args(&["/probe", "sleep"]);
    c.create();
    let inside = proc::namespaces(&c.pid().to_string());
    c.start();
    outcome::until("the poststart hook", || {
        fs::read_to_string(c.path("ns.poststart")).is_ok_and(|t| t.lines().count() == 3)
    });
    c.delete_force().ok();
    let outside = proc::namespaces("self");
    for (kind, expected) in [
        ("prestart", &outside),
        ("createRuntime", &outside),
        ("createContainer", &inside),
        ("startContainer", &inside),
        ("poststart", &outside),
        ("poststop", &outside),
    ] {
        let text = fs::read_to_string(c.path(&format!("ns.{kind}"))).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines, [&expected["mnt"], &expected["uts"], &expected["net"]], "{kind}");
    }
}

#[test]
fn a_create_container_hook_may_add_mounts() {
    let mut c = Container::new();
    let target = c.text_path("rootfs/mnt");
    c.put("/hooks/createContainer/-", host_hook(&format!("mount -t tmpfs by-hook {target}")));
    let report = c.report();
    assert_eq!(report.mount("/mnt").source, "by-hook");
    leaks::assert_none(&c);
}

#[test]
fn a_create_runtime_hook_may_set_up_the_network() {
    let mut c = Container::new();
    let script = "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/' | tr -d '\\n'); \
                  nsenter --net=/proc/$pid/ns/net ip address add 10.1.2.3/32 dev lo";
    c.put(
        "/hooks/createRuntime/-",
        json!({ "path": "/bin/sh", "args": ["sh", "-c", script],
        "env": ["PATH=/bin:/usr/bin:/sbin:/usr/sbin"] }),
    );
    assert!(c.script("ip address show lo").contains("10.1.2.3"));
}

#[test]
fn args_and_env_of_a_hook_are_as_given() {
    let mut c = Container::new();
    let out = c.text_path("out");
    c.put(
        "/hooks/createRuntime/-",
        json!({ "path": "/bin/sh", "args": ["another name", "-c", "echo \"$0 $1\" > $OUT; env >> $OUT", "zero", "one"],
                "env": [format!("OUT={out}"), "A=b c"] }),
    );
    c.args(&["/bin/true"]);
    c.run_with(&[], |command| {
        command.env("OUTSIDE", "1");
    })
    .ok();
    let text = fs::read_to_string(c.path("out")).unwrap();
    assert_eq!(text.lines().next(), Some("zero one"));
    assert!(text.lines().any(|line| line == "A=b c"), "{text}");
    assert!(!text.contains("OUTSIDE"), "a hook with env has no other variables: {text}");
}

#[test]
fn a_failing_hook_stops_the_creation() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let mut c = Container::new();
        let log = c.text_path("hooks.log");
        c.put(&format!("/hooks/{kind}/-"), host_hook("echo the reason >&2; exit 5"));
        c.put(&format!("/hooks/{kind}/-"), host_hook(&format!("echo second >> {log}")));
        c.put("/hooks/poststop/-", host_hook(&format!("echo poststop >> {log}")));
        let create = c.try_create(&[]);
        let message = create.error();
        assert!(message.contains("hook") && message.contains("exit status 5"), "{kind}: {message}");
        assert_eq!(create.code(), 1, "{kind}");
        assert!(!log_of(&c).contains(&"second".to_owned()), "{kind}");
        leaks::assert_none(&c);
    }
}

/// There is no container any more that could be "created".
#[test]
fn a_failed_creation_is_told_as_stopped() {
    since!("poststop hooks of a failed creation", "runc 1.0", "crun -");
    let mut c = Container::new();
    let state = c.path("state.json");
    c.put("/hooks/createRuntime/-", host_hook("exit 5"));
    c.put("/hooks/poststop/-", host_hook(&format!("cat > {}", state.display())));
    c.try_create(&[]).error();
    let told: Value = serde_json::from_str(&fs::read_to_string(state).unwrap()).unwrap();
    assert_eq!((told["status"].as_str(), told.get("pid")), (Some("stopped"), None), "{told}");
}

/// What a hook writes to its standard error tells why it failed.
#[test]
fn the_output_of_a_failing_hook_is_in_the_error() {
    let mut c = Container::new();
    c.put("/hooks/createRuntime/-", host_hook("echo the reason of it >&2; exit 1"));
    let run = c.run(&[]);
    assert!(run.error().contains("the reason of it"), "{run:#?}");
}

/// The container is stopped when startContainer fails, and start says so.
#[test]
fn a_failing_start_hook_stops_the_container() {
    let mut c = Container::new();
    c.put("/hooks/startContainer/-", json!({ "path": "/bin/false" }));
    c.args(&["/bin/echo", "ran"]);
    let run = c.run(&[]);
    assert_ne!(run.code(), 0);
    assert!(!run.stdout.contains("ran"));
    leaks::assert_none(&c);
}

/// Specification, runtime.md, lifecycle: a failing poststart or poststop hook is logged, and the rest goes
/// on.
#[test]
fn a_failing_poststop_hook_is_a_warning() {
    since!("poststop hooks after one that failed", "runc -", "crun 1.0");
    let mut c = Container::new();
    let log = c.text_path("hooks.log");
    c.put("/hooks/poststop/-", host_hook("exit 5"));
    c.put("/hooks/poststop/-", host_hook(&format!("echo second >> {log}")));
    c.sleeping();
    let delete = c.delete_force().ok();
    assert_eq!(log_of(&c), ["second"]);
    assert!(delete.logged("warning").iter().any(|warning| warning.contains("hook")), "{delete:#?}");
    leaks::assert_none(&c);
}

#[test]
fn a_hook_that_takes_too_long_is_ended() {
    let mut c = Container::new();
    c.put("/hooks/createRuntime/-", json!({ "path": "/bin/sleep", "args": ["sleep", "600"], "timeout": 1 }));
    // The bound of every command is far below ten minutes.
    let run = c.run(&[]);
    assert!(!run.error().is_empty());
    leaks::assert_none(&c);
}

/// A child of the hook holds its output open; that must not keep the runtime waiting.
#[test]
fn a_hook_that_takes_too_long_is_ended_with_its_children() {
    since!("end of a hook's children", "runc -", "crun 1.0");
    let mut c = Container::new();
    let mut hook = host_hook("sleep 600 & sleep 600; true");
    hook["timeout"] = json!(1);
    c.put("/hooks/createRuntime/-", hook);
    assert!(!c.run(&[]).error().is_empty());
}

#[test]
fn a_hook_within_its_time_is_left_alone() {
    let mut c = Container::new();
    let log = c.text_path("hooks.log");
    let mut hook = host_hook(&format!("sleep 0.2; echo done >> {log}"));
    hook["timeout"] = json!(60);
    c.put("/hooks/createRuntime/-", hook).args(&["/bin/true"]);
    c.run(&[]).ok();
    assert_eq!(log_of(&c), ["done"]);
}

#[test]
fn a_hook_that_does_not_exist_is_refused_by_name() {
    let mut c = Container::new();
    c.put("/hooks/createRuntime/-", json!({ "path": "/no/such/hook" }));
    let run = c.run(&[]);
    assert!(run.error().contains("/no/such/hook"), "{run:#?}");
    leaks::assert_none(&c);
}

#[test]
fn a_hook_whose_path_is_relative_is_refused() {
    since!("refusal of relative hooks", "runc -", "crun -");
    let mut c = Container::new();
    c.put("/hooks/createRuntime/-", json!({ "path": "bin/sh" }));
    let run = c.run(&[]);
    assert!(run.error().contains("hooks.createRuntime[0].path"), "{run:#?}");
    leaks::assert_none(&c);
}

/// A hook must not get descriptors of the runtime: 0, 1, 2 and what the shell itself opens.
#[test]
fn hooks_get_no_descriptor_of_the_runtime() {
    since!("descriptors kept from createContainer hooks", "runc -", "crun 1.0");
    for kind in ["createRuntime", "createContainer"] {
        let mut c = Container::new();
        let out = c.text_path("fds");
        c.put(&format!("/hooks/{kind}/-"), host_hook(&format!("ls -l /proc/self/fd > {out}")));
        c.args(&["/bin/true"]);
        c.run(&[]).ok();
        let text = fs::read_to_string(c.path("fds")).unwrap();
        // 3 is the directory that ls reads.
        let many = text.lines().filter(|line| line.contains("->")).count();
        assert_eq!(many, 4, "{kind}: {text}");
    }
}

#[test]
fn the_output_of_hooks_goes_to_files_by_annotation() {
    since!("run.oci.hooks.stdout", "runc -", "crun 1.0");
    let mut c = Container::new();
    let (out, err) = (c.text_path("hook.out"), c.text_path("hook.err"));
    c.put("/annotations", json!({ "run.oci.hooks.stdout": out, "run.oci.hooks.stderr": err }));
    c.put("/hooks/createRuntime/-", host_hook("echo to out; echo to err >&2")).args(&["/bin/true"]);
    c.run(&[]).ok();
    assert_eq!(fs::read_to_string(c.path("hook.out")).unwrap(), "to out\n");
    assert_eq!(fs::read_to_string(c.path("hook.err")).unwrap(), "to err\n");
}

/// A hook that calls the runtime on its own container, and notes how each command ended.
fn calling_hook(c: &Container, commands: &[&str]) -> Value {
    let (program, root, log) = (runtime().path.display(), c.root.display(), c.text_path("hooks.log"));
    let call = |words: &&str| {
        let words = words.replace("ID", &c.id);
        let name = words.split(' ').next().unwrap_or_default();
        format!("{program} --root {root} {words} > /dev/null 2> {log}.{name}; echo {name} $? >> {log}")
    };
    host_hook(&commands.iter().map(call).collect::<Vec<_>>().join("\n"))
}

#[test]
fn a_poststart_hook_may_call_the_runtime() {
    since!("poststart hooks after the start", "runc -", "crun 1.0");
    let commands = ["state ID", "update --pids-limit 50 ID", "ps ID", "exec ID /bin/true", "kill ID WINCH"];
    for run in [true, false] {
        let mut c = Container::new();
        c.put("/hooks/poststart/-", calling_hook(&c, &commands)).args(&["/probe", "sleep"]);
        match run {
            true => drop(c.run_detached()),
            false => drop((c.create(), c.start())),
        }
        assert_eq!(log_of(&c), ["state 0", "update 0", "ps 0", "exec 0", "kill 0"]);
        let limit = host::cgroup_text(c.pid(), "pids", "pids.max", "pids.max");
        assert!(limit.is_none_or(|limit| limit == "50"));
        c.delete_force().ok();
        leaks::assert_none(&c);
    }
}

/// There is no container yet, which is said at once: who waited for it would wait for the hook that asks.
#[test]
fn a_hook_of_the_creation_that_calls_the_runtime_is_answered() {
    since!("state of a container that is being created", "runc -", "crun -");
    for kind in ["prestart", "createRuntime"] {
        let mut c = Container::new();
        let commands = [
            "state ID",
            "update --pids-limit 50 ID",
            "exec ID /bin/true",
            "start ID",
            "kill ID 0",
            "delete ID",
        ];
        c.put(&format!("/hooks/{kind}/-"), calling_hook(&c, &commands)).args(&["/probe", "sleep"]);
        c.create();
        assert_eq!(
            log_of(&c),
            ["state 0", "update 1", "exec 255", "start 1", "kill 0", "delete 1"],
            "{kind}"
        );
        for name in ["update", "start", "delete"] {
            let said = fs::read_to_string(c.path(&format!("hooks.log.{name}"))).unwrap();
            assert!(said.contains("is being created"), "{kind}: {said}");
        }
        c.start();
        assert_eq!(c.status(), "running");
        c.delete_force().ok();
        leaks::assert_none(&c);
    }
}

/// A hook of the host that does not end before a file is removed.
fn hanging_hook(c: &Container) -> Value {
    let (log, file) = (c.text_path("hooks.log"), c.text_path("hangs"));
    fs::write(c.path("hangs"), "").unwrap();
    host_hook(&format!("echo hangs >> {log}; while [ -e {file} ]; do sleep 0.02; done"))
}

#[test]
fn a_start_that_hangs_in_a_hook_can_be_updated_and_deleted_by_force() {
    since!("poststart hooks after the start", "runc -", "crun 1.0");
    for (kind, run) in
        [("poststart", true), ("poststart", false), ("startContainer", true), ("startContainer", false)]
    {
        let mut c = Container::new();
        let log = c.text_path("hooks.log");
        fs::write(&log, "").unwrap();
        c.mount(json!({ "destination": "/tmp/log", "type": "bind", "source": log, "options": ["bind"] }));
        let own = json!({ "path": "/bin/sh", "args": ["sh", "-c", "echo hangs >> /tmp/log; sleep 600"] });
        let hook = if kind == "poststart" { hanging_hook(&c) } else { own };
        c.put(&format!("/hooks/{kind}/-"), hook).args(&["/probe", "sleep"]);
        let start = match run {
            true => c.launch_run(&["--detach"]),
            false => {
                c.create();
                c.launch(&["start", &c.id])
            }
        };
        outcome::until("the hook", || !log_of(&c).is_empty());
        c.call(&["update", "--pids-limit", "50", &c.id]).ok();
        assert_eq!(c.status(), "running", "{kind}");
        c.delete_force().ok();
        // It was killed; what hangs on the host is its caller's to end.
        let _ = fs::remove_file(c.path("hangs"));
        start.finish();
        leaks::assert_none(&c);
    }
}

#[test]
fn a_creation_that_hangs_in_a_hook_can_be_deleted_by_force() {
    since!("clean-up of a container that is being created", "runc -", "crun -");
    for kind in ["prestart", "createRuntime", "createContainer"] {
        for run in [true, false] {
            let mut c = Container::new();
            let log = c.text_path("hooks.log");
            c.put(&format!("/hooks/{kind}/-"), host_hook(&format!("echo {kind} >> {log}; exec sleep 600")));
            c.put("/hooks/poststop/-", host_hook(&format!("echo poststop >> {log}")));
            c.args(&["/probe", "sleep"]).write_config();
            let bundle = c.bundle().to_str().unwrap().to_owned();
            let create = match run {
                true => c.launch_run(&[]),
                false => c.launch(&["create", "--bundle", &bundle, &c.id]),
            };
            outcome::until("the hook", || !log_of(&c).is_empty());
            assert_eq!(c.status(), "creating", "{kind}");
            c.delete_force().ok();
            assert!(!create.finish().error().is_empty());
            assert_eq!(log_of(&c), [kind, "poststop"]);
            leaks::assert_none(&c);
        }
    }
}

/// A hook that runs after the container is gone keeps nobody from it either.
#[test]
fn a_poststop_hook_keeps_nobody_waiting() {
    since!("poststop hooks that keep nobody waiting", "runc -", "crun -");
    for created in [true, false] {
        let mut c = Container::new();
        c.put("/hooks/poststop/-", calling_hook(&c, &["delete --force ID", "state ID"]));
        if created {
            c.sleeping();
            c.delete_force().ok();
        } else {
            c.put("/hooks/createRuntime/-", json!({ "path": "/bin/false" }));
            assert!(!c.try_create(&[]).error().is_empty());
        }
        assert_eq!(log_of(&c), ["delete 0", "state 1"]);
        leaks::assert_none(&c);
    }
}

/// While a hook of one runs, the container is deleted, and another one has its name.
#[test]
fn the_end_of_a_run_leaves_the_next_container_of_its_name_alone() {
    since!("poststart hooks after the start", "runc -", "crun -");
    let mut c = Container::new();
    c.put("/hooks/poststart/-", hanging_hook(&c)).args(&["/probe", "sleep"]);
    let run = c.launch_run(&[]);
    outcome::until("the hook", || !log_of(&c).is_empty());
    c.delete_force().ok();
    let mut other = Container::new();
    other.args(&["/probe", "sleep"]).write_config();
    c.call(&["create", "--bundle", other.bundle().to_str().unwrap(), &c.id]).ok();
    fs::remove_file(c.path("hangs")).unwrap();
    run.finish();
    assert_eq!(c.status(), "created");
}
