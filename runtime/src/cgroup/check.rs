//! Whether a container's control group could be made and limited here, without making it.

use super::devices::{self, legacy};
use super::dir::Dir;
use super::error::{Error, Result};
use super::host::{self, Host, ROOT};
use super::limits::{Missing, Place, Setting};
use super::path::{Location, join};
use super::tree::controllers;
use super::{Cgroup, Driver, Member, Request, make, systemd};

/// Goes through what [`super::create`] decides before it makes anything, and looks for the controllers that the limits
/// need. Returns what `create` would warn of. What only the kernel can tell of a value stays unknown.
///
/// # Errors
/// What `create` would refuse.
pub fn check(request: &Request<'_>) -> Result<Vec<String>> {
    match request.driver {
        Driver::Disabled => Ok(Vec::new()),
        // It makes its scope around a process, so that this is no more than a plan.
        Driver::Systemd => systemd::prepare(request).map(|cgroup| cgroup.warnings),
        Driver::Cgroupfs => by_files(request),
    }
}

fn by_files(request: &Request<'_>) -> Result<Vec<String>> {
    let location = Location::parse(request.path, request.id)?;
    let mut cgroup = match members(&location) {
        Err(error) if make::may_go_without(request, &error) => {
            return make::without(request, error).map(|cgroup| cgroup.warnings);
        }
        members => Cgroup { members: members?, ..Cgroup::default() },
    };
    let (settings, _) = cgroup.wanted(request.resources, None)?;
    for setting in &settings {
        available(&cgroup, setting)?;
    }
    let mut rules = devices::parse(&request.resources.devices)?;
    rules.extend(devices::always(&devices::replaced(request.nodes)));
    if cgroup.legacy("devices").is_some() {
        legacy::Policy::new(&rules)?;
    }
    Ok(cgroup.warnings)
}

/// The directories that would be made, one in each hierarchy that is mounted.
fn members(location: &Location) -> Result<Vec<Member>> {
    let (Location::Absolute(below) | Location::Relative(below)) = location;
    let none = Error::Unsupported {
        what: "make a cgroup",
        why: "no cgroup filesystem is mounted at /sys/fs/cgroup",
    };
    let members: Vec<Member> = match Host::detect()? {
        Host::Absent => Vec::new(),
        Host::Unified => {
            vec![Member { controllers: host::UNIFIED.to_owned(), dir: Dir::new(join(ROOT, below)) }]
        }
        Host::Legacy(hierarchies) => hierarchies
            .iter()
            .filter_map(|hierarchy| {
                let mount = hierarchy.mounts().into_iter().find(|mount| host::is_cgroup(mount))?;
                Some(Member {
                    controllers: hierarchy.controllers.clone(),
                    dir: Dir::new(join(&mount, below)),
                })
            })
            .collect(),
    };
    if members.is_empty() { Err(none) } else { Ok(members) }
}

/// Whether the hierarchy that a limit would go to has its controller.
fn available(cgroup: &Cgroup, setting: &Setting) -> Result<()> {
    if setting.missing == Missing::Ignore {
        return Ok(());
    }
    cgroup.dir(setting)?;
    let v1 = !cgroup.is_v2() && cgroup.legacy(&setting.controller).is_some();
    let Some(member) = cgroup.unified().filter(|_| !v1) else { return Ok(()) };
    let mount = member.mount(cgroup.is_v2()).to_owned();
    let known = controllers(&Dir::new(mount.as_str()))?;
    if setting.controller == "cgroup" || known.iter().any(|name| *name == setting.controller) {
        return Ok(());
    }
    Err(setting.no_controller(&mount, String::new()))
}
