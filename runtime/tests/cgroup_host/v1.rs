//! Limits, statistics and updates on version 1.

use super::*;

#[test]
fn v1_limits_reach_their_files() {
    if layout() != Some(Layout::V1) {
        return skip("cgroup v1 and root");
    }
    let sandbox = Sandbox::new(&resources(
        r#"{"memory": {"limit": 104857600, "swap": 209715200, "reservation": 52428800, "swappiness": 10,
                       "disableOOMKiller": true},
            "cpu": {"shares": 512, "quota": 25000, "period": 100000, "cpus": "0", "mems": "0", "idle": 0},
            "pids": {"limit": 20}}"#,
    ))
    .unwrap();
    for (controller, file, value) in [
        ("memory", "memory.limit_in_bytes", "104857600"),
        ("memory", "memory.memsw.limit_in_bytes", "209715200"),
        ("memory", "memory.soft_limit_in_bytes", "52428800"),
        ("memory", "memory.swappiness", "10"),
        ("cpu", "cpu.shares", "512"),
        ("cpu", "cpu.cfs_quota_us", "25000"),
        ("cpu", "cpu.cfs_period_us", "100000"),
        ("cpuset", "cpuset.cpus", "0"),
        ("cpuset", "cpuset.mems", "0"),
        ("pids", "pids.max", "20"),
    ] {
        assert_eq!(sandbox.read(controller, file), value, "{file}");
    }
    assert!(sandbox.read("memory", "memory.oom_control").starts_with("oom_kill_disable 1"));
}

#[test]
fn refused_limits_name_field_value_file_and_reason_and_leave_nothing() {
    if layout() != Some(Layout::V1) {
        return skip("cgroup v1 and root");
    }
    for (json, want) in [
        (
            r#"{"cpu": {"cpus": "4096"}}"#,
            "linux.resources.cpu.cpus: 4096: write /sys/fs/cgroup/cpuset/PATH/cpuset.cpus: ",
        ),
        (
            r#"{"cpu": {"quota": 5}}"#,
            "linux.resources.cpu.quota: 5: write /sys/fs/cgroup/cpu/PATH/cpu.cfs_quota_us: invalid argument",
        ),
        (
            r#"{"memory": {"limit": 104857600, "swap": 1000000}}"#,
            "memory.memsw.limit_in_bytes: invalid argument",
        ),
        (r#"{"cpu": {"shares": 1}}"#, "linux.resources.cpu.shares: 1: the minimum allowed value is 2"),
        (r#"{"memory": {"swappiness": 101}}"#, "linux.resources.memory.swappiness: 101: expected 0 to 100"),
        (
            r#"{"unified": {"memory.min": "1"}}"#,
            "invalid configuration: linux.resources.unified[\"memory.min\"]",
        ),
        (r#"{"blockIO": {"weight": 5}}"#, "linux.resources.blockIO.weight: 5: expected 10 to 1000"),
        (
            r#"{"devices": [{"allow": true, "type": "c", "access": "rwm"},
                         {"allow": false, "type": "c", "major": 1, "minor": 5, "access": "w"}]}"#,
            "linux.resources.devices: deny c 1:5 w: cgroup v1 cannot make a hole in the wider rule c *:* rwm",
        ),
    ] {
        let path = unique();
        let error =
            Sandbox::at(&path, &resources(json)).err().unwrap_or_else(|| panic!("{json} was accepted"));
        assert!(error.contains(&want.replace("/PATH", &path)), "{error}");
        assert!(!error.contains('\n'), "{error}");
        no_trace(&path);
    }
}

/// Limits of controllers that not each v1 host has mounted reach their files, or are refused by name.
#[test]
fn v1_controllers_that_may_be_missing() {
    if layout() != Some(Layout::V1) {
        return skip("cgroup v1 and root");
    }
    for (controller, json, file, want, missing) in [
        (
            "net_cls",
            r#"{"network": {"classID": 1048577}}"#,
            "net_cls.classid",
            "1048577",
            "linux.resources.network.classID: 1048577: the net_cls controller is not available",
        ),
        (
            "net_prio",
            r#"{"network": {"priorities": [{"name": "lo", "priority": 7}]}}"#,
            "net_prio.ifpriomap",
            "lo 7",
            "linux.resources.network.priorities[0]: lo 7: the net_prio controller is not available",
        ),
        (
            "hugetlb",
            r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}"#,
            "hugetlb.2MB.limit_in_bytes",
            "4194304",
            "linux.resources.hugepageLimits[0]: 2MB 4194304: the hugetlb controller is not available",
        ),
    ] {
        let mounted = Path::new("/sys/fs/cgroup").join(controller).exists();
        let path = unique();
        match Sandbox::at(&path, &resources(json)) {
            Ok(sandbox) if mounted => {
                let text = sandbox.read(controller, file);
                assert!(text.lines().any(|line| line == want), "{file}: {text}");
            }
            // Beside v1, this one may be on v2.
            Ok(sandbox) => assert_eq!((controller, &*sandbox.read("", "hugetlb.2MB.max")), ("hugetlb", want)),
            Err(error) if !mounted => {
                assert!(error.contains(missing), "{error}");
                no_trace(&path);
            }
            Err(error) => panic!("{controller}: {error}"),
        }
    }
    let error = Sandbox::new(&resources(r#"{"rdma": {"nosuch0": {"hcaHandles": 2}}}"#)).err().unwrap();
    assert!(error.starts_with("linux.resources.rdma[\"nosuch0\"]: nosuch0 hca_handle=2: "), "{error}");
}

#[test]
fn v1_disks_are_throttled() {
    if layout() != Some(Layout::V1) {
        return skip("cgroup v1 and root");
    }
    let number = |name: &str| std::fs::read_to_string(format!("/sys/block/{name}/dev")).ok();
    let Some(device) = ["vdb", "vda", "sda"].iter().find_map(|name| number(name)) else {
        return skip("a disk");
    };
    let (major, minor) = device.trim().split_once(':').unwrap();
    let rate = |rate: u64| format!(r#"[{{"major": {major}, "minor": {minor}, "rate": {rate}}}]"#);
    let mut sandbox = Sandbox::new(&resources(&format!(
        r#"{{"blockIO": {{"throttleReadBpsDevice": {}, "throttleWriteBpsDevice": {}, "throttleReadIOPSDevice": {},
                          "throttleWriteIOPSDevice": {}}}}}"#,
        rate(1_048_576),
        rate(2_097_152),
        rate(100),
        rate(200)
    )))
    .unwrap();
    let read =
        |sandbox: &Sandbox, file: &str| sandbox.read("blkio", &format!("blkio.throttle.{file}_device"));
    let values = |sandbox: &Sandbox| {
        ["read_bps", "write_bps", "read_iops", "write_iops"].map(|file| read(sandbox, file))
    };
    let want = [1_048_576, 2_097_152, 100, 200].map(|rate| format!("{major}:{minor} {rate}"));
    assert_eq!(values(&sandbox), want);
    // Half an update that fails is taken back.
    let bad = format!(
        r#"{{"blockIO": {{"throttleReadBpsDevice": {}, "throttleWriteIOPSDevice": [{{"major": 999, "minor": 9, "rate": 1}}]}}}}"#,
        rate(4096)
    );
    sandbox.cgroup.update(&resources(&bad)).unwrap_err();
    assert_eq!(values(&sandbox), want);
    sandbox
        .cgroup
        .update(&resources(&format!(r#"{{"blockIO": {{"throttleReadBpsDevice": {}}}}}"#, rate(0))))
        .unwrap();
    assert_eq!(read(&sandbox, "read_bps"), "");
}

#[test]
fn v1_updates_are_all_or_nothing() {
    if layout() != Some(Layout::V1) {
        return skip("cgroup v1 and root");
    }
    let mut sandbox = Sandbox::new(&resources(
        r#"{"memory": {"limit": 104857600, "swap": 209715200}, "pids": {"limit": 20}, "cpu": {"quota": 20000}}"#,
    ))
    .unwrap();
    let state = |sandbox: &Sandbox| {
        [
            sandbox.read("memory", "memory.limit_in_bytes"),
            sandbox.read("memory", "memory.memsw.limit_in_bytes"),
            sandbox.read("pids", "pids.max"),
            sandbox.read("cpu", "cpu.cfs_quota_us"),
            sandbox.read("cpu", "cpu.cfs_period_us"),
            sandbox.read("devices", "devices.list"),
        ]
    };
    let before = state(&sandbox);
    for bad in [
        r#"{"memory": {"limit": 314572800, "swap": 419430400}, "pids": {"limit": 5}, "cpu": {"period": 50000},
            "blockIO": {"throttleReadBpsDevice": [{"major": 999, "minor": 1, "rate": 1}]}}"#,
        r#"{"pids": {"limit": 5}, "devices": [{"allow": false, "type": "c", "major": 136, "minor": 1, "access": "w"},
            {"allow": true, "type": "c", "major": 7, "access": "rwm"},
            {"allow": false, "type": "c", "major": 7, "minor": 1, "access": "w"}]}"#,
    ] {
        sandbox.cgroup.update(&resources(bad)).unwrap_err();
        assert_eq!(state(&sandbox), before, "{bad}");
    }
    // Raising and lowering need opposite orders of the two files.
    for (limit, swap) in
        [(314_572_800, 419_430_400), (52_428_800, 62_914_560), (104_857_600, 104_857_600), (-1, -1)]
    {
        let json = format!(r#"{{"memory": {{"limit": {limit}, "swap": {swap}}}}}"#);
        sandbox.cgroup.update(&resources(&json)).unwrap_or_else(|error| panic!("{error}"));
    }
    assert_eq!(sandbox.read("pids", "pids.max"), "20");
}

#[test]
fn v1_statistics_count() {
    if layout() != Some(Layout::V1) {
        return skip("cgroup v1 and root");
    }
    let mut sandbox =
        Sandbox::new(&resources(r#"{"memory": {"limit": 104857600}, "pids": {"limit": 20}}"#)).unwrap();
    let stats = sandbox.busy();
    assert!(stats.cpu.total > 0 && stats.cpu.user > 0, "{stats:?}");
    assert_eq!(stats.cpu.percpu.len(), stats.cpu.percpu_user.len());
    assert!(stats.memory.usage.usage > 2_000_000 && stats.memory.usage.limit == 104_857_600, "{stats:?}");
    assert!(stats.memory.raw["total_rss"] > 0 && !stats.cpuset.cpus.is_empty(), "{stats:?}");
    assert_eq!(stats.pids.limit, 20);
    assert!((1..=5).contains(&stats.pids.current), "the shell and its helpers: {stats:?}");
    let hybrid = sandbox.cgroup.record().dirs.iter().any(|(names, _)| names.is_empty());
    assert_eq!(stats.cpu.psi.is_some(), hybrid, "only a v2 hierarchy counts pressure: {stats:?}");
}

#[test]
fn v1_out_of_memory_kills_are_told() {
    if layout() != Some(Layout::V1) {
        return skip("cgroup v1 and root");
    }
    let mut sandbox = Sandbox::new(&resources(r#"{"memory": {"limit": 8388608, "swap": 8388608}}"#)).unwrap();
    let mut watch = sandbox.cgroup.watch_oom().unwrap();
    assert_eq!(watch.read().unwrap(), Oom::Nothing);
    sandbox.run("sh", &["-c", "sleep 0.2; x=$(head -c 100000000 /dev/zero | tr '\\0' x)"]);
    loop {
        let mut polls = [nix::poll::PollFd::new(watch.as_fd(), nix::poll::PollFlags::POLLIN)];
        assert_eq!(nix::poll::poll(&mut polls, 60_000u16).unwrap(), 1, "no notice");
        if watch.read().unwrap() == Oom::Happened {
            break;
        }
    }
    sandbox.reap();
    assert!(sandbox.cgroup.oom_kills().unwrap() > 0);
    // The end of the cgroup is a notice, too.
    sandbox.cgroup.remove().unwrap();
    loop {
        let mut polls = [nix::poll::PollFd::new(watch.as_fd(), nix::poll::PollFlags::POLLIN)];
        assert_eq!(nix::poll::poll(&mut polls, 60_000u16).unwrap(), 1, "no notice");
        if watch.read().unwrap() == Oom::Gone {
            break;
        }
    }
}
