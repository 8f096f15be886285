//! `cgroup` and `cgroup2` among the mounts: what a container sees of its control groups.

use super::at_once::Wanted;
use super::fresh::Fresh;
use super::mounts::{attach, context, file_system, left, open_source, place_for, set_attributes, writable};
use super::{OrFail, Step, failure};
use crate::path::Missing;
use crate::plan::mounts::{Attributes, MountPlan};
use crate::sys::fd::{self, LazyFd};
use crate::sys::mount as api;
use nix::mount::MsFlags;
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{chdir, fchdir, symlinkat};
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

/// How the container sees its control groups where config.json mounts `cgroup` or `cgroup2`. Paths are the host's.
#[derive(Debug, Default)]
pub enum CgroupView {
    /// There are none on this host.
    #[default]
    None,
    /// One unified hierarchy: the container's own directory.
    Unified(PathBuf),
    /// v1 hierarchies: below a tmpfs, each in a directory, with links for the controllers' own names.
    Hierarchies(Vec<Hierarchy>),
}

/// One v1 hierarchy.
#[derive(Debug)]
pub struct Hierarchy {
    /// The name of its directory, e.g. `cpu,cpuacct`.
    pub name: String,
    /// What is shown there: the container's own directory.
    pub source: PathBuf,
    /// Other names for it, e.g. `cpu`.
    pub links: Vec<String>,
}

/// Lays out control groups: the container's own directory for the unified hierarchy, a tmpfs with one directory a
/// hierarchy for v1. A bind of the own directory shows what a fresh cgroup2 mount in a cgroup namespace would show,
/// and costs no grace period. `sysfs`: one that was mounted here, and the name of the mount point in it.
///
/// # Errors
/// There are none, or they cannot be mounted.
pub fn mount(
    plan: &MountPlan,
    root: BorrowedFd<'_>,
    view: &CgroupView,
    sysfs: Option<(BorrowedFd<'_>, CString)>,
) -> Step<()> {
    match view {
        CgroupView::None => Err(failure("there are no control groups to mount")),
        CgroupView::Unified(source) => {
            let mount = open_source(source, false, true).or_fail(|| format!("bind {}", source.display()))?;
            let propagation = propagation(&plan.attributes, false);
            let attributes = Attributes { propagation, ..plan.attributes.clone() };
            attach(plan, root, &LazyFd::from(mount), &attributes, Missing::Directory)
        }
        CgroupView::Hierarchies(hierarchies) => legacy(plan, root, hierarchies, sysfs),
    }
}

/// The propagation that is asked for; if none is, that of a fresh mount. Else a copy of the host's would go on to be bound to it
/// where that is shared, as systemd has it, and criu saves no mount whose master is on the host.
fn propagation(wanted: &Attributes, tree: bool) -> Vec<(u64, bool)> {
    match wanted.propagation.as_slice() {
        [] => vec![(libc::MS_PRIVATE, tree)],
        asked => asked.iter().map(|(kind, all)| (*kind, *all || tree)).collect(),
    }
}

/// Mounts a `cgroup2` where the host's controllers are in v1 hierarchies: as the kernel shows it to this cgroup namespace.
///
/// # Errors
/// It cannot be mounted.
pub fn unified(plan: &MountPlan, root: BorrowedFd<'_>) -> Step<LazyFd> {
    let kind = c"cgroup2";
    let place = place_for(plan, root, kind.to_bytes(), &[], &mut Fresh::default())?.point.open();
    let place = place.or_fail(|| "open the mount point".into())?;
    let context = context(kind, None)?;
    let made = plan.attributes.set;
    let mount = file_system(context.as_fd(), kind, Some(c"cgroup"), &[], made)?;
    set_attributes(mount.as_fd(), &left(&plan.attributes, made))?;
    api::move_mount(mount.as_fd(), place.as_fd()).or_fail(|| "attach".into())?;
    Ok(mount)
}

/// Mounts a tmpfs, and in it what the container sees of each hierarchy.
fn legacy(
    plan: &MountPlan,
    root: BorrowedFd<'_>,
    hierarchies: &[Hierarchy],
    sysfs: Option<(BorrowedFd<'_>, CString)>,
) -> Step<()> {
    let wanted = &plan.attributes;
    let first = Attributes { set: writable(wanted), ..Attributes::default() };
    enter_new_tmpfs(plan, root, &first, sysfs)?;
    // Nobody else can reach this file system: what is made here stays what it is, and has a name that can be relied on.
    let here = fd::cwd();
    for hierarchy in hierarchies {
        let what = || format!("bind the cgroup of {}", hierarchy.name);
        let (name, none) = (hierarchy.name.as_str(), None::<&str>);
        mkdirat(here, name, Mode::from_bits_truncate(0o755)).or_fail(what)?;
        nix::mount::mount(Some(&hierarchy.source), name, none, MsFlags::MS_BIND, none).or_fail(what)?;
        for link in &hierarchy.links {
            symlinkat(OsStr::new(&hierarchy.name), here, OsStr::new(link)).or_fail(what)?;
        }
    }
    // All at once: nothing of the container runs yet.
    let all = Attributes {
        recursive_set: wanted.set,
        recursive_clear: wanted.clear,
        propagation: propagation(wanted, true),
        ..Attributes::default()
    };
    set_attributes(here, &all)?;
    set_attributes(here, &Attributes { set: 0, clear: 0, propagation: Vec::new(), ..wanted.clone() })
}

/// Mounts the tmpfs for the hierarchies, and enters it: by a name that the kernel gives, where it lies in a sysfs that was
/// mounted here.
fn enter_new_tmpfs(
    plan: &MountPlan,
    root: BorrowedFd<'_>,
    attributes: &Attributes,
    sysfs: Option<(BorrowedFd<'_>, CString)>,
) -> Step<()> {
    let options = [(c"mode", Some(c"755"))];
    let tmpfs = Wanted { kind: c"tmpfs", source: Some(c"tmpfs"), options: &options, attributes };
    if let Some((sysfs, name)) = sysfs
        && fchdir(sysfs).is_ok()
        && tmpfs.at(&name)
    {
        return chdir(name.as_c_str()).or_fail(|| "enter the new tmpfs".into());
    }
    let place = place_for(plan, root, b"cgroup", &[], &mut Fresh::default())?.point.open();
    let place = place.or_fail(|| "open the mount point".into())?;
    let context = context(tmpfs.kind, None)?;
    let mount = file_system(context.as_fd(), tmpfs.kind, tmpfs.source, &options, attributes.set)?;
    api::move_mount(mount.as_fd(), place.as_fd()).or_fail(|| "attach".into())?;
    fchdir(&mount).or_fail(|| "enter the new tmpfs".into())
}
