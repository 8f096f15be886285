//! What is written down of a container: for all commands, and for `exec`.

use crate::spec::{Hooks, IdMapping, Process};
use crate::{cgroup, privilege};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The format of the record; another one is refused.
pub(super) const FORMAT: u32 = 1;

/// `state.json`: all that `state`, `start`, `kill` and `delete` need.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    pub(super) format: u32,
    /// The container's id.
    pub id: String,
    /// `ociVersion` of its config.json.
    pub oci_version: String,
    /// Its first process; 0 before there is one.
    pub pid: i32,
    /// When that process started, in clock ticks since boot (proc_pid_stat(5), field 22).
    pub start_time: u64,
    /// The absolute path of the bundle.
    pub bundle: PathBuf,
    /// The absolute path of the root file system.
    pub rootfs: PathBuf,
    /// When it was created (RFC 3339).
    pub created: String,
    /// The user who created it.
    pub owner: u32,
    /// `annotations` of its config.json.
    pub annotations: BTreeMap<String, String>,
    /// Its control groups.
    pub cgroup: Option<cgroup::Record>,
    /// `CLONE_NEW…` flags of the namespaces that are not the host's.
    pub namespaces: i32,
    /// `poststart` and `poststop` hooks.
    pub hooks: Hooks,
    /// The resctrl group made for it, to be removed with it.
    pub resctrl: Option<PathBuf>,
    /// The resctrl monitoring group made for it in a group that stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor: Option<PathBuf>,
    /// Made by a runtime without privilege over the host.
    pub rootless: bool,
    /// It has a process, and is not made yet: its hooks run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_the_making: bool,
}

impl Record {
    /// A record for a container that is about to be made.
    #[must_use]
    pub fn new(id: &str, oci_version: &str, bundle: &Path, rootfs: &Path) -> Self {
        Self {
            format: FORMAT,
            id: id.to_owned(),
            oci_version: oci_version.to_owned(),
            pid: 0,
            start_time: 0,
            bundle: bundle.to_owned(),
            rootfs: rootfs.to_owned(),
            created: crate::time::stamp_nanos(),
            owner: privilege::user().as_raw(),
            annotations: BTreeMap::new(),
            cgroup: None,
            namespaces: 0,
            hooks: Hooks::default(),
            resctrl: None,
            monitor: None,
            rootless: false,
            in_the_making: false,
        }
    }

    /// Whether `create` has come to its end.
    #[must_use]
    pub fn is_made(&self) -> bool {
        self.pid != 0 && !self.in_the_making
    }
}

/// What `exec` takes from the container when it is not told otherwise.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ProcessDefaults {
    /// `process` of config.json, without its arguments.
    pub process: Process,
    /// personality(2) of the container.
    pub personality: Option<u32>,
    /// set_mempolicy(2) of the container: the mode with its flags, and a bit for each node.
    pub memory_policy: Option<(u32, Vec<u64>)>,
    /// The id map of its user namespace.
    pub uids: Vec<IdMapping>,
    /// The same for groups.
    pub gids: Vec<IdMapping>,
    /// The flags to load the seccomp filter with; `None`: there is none.
    pub seccomp_flags: Option<u64>,
    /// Those of the flags that a kernel may lack.
    pub seccomp_droppable: u64,
    /// The agent that seccomp notifications go to, with its metadata.
    pub listener: Option<(String, String)>,
}
