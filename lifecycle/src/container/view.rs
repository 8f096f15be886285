//! The files of a container as it sees them, with what is mounted into it. When it does not run, all of that is mounted
//! in a namespace of its own, where nobody else sees it.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use nix::mount::{MntFlags, umount2};
use nix::unistd::{chdir, pivot_root};
use tree::{Root, by_descriptor};

use super::{Container, mounts, spec};
use crate::error::{Error, Result, StatusCode};
use crate::{files, volume};

/// The root of it; the caller keeps others from starting it, whose overlay would be broken by one of the same directories
/// that is made later.
///
/// # Errors
/// When something cannot be mounted.
pub fn open(container: &Container) -> Result<Root> {
    if container.record().state.status.is_up() {
        match container.process("root") {
            // It has just ended: nobody is left in it.
            Err(error) if error.status == StatusCode::CONFLICT => {}
            root => return Ok(Root::new(root?)),
        }
    }
    tree::in_mount_namespace(|| mounted(container))
}

fn mounted(container: &Container) -> Result<Root> {
    let namespace = File::open("/proc/thread-self/ns/mnt")?;
    let place = container.folder.join("view");
    files::make_dir(&place, 0o700)?;
    tree::mount_at(&container.overlay()?, &place)?;
    let root = Root::open(&place)?;
    fill(container, &root)?;
    // What the host has mounted would otherwise be held as long as this is.
    chdir(&place)
        .and_then(|()| pivot_root(".", "."))
        .and_then(|()| umount2(".", MntFlags::MNT_DETACH))
        .map_err(Error::step("leave the host's file system"))?;
    Ok(root.within(namespace.into()))
}

/// Mounts the engine's own files and the user's.
fn fill(container: &Container, root: &Root) -> Result<()> {
    let mut record = container.record().clone();
    record.volumes().try_for_each(|name| container.engine.volumes.mount(name))?;
    record
        .mounts
        .retain(|point| ["bind", "volume"].contains(&&*point.kind) && Path::new(&point.source).exists());
    let mut open = BTreeMap::new();
    for point in record.mounts.iter().filter(|point| !point.subpath.is_empty()) {
        let part = mounts::part(&Root::open(Path::new(&point.source))?, point)?;
        open.insert(point.destination.clone(), part);
    }
    let parts = open.iter().map(|(path, part)| (path.clone(), by_descriptor(part))).collect();
    for mount in spec::shown(&record, &container.folder, &parts)? {
        volume::mount(&serde_json::from_value(mount)?, root.as_fd())?;
    }
    Ok(())
}
