//! Limits, statistics and notices on a host with cgroup v2 alone and its controllers. Elsewhere skipped, visibly.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_wrap)]

mod support;

use runtime::cgroup::{Cgroup, Oom};
use runtime::spec::Resources;
use std::os::fd::AsFd;
use std::path::Path;
use support::{Layout, Sandbox, child_into, layout, resources, skip, unique};

/// Whether the controllers that a test needs are here.
fn have(controllers: &[&str]) -> bool {
    let root = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let missing = controllers.iter().find(|name| !root.split_whitespace().any(|other| other == **name));
    match (layout(), missing) {
        (Some(Layout::V2), None) => true,
        (Some(Layout::V2), Some(name)) => {
            skip(&format!("the {name} controller on v2"));
            false
        }
        _ => {
            skip("cgroup v2 alone, and root");
            false
        }
    }
}

/// The number of a disk that limits can be set for.
fn disk() -> Option<(u32, u32)> {
    for name in ["vdb", "vda", "loop0"] {
        if let Ok(text) = std::fs::read_to_string(format!("/sys/block/{name}/dev")) {
            let (major, minor) = text.trim().split_once(':').unwrap();
            return Some((major.parse().unwrap(), minor.parse().unwrap()));
        }
    }
    None
}

#[test]
fn limits_reach_their_files() {
    if !have(&["memory", "cpu", "cpuset", "pids", "io", "hugetlb"]) {
        return;
    }
    let (major, minor) = disk().unwrap();
    let sandbox = Sandbox::new(&resources(&format!(
        r#"{{"memory": {{"limit": 104857600, "swap": 209715200, "reservation": 52428800}},
            "cpu": {{"shares": 512, "quota": 25000, "period": 100000, "burst": 10000, "cpus": "0", "mems": "0"}},
            "pids": {{"limit": 20}},
            "blockIO": {{"throttleReadBpsDevice": [{{"major": {major}, "minor": {minor}, "rate": 1048576}}],
                         "throttleWriteBpsDevice": [{{"major": {major}, "minor": {minor}, "rate": 2097152}}],
                         "throttleReadIOPSDevice": [{{"major": {major}, "minor": {minor}, "rate": 100}}],
                         "throttleWriteIOPSDevice": [{{"major": {major}, "minor": {minor}, "rate": 200}}]}},
            "hugepageLimits": [{{"pageSize": "2MB", "limit": 4194304}}],
            "unified": {{"memory.high": "73400320", "memory.oom.group": "1", "cgroup.max.depth": "3"}}}}"#
    )))
    .unwrap();
    for (file, value) in [
        ("memory.max", "104857600"),
        ("memory.swap.max", "104857600"),
        ("memory.low", "52428800"),
        ("memory.high", "73400320"),
        ("memory.oom.group", "1"),
        ("cpu.weight", "59"),
        ("cpu.max", "25000 100000"),
        ("cpu.max.burst", "10000"),
        ("cpuset.cpus", "0"),
        ("cpuset.mems", "0"),
        ("pids.max", "20"),
        ("hugetlb.2MB.max", "4194304"),
        ("hugetlb.2MB.rsvd.max", "4194304"),
        ("cgroup.max.depth", "3"),
        ("io.max", &format!("{major}:{minor} rbps=1048576 wbps=2097152 riops=100 wiops=200")),
    ] {
        assert_eq!(sandbox.read("", file), value, "{file}");
    }
}

#[test]
fn weights_of_disks_are_converted_or_kept() {
    if !have(&["io"]) {
        return;
    }
    let sandbox = match Sandbox::new(&resources(r#"{"blockIO": {"weight": 500}}"#)) {
        Ok(sandbox) => sandbox,
        Err(error) => {
            // Neither BFQ nor the cost model: the limit cannot hold, and that is said.
            assert!(
                error.contains("linux.resources.blockIO.weight: 500: this kernel has no io.weight"),
                "{error}"
            );
            return skip("a kernel with io.weight or io.bfq.weight");
        }
    };
    match Path::new(&sandbox.dir("")).join("io.bfq.weight").exists() {
        true => assert_eq!(sandbox.read("", "io.bfq.weight"), "default 500"),
        false => assert_eq!(sandbox.read("", "io.weight"), "default 4950"),
    }
}

/// A container's cgroup has every controller of the host, also where those above had none enabled.
#[test]
fn controllers_are_enabled_all_the_way_down() {
    if !have(&["memory", "pids"]) {
        return;
    }
    let top = unique();
    let sandbox = Sandbox::at(&format!("{top}/a/b"), &Resources::default()).unwrap();
    let root = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap();
    assert_eq!(sandbox.read("", "cgroup.controllers"), root.trim_end());
    assert_eq!(sandbox.read("", "cpu.weight"), "100");
    drop(sandbox);
    for dir in [format!("{top}/a"), top] {
        std::fs::remove_dir(format!("/sys/fs/cgroup{dir}")).unwrap();
    }
}

#[test]
fn swap_follows_the_total() {
    if !have(&["memory"]) || !Path::new("/proc/swaps").exists() {
        return;
    }
    let mut sandbox =
        Sandbox::new(&resources(r#"{"memory": {"limit": 104857600, "swap": 209715200}}"#)).unwrap();
    let mut update = |json: &str, max: &str, swap: &str| {
        sandbox.cgroup.update(&resources(json)).unwrap_or_else(|error| panic!("{json}: {error}"));
        assert_eq!(
            (&*sandbox.read("", "memory.max"), &*sandbox.read("", "memory.swap.max")),
            (max, swap),
            "{json}"
        );
    };
    update(r#"{"memory": {"limit": 157286400}}"#, "157286400", "52428800");
    update(r#"{"memory": {"swap": 314572800}}"#, "157286400", "157286400");
    update(r#"{"memory": {"limit": 104857600, "swap": 104857600}}"#, "104857600", "0");
    update(r#"{"memory": {"swap": -1}}"#, "104857600", "max");
    update(r#"{"memory": {"limit": -1}}"#, "max", "max");
    let error = sandbox.cgroup.update(&resources(r#"{"memory": {"limit": 1000000, "swap": 900000}}"#));
    assert!(error.unwrap_err().to_string().contains("memory+swap limit should be >= memory limit"));
}

#[test]
fn processor_limits_change_one_by_one() {
    if !have(&["cpu"]) {
        return;
    }
    let mut sandbox = Sandbox::new(&resources(r#"{"cpu": {"quota": 50000, "period": 200000}}"#)).unwrap();
    let mut update = |json: &str, file: &str, want: &str| {
        sandbox.cgroup.update(&resources(json)).unwrap_or_else(|error| panic!("{json}: {error}"));
        assert_eq!(sandbox.read("", file), want, "{json}");
    };
    update(r#"{"cpu": {"quota": 60000}}"#, "cpu.max", "60000 200000");
    update(r#"{"cpu": {"period": 100000}}"#, "cpu.max", "60000 100000");
    update(r#"{"cpu": {"quota": -1}}"#, "cpu.max", "max 100000");
    // More burst than the quota before allows, in whatever order the kernel wants it.
    update(r#"{"cpu": {"quota": 90000, "period": 100000, "burst": 80000}}"#, "cpu.max.burst", "80000");
    update(r#"{"cpu": {"quota": 20000, "burst": 10000}}"#, "cpu.max.burst", "10000");
    update(r#"{"cpu": {"idle": 1}}"#, "cpu.idle", "1");
    update(r#"{"cpu": {"idle": 0, "shares": 2048}}"#, "cpu.weight", "174");
    sandbox.cgroup.update(&resources(r#"{"cpu": {"idle": 1, "shares": 100}}"#)).unwrap();
    assert_eq!(sandbox.read("", "cpu.idle"), "1");
    assert!(sandbox.cgroup.warnings().iter().any(|text| text.contains("unable to apply both")));
}

#[test]
fn refused_limits_are_one_line_and_leave_nothing() {
    if !have(&["memory", "cpu", "cpuset", "pids", "io", "hugetlb"]) {
        return;
    }
    for (json, want) in [
        (
            r#"{"cpu": {"cpus": "4096"}}"#,
            "linux.resources.cpu.cpus: 4096: write /sys/fs/cgroup/PATH/cpuset.cpus: ",
        ),
        (
            r#"{"cpu": {"quota": 5}}"#,
            "linux.resources.cpu.quota: 5: write /sys/fs/cgroup/PATH/cpu.max: invalid argument",
        ),
        (
            r#"{"cpu": {"realtimeRuntime": 5}}"#,
            "linux.resources.cpu.realtimeRuntime: 5: cgroup v2 has nothing like",
        ),
        (
            r#"{"memory": {"swappiness": 5}}"#,
            "linux.resources.memory.swappiness: 5: cgroup v2 has nothing like",
        ),
        (
            r#"{"memory": {"disableOOMKiller": true}}"#,
            "linux.resources.memory.disableOOMKiller: true: cgroup v2 has",
        ),
        (
            r#"{"network": {"classID": 5}}"#,
            "linux.resources.network.classID: 5: cgroup v2 has nothing like net_cls",
        ),
        (
            r#"{"blockIO": {"leafWeight": 50}}"#,
            "linux.resources.blockIO.leafWeight: 50: cgroup v2 has nothing like",
        ),
        (r#"{"memory": {"limit": -5}}"#, "linux.resources.memory.limit: -5: expected a number of bytes"),
        (r#"{"memory": {"swap": 5}}"#, "unable to set swap limit without memory limit"),
        (
            r#"{"unified": {"memory.nonsense": "1"}}"#,
            "linux.resources.unified[\"memory.nonsense\"]: 1: this kernel has no",
        ),
        (r#"{"unified": {"x/y.z": "1"}}"#, "expected a file name of the form CONTROLLER.PARAMETER"),
        (r#"{"unified": {"nonsense.max": "1"}}"#, "the nonsense controller is not available"),
        (
            r#"{"hugepageLimits": [{"pageSize": "../x", "limit": 1}]}"#,
            "hugepageLimits[0].pageSize: ../x: expected a size",
        ),
        (
            r#"{"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}"#,
            "linux.resources.hugepageLimits[0]: 3MB 1: this kernel has no",
        ),
        (
            r#"{"blockIO": {"throttleReadBpsDevice": [{"major": 999, "minor": 9, "rate": 1}]}}"#,
            "linux.resources.blockIO.throttleReadBpsDevice[0]: 999:9 1: write /sys/fs/cgroup/PATH/io.max: ",
        ),
    ] {
        let path = unique();
        let error =
            Sandbox::at(&path, &resources(json)).err().unwrap_or_else(|| panic!("{json} was accepted"));
        assert!(error.contains(&want.replace("/PATH", &path)), "{error}");
        assert!(!error.contains('\n'), "{error}");
        assert!(!Path::new(&format!("/sys/fs/cgroup{path}")).exists(), "{json}");
    }
}

/// A cgroup with processes keeps controllers out of those below it: the limit that needs one is named with the place.
#[test]
fn a_missing_controller_is_named_with_its_limit() {
    if !have(&["memory"]) {
        return;
    }
    let mut outer = Sandbox::new(&Resources::default()).unwrap();
    outer.run("sleep", &["1000"]);
    let inner = format!("{}/inner", outer.path);
    let error = Sandbox::at(&inner, &resources(r#"{"memory": {"limit": 104857600}}"#)).err().unwrap();
    let want = format!(
        "linux.resources.memory.limit: 104857600: the memory controller is not available in /sys/fs/cgroup{inner}: \
         enabling it in /sys/fs/cgroup{}/cgroup.subtree_control: device or resource busy",
        outer.path
    );
    assert_eq!(error, want);
    assert!(!Path::new(&format!("/sys/fs/cgroup{inner}")).exists());
}

/// Limits that threads can have are possible there, at the price of a cgroup for threads.
#[test]
fn limits_for_threads_hold_below_a_cgroup_with_processes() {
    if !have(&["memory", "pids"]) {
        return;
    }
    let mut outer = Sandbox::new(&Resources::default()).unwrap();
    outer.run("sleep", &["1000"]);
    let plain = Sandbox::at(&format!("{}/plain", outer.path), &Resources::default()).unwrap();
    assert_eq!(plain.read("", "cgroup.type"), "domain");
    drop(plain);
    let inner =
        Sandbox::at(&format!("{}/inner", outer.path), &resources(r#"{"pids": {"limit": 5}}"#)).unwrap();
    assert_eq!((&*inner.read("", "cgroup.type"), &*inner.read("", "pids.max")), ("threaded", "5"));
    let pid = child_into(inner.cgroup.clone_target(), &[]).unwrap();
    assert_eq!(inner.cgroup.processes().unwrap(), [pid]);
    inner.cgroup.kill_all(9).unwrap();
    nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None).unwrap();
}

/// Below a cgroup for threads there are only such, and each has the controllers that threads can have, as limits may come later.
#[test]
fn cgroups_below_one_for_threads_have_what_threads_can_have() {
    if !have(&["memory", "pids"]) {
        return;
    }
    let outer = Sandbox::new(&Resources::default()).unwrap();
    std::fs::write(format!("{}/cgroup.type", outer.dir("")), "threaded").unwrap();
    let inner = Sandbox::at(&format!("{}/between/inner", outer.path), &Resources::default()).unwrap();
    assert_eq!((&*inner.read("", "cgroup.type"), &*inner.read("", "pids.max")), ("threaded", "max"));
}

#[test]
fn updates_are_all_or_nothing() {
    if !have(&["memory", "cpu", "cpuset", "pids", "io"]) {
        return;
    }
    let (major, minor) = disk().unwrap();
    let device = format!(r#"{{"major": {major}, "minor": {minor}, "rate": 1048576}}"#);
    let mut sandbox = Sandbox::new(&resources(&format!(
        r#"{{"memory": {{"limit": 104857600, "swap": 209715200}}, "cpu": {{"quota": 20000, "period": 50000}},
            "blockIO": {{"throttleReadBpsDevice": [{device}]}},
            "devices": [{{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}}]}}"#
    )))
    .unwrap();
    let files = [
        "memory.max",
        "memory.swap.max",
        "memory.low",
        "cpu.max",
        "cpu.weight",
        "cpuset.cpus",
        "pids.max",
        "io.max",
    ];
    let state = |sandbox: &Sandbox| files.map(|file| sandbox.read("", file));
    let before = state(&sandbox);
    let record = sandbox.cgroup.record();
    let bad = format!(
        r#"{{"memory": {{"limit": 314572800, "swap": -1, "reservation": 1048576}}, "pids": {{"limit": 7}},
            "cpu": {{"quota": 30000, "period": 60000, "shares": 100, "cpus": "0"}},
            "blockIO": {{"throttleReadBpsDevice": [{}], "throttleWriteBpsDevice": [{device}]}},
            "devices": [{{"allow": false, "type": "c", "major": 1, "minor": 11, "access": "r"}}],
            "unified": {{"memory.high": "rubbish"}}}}"#,
        device.replace("1048576", "4096")
    );
    let error = sandbox.cgroup.update(&resources(&bad)).unwrap_err().to_string();
    assert!(error.contains("unified[\"memory.high\"]: rubbish: write"), "{error}");
    assert_eq!(state(&sandbox), before);
    assert_eq!(sandbox.cgroup.record(), record);
}

#[test]
fn a_limit_below_the_use_is_rejected_when_asked_to_check() {
    if !have(&["memory"]) {
        return;
    }
    let mut sandbox = Sandbox::new(&resources(r#"{"memory": {"limit": 104857600}}"#)).unwrap();
    sandbox.run("sleep", &["1000"]);
    for (json, want) in [
        (r#"{"memory": {"limit": 1024, "checkBeforeUpdate": true}}"#, "rejecting memory limit 1024 <= usage"),
        (
            r#"{"memory": {"limit": 1024, "swap": 2048, "checkBeforeUpdate": true}}"#,
            "rejecting memory+swap limit 2048",
        ),
    ] {
        // A process that was moved here has brought no memory along.
        std::fs::write(format!("{}/memory.reclaim", sandbox.dir("")), "0").unwrap_or_default();
        let mut eater = Sandbox::new(&Resources::default()).unwrap();
        eater.run("sh", &["-c", "x=$(head -c 3000000 /dev/zero | tr '\\0' x); sleep 1000"]);
        for _ in 0..500 {
            if eater.cgroup.stats().unwrap().memory.usage.usage > 1_000_000 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let error = eater.cgroup.update(&resources(json)).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
        assert_eq!(eater.read("", "memory.max"), "max");
    }
}

/// No processes at all: the kernel counts at the clone, so the limit waits for the first process.
#[test]
fn a_limit_of_zero_processes() {
    if !have(&["pids"]) {
        return;
    }
    let mut sandbox = Sandbox::new(&resources(r#"{"pids": {"limit": 0}}"#)).unwrap();
    assert!(sandbox.cgroup.needs_adopt());
    let pid = child_into(sandbox.cgroup.clone_target(), &[]).unwrap();
    sandbox.cgroup.adopt(pid).unwrap();
    assert_eq!(sandbox.read("", "pids.max"), "0");
    assert_eq!(child_into(sandbox.cgroup.clone_target(), &[]), Err(runtime::sys::Errno::EAGAIN));
    sandbox.cgroup.kill_all(9).unwrap();
    nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None).unwrap();
    let none = Sandbox::new(&resources(r#"{"pids": {"limit": -1}}"#)).unwrap();
    assert_eq!(none.read("", "pids.max"), "max");
}

#[test]
fn statistics_count() {
    if !have(&["memory", "cpu", "pids", "io"]) {
        return;
    }
    let mut sandbox =
        Sandbox::new(&resources(r#"{"memory": {"limit": 104857600}, "pids": {"limit": 20}}"#)).unwrap();
    let stats = sandbox.busy();
    assert!(stats.cpu.total > 0 && stats.cpu.total >= stats.cpu.user && stats.cpu.user > 0, "{stats:?}");
    assert!(stats.memory.usage.usage > 2_000_000 && stats.memory.usage.limit == 104_857_600, "{stats:?}");
    assert!(stats.memory.raw["anon"] > 0, "{stats:?}");
    assert_eq!(stats.pids.limit, 20);
    assert!((1..=5).contains(&stats.pids.current), "the shell and its helpers: {stats:?}");
    assert!(stats.cpu.psi.is_some() && stats.memory.psi.is_some() && stats.io.psi.is_some(), "{stats:?}");
    let line = runtime::cgroup::stats::json::stats_line("x", &stats).unwrap();
    assert!(line.contains(r#""psi":{"some":{"avg10":"#), "{line}");
}

#[test]
fn an_out_of_memory_kill_is_told() {
    if !have(&["memory"]) {
        return;
    }
    let mut sandbox = Sandbox::new(&resources(r#"{"memory": {"limit": 8388608, "swap": 8388608}}"#)).unwrap();
    let mut watch = sandbox.cgroup.watch_oom().unwrap();
    assert_eq!(watch.read().unwrap(), Oom::Nothing);
    sandbox.run("sh", &["-c", "sleep 0.2; x=$(head -c 100000000 /dev/zero | tr '\\0' x)"]);
    let mut happened = 0;
    loop {
        let mut polls = [nix::poll::PollFd::new(watch.as_fd(), nix::poll::PollFlags::POLLIN)];
        assert_eq!(nix::poll::poll(&mut polls, 60_000u16).unwrap(), 1, "no notice");
        match watch.read().unwrap() {
            Oom::Happened => happened += 1,
            Oom::Nothing => {}
            Oom::Gone => break,
        }
    }
    assert!(happened > 0 && sandbox.cgroup.oom_kills().unwrap() >= happened);
}

/// What waits for a process finds its end before the kernel's notice comes, which is held back for some milliseconds: the
/// kill is told all the same. Here the notices are taken away.
#[test]
fn a_kill_whose_notice_is_late_is_told() {
    if !have(&["memory"]) {
        return;
    }
    let mut sandbox = Sandbox::new(&resources(r#"{"memory": {"limit": 8388608, "swap": 8388608}}"#)).unwrap();
    let mut watch = sandbox.cgroup.watch_oom().unwrap();
    sandbox.run("sh", &["-c", "sleep 0.2; x=$(head -c 100000000 /dev/zero | tr '\\0' x)"]);
    let mut notices = [0; 4096];
    while sandbox.read("", "cgroup.events").contains("populated 1")
        || sandbox.cgroup.oom_kills().unwrap() == 0
    {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let mut polls = [nix::poll::PollFd::new(watch.as_fd(), nix::poll::PollFlags::POLLIN)];
    while nix::poll::poll(&mut polls, 200u16).unwrap() == 1 {
        nix::unistd::read(watch.as_fd(), &mut notices).unwrap();
    }
    assert_eq!(watch.read().unwrap(), Oom::Happened);
    assert_eq!(watch.read().unwrap(), Oom::Nothing);
}

/// The container's root may move its processes and give out controllers, and not lift its own limits.
#[test]
fn an_owner_gets_what_the_kernel_lists() {
    if !have(&["memory"]) {
        return;
    }
    use std::os::unix::fs::MetadataExt;
    let path = unique();
    let (limits, none) =
        (resources(r#"{"memory": {"limit": 104857600}}"#), std::collections::BTreeMap::new());
    let mut request = support::request(&path, &limits, &none);
    request.owner = Some(100_000);
    let sandbox = Sandbox::with(&request).unwrap();
    let owner = |file: &str| std::fs::metadata(format!("{}/{file}", sandbox.dir(""))).unwrap().uid();
    for (file, uid) in [
        ("", 100_000),
        ("cgroup.procs", 100_000),
        ("cgroup.subtree_control", 100_000),
        ("cgroup.threads", 100_000),
        ("memory.max", 0),
        ("cgroup.freeze", 0),
    ] {
        assert_eq!(owner(file), uid, "{file}");
    }
}

#[test]
fn a_record_is_enough_for_every_later_command() {
    if !have(&["memory", "pids"]) {
        return;
    }
    let mut sandbox = Sandbox::new(&resources(r#"{"pids": {"limit": 20}}"#)).unwrap();
    sandbox.run("sleep", &["1000"]);
    let text = serde_json::to_string(&sandbox.cgroup.record()).unwrap();
    let mut later = Cgroup::open(&serde_json::from_str(&text).unwrap()).unwrap();
    later.freeze().unwrap();
    assert!(sandbox.cgroup.is_frozen().unwrap());
    later.update(&resources(r#"{"pids": {"limit": 30}}"#)).unwrap();
    assert_eq!(sandbox.read("", "pids.max"), "30");
    later.kill_all(9).unwrap();
    sandbox.reap();
    later.remove().unwrap();
    assert!(!Path::new(&sandbox.dir("")).exists());
}
