//! What a `cgroup` mount inside the container shows: the container's own cgroups, laid out as the host's are.

use super::error::Result;
use super::host::{self, Hierarchy, Host, ROOT};
use super::path::join;
use super::{Cgroup, Member, systemd};

/// What to put at the destination of a mount of type `cgroup` or `cgroup2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mounts {
    /// One directory of v2, to bind; or in a cgroup namespace a fresh `cgroup2`, which shows the same. Binding is
    /// cheaper: a fresh mount waits for an RCU grace period.
    Unified(String),
    /// A tmpfs with a directory and perhaps symbolic links for each hierarchy of v1.
    Legacy(Vec<LegacyMount>),
    /// This host has no cgroups to show.
    Nothing,
}

/// One hierarchy of v1 inside the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyMount {
    /// Its directory: `memory`, `cpu,cpuacct`, `systemd`.
    pub name: String,
    /// The container's cgroup on the host, to bind there.
    pub source: String,
    /// In a cgroup namespace a fresh mount of type `cgroup` with these options shows the same.
    pub options: String,
    /// Symbolic links beside the directory that lead to it: `cpu` and `cpuacct`.
    pub links: Vec<String>,
}

impl Cgroup {
    /// What a cgroup mount in the container shows. For a container without cgroup of its own it is the caller's. The v2
    /// hierarchy of a hybrid host is left out: it has no controller that a container could look for there.
    ///
    /// # Errors
    /// The caller's cgroups could not be read.
    pub fn mounts(&self) -> Result<Mounts> {
        if let Some(scope) = self.late.as_ref().and_then(|late| late.scope.as_ref()) {
            return systemd::mounts(scope);
        }
        if self.is_none() {
            return callers();
        }
        Ok(match self.unified() {
            Some(member) if self.is_v2() => Mounts::Unified(member.dir.path().to_owned()),
            _ => Mounts::Legacy(
                self.members.iter().filter(|member| !member.is_unified()).map(Member::as_mount).collect(),
            ),
        })
    }
}

impl Member {
    fn as_mount(&self) -> LegacyMount {
        mount_of(&self.controllers, self.mount(false), self.dir.path())
    }
}

fn mount_of(controllers: &str, mount: &str, source: &str) -> LegacyMount {
    let base = mount.rsplit('/').next().unwrap_or(mount);
    // Where controllers share a hierarchy, its directory has all their names and each has a link to it.
    let shared = controllers.contains(',').then(|| std::fs::read_link(mount).ok()).flatten();
    let name = shared.and_then(|target| target.file_name()?.to_str().map(str::to_owned));
    let name = name.unwrap_or_else(|| base.to_owned());
    let links = if name.contains(',') { name.split(',').map(str::to_owned).collect() } else { Vec::new() };
    LegacyMount { source: source.to_owned(), options: controllers.to_owned(), links, name }
}

fn callers() -> Result<Mounts> {
    Ok(match Host::detect()? {
        Host::Absent => Mounts::Nothing,
        Host::Unified => Mounts::Unified(join(ROOT, &host::own_unified()?)),
        Host::Legacy(hierarchies) => legacy(&hierarchies, |hierarchy| hierarchy.own.clone()),
    })
}

/// The mounted hierarchies of v1, each with the cgroup at the place that is named.
pub(super) fn legacy(hierarchies: &[Hierarchy], place: impl Fn(&Hierarchy) -> String) -> Mounts {
    let mounted = hierarchies.iter().filter(|hierarchy| hierarchy.controllers != host::UNIFIED);
    Mounts::Legacy(
        mounted
            .filter_map(|hierarchy| {
                let mount = hierarchy.mounts().into_iter().find(|mount| host::is_cgroup(mount))?;
                Some(mount_of(&hierarchy.controllers, &mount, &join(&mount, &place(hierarchy))))
            })
            .collect(),
    )
}

/// Where the v2 hierarchy that has the directory `path` is mounted.
#[must_use]
pub fn unified_root(path: &str) -> &'static str {
    const HYBRID: &str = "/sys/fs/cgroup/unified";
    if path.strip_prefix(HYBRID).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        HYBRID
    } else {
        ROOT
    }
}
