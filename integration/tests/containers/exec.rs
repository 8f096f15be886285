//! `exec`: a further process in a running container.

use integration::container::{Container, cgroup2_view, parse_report};
use integration::report::capability_names;
use integration::sockets::Receiver;
use integration::trace::{self, Ending, Fault, Place, Who};
use integration::{host, leaks, outcome, proc, since, skip};
use nix::errno::Errno;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn it_runs_in_every_namespace_and_cgroup_of_the_container() {
    let mut c = Container::new();
    c.namespace("cgroup", None);
    let pid = c.sleeping();
    let report = c.exec_report(&[]);
    assert_eq!(report.namespaces, proc::namespaces(&pid.to_string()));
    assert_eq!((report.ppid, report.pids.contains(&1)), (0, true));
    assert!(report.cgroup.values().all(|path| path == "/"), "{:?}", report.cgroup);
    assert_eq!(
        report.mount("/").root,
        proc::mounts(&pid.to_string()).iter().find(|m| m.target == "/").unwrap().root
    );
}

#[test]
fn without_a_cgroup_namespace_the_cgroup_is_inits() {
    let mut c = Container::new();
    let pid = c.sleeping();
    assert_eq!(c.exec_report(&[]).cgroup, proc::cgroups(&pid.to_string()));
}

#[test]
fn it_enters_a_user_namespace() {
    let mut c = Container::new();
    c.user_namespace(100_000, 65_536);
    let pid = c.sleeping();
    let report = c.exec_report(&[]);
    assert_eq!(report.namespaces, proc::namespaces(&pid.to_string()));
    assert_eq!(report.uid, [0; 4]);
    assert_eq!(report.uid_map, [[0, 100_000, 65_536]]);
}

#[test]
fn the_exit_status_is_passed_through() {
    let mut c = Container::new();
    c.sleeping();
    for code in [0, 1, 77, 255] {
        assert_eq!(c.exec(&[], &["/probe", "exit", &code.to_string()]).code(), code);
    }
    assert_eq!(c.exec(&[], &["/bin/sh", "-c", "kill -9 $$"]).status.code(), Some(137));
    assert_eq!(c.exec(&[], &["/bin/sh", "-c", "kill -15 $$"]).status.code(), Some(143));
    assert_eq!(c.status(), "running");
}

#[test]
fn it_takes_what_the_configuration_says_of_the_process() {
    let mut c = Container::new();
    c.put("/process/user", json!({ "uid": 1000, "gid": 2000, "additionalGids": [3000] }));
    c.put("/process/cwd", json!("/tmp")).put("/process/env/-", json!("FROM=config"));
    c.put("/process/oomScoreAdj", json!(77));
    c.sleeping();
    let report = c.exec_report(&[]);
    assert_eq!((report.uid, report.gid, report.groups), (vec![1000; 4], vec![2000; 4], vec![3000]));
    assert_eq!((report.umask, report.cwd.as_str()), (0o022, "/tmp"));
    assert!(report.env.contains(&"FROM=config".to_owned()));
    assert_eq!(report.limits["Max open files"], (1024, 1024));
    assert!(report.no_new_privs);
    assert_eq!(report.oom_score_adj, 77);
    assert_eq!(
        capability_names(report.caps.bounding),
        ["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_AUDIT_WRITE"]
    );
}

#[test]
fn the_umask_is_inits() {
    since!("umask in exec", "runc -", "crun 1.0");
    let mut c = Container::new();
    c.put("/process/user/umask", json!(0o027));
    c.sleeping();
    assert_eq!(c.exec_report(&[]).umask, 0o027);
}

#[test]
fn cwd_is_as_asked() {
    let mut c = Container::new();
    c.sleeping();
    assert_eq!(c.exec_report(&["--cwd", "/home/tester"]).cwd, "/home/tester");
    for number in 3..12 {
        let run = c.exec(&["--cwd", &format!("/proc/self/fd/{number}")], &["/bin/pwd"]);
        assert_ne!(run.code(), 0, "CVE-2024-21626: {run:#?}");
    }
}

#[test]
fn env_is_added() {
    let mut c = Container::new();
    c.sleeping();
    let report = c.exec_report(&["--env", "A=1", "--env", "B=two words", "--env", "TERM=changed"]);
    assert_eq!((report.var("A"), report.var("B")), (Some("1"), Some("two words")));
    assert_eq!(report.var("TERM"), Some("changed"));
    assert!(report.var("PATH").is_some());
    assert_eq!(report.var("HOME"), Some("/root"));
    assert_eq!(c.exec_report(&["-e", "SHORT=form"]).var("SHORT"), Some("form"));
}

/// A container that may have few files open can still be entered; the limit is the program's, not the runtime's.
#[test]
fn few_open_files_are_enough() {
    since!("exec with few descriptors", "runc -", "crun -");
    for user in [false, true] {
        let mut c = Container::new();
        c.put("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 5, "hard": 7 }]));
        if user {
            c.user_namespace(100_000, 65_536).give_rootfs_to(100_000);
        }
        c.sleeping();
        let report = c.exec_report(&[]);
        assert_eq!((report.limit("Max open files"), report.var("HOME")), (Some((5, 7)), Some("/root")));
        let mut process = c.config["process"].clone();
        process["args"] = json!(["/bin/sh", "-c", "ulimit -n"]);
        process["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 3, "hard": 3 }]);
        let file = c.text_path("process.json");
        fs::write(&file, process.to_string()).unwrap();
        assert_eq!(c.call(&["exec", "--process", &file, &c.id]).ok().stdout, "3\n");
        c.delete_force().ok();
    }
}

#[test]
fn user_is_as_asked() {
    let mut c = Container::new();
    c.sleeping();
    let report = c.exec_report(&["--user", "1000:2000"]);
    assert_eq!((report.uid, report.gid), (vec![1000; 4], vec![2000; 4]));
    let report = c.exec_report(&["-u", "1000"]);
    assert_eq!((report.uid, report.gid), (vec![1000; 4], vec![0; 4]));
}

/// CVE-2026-30892: a user that is no number must not become root.
#[test]
fn a_user_that_is_no_number_is_refused() {
    let mut c = Container::new();
    c.put("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    c.sleeping();
    for user in ["tester", "1x", "-1", "1:", ":1", "1:x", "1:2:3", "4294967295", "0x0", " 0"] {
        let run = c.exec(&["--user", user], &["/bin/id", "-u"]);
        assert_ne!(run.stdout.trim(), "0", "{user:?} became root: {run:#?}");
    }
    since!("strict users", "runc -", "crun 1.28");
    for user in ["tester", "1x", "-1", "1:x", "1:2:3", "4294967296", "0x0", " 0"] {
        assert!(!c.exec(&["--user", user], &["/bin/id", "-u"]).error().is_empty(), "{user:?}");
    }
}

#[test]
fn additional_groups_are_as_asked() {
    let mut c = Container::new();
    c.sleeping();
    since!("exec --additional-gids", "runc 1.0", "crun -");
    let report = c.exec_report(&["--additional-gids", "65", "--additional-gids", "100"]);
    assert_eq!(report.groups, [65, 100]);
    assert!(c.exec_report(&["-g", "7"]).groups.contains(&7));
}

#[test]
fn groups_of_the_caller_do_not_enter() {
    let mut c = Container::new();
    c.via.extend(["setpriv", "--groups", "41,42"].map(Into::into));
    c.sleeping();
    assert_eq!(c.exec_report(&[]).groups, Vec::<u32>::new());
    assert_eq!(c.exec_report(&["--user", "1000:1000"]).groups, Vec::<u32>::new());
}

#[test]
fn capabilities_are_added() {
    let mut c = Container::new();
    c.sleeping();
    let caps = c.exec_report(&["--cap", "CAP_NET_RAW", "--cap", "CAP_CHOWN"]).caps;
    for (name, set) in
        [("bounding", caps.bounding), ("effective", caps.effective), ("permitted", caps.permitted)]
    {
        let names = capability_names(set);
        for wanted in ["CAP_NET_RAW", "CAP_CHOWN", "CAP_KILL"] {
            assert!(names.contains(&wanted), "{name}: {names:?}");
        }
    }
    // CVE-2022-29162.
    assert_eq!(caps.inheritable, 0);
}

#[test]
fn no_new_privileges_can_be_asked_for() {
    let mut c = Container::new();
    c.put("/process/noNewPrivileges", json!(false));
    c.sleeping();
    assert!(!c.exec_report(&[]).no_new_privs);
    assert!(c.exec_report(&["--no-new-privs"]).no_new_privs);
}

#[test]
fn labels_are_applied_or_refused() {
    let mut c = Container::new();
    c.sleeping();
    let run = c.exec(&["--apparmor", "corten-no-such-profile"], &["/bin/true"]);
    assert!(run.error().to_lowercase().contains("apparmor"), "{run:#?}");
    if Path::new("/sys/fs/selinux/enforce").exists() {
        skip!("needs a host without SELinux");
    }
    let run = c.exec(&["--process-label", "system_u:system_r:container_t:s0"], &["/bin/true"]);
    since!("refusal of labels without SELinux in exec", "runc -", "crun -");
    assert!(run.error().to_lowercase().contains("selinux"), "{run:#?}");
}

/// A profile that is loaded: init and exec processes run under it.
#[test]
fn an_apparmor_profile_counts_for_both() {
    if !Path::new("/sys/kernel/security/apparmor/profiles").exists() {
        skip!("needs AppArmor");
    }
    let profile = |name: &str| {
        let text = format!(
            "profile {name} flags=(attach_disconnected) {{ file, capability, signal, ptrace, mount, }}"
        );
        let mut parser = Command::new("apparmor_parser").arg("-r").stdin(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut parser.stdin.take().unwrap(), text.as_bytes()).unwrap();
        assert!(parser.wait().unwrap().success());
    };
    ["corten-test-init", "corten-test-exec"].into_iter().for_each(profile);
    let mut c = Container::new();
    c.put("/process/apparmorProfile", json!("corten-test-init"));
    assert_eq!(c.report().attr_current, "corten-test-init (enforce)");
    let mut c = Container::new();
    c.put("/process/apparmorProfile", json!("corten-test-init"));
    c.sleeping();
    let label = |flags: &[&str]| parse_report(&c.exec(flags, &["/probe", "report"]).ok()).attr_current;
    assert_eq!(label(&[]), "corten-test-init (enforce)");
    assert_eq!(label(&["--apparmor", "corten-test-exec"]), "corten-test-exec (enforce)");
}

#[test]
fn it_may_begin_on_a_processor_that_the_container_has_not() {
    since!("execCPUAffinity", "runc 1.3", "crun 1.20");
    if !host::has_controller("cpuset") || proc::Status::of("self").get("Cpus_allowed_list") == "0" {
        skip!("needs the cpuset controller and two CPUs");
    }
    let mut c = Container::new();
    c.put("/linux/resources/cpu", json!({ "cpus": "1" }));
    c.put("/process/execCPUAffinity", json!({ "initial": "0", "final": "0-1" }));
    c.sleeping();
    assert_eq!(c.exec_report(&[]).cpus, "1");
}

/// Only what the user has in the container counts, and not what the runtime has to make its way there.
#[test]
fn a_limit_on_a_users_processes_is_the_containers() {
    since!("a limit on processes that its own threads do not count for", "runc -", "crun -");
    for in_user_namespace in [false, true] {
        let mut c = Container::new();
        // A user that nobody else has.
        let user = 1_900_000_000 + u32::from(in_user_namespace) * 1_000_000;
        let inside = if in_user_namespace { 4242 } else { user };
        if in_user_namespace {
            c.user_namespace(user, 65_536).give_rootfs_to(user);
        }
        c.put("/process/user", json!({ "uid": inside, "gid": inside })).capabilities(&[]);
        c.put("/process/rlimits", json!([{ "type": "RLIMIT_NPROC", "soft": 2, "hard": 2 }]));
        c.sleeping();
        assert_eq!(c.exec_report(&[]).limit("Max processes"), Some((2, 2)));
        // The kernel lets one more become the user than it lets the user have.
        let more: Vec<_> = (0..4).map(|_| c.exec(&["--detach"], &["/probe", "sleep"])).collect();
        assert!(more[0].status.success() && more.iter().any(|exec| !exec.status.success()), "{more:#?}");
    }
}

#[test]
fn the_cpu_affinity_of_exec_is_set() {
    since!("execCPUAffinity", "runc 1.3", "crun 1.20");
    let own = proc::Status::of("self").get("Cpus_allowed_list").to_owned();
    if own == "0" {
        skip!("needs two CPUs");
    }
    let mut c = Container::new();
    c.put("/process/execCPUAffinity", json!({ "initial": "0", "final": "1" }));
    c.sleeping();
    assert_eq!(c.exec_report(&[]).cpus, "1");
    let init = proc::Status::of(&c.pid().to_string());
    assert_eq!(init.get("Cpus_allowed_list"), own, "init itself is not bound");
    let mut c = Container::new();
    c.put("/process/execCPUAffinity", json!({ "final": "0-900000" }));
    assert!(!c.run(&[]).error().is_empty());
}

#[test]
fn detached_it_leaves_a_pid_file() {
    let mut c = Container::new();
    let init = c.sleeping();
    let file = c.text_path("exec.pid");
    c.exec(&["--detach", "--pid-file", &file], &["/probe", "sleep"]).ok();
    let pid: i32 = fs::read_to_string(&file).unwrap().parse().unwrap();
    assert_ne!(pid, init);
    assert_eq!(host::namespace(pid, "pid"), host::namespace(init, "pid"));
    assert!(host::alive(pid));
    assert_eq!(proc::cgroups(&pid.to_string()), proc::cgroups(&init.to_string()));
    c.delete_force().ok();
    assert!(!host::alive(pid));
    leaks::assert_none(&c);
}

#[test]
fn only_the_standard_streams_are_open() {
    let mut c = Container::new();
    c.sleeping();
    assert_eq!(c.exec_report(&[]).fds.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn standard_streams_are_those_of_the_caller() {
    let mut c = Container::new();
    c.sleeping();
    let input = c.path("input");
    fs::write(&input, "to cat\n").unwrap();
    let run = c.call_with(&["exec", &c.id, "/bin/sh", "-c", "cat; echo error >&2"], |command| {
        command.stdin(fs::File::open(&input).unwrap());
    });
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("to cat\n", "error\n"));
}

#[test]
fn arguments_that_look_like_flags_are_the_programs() {
    let mut c = Container::new();
    c.sleeping();
    assert_eq!(c.exec(&[], &["/bin/echo", "-e", "--user", "5"]).ok().stdout, "--user 5\n");
}

#[test]
fn it_needs_a_container_that_runs() {
    let mut c = Container::new();
    let missing = c.exec(&[], &["/bin/true"]);
    assert!(missing.error().contains("does not exist"), "{missing:#?}");
    assert_eq!(missing.code(), 255);
    c.sleeping();
    c.kill("KILL").ok();
    c.wait();
    let stopped = c.exec(&[], &["/bin/true"]);
    assert!(stopped.error().contains("cannot exec in a stopped container"), "{stopped:#?}");
    assert_eq!(stopped.code(), 255);
}

#[test]
fn it_works_in_a_created_container() {
    let mut c = Container::new();
    c.args(&["/probe", "sleep"]);
    c.create();
    assert_eq!(c.exec(&[], &["/bin/hostname"]).ok().stdout, "test\n");
    assert_eq!(c.status(), "created");
}

#[test]
fn a_paused_container_refuses_it_unless_told_otherwise() {
    let mut c = Container::new();
    c.sleeping();
    c.call(&["pause", &c.id]).ok();
    let refused = c.exec(&[], &["/bin/true"]);
    assert!(refused.error().contains("paused"), "{refused:#?}");
    assert_eq!(refused.code(), 255);
    since!("exec --ignore-paused", "runc 1.1", "crun -");
    let name = "ignoring";
    let mut command = c.command(name, &["exec", "--ignore-paused", &c.id, "/bin/echo", "thawed"]);
    command.stdin(std::process::Stdio::null());
    let child = outcome::start(&mut command, c.bundle(), name);
    // It is frozen with the rest, and goes on when the container does.
    c.call(&["resume", &c.id]).ok();
    assert_eq!(outcome::finish(child, "exec --ignore-paused", c.bundle(), name).ok().stdout, "thawed\n");
}

#[test]
fn what_cannot_be_executed_is_named() {
    let mut c = Container::new();
    fs::write(c.rootfs("text"), "no program").unwrap();
    c.sleeping();
    let cases = [
        ("/no/such/program", "no such file or directory"),
        ("no-such-program", "executable file not found in $PATH"),
        ("/etc", "is a directory"),
        ("/text", "permission denied"),
    ];
    for (program, words) in cases {
        let run = c.exec(&[], &[program]);
        let message = run.error().to_lowercase();
        assert!(
            message.contains(&words.to_lowercase())
                || (program == "/etc" && message.contains("permission denied")),
            "{program}: {message}"
        );
        assert!(run.error().contains(program), "{program}: {message}");
        assert_eq!(run.code(), 255, "{program}");
    }
}

/// A sub-cgroup that exists, by name below the container's cgroup.
#[test]
fn it_can_be_placed_in_a_sub_cgroup() {
    since!("exec --cgroup", "runc 1.1", "crun 1.0");
    let mut c = Container::new();
    c.via = cgroup2_view();
    let pid = c.sleeping();
    let directory = host::cgroup2(pid).unwrap();
    fs::create_dir(directory.join("sub")).unwrap();
    let report = c.exec_report(&["--cgroup", "sub"]);
    assert!(report.cgroup[""].ends_with("/sub"), "{:?}", report.cgroup);
    let missing = c.exec(&["--cgroup", "missing"], &["/bin/true"]);
    assert!(!missing.error().is_empty());
    let outside = c.exec(&["--cgroup", "../../../.."], &["/bin/true"]);
    assert!(!outside.error().is_empty());
    fs::remove_dir(directory.join("sub")).unwrap();
}

#[test]
fn it_can_be_placed_in_sub_cgroups_of_controllers() {
    since!("exec --cgroup", "runc 1.1", "crun 1.0");
    let mut c = Container::new();
    let pid = c.sleeping();
    let Some(directory) = host::cgroup1(pid, "pids") else { skip!("needs cgroup version 1") };
    fs::create_dir(directory.join("sub")).unwrap();
    let report = c.exec_report(&["--cgroup", "pids:sub"]);
    assert!(report.cgroup["pids"].ends_with("/sub"), "{:?}", report.cgroup);
    assert_eq!(report.cgroup["memory"], proc::cgroups(&pid.to_string())["memory"]);
    fs::remove_dir(directory.join("sub")).unwrap();
}

/// A neighbour whose name begins with the container's must not be reachable.
#[test]
fn a_sub_cgroup_is_compared_by_component() {
    since!("check of the sub-cgroup", "runc 1.2", "crun 1.28");
    let mut c = Container::new();
    c.via = cgroup2_view();
    let pid = c.sleeping();
    let directory = host::cgroup2(pid).unwrap();
    let evil = directory.with_file_name(format!("{}-evil", c.id));
    fs::create_dir(&evil).unwrap();
    let run = c.exec(&["--cgroup", &format!("../{}-evil", c.id)], &["/bin/true"]);
    fs::remove_dir(&evil).unwrap();
    assert!(!run.error().is_empty());
}

/// Nesting moves init into a cgroup below; a v2 cgroup with controllers then takes no process itself.
#[test]
fn it_follows_init_when_its_cgroup_takes_no_process() {
    since!("exec into init's own cgroup", "runc 1.5", "crun 1.6");
    let mut c = Container::new();
    c.via = cgroup2_view();
    let pid = c.sleeping();
    let directory = host::cgroup2(pid).unwrap();
    let controllers = fs::read_to_string(directory.join("cgroup.controllers")).unwrap();
    let Some(first) = controllers.split_whitespace().next() else {
        skip!("needs a cgroup version 2 controller");
    };
    fs::create_dir(directory.join("init")).unwrap();
    fs::write(directory.join("init/cgroup.procs"), pid.to_string()).unwrap();
    fs::write(directory.join("cgroup.subtree_control"), format!("+{first}")).unwrap();
    let report = c.exec_report(&[]);
    assert!(report.cgroup[""].ends_with("/init"), "{:?}", report.cgroup);
    c.delete_force().ok();
    leaks::assert_none(&c);
}

#[test]
fn many_at_once_all_succeed() {
    let mut c = Container::new();
    c.sleeping();
    let running: Vec<_> =
        (0..20).map(|number| c.launch(&["exec", &c.id, "/bin/echo", &number.to_string()])).collect();
    for (number, run) in running.into_iter().enumerate() {
        assert_eq!(run.finish().ok().stdout, format!("{number}\n"));
    }
}

/// A process that forks and ends at once must not leave exec waiting for what it left behind.
#[test]
fn it_ends_with_its_process() {
    let mut c = Container::new();
    c.sleeping();
    for _ in 0..20 {
        let exec = c.exec(&[], &["/bin/sh", "-c", "sleep 600 >/dev/null 2>&1 & exit 3"]);
        assert_eq!(exec.code(), 3, "{exec:#?}");
    }
}

/// Whoever looks into a container that has all the processes it may have must be able to; and what makes the
/// process is one itself for a moment.
#[test]
fn a_limit_on_processes_keeps_nobody_out() {
    if !host::has_controller("pids") {
        skip!("needs the pids controller");
    }
    for limit in 1..=3 {
        let mut c = Container::new();
        c.put("/linux/resources/pids", json!({ "limit": limit }));
        let pid = c.sleeping();
        let directory = host::cgroup1(pid, "pids").or_else(|| host::cgroup2(pid)).unwrap();
        assert_eq!(c.exec(&[], &["/bin/echo", "here"]).ok().stdout, "here\n", "{limit}");
        let socket = c.path("console.sock");
        let receiver = Receiver::at(&socket);
        let flags = ["--tty", "--detach", "--console-socket", socket.to_str().unwrap()];
        c.exec(&flags, &["/probe", "sleep"]).ok();
        // The process ends with its terminal.
        let terminal = receiver.receive();
        assert_eq!(terminal.fds.len(), 1, "{limit}");
        assert_eq!(host::members(&directory).len(), 2, "{limit}: both are in it");
    }
}

/// Where the process cannot be born in the container's control group it is moved there, with a terminal as
/// without one.
#[test]
fn what_cannot_be_born_in_its_group_is_moved_there() {
    ours!();
    let mut c = Container::new();
    c.via = cgroup2_view();
    let pid = c.sleeping();
    let directory = host::cgroup2(pid).unwrap();
    let socket = c.path("console.sock");
    let words = ["exec", "-t", "-d", "--console-socket", socket.to_str().unwrap(), &c.id, "/probe", "sleep"];
    let mut terminals = Vec::new();
    let mut exec = |fault| {
        let _ = fs::remove_file(&socket);
        let receiver = Receiver::at(&socket);
        let mut command = c.command("exec", &words);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let traced = trace::run(command, fault);
        assert_eq!(traced.ending, Ending::Exited(0), "{fault:?}");
        terminals.push(receiver.receive());
        traced.calls_of(Who::Program)
    };
    let clone = exec(None).iter().position(|call| *call == libc::SYS_clone3).unwrap();
    let errors = [Errno::EAGAIN, Errno::EACCES, Errno::EINVAL, Errno::EOPNOTSUPP];
    for error in errors {
        exec(Some((Place::Nth(Who::Program, clone), Fault::Fail(error))));
    }
    // Where its first process has gone, another one can be.
    let below = directory.join("below");
    fs::create_dir(&below).unwrap();
    fs::write(below.join("cgroup.procs"), pid.to_string()).unwrap();
    exec(Some((Place::Nth(Who::Program, clone), Fault::Fail(Errno::EBUSY))));
    assert_eq!((host::members(&directory).len(), host::members(&below).len()), (1 + errors.len(), 2));
    assert!(terminals.iter().all(|terminal| terminal.fds.len() == 1));
}

#[test]
fn signals_to_a_foreground_exec_reach_its_process() {
    let mut c = Container::new();
    c.sleeping();
    let run = c.launch(&["exec", &c.id, "/probe", "signals"]);
    run.await_line("ready");
    for (signal, name) in [
        (nix::sys::signal::Signal::SIGUSR1, "SIGUSR1"),
        (nix::sys::signal::Signal::SIGHUP, "SIGHUP"),
        (nix::sys::signal::Signal::SIGINT, "SIGINT"),
    ] {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(run.pid()), signal).unwrap();
        run.await_line(name);
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(run.pid()), nix::sys::signal::Signal::SIGTERM).unwrap();
    run.finish().ok();
}
