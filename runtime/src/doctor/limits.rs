//! Limits of the host that many containers meet, and what shares its disks and caches.

use super::{Entry, State, number, state};
use crate::parent::resctrl;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use std::fs;

/// Numbers of `/proc/sys`, what is too few for hundreds of containers, and what happens then.
const NUMBERS: [(&str, &str, u64, &str, &str); 5] = [
    (
        "process numbers",
        "/proc/sys/kernel/pid_max",
        65_536,
        "fork(2) fails everywhere",
        "sysctl -w kernel.pid_max=4194304",
    ),
    (
        "threads",
        "/proc/sys/kernel/threads-max",
        16_384,
        "fork(2) fails everywhere",
        "sysctl -w kernel.threads-max=100000",
    ),
    (
        "inotify instances",
        "/proc/sys/fs/inotify/max_user_instances",
        512,
        "\"too many open files\" in containers that watch files, such as systemd and nodes of a cluster",
        "sysctl -w fs.inotify.max_user_instances=8192",
    ),
    (
        "inotify watches",
        "/proc/sys/fs/inotify/max_user_watches",
        65_536,
        "\"no space left on device\" in containers that watch files",
        "sysctl -w fs.inotify.max_user_watches=524288",
    ),
    (
        "open files of the host",
        "/proc/sys/fs/file-max",
        100_000,
        "open(2) fails everywhere",
        "sysctl -w fs.file-max=1000000",
    ),
];

/// The least number of open files that engines expect.
const FILES: u64 = 65_536;

pub(super) fn look() -> Vec<Entry> {
    let mut entries: Vec<Entry> = NUMBERS
        .iter()
        .map(|(name, file, least, means, fix)| {
            let (state, detail) = match number(file) {
                Some(found) if found < *least => (State::Degraded, format!("{found}, of at least {least}")),
                Some(found) => (State::Ok, found.to_string()),
                None => (State::Degraded, format!("{file} cannot be read")),
            };
            Entry::new("limits", *name, state, detail).otherwise(means, fix)
        })
        .collect();
    entries.extend([files(), weights(), cache()]);
    entries
}

fn files() -> Entry {
    let hard = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard);
    let (state, detail) = match hard {
        RLIM_INFINITY => (State::Ok, "unlimited".to_owned()),
        hard if hard < FILES => (State::Degraded, format!("{hard}, of at least {FILES}")),
        hard => (State::Ok, hard.to_string()),
    };
    Entry::new("limits", "open files", state, detail).otherwise(
        "containers that ask for more (process.rlimits) are refused, unless this process has CAP_SYS_RESOURCE",
        "raise it for the engine (LimitNOFILE= of its unit, ulimit -Hn)",
    )
}

/// Weights of input and output need a scheduler that knows them.
fn weights() -> Entry {
    let mut devices: Vec<(String, bool)> = Vec::new();
    for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let text = fs::read_to_string(entry.path().join("queue/scheduler")).unwrap_or_default();
        // Memory and loops pass on to others.
        if !text.is_empty() && !["loop", "ram", "zram"].iter().any(|kind| name.starts_with(kind)) {
            devices.push((name, text.contains("[bfq]")));
        }
    }
    let cost = fs::read_to_string("/sys/fs/cgroup/io.cost.qos").is_ok_and(|text| text.contains("enable=1"));
    let able: Vec<&str> = devices.iter().filter(|(_, able)| *able).map(|(name, _)| name.as_str()).collect();
    let (state, detail) = match (able.as_slice(), cost) {
        (_, true) => (State::Ok, "io.cost".to_owned()),
        ([], false) => (State::Degraded, "no disk has the scheduler bfq".to_owned()),
        (able, false) => (State::Ok, format!("bfq on {}", able.join(", "))),
    };
    Entry::new("limits", "weights of block devices", state, detail).otherwise(
        "linux.resources.blockIO.weight is taken and has no effect, or is refused; rates work",
        "echo bfq > /sys/block/DISK/queue/scheduler, or set io.cost.qos",
    )
}

fn cache() -> Entry {
    let known = fs::read_to_string("/proc/filesystems")
        .is_ok_and(|text| text.lines().any(|line| line.split_whitespace().last() == Some("resctrl")));
    let (state, detail) = match (resctrl::available(), known) {
        (true, _) => (State::Ok, "mounted"),
        (false, true) => (State::Degraded, "not mounted"),
        (false, false) => (state(false), "this processor or kernel has none"),
    };
    Entry::new("limits", "resctrl", state, detail)
        .otherwise("linux.intelRdt is refused", "mount -t resctrl resctrl /sys/fs/resctrl")
}
