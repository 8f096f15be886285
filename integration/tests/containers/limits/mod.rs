//! `linux.resources`, `pause` and `resume`: read back from the cgroup's files.

use integration::container::{Container, cgroup2_view};
use integration::{host, leaks, outcome, proc, since, skip};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;

/// A file of the cgroup in both versions: controller, version 1 name, version 2 name.
struct Setting(&'static str, &'static str, &'static str);

const MEMORY: Setting = Setting("memory", "memory.limit_in_bytes", "memory.max");
const MEMORY_SOFT: Setting = Setting("memory", "memory.soft_limit_in_bytes", "memory.low");
const PIDS: Setting = Setting("pids", "pids.max", "pids.max");
const CPUS: Setting = Setting("cpuset", "cpuset.cpus", "cpuset.cpus");
const MEMS: Setting = Setting("cpuset", "cpuset.mems", "cpuset.mems");
const SHARES: Setting = Setting("cpu", "cpu.shares", "cpu.weight");
const QUOTA: Setting = Setting("cpu", "cpu.cfs_quota_us", "cpu.max");
const PERIOD: Setting = Setting("cpu", "cpu.cfs_period_us", "cpu.max");
const BURST: Setting = Setting("cpu", "cpu.cfs_burst_us", "cpu.max.burst");
const IDLE: Setting = Setting("cpu", "cpu.idle", "cpu.idle");

impl Setting {
    fn of(&self, pid: i32) -> Option<String> {
        host::cgroup_text(pid, self.0, self.1, self.2)
    }
}

/// Runs a sleeping container with these resources; its init.
fn with(c: &mut Container, resources: &Value) -> i32 {
    for (key, value) in resources.as_object().unwrap() {
        c.put(&format!("/linux/resources/{key}"), value.clone());
    }
    c.sleeping()
}

/// Reads a setting, or skips the test where this machine has no such controller.
macro_rules! read {
    ($setting:expr, $pid:expr) => {
        match $setting.of($pid) {
            Some(text) => text,
            None => skip!("needs the {} controller", $setting.0),
        }
    };
}

mod update;

/// Shares are as they are in version 1 and a weight in version 2: by the new curve, in which the default of 1024
/// is the default of 100, or by the old, linear one.
#[track_caller]
fn assert_shares(text: &str, [shares, new, old]: [&str; 3]) {
    assert!([shares, new, old].contains(&text), "{text}");
}

/// Version 2 has both in one file.
#[track_caller]
fn assert_quota(of_quota: &str, of_period: &str, quota: &str, period: &str) {
    let both = format!("{quota} {period}");
    assert!((of_quota, of_period) == (quota, period) || of_quota == both, "{of_quota}, {of_period}");
}

#[test]
fn memory_limit() {
    let mut c = Container::new();
    let pid = with(&mut c, &json!({ "memory": { "limit": 41_943_040, "reservation": 20_971_520 } }));
    assert_eq!(read!(MEMORY, pid), "41943040");
    assert_eq!(read!(MEMORY_SOFT, pid), "20971520");
}

/// `swap` is memory and swap together, as in version 1; version 2 has the difference.
#[test]
fn memory_and_swap_limit() {
    let mut c = Container::new();
    let pid = with(&mut c, &json!({ "memory": { "limit": 41_943_040, "swap": 62_914_560 } }));
    assert_eq!(read!(MEMORY, pid), "41943040");
    let Some(directory) = host::cgroup1(pid, "memory") else {
        let swap = fs::read_to_string(host::cgroup2(pid).unwrap().join("memory.swap.max")).unwrap();
        assert_eq!(swap.trim(), "20971520");
        return;
    };
    match fs::read_to_string(directory.join("memory.memsw.limit_in_bytes")) {
        Ok(text) => assert_eq!(text.trim(), "62914560"),
        Err(_) => skip!("needs swap accounting"),
    }
}

#[test]
fn memory_without_a_limit() {
    let mut c = Container::new();
    let pid = with(&mut c, &json!({ "memory": { "limit": -1 } }));
    let text = read!(MEMORY, pid);
    assert!(text == "max" || text.parse::<u64>().is_ok_and(|bytes| bytes > 1 << 60), "{text}");
}

#[test]
fn memory_settings_of_version_1() {
    if !std::path::Path::new("/sys/fs/cgroup/memory").exists() {
        skip!("needs cgroup version 1");
    }
    let mut c = Container::new();
    let pid = with(&mut c, &json!({ "memory": { "swappiness": 7, "disableOOMKiller": true } }));
    let Some(directory) = host::cgroup1(pid, "memory") else { skip!("needs cgroup version 1") };
    assert_eq!(fs::read_to_string(directory.join("memory.swappiness")).unwrap(), "7\n");
    assert!(fs::read_to_string(directory.join("memory.oom_control")).unwrap().contains("oom_kill_disable 1"));
}

#[test]
fn memory_that_is_exceeded_ends_the_program() {
    let mut c = Container::new();
    c.put("/linux/resources/memory", json!({ "limit": 30_000_000, "swap": 30_000_000 }));
    if !host::has_controller("memory") {
        skip!("needs the memory controller");
    }
    c.args(&["/probe", "allocate", "100000000"]);
    assert_eq!(c.run(&[]).code(), 137);
    leaks::assert_none(&c);
}

/// A limit too small for the runtime's own init would make small containers impossible.
#[test]
fn half_a_mebibyte_is_enough_to_start() {
    since!("start within 512 KiB", "runc -", "crun 1.0");
    if !host::has_controller("memory") {
        skip!("needs the memory controller");
    }
    let mut c = Container::new();
    c.put("/linux/resources/memory", json!({ "limit": 524_288 })).args(&["/bin/busybox", "true"]);
    c.run(&[]).ok();
}

#[test]
fn a_limit_below_the_usage_is_refused_when_asked() {
    since!("memory.checkBeforeUpdate", "runc 1.1.6", "crun 1.0");
    let mut c = Container::new();
    let pid = with(&mut c, &json!({ "memory": { "limit": 100_000_000 } }));
    let before = read!(MEMORY, pid);
    let resources = c.text_path("resources.json");
    fs::write(&resources, json!({ "memory": { "limit": 1, "checkBeforeUpdate": true } }).to_string())
        .unwrap();
    let run = c.call(&["update", "--resources", &resources, &c.id]);
    assert!(!run.error().is_empty());
    assert_eq!(MEMORY.of(pid), Some(before));
    assert!(host::alive(pid));
}

#[test]
fn pids_limit() {
    let mut c = Container::new();
    let pid = with(&mut c, &json!({ "pids": { "limit": 20 } }));
    assert_eq!(read!(PIDS, pid), "20");
    let text = c.exec(
        &[],
        &["/bin/sh", "-c", "for i in $(seq 40); do sleep 60 >/dev/null 2>&1 & done; echo through"],
    );
    assert!(!text.stdout.contains("through"), "{text:#?}");
}

/// Some namespaces are entered by a process before the container's, which is not to need room.
#[test]
fn room_for_one_process_is_enough() {
    since!("room for what enters namespaces first", "runc -", "crun -");
    for namespace in ["time", "pid"] {
        let mut c = Container::new();
        c.namespace(namespace, None);
        let pid = with(&mut c, &json!({ "pids": { "limit": 1 } }));
        assert_eq!(read!(PIDS, pid), "1", "{namespace}");
    }
}

#[test]
fn pids_without_a_limit() {
    let mut c = Container::new();
    let pid = with(&mut c, &json!({ "pids": { "limit": -1 } }));
    assert_eq!(read!(PIDS, pid), "max");
}

#[test]
fn cpu_shares() {
    let mut c = Container::new();
    let pid = with(&mut c, &json!({ "cpu": { "shares": 512 } }));
    assert_shares(&read!(SHARES, pid), ["512", "59", "20"]);
}

/// What somebody writes from outside holds as long as the container, and not for the next one of its name.
#[test]
fn a_weight_written_from_outside_ends_with_the_container() {
    let mut c = Container::new();
    let (usual, half) = if host::cgroup1(1, "cpu").is_some() { ("1024", "512") } else { ("100", "50") };
    for round in 0..2 {
        let pid = c.sleeping();
        let Some(file) = host::cgroup_file(pid, "cpu", "cpu.shares", "cpu.weight") else {
            skip!("needs the cpu controller");
        };
        let read = || fs::read_to_string(&file).unwrap();
        assert_eq!(read().trim(), usual, "round {round}");
        fs::write(&file, half).unwrap();
        assert_eq!(read().trim(), half);
        c.kill("KILL").ok();
        c.wait();
        c.delete().ok();
        assert_eq!(fs::read(&file).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    }
}

#[test]
fn cpu_quota_and_period() {
    let mut c = Container::new();
    let pid = with(&mut c, &json!({ "cpu": { "quota": 25_000, "period": 50_000 } }));
    assert_quota(&read!(QUOTA, pid), &read!(PERIOD, pid), "25000", "50000");
}

#[test]
fn cpu_burst_and_idle() {
    since!("cpu.burst and cpu.idle", "runc 1.2", "crun 1.9");
    let mut c = Container::new();
    let cpu = json!({ "quota": 50_000, "period": 100_000, "burst": 10_000, "idle": 1 });
    let pid = with(&mut c, &json!({ "cpu": cpu }));
    assert_eq!((read!(BURST, pid), read!(IDLE, pid)), ("10000".into(), "1".into()));
}

#[test]
fn real_time_cpu_is_set_or_refused() {
    let mut c = Container::new();
    c.put("/linux/resources/cpu", json!({ "realtimeRuntime": 0, "realtimePeriod": 500_000 }));
    c.args(&["/probe", "sleep"]);
    let pid_file = c.text_path("pid");
    let run = {
        c.write_config();
        c.call(&["run", "--detach", "--bundle", c.bundle().to_str().unwrap(), "--pid-file", &pid_file, &c.id])
    };
    if !run.status.success() {
        let said = run.error();
        assert!(said.contains("cpu.rt_") || said.to_lowercase().contains("realtime"), "{run:#?}");
        leaks::assert_none(&c);
        return;
    }
    let file = host::cgroup1(c.pid(), "cpu").map(|directory| directory.join("cpu.rt_period_us"));
    match file.map(fs::read_to_string) {
        Some(Ok(text)) => assert_eq!(text, "500000\n"),
        _ => skip!("needs real-time limits of control groups"),
    }
}

#[test]
fn cpuset() {
    let mut c = Container::new();
    let pid = with(&mut c, &json!({ "cpu": { "cpus": "0", "mems": "0" } }));
    assert_eq!(read!(CPUS, pid), "0");
    assert_eq!(read!(MEMS, pid), "0");
    assert_eq!(proc::Status::of(&pid.to_string()).get("Cpus_allowed_list"), "0");
    // A process that comes later is bound as well.
    assert_eq!(c.exec_report(&[]).cpus, "0");
}

#[test]
fn a_cpu_that_does_not_exist_is_refused() {
    if !host::has_controller("cpuset") {
        skip!("needs the cpuset controller");
    }
    let mut c = Container::new();
    c.put("/linux/resources/cpu", json!({ "cpus": "4000" }));
    assert!(!c.run(&[]).error().is_empty());
    leaks::assert_none(&c);
}

#[test]
fn block_io_throttles() {
    let Some((major, minor)) = disk() else { skip!("needs a block device") };
    let mut c = Container::new();
    let rate = |rate: u64| json!([{ "major": major, "minor": minor, "rate": rate }]);
    let resources = json!({ "blockIO": {
        "throttleReadBpsDevice": rate(1_000_001), "throttleWriteBpsDevice": rate(1_000_002),
        "throttleReadIOPSDevice": rate(1003), "throttleWriteIOPSDevice": rate(1004),
    }});
    if !host::has_controller("blkio") && !host::has_controller("io") {
        skip!("needs the blkio controller");
    }
    let pid = with(&mut c, &resources);
    if let Some(directory) = host::cgroup1(pid, "blkio") {
        for (name, rate) in
            [("read_bps", 1_000_001), ("write_bps", 1_000_002), ("read_iops", 1003), ("write_iops", 1004)]
        {
            let text = fs::read_to_string(directory.join(format!("blkio.throttle.{name}_device"))).unwrap();
            assert_eq!(text.trim(), format!("{major}:{minor} {rate}"), "{name}");
        }
        return;
    }
    let text = host::cgroup_text(pid, "io", "", "io.max").unwrap();
    assert_eq!(text, format!("{major}:{minor} rbps=1000001 wbps=1000002 riops=1003 wiops=1004"));
}

/// The numbers of a whole disk.
fn disk() -> Option<(u64, u64)> {
    let of = |name: &String| {
        let text = fs::read_to_string(format!("/sys/block/{name}/dev")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    proc::entries("/sys/block").iter().find_map(of)
}

#[test]
fn block_io_weight_is_set_or_refused() {
    let mut c = Container::new();
    c.put("/linux/resources/blockIO", json!({ "weight": 500 })).args(&["/probe", "sleep"]);
    c.write_config();
    let pid_file = c.text_path("pid");
    let run = c.call(&[
        "run",
        "--detach",
        "--bundle",
        c.bundle().to_str().unwrap(),
        "--pid-file",
        &pid_file,
        &c.id,
    ]);
    if !run.status.success() {
        assert!(run.error().contains("weight"), "{run:#?}");
        leaks::assert_none(&c);
        return;
    }
    let pid = c.pid();
    let files = [("blkio.weight", "io.bfq.weight"), ("blkio.bfq.weight", "io.weight")];
    let found = files.iter().find_map(|(v1, v2)| host::cgroup_text(pid, "blkio", v1, v2));
    let Some(text) = found else { skip!("needs a weight of control groups for block devices") };
    assert!(text.contains("500") || text.contains("4950"), "{text}");
}

#[test]
fn huge_pages() {
    let sizes = proc::entries("/sys/kernel/mm/hugepages");
    let Some(size) = sizes.first() else { skip!("needs huge pages") };
    let kilobytes: u64 = size.trim_start_matches("hugepages-").trim_end_matches("kB").parse().unwrap();
    let name = if kilobytes >= 1 << 20 {
        format!("{}GB", kilobytes >> 20)
    } else {
        format!("{}MB", kilobytes >> 10)
    };
    let limit = kilobytes * 1024 * 3;
    let mut c = Container::new();
    c.via = cgroup2_view();
    if !host::has_controller("hugetlb") {
        skip!("needs the hugetlb controller");
    }
    let pid = with(&mut c, &json!({ "hugepageLimits": [{ "pageSize": name, "limit": limit }] }));
    let (v1, v2) = (format!("hugetlb.{name}.limit_in_bytes"), format!("hugetlb.{name}.max"));
    assert_eq!(host::cgroup_text(pid, "hugetlb", &v1, &v2), Some(limit.to_string()));
    since!("reservation of huge pages", "runc 1.2", "crun -");
    let (v1, v2) = (format!("hugetlb.{name}.rsvd.limit_in_bytes"), format!("hugetlb.{name}.rsvd.max"));
    assert_eq!(host::cgroup_text(pid, "hugetlb", &v1, &v2), Some(limit.to_string()));
}

#[test]
fn a_huge_page_size_that_does_not_exist_is_refused() {
    let mut c = Container::new();
    c.via = cgroup2_view();
    c.put("/linux/resources/hugepageLimits", json!([{ "pageSize": "3MB", "limit": 1 }]));
    assert!(!c.run(&[]).error().is_empty());
    leaks::assert_none(&c);
}

#[test]
fn unified_keys_are_written_verbatim() {
    let mut c = Container::new();
    c.via = cgroup2_view();
    let pid =
        with(&mut c, &json!({ "unified": { "cgroup.max.descendants": "17", "cgroup.max.depth": "3" } }));
    let directory = host::cgroup2(pid).unwrap();
    assert_eq!(fs::read_to_string(directory.join("cgroup.max.descendants")).unwrap(), "17\n");
    assert_eq!(fs::read_to_string(directory.join("cgroup.max.depth")).unwrap(), "3\n");
}

#[test]
fn wrong_unified_keys_are_refused() {
    for key in ["memory.wishful", "../cgroup.procs", "cgroup.max.depth/../x", ""] {
        let mut c = Container::new();
        c.via = cgroup2_view();
        c.put("/linux/resources/unified", json!({ key: "1" }));
        let run = c.run(&[]);
        assert!(!run.error().is_empty(), "{key}");
        leaks::assert_none(&c);
    }
}

/// Else a configuration could take any process of the host away from where it is, and the container could not be removed.
#[test]
fn processes_are_not_moved_by_unified_keys() {
    since!("refusal of processes among limits", "runc -", "crun -");
    let mut other = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let place = || fs::read_to_string(format!("/proc/{}/cgroup", other.id())).unwrap();
    let before = place();
    let mut c = Container::new();
    c.via = cgroup2_view();
    let runs = ["cgroup.procs", "cgroup.threads"].map(|key| {
        c.put("/linux/resources/unified", json!({ key: other.id().to_string() }));
        c.run(&[])
    });
    let after = place();
    other.kill().and_then(|()| other.wait()).unwrap();
    assert_eq!(after, before);
    for run in runs {
        assert!(run.error().contains("linux.resources.unified[\"cgroup."), "{run:#?}");
    }
    leaks::assert_none(&c);
}

#[test]
fn network_classes_are_set_or_refused() {
    let mut c = Container::new();
    c.put(
        "/linux/resources/network",
        json!({ "classID": 1_048_577, "priorities": [{ "name": "lo", "priority": 5 }] }),
    );
    if host::has_controller("net_cls") && host::has_controller("net_prio") {
        let pid = c.sleeping();
        let seen = |controller, name| host::cgroup_text(pid, controller, name, name).unwrap_or_default();
        assert_eq!(seen("net_cls", "net_cls.classid"), "1048577");
        let priorities = seen("net_prio", "net_prio.ifpriomap");
        assert!(priorities.lines().any(|line| line == "lo 5"), "{priorities}");
        return;
    }
    c.args(&["/bin/true"]);
    since!("refusal of network classes without their controller", "runc -", "crun -");
    assert!(c.run(&[]).error().contains("net_"));
    leaks::assert_none(&c);
}

#[test]
fn rdma_is_set_or_refused() {
    since!("linux.resources.rdma", "runc 1.2", "crun -");
    let mut c = Container::new();
    c.put("/linux/resources/rdma", json!({ "mlx5_1": { "hcaHandles": 3, "hcaObjects": 1000 } }));
    if host::has_controller("rdma") {
        skip!("needs a machine without rdma devices to be asserted");
    }
    since!("refusal of rdma without its controller", "runc -", "crun -");
    assert!(c.run(&[]).error().contains("rdma"));
    leaks::assert_none(&c);
}

#[test]
fn intel_rdt_is_refused_where_it_is_not() {
    if std::path::Path::new("/sys/fs/resctrl/schemata").exists() {
        skip!("needs a machine without resctrl");
    }
    for rdt in [json!({ "closID": "group", "l3CacheSchema": "L3:0=f" }), json!({ "enableMonitoring": true })]
    {
        let mut c = Container::new();
        c.put("/linux/intelRdt", rdt.clone());
        let run = c.run(&[]);
        since!("refusal of all of intelRdt", "runc -", "crun -");
        assert!(
            run.error().to_lowercase().contains("rdt") || run.error().contains("resctrl"),
            "{rdt}: {run:#?}"
        );
        leaks::assert_none(&c);
    }
}

#[test]
fn pause_stops_every_process_and_resume_lets_them_go_on() {
    for (name, via) in [("native", Container::new().via.clone()), ("version 2", cgroup2_view())] {
        let mut c = Container::new();
        c.via = via;
        c.put("/root/readonly", json!(false)).shell("while :; do echo tick >> /ticks; sleep 0.005; done");
        c.run_detached();
        let size = || fs::metadata(c.rootfs("ticks")).map_or(0, |meta| meta.size());
        outcome::until("the first tick", || size() > 0);
        c.call(&["pause", &c.id]).ok();
        assert_eq!(c.status(), "paused", "{name}");
        let frozen = size();
        for _ in 0..50 {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        assert_eq!(size(), frozen, "{name}: it runs on");
        c.call(&["resume", &c.id]).ok();
        assert_eq!(c.status(), "running", "{name}");
        outcome::until("a further tick", || size() > frozen);
    }
}

#[test]
fn pause_and_resume_need_the_right_state() {
    let mut c = Container::new();
    c.sleeping();
    assert!(!c.call(&["resume", &c.id]).error().is_empty());
    c.call(&["pause", &c.id]).ok();
    assert!(!c.call(&["pause", &c.id]).error().is_empty());
    c.call(&["resume", &c.id]).ok();
    c.kill("KILL").ok();
    c.wait();
    assert!(!c.call(&["pause", &c.id]).error().is_empty());
}

/// Docker writes zeroes for what was not asked for: they mean nothing, not a limit of nothing.
#[test]
fn zeroes_are_no_limits() {
    let mut c = Container::new();
    let pid = with(
        &mut c,
        &json!({ "memory": { "disableOOMKiller": false }, "cpu": { "shares": 0, "quota": 0, "period": 0 },
                 "blockIO": { "weight": 0 } }),
    );
    assert_shares(&read!(SHARES, pid), ["1024", "100", "100"]);
    let quota = read!(QUOTA, pid);
    assert!(["-1", "max 100000"].contains(&quota.as_str()), "{quota}");
}
