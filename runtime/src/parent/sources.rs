//! Mounts that only the host's half can make: sources that a mapped root may not read, and id-mapped mounts.

use super::error::{Error, OrError, Result, file_error};
use super::idmap;
use crate::child::mounts::{Prepared, open_source};
use crate::plan::mounts::{MountPlan, What};
use crate::plan::{Host, Plan};
use crate::sys::{Errno, mount};
use crate::weak;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Makes what the container's process, with fewer privileges over the host, cannot make itself. Ids that are to be
/// mapped through the container's own user namespace wait for [`map_to_container`].
///
/// # Errors
/// A source that does not exist, a file system that cannot be id-mapped.
pub fn prepare(plan: &Plan, host: &Host) -> Result<Vec<Prepared>> {
    let userns = plan.namespaces.separate(libc::CLONE_NEWUSER);
    let mapped = plan.mounts.iter().any(|mount| mount.idmap.is_some());
    check(plan, host)?;
    if host.rootless {
        // Without privilege the child, which is root of its own namespaces, can do more than this process.
        return Ok(Vec::new());
    }
    if !userns && !mapped {
        return Ok(Vec::new());
    }
    let peers = plan.root.propagation.is_some_and(|propagation| propagation & libc::MS_SHARED != 0);
    plan.mounts.iter().map(|mount| one(mount, host, userns, peers)).collect()
}

/// Whether this process has the right to make what [`prepare`] makes.
///
/// # Errors
/// An id-mapped mount without privilege over the host.
pub fn check(plan: &Plan, host: &Host) -> Result<()> {
    match plan.mounts.iter().find(|mount| mount.idmap.is_some()) {
        Some(mount) if host.rootless => Err(Error::Other(format!(
            "config.json: mounts[{}]: id-mapped mounts need privilege over the host",
            mount.index
        ))),
        _ => Ok(()),
    }
}

/// Makes what a running container's process cannot make itself.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_one(planned: &MountPlan, host: &Host, pid: i32) -> Result<Prepared> {
    if host.rootless && planned.idmap.is_some() {
        return Err(Error::Other(format!(
            "mounts[{}]: id-mapped mounts need privilege over the host",
            planned.index
        )));
    }
    let prepared = one(planned, host, true, false)?;
    map_one_to_container(planned, &prepared, pid, &mut None)?;
    Ok(prepared)
}

/// `peers`: mounts in the container stay peers of the host's.
fn one(planned: &MountPlan, host: &Host, userns: bool, peers: bool) -> Result<Prepared> {
    let namespace = match &planned.idmap {
        Some(map) if !map.uids.is_empty() => Some(idmap::namespace(&map.uids, &map.gids, host)?),
        _ => None,
    };
    let What::Bind { source, tree, nofollow, copy_symlink } = &planned.what else {
        return Ok(Prepared { idmap: namespace, ..Prepared::default() });
    };
    if *copy_symlink && let Ok(link) = std::fs::read_link(source) {
        return Ok(Prepared { link: Some(link).filter(|_| !weak::off("sources")), ..Prepared::default() });
    }
    if !(userns || planned.idmap.is_some()) {
        return Ok(Prepared::default());
    }
    let mount = open_source(source, *tree, *nofollow)
        .or_error(|| format!("mounts[{}].source: bind {}", planned.index, source.display()))?;
    if !peers {
        // As a copy made in the container's own mount namespace would be.
        let slave = mount::Attributes { propagation: libc::MS_SLAVE, ..mount::Attributes::default() };
        mount::mount_setattr(mount.as_fd(), *tree, slave)
            .or_error(|| format!("mounts[{}]: set propagation", planned.index))?;
    }
    if let Some(namespace) = namespace {
        map(planned, mount.as_fd(), namespace.as_fd())?;
    }
    Ok(Prepared { mount: Some(mount), ..Prepared::default() })
}

/// Maps ids of the mounts that said so without a map of their own, through the user namespace of the process `pid`.
///
/// # Errors
/// A file system that cannot be id-mapped.
pub fn map_to_container(plan: &Plan, prepared: &[Prepared], pid: i32) -> Result<()> {
    let mut namespace: Option<OwnedFd> = None;
    for planned in &plan.mounts {
        if let Some(prepared) = prepared.get(planned.index) {
            map_one_to_container(planned, prepared, pid, &mut namespace)?;
        }
    }
    Ok(())
}

/// The same, through a user namespace that no process of the container is in.
///
/// # Errors
/// As [`map_to_container`].
pub fn map_through(plan: &Plan, prepared: &[Prepared], namespace: BorrowedFd<'_>) -> Result<()> {
    for planned in plan.mounts.iter().filter(|planned| wants_own_map(planned)) {
        if let Some(mount) = prepared.get(planned.index).and_then(|prepared| prepared.mount.as_ref()) {
            map(planned, mount.as_fd(), namespace)?;
        }
    }
    Ok(())
}

/// Whether ids are mapped through the container's own user namespace.
fn wants_own_map(planned: &MountPlan) -> bool {
    planned.idmap.as_ref().is_some_and(|map| map.uids.is_empty())
}

fn map_one_to_container(
    planned: &MountPlan,
    prepared: &Prepared,
    pid: i32,
    namespace: &mut Option<OwnedFd>,
) -> Result<()> {
    let Some(mount) = prepared.mount.as_ref().filter(|_| wants_own_map(planned)) else { return Ok(()) };
    let file = match namespace {
        Some(file) => file,
        None => {
            let path = format!("/proc/{pid}/ns/user");
            namespace.insert(File::open(&path).map_err(file_error("open", path))?.into())
        }
    };
    map(planned, mount.as_fd(), file.as_fd())
}

fn map(planned: &MountPlan, mount: BorrowedFd<'_>, namespace: BorrowedFd<'_>) -> Result<()> {
    let tree = planned.idmap.as_ref().is_some_and(|map| map.tree);
    let result = mount::idmap(mount, tree, namespace);
    let why = match result {
        Err(Errno::EINVAL) => " (its file system cannot be id-mapped, or it is mapped already)",
        _ => "",
    };
    result.or_error(|| format!("mounts[{}]: map ids{why}", planned.index))
}
