//! The root file system of a container that is not running: its overlay, mounted where nobody sees it, and what
//! changed in it.

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, fstatat};

use super::{Root, by_descriptor, is_kind};
use crate::error::{Error, Result};
use crate::sys;

/// The directories of an overlay.
#[derive(Debug, Clone, Default)]
pub struct Lower {
    /// The read-only ones, the uppermost first.
    pub lower: Vec<PathBuf>,
    /// The one that is written to, and the one that overlayfs works in; without them the tree is read-only.
    pub upper: Option<(PathBuf, PathBuf)>,
}

/// Mounts an overlay that is attached nowhere: it is there as long as the descriptor is.
///
/// # Errors
/// When the kernel refuses.
pub fn mount(overlay: &Lower) -> Result<Root> {
    if overlay.upper.is_none() && overlay.lower.len() == 1 {
        return Root::open(&overlay.lower[0]);
    }
    mount_overlay(overlay).map(Root::new).map_err(Error::step("mount the container's file system"))
}

fn mount_overlay(overlay: &Lower) -> io::Result<std::os::fd::OwnedFd> {
    let context = sys::fsopen(c"overlay")?;
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes());
    let set = |key, path: &Path| sys::fsconfig_set(context.as_fd(), key, Some(&text(path)?));
    set(c"source", Path::new("overlay"))?;
    // One by one, as a list has to fit into 256 bytes here (Linux 6.5).
    let one_by_one = overlay.lower.iter().try_for_each(|path| set(c"lowerdir+", path));
    if one_by_one.is_err() {
        let all: Vec<_> = overlay.lower.iter().map(|path| path.to_string_lossy()).collect();
        sys::fsconfig_set(context.as_fd(), c"lowerdir", Some(&CString::new(all.join(":"))?))?;
    }
    if let Some((upper, work)) = &overlay.upper {
        set(c"upperdir", upper)?;
        set(c"workdir", work)?;
    }
    if crate::rootless::is() {
        sys::fsconfig_set(context.as_fd(), c"userxattr", None)?;
    }
    sys::fsmount(context.as_fd())
}

/// One thing that a container changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Absolute, in the container.
    pub path: PathBuf,
    /// 0 changed, 1 added, 2 deleted: Docker's numbers.
    pub kind: u8,
}

/// What the upper directory says is different from the lower ones, ordered by path.
///
/// # Errors
/// When a directory cannot be read.
pub fn changes(upper: &Root, lower: Option<&Root>) -> Result<Vec<Change>> {
    let mut found = Vec::new();
    walk(upper, lower, &mut PathBuf::new(), &mut found)?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn walk(upper: &Root, lower: Option<&Root>, at: &mut PathBuf, found: &mut Vec<Change>) -> Result<bool> {
    let flags = nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_DIRECTORY | nix::fcntl::OFlag::O_NOFOLLOW;
    let folder = upper.get(at, flags).map_err(Error::at("open", &at))?;
    let opaque = is_opaque(&folder);
    let mut any = false;
    let names = std::fs::read_dir(by_descriptor(&folder)).map_err(Error::at("read", &at))?;
    for name in names {
        let name = name.map_err(Error::at("read", &at))?.file_name();
        let stat = fstatat(folder.as_fd(), Path::new(&name), AtFlags::AT_SYMLINK_NOFOLLOW)
            .map_err(Error::at("look at", &at))?;
        at.push(&name);
        any = true;
        let before = if opaque { None } else { lower.and_then(|lower| lookup(lower, at)) };
        let path = Path::new("/").join(&at);
        if is_whiteout(&stat) {
            if before.is_some() {
                found.push(Change { path, kind: 2 });
            }
        } else if is_kind(&stat, libc::S_IFDIR) {
            let existed = before.is_some_and(|before| is_kind(&before, libc::S_IFDIR));
            let inside = walk(upper, lower.filter(|_| existed), at, found)?;
            let same = before.is_some_and(|before| same_directory(&before, &stat));
            if !existed || inside || !same {
                found.push(Change { path, kind: u8::from(!existed) });
            }
        } else {
            found.push(Change { path, kind: u8::from(before.is_none()) });
        }
        at.pop();
    }
    Ok(any)
}

fn lookup(lower: &Root, path: &Path) -> Option<FileStat> {
    let (folder, name) = lower.parent(path).ok()??;
    fstatat(folder.as_fd(), &name, AtFlags::AT_SYMLINK_NOFOLLOW).ok()
}

fn same_directory(before: &FileStat, now: &FileStat) -> bool {
    (before.st_mode, before.st_uid, before.st_gid) == (now.st_mode, now.st_uid, now.st_gid)
}

/// Whether it is overlayfs's note that a name is hidden.
pub(super) fn is_whiteout(stat: &FileStat) -> bool {
    is_kind(stat, libc::S_IFCHR) && stat.st_rdev == 0
}

/// Whether a directory hides all that lower ones have in it.
pub(super) fn is_opaque(folder: &impl AsFd) -> bool {
    let path = CString::new(by_descriptor(folder).into_os_string().into_encoded_bytes());
    let value = path.ok().and_then(|path| sys::get_xattr(&path, crate::rootless::opaque()).ok());
    value.flatten().as_deref() == Some(b"y")
}
