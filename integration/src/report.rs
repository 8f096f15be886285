//! What the probe sees from inside a container, sent to the test as JSON on standard output.

use crate::proc::Mount;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The names of the capabilities in the order of their numbers (linux/capability.h).
pub const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The names of the capabilities in a mask.
pub fn capability_names(mask: u64) -> Vec<&'static str> {
    CAPABILITIES.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0).map(|(_, name)| *name).collect()
}

/// The whole report.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// Process id, in the container's namespace.
    pub pid: i32,
    /// Parent's process id, in the container's namespace; 0 when it is outside.
    pub ppid: i32,
    /// Session id.
    pub sid: i32,
    /// Process group.
    pub pgid: i32,
    /// Real, effective, saved and filesystem user id.
    pub uid: Vec<u32>,
    /// Real, effective, saved and filesystem group id.
    pub gid: Vec<u32>,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// The five capability sets.
    pub caps: Caps,
    /// PR_GET_NO_NEW_PRIVS.
    pub no_new_privs: bool,
    /// 0 off, 1 strict, 2 filter.
    pub seccomp: u32,
    /// How many filters are attached.
    pub seccomp_filters: u32,
    /// PR_GET_SECUREBITS.
    pub securebits: i64,
    /// PR_GET_DUMPABLE.
    pub dumpable: i64,
    /// PR_GET_KEEPCAPS.
    pub keepcaps: i64,
    /// PR_GET_PDEATHSIG: survives exec, so a runtime that uses it must take it back.
    pub parent_death_signal: i64,
    /// File mode creation mask.
    pub umask: u32,
    /// Signals blocked and ignored, as masks.
    pub signals: Signals,
    /// As `/proc/self/limits` names them, to (soft, hard).
    pub limits: BTreeMap<String, (u64, u64)>,
    /// Arguments.
    pub args: Vec<String>,
    /// Environment, in order, with duplicates.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// The executable.
    pub exe: String,
    /// Open descriptors.
    pub fds: BTreeMap<i32, Fd>,
    /// The mount table.
    pub mounts: Vec<Mount>,
    /// Links of `/proc/self/ns`.
    pub namespaces: BTreeMap<String, String>,
    /// `/proc/self/uid_map`, each line as three numbers.
    pub uid_map: Vec<Vec<u64>>,
    /// `/proc/self/gid_map`, each line as three numbers.
    pub gid_map: Vec<Vec<u64>>,
    /// `/proc/self/setgroups`.
    pub setgroups: String,
    /// `/proc/self/cgroup`: controllers to path.
    pub cgroup: BTreeMap<String, String>,
    /// uname(2).
    pub hostname: String,
    /// uname(2).
    pub domainname: String,
    /// uname(2): changed by the 32-bit personality.
    pub machine: String,
    /// `/proc/self/oom_score_adj`.
    pub oom_score_adj: i64,
    /// sched_getattr(2).
    pub sched: Sched,
    /// ioprio_get(2): class and level.
    pub ioprio: (i64, i64),
    /// CPUs it may run on, as a list.
    pub cpus: String,
    /// personality(2).
    pub personality: i64,
    /// get_mempolicy(2): mode with flags, and nodes as a mask; absent where the kernel has no NUMA.
    pub mempolicy: Option<(i32, u64)>,
    /// The sysctls asked for on the command line.
    pub sysctls: BTreeMap<String, String>,
    /// Everything below `/dev`, except what belongs to other filesystems below it.
    pub dev: BTreeMap<String, Node>,
    /// Which of 0, 1 and 2 are terminals, and its size.
    pub tty: Tty,
    /// `/proc/self/timens_offsets`.
    pub timens_offsets: String,
    /// CLOCK_MONOTONIC in seconds.
    pub monotonic: i64,
    /// CLOCK_BOOTTIME in seconds.
    pub boottime: i64,
    /// KEYCTL_DESCRIBE of the session keyring.
    pub keyring: String,
    /// `/proc/self/attr/current`.
    pub attr_current: String,
    /// Process ids in `/proc`.
    pub pids: Vec<i32>,
    /// Names of network interfaces.
    pub interfaces: Vec<String>,
}

/// The capability sets as masks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caps {
    /// Bounding.
    pub bounding: u64,
    /// Effective.
    pub effective: u64,
    /// Inheritable.
    pub inheritable: u64,
    /// Permitted.
    pub permitted: u64,
    /// Ambient.
    pub ambient: u64,
}

/// Signal masks of `/proc/self/status`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signals {
    /// Blocked.
    pub blocked: u64,
    /// Ignored.
    pub ignored: u64,
}

/// An open descriptor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fd {
    /// What `/proc/self/fd/N` points to.
    pub target: String,
    /// The flags of `/proc/self/fdinfo/N`.
    pub flags: u32,
}

/// sched_getattr(2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Sched {
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

/// A file below `/dev`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// `c`, `b`, `p`, `s`, `l`, `d` or `-`.
    pub kind: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Of a device.
    pub major: u64,
    /// Of a device.
    pub minor: u64,
    /// Of a symbolic link.
    pub link: String,
}

/// The terminal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tty {
    /// Whether 0, 1 and 2 are terminals.
    pub is_tty: [bool; 3],
    /// Rows and columns of standard input.
    pub size: Option<(u16, u16)>,
    /// The controlling terminal's device number in `/proc/self/stat`; 0 for none.
    pub controlling: i64,
    /// What fstat(2) says of standard input: owner and group.
    pub owner: (u32, u32),
}

impl Report {
    /// The topmost mount on a path.
    ///
    /// # Panics
    /// When nothing is mounted there, which fails the test.
    pub fn mount(&self, target: &str) -> &Mount {
        let found = self.mounts.iter().rev().find(|mount| mount.target == target);
        found.unwrap_or_else(|| panic!("nothing is mounted on {target}: {:#?}", self.mounts))
    }

    /// Whether anything is mounted on a path.
    pub fn is_mounted(&self, target: &str) -> bool {
        self.mounts.iter().any(|mount| mount.target == target)
    }

    /// The value of an environment variable: the last one counts for a shell, so that is given.
    pub fn var(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}=");
        self.env.iter().rev().find_map(|line| line.strip_prefix(&prefix))
    }

    /// A limit by the name that `/proc/self/limits` has for it.
    pub fn limit(&self, name: &str) -> Option<(u64, u64)> {
        self.limits.get(name).copied()
    }
}
