//! What we wrote, read by others: the cgroups-rs library, which shares no code with us.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_wrap)]

mod support;

use cgroups_rs::cpu::CpuController;
use cgroups_rs::cpuset::CpuSetController;
use cgroups_rs::freezer::{FreezerController, FreezerState};
use cgroups_rs::memory::MemController;
use cgroups_rs::pid::PidController;
use cgroups_rs::{Cgroup, MaxValue, hierarchies};
use support::{Layout, Sandbox, layout, resources, skip};

const LIMITS: &str = r#"{"memory": {"limit": 104857600, "swap": 209715200, "reservation": 52428800},
    "cpu": {"shares": 512, "quota": 25000, "period": 100000, "cpus": "0", "mems": "0"}, "pids": {"limit": 20}}"#;

#[test]
fn an_independent_reader_finds_the_limits() {
    let Some(layout) = layout() else { return skip("root and a writable /sys/fs/cgroup") };
    let controllers = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers");
    if controllers.is_ok_and(|names| !names.contains("memory")) {
        return skip("the memory controller on v2");
    }
    let mut sandbox = Sandbox::new(&resources(LIMITS)).unwrap();
    let pid = sandbox.run("sleep", &["1000"]);
    let read = Cgroup::load(hierarchies::auto(), sandbox.path.trim_start_matches('/'));

    let pids: &PidController = read.controller_of().unwrap();
    assert_eq!(pids.get_pid_max().unwrap(), MaxValue::Value(20));
    assert_eq!(pids.get_pid_current().unwrap(), 1);

    let memory: &MemController = read.controller_of().unwrap();
    match layout {
        Layout::V1 => {
            assert_eq!(memory.memory_stat().limit_in_bytes, 104_857_600);
            assert_eq!(memory.memory_stat().soft_limit_in_bytes, 52_428_800);
            assert_eq!(memory.memswap().limit_in_bytes, 209_715_200);
        }
        Layout::V2 => {
            let all = memory.get_mem().unwrap();
            assert_eq!(all.max, Some(MaxValue::Value(104_857_600)));
            assert_eq!(all.low, Some(MaxValue::Value(52_428_800)));
            assert_eq!(memory.memswap().limit_in_bytes, 104_857_600);
        }
    }

    let cpu: &CpuController = read.controller_of().unwrap();
    assert_eq!(cpu.shares().unwrap(), if layout == Layout::V1 { 512 } else { 59 });
    assert_eq!((cpu.cfs_quota().unwrap(), cpu.cfs_period().unwrap()), (25_000, 100_000));
    let set: &CpuSetController = read.controller_of().unwrap();
    assert_eq!((set.cpuset().cpus, set.cpuset().mems), (vec![(0, 0)], vec![(0, 0)]));

    let tasks: Vec<u64> = read.procs().into_iter().map(|process| process.pid).collect();
    assert_eq!(tasks, [u64::try_from(pid).unwrap()]);
    // And the other way round: what they change, we see.
    let freezer: &FreezerController = read.controller_of().unwrap();
    freezer.freeze().unwrap();
    assert!(sandbox.cgroup.is_frozen().unwrap());
    sandbox.cgroup.thaw().unwrap();
    assert!(matches!(freezer.state(), Ok(FreezerState::Thawed)));
}
