//! The runtime under dockerd, as `docker run --runtime`.

#![expect(clippy::unwrap_used)]

use integration::engine::{docker, unique};
use integration::report::{Report, capability_names};
use integration::{host, needs, outcome, proc};
use serde_json::Value;
use std::fs;
use std::time::Duration;

/// The daemon, or a skip.
macro_rules! docker {
    () => {
        needs!(docker(), "root, dockerd, docker and iptables")
    };
}

fn report(text: &str) -> Report {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_container_runs_and_its_output_and_status_come_back() {
    let docker = docker!();
    assert_eq!(docker.text(&[], &["echo", "hello"]), "hello");
    let run = docker.run(&[], &["sh", "-c", "echo out; echo err >&2; exit 42"]);
    assert_eq!((run.code(), run.stdout.as_str(), run.stderr.as_str()), (42, "out\n", "err\n"));
}

#[test]
fn the_tested_runtime_is_what_runs() {
    let docker = docker!();
    let container = docker.detached(&[], &["sleep", "600"]);
    assert_eq!(container.inspect("{{.HostConfig.Runtime}}"), "tested");
    let info: Value =
        serde_json::from_str(&docker.client.text(&["info", "--format", "{{json .Runtimes}}"])).unwrap();
    assert_eq!(info["tested"]["path"], integration::runtime::runtime().path.to_str().unwrap());
}

#[test]
fn isolation_is_dockers() {
    let docker = docker!();
    let report = report(&docker.text(&["--hostname", "inside"], &["/probe", "report"]));
    assert_eq!((report.pid, report.hostname.as_str()), (1, "inside"));
    assert_eq!((report.seccomp, report.no_new_privs), (2, false));
    assert_eq!(report.caps.effective.count_ones(), 14);
    assert!(report.interfaces.contains(&"eth0".to_owned()), "{:?}", report.interfaces);
    assert_eq!(report.fds.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    for path in ["/proc/keys", "/proc/timer_list"] {
        assert!(report.is_mounted(path), "{path}");
    }
}

#[test]
fn exit_codes_of_what_cannot_run() {
    let docker = docker!();
    let missing = docker.run(&[], &["/no/such/program"]);
    assert_eq!(missing.code(), 127, "{missing:#?}");
    assert!(missing.stderr.contains("/no/such/program"), "{missing:#?}");
    let not_found = docker.run(&[], &["no-such-program"]);
    assert_eq!(not_found.code(), 127, "{not_found:#?}");
    assert!(not_found.stderr.contains("executable file not found in $PATH"), "{not_found:#?}");
    let forbidden = docker.run(&[], &["/etc/passwd"]);
    assert_eq!(forbidden.code(), 126, "{forbidden:#?}");
    assert!(forbidden.stderr.contains("permission denied"), "{forbidden:#?}");
    let directory = docker.run(&[], &["/etc"]);
    assert_eq!(directory.code(), 126, "{directory:#?}");
}

#[test]
fn an_interactive_terminal() {
    let docker = docker!();
    let name = unique("terminal");
    let (mut console, mut child) =
        docker.client.on_terminal(&["run", "--rm", "-it", "--name", &name, "busybox:test", "sh"]);
    console.expect("# ");
    console.write("test -t 0 && echo is a $((6*7)) terminal\n");
    console.expect("is a 42 terminal");
    // Again and again: the command line hears of it only from a moment after the program has begun.
    outcome::until("the size inside", || {
        console.resize(34, 101);
        console.resize(33, 101);
        console.write("stty size\n");
        console.text().contains("33 101")
    });
    console.write("exit 5\n");
    console.rest();
    assert_eq!(outcome::wait(&mut child, "docker run -it").code(), Some(5));
}

#[test]
fn standard_input_reaches_the_program_and_ends() {
    let docker = docker!();
    let input = docker.directory.join(unique("input"));
    fs::write(&input, "one\ntwo\n").unwrap();
    let run = docker.client.call_with(&["run", "--rm", "-i", "busybox:test", "wc", "-l"], |command| {
        command.stdin(fs::File::open(&input).unwrap());
    });
    assert_eq!(run.ok().stdout.trim(), "2");
}

#[test]
fn a_detached_container_has_logs() {
    let docker = docker!();
    let container = docker.detached(&[], &["sh", "-c", "echo one; echo two >&2; exit 3"]);
    assert_eq!(container.wait(), "3");
    let logs = container.call(&["logs"]).ok();
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("one\n", "two\n"));
    assert_eq!(container.status(), "exited");
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "3");
}

#[test]
fn exec_in_all_its_forms() {
    let docker = docker!();
    let container = docker.detached(&["-e", "FROM=run"], &["sleep", "600"]);
    assert_eq!(container.exec(&[], &["echo", "inside"]).ok().stdout, "inside\n");
    assert_eq!(container.exec(&[], &["sh", "-c", "exit 9"]).code(), 9);
    let report = report(
        &container
            .exec(&["-u", "1000:1000", "-w", "/tmp", "-e", "ADDED=1"], &["/probe", "report"])
            .ok()
            .stdout,
    );
    assert_eq!((report.uid.as_slice(), report.cwd.as_str()), (&[1000; 4][..], "/tmp"));
    assert_eq!((report.var("FROM"), report.var("ADDED")), (Some("run"), Some("1")));
    assert_eq!(report.seccomp, 2);
    let missing = container.exec(&[], &["/no/such/program"]);
    assert!([126, 127].contains(&missing.code()), "{missing:#?}");
    container.exec(&["-d"], &["sh", "-c", "echo late > /tmp/late"]).ok();
    outcome::until("the detached exec", || container.exec(&[], &["cat", "/tmp/late"]).stdout == "late\n");
    let (mut console, mut child) =
        docker.client.on_terminal(&["exec", "-it", &container.id, "sh", "-c", "tty; exit 4"]);
    console.expect("/dev/pts/");
    console.rest();
    assert_eq!(outcome::wait(&mut child, "docker exec -it").code(), Some(4));
}

#[test]
fn privileged_exec_has_every_capability() {
    let docker = docker!();
    let container = docker.detached(&[], &["sleep", "600"]);
    // Whether root here has all of them is not the runtime's affair; see the test of a privileged container.
    let run = container.exec(&["--privileged"], &["/probe", "report"]);
    if !run.status.success() && !has_all_capabilities() {
        integration::skip!("needs all capabilities in the bounding set");
    }
    assert!(capability_names(report(&run.ok().stdout).caps.effective).contains(&"CAP_SYS_ADMIN"));
}

fn has_all_capabilities() -> bool {
    let own = proc::Status::of("self").mask("CapBnd");
    own.count_ones() as usize >= integration::report::CAPABILITIES.len()
}

#[test]
fn stop_asks_first_and_kill_does_not() {
    let docker = docker!();
    let container = docker.detached(
        &[],
        &["sh", "-c", "trap 'echo asked; exit 7' TERM; echo ready; while :; do sleep 0.05; done"],
    );
    container.await_line("ready");
    container.call(&["stop"]).ok();
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "7");
    assert!(container.call(&["logs"]).stdout.contains("asked"));

    let container = docker.detached(&[], &["/probe", "ready-then-sleep"]);
    container.await_line("ready");
    container.call(&["stop", "-t", "0"]).ok();
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "137");

    let container = docker.detached(&[], &["/probe", "signals"]);
    container.await_line("ready");
    container.call(&["kill", "--signal", "USR1"]).ok();
    container.await_line("SIGUSR1");
    let pid = container.pid();
    container.call(&["kill"]).ok();
    assert_eq!(container.wait(), "137");
    assert!(!host::alive(pid));
}

#[test]
fn pause_and_unpause() {
    let docker = docker!();
    let container = docker.detached(&[], &["sleep", "600"]);
    container.call(&["pause"]).ok();
    assert_eq!(container.status(), "paused");
    assert!(!container.exec(&[], &["true"]).status.success());
    container.call(&["unpause"]).ok();
    assert_eq!(container.status(), "running");
    container.exec(&[], &["true"]).ok();
}

#[test]
fn limits_are_set_and_updated() {
    let docker = docker!();
    let container = docker.detached(
        &[
            "--memory",
            "64m",
            "--cpus",
            ".5",
            "--pids-limit",
            "50",
            "--cpuset-cpus",
            "0",
            "--cpu-shares",
            "512",
        ],
        &["sleep", "600"],
    );
    let pid = container.pid();
    let read = |controller: &str, v1: &str, v2: &str| host::cgroup_text(pid, controller, v1, v2);
    assert_eq!(read("memory", "memory.limit_in_bytes", "memory.max").as_deref(), Some("67108864"));
    assert_eq!(read("pids", "pids.max", "pids.max").as_deref(), Some("50"));
    assert_eq!(read("cpuset", "cpuset.cpus", "cpuset.cpus").as_deref(), Some("0"));
    if let Some(directory) = host::cgroup1(pid, "cpu") {
        let text = |name| fs::read_to_string(directory.join(name)).unwrap().trim().to_owned();
        assert_eq!((text("cpu.cfs_quota_us"), text("cpu.cfs_period_us")), ("50000".into(), "100000".into()));
        assert_eq!(text("cpu.shares"), "512");
    }
    container
        .call(&[
            "update",
            "--memory",
            "128m",
            "--memory-swap",
            "256m",
            "--pids-limit",
            "70",
            "--cpu-shares",
            "300",
        ])
        .ok();
    assert_eq!(read("memory", "memory.limit_in_bytes", "memory.max").as_deref(), Some("134217728"));
    assert_eq!(read("pids", "pids.max", "pids.max").as_deref(), Some("70"));
    // The default devices still work after an update, and no others do.
    container.exec(&[], &["sh", "-c", "echo > /dev/null && head -c 1 /dev/zero > /dev/null"]).ok();
}

#[test]
fn stats_are_shown() {
    let docker = docker!();
    let container = docker.detached(&[], &["/probe", "spin"]);
    let text = container.call(&["stats", "--no-stream", "--format", "{{json .}}"]).ok();
    let stats = text.json();
    assert_eq!(stats["PIDs"], "1", "{stats}");
    assert!(stats["MemUsage"].as_str().is_some_and(|usage| !usage.starts_with("0B")), "{stats}");
}

#[test]
fn top_shows_the_processes() {
    let docker = docker!();
    let container = docker.detached(&[], &["sleep", "612"]);
    let table = container.call(&["top"]).ok().stdout;
    assert!(table.contains("sleep 612"), "{table}");
}

#[test]
fn memory_that_runs_out_is_reported() {
    let docker = docker!();
    let limits = ["--memory", "24m", "--memory-swap", "24m"];
    let mut containers = Vec::new();
    // Not of the state: containerd's shim may tell of it after the exit, and dockerd 20.10 then keeps it out
    // of there. It tells nothing when the container's control group is gone before it has looked: that is tried again.
    outcome::until("dockerd tells of one", || {
        let container = docker.detached(&limits, &["/probe", "allocate", "200000000"]);
        assert_eq!(container.wait(), "137");
        containers.push(container);
        std::thread::sleep(Duration::from_secs(1));
        containers.iter().any(|container| {
            let of = format!("container={}", container.id);
            let events =
                ["events", "--since", "1h", "--until", "0s", "--filter", "event=oom", "--filter", &of];
            docker.client.call(&events).ok().stdout.contains(" oom ")
        })
    });
}

#[test]
fn restart_policies() {
    let docker = docker!();
    let container = docker.detached(&["--restart", "on-failure:2"], &["false"]);
    outcome::until("two restarts", || container.inspect("{{.RestartCount}} {{.State.Status}}") == "2 exited");
    let container = docker.detached(&["--restart", "always"], &["sh", "-c", "sleep 0.1"]);
    outcome::until("a restart", || container.inspect("{{.RestartCount}}").parse::<u32>().unwrap() >= 2);
    container.call(&["stop", "-t", "0"]).ok();
    assert_eq!(container.status(), "exited");
    let container = docker.detached(&["--restart", "no"], &["false"]);
    container.wait();
    assert_eq!(container.inspect("{{.RestartCount}}"), "0");
}

#[test]
fn a_stopped_container_starts_again() {
    let docker = docker!();
    let container = docker.detached(&[], &["sh", "-c", "echo run; exec sleep 600"]);
    for _ in 0..3 {
        container.call(&["restart", "-t", "0"]).ok();
        assert_eq!(container.status(), "running");
    }
    outcome::until("four runs", || container.call(&["logs"]).stdout.lines().count() == 4);
}

#[test]
fn published_ports_reach_the_program() {
    let docker = docker!();
    let container = docker.detached(&["-p", "18080:8080"], &["/probe", "serve", "8080", "from inside"]);
    container.await_line("ready");
    let fetch = format!("{} fetch 127.0.0.1:18080", integration::runtime::built("probe").display());
    outcome::until("an answer at the published port", || docker.on_host(&fetch).stdout == "from inside\n");
    assert_eq!(container.call(&["port"]).ok().stdout.lines().next(), Some("8080/tcp -> 0.0.0.0:18080"));
}

#[test]
fn containers_share_namespaces() {
    let docker = docker!();
    let first = docker.detached(&["--ipc", "shareable"], &["sleep", "600"]);
    let join = format!("container:{}", first.id);
    let text = docker.text(&["--pid", &join, "--net", &join, "--ipc", &join], &["/probe", "report"]);
    let (report, own) = (report(&text), proc::namespaces(&first.pid().to_string()));
    for kind in ["pid", "net", "ipc"] {
        assert_eq!(report.namespaces[kind], own[kind], "{kind}");
    }
    assert!(report.pids.contains(&1) && report.pid != 1);
    assert!(host::alive(first.pid()));
}

#[test]
fn the_hosts_namespaces_can_be_used() {
    let docker = docker!();
    let text = docker.text(&["--pid", "host", "--ipc", "host", "--uts", "host"], &["/probe", "report"]);
    let (report, own) = (report(&text), proc::namespaces("self"));
    for kind in ["pid", "ipc", "uts"] {
        assert_eq!(report.namespaces[kind], own[kind], "{kind}");
    }
}

#[test]
fn a_read_only_root_and_tmpfs() {
    let docker = docker!();
    let run = docker.run(&["--read-only"], &["touch", "/file"]);
    assert!(!run.status.success() && run.stderr.contains("Read-only file system"), "{run:#?}");
    let text = docker.text(
        &["--read-only", "--tmpfs", "/scratch:size=3m,mode=1770"],
        &["sh", "-c", "touch /scratch/file && grep ' /scratch ' /proc/mounts"],
    );
    assert!(text.contains("size=3072k") && text.contains("mode=1770"), "{text}");
}

#[test]
fn volumes_and_binds() {
    let docker = docker!();
    let shared = docker.directory.join(unique("shared"));
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("file"), "text").unwrap();
    let bind = format!("{}:/data:ro", shared.display());
    assert_eq!(
        docker
            .text(&["-v", &bind], &["sh", "-c", "cat /data/file; touch /data/x 2>/dev/null || echo refused"]),
        "textrefused"
    );
    let volume = unique("volume");
    let mount = format!("{volume}:/keep");
    docker.text(&["-v", &mount], &["sh", "-c", "echo kept > /keep/file"]);
    assert_eq!(docker.text(&["-v", &mount], &["cat", "/keep/file"]), "kept");
    docker.client.text(&["volume", "rm", &volume]);
    let file = format!("{}:/etc/one", shared.join("file").display());
    assert_eq!(docker.text(&["-v", &file], &["cat", "/etc/one"]), "text");
}

#[test]
fn init_reaps_what_is_left() {
    let docker = docker!();
    let container = docker.detached(&["--init"], &["sh", "-c", "echo ready; exec sleep 600"]);
    container.await_line("ready");
    let text = container.exec(&[], &["cat", "/proc/1/comm"]).ok().stdout;
    assert!(text.contains("init") || text.contains("tini"), "{text}");
    container.exec(&[], &["sh", "-c", "(sleep 0.05 &) ; exit 0"]).ok();
    outcome::until("no zombie", || {
        !container.exec(&[], &["sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null"]).stdout.contains(") Z ")
    });
}

#[test]
fn users_and_groups() {
    let docker = docker!();
    let seen = report(&docker.text(&["--user", "1000:2000", "--group-add", "77"], &["/probe", "report"]));
    assert_eq!((seen.uid, seen.gid), (vec![1000; 4], vec![2000; 4]));
    assert!(seen.groups.contains(&77), "{:?}", seen.groups);
    let seen = report(&docker.text(&["--user", "tester"], &["/probe", "report"]));
    assert_eq!(seen.uid, [1000; 4]);
    assert_eq!(seen.var("HOME"), Some("/home/tester"));
}

#[test]
fn capabilities_are_added_and_dropped() {
    let docker = docker!();
    let names = |flags: &[&str]| {
        let text = docker.text(flags, &["/probe", "report"]);
        capability_names(report(&text).caps.effective)
    };
    assert!(!names(&["--cap-drop", "CHOWN"]).contains(&"CAP_CHOWN"));
    assert!(names(&["--cap-add", "NET_ADMIN"]).contains(&"CAP_NET_ADMIN"));
    assert_eq!(names(&["--cap-drop", "ALL", "--cap-add", "KILL"]), ["CAP_KILL"]);
    let refused = docker.run(&[], &["ip", "link", "set", "lo", "down"]);
    assert!(!refused.status.success());
    docker.run(&["--cap-add", "NET_ADMIN"], &["ip", "link", "set", "lo", "down"]).ok();
}

#[test]
fn security_options() {
    let docker = docker!();
    let seen = report(&docker.text(&["--security-opt", "no-new-privileges"], &["/probe", "report"]));
    assert!(seen.no_new_privs);
    let seen = report(&docker.text(&["--security-opt", "seccomp=unconfined"], &["/probe", "report"]));
    assert_eq!(seen.seccomp, 0);
    let profile = docker.directory.join(unique("profile"));
    let rules = serde_json::json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls":
        [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5 }] });
    fs::write(&profile, rules.to_string()).unwrap();
    let option = format!("seccomp={}", profile.display());
    assert_eq!(docker.text(&["--security-opt", &option], &["/probe", "try", "mkdir", "/x"]), "EIO");
    assert_eq!(
        docker.text(
            &["--cap-add", "SYS_ADMIN", "--security-opt", &option],
            &["/probe", "try", "umount", "/dev/shm"]
        ),
        "ok"
    );
    assert_eq!(docker.text(&[], &["/probe", "try", "umount", "/dev/shm"]), "EPERM");
}

#[test]
fn a_privileged_container_has_everything() {
    let docker = docker!();
    let run = docker.run(&["--privileged"], &["/probe", "report"]);
    if !run.status.success() && !integration::runtime::runtime().is_ours() && !has_all_capabilities() {
        integration::skip!("needs all capabilities in the bounding set");
    }
    let seen = report(&run.ok().stdout);
    assert_eq!(seen.seccomp, 0);
    // Docker 20.10 knows the first 38.
    let own = proc::Status::of("self").mask("CapBnd") & ((1 << 38) - 1);
    assert_eq!(seen.caps.effective & own, own);
    assert!(seen.mount("/sys").has("rw"));
    assert!(!seen.is_mounted("/proc/kcore"));
    assert_eq!(docker.text(&["--privileged"], &["/probe", "try", "mount-tmpfs", "/mnt"]), "ok");
    if std::path::Path::new("/dev/fuse").exists() {
        assert_eq!(docker.text(&["--privileged"], &["/probe", "try", "open-device", "/dev/fuse"]), "ok");
    }
}

#[test]
fn devices_can_be_given() {
    let docker = docker!();
    if !std::path::Path::new("/dev/fuse").exists() {
        integration::skip!("needs /dev/fuse");
    }
    assert_eq!(docker.text(&["--device", "/dev/fuse"], &["/probe", "try", "open-device", "/dev/fuse"]), "ok");
    let text = docker
        .text(&["--cap-add", "MKNOD"], &["sh", "-c", "mknod /tmp/f c 10 229; /probe try open-device /tmp/f"]);
    assert_eq!(text, "EPERM");
}

#[test]
fn limits_sysctls_and_scores() {
    let docker = docker!();
    let text = docker.text(
        &[
            "--ulimit",
            "nofile=300:400",
            "--ulimit",
            "core=0",
            "--sysctl",
            "net.ipv4.ip_forward=1",
            "--oom-score-adj",
            "222",
            "--shm-size",
            "5m",
            "--domainname",
            "example.org",
            "--workdir",
            "/made/for/it",
            "--env",
            "X=y z",
        ],
        &["/probe", "report", "--sysctl", "net.ipv4.ip_forward"],
    );
    let seen = report(&text);
    assert_eq!(seen.limit("Max open files"), Some((300, 400)));
    assert_eq!(seen.sysctls["net.ipv4.ip_forward"], "1");
    assert_eq!(seen.oom_score_adj, 222);
    assert!(seen.mount("/dev/shm").super_has("size=5120k"));
    assert_eq!((seen.cwd.as_str(), seen.var("X")), ("/made/for/it", Some("y z")));
}

#[test]
fn copies_go_in_and_out() {
    let docker = docker!();
    let container = docker.detached(&[], &["sleep", "600"]);
    let file = docker.directory.join(unique("file"));
    fs::write(&file, "copied").unwrap();
    let inside = format!("{}:/tmp/inside", container.id);
    docker.client.text(&["cp", file.to_str().unwrap(), &inside]);
    assert_eq!(container.exec(&[], &["cat", "/tmp/inside"]).ok().stdout, "copied");
    let back = docker.directory.join(unique("back"));
    docker.client.text(&["cp", &inside, back.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(&back).unwrap(), "copied");
}

#[test]
fn an_image_is_built() {
    let docker = docker!();
    let context = docker.directory.join(unique("context"));
    fs::create_dir(&context).unwrap();
    fs::write(
        context.join("Dockerfile"),
        "FROM busybox:test\nRUN echo built > /result && id -u >> /result\nCMD cat /result\n",
    )
    .unwrap();
    let tag = unique("built");
    let build = docker.client.call_with(&["build", "-t", &tag, context.to_str().unwrap()], |command| {
        command.env("DOCKER_BUILDKIT", "0");
    });
    build.ok();
    assert_eq!(docker.client.text(&["run", "--rm", "--runtime", "tested", &tag]), "built\n0");
    docker.client.text(&["rmi", &tag]);
}

#[test]
fn networks_of_ones_own_connect_their_containers() {
    let docker = docker!();
    let network = unique("net");
    docker.client.text(&["network", "create", &network]);
    let server = docker.detached(&["--network", &network], &["/probe", "serve", "7000", "served"]);
    server.await_line("ready");
    let address = server.inspect("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
    let text = docker.text(&["--network", &network], &["/probe", "fetch", &format!("{address}:7000")]);
    assert_eq!(text, "served");
    let text = docker.text(&["--network", &network], &["cat", "/etc/resolv.conf"]);
    assert!(text.contains("127.0.0.11"), "{text}");
    let alone = docker.text(&["--network", "none"], &["ls", "/sys/class/net"]);
    assert_eq!(alone, "lo");
    drop(server);
    docker.client.text(&["network", "rm", &network]);
}

#[test]
fn nothing_of_a_removed_container_stays() {
    let docker = docker!();
    let container = docker.detached(&[], &["sleep", "600"]);
    let (pid, id) = (container.pid(), container.id.clone());
    assert!(!integration::leaks::cgroups(&id).is_empty());
    drop(container);
    assert!(!host::alive(pid));
    assert_eq!(integration::leaks::cgroups(&id), Vec::<std::path::PathBuf>::new());
}

#[test]
fn many_at_once() {
    let docker = docker!();
    let containers: Vec<_> = (0..8).map(|_| docker.detached(&[], &["sleep", "600"])).collect();
    for container in &containers {
        assert_eq!(container.exec(&[], &["echo", "alive"]).ok().stdout, "alive\n");
    }
}
