//! Seccomp filters of real containers: what the shipped default means, in which order a filter is loaded,
//! with which flags, and what is refused.

#![expect(clippy::unwrap_used)]

use integration::container::Container;
use integration::outcome::Outcome;
use integration::runtime::{built, runtime};
use integration::{host, leaks, needs, rootfs, since};
use serde_json::{Value, json};
use std::process::Command;

const SYS_ADMIN: u64 = 1 << 21;

/// The shipped default profile for a container with these capabilities.
fn default_profile(caps: &str) -> Value {
    let output =
        Command::new(built("corten")).args(["seccomp", "resolve", "--docker-caps", caps, "default"]).output();
    serde_json::from_slice(&output.unwrap().stdout).unwrap()
}

/// As Docker makes one, under the shipped default profile, with a root filesystem that can be written to.
fn under_default(caps: &[&str]) -> Container {
    let mut c = Container::docker_like();
    c.put("/linux/seccomp", default_profile(&caps.join(",")));
    c.put("/root/readonly", json!(false));
    c
}

fn with_rules(rules: Value) -> Container {
    let mut c = Container::new();
    c.put("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules }));
    c.put("/root/readonly", json!(false));
    c
}

/// mkdir and mkdirat answer error 77.
fn deny_mkdir() -> Value {
    json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77 }])
}

/// umount(8) of util-linux, which says with status 32 that the kernel refused.
#[test]
fn the_default_profile_denies_umount_until_it_is_resolved_for_the_capability() {
    let umount = "/bin/umount";
    for (in_profile, code) in [(&[][..], 32), (&["CAP_SYS_ADMIN"], 0)] {
        let mut c = under_default(in_profile);
        // The capability is there in both cases: the filter alone decides.
        c.capabilities(&["CAP_SYS_ADMIN"]);
        needs!(rootfs::bring(&c.rootfs(""), umount).then_some(()), "umount(8)");
        let run = c.args(&[umount, "/dev/shm"]).run(&[]);
        assert_eq!(run.code(), code, "{run:#?}");
        assert_eq!(c.attempt(&["umount", "/dev/shm"]), if code == 0 { "ok" } else { "EPERM" });
    }
}

#[test]
fn strace_works_under_the_default_profile() {
    let mut c = under_default(&[]);
    needs!(rootfs::bring(&c.rootfs(""), "/usr/bin/strace").then_some(()), "strace");
    let script = "/usr/bin/strace -f -o /tmp/trace /bin/sh -c '/bin/mkdir /tmp/made'; cat /tmp/trace";
    let trace = c.script(script);
    assert!(trace.contains("mkdir(\"/tmp/made\"") && trace.contains("exited with 0"), "{trace}");
}

/// Whoever is in the container, with or without no_new_privs: the filter is there, and no right is left that
/// was not given. Before execve the process has to keep CAP_SYS_ADMIN for the load where there is no
/// no_new_privs.
#[test]
fn the_filter_needs_neither_no_new_privs_nor_a_capability_of_the_container() {
    for (no_new_privileges, uid, names) in [
        (true, 0, &[][..]),
        (false, 0, &[]),
        (true, 1000, &[]),
        (false, 1000, &[]),
        (false, 0, &["CAP_CHOWN", "CAP_SYS_ADMIN"]),
        (false, 1000, &["CAP_CHOWN"]),
    ] {
        let mut c = with_rules(deny_mkdir());
        c.put("/process/noNewPrivileges", json!(no_new_privileges));
        c.put("/process/user", json!({ "uid": uid, "gid": uid })).capabilities(names);
        let wanted = names
            .iter()
            .map(|name| match *name {
                "CAP_CHOWN" => 1,
                _ => SYS_ADMIN,
            })
            .sum::<u64>();
        // An ordinary user loses what is not ambient when the program is executed.
        let effective = if uid == 0 { wanted } else { 0 };
        let created = c.report();
        c.sleeping();
        let added = c.exec_report(&[]);
        for report in [created, added] {
            assert_eq!((report.seccomp, report.seccomp_filters), (2, 1));
            assert_eq!(report.no_new_privs, no_new_privileges);
            let sets = &report.caps;
            assert_eq!((sets.effective, sets.permitted, sets.bounding), (effective, effective, wanted));
            assert_eq!((sets.inheritable, sets.ambient), (0, 0), "{uid} {names:?}");
        }
        assert_eq!(c.exec(&[], &["/probe", "try", "mkdir", "/tmp/x"]).ok().stdout, "EBADFD\n");
    }
}

/// The filter may forbid everything that the runtime does to load it, to hear from its parent but for
/// read(2), and to say what failed.
#[test]
fn a_failure_after_the_filter_is_still_told() {
    since!("a filter after all steps of its own", "runc -", "crun -");
    let mut c =
        with_rules(json!([{ "names": ["sendmsg", "sendto", "sendmmsg", "seccomp", "prctl", "capset"],
        "action": "SCMP_ACT_ERRNO" }]));
    std::fs::write(c.rootfs("no-program"), "neither ELF nor a script").unwrap();
    std::fs::set_permissions(c.rootfs("no-program"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    c.args(&["/no-program"]);
    assert!(c.run(&[]).error().contains("exec format error"), "{:#?}", c.run(&[]));
    leaks::assert_none(&c);
    c.sleeping();
    assert!(c.exec(&[], &["/no-program"]).error().contains("exec format error"));
}

#[test]
fn calls_of_32_bits_are_filtered_by_their_own_numbers() {
    needs!(host::runs_x86(), "a kernel that runs 32-bit programs of x86");
    // getpriority is 96 there, which is gettimeofday here.
    let rules = json!([{ "names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77 },
        { "names": ["getitimer"], "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }], "action": "SCMP_ACT_ERRNO", "errnoRet": 78 }]);
    let mut c = with_rules(rules);
    c.put("/linux/seccomp/architectures", json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]));
    assert_eq!(c.attempt(&["syscall-of-x86", "96", "0", "0"]), "EBADFD");
    assert_eq!(c.attempt(&["syscall-of-x86", "20"]), "ok");
    // getitimer(1, NULL): the upper half of the register is no part of a 32-bit argument.
    assert_eq!(c.attempt(&["syscall-of-x86", "105", "1", "0"]), "EREMCHG");
    assert_eq!(c.attempt(&["syscall-of-x86", "105", "0xff00000001", "0"]), "EREMCHG");
    assert_eq!(c.attempt(&["syscall-of-x86", "105", "0", "0"]), "EFAULT");
    // An architecture that is not in the list has no calls at all.
    c.put("/linux/seccomp/architectures", json!(["SCMP_ARCH_X86_64"]));
    c.args(&["/probe", "try", "syscall-of-x86", "20"]);
    assert_eq!(c.run(&[]).code(), 128 + 31);
}

#[test]
fn the_default_profile_filters_calls_of_32_bits_too() {
    needs!(host::runs_x86(), "a kernel that runs 32-bit programs of x86");
    let mut c = under_default(&[]);
    c.capabilities(&["CAP_SYS_ADMIN", "CAP_SYS_TIME"]);
    // umount2 is 52 there, reboot 88, settimeofday 79.
    for number in ["52", "88", "79"] {
        assert_eq!(c.attempt(&["syscall-of-x86", number, "0", "0"]), "EPERM", "{number}");
    }
    assert_eq!(c.attempt(&["syscall-of-x86", "20"]), "ok");
}

#[test]
fn calls_newer_than_the_profile_are_missing_unless_that_is_turned_off() {
    since!("an annotation for unknown calls", "runc -", "crun -");
    let mut c = under_default(&[]);
    assert_eq!(c.attempt(&["syscall", "600", "0"]), "ENOSYS");
    c.put("/annotations/org.corten.seccomp.enosys", json!("false"));
    assert_eq!(c.attempt(&["syscall", "600", "0"]), "EPERM");
    c.put("/annotations/org.corten.seccomp.enosys", json!("true"));
    assert_eq!(c.attempt(&["syscall", "600", "0"]), "ENOSYS");
    c.put("/annotations/org.corten.seccomp.enosys", json!("perhaps"));
    let run = c.run(&[]);
    let text = "annotations[\"org.corten.seccomp.enosys\"]: \"perhaps\"";
    assert!(run.error().contains(text), "{}", run.error());
    leaks::assert_none(&c);
}

/// A profile with a fault is refused with the place of the fault, before anything is made.
#[test]
fn faults_of_profiles_are_told_by_their_place() {
    since!("JSON paths in errors", "runc -", "crun -");
    let rule = |extra: Value| {
        let mut rule = json!({ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" });
        rule.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!([deny_mkdir()[0], rule])
    };
    let argument = |argument: Value| {
        rule(json!({ "errnoRet": 77, "args": [{ "index": 0, "value": 0, "op": "SCMP_CMP_EQ" }, argument] }))
    };
    let equal = |errno: u32| {
        json!({ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno,
            "args": [{ "index": 1, "value": 0o700, "op": "SCMP_CMP_EQ" }] })
    };
    let contradiction = json!([equal(77), equal(78)]);
    let many: Vec<Value> = (0..3000)
        .map(|value| json!({ "names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": value % 100 + 1,
            "args": [{ "index": 1, "value": value * 2, "op": "SCMP_CMP_EQ" }, { "index": 2, "value": value, "op": "SCMP_CMP_GT" }] }))
        .collect();
    for (pointer, value, expected) in [
        (
            "/syscalls",
            argument(json!({ "index": 6, "value": 0, "op": "SCMP_CMP_EQ" })),
            "linux.seccomp.syscalls[1].args[1].index: 6",
        ),
        (
            "/syscalls",
            argument(json!({ "index": 1, "value": 0, "op": "SCMP_CMP_LIKE" })),
            "linux.seccomp.syscalls[1].args[1].op: \"SCMP_CMP_LIKE\"",
        ),
        ("/syscalls", contradiction, "linux.seccomp.syscalls[1]"),
        ("/syscalls", rule(json!({ "errnoRet": 5000 })), "linux.seccomp.syscalls[1].errnoRet: 5000"),
        (
            "/syscalls",
            rule(json!({ "action": "SCMP_ACT_MAYBE" })),
            "linux.seccomp.syscalls[1].action: \"SCMP_ACT_MAYBE\"",
        ),
        ("/syscalls", rule(json!({ "names": [""] })), "linux.seccomp.syscalls[1].names[0]"),
        ("/syscalls", rule(json!({ "names": 7 })), "linux.seccomp.syscalls[1].names"),
        ("/syscalls", json!(many), "linux.seccomp: the profile needs"),
        ("/defaultAction", json!("SCMP_ACT_NOTIFY"), "linux.seccomp.defaultAction"),
        ("/defaultAction", json!(7), "linux.seccomp.defaultAction"),
        (
            "/architectures",
            json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_PDP11"]),
            "linux.seccomp.architectures[1]: \"SCMP_ARCH_PDP11\"",
        ),
        ("/flags", json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_FAST"]), "linux.seccomp.flags[1]"),
        ("/flags", json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]), "linux.seccomp.flags[0]"),
    ] {
        let mut c = with_rules(deny_mkdir());
        c.put(&format!("/linux/seccomp{pointer}"), value);
        let run = c.run(&[]);
        assert!(run.error().contains(expected), "expected {expected:?}, not {:?}", run.error());
        leaks::assert_none(&c);
        let create = c.try_create(&[]);
        assert!(create.error().contains(expected), "{:?}", create.error());
        leaks::assert_none(&c);
    }
}

/// The seccomp(2) calls of a run, as strace(1) sees them, with the first of each process failed by `inject`.
fn loads(c: &mut Container, inject: &str) -> (Outcome, Vec<String>) {
    let log = c.text_path("strace");
    let mut via = vec!["strace", "-f", "-qq", "-o", &log, "-e", "trace=seccomp", "-e", "signal=none"];
    if !inject.is_empty() {
        via.extend(["-e", inject]);
    }
    c.via.splice(0..0, via.into_iter().map(Into::into));
    c.args(&["/probe", "try", "mkdir", "/new"]);
    let run = c.run(&[]);
    let text = std::fs::read_to_string(&log).unwrap();
    (run, text.lines().filter(|line| line.contains("SECCOMP_SET_MODE_FILTER")).map(str::to_owned).collect())
}

fn has_strace() -> Option<()> {
    std::path::Path::new("/usr/bin/strace").exists().then_some(())
}

#[test]
fn flags_reach_the_kernel_as_written() {
    needs!(has_strace(), "strace");
    since!("seccomp flags", "runc 1.2", "crun 1.0");
    const LOG: &str = "SECCOMP_FILTER_FLAG_LOG";
    const SPEC: &str = "SECCOMP_FILTER_FLAG_SPEC_ALLOW";
    for (flags, expected) in [
        // Nothing said: as runc does it.
        (Value::Null, SPEC.to_owned()),
        (json!([]), "0".to_owned()),
        (json!([LOG]), LOG.to_owned()),
        (json!([SPEC, LOG]), format!("{LOG}|{SPEC}")),
        // A process with one thread needs no synchronisation.
        (json!(["SECCOMP_FILTER_FLAG_TSYNC"]), "0".to_owned()),
    ] {
        let mut c = with_rules(deny_mkdir());
        c.put("/linux/seccomp/flags", flags);
        let (run, calls) = loads(&mut c, "");
        assert_eq!(run.ok().stdout, "EBADFD\n");
        assert_eq!(calls.len(), 1, "{calls:#?}");
        let needle = format!("SECCOMP_SET_MODE_FILTER, {expected}, ");
        assert!(calls[0].contains(&needle), "expected {needle} in {}", calls[0]);
    }
}

/// A kernel from before a flag says EINVAL: what nobody asked for is left out then, what was asked for is an
/// error.
#[test]
fn flags_that_the_kernel_does_not_know() {
    needs!(has_strace(), "strace");
    since!("seccomp flags", "runc -", "crun -");
    let inject = "inject=seccomp:error=EINVAL:when=1";
    let mut c = with_rules(deny_mkdir());
    let (run, calls) = loads(&mut c, inject);
    assert_eq!(run.ok().stdout, "EBADFD\n", "the filter is there");
    assert_eq!(calls.len(), 2, "{calls:#?}");
    assert!(
        calls[0].contains("SPEC_ALLOW") && calls[1].contains("SECCOMP_SET_MODE_FILTER, 0, "),
        "{calls:#?}"
    );
    let mut c = with_rules(deny_mkdir());
    c.put("/linux/seccomp/flags", json!(["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]));
    let (run, calls) = loads(&mut c, inject);
    assert!(run.error().contains("load the seccomp filter: invalid argument"), "{}", run.error());
    assert_eq!(calls.len(), 1, "{calls:#?}");
    leaks::assert_none(&c);
}

#[test]
fn unknown_names_are_an_error_where_an_annotation_says_so() {
    since!("an annotation for unknown names", "runc -", "crun 0.17");
    let rules =
        json!([deny_mkdir()[0], { "names": ["mknod", "call_of_the_future"], "action": "SCMP_ACT_ERRNO" }]);
    let mut c = with_rules(rules);
    assert_eq!(c.attempt(&["mkdir", "/new"]), "EBADFD");
    c.put("/annotations/run.oci.seccomp_fail_unknown_syscall", json!("0"));
    assert_eq!(c.attempt(&["mkdir", "/new"]), "EBADFD");
    c.put("/annotations/run.oci.seccomp_fail_unknown_syscall", json!("1"));
    let run = c.run(&[]);
    assert!(run.error().contains("call_of_the_future"), "{}", run.error());
    if runtime().is_ours() {
        assert!(run.error().contains("linux.seccomp.syscalls[1].names[1]"), "{}", run.error());
    }
    leaks::assert_none(&c);
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |chunk: &[u8]| {
        let word = (0..3).fold(0, |word, at| word << 8 | usize::from(chunk.get(at).copied().unwrap_or(0)));
        let digit = |at: usize| match at <= chunk.len() {
            true => char::from(ALPHABET[word >> (18 - 6 * at) & 63]),
            false => '=',
        };
        (0..4).map(digit).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

/// load number; mkdir? error 76 : allow. With `jump` past its end the kernel refuses it.
fn raw_program(jump: u8) -> Vec<u8> {
    let instructions: [(u16, u8, u8, u32); 4] =
        [(0x20, 0, 0, 0), (0x15, 0, jump, 83), (0x06, 0, 0, 0x0005_004c), (0x06, 0, 0, 0x7fff_0000)];
    let bytes = |(code, jt, jf, k): &(u16, u8, u8, u32)| {
        [&code.to_ne_bytes()[..], &[*jt, *jf], &k.to_ne_bytes()[..]].concat()
    };
    instructions.iter().flat_map(bytes).collect()
}

#[test]
fn a_program_given_whole_takes_the_place_of_the_profile() {
    since!("raw programs", "runc -", "crun 0.17");
    const KEY: &str = "/annotations/run.oci.seccomp_bpf_data";
    let mut c = with_rules(deny_mkdir());
    c.put(KEY, json!(base64(&raw_program(1))));
    assert_eq!(c.attempt(&["mkdir", "/new"]), "ENOTUNIQ");
    // Also without a profile, and for exec.
    c.put("/linux/seccomp", Value::Null);
    assert_eq!(c.attempt(&["mkdir", "/new"]), "ENOTUNIQ");
    c.sleeping();
    assert_eq!(c.exec(&[], &["/probe", "try", "mkdir", "/new"]).ok().stdout, "ENOTUNIQ\n");
}

#[test]
fn a_program_given_whole_must_be_one() {
    since!("strict base64", "runc -", "crun -");
    let key = "annotations[\"run.oci.seccomp_bpf_data\"]";
    let short = base64(&raw_program(1)[..12]);
    for (text, expected) in [
        ("?", key.to_owned()),
        ("", key.to_owned()),
        (&short, format!("{key}: 12 bytes")),
        (&base64(&vec![0; 8 * 4097]), format!("{key}: 32776 bytes")),
        (&base64(&raw_program(9)), "load the seccomp filter: invalid argument".to_owned()),
    ] {
        let mut c = with_rules(deny_mkdir());
        c.put("/annotations/run.oci.seccomp_bpf_data", json!(text));
        let run = c.run(&[]);
        assert!(run.error().contains(&expected), "expected {expected:?}, not {:?}", run.error());
        leaks::assert_none(&c);
    }
}

#[test]
fn features_name_the_annotations_that_change_the_filter() {
    since!("unsafe annotations of seccomp", "runc -", "crun -");
    let output = Command::new(&runtime().path).arg("features").output().unwrap();
    let features: Value = serde_json::from_slice(&output.stdout).unwrap();
    let list = features["potentiallyUnsafeConfigAnnotations"].as_array().unwrap();
    for name in [
        "org.corten.seccomp.enosys",
        "run.oci.seccomp.receiver",
        "run.oci.seccomp_fail_unknown_syscall",
        "run.oci.seccomp_bpf_data",
    ] {
        assert!(list.contains(&json!(name)), "{name}");
    }
}
