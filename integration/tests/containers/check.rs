//! `check`: what a create would refuse, and what would be dangerous, told without changing anything.

use integration::console::Console;
use integration::container::Container;
use integration::runtime::runtime;
use integration::{config, outcome, skip, trace};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

/// The findings of a level about this container, by path.
fn findings(c: &Container, level: &str) -> Vec<(String, Value)> {
    c.write_config();
    let check = c.call(&["check", "--json", c.bundle().to_str().unwrap()]);
    let report = check.json();
    let errors = report["errors"].as_u64().unwrap();
    assert_eq!(check.code(), i32::from(errors > 0), "{check:#?}");
    let list = report["findings"].as_array().unwrap().iter();
    let of = list.filter(|finding| finding["level"] == level);
    of.map(|finding| (finding["path"].as_str().unwrap().to_owned(), finding.clone())).collect()
}

fn paths(c: &Container, level: &str) -> Vec<String> {
    findings(c, level).into_iter().map(|(path, _)| path).collect()
}

#[test]
fn a_bundle_that_runs_has_no_errors() {
    ours!();
    for config in [config::plain(), config::docker()] {
        let mut c = Container::with(config);
        c.args(&["/bin/true"]);
        assert_eq!(findings(&c, "error"), []);
        assert_eq!(findings(&c, "danger"), []);
        c.run(&[]).ok();
    }
}

#[test]
fn all_faults_are_told_at_once_with_place_value_expectation_and_fix() {
    ours!();
    let mut c = Container::new();
    c.put("/ociVersion", json!("3.0.0")).put("/process/user/uid", json!("root"));
    c.put("/process/rlimits/-", json!({ "type": "RLIMIT_NOFLIE", "soft": 1, "hard": 1 }));
    c.put("/linux/namespaces/-", json!({ "type": "net" }));
    c.mount(json!({ "destination": "/x", "type": "bind", "source": "/no/such/file", "options": ["bind"] }));
    c.mount(json!({ "destination": "", "type": "tmpfs" }));
    c.put("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_NOPE" }));
    c.put("/linux/resources/blockIO", json!({ "weight": 5 }));
    c.put("/linux/resources/devices/-", json!({ "allow": true, "type": "z", "access": "r" }));
    c.put("/hooks/prestart/-", json!({ "path": "/no/such/hook" }));
    let found = findings(&c, "error");
    let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    let expected = [
        "hooks.prestart[0].path",
        "linux.namespaces[5].type",
        "linux.resources.blockIO.weight",
        "linux.resources.devices[1].type",
        "linux.seccomp.defaultAction",
        "mounts[7].source",
        "mounts[8].destination",
        "ociVersion",
        "process.rlimits[1].type",
        "process.user.uid",
    ];
    assert_eq!(paths, expected);
    for (path, finding) in &found {
        for key in ["problem", "expected", "fix", "value"] {
            assert!(
                !finding[key].is_null() && (key == "value" || finding[key] != ""),
                "{path} has no {key}: {finding}"
            );
        }
    }
    let of = |wanted: &str| &found.iter().find(|(path, _)| path == wanted).unwrap().1;
    assert_eq!(of("process.rlimits[1].type")["fix"], "write \"RLIMIT_NOFILE\"");
    assert_eq!(of("linux.namespaces[5].type")["value"], "net");
    assert_eq!(of("linux.resources.blockIO.weight")["expected"], "10 to 1000");
}

#[test]
fn a_document_that_is_no_object_is_no_fault_of_the_host() {
    ours!();
    for (document, problem) in [("null", "null"), ("[]", "sequence"), ("5", "integer `5`")] {
        let c = Container::new();
        fs::write(c.path("config.json"), document).unwrap();
        let check = c.call(&["check", "--json", c.bundle().to_str().unwrap()]);
        let report = check.json();
        assert_eq!(report["errors"], 1, "{report}");
        let finding = &report["findings"][0];
        assert_eq!(finding["path"], ".");
        assert_eq!(finding["problem"], format!("invalid type: {problem}"));
        assert_eq!(finding["expected"], "an object");
        assert_eq!(finding["fix"], "write one, as `corten spec` does");
    }
}

#[test]
fn what_only_this_host_and_the_root_file_system_know_is_looked_at() {
    ours!();
    type Change = for<'a> fn(&'a mut Container) -> &'a mut Container;
    let cases: [(Change, &str); 12] = [
        (|c| c.args(&["/no/such/program"]), "process.args[0]"),
        (|c| c.args(&["no-such-program"]), "process.args[0]"),
        (|c| c.put("/process/cwd", json!("/etc/passwd")), "process.cwd"),
        (|c| c.put("/process/cwd", json!("/proc/self/fd/7")), "process.cwd"),
        (|c| c.put("/root/path", json!("none")), "root.path"),
        (|c| c.namespace("network", Some("/proc/self/ns/uts")), "linux.namespaces[4].path"),
        (|c| c.mount(json!({ "destination": "/bin/busybox", "type": "tmpfs" })), "mounts[7].destination"),
        (|c| c.mount(json!({ "destination": "/x", "type": "no-such-fs" })), "mounts[7].type"),
        (|c| c.put("/linux/netDevices", json!({ "none0": {} })), "linux.netDevices.none0"),
        (|c| c.put("/linux/resources/cpu", json!({ "cpus": "4000" })), "linux.resources.cpu.cpus"),
        (|c| c.put("/linux/resources/unified", json!({ "nope": "1" })), "linux.resources.unified.nope"),
        (
            |c| {
                c.user_namespace(100_000, 10);
                c.put("/process/user", json!({ "uid": 11, "gid": 0 }))
            },
            "process.user.uid",
        ),
    ];
    for (change, expected) in cases {
        let mut c = Container::new();
        change(&mut c);
        if expected == "mounts[7].type" && fs::exists("/proc/modules").unwrap() {
            // The kernel might load it.
            skip::say("needs a kernel without modules");
            continue;
        }
        let found = paths(&c, "error");
        // On hosts with v1 alone there is no place for `unified` at all.
        assert!(found.iter().any(|path| path == expected), "{expected}: {found:?}");
        c.run(&[]).error();
    }
}

#[test]
fn dangers_are_named() {
    ours!();
    type Change = for<'a> fn(&'a mut Container) -> &'a mut Container;
    let bind =
        |source: &str| json!({ "destination": "/x", "type": "bind", "source": source, "options": ["rbind"] });
    let cases: Vec<(Change, &str)> = vec![
        (|c| c.capabilities(&["CAP_SYS_ADMIN"]), "process.capabilities.bounding[0]"),
        (|c| c.capabilities(&["CAP_KILL", "CAP_SYS_MODULE"]), "process.capabilities.bounding[1]"),
        (|c| c.without_namespace("pid"), "linux.namespaces"),
        (|c| c.without_namespace("network"), "linux.namespaces"),
        (|c| c.namespace("pid", Some("/proc/self/ns/pid")), "linux.namespaces[4].path"),
        (|c| c.put("/linux/readonlyPaths", json!([])), "linux.readonlyPaths"),
        (|c| c.put("/mounts/5/options", json!(["nosuid"])), "mounts[5]"),
        (
            |c| c.put("/linux/devices", json!([{ "path": "/dev/mem", "type": "c", "major": 1, "minor": 1 }])),
            "linux.devices[0]",
        ),
        (
            |c| c.put("/linux/devices", json!([{ "path": "/dev/sda", "type": "b", "major": 8, "minor": 0 }])),
            "linux.devices[0]",
        ),
        (
            |c| c.put("/linux/resources/devices", json!([{ "allow": true, "access": "rwm" }])),
            "linux.resources.devices[0]",
        ),
    ];
    for (change, expected) in cases {
        let mut c = Container::new();
        change(&mut c);
        assert_eq!(
            paths(&c, "danger").first().map(String::as_str),
            Some(expected),
            "{:?}",
            findings(&c, "danger")
        );
    }
    for source in ["/", "/etc", "/proc", "/run"] {
        let mut c = Container::new();
        c.mount(bind(source));
        assert_eq!(paths(&c, "danger"), ["mounts[7].source"], "{source}");
    }
    let mut c = Container::new();
    let socket = c.text_path("docker.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    c.mount(bind(&socket));
    assert_eq!(paths(&c, "danger"), ["mounts[7].source"]);
    let c = Container::new();
    fs::set_permissions(c.bundle(), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(paths(&c, "danger"), ["."]);
    fs::set_permissions(c.bundle(), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn protections_that_are_missing_are_named() {
    ours!();
    let mut c = Container::new();
    c.put("/process/noNewPrivileges", json!(false)).put("/linux/maskedPaths", json!([]));
    let found: BTreeSet<String> = paths(&c, "warning").into_iter().collect();
    for path in ["linux.seccomp", "linux.maskedPaths", "process.noNewPrivileges"] {
        assert!(found.contains(path), "{path}: {found:?}");
    }
    let mut c = Container::docker_like();
    c.put("/process/capabilities/bounding/-", json!("CAP_OF_THE_FUTURE"));
    assert!(paths(&c, "warning").contains(&"process.capabilities".to_owned()));
}

#[test]
fn what_is_said_of_capabilities_that_are_not_written_is_so() {
    ours!();
    let mut c = Container::new();
    c.config["process"].as_object_mut().unwrap().remove("capabilities");
    let sets = c.report().caps;
    assert_eq!((sets.bounding, sets.permitted), (0, 0));
    let said = c.call(&["check", c.bundle().to_str().unwrap()]).ok().stdout;
    assert!(said.contains("process.capabilities: none are written, and the program has none"), "{said}");
}

/// A user namespace turns most of what root may do into what a user may do.
#[test]
fn dangers_are_weighed() {
    ours!();
    let mut c = Container::new();
    c.capabilities(&["CAP_SYS_ADMIN"]).user_namespace(100_000, 10).put("/linux/readonlyPaths", json!([]));
    assert_eq!(paths(&c, "danger"), Vec::<String>::new());
    assert!(paths(&c, "warning").contains(&"process.capabilities.bounding[0]".to_owned()));
}

#[test]
fn the_exit_status_and_the_words() {
    ours!();
    let mut c = Container::docker_like();
    c.args(&["/bin/true"]).write_config();
    let bundle = c.bundle().to_str().unwrap().to_owned();
    assert_eq!(c.call(&["check", &bundle]).code(), 0);
    let strict = c.call(&["check", "--strict", &bundle]);
    assert_eq!(strict.code(), if strict.stdout.contains("warning: ") { 2 } else { 0 });
    c.capabilities(&["CAP_SYS_ADMIN"]).put("/process/env/-", json!("A\u{1b}[2J\nB")).write_config();
    assert_eq!(c.call(&["check", &bundle]).code(), 1);
    c.put("/process/env", json!([])).write_config();
    assert_eq!(c.call(&["check", "--bundle", &bundle]).code(), 0);
    assert_eq!(c.call(&["check", "--strict", "--bundle", &bundle]).code(), 2);
    assert_eq!(c.call(&["check", &bundle, &bundle]).code(), 1);
    // In a pipe: a line each, which begins with its level, and nothing that moves a cursor.
    c.put("/process/env/-", json!("A\u{1b}[2J\nB")).write_config();
    let plain = c.call(&["check", &bundle]).stdout;
    assert!(!plain.contains('\u{1b}'), "{plain}");
    let levels = ["error: ", "danger: ", "warning: ", "note: ", "/"];
    assert!(plain.lines().all(|line| levels.iter().any(|level| line.starts_with(level))), "{plain}");
    // Another file, from the working directory.
    fs::rename(c.path("config.json"), c.path("other.json")).unwrap();
    assert_eq!(c.call(&["check", "--config", "other.json"]).code(), 1);
    let missing = c.call(&["check"]);
    assert!(missing.stdout.starts_with("error: .: open"), "{missing:#?}");
}

#[test]
fn on_a_terminal_it_is_grouped_and_coloured() {
    ours!();
    let mut c = Container::new();
    c.capabilities(&["CAP_SYS_ADMIN"]).write_config();
    let bundle = c.bundle().to_str().unwrap().to_owned();
    let shown = |colour: bool| {
        let mut command = Command::new(&runtime().path);
        command.args(["check", &bundle]);
        if !colour {
            command.env("NO_COLOR", "1");
        }
        let (mut console, terminal) = Console::pair();
        command.stdout(terminal).stderr(Stdio::null()).stdin(Stdio::null());
        let mut child = command.spawn().unwrap();
        // The command has a copy of the terminal, which would keep it open.
        drop(command);
        assert!(outcome::wait(&mut child, "check").success());
        console.rest()
    };
    assert!(shown(true).contains("\u{1b}[35;1mdangers\u{1b}[0m (1)"), "{:?}", shown(true));
    let plain = shown(false);
    assert!(plain.contains("dangers (1)") && !plain.contains('\u{1b}'), "{plain:?}");
}

/// None of the calls by which something outside of this process could change, and the bundle is as it was.
#[test]
fn nothing_is_changed() {
    ours!();
    let mut c = Container::docker_like();
    c.put("/annotations", json!({ "run.oci.hooks.stdout": c.text_path("hooks.log") }));
    c.write_config();
    let listed = || {
        let list =
            Command::new("find").arg(c.bundle()).args(["-printf", "%p %i %s %m %T@\n"]).output().unwrap();
        String::from_utf8(list.stdout)
            .unwrap()
            .lines()
            .filter(|line| !line.contains("/cmd"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let before = listed();
    let mut command = Command::new(&runtime().path);
    command.args(["check", c.bundle().to_str().unwrap()]).stdout(Stdio::null());
    let seen = trace::run(command, None);
    let allowed = [
        "access",
        "arch_prctl",
        "brk",
        "capget",
        "chdir",
        "chroot",
        "clone3",
        "close",
        "exit",
        "exit_group",
        "faccessat",
        "faccessat2",
        "fchdir",
        "fcntl",
        "fstat",
        "fstatfs",
        "getcwd",
        "getdents64",
        "getegid",
        "geteuid",
        "getgid",
        "getpid",
        "getrandom",
        "getuid",
        "ioctl",
        "lseek",
        "lstat",
        "madvise",
        "mmap",
        "mprotect",
        "mremap",
        "munmap",
        "newfstatat",
        "open",
        "openat",
        "openat2",
        "poll",
        "prctl",
        "prlimit64",
        "read",
        "readlink",
        "readlinkat",
        "rseq",
        "rt_sigaction",
        "rt_sigprocmask",
        "set_robust_list",
        "set_tid_address",
        "sigaltstack",
        "stat",
        "statfs",
        "statx",
        "wait4",
        "write",
    ];
    let calls: BTreeSet<String> = seen.calls.iter().map(|(_, number)| trace::name(*number)).collect();
    let changing: Vec<&String> = calls.iter().filter(|call| !allowed.contains(&call.as_str())).collect();
    assert!(changing.is_empty(), "{changing:?}");
    assert!(before == listed(), "the bundle has changed");
}
