//! Control groups: their layout, their controllers, what may be delegated, and the filter of devices.

use super::{Entry, State, state, words};
use crate::cgroup::{self, Layout};
use crate::privilege;
use crate::sys::{Errno, reason};
use nix::unistd::{AccessFlags, access, geteuid};

/// Controllers by their names on v2, with the one on v1 where it differs, and what is refused without.
const CONTROLLERS: [(&str, &str, &str); 8] = [
    ("cpu", "cpu", "linux.resources.cpu (shares, quota, period) is refused"),
    ("cpuset", "cpuset", "linux.resources.cpu.cpus and mems are refused"),
    ("memory", "memory", "linux.resources.memory is refused: a container can use up the memory"),
    ("io", "blkio", "linux.resources.blockIO is refused"),
    ("pids", "pids", "linux.resources.pids is refused: a container can use up the process numbers"),
    ("hugetlb", "hugetlb", "linux.resources.hugepageLimits is refused"),
    ("rdma", "rdma", "linux.resources.rdma is refused"),
    ("devices", "devices", ""),
];

const ENABLE: &str =
    "boot with systemd.unified_cgroup_hierarchy=1 (or cgroup_no_v1=all), and without cgroup_disable=";

/// A controller that is not even in `/proc/cgroups`.
const UNKNOWN: &str = "the kernel does not have it";

pub(super) fn look() -> Vec<Entry> {
    let layout = cgroup::layout();
    let mut entries = vec![the_layout(&layout)];
    for (name, v1, without) in CONTROLLERS {
        if name != "devices" {
            let entry = controller(&layout, name, v1);
            let fix = if entry.detail == UNKNOWN { "use a kernel that is built with it" } else { ENABLE };
            entries.push(entry.otherwise(without, fix));
        }
    }
    entries.push(devices(&layout));
    entries.push(delegation(&layout));
    entries.extend(files(&layout));
    entries
}

fn the_layout(layout: &Layout) -> Entry {
    let (state, detail) = match layout {
        Layout::Unified { .. } => (State::Ok, "v2".to_owned()),
        Layout::Hybrid { .. } => (State::Degraded, "hybrid: controllers on v1, v2 beside them".to_owned()),
        Layout::Legacy { .. } => (State::Degraded, "v1".to_owned()),
        Layout::Absent => (State::Missing, "nothing is mounted at /sys/fs/cgroup".to_owned()),
    };
    let means = match state {
        State::Missing => "containers have no limits, and cannot be paused (--cgroup-manager disabled)",
        _ => "no rootless limits, no CLONE_INTO_CGROUP, no pressure figures; processes are killed one by one",
    };
    let fix = match state {
        State::Missing => "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        _ => ENABLE,
    };
    Entry::new("cgroups", "layout", state, detail).otherwise(means, fix)
}

fn controller(layout: &Layout, v2: &str, v1: &str) -> Entry {
    let has = |list: &[String], name: &str| list.iter().any(|other| other == name);
    let known = std::fs::read_to_string("/proc/cgroups").unwrap_or_default();
    let known = known.lines().any(|line| line.split_whitespace().next() == Some(v1));
    let (state, detail) = match layout {
        Layout::Unified { controllers, enabled } if has(controllers, v2) => {
            let below = if has(enabled, v2) {
                "enabled for groups below the root"
            } else {
                "enabled when it is needed"
            };
            (State::Ok, format!("v2, {below}"))
        }
        Layout::Hybrid { legacy, .. } | Layout::Legacy { legacy } if has(legacy, v1) => {
            (State::Ok, "v1".to_owned())
        }
        Layout::Hybrid { controllers, .. } if has(controllers, v2) => (State::Ok, "v2, beside v1".to_owned()),
        _ if known => {
            (State::Missing, "the kernel has it, but it is not mounted or delegated here".to_owned())
        }
        _ => (State::Missing, UNKNOWN.to_owned()),
    };
    Entry::new("cgroups", v2, state, detail)
}

/// The filter of devices: a list on v1, a program on v2.
fn devices(layout: &Layout) -> Entry {
    let legacy = match layout {
        Layout::Hybrid { legacy, .. } | Layout::Legacy { legacy } => {
            legacy.iter().any(|name| name == "devices")
        }
        _ => false,
    };
    let (state, detail) = match cgroup::can_load_device_filter() {
        Ok(()) => (State::Ok, if legacy { "v1, and BPF for v2" } else { "BPF" }.to_owned()),
        Err(errno) if legacy => (State::Ok, format!("v1; BPF: {}", reason(errno))),
        Err(Errno::EPERM) if !geteuid().is_root() => {
            (State::Degraded, "BPF: only root may load it".to_owned())
        }
        Err(errno) => (State::Missing, format!("BPF: {}", reason(errno))),
    };
    Entry::new("cgroups", "devices", state, detail).otherwise(
        "device rules are left out rootless, where no device can be made either; as root the container is refused",
        "a kernel with CONFIG_CGROUP_BPF, and CAP_BPF for this process",
    )
}

/// Whether this user may make control groups below its own.
fn delegation(layout: &Layout) -> Entry {
    if privilege::over_the_host() {
        return Entry::new("cgroups", "delegation", State::Ok, "root needs none");
    }
    let own = cgroup::own_unified_directory().unwrap_or_default();
    let writable = !own.is_empty() && access(own.as_str(), AccessFlags::W_OK).is_ok();
    let given = words(&format!("{own}/cgroup.controllers"));
    let (state, detail) = match layout {
        Layout::Unified { .. } if writable && !given.is_empty() => (State::Ok, given.join(" ")),
        Layout::Unified { .. } if writable => (State::Degraded, "no controllers".to_owned()),
        Layout::Unified { .. } => (State::Missing, format!("{own} belongs to somebody else")),
        _ => (State::Missing, "only v2 can be delegated".to_owned()),
    };
    Entry::new("cgroups", "delegation", state, detail).otherwise(
        "rootless containers have no limits, and those that ask for some are refused",
        "systemctl edit user@.service: [Service] Delegate=cpu cpuset io memory pids; then log in again",
    )
}

/// Files that came to v2 later.
fn files(layout: &Layout) -> Vec<Entry> {
    let Some(own) = cgroup::own_unified_directory().filter(|_| !matches!(layout, Layout::Legacy { .. }))
    else {
        return Vec::new();
    };
    let top = matches!(own.as_str(), "/sys/fs/cgroup" | "/sys/fs/cgroup/unified");
    [
        ("cgroup.freeze", "5.2", "containers cannot be paused"),
        ("cgroup.kill", "5.14", "processes of a container are killed one by one"),
    ]
    .into_iter()
    .filter(|_| !top)
    .map(|(file, release, without)| {
        let there = std::path::Path::new(&own).join(file).exists();
        Entry::new("cgroups", file, state(there), format!("since Linux {release}"))
            .otherwise(without, "use a newer kernel")
    })
    .collect()
}
