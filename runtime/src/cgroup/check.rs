//! Whether a container's control group could be made and limited here, without making it.

use super::devices::{self, legacy};
use super::dir::Dir;
use super::error::{Error, Result};
use super::host::{self, Host, ROOT};
use super::limits::{Missing, Place, Setting, invalid};
use super::path::{Location, join, parent};
use super::tree::controllers;
use super::{Cgroup, Driver, Member, Request, make, systemd};
use crate::plan::cpuset;
use crate::sys::Errno;
use nix::unistd::AccessFlags;

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
    let mut cgroup = match members(&location, request.rootless) {
        Err(error) if make::may_go_without(request, &error) => {
            return make::without(request, error).map(|cgroup| cgroup.warnings);
        }
        members => Cgroup { members: members?, ..Cgroup::default() },
    };
    let (settings, _) = cgroup.wanted(request.resources, None)?;
    for setting in &settings {
        available(&cgroup, setting)?;
        present(&cgroup, setting)?;
    }
    for member in cgroup.members.iter().filter(|member| host::is_cgroup(member.dir.path())) {
        make::refuse_used(member)?;
    }
    let mut rules = devices::parse(&request.resources.devices)?;
    rules.extend(devices::always(&devices::replaced(request.nodes)));
    if cgroup.legacy("devices").is_some() {
        legacy::Policy::new(&rules)?;
    }
    Ok(cgroup.warnings)
}

/// The directories that would be made, one in each hierarchy that is mounted and, without privilege, may be written to.
fn members(location: &Location, rootless: bool) -> Result<Vec<Member>> {
    let (Location::Absolute(below) | Location::Relative(below)) = location;
    let from = |own: &str| match location {
        Location::Absolute(_) => String::new(),
        Location::Relative(_) => own.trim_end_matches('/').to_owned(),
    };
    let found: Vec<Member> = match Host::detect()? {
        Host::Absent => Vec::new(),
        Host::Unified => {
            let base = from(parent(&host::own_unified()?));
            let path = join(ROOT, &join(&base, below));
            vec![Member { controllers: host::UNIFIED.to_owned(), dir: Dir::new(path) }]
        }
        Host::Legacy(hierarchies) => hierarchies
            .iter()
            .filter_map(|hierarchy| {
                let mount = hierarchy.mounts().into_iter().find(|mount| host::is_cgroup(mount))?;
                let path = join(&mount, &join(&from(&hierarchy.own), below));
                Some(Member { controllers: hierarchy.controllers.clone(), dir: Dir::new(path) })
            })
            .collect(),
    };
    let Some(first) = found.first().map(|member| member.dir.path().to_owned()) else {
        return Err(Error::Unsupported {
            what: "make a cgroup",
            why: "no cgroup filesystem is mounted at /sys/fs/cgroup",
        });
    };
    let members: Vec<Member> =
        found.into_iter().filter(|member| !rootless || may_make(member.dir.path())).collect();
    if members.is_empty() { Err(make::apply_error("mkdir", &first, Errno::EACCES)) } else { Ok(members) }
}

/// Whether this process may make a directory: the nearest one above that exists can be written to.
fn may_make(path: &str) -> bool {
    let mut above = path;
    while above.len() > ROOT.len() {
        above = parent(above);
        if std::path::Path::new(above).exists() {
            return nix::unistd::access(above, AccessFlags::W_OK).is_ok();
        }
    }
    false
}

/// Whether the processors and memory nodes that a limit names are there.
fn present(cgroup: &Cgroup, setting: &Setting) -> Result<()> {
    let file = setting.file.as_ref();
    if !matches!(file, "cpuset.cpus" | "cpuset.mems") {
        return Ok(());
    }
    let member = cgroup.legacy("cpuset").or_else(|| cgroup.unified());
    let Some(root) = member.map(|member| Dir::new(member.mount(cgroup.is_v2()))) else { return Ok(()) };
    let held = root.read_value(&format!("{file}.effective")).or_else(|_| root.read_value(file));
    let mask = |list: &str| cpuset::mask("", list).ok();
    let (Some(held), Some(wanted)) = (held.ok().and_then(|list| mask(&list)), mask(&setting.value)) else {
        return Ok(());
    };
    let missing = wanted.iter().enumerate().any(|(word, bits)| bits & !held.get(word).unwrap_or(&0) != 0);
    match missing {
        true => Err(invalid(setting.field.clone(), &setting.asked, "this host does not have all of them")),
        false => Ok(()),
    }
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
