//! `linux.maskedPaths` and `linux.readonlyPaths`.

use super::covers::{Covers, Inside, bind};
use super::mounts::InMount;
use super::rootfs::Root;
use super::{OrFail, Step};
use crate::path::{self, Missing};
use crate::plan::Plan;
use crate::sys::Errno;
use crate::sys::fd::LazyFd;
use crate::sys::mount;
use nix::mount::MsFlags;
use nix::sys::stat::{SFlag, fstat};
use std::ffi::{CString, OsStr};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

/// Where a path of the container leads.
enum Place<'a> {
    /// To this file or directory.
    Found(LazyFd),
    /// To this name in the root of a procfs or sysfs that was mounted here. The kernel gives it, and nobody can give it to
    /// anything else: it is as certain as a descriptor.
    Kernels(InMount<'a>, CString),
}

/// A path, from the mount that has it: what was mounted is what is covered, whatever has become of the names above it. A
/// link in it that begins at the root leads nowhere from there; the kernel's own file systems have none.
fn find<'a>(root: &'a Root, path: &OsStr) -> Result<Place<'a>, Errno> {
    if let Some((mount, below)) = root.covered.find(path) {
        if mount.kernels && is_name(below) {
            let name = CString::new(below.as_bytes()).map_err(|_| Errno::EINVAL)?;
            return Ok(Place::Kernels(mount, name));
        }
        let below = if below.is_empty() { OsStr::new(".") } else { below };
        match path::resolve(mount.fd, below, Missing::Fail) {
            Err(Errno::ENOENT | Errno::ENOTDIR) if !mount.kernels => {}
            result => return result.map(|fd| Place::Found(fd.into())),
        }
    }
    path::resolve(root.path_root(), path, Missing::Fail).map(|fd| Place::Found(fd.into()))
}

/// Whether a path is one name.
fn is_name(path: &OsStr) -> bool {
    let mut parts = Path::new(path).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(name)), None) if name == path)
}

/// What there is; `None` for what does not exist, which needs no cover.
fn there<T>(result: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match result {
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        result => result.map(Some),
    }
}

/// Makes paths read-only, then hides paths, before the host's tree is out of reach. What does not exist needs neither. With
/// `own_null` the null device of the container's `/dev` is one that was made here, and that nobody else has had in hand. This
/// process is somewhere in the container afterwards.
///
/// # Errors
/// A path cannot be covered.
pub fn apply(plan: &Plan, root: &Root, own_null: bool) -> Step<()> {
    let mut inside = Inside::default();
    let mut others = Vec::new();
    let what = |path: &OsStr| format!("linux.readonlyPaths: {}", path.to_string_lossy());
    for path in &plan.read_only {
        if !make_name_read_only(root, path, &mut inside).or_fail(|| what(path))? {
            others.push(path);
        }
    }
    inside.end_read_only().or_fail(|| "linux.readonlyPaths".into())?;
    for path in others {
        make_read_only(root, path).or_fail(|| what(path))?;
    }
    if plan.masked.is_empty() {
        return Ok(());
    }
    let null = root.dev.as_ref().filter(|_| own_null).map(AsFd::as_fd);
    let mut covers =
        Covers::new(root, null, inside).or_fail(|| "linux.maskedPaths: open the host's /dev/null".into())?;
    for path in &plan.masked {
        hide(root, path, &mut covers).or_fail(|| format!("linux.maskedPaths: {}", path.to_string_lossy()))?;
    }
    covers.verify().or_fail(|| "linux.maskedPaths: what hides directories is gone".into())
}

/// Makes a name in a mount of the kernel's own read-only, if there is such a one; `false` when the path leads elsewhere.
fn make_name_read_only<'a>(root: &'a Root, path: &OsStr, inside: &mut Inside<'a>) -> Result<bool, Errno> {
    let Some(Place::Kernels(mount, name)) = there(find(root, path))? else { return Ok(false) };
    inside.begin_read_only(&mount)?;
    there(bind(&name, &name, MsFlags::MS_REC)).map(|_| true)
}

/// Makes what a path leads to read-only. A mount is so itself: a copy of it would cover it, and whatever is hidden in it
/// afterwards could be seen in the copy.
fn make_read_only(root: &Root, path: &OsStr) -> Result<(), Errno> {
    let Some(Place::Found(place)) = there(find(root, path))? else { return Ok(()) };
    let read_only = mount::Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Default::default() };
    match mount::mount_setattr(place.as_fd(), false, read_only) {
        // Not the root of a mount.
        Err(Errno::EINVAL) => {}
        result => return result,
    }
    let copy = LazyFd::from(mount::clone_mount(place.as_fd(), true)?);
    mount::mount_setattr(copy.as_fd(), false, read_only)?;
    mount::move_mount(copy.as_fd(), place.as_fd())
}

fn hide<'a>(root: &'a Root, path: &OsStr, covers: &mut Covers<'a>) -> Result<(), Errno> {
    let Some(place) = there(find(root, path))? else { return Ok(()) };
    match place {
        Place::Kernels(mount, name) => covers.put_on_name(mount.fd, &name),
        Place::Found(place) => {
            let directory = path::file_type(&fstat(&place)?) == SFlag::S_IFDIR;
            covers.put(directory, |cover| mount::move_mount(cover, place.as_fd()))
        }
    }
}
