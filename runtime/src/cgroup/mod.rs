//! Control groups: make them, limit them, join them, watch them, remove them; v2, v1, both at once, or through systemd.
//!
//! Owns everything under `/sys/fs/cgroup` that belongs to one container, and the words to systemd about it. The steps of
//! a container's life:
//!
//! ```text
//! create      directories made and limited; nothing is left behind when that fails
//! clone       into [`Cgroup::clone_target`] (v2), the child writes "0" to each of [`Cgroup::join_files`] (v1)
//! adopt       where [`Cgroup::needs_adopt`]: systemd's scope can only be made around a process
//! record      what a later command needs: [`Cgroup::open`]
//! update, freeze, kill_all, stats, oom, for_exec
//! remove      after the processes are gone
//! ```
//!
//! A cgroup namespace must be entered after the process is in its cgroup: the namespace's root is where the caller is.
//!
//! Must never: touch a cgroup that it did not make, except to enable controllers above its own; wait without a limit; read
//! mountinfo on the way of a create. Sources: cgroups(7), Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/,
//! runtime-spec 1.3 `config-linux.md`.

mod check;
mod devices;
mod dir;
mod error;
mod exec;
mod freezer;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod host;
mod layout;
mod limits;
mod make;
mod mounts;
mod oom;
mod path;
mod place;
mod processes;
pub mod stats;

pub mod systemd;
mod tree;
mod update;

pub use check::check;
pub use error::{Error, Result};
pub use exec::ExecTarget;
pub use layout::{Layout, can_load_device_filter, layout, own_unified_directory};
pub use mounts::{LegacyMount, Mounts, unified_root};
pub use oom::{Oom, OomWatch};
pub use processes::of_process;

use crate::spec::{Device, DeviceRule, Resources};
use crate::sys::fd::LazyFd;
use dir::Dir;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use tree::Failure;

/// Who makes and limits the cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// This program, by files.
    #[default]
    Cgroupfs,
    /// systemd, asked over D-Bus; this program writes what systemd has no words for.
    Systemd,
    /// Nobody: the container stays in the cgroup of its caller.
    Disabled,
}

/// What a container's configuration asks of its cgroup.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Who is to make it.
    pub driver: Driver,
    /// The container's id: the name of the cgroup when the configuration gives none.
    pub id: &'a str,
    /// `linux.cgroupsPath`: for cgroupfs a path, for systemd `slice:prefix:name`.
    pub path: &'a str,
    /// `linux.resources`.
    pub resources: &'a Resources,
    /// `linux.devices`: one that stands at the path of a basic device (`/dev/null`) takes that one's right of access.
    pub nodes: &'a [Device],
    /// `annotations`: `org.systemd.property.NAME` become properties of the scope.
    pub annotations: &'a BTreeMap<String, String>,
    /// The caller may lack the right to make cgroups: a container without limits then runs without one, and device
    /// rules, which only root can set, are left out.
    pub rootless: bool,
    /// The host user that shall own the cgroup: container root, when it has a cgroup namespace and a writable
    /// `/sys/fs/cgroup` (runtime-spec, "Cgroup ownership"). v2 only.
    pub owner: Option<u32>,
    /// Where each directory is noted, a line each, before it is made, and systemd's scope: whoever cleans up after a crash can
    /// find it with [`Cgroup::from_journal`].
    pub journal: Option<&'a dyn Journal>,
}

/// Where a container that is being made is noted, in lines.
pub trait Journal: std::fmt::Debug {
    /// Writes lines, which are there when this returns.
    ///
    /// # Errors
    /// The errno of writing them.
    fn append(&self, lines: &[u8]) -> std::result::Result<(), crate::sys::Errno>;
}

/// What a later command needs to find the cgroup again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Controllers of a hierarchy, as `/proc/self/cgroup` names them, and the directory there.
    pub dirs: Vec<(String, String)>,
    /// systemd's unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<systemd::Unit>,
    /// The device rules asked for so far; `None` when devices are not controlled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<Vec<DeviceRule>>,
    /// Basic devices whose right of access the configuration replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<String>,
}

/// The cgroup of one container: one directory in each hierarchy.
#[derive(Debug, Default)]
pub struct Cgroup {
    members: Vec<Member>,
    joins: Vec<LazyFd>,
    unit: Option<systemd::Unit>,
    devices: Option<Vec<DeviceRule>>,
    replaced: Vec<String>,
    failures: Vec<Failure>,
    warnings: Vec<String>,
    /// What waits for the process: see [`Cgroup::needs_adopt`].
    late: Option<make::Late>,
}

/// The directory in one hierarchy.
#[derive(Debug)]
struct Member {
    /// `cpu,cpuacct`, `name=systemd`, or empty for v2.
    controllers: String,
    dir: Dir,
}

impl Member {
    fn has(&self, controller: &str) -> bool {
        self.controllers.split(',').any(|name| name == controller)
    }

    fn is_unified(&self) -> bool {
        self.controllers == host::UNIFIED
    }

    /// Where its hierarchy is mounted: on a host with v2 alone at the root, else one directory below it.
    fn mount(&self, v2_alone: bool) -> &str {
        let path = self.dir.path();
        let below = path.get(host::ROOT.len() + 1..).unwrap_or_default();
        match below.find('/') {
            _ if v2_alone => host::ROOT,
            None => path,
            Some(end) => &path[..=host::ROOT.len() + end],
        }
    }
}

/// Makes the cgroup of a container and sets every limit that can be set before a process is in it.
///
/// # Errors
/// One line that names the limit or the directory, the file and the kernel's reason. Nothing is left behind.
pub fn create(request: &Request<'_>) -> Result<Cgroup> {
    match request.driver {
        Driver::Disabled => Ok(Cgroup::default()),
        Driver::Cgroupfs => make::by_files(request),
        Driver::Systemd => systemd::prepare(request),
    }
}

impl Cgroup {
    /// The cgroup that a record tells of. It may be gone: then each operation says so, or has nothing to do.
    ///
    /// # Errors
    /// A record that cannot be of this program: a directory outside of the cgroup filesystems.
    pub fn open(record: &Record) -> Result<Self> {
        if let Some((_, path)) = record.dirs.iter().find(|(_, path)| !host::holds(path)) {
            return Err(Error::Content { path: "cgroup record".to_owned(), content: path.clone() });
        }
        let members = record
            .dirs
            .iter()
            .map(|(controllers, path)| Member {
                controllers: controllers.clone(),
                dir: Dir::new(path.as_str()),
            })
            .collect();
        Ok(Self {
            members,
            unit: record.unit.clone(),
            devices: record.devices.clone(),
            replaced: record.replaced.clone(),
            ..Self::default()
        })
    }

    /// The cgroup whose directories, or whose scope, a journal lists, as far as they were made.
    #[must_use]
    pub fn from_journal(text: &str) -> Self {
        let members = text.lines().filter(|line| host::holds(line)).map(|path| {
            let mut member = Member { controllers: host::UNIFIED.to_owned(), dir: Dir::new(path) };
            // v1 hierarchies are known by the directory they are mounted on.
            let mount = member.mount(false).rsplit('/').next().unwrap_or_default().to_owned();
            if !std::path::Path::new(&member.dir.file("cgroup.events")).exists() && mount != "unified" {
                member.controllers = if mount == "systemd" { format!("name={mount}") } else { mount };
            }
            member
        });
        let unit = text.split_inclusive('\n').find_map(systemd::Unit::from_journal);
        Self { members: members.collect(), unit, ..Self::default() }
    }

    /// What to keep for [`Cgroup::open`]. It changes with each [`Cgroup::update`] of device rules, and with
    /// [`Cgroup::adopt`].
    pub fn record(&self) -> Record {
        let dirs =
            self.members.iter().map(|member| (member.controllers.clone(), member.dir.path().to_owned()));
        Record {
            dirs: dirs.collect(),
            unit: self.unit.clone(),
            devices: self.devices.clone(),
            replaced: self.replaced.clone(),
        }
    }

    /// Whether the container has no cgroup of its own.
    pub fn is_none(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether the only hierarchy is one of v2.
    pub fn is_v2(&self) -> bool {
        self.members.first().is_some_and(Member::is_unified)
    }

    /// Fields that were accepted although this host's cgroups cannot honour them, as other runtimes accept them: a
    /// sentence each, for the log.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The v2 directory to clone a process into (`CLONE_INTO_CGROUP`, Linux 5.7), which saves the wait for an RCU grace
    /// period that moving it costs. Where the clone fails with `EBUSY`, `EAGAIN` or `ENOSYS`, or the kernel has no such
    /// flag, [`Cgroup::attach`] does it afterwards.
    pub fn clone_target(&self) -> Option<BorrowedFd<'_>> {
        self.unified().and_then(|member| member.dir.fd())
    }

    /// The v1 `tasks` files into which the new process, while it has one thread, must write `0`: that, too, saves the
    /// grace period. On hybrid hosts both this and [`Cgroup::clone_target`] are needed.
    pub fn join_files(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.joins.iter().map(AsFd::as_fd)
    }

    fn unified(&self) -> Option<&Member> {
        self.members.iter().find(|member| member.is_unified())
    }

    /// The v1 hierarchy that has a controller.
    fn legacy(&self, controller: &str) -> Option<&Member> {
        self.members.iter().find(|member| !member.is_unified() && member.has(controller))
    }
}
