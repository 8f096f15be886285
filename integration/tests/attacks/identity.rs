//! Who a container's programs are: nothing more than was asked for, after create and after exec.

use integration::container::Container;
use integration::report::Report;
use integration::{needs, since};
use serde_json::json;
use std::ffi::OsString;

/// A runtime started by somebody in groups that the container must never be in.
fn in_groups(c: &mut Container) {
    let words = ["setpriv", "--groups", "4242,4343", "--"];
    c.via.splice(0..0, words.map(OsString::from));
}

#[test]
fn groups_of_the_caller_reach_no_program() {
    let mut c = Container::new();
    in_groups(&mut c);
    assert_eq!(c.report().groups, Vec::<u32>::new());
    let mut c = Container::new();
    in_groups(&mut c);
    c.sleeping();
    assert_eq!(c.exec_report(&[]).groups, Vec::<u32>::new());
    assert_eq!(c.exec_report(&["--user", "1000:1000"]).groups, Vec::<u32>::new());
}

/// Inheritable capabilities raise those of a file's (CVE-2022-29162, CVE-2022-27650, CVE-2025-27612).
#[test]
fn nothing_is_inheritable_that_was_not_asked_for() {
    let mut c = Container::new();
    let report = c.report();
    assert_eq!((report.caps.inheritable, report.caps.ambient), (0, 0));
    let mut c = Container::new();
    c.sleeping();
    for flags in [&[][..], &["--cap", "CAP_SYS_CHROOT"], &["--user", "1000", "--cap", "CAP_SYS_CHROOT"]] {
        let report = c.exec_report(flags);
        assert_eq!((report.caps.inheritable, report.caps.ambient), (0, 0), "{flags:?}");
    }
}

/// A runtime that may not take capabilities out of the bounding set: root in the container gets all that is
/// left in there when it executes a program, whatever was asked for.
#[test]
fn no_capability_is_left_that_cannot_be_taken() {
    let lacking = ["setpriv", "--inh-caps=-setpcap", "--bounding-set=-setpcap", "--"].map(OsString::from);
    let mut c = Container::new();
    c.via.splice(0..0, lacking.clone());
    c.put("/process/noNewPrivileges", json!(false)).capabilities(&["CAP_KILL"]).args(&["/probe", "report"]);
    let run = c.run(&[]);
    if run.status.success() {
        let report = integration::container::parse_report(&run);
        assert_eq!((report.caps.permitted, report.caps.bounding), (1 << 5, 1 << 5));
    } else {
        assert!(run.error().contains("bounding"), "{run:#?}");
    }
    let mut c = Container::new();
    c.put("/process/noNewPrivileges", json!(false)).capabilities(&["CAP_KILL"]).sleeping();
    c.via.splice(0..0, lacking);
    let exec = c.exec(&[], &["/probe", "report"]);
    if exec.status.success() {
        let report = integration::container::parse_report(&exec);
        assert_eq!((report.caps.permitted, report.caps.bounding), (1 << 5, 1 << 5), "exec");
    } else {
        assert!(exec.error().contains("bounding"), "{exec:#?}");
    }
}

/// Files that a hook makes, as root of the host: nobody else may write to them, as its caller has asked.
#[test]
fn hooks_have_the_mask_of_the_caller() {
    let mut c = Container::new();
    let kinds = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    for kind in kinds {
        let script = format!(": > {}", c.text_path(kind));
        c.put(&format!("/hooks/{kind}/-"), json!({ "path": "/bin/sh", "args": ["sh", "-c", script] }));
    }
    c.via.splice(0..0, ["sh", "-c", "umask 027; exec \"$0\" \"$@\""].map(OsString::from));
    c.args(&["/bin/true"]).run(&[]).ok();
    for kind in kinds {
        let meta = std::fs::metadata(c.path(kind)).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&meta.permissions());
        assert_eq!(mode & 0o027, 0, "{kind}: {mode:o}");
    }
}

/// A change of user makes a process what `fs.suid_dumpable` says. With 1, who has the same user id on the
/// host could trace one that shares its memory with root's, as soon as it has no more capabilities than that
/// user.
#[test]
fn a_process_with_other_capabilities_is_never_dumpable() {
    since!("calls of a program with one thread", "runc -", "crun -");
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        integration::skip!("needs strace");
    }
    let mut c = Container::new();
    c.sleeping();
    let trace = c.text_path("trace");
    let words = ["strace", "-f", "-qq", "-e", "trace=setresuid,prctl,capset,execve", "-o", &trace];
    c.via.extend(words.map(OsString::from));
    c.exec(&["--user", "1000:1000"], &["/bin/true"]).ok();
    let trace = std::fs::read_to_string(trace).unwrap();
    let (_, after) = trace.split_once("setresuid(1000").expect("a change of user");
    let (between, _) = after.split_once("capset(").expect("a change of capabilities");
    assert!(between.contains("PR_SET_DUMPABLE, SUID_DUMP_DISABLE"), "{trace}");
}

/// A user that is written in an odd way is that user or none, never root (CVE-2026-30892).
#[test]
fn an_odd_user_is_never_root() {
    let mut c = Container::new();
    c.sleeping();
    let odd = [
        "1",
        "1:",
        ":1",
        "01",
        "+1",
        "-1",
        "4294967295",
        "4294967296",
        "1x",
        "x",
        "",
        " 1",
        "1 ",
        "0x1",
        "1:x",
        "1:1:1",
    ];
    let mut accepted = 0;
    for user in odd {
        let exec = c.exec(&["--user", user], &["/probe", "report"]);
        if exec.status.success() {
            accepted += 1;
            let report = integration::container::parse_report(&exec);
            assert!(report.uid.iter().all(|uid| *uid == 1), "{user:?} became {:?}", report.uid);
        }
    }
    assert!(accepted > 0, "no user at all is accepted");
}

#[track_caller]
fn assert_confined(report: &Report, who: &str) {
    assert_eq!(report.caps.bounding, report.caps.permitted, "{who}: more in the bounding set");
    assert_eq!(report.caps.effective & !report.caps.bounding, 0, "{who}: more than the bounding set");
    assert!(report.no_new_privs, "{who}: no_new_privs");
    assert_eq!(report.seccomp, 2, "{who}: no filter");
    assert_eq!(report.securebits, 0, "{who}: securebits");
    assert_eq!(report.keepcaps, 0, "{who}: keeps capabilities");
    assert_eq!(report.dumpable, 1, "{who}: the program itself is as any other");
    assert_eq!(report.parent_death_signal, 0, "{who}: dies with the runtime");
    assert_eq!(report.signals.blocked, 0, "{who}: signals");
}

#[test]
fn every_program_is_as_confined_as_was_asked() {
    since!("the same after exec", "runc -", "crun -");
    let mut c = Container::docker_like();
    c.put("/process/noNewPrivileges", json!(true));
    assert_confined(&c.report(), "the first");
    let mut c = Container::docker_like();
    c.put("/process/noNewPrivileges", json!(true));
    c.sleeping();
    assert_confined(&c.exec_report(&[]), "one of exec");
}

/// What loading a filter took is given up before the container waits for its start: others may see it wait.
#[test]
fn a_container_that_waits_has_no_more_than_its_program() {
    since!("a created container that can be looked at", "runc -", "crun -");
    let mut c = Container::docker_like();
    c.put("/process/noNewPrivileges", json!(false)).args(&["/probe", "sleep"]);
    c.create();
    let pid = c.pid();
    integration::outcome::until("wait for start", || {
        std::fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|call| call.contains("read"))
    });
    let status = integration::proc::Status::of(&pid.to_string());
    assert_eq!(status.mask("CapPrm") & !status.mask("CapBnd"), 0, "{status:?}");
    assert_eq!(status.mask("CapEff") & !status.mask("CapBnd"), 0, "{status:?}");
}

#[test]
fn no_program_has_the_keyring_of_the_caller() {
    let own = integration::sys::session_keyring().unwrap_or_default();
    let mut c = Container::new();
    let named = format!("_ses.{}", c.id);
    let keyring = c.report().keyring;
    assert!(keyring.ends_with(&named) && keyring != own, "{keyring}");
    let mut c = Container::new();
    c.sleeping();
    let keyring = c.exec_report(&[]).keyring;
    assert!(keyring.ends_with(&format!("_ses.{}", c.id)) && keyring != own, "{keyring}");
}

/// Loads a profile that denies one file; nothing when the host has no AppArmor.
fn profile() -> Option<&'static str> {
    use std::io::Write;
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").ok()?;
    let text = "profile corten-attack flags=(attach_disconnected,mediate_deleted) {
        file, capability, network, mount, umount, signal, ptrace, pivot_root, unix,
        deny /etc/denied r,
    }";
    let mut parser = std::process::Command::new("apparmor_parser");
    let mut child = parser.arg("-r").stdin(std::process::Stdio::piped()).spawn().ok()?;
    child.stdin.take()?.write_all(text.as_bytes()).ok()?;
    (child.wait().ok()?.success() && enabled.starts_with('Y')).then_some("corten-attack")
}

/// The profile confines the first program and every later one, whatever they have for a `/proc`
/// (CVE-2019-16884, CVE-2023-28642, CVE-2025-52881).
#[test]
fn an_apparmor_profile_confines_every_program() {
    let profile = needs!(profile(), "AppArmor");
    let mut c = Container::new();
    c.put("/process/apparmorProfile", json!(profile));
    std::fs::write(c.rootfs("etc/denied"), "secret").unwrap();
    c.shell("cat /etc/denied; cat /proc/self/attr/current; exec /probe ready-then-sleep");
    c.run_detached();
    c.await_line("ready");
    assert!(c.output().contains("corten-attack (enforce)"), "{}", c.output());
    assert!(!c.output().contains("secret"));
    for flags in [&[][..], &["--user", "1000:1000"], &["--apparmor", profile]] {
        let exec = c.exec(flags, &["/bin/sh", "-c", "cat /etc/denied; cat /proc/self/attr/current"]).ok();
        assert!(exec.stdout.contains("corten-attack (enforce)"), "{flags:?}: {exec:#?}");
        assert!(!exec.stdout.contains("secret"), "{flags:?}: {exec:#?}");
    }
}

#[test]
fn an_apparmor_profile_is_not_written_to_a_false_proc() {
    let profile = needs!(profile(), "AppArmor");
    for with_proc in [true, false] {
        let mut c = Container::new();
        let fake = c.path("fake");
        for name in ["self/attr", "self/attr/apparmor", "thread-self/attr/apparmor"] {
            std::fs::create_dir_all(fake.join(name)).unwrap();
            std::fs::write(fake.join(name).join("exec"), "").unwrap();
        }
        if !with_proc {
            c.unmount("/proc").put("/linux/maskedPaths", json!([])).put("/linux/readonlyPaths", json!([]));
        }
        c.mount(json!({ "destination": "/proc", "type": "bind", "source": fake, "options": ["rbind"] }));
        c.put("/process/apparmorProfile", json!(profile)).args(&["/probe", "ready-then-sleep"]);
        let pid_file = c.text_path("pid");
        c.write_config();
        let bundle = c.bundle().to_str().unwrap().to_owned();
        let run = c.call(&["run", "--detach", "--pid-file", &pid_file, "--bundle", &bundle, &c.id]);
        if run.status.success() {
            let label = std::fs::read_to_string(format!("/proc/{}/attr/current", c.pid())).unwrap();
            assert!(label.contains("corten-attack (enforce)"), "runs as {label:?}");
        }
        assert_eq!(std::fs::read_to_string(fake.join("self/attr/exec")).unwrap(), "");
    }
}

/// A label that cannot be applied is no reason to go on without.
#[test]
fn a_label_is_applied_or_nothing_starts() {
    for (field, label) in
        [("apparmorProfile", "corten-test-none"), ("selinuxLabel", "system_u:system_r:none_t:s0")]
    {
        let mut c = Container::new();
        c.put(&format!("/process/{field}"), json!(label)).shell("echo started");
        let run = c.run(&[]);
        assert!(!run.stdout.contains("started"), "started without {label}");
        assert!(!run.status.success());
    }
}
