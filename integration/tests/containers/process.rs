//! The fields of `process` that are not about who it is: arguments, environment, directory, limits,
//! scheduling.

use integration::container::Container;
use integration::{since, skip};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn args_arrive_unchanged() {
    let mut c = Container::new();
    c.args(&["/probe", "report", "--sysctl", "a b\tc\n", "--sysctl", "", "--sysctl", "ü\"'\\$HOME"]);
    let args = super::parse(&c.run(&[]).ok()).args;
    assert_eq!(args[2..], ["--sysctl", "a b\tc\n", "--sysctl", "", "--sysctl", "ü\"'\\$HOME"]);
}

#[test]
fn the_program_is_found_in_the_path_of_the_container() {
    let mut c = Container::new();
    fs::create_dir(c.rootfs("own")).unwrap();
    fs::rename(c.rootfs("probe"), c.rootfs("own/probe")).unwrap();
    c.put("/process/env", json!(["PATH=/nowhere:/own"])).args(&["probe", "report"]);
    let report = super::parse(&c.run(&[]).ok());
    assert_eq!(report.args[0], "probe", "argv[0] is what the configuration says");
    assert_eq!(report.exe, "/own/probe");
}

#[test]
fn a_program_in_the_path_that_may_not_be_executed_is_passed_over() {
    let mut c = Container::new();
    fs::create_dir(c.rootfs("first")).unwrap();
    fs::write(c.rootfs("first/probe"), "not executable").unwrap();
    fs::create_dir_all(c.rootfs("second/probe")).unwrap();
    c.put("/process/env", json!(["PATH=/first:/second:/"])).args(&["probe", "report"]);
    assert_eq!(super::parse(&c.run(&[]).ok()).exe, "/probe");
}

#[test]
fn a_relative_program_is_taken_from_the_working_directory() {
    let mut c = Container::new();
    c.put("/process/cwd", json!("/bin")).args(&["./busybox", "echo", "found"]);
    assert_eq!(c.run(&[]).ok().stdout, "found\n");
}

#[test]
fn env_is_what_the_configuration_says_and_nothing_of_the_caller() {
    let mut c = Container::new();
    c.put("/process/env", json!(["A=1", "EMPTY=", "SPACE=a b", "LINES=a\nb", "EQ=a=b", "HOME=/x"]));
    let run = {
        c.args(&["/probe", "report"]);
        c.run_with(&[], |command| {
            command.env("OUTSIDE", "1");
        })
    };
    let mut env = super::parse(&run.ok()).env;
    env.sort();
    assert_eq!(env, ["A=1", "EMPTY=", "EQ=a=b", "HOME=/x", "LINES=a\nb", "SPACE=a b"]);
}

#[test]
fn the_last_of_equal_variables_counts() {
    since!("removal of duplicates in env", "runc 1.3", "crun -");
    let mut c = Container::new();
    c.put("/process/env", json!(["A=1", "B=2", "A=3", "HOME=/x"]));
    let report = c.report();
    assert_eq!(report.env.iter().filter(|line| line.starts_with("A=")).collect::<Vec<_>>(), ["A=3"]);
    assert_eq!(report.var("B"), Some("2"));
}

#[test]
fn home_comes_from_passwd_when_absent() {
    for (uid, home) in [(0, "/root"), (1000, "/home/tester"), (4242, "/")] {
        let mut c = Container::new();
        c.put("/process/user", json!({ "uid": uid, "gid": 0 }));
        assert_eq!(c.report().var("HOME"), Some(home), "uid {uid}");
    }
    let mut c = Container::new();
    c.put("/process/env/-", json!("HOME=/elsewhere"));
    assert_eq!(c.report().var("HOME"), Some("/elsewhere"));
}

/// The limit is the program's, not the runtime's.
#[test]
fn home_is_found_whatever_the_limit_on_open_files() {
    since!("start with few descriptors", "runc -", "crun -");
    for limit in [4, 20] {
        let mut c = Container::new();
        c.put("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": limit, "hard": limit }]));
        let report = c.report();
        assert_eq!(report.var("HOME"), Some("/root"), "{limit}");
        assert_eq!(report.limit("Max open files"), Some((limit, limit)));
    }
}

#[test]
fn cwd_is_entered() {
    let mut c = Container::new();
    c.put("/process/cwd", json!("/home/tester"));
    assert_eq!(c.report().cwd, "/home/tester");
}

#[test]
fn a_cwd_that_is_missing_is_made() {
    let mut c = Container::new();
    c.put("/root/readonly", json!(false)).put("/process/cwd", json!("/made/for/it"));
    assert_eq!(c.report().cwd, "/made/for/it");
    assert!(c.rootfs("made/for/it").is_dir());
}

#[test]
fn a_cwd_may_be_on_a_mount() {
    let mut c = Container::new();
    c.mount(json!({ "destination": "/data", "type": "tmpfs", "source": "tmpfs" }));
    c.put("/process/cwd", json!("/data"));
    assert_eq!(c.report().cwd, "/data");
}

/// The directory belongs to the user and to nobody else, and root's capability to enter it is not in the set.
#[test]
fn a_cwd_that_only_the_user_may_enter_is_entered() {
    let mut c = Container::new();
    fs::create_dir(c.rootfs("private")).unwrap();
    std::os::unix::fs::chown(c.rootfs("private"), Some(1000), Some(1000)).unwrap();
    fs::set_permissions(c.rootfs("private"), fs::Permissions::from_mode(0o700)).unwrap();
    c.put("/process/cwd", json!("/private")).put("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    assert_eq!(c.report().cwd, "/private");
}

/// Every class, lowered, so that it works without CAP_SYS_RESOURCE. Classes with a meaning for the program
/// itself keep room for it.
#[test]
fn rlimits_of_every_class() {
    let classes = [
        ("RLIMIT_AS", "Max address space", 4_000_000_000, 8_000_000_000),
        ("RLIMIT_CORE", "Max core file size", 0, 4096),
        ("RLIMIT_CPU", "Max cpu time", 1000, 2000),
        ("RLIMIT_DATA", "Max data size", 3_000_000_000, 6_000_000_000),
        ("RLIMIT_FSIZE", "Max file size", 1_000_000, 2_000_000),
        ("RLIMIT_LOCKS", "Max file locks", 5, 6),
        ("RLIMIT_MEMLOCK", "Max locked memory", 4096, 8192),
        ("RLIMIT_MSGQUEUE", "Max msgqueue size", 1024, 2048),
        ("RLIMIT_NICE", "Max nice priority", 0, 0),
        ("RLIMIT_NOFILE", "Max open files", 100, 200),
        ("RLIMIT_NPROC", "Max processes", 50, 60),
        ("RLIMIT_RSS", "Max resident set", 1_000_000_000, 2_000_000_000),
        ("RLIMIT_RTPRIO", "Max realtime priority", 0, 0),
        ("RLIMIT_RTTIME", "Max realtime timeout", 1000, 2000),
        ("RLIMIT_SIGPENDING", "Max pending signals", 10, 20),
        ("RLIMIT_STACK", "Max stack size", 1_048_576, 2_097_152),
    ];
    let limits: Vec<_> = classes
        .iter()
        .map(|(kind, _, soft, hard)| json!({ "type": kind, "soft": soft, "hard": hard }))
        .collect();
    let mut c = Container::new();
    c.put("/process/rlimits", json!(limits));
    let report = c.report();
    for (kind, name, soft, hard) in classes {
        assert_eq!(report.limit(name), Some((soft, hard)), "{kind}");
    }
}

#[test]
fn limits_that_are_not_set_are_inherited() {
    let mut c = Container::new();
    c.put("/process/rlimits", json!([]));
    let own = integration::proc::limits("self");
    assert_eq!(c.report().limit("Max open files"), own.get("Max open files").copied());
}

#[test]
fn oom_score_adj_is_set_or_inherited() {
    let mut c = Container::new();
    c.put("/process/oomScoreAdj", json!(321));
    assert_eq!(c.report().oom_score_adj, 321);

    let mut c = Container::new();
    let own: i64 = fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().parse().unwrap();
    assert_eq!(c.report().oom_score_adj, own);
}

#[test]
fn no_new_privileges_is_as_asked() {
    let mut c = Container::new();
    assert!(c.report().no_new_privs);
    c.put("/process/noNewPrivileges", json!(false));
    assert!(!c.report().no_new_privs);
}

#[test]
fn the_scheduler_is_set() {
    since!("process.scheduler", "runc 1.2", "crun 1.9");
    let mut c = Container::new();
    c.put("/process/scheduler", json!({ "policy": "SCHED_BATCH", "nice": 7 }));
    let sched = c.report().sched;
    assert_eq!((sched.policy, sched.nice), (3, 7));

    c.put("/process/scheduler", json!({ "policy": "SCHED_IDLE", "flags": ["SCHED_FLAG_RESET_ON_FORK"] }));
    let sched = c.report().sched;
    assert_eq!((sched.policy, sched.flags & 1), (5, 1));

    c.put("/process/scheduler", json!({ "policy": "SCHED_OTHER", "nice": 3 }));
    let sched = c.report().sched;
    assert_eq!((sched.policy, sched.nice), (0, 3));
}

#[test]
fn a_deadline_scheduler_is_set_or_refused_by_name() {
    since!("process.scheduler", "runc 1.2", "crun 1.9");
    let mut c = Container::new();
    c.put(
        "/process/scheduler",
        json!({ "policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 20_000_000, "period": 30_000_000 }),
    );
    let run = c.run(&[]);
    if !run.status.success() {
        assert!(run.error().contains("sched"), "{run:#?}");
        skip!("needs a kernel that admits SCHED_DEADLINE here");
    }
    let sched = super::parse(&run).sched;
    assert_eq!(
        (sched.policy, sched.runtime, sched.deadline, sched.period),
        (6, 1_000_000, 20_000_000, 30_000_000)
    );
}

#[test]
fn an_unknown_scheduler_is_refused() {
    since!("process.scheduler", "runc 1.2", "crun 1.9");
    let mut c = Container::new();
    c.put("/process/scheduler", json!({ "policy": "SCHED_WISHFUL" }));
    assert!(c.run(&[]).error().contains("SCHED_WISHFUL"));
    c.put("/process/scheduler", json!({ "policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_WISHFUL"] }));
    assert!(c.run(&[]).error().contains("SCHED_FLAG_WISHFUL"));
}

#[test]
fn the_io_priority_is_set() {
    since!("process.ioPriority", "runc 1.2", "crun 1.9");
    for (class, number) in [("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_RT", 1)] {
        let mut c = Container::new();
        c.put("/process/ioPriority", json!({ "class": class, "priority": 3 }));
        assert_eq!(c.report().ioprio, (number, 3), "{class}");
    }
    let mut c = Container::new();
    c.put("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_IDLE", "priority": 0 }));
    assert_eq!(c.report().ioprio.0, 3);
    c.put("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_NONE_SUCH", "priority": 0 }));
    assert!(c.run(&[]).error().contains("IOPRIO_CLASS_NONE_SUCH"));
}

#[test]
fn the_personality_is_set() {
    since!("linux.personality", "runc 1.2", "crun 1.0");
    let mut c = Container::new();
    c.put("/linux/personality", json!({ "domain": "LINUX32" }));
    let report = c.report();
    assert_eq!(report.personality & 0xff, 8);
    assert_ne!(report.machine, "x86_64");
    c.put("/linux/personality", json!({ "domain": "LINUX" }));
    assert_eq!(c.report().personality & 0xff, 0);
    c.put("/linux/personality", json!({ "domain": "XENIX" }));
    assert!(!c.run(&[]).error().is_empty());
}

#[test]
fn the_memory_policy_is_set() {
    since!("linux.memoryPolicy", "runc 1.4", "crun 1.26");
    let mut c = Container::new();
    if c.report().mempolicy.is_none() {
        skip!("needs a kernel with NUMA");
    }
    // Modes of linux/mempolicy.h; flags are the upper bits of the same number.
    for (mode, flags, number) in [
        ("MPOL_BIND", json!([]), 2),
        ("MPOL_INTERLEAVE", json!([]), 3),
        ("MPOL_PREFERRED", json!([]), 1),
        ("MPOL_PREFERRED_MANY", json!([]), 5),
        ("MPOL_BIND", json!(["MPOL_F_STATIC_NODES"]), 2 | 1 << 15),
        ("MPOL_BIND", json!(["MPOL_F_RELATIVE_NODES"]), 2 | 1 << 14),
    ] {
        c.put("/linux/memoryPolicy", json!({ "mode": mode, "nodes": "0", "flags": flags }));
        assert_eq!(c.report().mempolicy, Some((number, 1)), "{mode} {flags}");
    }
    c.put("/linux/memoryPolicy", json!({ "mode": "MPOL_LOCAL", "nodes": "" }));
    assert_eq!(c.report().mempolicy.map(|(mode, _)| mode), Some(4));
    since!("linux.memoryPolicy of executed processes", "runc 1.4", "crun -");
    c.put("/linux/memoryPolicy", json!({ "mode": "MPOL_BIND", "nodes": "0" }));
    c.args(&["/probe", "sleep"]).run_detached();
    assert_eq!(c.exec_report(&[]).mempolicy, Some((2, 1)), "of a process that is executed");
    c.delete();
    for wrong in [
        json!({ "mode": "MPOL_WISHFUL", "nodes": "0" }),
        json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_WISHFUL"] }),
        json!({ "mode": "MPOL_BIND", "nodes": "zero" }),
        json!({ "mode": "MPOL_BIND", "nodes": "900" }),
    ] {
        c.put("/linux/memoryPolicy", wrong);
        assert!(!c.run(&[]).error().is_empty());
    }
}

#[test]
fn sysctls_are_set_in_the_containers_namespaces() {
    let mut c = Container::new();
    c.put(
        "/linux/sysctl",
        json!({ "net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1", "fs.mqueue.msg_max": "11" }),
    );
    c.args(&[
        "/probe",
        "report",
        "--sysctl",
        "net.ipv4.ip_forward",
        "--sysctl",
        "kernel.shm_rmid_forced",
        "--sysctl",
        "fs.mqueue.msg_max",
    ]);
    let before = fs::read_to_string("/proc/sys/fs/mqueue/msg_max").unwrap();
    let sysctls = super::parse(&c.run(&[]).ok()).sysctls;
    assert_eq!(sysctls["net.ipv4.ip_forward"], "1");
    assert_eq!(sysctls["kernel.shm_rmid_forced"], "1");
    assert_eq!(sysctls["fs.mqueue.msg_max"], "11");
    assert_eq!(fs::read_to_string("/proc/sys/fs/mqueue/msg_max").unwrap(), before);
}

#[test]
fn sysctls_of_the_host_are_refused() {
    for (key, drop) in [
        ("kernel.pid_max", None),
        ("vm.swappiness", None),
        ("net.ipv4.ip_forward", Some("network")),
        ("kernel.msgmax", Some("ipc")),
        ("kernel.hostname", None),
        ("kernel/../vm/swappiness", None),
    ] {
        let mut c = Container::new();
        if let Some(kind) = drop {
            c.without_namespace(kind);
        }
        c.put("/linux/sysctl", json!({ key: "1" }));
        let run = c.run(&[]);
        assert!(run.error().contains(key) || run.error().contains("sysctl"), "{key}: {run:#?}");
        assert_eq!(run.code(), 1);
    }
}

/// `kernel.domainname` belongs to the uts namespace.
#[test]
fn the_domainname_may_be_a_sysctl() {
    let mut c = Container::new();
    c.put("/linux/sysctl", json!({ "kernel.domainname": "by.sysctl" }));
    assert_eq!(c.report().domainname, "by.sysctl");
}

#[test]
fn standard_streams_are_those_of_the_caller() {
    let mut c = Container::new();
    let input = c.path("input");
    fs::write(&input, "to cat\n").unwrap();
    c.shell("cat; echo error >&2");
    let run = c.run_with(&[], |command| {
        command.stdin(fs::File::open(&input).unwrap());
    });
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("to cat\n", "error\n"));
}

/// CVE-2024-21626 and its kin: no descriptor of the runtime may reach the container.
#[test]
fn only_the_standard_streams_are_open() {
    let mut c = Container::new();
    assert_eq!(c.report().fds.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    let mut c = Container::docker_like();
    assert_eq!(c.report().fds.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
}

/// CVE-2024-21626: a working directory that is a descriptor of the runtime would be outside of the container.
#[test]
fn a_cwd_through_a_descriptor_stays_inside() {
    for number in 3..20 {
        let mut c = Container::new();
        c.put("/process/cwd", json!(format!("/proc/self/fd/{number}")));
        let run = c.run(&[]);
        assert!(!run.error().is_empty(), "fd {number}: {run:#?}");
    }
}

/// A program that embeds a runtime ignores and blocks signals at will; the container starts with none of it.
#[test]
fn signals_are_neither_blocked_nor_ignored() {
    since!("reset of signals", "runc -", "crun 1.0");
    let mut c = Container::new();
    c.via.extend(
        ["env", "--ignore-signal=PIPE", "--ignore-signal=USR1", "--block-signal=USR2"].map(Into::into),
    );
    c.args(&["/probe", "report"]);
    let signals = super::parse(&c.run(&[]).ok()).signals;
    // 32 and 33 are the C library's own.
    let libc_own = 0b11 << 31;
    assert_eq!(signals.blocked & !libc_own, 0, "blocked {:x}", signals.blocked);
    // The probe's own language ignores SIGPIPE, bit 12; others it leaves as they were.
    assert_eq!(signals.ignored & !libc_own & !(1 << 12), 0, "ignored {:x}", signals.ignored);
}

/// As before, asked of a program that does not touch SIGPIPE itself.
#[test]
fn a_broken_pipe_ends_a_program() {
    since!("reset of signals", "runc -", "crun 1.0");
    let mut c = Container::new();
    c.via.extend(["env", "--ignore-signal=PIPE"].map(Into::into));
    let text = c.script("grep SigIgn /proc/self/status");
    let mask = text.split_whitespace().last().map(|mask| u64::from_str_radix(mask, 16).unwrap());
    assert_eq!(mask.map(|mask| mask & (1 << 12)), Some(0), "{text}");
}

#[test]
fn init_is_alone_with_a_session_of_its_own() {
    let mut c = Container::new();
    let report = c.report();
    assert_eq!((report.pid, report.ppid, report.sid, report.pgid), (1, 0, 1, 1));
    assert_eq!(report.pids, [1]);
    assert_eq!(report.parent_death_signal, 0);
    assert_eq!(report.dumpable, 1, "execve makes it dumpable again");
}

/// The command's name is the program's, not the runtime's.
#[test]
fn the_program_runs_under_its_own_name() {
    let mut c = Container::new();
    assert_eq!(c.script("cat /proc/1/comm; true"), "sh\n");
}

#[test]
fn the_process_runs_on_all_cpus_of_its_parent() {
    let mut c = Container::new();
    let own = integration::proc::Status::of("self");
    assert_eq!(c.report().cpus, own.get("Cpus_allowed_list"));
}
