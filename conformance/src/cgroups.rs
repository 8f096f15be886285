//! What the kernel says about a container's cgroups, read from outside; and the removal of the folders that a
//! suite itself made.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Files that hold a limit, v1 and v2. Counters would differ from run to run.
const LIMITS: [&str; 41] = [
    "blkio.bfq.weight",
    "blkio.throttle.read_bps_device",
    "blkio.throttle.read_iops_device",
    "blkio.throttle.write_bps_device",
    "blkio.throttle.write_iops_device",
    "cgroup.freeze",
    "cgroup.type",
    "cpu.cfs_burst_us",
    "cpu.cfs_period_us",
    "cpu.cfs_quota_us",
    "cpu.idle",
    "cpu.max",
    "cpu.max.burst",
    "cpu.shares",
    "cpu.weight",
    "cpuset.cpus",
    "cpuset.mems",
    "devices.list",
    "freezer.state",
    "hugetlb.2MB.limit_in_bytes",
    "hugetlb.2MB.max",
    "hugetlb.2MB.rsvd.max",
    "io.bfq.weight",
    "io.max",
    "io.weight",
    "memory.high",
    "memory.limit_in_bytes",
    "memory.low",
    "memory.max",
    "memory.memsw.limit_in_bytes",
    "memory.min",
    "memory.oom.group",
    "memory.oom_control",
    "memory.soft_limit_in_bytes",
    "memory.swap.max",
    "memory.swappiness",
    "memory.use_hierarchy",
    "net_cls.classid",
    "net_prio.ifpriomap",
    "pids.max",
    "rdma.max",
];

/// Every limit of every cgroup a process is in.
pub(crate) fn limits(pid: &str) -> Value {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let mut all = BTreeMap::new();
    for line in text.lines() {
        let Some((controllers, folder)) = folder_of(line) else { continue };
        let mut files = BTreeMap::new();
        for name in LIMITS {
            if let Ok(value) = fs::read_to_string(folder.join(name)) {
                let mut rows: Vec<&str> = value.lines().filter(|row| !row.starts_with("oom_kill ")).collect();
                rows.sort_unstable();
                files.insert(name, json!(rows));
            }
        }
        if !files.is_empty() {
            all.insert(controllers, files);
        }
    }
    json!(all)
}

/// Which of the cgroups in a saved /proc/PID/cgroup still exist, except those that are the root.
pub(crate) fn remains(text: &str) -> Value {
    let exists = |line: &str| {
        let (controllers, folder) = folder_of(line)?;
        (!line.ends_with(":/") && folder.exists()).then_some(controllers)
    };
    json!(text.lines().filter_map(exists).collect::<Vec<_>>())
}

/// The folder of one line of /proc/PID/cgroup, in this process's view.
fn folder_of(line: &str) -> Option<(String, PathBuf)> {
    let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
    let name = match controllers {
        "" if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() => "",
        "" => "unified",
        other => other.trim_start_matches("name="),
    };
    Some((controllers.to_owned(), Path::new("/sys/fs/cgroup").join(name).join(path.trim_start_matches('/'))))
}

/// Remove the empty cgroups below `name`, and `name` itself, in every hierarchy.
pub(crate) fn remove(name: &str) {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    for hierarchy in hierarchies.chain([root.to_owned()]) {
        remove_tree(&hierarchy.join(name.trim_start_matches('/')));
    }
}

fn remove_tree(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_tree(&entry.path());
        }
    }
    // One that still has a process stays; it belongs to a container that resisted.
    let _ = fs::remove_dir(folder);
}
