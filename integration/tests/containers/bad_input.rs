//! Input that is wrong, huge, cut short or hostile: one line that names it, the exit status of runc, nothing
//! left.

use integration::container::Container;
use integration::outcome::Outcome;
use integration::runtime::{Kind, runtime};
use integration::{leaks, since, skip};
use serde_json::json;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

/// It failed by itself, with one line, and left nothing.
#[track_caller]
fn assert_refused(c: &Container, run: &Outcome) {
    let message = run.error();
    assert!(!message.trim().contains('\n'), "{message:?}");
    assert!(message.len() < 4000, "{message:?}");
    assert_eq!(run.code(), 1, "{run:#?}");
    leaks::assert_none(c);
    // What a create refuses, a check of the bundle tells beforehand.
    if runtime().is_ours() {
        let check = c.call(&["check", "--json", c.bundle().to_str().unwrap()]);
        assert_eq!(check.code(), 1, "{message}\n{check:#?}");
        assert!(check.json()["errors"].as_u64() > Some(0), "{message}\n{check:#?}");
    }
}

fn run_text(c: &Container, config: &[u8]) -> Outcome {
    fs::write(c.path("config.json"), config).unwrap();
    c.call(&["run", "--bundle", c.bundle().to_str().unwrap(), &c.id])
}

#[test]
fn a_configuration_that_is_no_json() {
    for text in
        [&b""[..], b"{", b"nonsense", b"[]", b"\xff\xfe\x00", b"{\"ociVersion\": \"1.0.2\"", b"\0\0\0\0"]
    {
        let c = Container::new();
        let run = run_text(&c, text);
        assert_refused(&c, &run);
    }
    since!("refusal of null", "runc 1.2", "crun 1.0");
    let c = Container::new();
    let run = run_text(&c, b"null");
    assert_refused(&c, &run);
}

/// Such a mount would be there, and nobody would see it.
#[test]
fn a_mount_on_the_root_itself() {
    since!("refusal of mounts on the root", "runc 1.0", "crun -");
    for destination in ["/", "//", "/.", "..", "/../."] {
        let mut c = Container::new();
        c.mount(json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs" }));
        let run = c.run(&[]);
        assert_refused(&c, &run);
        if runtime().is_ours() {
            assert!(run.error().contains("mounts[7].destination: "), "{run:#?}");
        }
    }
}

/// What reads a configuration before it is run must not read another one.
#[test]
fn an_array_is_no_object() {
    since!("refusal of arrays in the place of objects", "runc 1.0", "crun -");
    for (pointer, value, path) in [
        ("", json!([]), "."),
        ("/root", json!(["rootfs"]), "root"),
        ("/process/user", json!([0, 0]), "process.user"),
        ("/linux/resources/devices/0", json!([true]), "linux.resources.devices[0]"),
    ] {
        let mut c = Container::new();
        c.put("/linux/resources/devices", json!([{ "allow": true }]));
        *c.config.pointer_mut(pointer).unwrap() = value;
        let run = c.run(&[]);
        assert_refused(&c, &run);
        if runtime().is_ours() {
            let problem = format!("config.json: {path}: invalid type: sequence, expected an object at line ");
            assert!(run.error().contains(&problem), "{run:#?}");
        }
    }
}

/// What is wrong is named as it was given, before anything else that may be wrong as well.
#[test]
fn what_is_wrong_on_a_command_line_is_named() {
    since!("its messages", "runc -", "crun -");
    let mut c = Container::new();
    c.sleeping();
    let (id, bundle) = (c.id.as_str(), c.bundle().to_str().unwrap());
    let file = c.text_path("mounts.json");
    fs::write(&file, r#"[{ "destination": "/x", "type": "nope\u0000" }]"#).unwrap();
    let run = |flag: &'static str, value: &'static str| vec!["run", "--bundle", bundle, flag, value, "other"];
    for (args, problem) in [
        (vec!["check", ""], "BUNDLE: \"\" is no path; expected the directory of a bundle"),
        (vec!["--trace", "/proc", "list"], "--trace: write the timeline to /proc: is a directory"),
        (run("--pid-file", "/"), "invalid value \"/\" for flag -pid-file: expected the path of a file"),
        (run("--pid-file", "x/"), "invalid value \"x/\" for flag -pid-file: expected the path of a file"),
        (run("--pid-file", "/nonexistent/x"), "--pid-file: write /nonexistent/x: no such file or directory"),
        (
            run("--preserve-fds", "4294967295"),
            "--preserve-fds 4294967295: descriptor 3 is not open; expected the number of open descriptors after \
             standard error",
        ),
        (vec!["mounts", "frob", id, "/dev/null"], "unknown verb \"frob\"; expected add or remove"),
        (
            vec!["mounts", "add", id, &file],
            "mounts.json: mounts[0].type: \"nope\\0\" contains a NUL character",
        ),
        (vec!["exec", id, ""], "exec failed: process.args[0]: \"\": executable file not found in $PATH"),
        (vec!["exec", "--cwd", "x", id, "true"], "exec failed: process.cwd: \"x\" is not an absolute path"),
        (vec!["exec", "--env", "x", id, "true"], "exec failed: process.env[3]: \"x\" is not NAME=VALUE"),
    ] {
        let run = c.call(&args);
        assert!(run.error().ends_with(problem), "{problem}: {run:#?}");
        // Nor does anything of the container's complain that nobody listens to it any more.
        assert!(!run.stderr.contains("wait for"), "{run:#?}");
        assert_eq!(c.call(&["list", "--quiet"]).ok().stdout, format!("{id}\n"));
    }
}

#[test]
fn a_configuration_that_is_cut_short_anywhere() {
    let c = Container::new();
    let whole = serde_json::to_vec(&c.config).unwrap();
    for cut in (1..whole.len()).step_by(97) {
        let run = run_text(&c, &whole[..cut]);
        assert_refused(&c, &run);
    }
}

#[test]
fn a_configuration_that_is_not_utf8() {
    since!("refusal of text that is not UTF-8", "runc -", "crun -");
    let c = Container::new();
    let mut text = serde_json::to_vec(&c.config).unwrap();
    let at = text.windows(6).position(|part| part == b"/probe").unwrap();
    text[at + 1] = 0xff;
    let run = run_text(&c, &text);
    assert_refused(&c, &run);
    let message = format!("config.json: byte {} is not of UTF-8 text; expected JSON", at + 1);
    assert!(run.error().ends_with(&message), "{run:#?}");
}

#[test]
fn a_bundle_whose_path_is_not_utf8() {
    since!("a message that says so", "runc -", "crun -");
    let c = Container::new();
    c.write_config();
    let link = c.bundle().join(OsStr::from_bytes(b"\xff"));
    symlink(c.bundle(), &link).unwrap();
    let run = c.call_with(&["run", "--bundle"], |command| {
        command.arg(&link).arg(&c.id);
    });
    assert!(run.error().contains("run failed: bundle /"), "{run:#?}");
    assert!(run.error().ends_with(": its path is not of UTF-8 text, as state and hooks have it"), "{run:#?}");
    leaks::assert_none(&c);
}

#[test]
fn a_configuration_that_is_missing() {
    let c = Container::new();
    let run = c.call(&["run", "--bundle", c.bundle().to_str().unwrap(), &c.id]);
    assert!(run.error().contains("config.json"), "{run:#?}");
    assert_refused(&c, &run);
}

#[test]
fn a_configuration_that_is_no_file() {
    let c = Container::new();
    fs::create_dir(c.path("config.json")).unwrap();
    let run = c.call(&["run", "--bundle", c.bundle().to_str().unwrap(), &c.id]);
    assert_refused(&c, &run);
}

/// A pipe nobody writes to, or a device without an end, must not hang the runtime or eat the memory.
#[test]
fn a_configuration_without_an_end() {
    since!("a bound on the size of the configuration", "runc -", "crun -");
    let c = Container::new();
    symlink("/dev/zero", c.path("config.json")).unwrap();
    let run = c.call(&["run", "--bundle", c.bundle().to_str().unwrap(), &c.id]);
    assert_refused(&c, &run);
    fs::remove_file(c.path("config.json")).unwrap();
    nix::unistd::mkfifo(&c.path("config.json"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let run = c.call(&["run", "--bundle", c.bundle().to_str().unwrap(), &c.id]);
    assert_refused(&c, &run);
}

#[test]
fn a_configuration_that_is_deep() {
    let c = Container::new();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let run = run_text(&c, format!("{{\"ociVersion\":\"1.0.2\",\"annotations\":{deep}}}").as_bytes());
    assert_refused(&c, &run);
}

#[test]
fn a_configuration_that_is_large_but_right() {
    let mut c = Container::new();
    let annotations: serde_json::Map<String, serde_json::Value> =
        (0..5000).map(|number| (format!("org.example.{number}"), json!("x".repeat(100)))).collect();
    c.put("/annotations", annotations.into());
    let env: Vec<_> = (0..3000).map(|number| format!("VARIABLE_{number}={}", "y".repeat(100))).collect();
    c.put("/process/env", json!(env)).args(&["/bin/busybox", "true"]);
    c.run(&[]).ok();
}

#[test]
fn fields_of_the_wrong_type_are_named() {
    for (pointer, value, name) in [
        ("/process/args", json!("sh"), "args"),
        ("/process/user/uid", json!("root"), "uid"),
        ("/process/user/uid", json!(-1), "uid"),
        ("/root", json!([]), "root"),
        ("/mounts", json!({}), "mounts"),
        ("/linux/namespaces", json!("all"), "namespaces"),
        ("/linux/resources/memory", json!({ "limit": "much" }), "limit"),
    ] {
        let mut c = Container::new();
        c.put(pointer, value.clone());
        let run = c.run(&[]);
        assert_refused(&c, &run);
        if runtime().kind != Kind::Crun {
            assert!(run.error().contains(name), "{pointer}: {run:#?}");
        }
    }
}

#[test]
fn fields_that_nobody_knows_are_ignored() {
    let mut c = Container::new();
    c.put("/futureField", json!({ "deep": [1, 2] })).put("/process/future", json!(true));
    c.put("/linux/future", json!("x")).args(&["/bin/true"]);
    c.run(&[]).ok();
}

#[test]
fn null_means_absent() {
    let mut c = Container::new();
    for pointer in [
        "/hooks",
        "/annotations",
        "/linux/devices",
        "/linux/seccomp",
        "/process/rlimits",
        "/linux/sysctl",
        "/process/apparmorProfile",
        "/linux/resources/memory",
    ] {
        c.put(pointer, json!(null));
    }
    c.args(&["/bin/true"]);
    c.run(&[]).ok();
}

#[test]
fn versions_of_the_specification() {
    for version in ["1.0.0", "1.0.2-dev", "1.1.0", "1.2.0"] {
        let mut c = Container::new();
        c.put("/ociVersion", json!(version)).args(&["/bin/true"]);
        if runtime().kind == Kind::Crun {
            continue;
        }
        c.run(&[]).ok();
    }
    since!("check of the version", "runc -", "crun -");
    for version in ["2.0.0", "0.5.0", "", "one", "1"] {
        let mut c = Container::new();
        c.put("/ociVersion", json!(version));
        let run = c.run(&[]);
        assert!(run.error().contains("ociVersion"), "{version:?}: {run:#?}");
    }
}

#[test]
fn ids_that_are_none() {
    for id in ["", ".", "..", "../x", "a/b", "/abs", "a b", "a\nb", "ä", "a:b"] {
        let c = Container::new();
        c.write_config();
        for args in [
            vec!["create", "--bundle", c.bundle().to_str().unwrap(), id],
            vec!["run", "--bundle", c.bundle().to_str().unwrap(), id],
        ] {
            let run = c.call(&args);
            assert_ne!(run.code(), 0, "{id:?}: {run:#?}");
            leaks::assert_none(&c);
        }
        for verb in ["state", "start", "kill", "delete", "pause", "resume", "ps"] {
            assert_ne!(c.call(&[verb, id]).code(), 0, "{verb} {id:?}");
        }
        assert!(c.bundle().join("config.json").exists());
    }
}

/// `delete --force` with a crafted id must not reach outside of the state directory.
#[test]
fn a_forced_delete_stays_in_the_state_directory() {
    let c = Container::new();
    fs::create_dir_all(&c.root).unwrap();
    let precious = c.path("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("state.json"), "{}").unwrap();
    for id in ["../precious", "..", "."] {
        let _ = c.call(&["delete", "--force", id]);
    }
    assert!(precious.join("state.json").exists());
    assert!(c.root.exists());
}

#[test]
fn ids_that_are_long_or_odd_but_right() {
    let mut c = Container::new();
    let long = format!("{}-{}", c.id, "a".repeat(100));
    for id in [format!("{}_.+-Zz9", c.id), long] {
        c.args(&["/bin/echo", "ran"]).write_config();
        let run = c.call(&["run", "--bundle", c.bundle().to_str().unwrap(), &id]);
        assert_eq!(run.ok().stdout, "ran\n", "{id}");
    }
    let endless = "a".repeat(2000);
    let run = c.call(&["run", "--bundle", c.bundle().to_str().unwrap(), &endless]);
    assert_ne!(run.code(), 0);
}

#[test]
fn a_root_that_is_none() {
    let mut c = Container::new();
    c.put("/root/path", json!("no-such-rootfs"));
    let run = c.run(&[]);
    assert!(run.error().contains("rootfs"), "{run:#?}");
    assert_refused(&c, &run);

    let mut c = Container::new();
    fs::write(c.path("file"), "").unwrap();
    c.put("/root/path", json!("file"));
    let run = c.run(&[]);
    assert_refused(&c, &run);

    let mut c = Container::new();
    c.config.as_object_mut().unwrap().remove("root");
    let run = c.run(&[]);
    assert_refused(&c, &run);
}

/// runc refuses a link as the root; a runtime may also follow it, which the operator who made the bundle
/// meant.
#[test]
fn a_root_that_is_a_link() {
    let mut c = Container::new();
    symlink("rootfs", c.path("link")).unwrap();
    c.put("/root/path", json!("link")).args(&["/bin/echo", "ran"]);
    let run = c.run(&[]);
    if run.status.success() {
        assert_eq!(run.stdout, "ran\n");
    } else {
        assert_refused(&c, &run);
    }
}

#[test]
fn a_process_without_arguments() {
    for args in [json!([]), json!(null), json!([""])] {
        let mut c = Container::new();
        c.put("/process/args", args.clone());
        let run = c.run(&[]);
        assert!(!run.error().is_empty(), "{args}");
        assert_refused(&c, &run);
    }
    let mut c = Container::new();
    c.config.as_object_mut().unwrap().remove("process");
    let run = c.run(&[]);
    assert_refused(&c, &run);
}

#[test]
fn strings_with_a_null_byte() {
    for (pointer, value) in [
        ("/process/args", json!(["/bin/echo", "a\u{0}b"])),
        ("/process/env/-", json!("A=a\u{0}b")),
        ("/process/cwd", json!("/a\u{0}b")),
        ("/hostname", json!("a\u{0}b")),
    ] {
        let mut c = Container::new();
        c.args(&["/bin/true"]).put(pointer, value);
        let run = c.run(&[]);
        since!("refusal of null bytes everywhere", "runc -", "crun -");
        assert_refused(&c, &run);
    }
}

#[test]
fn variables_that_are_none() {
    let mut c = Container::new();
    c.put("/process/env/-", json!("=value")).put("/process/env/-", json!("NO_EQUALS_SIGN"));
    since!("refusal of malformed variables", "runc 1.0", "crun -");
    let run = c.run(&[]);
    if runtime().is_ours() || !run.status.success() {
        assert_refused(&c, &run);
    }
}

/// Docker makes 126 and 127 of these words.
#[test]
fn programs_that_cannot_be_executed() {
    let cases = [
        ("/no/such/program", "no such file or directory"),
        ("no-such-program", "executable file not found in $PATH"),
        ("/text", "permission denied"),
    ];
    for (program, words) in cases {
        let mut c = Container::new();
        fs::write(c.rootfs("text"), "no program").unwrap();
        c.args(&[program, "x"]);
        let run = c.run(&[]);
        if runtime().kind != Kind::Crun {
            assert!(run.error().contains(words), "{program}: {run:#?}");
        }
        if ["/no/such/program", "no-such-program"].contains(&program) {
            assert!(run.error().contains(program), "{run:#?}");
        }
        assert_refused(&c, &run);
    }
}

/// What only execve(2) finds out has to be told like everything else.
#[test]
fn programs_that_the_kernel_refuses() {
    since!("log of an error of execve", "runc -", "crun 1.0");
    for (program, words) in [("/script", "no such file or directory"), ("/broken", "exec format error")] {
        let mut c = Container::new();
        fs::write(c.rootfs("script"), "#!/no/such/interpreter\n").unwrap();
        fs::write(c.rootfs("broken"), [0x7f, b'E', b'L', b'F', 0, 0]).unwrap();
        for name in ["script", "broken"] {
            fs::set_permissions(c.rootfs(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        c.args(&[program]);
        let run = c.run(&[]);
        assert!(run.error().to_lowercase().contains(words), "{program}: {run:#?}");
        assert_refused(&c, &run);
    }
}

#[test]
fn a_program_that_is_a_directory() {
    let mut c = Container::new();
    c.args(&["/etc"]);
    let run = c.run(&[]);
    let words = ["is a directory", "permission denied"];
    assert!(words.iter().any(|words| run.error().to_lowercase().contains(words)), "{run:#?}");
    assert_refused(&c, &run);
}

#[test]
fn a_cwd_that_cannot_be_entered() {
    let mut c = Container::new();
    c.put("/process/cwd", json!("/etc/passwd"));
    let run = c.run(&[]);
    assert!(run.error().contains("/etc/passwd") || run.error().contains("cwd"), "{run:#?}");
    assert_refused(&c, &run);

    let mut c = Container::new();
    c.put("/process/cwd", json!("relative"));
    let run = c.run(&[]);
    if runtime().is_ours() || !run.status.success() {
        assert_refused(&c, &run);
    }
}

#[test]
fn rlimits_that_are_none() {
    for limits in [
        json!([{ "type": "RLIMIT_WISHFUL", "soft": 1, "hard": 1 }]),
        json!([{ "type": "RLIMIT_CORE", "soft": 2, "hard": 1 }]),
        json!([{ "type": "", "soft": 1, "hard": 1 }]),
    ] {
        let mut c = Container::new();
        c.put("/process/rlimits", limits.clone());
        let run = c.run(&[]);
        assert!(!run.error().is_empty(), "{limits}");
        assert_refused(&c, &run);
    }
    since!("refusal of a limit given twice", "runc -", "crun -");
    let mut c = Container::new();
    let limit = json!({ "type": "RLIMIT_CORE", "soft": 1, "hard": 1 });
    c.put("/process/rlimits", json!([limit, limit]));
    let run = c.run(&[]);
    assert_refused(&c, &run);
}

#[test]
fn an_oom_score_out_of_range() {
    for score in [-1001, 1001] {
        let mut c = Container::new();
        c.put("/process/oomScoreAdj", json!(score));
        let run = c.run(&[]);
        assert_refused(&c, &run);
    }
}

#[test]
fn mounts_that_are_none() {
    since!("mounts without a destination", "runc 1.0", "crun -");
    let mut c = Container::new();
    c.mount(json!({ "destination": "", "type": "tmpfs", "source": "tmpfs" }));
    let run = c.run(&[]);
    if runtime().is_ours() || !run.status.success() {
        assert_refused(&c, &run);
    }
}

/// A state directory that is not ours: whatever lies in it is not trusted.
#[test]
fn a_state_that_is_damaged() {
    let mut c = Container::new();
    c.args(&["/probe", "sleep"]);
    c.create();
    let pid = c.pid();
    let state = c.root.join(&c.id).join("state.json");
    let Ok(whole) = fs::read(&state) else {
        skip!("needs a runtime whose state is in state.json");
    };
    for text in [&b""[..], b"{", b"[]", &whole[..100]] {
        fs::write(&state, text).unwrap();
        for verb in ["state", "start", "kill", "ps", "pause"] {
            let run = c.call(&[verb, &c.id]);
            assert!(!run.error().is_empty(), "{verb}");
        }
        let list = c.call(&["list"]);
        assert!(list.status.code().is_some());
    }
    // One that is cut off in its last line is that of a container that was not made to its end.
    fs::write(&state, &whole[..whole.len() - 9]).unwrap();
    assert_eq!(c.status(), "creating");
    fs::write(&state, &whole).unwrap();
    assert_eq!(c.status(), "created");
    assert_eq!(c.pid(), pid);
}
