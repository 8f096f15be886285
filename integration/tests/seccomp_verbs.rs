//! `corten seccomp`: compile, explain, resolve and record.

#![expect(clippy::unwrap_used, clippy::expect_used)]

use integration::container::{Container, Running};
use integration::outcome::{self, Outcome};
use integration::runtime::built;
use integration::{host, leaks, needs, proc};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// `corten seccomp` with these words.
fn seccomp(words: &[&str]) -> Output {
    Command::new(built("corten")).arg("seccomp").args(words).output().unwrap()
}

/// What it prints when it succeeds.
#[track_caller]
fn printed(words: &[&str]) -> String {
    let output = seccomp(words);
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What it says when it fails.
#[track_caller]
fn refused(words: &[&str]) -> String {
    let output = seccomp(words);
    assert_eq!(output.status.code(), Some(1), "{words:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// A directory with a profile in each format.
fn profiles() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let rules = json!([{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77 }]);
    let oci = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules });
    let docker = json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5,
        "archMap": [{ "architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"] },
            { "architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"] }],
        "syscalls": [{ "names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": { "caps": ["CAP_SYS_ADMIN"] } },
            { "names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": { "minKernel": "4.8" } },
            { "name": "read", "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 4_294_967_296_u64, "op": "SCMP_CMP_GE" }] }] });
    let config = json!({ "ociVersion": "1.3.0", "linux": { "seccomp": oci } });
    for (name, document) in [("oci", oci), ("docker", docker), ("config", config)] {
        fs::write(directory.path().join(name), document.to_string()).unwrap();
    }
    directory
}

#[test]
fn compile_prints_the_program() {
    for name in ["default", "strict", "nested"] {
        let text = printed(&["compile", name]);
        let mut lines = text.lines();
        let head = lines.next().unwrap();
        let count: usize = head.trim_start_matches("; ").split(' ').next().unwrap().parse().unwrap();
        assert_eq!(lines.count(), count, "{head}");
        assert!(head.contains("SECCOMP_FILTER_FLAG_SPEC_ALLOW"));
        assert!(text.contains("; SCMP_ACT_ALLOW") && text.contains("; architecture"), "{text}");
    }
    let directory = profiles();
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let oci = printed(&["compile", &file("oci")]);
    assert!(oci.contains("; mkdir") && oci.contains("SCMP_ACT_ERRNO(77)"), "{oci}");
    assert_eq!(printed(&["compile", &file("config")]), oci, "the profile of a config.json");
    let docker = printed(&["compile", "--arch", "amd64", &file("docker")]);
    assert!(docker.contains("; SCMP_ARCH_X86\n") && !docker.contains("; mount"), "{docker}");
    assert!(docker.contains("args[0], upper half"), "{docker}");
    let with =
        printed(&["compile", "--arch", "amd64", "--docker-caps", "sys_admin,CAP_CHOWN", &file("docker")]);
    assert!(with.contains("; mount"), "{with}");
    let arm = printed(&["compile", "--arch", "SCMP_ARCH_AARCH64", &file("docker")]);
    assert!(arm.contains("; SCMP_ARCH_ARM\n") && !arm.contains("X86"), "{arm}");
    let old = printed(&["compile", "--arch", "amd64", "--kernel", "4.4", &file("docker")]);
    assert!(docker.contains("; ptrace") && !old.contains("; ptrace"), "{old}");
}

#[test]
fn explain_says_which_rule_decides() {
    let directory = profiles();
    let docker = directory.path().join("docker").to_str().unwrap().to_owned();
    let explain = |words: &[&str]| {
        let mut all = vec!["explain", "--arch", "amd64"];
        all.extend(words);
        printed(&all)
    };
    for (words, expected) in [
        // The second rule in the file is the first that is left without the capability.
        (&[&docker, "ptrace"][..], "SCMP_ACT_ALLOW: syscalls[1] has a rule for ptrace without conditions"),
        (
            &["--docker-caps", "CAP_SYS_ADMIN", &docker, "mount"],
            "SCMP_ACT_ALLOW: syscalls[0] has a rule for mount",
        ),
        (&[&docker, "mount"], "SCMP_ACT_ERRNO(38): the call is newer than ptrace"),
        (
            &[&docker, "read", "0x100000000"],
            "SCMP_ACT_ALLOW: syscalls[2] has a rule for read whose conditions hold",
        ),
        (&[&docker, "read", "-1"], "SCMP_ACT_ALLOW: syscalls[2]"),
        (&[&docker, "read", "7"], "SCMP_ACT_ERRNO(5): no rule applies"),
        (&[&docker, "0", "7"], "SCMP_ACT_ERRNO(5): no rule applies"),
        (&["default", "umount2"], "SCMP_ACT_ERRNO(1): no rule applies"),
        (&["default", "socket", "1"], "SCMP_ACT_ALLOW"),
        (&["default", "9999"], "SCMP_ACT_ERRNO(38): the call is newer than"),
    ] {
        let text = explain(words);
        assert!(text.starts_with(expected), "{words:?}: expected {expected:?}, not {text:?}");
    }
    // A 32-bit program on x86_64: the arguments have 32 bits, and the numbers are its own.
    let text = printed(&["explain", "--arch", "x86", &docker, "read", "0x100000000"]);
    let expected = if cfg!(target_arch = "x86_64") { "SCMP_ACT_ALLOW: syscalls[2]" } else { "SCMP_ACT" };
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn resolve_prints_what_config_json_has() {
    let directory = profiles();
    let docker = directory.path().join("docker").to_str().unwrap().to_owned();
    let profile: Value = serde_json::from_str(&printed(&["resolve", "--arch", "arm64", &docker])).unwrap();
    assert_eq!(profile["architectures"], json!(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]));
    assert_eq!(profile["syscalls"][0]["names"], json!(["ptrace"]));
    assert_eq!(profile["syscalls"][1]["names"], json!(["read"]));
    assert_eq!(profile["defaultErrnoRet"], 5);
}

#[test]
fn what_makes_no_sense_is_refused_with_its_place() {
    let directory = profiles();
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("type", r#"{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["a", 7] }] }"#);
    write(
        "index",
        r#"{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_ERRNO",
        "args": [{ "index": 9, "value": 0, "op": "SCMP_CMP_EQ" }] }] }"#,
    );
    write(
        "kernel",
        r#"{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_ERRNO",
        "includes": { "minKernel": "new" } }] }"#,
    );
    write("empty", "{}");
    write("text", "not json");
    for (words, expected) in [
        (&["compile", &file("type")][..], "syscalls[0].names[1]"),
        (&["compile", &file("index")], "linux.seccomp.syscalls[0].args[0].index: 9"),
        (&["explain", &file("index"), "mkdir"], "linux.seccomp.syscalls[0].args[0].index: 9"),
        (&["compile", &file("kernel")], "syscalls[0].includes.minKernel: \\\"new\\\""),
        (&["compile", &file("empty")], "there is no seccomp profile in it"),
        (&["compile", &file("text")], "line 1 column"),
        (&["compile", "/nowhere/at-all"], "there are default, strict, nested"),
        (&["compile", "/dev/null"], "is not a regular file"),
        (&["compile", "--arch", "pdp11", "default"], "pdp11"),
        (&["compile", "--docker-caps", "CAP_FLY", "default"], "CAP_FLY"),
        (&["compile", "--kernel", "new", "default"], "is not a kernel version"),
        (&["compile"], "exactly 1"),
        (&["explain", "default"], "2 to 8"),
        (&["explain", "default", "not_a_call"], "not_a_call"),
        (&["explain", "default", "read", "seven"], "seven"),
        (&["explain", "default", "read", "1", "2", "3", "4", "5", "6", "7"], "2 to 8"),
        (&["fly"], "expected compile, explain, record or resolve"),
        (&[], "expected compile, explain, record or resolve"),
        (&["record"], "--output"),
        (&["record", "-o", "/nowhere/at/all"], "/nowhere/at"),
        (&["record", "-o", &file("out"), "--", "--detach"], "--detach is not possible"),
        (&["record", "-o", &file("out"), "--", "--keep"], "--keep is not possible"),
        (&["record", "-o", &file("out"), "--bundle", &file("no-bundle")], "no-bundle/config.json"),
    ] {
        let text = refused(words);
        assert!(text.contains(expected), "{words:?}: expected {expected:?}, not {text:?}");
    }
    assert!(!directory.path().join("out").exists(), "nothing was recorded");
    let hidden = fs::read_dir(directory.path()).unwrap().flatten();
    assert!(!hidden.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with('.')));
}

#[test]
fn every_verb_has_help() {
    let all = printed(&["--help"]);
    for verb in ["compile", "explain", "record", "resolve"] {
        let own = printed(&[verb, "--help"]);
        assert!(own.contains(&format!("Usage: corten seccomp {verb}")), "{own}");
        assert!(all.contains(own.trim()), "{all}");
    }
}

/// A container that can be written to.
fn container() -> Container {
    let mut c = Container::new();
    c.put("/root/readonly", json!(false));
    c
}

fn arguments(c: &Container) -> Vec<String> {
    c.write_config();
    let words = ["seccomp", "record", "--bundle", c.bundle().to_str().unwrap(), "--output"];
    let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    words.extend([c.text_path("profile.json"), c.id.clone()]);
    words
}

/// Records the container's run.
fn record(c: &Container) -> Outcome {
    let words = arguments(c);
    c.call(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn launch_record(c: &Container) -> Running<'_> {
    let words = arguments(c);
    c.launch(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn recorded(c: &Container) -> Value {
    serde_json::from_slice(&fs::read(c.path("profile.json")).unwrap()).unwrap()
}

/// Whether a profile names a call.
fn names(profile: &Value, name: &str) -> bool {
    let rules = profile["syscalls"].as_array().unwrap();
    rules.iter().any(|rule| rule["names"].as_array().unwrap().iter().any(|other| other == name))
}

/// What was recorded works under the profile, and what was not is refused.
#[test]
fn a_recorded_profile_allows_what_was_done_and_nothing_else() {
    for no_new_privileges in [true, false] {
        let mut c = container();
        c.put("/process/noNewPrivileges", json!(no_new_privileges));
        c.args(&["/probe", "try", "create", "/file"]);
        let run = record(&c).ok();
        assert_eq!(run.stdout, "ok\n");
        leaks::assert_none(&c);
        let profile = recorded(&c);
        assert!(names(&profile, "openat") && !names(&profile, "mkdir") && !names(&profile, "getpriority"));
        c.put("/linux/seccomp", profile);
        fs::remove_file(c.rootfs("file")).unwrap();
        assert_eq!(c.attempt(&["create", "/file"]), "ok");
        assert!(c.rootfs("file").exists());
        for words in [&["mkdir", "/new"][..], &["syscall", "140", "0", "0"], &["umount", "/dev/shm"]] {
            assert_eq!(c.attempt(words), "EPERM", "{words:?}");
        }
    }
}

#[test]
fn a_recording_has_all_processes_and_the_exit_status() {
    let mut c = container();
    let script = "mkdir /a; (cd /a; echo one > f; mv f g) & (sleep 0; ln -s x /l) & wait; trap 'rm /l' USR1; \
        sh -c 'kill -USR1 $PPID'; cat /a/g | tr a-z A-Z; exit 7";
    let run = record(c.shell(script));
    assert_eq!((run.code(), run.stdout.as_str()), (7, "ONE\n"), "{run:#?}");
    let profile = recorded(&c);
    for name in ["mkdir", "chdir", "rename", "symlink", "kill", "unlink", "wait4", "dup2", "rt_sigreturn"] {
        assert!(names(&profile, name), "{name} in {profile}");
    }
    assert!(run.logged("info").iter().any(|line| line.contains("system calls seen")), "{run:#?}");
    leaks::assert_none(&c);
    fs::remove_dir_all(c.rootfs("a")).unwrap();
    c.put("/linux/seccomp", profile);
    let again = c.run(&[]);
    assert_eq!((again.code(), again.stdout.as_str(), again.stderr.as_str()), (7, "ONE\n", ""), "{again:#?}");
}

/// Threads, and signals that interrupt calls while they wait for the recorder: what can fail with EINTR may,
/// and the rest must not.
#[test]
fn a_program_in_a_storm_of_signals_survives_its_recording() {
    let mut c = container();
    c.args(&["/probe", "storm", "10000"]);
    assert_eq!(record(&c).ok().stdout, "survived\n");
    c.put("/linux/seccomp", recorded(&c));
    assert_eq!(c.run(&[]).ok().stdout, "survived\n");
}

/// Arguments that select what a call does are part of the profile.
#[test]
fn a_recording_tells_arguments_apart() {
    let mut c = container();
    c.args(&["/probe", "try", "unshare", "0x4000000"]); // CLONE_NEWUTS
    c.capabilities(&["CAP_SYS_ADMIN"]);
    assert_eq!(record(&c).ok().stdout, "ok\n");
    c.put("/linux/seccomp", recorded(&c));
    assert_eq!(c.attempt(&["unshare", "0x4000000"]), "ok");
    assert_eq!(c.attempt(&["unshare", "0x8000000"]), "EPERM"); // CLONE_NEWIPC
}

#[test]
fn calls_of_32_bits_are_recorded() {
    needs!(host::runs_x86(), "a kernel that runs 32-bit programs of x86");
    let mut c = container();
    c.args(&["/probe", "try", "syscall-of-x86", "20"]);
    record(&c).ok();
    let profile = recorded(&c);
    assert_eq!(profile["architectures"], json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]));
    c.put("/linux/seccomp", profile);
    assert_eq!(c.attempt(&["syscall-of-x86", "20"]), "ok");
    assert_eq!(c.attempt(&["syscall-of-x86", "39", "0", "0"]), "EPERM");
}

/// A user namespace, another user, hooks on both sides, no privilege: a recording changes nothing about the
/// container.
#[test]
fn a_container_of_any_kind_can_be_recorded() {
    let mut c = container();
    c.user_namespace(100_000, 65_536).give_rootfs_to(100_000);
    c.put("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    c.put("/hooks/poststart/-", json!({ "path": "/bin/true" }));
    c.put("/hooks/startContainer/-", json!({ "path": "/bin/busybox", "args": ["true"] }));
    c.args(&["/probe", "report"]);
    let report = integration::container::parse_report(&record(&c).ok());
    assert_eq!((report.uid[0], report.seccomp, report.caps.effective), (1000, 2, 0));
    leaks::assert_none(&c);
    // The hook in the container runs under the profile, so what it did is in there.
    c.put("/linux/seccomp", recorded(&c));
    let again = c.report();
    assert_eq!((again.uid[0], again.seccomp), (1000, 2));
}

/// The profile that the bundle has does not count while its container is recorded.
#[test]
fn the_profile_of_the_bundle_does_not_stop_a_recording() {
    let mut c = container();
    c.put("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_KILL" }));
    c.args(&["/probe", "try", "mkdir", "/new"]);
    assert_eq!(record(&c).ok().stdout, "ok\n");
    assert!(names(&recorded(&c), "mkdir"));
}

/// A health check of a container that is recorded is part of the recording.
#[test]
fn an_exec_is_recorded_with_its_container() {
    let mut c = container();
    c.args(&["/probe", "ready-then-sleep"]);
    let run = launch_record(&c);
    run.await_line("ready");
    assert_eq!(c.exec(&[], &["/probe", "try", "mkdir", "/new"]).ok().stdout, "ok\n");
    c.kill("TERM").ok();
    c.kill("KILL").ok();
    assert_eq!(run.finish().code(), 128 + 9);
    let profile = recorded(&c);
    assert!(names(&profile, "mkdir") && names(&profile, "pause"), "{profile}");
    leaks::assert_none(&c);
}

/// The child of a command that holds a recorder's socket.
fn recorder_of(run: &Running<'_>, init: i32) -> i32 {
    proc::children(run.pid()).into_iter().find(|pid| *pid != init).expect("the recorder")
}

/// A recorder that is killed: the container's calls fail, nothing hangs, and no half of a profile is written.
#[test]
fn a_recorder_that_is_killed_is_an_error() {
    let mut c = container();
    c.args(&["/probe", "ready-then-sleep"]);
    let run = launch_record(&c);
    run.await_line("ready");
    let init = i32::try_from(c.state()["pid"].as_i64().unwrap()).unwrap();
    kill(Pid::from_raw(recorder_of(&run, init)), Signal::SIGKILL).unwrap();
    // It sleeps in a call that was let through before.
    c.kill("KILL").ok();
    let run = run.finish();
    assert!(run.error().contains("the recorder was killed before the container had ended"), "{run:#?}");
    assert!(!c.path("profile.json").exists());
    leaks::assert_none(&c);
}

/// A container that cannot be made leaves neither a profile nor a recorder.
#[test]
fn a_recording_of_nothing_leaves_nothing() {
    let mut c = container();
    c.args(&["/no-such-program"]);
    assert!(record(&c).error().contains("no-such-program"));
    assert!(!c.path("profile.json").exists());
    leaks::assert_none(&c);
    let left = proc::entries(c.bundle().to_str().unwrap());
    assert!(!left.iter().any(|name| name.contains(".profile.json")), "{left:?}");
}

/// An old profile stays until there is a new one, whole.
#[test]
fn a_profile_is_replaced_at_once() {
    let mut c = container();
    fs::write(c.path("profile.json"), "old").unwrap();
    c.args(&["/no-such-program"]);
    record(&c).error();
    assert_eq!(fs::read_to_string(c.path("profile.json")).unwrap(), "old");
    c.args(&["/bin/true"]);
    record(&c).ok();
    assert_eq!(recorded(&c)["defaultAction"], "SCMP_ACT_ERRNO");
}

/// A recorder's socket is in a directory that nobody else can enter, and that ends with it.
#[test]
fn a_recorder_is_private_and_outlasts_interrupts() {
    let mut c = container();
    let temporary = c.path("tmp");
    fs::create_dir(&temporary).unwrap();
    c.args(&["/probe", "ready-then-sleep"]);
    let words = arguments(&c);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let run = c.launch_with(&words, |command| _ = command.env("TMPDIR", &temporary));
    run.await_line("ready");
    let directories = proc::entries(temporary.to_str().unwrap());
    assert_eq!(directories.len(), 1, "{directories:?}");
    let mode =
        |path: &Path| std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions());
    assert_eq!(mode(&temporary.join(&directories[0])) & 0o777, 0o700);
    // Ctrl-C at a terminal reaches the recorder too, which goes on: the container decides when it ends.
    let init = i32::try_from(c.state()["pid"].as_i64().unwrap()).unwrap();
    kill(Pid::from_raw(recorder_of(&run, init)), Signal::SIGINT).unwrap();
    assert_eq!(c.exec(&[], &["/probe", "try", "mkdir", "/new"]).ok().stdout, "ok\n");
    c.kill("KILL").ok();
    assert_eq!(run.finish().code(), 128 + 9);
    assert!(names(&recorded(&c), "mkdir"));
    assert_eq!(proc::entries(temporary.to_str().unwrap()), Vec::<String>::new());
    outcome::until("the end of all", || leaks::left(&c).is_empty());
}
