//! The file system of layers and what is written above them: an overlay, mounted where nobody sees it, or a copy where
//! the kernel makes no overlays.

use std::ffi::CString;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode};
use runtime::privilege::in_user_namespace;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_bind, move_mount, open_tree,
};

use super::{Apply, Error, Result, Root, by_descriptor, in_mount_namespace, is_kind, transfer};

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
            let apply = Apply { whole: true, ..Apply::default() };
            transfer(&Root::open(from)?, Path::new(""), Path::new("."), &to, &apply)?;
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
    mount_overlay(overlay).map(Root::new).map_err(Error::Mount)
}

/// Mounts it at a folder of the host's.
///
/// # Errors
/// When the kernel refuses.
pub fn mount_at(overlay: &Lower, place: &Path) -> Result<()> {
    let mounted = match (&overlay.upper, &overlay.lower[..]) {
        (Some((upper, _)), _) if overlay.copied => mount_bind(upper, place),
        (None, [only]) => mount_bind(only, place),
        _ => {
            let tree = mount_overlay(overlay).map_err(Error::Mount)?;
            move_mount(tree, "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        }
    };
    mounted.map_err(|errno| Error::Mount(errno.into()))
}

fn mount_overlay(overlay: &Lower) -> io::Result<OwnedFd> {
    // Linux before 6.5, which writes each attempt into its log.
    static LISTS_ALONE: AtomicBool = AtomicBool::new(false);
    if !LISTS_ALONE.load(Ordering::Relaxed) {
        match one_by_one(overlay) {
            Err(Errno::INVAL) => {}
            result => return Ok(result?),
        }
    }
    let mounted = in_one_list(overlay)?;
    LISTS_ALONE.store(true, Ordering::Relaxed);
    Ok(mounted)
}

/// Each folder by itself, of which there may be any number.
fn one_by_one(overlay: &Lower) -> rustix::io::Result<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let set = |key: &str, value: &Path| fsconfig_set_string(context.as_fd(), key, value);
    set("source", Path::new("overlay"))?;
    let folders = Folders::open(overlay)?;
    folders.lower.iter().try_for_each(|folder| set("lowerdir+", &by_descriptor(folder)))?;
    folders.upper.iter().try_for_each(|(key, folder)| set(key, &by_descriptor(folder)))?;
    if in_user_namespace() {
        fsconfig_set_flag(context.as_fd(), "userxattr")?;
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

/// A list is too long for fsconfig(2), but not for mount(2), which needs a place.
fn in_one_list(overlay: &Lower) -> io::Result<OwnedFd> {
    let place = overlay.lower.first().ok_or(Errno::INVAL)?;
    in_mount_namespace(|| {
        let folders = Folders::open(overlay)?;
        let lower = folders.lower.iter().map(|folder| by_descriptor(folder).display().to_string());
        let mut data = format!("lowerdir={}", lower.collect::<Vec<_>>().join(":"));
        for (key, folder) in &folders.upper {
            data += &format!(",{key}={}", by_descriptor(folder).display());
        }
        data += if in_user_namespace() { ",userxattr" } else { "" };
        let data = CString::new(data).map_err(|_| Errno::INVAL)?;
        rustix::mount::mount("overlay", place, "overlay", MountFlags::empty(), Some(&*data))?;
        Ok(open_tree(CWD, place, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?)
    })
}

/// The folders of an overlay, by descriptors: their paths may be longer than what takes them.
struct Folders {
    lower: Vec<OwnedFd>,
    upper: Vec<(&'static str, OwnedFd)>,
}

impl Folders {
    fn open(overlay: &Lower) -> rustix::io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let open = |path: &PathBuf| nix::fcntl::open(path, flags, Mode::empty()).map_err(from_nix);
        let lower = overlay.lower.iter().map(open).collect::<rustix::io::Result<_>>()?;
        let upper = match &overlay.upper {
            Some((upper, work)) => vec![("upperdir", open(upper)?), ("workdir", open(work)?)],
            None => Vec::new(),
        };
        Ok(Self { lower, upper })
    }
}

fn from_nix(errno: nix::Error) -> Errno {
    Errno::from_raw_os_error(errno as i32)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_list_makes_the_same_as_one_by_one() {
        if !nix::unistd::geteuid().is_root() {
            let line = b"skipped: needs root [a_list_makes_the_same_as_one_by_one]\n";
            let _said = std::io::Write::write_all(&mut std::io::stderr(), line);
            return;
        }
        let outer = tempfile::tempdir().unwrap();
        // More than fsconfig(2) takes as a list.
        let folders = (0..100).map(|number| outer.path().join(number.to_string()));
        let lower: Vec<_> = folders
            .inspect(|folder| {
                fs::create_dir(folder).unwrap();
                fs::write(folder.join("name"), folder.to_str().unwrap()).unwrap();
                fs::write(folder.join(folder.file_name().unwrap()), "").unwrap();
            })
            .collect();
        for upper in [false, true] {
            let [above, work] = ["above", "work"].map(|name| outer.path().join(name));
            let overlay =
                Lower { lower: lower.clone(), upper: upper.then_some((above, work)), copied: false };
            overlay.make().unwrap();
            let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
            for way in [mount_overlay, in_one_list] {
                let tree = way(&overlay).unwrap();
                let root = by_descriptor(&tree);
                assert_eq!(fs::read_dir(&root).unwrap().count(), 101);
                assert_eq!(fs::read_to_string(root.join("name")).unwrap(), lower[0].to_str().unwrap());
                assert_eq!(fs::write(root.join("99"), "new").is_ok(), upper);
            }
            assert_eq!(fs::read_to_string("/proc/self/mounts").unwrap(), mounts);
        }
        assert_eq!(fs::read_to_string(outer.path().join("above/99")).unwrap(), "new");
    }
}
