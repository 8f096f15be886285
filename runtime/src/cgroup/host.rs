//! Which hierarchies this host has mounted, and where this process is in them.

use super::dir::Dir;
use super::error::{Error, Result};
use super::path;
use crate::sys::Errno;
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, statfs};

/// Where control groups are mounted.
pub(super) const ROOT: &str = "/sys/fs/cgroup";

/// The name under which a hierarchy of cgroup v2 stands beside those of v1.
pub(super) const UNIFIED: &str = "";

/// The control groups of this host.
#[derive(Debug)]
pub(super) enum Host {
    /// One hierarchy of cgroup v2.
    Unified,
    /// Hierarchies of v1, perhaps one of v2 beside them (hybrid). Not each of them must be mounted.
    Legacy(Vec<Hierarchy>),
    /// None that this process can see.
    Absent,
}

/// One hierarchy, as `/proc/self/cgroup` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// `cpu,cpuacct`, `name=systemd`, or [`UNIFIED`].
    pub(super) controllers: String,
    /// Where this process is in it.
    pub(super) own: String,
}

impl Host {
    /// Looks: one statfs(2), and on v1 one read of `/proc/self/cgroup`.
    pub(super) fn detect() -> Result<Self> {
        match statfs(ROOT) {
            Ok(fs) if fs.filesystem_type() == CGROUP2_SUPER_MAGIC => return Ok(Self::Unified),
            Ok(_) => {}
            Err(Errno::ENOENT) => return Ok(Self::Absent),
            Err(errno) => return Err(Error::Io { operation: "statfs", path: ROOT.to_owned(), errno }),
        }
        let hierarchies = own()?;
        Ok(if hierarchies.is_empty() { Self::Absent } else { Self::Legacy(hierarchies) })
    }
}

impl Hierarchy {
    /// Where it may be mounted: under the first controller's name (where controllers share a mount, each has a
    /// symbolic link), else under all the names.
    pub(super) fn mounts(&self) -> Vec<String> {
        let first = match self.controllers.as_str() {
            UNIFIED => "unified",
            names => names.strip_prefix("name=").unwrap_or(names),
        };
        match first.split_once(',') {
            None => vec![format!("{ROOT}/{first}")],
            Some((single, _)) => vec![format!("{ROOT}/{single}"), format!("{ROOT}/{first}")],
        }
    }
}

/// Whether a path is one of a cgroup: below [`ROOT`], and nowhere else.
pub(super) fn holds(directory: &str) -> bool {
    directory.strip_prefix(ROOT).is_some_and(|rest| rest.len() > 1 && path::clean(rest) == rest)
}

/// Whether a directory is in a mounted hierarchy.
pub(super) fn is_cgroup(path: &str) -> bool {
    statfs(path).is_ok_and(|fs| matches!(fs.filesystem_type(), CGROUP2_SUPER_MAGIC | CGROUP_SUPER_MAGIC))
}

/// The hierarchies that this process is in.
pub(super) fn own() -> Result<Vec<Hierarchy>> {
    of_process("self")
}

/// The hierarchies that a process is in, with its place in each.
pub(super) fn of_process(process: &str) -> Result<Vec<Hierarchy>> {
    let dir = Dir::new(format!("/proc/{process}"));
    let text = dir.read_record("cgroup").map_err(|errno| dir.error("read", "cgroup", errno))?;
    Ok(parse(&text))
}

/// The place of this process in the hierarchy of v2.
pub(super) fn own_unified() -> Result<String> {
    let unified = own()?.into_iter().find(|hierarchy| hierarchy.controllers == UNIFIED);
    Ok(unified.map_or_else(|| "/".to_owned(), |hierarchy| hierarchy.own))
}

/// Reads lines of `hierarchy-ID:controller-list:cgroup-path` (cgroups(7)).
pub(super) fn parse(text: &str) -> Vec<Hierarchy> {
    text.lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let controllers = parts.next()?.to_owned();
            // A place outside of this cgroup namespace shows as `/../x`; nothing there can be reached.
            Some(Hierarchy { controllers, own: path::clean(parts.next()?) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_point_to_cgroups_only() {
        assert!(holds("/sys/fs/cgroup/x") && holds("/sys/fs/cgroup/cpu/a/b"));
        for path in
            ["/sys/fs/cgroup", "/sys/fs/cgroup/", "/sys/fs/cgroup/../x", "/sys/fs/cgroupx/y", "/etc", "x"]
        {
            assert!(!holds(path), "{path}");
        }
    }

    #[test]
    fn hierarchies_of_a_process() {
        let hybrid = parse("4:memory:/a/b:c\n3:cpu,cpuacct:/\n2:name=systemd:/x\n0::/../y\nrubbish\n");
        let names: Vec<_> = hybrid.iter().map(|h| (h.controllers.as_str(), h.own.as_str())).collect();
        assert_eq!(names, [("memory", "/a/b:c"), ("cpu,cpuacct", "/"), ("name=systemd", "/x"), ("", "/y")]);
        assert_eq!(hybrid[1].mounts(), ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"]);
        assert_eq!(hybrid[2].mounts(), ["/sys/fs/cgroup/systemd"]);
        assert_eq!(hybrid[3].mounts(), ["/sys/fs/cgroup/unified"]);
    }
}
