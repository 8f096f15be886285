//! `/dev`: nodes, links, and the place of the terminal multiplexer.

use super::fresh::Fresh;
use super::{OrFail, Step, failure};
use crate::path::{self, Missing};
use crate::plan::Plan;
use crate::plan::devices::DeviceNode;
use crate::sys::fd::{self, LazyFd};
use crate::sys::{Errno, mount};
use crate::{privilege, weak};
use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstat, makedev, mknodat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, symlinkat, unlinkat};
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

/// Links that every container has (config-linux.md, "Dev symbolic links").
const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// The container's `/dev`.
#[derive(Debug)]
pub struct Dev {
    fd: LazyFd,
    /// Its null device was made here, in a file system that nobody else can reach.
    pub null: bool,
}

impl AsFd for Dev {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Fills `/dev` and returns it. It may have been opened for the last mounts already.
///
/// # Errors
/// A node or link cannot be made.
pub fn make(plan: &Plan, root: BorrowedFd<'_>, fresh: &mut Fresh) -> Step<Dev> {
    let (dev, ours) = fresh.take(root, OsStr::new("/dev/")).or_fail(|| "create /dev".into())?;
    let bound = plan.namespaces.separate(libc::CLONE_NEWUSER) || privilege::in_user_namespace();
    let mut null = false;
    for node in &plan.devices {
        let verb = if bound { "bind the host's" } else { "create" };
        let what = || format!("{verb} device {}", node.path.to_string_lossy());
        match node
            .path
            .as_bytes()
            .strip_prefix(b"/dev/")
            .filter(|name| !name.is_empty() && !name.contains(&b'/'))
        {
            Some(name) => {
                let made = one(node, bound, dev.as_fd(), OsStr::from_bytes(name)).or_fail(what)?;
                null |= ours && made && name == b"null" && is_null(node);
            }
            None => {
                let (parent, name) = path::parent_in_root(root, &node.path).or_fail(what)?;
                one(node, bound, parent.as_fd(), &name).or_fail(what)?;
            }
        }
    }
    for (name, target) in LINKS {
        link(dev.as_fd(), name, target)?;
    }
    // Not every kernel has one.
    if std::path::Path::new("/proc/kcore").exists() {
        link(dev.as_fd(), "core", "/proc/kcore")?;
    }
    multiplexer(dev.as_fd())?;
    Ok(Dev { fd: dev, null })
}

fn is_null(node: &DeviceNode) -> bool {
    (node.kind, node.major, node.minor) == (SFlag::S_IFCHR, 1, 3)
}

/// Makes sure of a node; whether it was made, and was not there before. With `bound` devices are the host's: nobody makes one in a
/// user namespace.
fn one(node: &DeviceNode, bound: bool, dir: BorrowedFd<'_>, name: &OsStr) -> Result<bool, Errno> {
    let mode = Mode::from_bits_truncate(node.mode);
    let number = makedev(node.major, node.minor);
    match mknodat(dir, name, node.kind, mode, number) {
        Ok(()) if (node.uid, node.gid) == (0, 0) => return Ok(true),
        Ok(()) => return own(node, dir, name).map(|()| true),
        // In a user namespace, or behind a device filter: the host's own node is bound instead.
        Err(Errno::EPERM) => return bind_from_host(node, dir, name).map(|()| false),
        Err(Errno::EEXIST) if weak::off("masks") || weak::off("null") => return Ok(false),
        Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno),
    }
    // An image may bring anything under that name: only the very device will do. That one may be the host's own, from a
    // bind mount, so its mode and owner stay as they are.
    let there = path::stat_one(dir, name)?;
    if is_node(&there, node) {
        return Ok(false);
    }
    // What `mounts` has put there was asked for, too, and stays: `/dev/urandom` on `/dev/random`, say.
    if mount::is_mounted_on(dir, name)? {
        return Ok(false);
    }
    // An earlier container's mount point, as a rule: it is covered again. Not so a link, which leads elsewhere.
    if bound && node.kind != SFlag::S_IFIFO && path::file_type(&there) != SFlag::S_IFLNK {
        return bind_from_host(node, dir, name).map(|()| false);
    }
    unlinkat(dir, name, UnlinkatFlags::NoRemoveDir)?;
    // Nothing is masked from the mode: it needs no second look at a name that may be a link to the host by then.
    match mknodat(dir, name, node.kind, mode, number) {
        Err(Errno::EPERM) => return bind_from_host(node, dir, name).map(|()| false),
        made => made?,
    }
    if weak::off("node") {
        fchmodat(dir, name, mode, FchmodatFlags::FollowSymlink)?;
    }
    own(node, dir, name).map(|()| false)
}

fn own(node: &DeviceNode, dir: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
    fchownat(dir, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// Whether a file is the device that `node` asks for.
#[must_use]
pub fn is_node(stat: &FileStat, node: &DeviceNode) -> bool {
    path::file_type(stat) == node.kind
        && (node.kind == SFlag::S_IFIFO || stat.st_rdev == makedev(node.major, node.minor))
}

fn bind_from_host(node: &DeviceNode, dir: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    let source = CString::new(node.path.as_bytes()).map_err(|_| Errno::EINVAL)?;
    let mount = mount::open_tree(fd::cwd(), &source, libc::OPEN_TREE_CLONE)?;
    if !is_node(&fstat(&mount)?, node) {
        return Err(Errno::ENODEV);
    }
    let place = match path::make_one(dir, name, Missing::File) {
        Err(Errno::EEXIST) => path::without_links(dir, name)?,
        made => made?,
    };
    mount::move_mount(mount.as_fd(), place.as_fd())
}

fn link(dev: BorrowedFd<'_>, name: &str, target: &str) -> Step<()> {
    match symlinkat(target, dev, name) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno).or_fail(|| format!("create link /dev/{name}")),
    }
}

/// `/dev/ptmx` is that of the container's own devpts, whatever the image had there.
fn multiplexer(dev: BorrowedFd<'_>) -> Step<()> {
    for _ in 0..2 {
        match symlinkat("pts/ptmx", dev, "ptmx") {
            Ok(()) => return Ok(()),
            Err(Errno::EEXIST) => match unlinkat(dev, "ptmx", UnlinkatFlags::NoRemoveDir) {
                // Bound from the host, where the image's /dev cannot be written to.
                Err(Errno::EBUSY | Errno::EROFS) => return Ok(()),
                result => result.or_fail(|| "replace /dev/ptmx".into())?,
            },
            Err(Errno::EROFS) => return Ok(()),
            Err(errno) => return Err(errno).or_fail(|| "create /dev/ptmx".into()),
        }
    }
    Err(failure("create /dev/ptmx: it keeps coming back"))
}
