//! `linux.seccomp`: actions, arguments, errors, architectures, flags, notification.

use integration::container::Container;
use integration::sockets::Receiver;
use integration::{leaks, since};
use serde_json::{Value, json};

/// Everything is allowed but what the rules say.
fn with_rules(rules: Value) -> Container {
    let mut c = Container::new();
    c.put("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules }));
    c.put("/root/readonly", json!(false));
    c
}

#[test]
fn a_filter_is_in_place() {
    let mut c = Container::new();
    assert_eq!(c.report().seccomp, 0);
    let mut c = Container::docker_like();
    let report = c.report();
    assert_eq!((report.seccomp, report.seccomp_filters), (2, 1));
}

#[test]
fn errors_are_as_given() {
    for (extra, expected) in
        [(json!({}), "EPERM"), (json!({ "errnoRet": 5 }), "EIO"), (json!({ "errnoRet": 38 }), "ENOSYS")]
    {
        let mut rule = json!({ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" });
        rule.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let mut c = with_rules(json!([rule]));
        assert_eq!(c.attempt(&["mkdir", "/new"]), expected);
        assert_eq!(c.attempt(&["create", "/other"]), "ok");
    }
}

#[test]
fn the_default_error_is_as_given() {
    let mut c = Container::docker_like();
    c.put("/linux/seccomp/defaultErrnoRet", json!(61));
    // Not in the profile: keyctl and friends.
    assert_eq!(c.attempt(&["syscall", "250", "0", "0"]), "ENODATA");
}

/// The profile that Docker gives to a container without further capabilities.
#[test]
fn the_default_profile_refuses_what_it_should() {
    let mut c = Container::docker_like();
    c.capabilities(&["CAP_SYS_ADMIN", "CAP_SYS_CHROOT"]);
    for words in [
        &["mount-tmpfs", "/mnt"][..],
        &["umount", "/dev/shm"],
        &["unshare", "0x10000000"],
        &["syscall", "169", "0", "0", "0"], // reboot
        &["syscall", "246", "0", "0", "0"], // kexec_load
        &["syscall", "175", "0", "0", "0"], // init_module
        &["syscall", "321", "0", "0", "0"], // bpf
        &["syscall", "323", "0", "0", "0"], // userfaultfd
    ] {
        assert_eq!(c.attempt(words), "EPERM", "{words:?}");
    }
    assert_eq!(c.attempt(&["create", "/tmp/file"]), "ok");
}

/// clone3 answers ENOSYS, so that the C library falls back to clone, whose flags a filter can see.
#[test]
fn the_default_profile_denies_clone3_as_missing() {
    let mut c = Container::docker_like();
    assert_eq!(c.attempt(&["syscall", "435", "0", "0"]), "ENOSYS");
}

/// A profile that allows umount2 but not mount does exactly that.
#[test]
fn a_profile_of_names_does_exactly_what_it_says() {
    let mut c = Container::docker_like();
    c.capabilities(&["CAP_SYS_ADMIN"]);
    c.put("/linux/seccomp/syscalls/-", json!({ "names": ["umount2"], "action": "SCMP_ACT_ALLOW" }));
    assert_eq!(c.attempt(&["umount", "/dev/shm"]), "ok");
    assert_eq!(c.attempt(&["mount-tmpfs", "/mnt"]), "EPERM");
}

#[test]
fn arguments_are_compared() {
    // getpriority(which, who): 140. An error of the filter against an answer of the kernel.
    let cases = [
        ("SCMP_CMP_EQ", 7, 0, [(7, true), (8, false), (6, false)]),
        ("SCMP_CMP_NE", 7, 0, [(7, false), (8, true), (6, true)]),
        ("SCMP_CMP_LT", 7, 0, [(6, true), (7, false), (8, false)]),
        ("SCMP_CMP_LE", 7, 0, [(6, true), (7, true), (8, false)]),
        ("SCMP_CMP_GT", 7, 0, [(6, false), (7, false), (8, true)]),
        ("SCMP_CMP_GE", 7, 0, [(6, false), (7, true), (8, true)]),
        ("SCMP_CMP_MASKED_EQ", 0xf0, 0x50, [(0x5a, true), (0x6a, false), (0x50, true)]),
    ];
    for (op, value, value_two, tries) in cases {
        let mut argument = json!({ "index": 1, "value": value, "op": op });
        if value_two != 0 {
            argument["valueTwo"] = json!(value_two);
        }
        let mut c = with_rules(
            json!([{ "names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77, "args": [argument] }]),
        );
        for (given, hit) in tries {
            let answer = c.attempt(&["syscall", "140", "0", &given.to_string()]);
            assert_eq!(answer == "EBADFD", hit, "{op} {value} with {given}: {answer}");
        }
    }
}

/// All 64 bits count: a comparison of the lower half alone could be walked around.
#[test]
fn arguments_are_compared_with_all_64_bits() {
    let big = 0x1_0000_0007_u64;
    for (op, hits) in
        [("SCMP_CMP_EQ", [false, true]), ("SCMP_CMP_GT", [false, false]), ("SCMP_CMP_GE", [false, true])]
    {
        let rule = json!({ "names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77,
            "args": [{ "index": 1, "value": big, "op": op }] });
        let mut c = with_rules(json!([rule]));
        for (given, hit) in [("7", hits[0]), ("0x100000007", hits[1])] {
            assert_eq!(c.attempt(&["syscall", "140", "0", given]) == "EBADFD", hit, "{op} {given}");
        }
    }
}

/// Several tests in one rule must all hold; several rules for one call are alternatives.
#[test]
fn tests_of_a_rule_are_anded_and_rules_are_ored() {
    let rule = |args: Value| json!({ "names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77, "args": args });
    let mut c = with_rules(json!([
        rule(
            json!([{ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }, { "index": 1, "value": 2, "op": "SCMP_CMP_EQ" }])
        ),
        rule(json!([{ "index": 1, "value": 9, "op": "SCMP_CMP_EQ" }])),
    ]));
    for (first, second, hit) in [("1", "2", true), ("1", "3", false), ("0", "2", false), ("0", "9", true)] {
        assert_eq!(c.attempt(&["syscall", "140", first, second]) == "EBADFD", hit, "{first} {second}");
    }
}

#[test]
fn a_killing_action_kills() {
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS"] {
        let mut c = with_rules(json!([{ "names": ["getpriority"], "action": action }]));
        c.args(&["/probe", "try", "syscall", "140", "0", "0"]);
        assert_eq!(c.run(&[]).code(), 128 + 31, "{action}");
        leaks::assert_none(&c);
    }
}

#[test]
fn a_trap_is_a_signal() {
    // The first process of a PID namespace gets no signal without a handler for it, but for those that the
    // kernel forces.
    let mut c = with_rules(json!([{ "names": ["getpriority"], "action": "SCMP_ACT_TRAP" }]));
    c.args(&["/probe", "try", "syscall", "140", "0", "0"]);
    assert_eq!(c.run(&[]).code(), 128 + 31);
}

#[test]
fn log_and_allow_let_through() {
    for action in ["SCMP_ACT_LOG", "SCMP_ACT_ALLOW"] {
        let mut c = with_rules(json!([{ "names": ["mkdir"], "action": action }]));
        assert_eq!(c.attempt(&["mkdir", "/new"]), "ok", "{action}");
    }
}

/// SCMP_ACT_TRACE without a tracer answers ENOSYS.
#[test]
fn trace_without_a_tracer_is_enosys() {
    let mut c = with_rules(json!([{ "names": ["mkdir"], "action": "SCMP_ACT_TRACE", "errnoRet": 3 }]));
    assert_eq!(c.attempt(&["mkdir", "/new"]), "ENOSYS");
}

#[test]
fn unknown_calls_are_passed_over_and_unknown_actions_are_not() {
    let mut c = with_rules(json!([{ "names": ["mkdir", "call_of_the_future"], "action": "SCMP_ACT_ERRNO" }]));
    assert_eq!(c.attempt(&["mkdir", "/new"]), "EPERM");
    let mut c = with_rules(json!([{ "names": ["mkdir"], "action": "SCMP_ACT_WISHFUL" }]));
    assert!(c.run(&[]).error().contains("SCMP_ACT_WISHFUL"));
    c.put(
        "/linux/seccomp",
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_WISHFUL"] }),
    );
    assert!(c.run(&[]).error().contains("SCMP_ARCH_WISHFUL"));
    leaks::assert_none(&c);
}

#[test]
fn flags_are_set_or_refused() {
    for flags in [
        json!([]),
        json!(["SECCOMP_FILTER_FLAG_LOG"]),
        json!(["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]),
        json!(["SECCOMP_FILTER_FLAG_TSYNC"]),
        json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]),
    ] {
        let mut c = with_rules(json!([{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" }]));
        c.put("/linux/seccomp/flags", flags.clone());
        since!("seccomp flags", "runc 1.2", "crun 1.0");
        assert_eq!(c.attempt(&["mkdir", "/new"]), "EPERM", "{flags}");
    }
    let mut c = with_rules(json!([{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" }]));
    c.put("/linux/seccomp/flags", json!(["SECCOMP_FILTER_FLAG_WISHFUL"]));
    assert!(c.run(&[]).error().contains("SECCOMP_FILTER_FLAG_WISHFUL"));
}

/// A call that is newer than the profile is missing, not forbidden: programs fall back then.
#[test]
fn calls_newer_than_the_profile_are_missing() {
    since!("ENOSYS for unknown calls", "runc 1.0", "crun -");
    let mut c = Container::docker_like();
    assert_eq!(c.attempt(&["syscall", "600", "0"]), "ENOSYS");
}

/// The filter comes last: a profile that allows next to nothing must not stop the runtime's own steps.
#[test]
fn a_strict_profile_does_not_stop_the_start() {
    since!("a filter after all steps of its own", "runc -", "crun -");
    for no_new_privileges in [true, false] {
        let mut c = Container::new();
        let names = [
            "execve",
            "exit",
            "exit_group",
            "write",
            "brk",
            "mmap",
            "munmap",
            "mprotect",
            "arch_prctl",
            "set_tid_address",
            "set_robust_list",
            "rseq",
            "prlimit64",
            "readlink",
            "readlinkat",
            "getrandom",
            "uname",
            "getuid",
            "setuid",
            "getgid",
            "setgid",
            "geteuid",
            "fstat",
            "newfstatat",
            "ioctl",
            "futex",
            "close",
            "read",
        ];
        c.put(
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{ "names": names, "action": "SCMP_ACT_ALLOW" }] }),
        );
        c.put("/process/noNewPrivileges", json!(no_new_privileges));
        c.put("/process/user", json!({ "uid": 1000, "gid": 1000 })).args(&[
            "/bin/busybox",
            "echo",
            "started",
        ]);
        // Without no_new_privs the filter has to be set before privileges are dropped: the calls for that are
        // needed.
        if !no_new_privileges {
            c.put("/linux/seccomp/syscalls/-", json!({ "names": ["capget", "capset", "prctl", "setgroups", "setresuid",
                "setresgid", "chdir", "getcwd", "openat", "fcntl", "epoll_ctl", "getppid", "rt_sigreturn", "getpid",
                "gettid", "tgkill", "stat", "faccessat2", "faccessat", "access", "statfs", "fstatfs", "close_range",
                "getdents64", "nanosleep", "clock_nanosleep", "sched_yield", "rt_sigprocmask", "rt_sigaction",
                "epoll_pwait", "epoll_wait", "epoll_create1", "eventfd2", "pipe2", "sched_getaffinity", "clone",
                "clone3", "madvise", "kill", "umask", "dup3", "dup2", "openat2", "fchdir", "getresuid", "getresgid",
                "sigaltstack", "lseek", "pread64", "sendmsg", "sendto", "recvmsg", "recvfrom", "poll", "ppoll",
                "keyctl", "setsid", "set_mempolicy", "personality", "sched_setattr", "ioprio_set", "fadvise64"],
                "action": "SCMP_ACT_ALLOW" }));
        }
        assert_eq!(c.run(&[]).ok().stdout, "started\n", "no_new_privs: {no_new_privileges}");
    }
}

#[test]
fn exec_is_under_the_same_filter() {
    let mut c = with_rules(json!([{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5 }]));
    c.sleeping();
    assert_eq!(c.exec(&[], &["/probe", "try", "mkdir", "/new"]).ok().stdout, "EIO\n");
    assert_eq!(c.exec_report(&[]).seccomp, 2);
}

/// The listener of a filter with SCMP_ACT_NOTIFY goes to the agent's socket with the state of the container.
#[test]
fn a_notification_listener_reaches_the_agent() {
    since!("SCMP_ACT_NOTIFY", "runc 1.1", "crun 0.19");
    let mut c = with_rules(json!([{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }]));
    let path = c.path("agent.sock");
    let agent = Receiver::at(&path);
    c.put("/linux/seccomp/listenerPath", json!(path.to_str().unwrap()));
    c.put("/linux/seccomp/listenerMetadata", json!("for the agent"));
    c.args(&["/probe", "try", "mkdir", "/new"]);
    let run = c.launch_run(&[]);
    let handed = agent.receive();
    let message: Value = serde_json::from_slice(&handed.data).unwrap();
    assert_eq!(message["fds"], json!(["seccompFd"]));
    assert_eq!(message["metadata"], "for the agent");
    assert_eq!(message["state"]["id"], c.id);
    assert_eq!(message["state"]["status"], "creating");
    assert!(message["pid"].as_i64().is_some_and(|pid| pid > 0));
    assert_eq!(handed.fds.len(), 1);
    // An agent that goes away is an error for the caller, not a hang.
    drop(handed);
    assert_eq!(run.finish().ok().stdout.trim(), "ENOSYS");
}

#[test]
fn a_notification_without_an_agent_is_refused() {
    since!("SCMP_ACT_NOTIFY", "runc 1.1", "crun 0.19");
    let mut c = with_rules(json!([{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }]));
    let run = c.run(&[]);
    assert!(!run.error().is_empty());
    leaks::assert_none(&c);
    c.put("/linux/seccomp/listenerPath", json!(c.text_path("no.sock")));
    assert!(!c.run(&[]).error().is_empty());
    leaks::assert_none(&c);
    // The agent's own calls would wait for the agent.
    let mut c = with_rules(json!([{ "names": ["write"], "action": "SCMP_ACT_NOTIFY" }]));
    let path = c.path("agent.sock");
    let _agent = Receiver::at(&path);
    c.put("/linux/seccomp/listenerPath", json!(path.to_str().unwrap()));
    assert!(!c.run(&[]).error().is_empty(), "SCMP_ACT_NOTIFY for write is refused");
}

#[test]
fn other_architectures_do_not_get_around_the_filter() {
    // Without SCMP_ARCH_X86 in the list a 32-bit call is killed or refused, and never let through.
    let mut c = Container::new();
    c.put(
        "/linux/seccomp",
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{ "names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77 }] }),
    );
    // x32: the number with bit 30.
    let answer = {
        c.args(&["/probe", "try", "syscall", &(140 | 0x4000_0000).to_string(), "0", "0"]);
        c.run(&[])
    };
    assert!(
        answer.code() == 159 || ["ENOSYS", "EPERM", "EBADFD"].contains(&answer.stdout.trim()),
        "{answer:#?}"
    );
}
