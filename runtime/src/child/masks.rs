//! `linux.maskedPaths` and `linux.readonlyPaths`.

use super::rootfs::Root;
use super::{OrFail, Step};
use crate::path::{self, Missing};
use crate::plan::Plan;
use crate::sys::Errno;
use crate::sys::fd::LazyFd;
use crate::sys::mount::{self, Attributes};
use crate::weak;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, SFlag, fstat, fstatat, makedev};
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

/// What hides paths, made before the host's tree is out of reach.
#[derive(Debug)]
pub struct Covers {
    /// The host's `/dev/null`, over files. Never the container's, which could be anything (CVE-2025-31133).
    file: Cover,
    /// An empty read-only tmpfs, over directories.
    directory: Option<Cover>,
}

/// One mount that is shown in many places. The first place gets the mount itself, the others copies: before Linux
/// 6.15 only a mount that is attached can be copied.
#[derive(Debug)]
struct Cover {
    mount: LazyFd,
    attached: bool,
}

impl Cover {
    fn put_on(&mut self, place: &Place<'_>) -> Result<(), Errno> {
        if self.attached {
            let copy = LazyFd::from(mount::clone_mount(self.mount.as_fd(), false)?);
            return place.put(copy.as_fd());
        }
        place.put(self.mount.as_fd())?;
        self.attached = true;
        Ok(())
    }
}

/// Makes what hides paths, while the host's `/dev/null` is in reach.
///
/// # Errors
/// The errno of the failed call; `ENODEV` when the host's `/dev/null` is something else.
pub fn covers() -> Result<Covers, Errno> {
    let null = mount::open_tree(crate::sys::fd::cwd(), c"/dev/null", libc::OPEN_TREE_CLONE)?;
    if weak::off("masks") {
        return Ok(Covers { file: Cover { mount: null.into(), attached: false }, directory: None });
    }
    let stat = fstat(&null)?;
    if path::file_type(&stat) != SFlag::S_IFCHR || stat.st_rdev != makedev(1, 3) {
        return Err(Errno::ENODEV);
    }
    // The node is the host's own: without this, root in the container could change its mode and owner.
    let read_only =
        Attributes { set: libc::MOUNT_ATTR_RDONLY, propagation: libc::MS_PRIVATE, ..Attributes::default() };
    mount::mount_setattr(null.as_fd(), false, read_only)?;
    Ok(Covers { file: Cover { mount: null.into(), attached: false }, directory: None })
}

impl Covers {
    fn directory(&mut self) -> Result<&mut Cover, Errno> {
        let cover = match self.directory.take() {
            Some(cover) => cover,
            None => Cover { mount: empty_directory()?.into(), attached: false },
        };
        Ok(self.directory.insert(cover))
    }
}

/// A detached file system that is an empty directory, read-only and without room for another file.
pub(super) fn empty_directory() -> Result<OwnedFd, Errno> {
    let context = LazyFd::from(mount::fsopen(c"tmpfs")?);
    mount::fsconfig_string(context.as_fd(), c"source", c"tmpfs")?;
    mount::fsconfig_flag(context.as_fd(), c"ro")?;
    mount::fsconfig_string(context.as_fd(), c"nr_inodes", c"1")?;
    mount::fsconfig_create(context.as_fd())?;
    mount::fsmount(context.as_fd(), libc::MOUNT_ATTR_RDONLY)
}

/// Where a path of the container leads.
enum Place<'a> {
    /// To this file or directory.
    Found(LazyFd),
    /// To this name in the root of a procfs or sysfs that was mounted here. The kernel gives it, and nobody can give it to
    /// anything else: it is as certain as a descriptor, and takes a call less.
    Kernels(BorrowedFd<'a>, CString),
}

impl Place<'_> {
    /// Its state; `ENOENT` where there is nothing.
    fn stat(&self) -> Result<FileStat, Errno> {
        match self {
            Self::Found(fd) => fstat(fd),
            Self::Kernels(mount, name) => fstatat(mount, name.as_c_str(), AtFlags::empty()),
        }
    }

    /// A detached copy of all that is mounted from there on.
    fn copy(&self) -> Result<LazyFd, Errno> {
        let tree = libc::OPEN_TREE_CLONE | libc::AT_RECURSIVE.cast_unsigned();
        match self {
            Self::Found(fd) => mount::clone_mount(fd.as_fd(), true).map(LazyFd::from),
            Self::Kernels(dir, name) => mount::open_tree(*dir, name, tree).map(LazyFd::from),
        }
    }

    /// Attaches a mount there.
    fn put(&self, cover: BorrowedFd<'_>) -> Result<(), Errno> {
        match self {
            Self::Found(fd) => mount::move_mount(cover, fd.as_fd()),
            Self::Kernels(dir, name) => mount::move_mount_to(cover, *dir, name, libc::MOVE_MOUNT_T_SYMLINKS),
        }
    }
}

/// A path, from the mount that has it: what was mounted is what is covered, whatever has become of the names above it. A
/// link in it that begins at the root leads nowhere from there; the kernel's own file systems have none.
fn find<'a>(root: &'a Root, path: &OsStr) -> Result<Place<'a>, Errno> {
    if let Some((mount, below, kernels)) = root.covered.find(path) {
        if kernels && is_name(below) {
            let name = CString::new(below.as_bytes()).map_err(|_| Errno::EINVAL)?;
            return Ok(Place::Kernels(mount, name));
        }
        let below = if below.is_empty() { OsStr::new(".") } else { below };
        match path::resolve(mount, below, Missing::Fail) {
            Err(Errno::ENOENT | Errno::ENOTDIR) if !kernels => {}
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

/// Makes paths read-only, then hides paths. What does not exist needs neither.
///
/// # Errors
/// A path cannot be covered.
pub fn apply(plan: &Plan, root: &Root, covers: Option<&mut Covers>) -> Step<()> {
    for name in &plan.read_only {
        let what = || format!("linux.readonlyPaths: {}", name.to_string_lossy());
        let Some(place) = there(find(root, name)).or_fail(what)? else { continue };
        let Some(copy) = there(place.copy()).or_fail(what)? else { continue };
        let attributes = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
        mount::mount_setattr(copy.as_fd(), false, attributes).or_fail(what)?;
        place.put(copy.as_fd()).or_fail(what)?;
    }
    let Some(covers) = covers else { return Ok(()) };
    for name in &plan.masked {
        let what = || format!("linux.maskedPaths: {}", name.to_string_lossy());
        let Some(place) = there(find(root, name)).or_fail(what)? else { continue };
        // A copy for the wrong kind would have to be thrown away, which takes a grace period of the kernel.
        let Some(stat) = there(place.stat()).or_fail(what)? else { continue };
        let cover = match path::file_type(&stat) {
            SFlag::S_IFDIR => covers.directory().or_fail(what)?,
            _ if weak::off("masks") => {
                // The container's own, whatever that is, as it is.
                let null = mount::open_tree(crate::sys::fd::cwd(), c"/dev/null", libc::OPEN_TREE_CLONE);
                covers.file = Cover { mount: null.or_fail(what)?.into(), attached: false };
                &mut covers.file
            }
            _ => &mut covers.file,
        };
        cover.put_on(&place).or_fail(what)?;
    }
    Ok(())
}
