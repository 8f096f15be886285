//! Making a container's cgroup by files, on every layout.

use super::devices::{self, filter, legacy};
use super::dir::Dir;
use super::error::{Error, Result};
use super::host::{self, Hierarchy, Host, ROOT};
use super::limits::{Setting, write_all};
use super::path::{Location, join, parent};
use super::tree::{self, Created, Made};
use super::{Cgroup, Member, Request, systemd};
use crate::privilege;
use crate::spec::Resources;
use crate::sys::fd::LazyFd;
use crate::sys::{Errno, bpf};
use nix::fcntl::OFlag;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What can only be done once the container's process exists.
#[derive(Debug)]
pub(super) struct Late {
    /// A limit that would keep the process from being made: no processes at all.
    pub(super) settings: Vec<Setting>,
    /// The scope to ask systemd for.
    pub(super) scope: Option<systemd::Scope>,
}

/// The cgroupfs driver.
pub(super) fn by_files(request: &Request<'_>) -> Result<Cgroup> {
    let location = Location::parse(request.path, request.id)?;
    let mut created = Created::noted_in(request.journal);
    let made = match Host::detect()? {
        Host::Unified => on_v2(&location, &mut created),
        Host::Legacy(hierarchies) => on_v1(hierarchies, &location, request, &mut created),
        Host::Absent => Err(Error::Unsupported {
            what: "make a cgroup",
            why: "no cgroup filesystem is mounted at /sys/fs/cgroup",
        }),
    };
    let mut cgroup = match made {
        Err(error) if may_go_without(request, &error) => return without(request, error),
        made => made?,
    };
    cgroup.limit(request.resources, &devices::replaced(request.nodes), request.rootless)?;
    cgroup.own(request.owner)?;
    created.keep();
    Ok(cgroup)
}

/// Without privileges and without a wish for a certain cgroup, a container may do without one.
pub(super) fn may_go_without(request: &Request<'_>, error: &Error) -> bool {
    request.rootless
        && request.path.is_empty()
        && (error.is_permission() || matches!(error, Error::Unsupported { .. }))
}

/// A container without a cgroup of its own, when it asks for no limits.
pub(super) fn without(request: &Request<'_>, error: Error) -> Result<Cgroup> {
    let settings = super::limits::unified::table(request.resources, &Default::default(), &|_| true)?.settings;
    let Some(first) = settings.into_iter().next() else { return Ok(Cgroup::default()) };
    let (operation, path) = match &error {
        Error::Apply { operation, path, .. } | Error::Io { operation, path, .. } => {
            (*operation, path.clone())
        }
        _ => ("use", ROOT.to_owned()),
    };
    Err(Error::Apply {
        operation,
        path,
        errno: error.errno().unwrap_or(Errno::ENOENT),
        hint: format!(
            "; {}: {} needs a cgroup (rootless needs no limits + no cgrouppath when no permission is granted for \
             cgroups)",
            first.field, first.asked
        ),
    })
}

fn on_v2(location: &Location, created: &mut Created<'_>) -> Result<Cgroup> {
    let path = match location {
        Location::Absolute(path) => join(ROOT, path),
        // This process's own cgroup has a process, so nothing below it could have limits; one beside it can.
        Location::Relative(path) => join(ROOT, &join(parent(&host::own_unified()?), path)),
    };
    created.note(std::slice::from_ref(&path))?;
    let made = created.make(&path, ROOT)?;
    let member = Member { controllers: host::UNIFIED.to_owned(), dir: pinned(path)? };
    if made == Made::Existing {
        refuse_used(&member)?;
    }
    Ok(Cgroup { members: vec![member], ..Cgroup::default() })
}

pub(super) fn pinned(path: String) -> Result<Dir> {
    let mut dir = Dir::new(path);
    dir.pin().map_err(|errno| apply_error("open", dir.path(), errno))?;
    Ok(dir)
}

pub(super) fn apply_error(operation: &'static str, path: &str, errno: Errno) -> Error {
    Error::Apply { operation, path: path.to_owned(), errno, hint: String::new() }
}

fn on_v1(
    hierarchies: Vec<Hierarchy>,
    location: &Location,
    request: &Request<'_>,
    created: &mut Created<'_>,
) -> Result<Cgroup> {
    let mut cgroup = Cgroup::default();
    let mut refused = None;
    let all = hierarchies.iter().flat_map(|hierarchy| places(hierarchy, location));
    created.note(&all.map(|(_, path)| path).collect::<Vec<_>>())?;
    for hierarchy in hierarchies {
        match join_hierarchy(&hierarchy, location, request.resources, created) {
            Ok(None) => {}
            Ok(Some((member, join))) => {
                cgroup.members.push(member);
                cgroup.joins.extend(join.map(LazyFd::from));
            }
            Err(error) if may_go_without(request, &error) => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    match refused {
        // Where the caller may use some of the hierarchies, limits of the others are refused one by one.
        Some(error) if cgroup.members.is_empty() => Err(error),
        None if cgroup.members.is_empty() => Err(Error::Unsupported {
            what: "make a cgroup",
            why: "no cgroup filesystem is mounted below /sys/fs/cgroup",
        }),
        _ => Ok(cgroup),
    }
}

/// Makes the cgroup in one hierarchy and opens what the new process joins by; `None` when it is not mounted.
fn join_hierarchy(
    hierarchy: &Hierarchy,
    location: &Location,
    resources: &Resources,
    created: &mut Created<'_>,
) -> Result<Option<(Member, Option<OwnedFd>)>> {
    let Some((mut member, made, join)) = make_member(hierarchy, location, created)? else { return Ok(None) };
    if member.is_unified() {
        member.dir.pin().map_err(|errno| apply_error("open", member.dir.path(), errno))?;
    }
    if made == Made::Existing {
        refuse_used(&member)?;
    }
    fill_cpuset(&member, made, resources)?;
    Ok(Some((member, join)))
}

/// Makes the cgroup in one hierarchy and, on v1, opens the file by which a thread joins it; `None` when the hierarchy is
/// not mounted.
pub(super) fn make_member(
    hierarchy: &Hierarchy,
    location: &Location,
    created: &mut Created<'_>,
) -> Result<Option<(Member, Made, Option<OwnedFd>)>> {
    let unified = hierarchy.controllers == host::UNIFIED;
    for (mount, path) in places(hierarchy, location) {
        if unified && !host::is_cgroup(&mount) {
            continue;
        }
        let made = created.make(&path, &mount)?;
        if made == Made::NoHierarchy {
            continue;
        }
        let member = Member { controllers: hierarchy.controllers.clone(), dir: Dir::new(path) };
        if unified {
            return Ok(Some((member, made, None)));
        }
        match member.dir.open("tasks", OFlag::O_WRONLY) {
            Ok(file) => return Ok(Some((member, made, Some(file)))),
            // A directory of that name on which no hierarchy is mounted takes new directories, too: they stay empty.
            Err(Errno::ENOENT) => created.take_back(member.dir.path()),
            Err(errno) => return Err(apply_error("open", &member.dir.file("tasks"), errno)),
        }
    }
    Ok(None)
}

/// Where a hierarchy may be mounted, each with the container's cgroup there.
fn places(hierarchy: &Hierarchy, location: &Location) -> Vec<(String, String)> {
    let below = match location {
        Location::Absolute(path) => path,
        Location::Relative(path) => &join(&hierarchy.own, path),
    };
    let place = |mount: String| {
        let path = join(&mount, below);
        (mount, path)
    };
    hierarchy.mounts().into_iter().map(place).collect()
}

/// A container must have its cgroup for itself, and a frozen one would stop it before it starts.
pub(super) fn refuse_used(member: &Member) -> Result<()> {
    let dir = &member.dir;
    let pids = tree::all_processes(dir).map_err(|errno| dir.error("read", "cgroup.procs", errno))?;
    if !pids.is_empty() {
        return Err(Error::NotEmpty { count: pids.len(), path: dir.path().to_owned() });
    }
    if super::freezer::is_frozen(member)? {
        return Err(Error::Frozen { path: dir.path().to_owned() });
    }
    Ok(())
}

/// In v1 a new cpuset is empty and holds no process before it has CPUs and memory nodes: those of the configuration
/// (written with the other limits, but here first), else those of its parent.
pub(super) fn fill_cpuset(member: &Member, made: Made, resources: &Resources) -> Result<()> {
    if !member.has("cpuset") || member.is_unified() {
        return Ok(());
    }
    let (dir, mount, cpu) = (&member.dir, member.mount(false), resources.cpu.as_ref());
    let above = Dir::new(parent(dir.path()));
    for (name, wanted) in [
        ("cpuset.cpus", cpu.map_or("", |cpu| cpu.cpus.as_str())),
        ("cpuset.mems", cpu.map_or("", |cpu| cpu.mems.as_str())),
    ] {
        let held = inherited(&above, mount, name)?;
        if wanted.is_empty() && (made == Made::New || cpuset_value(dir, name)?.is_empty()) {
            dir.write(name, &held).map_err(|errno| apply_error("write", &dir.file(name), errno))?;
        }
    }
    Ok(())
}

/// A value of a cpuset, which it first gets from its parent if it has none.
fn inherited(dir: &Dir, mount: &str, name: &str) -> Result<String> {
    let value = cpuset_value(dir, name)?;
    if !value.is_empty() || dir.path().len() <= mount.len() {
        return Ok(value);
    }
    let value = inherited(&Dir::new(parent(dir.path())), mount, name)?;
    dir.write(name, &value).map_err(|errno| apply_error("write", &dir.file(name), errno))?;
    Ok(value)
}

fn cpuset_value(dir: &Dir, name: &str) -> Result<String> {
    dir.read_value(name).map_err(|errno| apply_error("read", &dir.file(name), errno))
}

impl Cgroup {
    /// Writes the limits of a new cgroup.
    pub(super) fn limit(&mut self, resources: &Resources, replaced: &[String], rootless: bool) -> Result<()> {
        let mut settings = self.settings(resources, None)?;
        if self.unit.is_some() {
            systemd::round_quota(&mut settings, systemd::Quota::NEW);
        }
        if self.is_v2() {
            self.enable(&settings)?;
        }
        // On v2 the kernel counts a process against the limit where it is cloned into.
        let too_early =
            |setting: &Setting| self.is_v2() && setting.file == "pids.max" && setting.value == "0";
        let (late, now): (Vec<Setting>, Vec<Setting>) = settings.into_iter().partition(too_early);
        self.limit_devices(resources, replaced, rootless)?;
        write_all(&now, self)?;
        if !late.is_empty() {
            self.late = Some(Late { settings: late, scope: None });
        }
        Ok(())
    }

    /// Sets the device rules of a new cgroup. Only root can; without that right a container has no device nodes that
    /// would need them, as it cannot make any.
    fn limit_devices(&mut self, resources: &Resources, replaced: &[String], rootless: bool) -> Result<()> {
        let mut rules = devices::parse(&resources.devices)?;
        rules.extend(devices::always(replaced));
        let result = match (self.legacy("devices"), self.unified()) {
            (Some(member), _) => legacy::set(&member.dir, &legacy::Policy::new(&rules)?),
            (None, Some(_)) if devices::filter::is_open(&rules) => Ok(()),
            (None, Some(member)) => attach_filter(&member.dir, &rules),
            (None, None) => Err(Error::Unsupported {
                what: "control the container's devices",
                why: "no hierarchy with a devices controller is mounted",
            }),
        };
        match result {
            Ok(()) => {
                self.devices = Some(devices::simplify(resources.devices.clone())?);
                self.replaced = replaced.to_vec();
                Ok(())
            }
            // In a user namespace bpf(2) and the files of the devices controller are closed even to root.
            Err(error) if rootless || error.is_permission() && privilege::in_user_namespace() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Hands the cgroup to the container's root user: the directory, and the files that the kernel lists for that.
    pub(super) fn own(&self, owner: Option<u32>) -> Result<()> {
        let (Some(owner), true, Some(member)) = (owner, self.is_v2(), self.unified()) else {
            return Ok(());
        };
        let owner = Some(nix::unistd::Uid::from_raw(owner));
        let list = Dir::new("/sys/kernel/cgroup").read("delegate");
        let list =
            list.unwrap_or_else(|_| "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n".to_owned());
        let path = member.dir.path();
        nix::unistd::chown(path, owner, None).map_err(|errno| apply_error("chown", path, errno))?;
        for name in list.lines() {
            let file = member.dir.file(name);
            match nix::unistd::chown(file.as_str(), owner, None) {
                // Not each of them exists in each cgroup.
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(apply_error("chown", &file, errno)),
            }
        }
        Ok(())
    }
}

/// Attaches the filter of a new cgroup, which has none yet.
pub(super) fn attach_filter(dir: &Dir, rules: &[devices::Rule]) -> Result<()> {
    let program = LazyFd::from(load_filter(dir, rules)?);
    let cgroup = target(dir)?;
    bpf::attach_device_filter(cgroup, program.as_fd()).map_err(|errno| filter_error("attach", dir, errno))
}

/// Loads the filter for some rules.
pub(super) fn load_filter(dir: &Dir, rules: &[devices::Rule]) -> Result<OwnedFd> {
    let program = filter::compile(rules);
    bpf::load_device_filter(&program).map_err(|errno| {
        let log = match errno {
            Errno::EINVAL | Errno::EACCES => format!(": {}", bpf::verifier_log(&program).replace('\n', "; ")),
            _ => String::new(),
        };
        Error::DeviceFilter { operation: "load", path: dir.path().to_owned(), errno, log }
    })
}

pub(super) fn filter_error(operation: &'static str, dir: &Dir, errno: Errno) -> Error {
    Error::DeviceFilter { operation, path: dir.path().to_owned(), errno, log: String::new() }
}

/// The descriptor of a pinned directory.
pub(super) fn target(dir: &Dir) -> Result<BorrowedFd<'_>> {
    dir.fd().ok_or_else(|| filter_error("attach", dir, Errno::EBADF))
}
