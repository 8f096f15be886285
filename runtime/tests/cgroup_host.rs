//! Control groups on this machine's own layout: v1 with the real controllers, or v2, whichever is mounted.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_wrap)]

mod support;

use runtime::cgroup::{Cgroup, Driver, Mounts, Oom, create};
use runtime::spec::Resources;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;
use support::{
    Layout, Sandbox, as_user, cgroups_of, child_into, layout, request, resources, skip, unique, v2_view,
};

/// Runs on v1 and, in a mount namespace with a v2 hierarchy, on v2.
fn on_both(test: fn(Layout)) {
    match layout() {
        None => return skip("root and a writable /sys/fs/cgroup"),
        Some(layout) => test(layout),
    }
    if layout() == Some(Layout::V1) {
        std::thread::spawn(move || match v2_view() {
            true => test(Layout::V2),
            false => skip("a v2 hierarchy in a mount namespace"),
        })
        .join()
        .unwrap();
    }
}

fn no_trace(path: &str) {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        found.push(entry.path().join(&path[1..]));
    }
    found.push(Path::new("/sys/fs/cgroup").join(&path[1..]));
    found.retain(|path| path.exists());
    assert!(found.is_empty(), "left behind: {found:?}");
}

#[test]
fn made_joined_and_removed() {
    on_both(|_| {
        let parent = unique();
        let path = format!("{parent}/container");
        let mut sandbox = Sandbox::at(&path, &Resources::default()).unwrap();
        let pid = sandbox.run("sleep", &["1000"]);
        for line in cgroups_of(pid) {
            // Hierarchies that this view does not have stay where they are.
            let name = line.split(':').nth(1).unwrap();
            if sandbox.cgroup.record().dirs.iter().any(|(names, _)| names == name) {
                assert!(line.ends_with(&path), "{line}");
            }
        }
        assert_eq!(sandbox.cgroup.processes().unwrap(), [pid]);
        assert!(sandbox.cgroup.is_populated().unwrap());
        sandbox.cgroup.kill_all(9).unwrap();
        sandbox.cgroup.wait_empty().unwrap();
        assert_eq!(sandbox.reap(), ["signal: 9 (SIGKILL)"]);
        let record = sandbox.cgroup.record();
        sandbox.cgroup.remove().unwrap();
        // Gone is gone: each later look has nothing to say.
        let mut again = Cgroup::open(&record).unwrap();
        assert!(!again.is_frozen().unwrap() && !again.is_populated().unwrap());
        assert!(again.processes().unwrap().is_empty());
        again.kill_all(15).unwrap();
        again.remove().unwrap();
        // The directory above was made for the container and is shared from then on.
        for (_, dir) in record.dirs {
            let _ = std::fs::remove_dir(Path::new(&dir).parent().unwrap());
        }
        no_trace(&parent);
    });
}

/// The way a container's process takes: cloned into v2, writing itself into v1.
#[test]
fn cloned_into_the_cgroup() {
    on_both(|_| {
        let mut sandbox = Sandbox::new(&Resources::default()).unwrap();
        let joins: Vec<_> = sandbox.cgroup.join_files().collect();
        let pid = child_into(sandbox.cgroup.clone_target(), &joins).unwrap();
        let places = cgroups_of(pid);
        for (names, _) in sandbox.cgroup.record().dirs {
            let place = places.iter().find(|line| line.split(':').nth(1) == Some(&names)).unwrap();
            assert!(place.ends_with(&sandbox.path), "{places:?}");
        }
        sandbox.cgroup.kill_all(9).unwrap();
        nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None).unwrap();
        sandbox.cgroup.remove().unwrap();
        no_trace(&sandbox.path);
    });
}

#[test]
fn a_used_or_frozen_cgroup_is_refused() {
    on_both(|_| {
        let mut sandbox = Sandbox::new(&Resources::default()).unwrap();
        let none = BTreeMap::new();
        let nothing = Resources::default();
        let pid = sandbox.run("sleep", &["1000"]);
        let error = create(&request(&sandbox.path, &nothing, &none)).unwrap_err().to_string();
        assert!(error.contains("container's cgroup is not empty: 1 process(es) found"), "{error}");
        sandbox.cgroup.kill_all(9).unwrap();
        sandbox.reap();
        sandbox.cgroup.wait_empty().unwrap();
        sandbox.cgroup.freeze().unwrap();
        let error = create(&request(&sandbox.path, &nothing, &none)).unwrap_err().to_string();
        assert!(error.contains("container's cgroup unexpectedly frozen"), "{error}");
        sandbox.cgroup.thaw().unwrap();
        drop(create(&request(&sandbox.path, &nothing, &none)).unwrap());
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    });
}

#[test]
fn frozen_and_thawed() {
    on_both(|_| {
        let mut sandbox = Sandbox::new(&Resources::default()).unwrap();
        assert!(!sandbox.cgroup.is_frozen().unwrap());
        let pid = sandbox.run("sh", &["-c", "while :; do :; done"]);
        sandbox.cgroup.freeze().unwrap();
        assert!(sandbox.cgroup.is_frozen().unwrap());
        let time = || std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
        let before = time();
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert_eq!(before, time(), "a frozen process ran");
        sandbox.cgroup.thaw().unwrap();
        assert!(!sandbox.cgroup.is_frozen().unwrap());
        // A frozen container can be killed, and by any signal that kills.
        sandbox.cgroup.freeze().unwrap();
        sandbox.cgroup.kill_all(9).unwrap();
        assert_eq!(sandbox.reap(), ["signal: 9 (SIGKILL)"]);
    });
}

#[test]
fn signals_reach_every_process_also_below() {
    on_both(|_| {
        let mut sandbox = Sandbox::new(&Resources::default()).unwrap();
        let first = sandbox.run("sleep", &["1000"]);
        let mut below = Cgroup::default();
        if let Ok(cgroup) =
            create(&request(&format!("{}/a/b", sandbox.path), &Resources::default(), &BTreeMap::new()))
        {
            below = cgroup;
        }
        let second = sandbox.run("sleep", &["1000"]);
        below.attach(second).unwrap();
        let mut pids = sandbox.cgroup.processes().unwrap();
        pids.sort_unstable();
        let mut want = [first, second];
        want.sort_unstable();
        assert_eq!(pids, want);
        sandbox.cgroup.kill_all(15).unwrap();
        assert_eq!(sandbox.reap(), ["signal: 15 (SIGTERM)", "signal: 15 (SIGTERM)"]);
        sandbox.cgroup.remove().unwrap();
        no_trace(&sandbox.path);
    });
}

/// Removing must wait for processes that are still on their way out, without a wall clock of its own.
#[test]
fn removal_waits_for_the_dying() {
    on_both(|_| {
        for _ in 0..20 {
            let mut sandbox = Sandbox::new(&Resources::default()).unwrap();
            for _ in 0..5 {
                sandbox.run("sleep", &["1000"]);
            }
            sandbox.cgroup.kill_all(9).unwrap();
            sandbox.cgroup.remove().unwrap();
            no_trace(&sandbox.path);
            sandbox.reap();
        }
    });
}

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
    sandbox.run("sh", &["-c", "x=$(head -c 3000000 /dev/zero | tr '\\0' x); while :; do :; done"]);
    let mut stats = sandbox.cgroup.stats().unwrap();
    for _ in 0..500 {
        if stats.cpu.user > 0 && stats.memory.usage.usage > 2_000_000 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
        stats = sandbox.cgroup.stats().unwrap();
    }
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

#[test]
fn devices_are_controlled_live() {
    on_both(|layout| {
        let mut sandbox =
            Sandbox::new(&resources(r#"{"devices": [{"allow": false, "access": "rwm"}]}"#)).unwrap();
        let can = |sandbox: &mut Sandbox, device: &str| {
            let script = format!("read go; exec 3< {device}");
            let mut child = std::process::Command::new("sh")
                .args(["-c", &script])
                .stdin(std::process::Stdio::piped())
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap();
            sandbox.cgroup.attach(child.id() as i32).unwrap();
            drop(child.stdin.take());
            child.wait().unwrap().success()
        };
        assert!(can(&mut sandbox, "/dev/null"));
        assert!(!can(&mut sandbox, "/dev/kmsg"));
        let allow = r#"{"devices": [{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]}"#;
        let deny =
            r#"{"devices": [{"allow": false, "type": "c", "major": 1, "minor": 11, "access": "rwm"}]}"#;
        sandbox.cgroup.update(&resources(allow)).unwrap();
        assert!(can(&mut sandbox, "/dev/kmsg"));
        let rounds = if layout == Layout::V2 { 1000 } else { 50 };
        for _ in 0..rounds {
            sandbox.cgroup.update(&resources(deny)).unwrap();
            sandbox.cgroup.update(&resources(allow)).unwrap();
        }
        assert!(can(&mut sandbox, "/dev/kmsg"));
        let record = sandbox.cgroup.record();
        assert!(record.devices.as_ref().unwrap().len() <= 2, "{record:?}");
        if layout == Layout::V2 {
            let dir = std::fs::File::open(sandbox.dir("")).unwrap();
            assert_eq!(runtime::sys::bpf::device_filters(dir.as_fd()).unwrap().len(), 1);
        }
        // Another command knows the rules from the record.
        let mut again = Cgroup::open(&record).unwrap();
        again.update(&resources(deny)).unwrap();
        assert!(!can(&mut sandbox, "/dev/kmsg"));
        assert!(can(&mut sandbox, "/dev/null"));
    });
}

/// A privileged container costs no filter, and can get one.
#[test]
fn a_privileged_container_can_be_restricted_later() {
    on_both(|layout| {
        let all = r#"{"devices": [{"allow": true, "access": "rwm"}]}"#;
        let mut sandbox = Sandbox::new(&resources(all)).unwrap();
        let filters = |sandbox: &Sandbox| {
            let dir = std::fs::File::open(sandbox.dir("")).unwrap();
            runtime::sys::bpf::device_filters(dir.as_fd()).unwrap().len()
        };
        let deny =
            r#"{"devices": [{"allow": false, "type": "c", "major": 1, "minor": 11, "access": "rwm"}]}"#;
        match layout {
            Layout::V2 => {
                assert_eq!(filters(&sandbox), 0);
                sandbox.cgroup.update(&resources(deny)).unwrap();
                assert_eq!(filters(&sandbox), 1);
                sandbox.cgroup.update(&resources(all)).unwrap();
                assert_eq!(filters(&sandbox), 1);
            }
            Layout::V1 => {
                assert_eq!(sandbox.read("devices", "devices.list"), "a *:* rwm");
                sandbox.cgroup.update(&resources(deny)).unwrap();
                assert_eq!(sandbox.read("devices", "devices.list"), "a *:* rwm");
                sandbox
                    .cgroup
                    .update(&resources(r#"{"devices": [{"allow": false, "access": "rwm"}]}"#))
                    .unwrap();
                assert!(sandbox.read("devices", "devices.list").contains("c 1:3 rwm"));
            }
        }
    });
}

#[test]
fn exec_goes_below_and_never_beside() {
    on_both(|layout| {
        let sandbox = Sandbox::new(&Resources::default()).unwrap();
        let sibling = Sandbox::at(&format!("{}-evil", sandbox.path), &Resources::default()).unwrap();
        let me = std::process::id() as i32;
        let name = sibling.path.rsplit('/').next().unwrap();
        for bad in ["..".to_owned(), format!("../{name}"), "x/../../y".to_owned()] {
            let error = sandbox.cgroup.for_exec(&[bad], me).unwrap_err().to_string();
            assert!(error.contains("bad sub cgroup path"), "{error}");
        }
        let error = sandbox.cgroup.for_exec(&["nonexistent".to_owned()], me).unwrap_err().to_string();
        assert!(error.contains("no such file or directory"), "{error}");
        let error = sandbox.cgroup.for_exec(&["whaaat:/".to_owned()], me).unwrap_err().to_string();
        assert!(error.contains("--cgroup: whaaat"), "{error}");
        for (_, dir) in sandbox.cgroup.record().dirs {
            std::fs::create_dir(format!("{dir}/sub")).unwrap();
        }
        for path in ["/", "sub", "/sub/"] {
            let target = sandbox.cgroup.for_exec(&[path.to_owned()], me).unwrap();
            assert_eq!(target.join_files().count(), sandbox.cgroup.join_files().count());
            assert_eq!(target.clone_target().is_some(), sandbox.cgroup.clone_target().is_some());
            assert!(target.fallback().unwrap().is_none());
        }
        if layout == Layout::V1 {
            let wanted = ["memory:sub".to_owned(), "cpu,cpuacct:/".to_owned()];
            assert!(sandbox.cgroup.for_exec(&wanted, me).is_ok());
            assert!(sandbox.cgroup.for_exec(&["cpu:/".to_owned(), "x".to_owned()], me).is_err());
        }
    });
}

/// A container that made cgroups of its own and gave them controllers has no room at its root.
#[test]
fn exec_falls_back_to_the_init_s_cgroup() {
    if layout().is_none() || !v2_view() {
        return skip("root and a v2 hierarchy");
    }
    let mut sandbox = Sandbox::new(&Resources::default()).unwrap();
    let root = sandbox.dir("");
    std::fs::create_dir(format!("{root}/init")).unwrap();
    let pid = sandbox.run("sleep", &["1000"]);
    std::fs::write(format!("{root}/init/cgroup.procs"), pid.to_string()).unwrap();
    let controllers = std::fs::read_to_string(format!("{root}/cgroup.controllers")).unwrap();
    let Some(first) = controllers.split_whitespace().find(|name| !["cpu", "cpuset", "pids"].contains(name))
    else {
        return skip("a controller on v2 that keeps processes out of inner cgroups");
    };
    std::fs::write(format!("{root}/cgroup.subtree_control"), format!("+{first}")).unwrap();
    let target = sandbox.cgroup.for_exec(&[], pid).unwrap();
    assert_eq!(child_into(target.clone_target(), &[]), Err(runtime::sys::Errno::EBUSY));
    let target = target.fallback().unwrap().unwrap();
    let child = child_into(target.clone_target(), &[]).unwrap();
    let place = cgroups_of(child).into_iter().find(|line| line.starts_with("0::")).unwrap();
    assert!(place.ends_with(&format!("{}/init", sandbox.path)), "{place}");
    sandbox.cgroup.kill_all(9).unwrap();
    nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(child), None).unwrap();
    // The tree that the container made goes with it.
    sandbox.cgroup.remove().unwrap();
    assert!(!Path::new(&root).exists());
}

#[test]
fn a_mount_inside_shows_the_container_s_cgroups() {
    on_both(|layout| {
        let sandbox = Sandbox::new(&Resources::default()).unwrap();
        match (layout, sandbox.cgroup.mounts().unwrap()) {
            (Layout::V2, Mounts::Unified(directory)) => assert_eq!(directory, sandbox.dir("")),
            (Layout::V1, Mounts::Legacy(mounts)) => {
                assert!(mounts.iter().all(|mount| Path::new(&mount.source).is_dir()), "{mounts:?}");
                let memory = mounts.iter().find(|mount| mount.name == "memory").unwrap();
                assert_eq!(
                    (memory.source.as_str(), memory.options.as_str()),
                    (&*sandbox.dir("memory"), "memory")
                );
                let systemd = mounts.iter().find(|mount| mount.name == "systemd");
                assert!(systemd.is_none_or(|mount| mount.options == "name=systemd"));
                assert!(mounts.iter().all(|mount| mount.name != "unified"));
            }
            other => panic!("{other:?}"),
        }
    });
}

const NOBODY: u32 = 65534;

/// As an ordinary user, with or without a wish for a certain cgroup.
fn rootless(path: &'static str, json: &'static str) -> Result<(bool, bool), String> {
    as_user(NOBODY, move || {
        let (limits, none) = (resources(json), BTreeMap::new());
        let mut asked = request(path, &limits, &none);
        asked.rootless = true;
        let cgroup = create(&asked).map_err(|error| error.to_string())?;
        Ok((cgroup.is_none(), cgroup.is_frozen().unwrap()))
    })
}

#[test]
fn without_delegation_a_container_without_limits_runs_and_others_are_told() {
    on_both(|_| {
        // Devices are root's business alone: rules are no limits here.
        for json in ["{}", r#"{"devices": [{"allow": false, "access": "rwm"}]}"#] {
            assert_eq!(rootless("", json), Ok((true, false)), "{json}");
        }
        let error = rootless("", r#"{"pids": {"limit": 5}}"#).unwrap_err();
        for part in [
            "unable to apply cgroup configuration: mkdir /sys/fs/cgroup/",
            "permission denied",
            "linux.resources.pids.limit: 5 needs a cgroup",
            "rootless needs no limits + no cgrouppath when no permission is granted for cgroups",
        ] {
            assert!(error.contains(part), "{part} not in {error}");
        }
        let error = rootless("/corten-test-nobody", "{}").unwrap_err();
        assert!(error.contains("unable to apply cgroup configuration: mkdir /sys/fs/cgroup/"), "{error}");
        assert!(error.contains("permission denied"), "{error}");
        no_trace("/corten-test-nobody");
    });
}

/// A user who was given a v2 cgroup can limit containers below it, as far as controllers were given, too.
#[test]
fn with_delegation_an_ordinary_user_has_limits() {
    if layout().is_none() || !v2_view() {
        return skip("root and a v2 hierarchy");
    }
    let path = unique();
    let (nothing, none) = (Resources::default(), BTreeMap::new());
    let mut asked = request(&path, &nothing, &none);
    asked.owner = Some(NOBODY);
    let given = Sandbox::with(&asked).unwrap();
    let inner = format!("{path}/inner");
    let limits = |json: &'static str| {
        let inner = inner.clone();
        as_user(NOBODY, move || {
            let (limits, none) = (resources(json), BTreeMap::new());
            let mut asked = request(&inner, &limits, &none);
            asked.rootless = true;
            let cgroup = create(&asked).map_err(|error| error.to_string())?;
            let mut again = Cgroup::open(&cgroup.record()).map_err(|error| error.to_string())?;
            again
                .freeze()
                .and_then(|()| again.thaw())
                .and_then(|()| again.remove())
                .map_err(|error| error.to_string())
        })
    };
    assert_eq!(limits("{}"), Ok(()));
    let controllers = given.read("", "cgroup.controllers");
    if controllers.split(' ').any(|name| name == "pids") {
        assert_eq!(limits(r#"{"pids": {"limit": 5}}"#), Ok(()));
    } else {
        let error = limits(r#"{"pids": {"limit": 5}}"#).unwrap_err();
        assert!(
            error.contains("linux.resources.pids.limit: 5: the pids controller is not available"),
            "{error}"
        );
    }
}

#[test]
fn the_disabled_driver_makes_nothing() {
    let none = BTreeMap::new();
    let limits = resources(r#"{"pids": {"limit": 5}}"#);
    let path = unique();
    let mut asked = request(&path, &limits, &none);
    asked.driver = Driver::Disabled;
    let mut cgroup = create(&asked).unwrap();
    assert!(cgroup.is_none() && cgroup.clone_target().is_none() && cgroup.join_files().next().is_none());
    assert!(!cgroup.is_frozen().unwrap() && !cgroup.needs_adopt());
    assert!(cgroup.freeze().unwrap_err().to_string().contains("cannot toggle freezer"));
    assert!(cgroup.update(&limits).unwrap_err().to_string().contains("no cgroup of its own"));
    cgroup.remove().unwrap();
    if Path::new("/sys/fs/cgroup").exists() {
        no_trace(&path);
    }
}
