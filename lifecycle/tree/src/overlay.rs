//! The file system of layers and what is written above them: an overlay, mounted where nobody sees it, or a copy where
//! the kernel makes no overlays.

use std::fs::DirBuilder;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode};
use runtime::privilege::in_user_namespace;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, mount_bind, move_mount,
};

use super::{Apply, Error, Result, Root, by_descriptor, is_kind, transfer};

/// In archives, what the name of a hidden file begins with.
pub(super) const WHITEOUT: &str = ".wh.";

/// The directories of a file system.
#[derive(Debug, Clone, Default)]
pub struct Lower {
    /// The read-only ones, the uppermost first.
    pub lower: Vec<PathBuf>,
    /// The one that is written to, and the one that overlayfs works in; without them the tree is read-only.
    pub upper: Option<(PathBuf, PathBuf)>,
    /// What is written to has all files of the others too: there are no overlays here.
    pub copied: bool,
}

impl Lower {
    /// Makes the directory that is written to, with all files in it if it is a copy.
    ///
    /// # Errors
    /// With the path that cannot be made.
    pub fn make(&self) -> Result<()> {
        let Some((upper, work)) = &self.upper else { return Ok(()) };
        make_dir(upper, 0o755)?;
        if !self.copied {
            return make_dir(work, 0o700);
        }
        let to = Root::open(upper)?;
        for from in self.lower.iter().rev() {
            transfer(&Root::open(from)?, Path::new(""), Path::new("."), &to, &Apply::default())?;
        }
        Ok(())
    }
}

fn make_dir(path: &Path, mode: u32) -> Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(Error::at("make", path))
}

/// Whether overlays can be written to below a directory: some file systems cannot be their upper one (another overlay,
/// for instance), and some kernels give them to root alone.
///
/// # Errors
/// When not even directories can be made there.
pub fn is_possible(below: &Path) -> Result<bool> {
    let folder = tempfile::tempdir_in(below).map_err(Error::at("make a folder in", below))?;
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| folder.path().join(name));
    make_dir(&lower.join("folder"), 0o755)?;
    let overlay = Lower { lower: vec![lower], upper: Some((upper.clone(), work)), copied: false };
    overlay.make()?;
    // What a container does: with the marks for what is removed, and for a directory that was made again.
    let works = mount(&overlay).is_ok_and(|root| {
        let inside = by_descriptor(&root).join("folder");
        std::fs::remove_dir(&inside).and_then(|()| std::fs::create_dir(&inside)).is_ok()
    });
    let marked = Root::open(&upper.join("folder")).is_ok_and(|folder| is_opaque(&folder));
    Ok(works && marked)
}

/// The root of it: an overlay is attached nowhere, and there as long as the descriptor is.
///
/// # Errors
/// When the kernel refuses.
pub fn mount(overlay: &Lower) -> Result<Root> {
    match (&overlay.upper, &overlay.lower[..]) {
        (Some((upper, _)), _) if overlay.copied => return Root::open(upper),
        (None, [only]) => return Root::open(only),
        _ => {}
    }
    mount_overlay(overlay).map(Root::new).map_err(|errno| Error::Mount(errno.into()))
}

/// Mounts it at a folder of the host's.
///
/// # Errors
/// When the kernel refuses.
pub fn mount_at(overlay: &Lower, place: &Path) -> Result<()> {
    let mounted = match (&overlay.upper, &overlay.lower[..]) {
        (Some((upper, _)), _) if overlay.copied => mount_bind(upper, place),
        (None, [only]) => mount_bind(only, place),
        _ => mount_overlay(overlay)
            .and_then(|tree| move_mount(tree, "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)),
    };
    mounted.map_err(|errno| Error::Mount(errno.into()))
}

fn mount_overlay(overlay: &Lower) -> rustix::io::Result<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let set = |key: &str, value: &Path| fsconfig_set_string(context.as_fd(), key, value);
    set("source", Path::new("overlay"))?;
    // By descriptors, as a path has to fit into 256 bytes here.
    let open = |path: &PathBuf| {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        nix::fcntl::open(path, flags, Mode::empty()).map_err(|errno| Errno::from_raw_os_error(errno as i32))
    };
    let lower = overlay.lower.iter().map(open).collect::<rustix::io::Result<Vec<_>>>()?;
    // One by one, as a list has to fit as well (Linux 6.5).
    if lower.iter().try_for_each(|folder| set("lowerdir+", &by_descriptor(folder))).is_err() {
        let all: Vec<_> = lower.iter().map(|folder| by_descriptor(folder).display().to_string()).collect();
        set("lowerdir", Path::new(&all.join(":")))?;
    }
    let upper =
        overlay.upper.iter().map(|(upper, work)| Ok([("upperdir", open(upper)?), ("workdir", open(work)?)]));
    let upper = upper.collect::<rustix::io::Result<Vec<_>>>()?;
    upper.iter().flatten().try_for_each(|(key, folder)| set(key, &by_descriptor(folder)))?;
    if in_user_namespace() {
        fsconfig_set_flag(context.as_fd(), "userxattr")?;
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

/// Whether it is overlayfs's note that a name is hidden.
pub(super) fn is_whiteout(stat: &FileStat) -> bool {
    is_kind(stat, libc::S_IFCHR) && stat.st_rdev == 0
}

/// The extended attribute with which overlayfs marks a directory that hides all below it.
pub(super) fn opaque() -> &'static str {
    if in_user_namespace() { "user.overlay.opaque" } else { "trusted.overlay.opaque" }
}

/// Whether a directory hides all that lower ones have in it.
pub(super) fn is_opaque(folder: &impl AsFd) -> bool {
    let value = xattr::get_deref(by_descriptor(folder), opaque());
    value.is_ok_and(|value| value.as_deref() == Some(b"y"))
}
