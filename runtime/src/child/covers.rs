//! What hides paths and makes them read-only: mounts that lie on them.
//!
//! In a mount of the kernel's own names are certain, and a process that has entered it needs no more: one call covers a name.

use super::mounts::InMount;
use super::rootfs::Root;
use crate::path::{self, Missing};
use crate::sys::Errno;
use crate::sys::fd::{self, LazyFd};
use crate::sys::mount::{self as api, Attributes};
use crate::weak;
use nix::fcntl::AtFlags;
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{FileStat, SFlag, fstat, fstatat, makedev};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Binds a name in the directory that this process is in to another there. A bind is as read-only as the mount that it was
/// made of.
///
/// # Errors
/// The errno of mount(2): `ENOENT` where there is no such name, `ENOTDIR` where one is a directory and the other is not.
pub fn bind(from: &CStr, to: &CStr, tree: MsFlags) -> Result<(), Errno> {
    mount(Some(from), to, None::<&CStr>, MsFlags::MS_BIND | tree, None::<&CStr>)
}

/// The mount of the kernel's own that this process has entered.
#[derive(Debug, Default)]
pub struct Inside<'a> {
    mount: Option<BorrowedFd<'a>>,
    /// It is read-only for the time being: what is bound there stays so.
    read_only: bool,
}

impl<'a> Inside<'a> {
    fn enter(&mut self, mount: BorrowedFd<'a>) -> Result<(), Errno> {
        if self.mount.is_some_and(|entered| entered.as_raw_fd() == mount.as_raw_fd()) {
            return Ok(());
        }
        self.end_read_only()?;
        nix::unistd::fchdir(mount)?;
        self.mount = Some(mount);
        Ok(())
    }

    /// Enters a mount, in which what is bound from now on is read-only.
    ///
    /// # Errors
    /// The errno of fchdir(2) or mount_setattr(2).
    pub fn begin_read_only(&mut self, mount: &InMount<'a>) -> Result<(), Errno> {
        self.enter(mount.fd)?;
        if !self.read_only && !mount.read_only {
            let set = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
            api::mount_setattr(mount.fd, false, set)?;
            self.read_only = true;
        }
        Ok(())
    }

    /// Makes the mount what it was before.
    ///
    /// # Errors
    /// The errno of mount_setattr(2).
    pub fn end_read_only(&mut self) -> Result<(), Errno> {
        let clear = Attributes { clear: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
        match self.mount {
            Some(mount) if std::mem::take(&mut self.read_only) => api::mount_setattr(mount, false, clear),
            _ => Ok(()),
        }
    }
}

/// A mount that is shown in many places. The first place gets the mount itself, the others copies: before Linux 6.15 only a
/// mount that is attached can be copied.
#[derive(Debug)]
enum Cover {
    /// By a descriptor, and whether it has its first place.
    Open(LazyFd, bool),
    /// By a path through a descriptor of this process.
    Reached(CString),
}

impl Cover {
    fn reached(dir: BorrowedFd<'_>, name: &CStr) -> Self {
        let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
        path.extend_from_slice(name.to_bytes_with_nul());
        Self::Reached(CString::from_vec_with_nul(path).unwrap_or_default())
    }

    /// Puts the mount itself, or a copy, in a place.
    fn put(&mut self, attach: impl FnOnce(BorrowedFd<'_>) -> Result<(), Errno>) -> Result<(), Errno> {
        let copy = match self {
            Self::Open(mount, attached @ false) => {
                attach(mount.as_fd())?;
                *attached = true;
                return Ok(());
            }
            Self::Open(mount, true) => api::clone_mount(mount.as_fd(), false)?,
            Self::Reached(path) => api::open_tree(fd::cwd(), path, libc::OPEN_TREE_CLONE)?,
        };
        attach(LazyFd::from(copy).as_fd())
    }
}

/// Names in procfs and sysfs that engines have hidden, and whether they are directories: they need not be looked at. Who is
/// wrong loses time, and no more.
const KNOWN: [(&CStr, bool); 12] = [
    (c"acpi", true),
    (c"asound", true),
    (c"firmware", true),
    (c"interrupts", false),
    (c"kcore", false),
    (c"keys", false),
    (c"kmsg", false),
    (c"latency_stats", false),
    (c"sched_debug", false),
    (c"scsi", true),
    (c"timer_list", false),
    (c"timer_stats", false),
];

/// What hides paths.
#[derive(Debug)]
pub struct Covers<'a> {
    root: &'a Root,
    inside: Inside<'a>,
    /// A null device, over files. Never the image's, which could be anything (CVE-2025-31133).
    file: Cover,
    /// An empty read-only tmpfs, over directories.
    directory: Option<Cover>,
    /// A bind has found one of its two names missing, and it may have been the directory's: some names go with a module of the
    /// kernel.
    doubt: bool,
}

impl<'a> Covers<'a> {
    /// Takes a null device to hide files: that of `dev`, which was made here, or else the host's, while it is in reach, as is
    /// its procfs.
    ///
    /// # Errors
    /// The errno of the failed call; `ENODEV` when the host's `/dev/null` is something else.
    pub fn new(root: &'a Root, dev: Option<BorrowedFd<'_>>, inside: Inside<'a>) -> Result<Self, Errno> {
        let file = match dev {
            _ if weak::off("masks") => {
                let images = path::resolve(root.path_root(), OsStr::new("/dev/null"), Missing::Fail)?;
                Cover::Open(api::clone_mount(images.as_fd(), false)?.into(), false)
            }
            Some(dev) => Cover::reached(dev, c"null"),
            None => Cover::Open(hosts_null()?.into(), false),
        };
        Ok(Self { root, inside, file, directory: None, doubt: false })
    }

    /// Hides a file or directory, which `attach` puts a mount on.
    ///
    /// # Errors
    /// The errno of the failed call.
    pub fn put(
        &mut self,
        directory: bool,
        attach: impl FnOnce(BorrowedFd<'_>) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        match directory {
            false => self.file.put(attach),
            true => match &mut self.directory {
                Some(cover) => cover.put(attach),
                none => none.insert(Cover::Open(empty_directory()?.into(), false)).put(attach),
            },
        }
    }

    /// Hides a name in a mount of the kernel's own, if there is such a one.
    ///
    /// # Errors
    /// The errno of the failed call.
    pub fn put_on_name(&mut self, mount: BorrowedFd<'a>, name: &CStr) -> Result<(), Errno> {
        let known = KNOWN.iter().find(|(known, _)| *known == name).map(|(_, directory)| *directory);
        let directory = match known.filter(|directory| !self.is_copied(*directory)) {
            Some(directory) => directory,
            None => match fstatat(mount, name, AtFlags::empty()) {
                Err(Errno::ENOENT) => return Ok(()),
                found => path::file_type(&found?) == SFlag::S_IFDIR,
            },
        };
        match self.try_on_name(mount, name, directory) {
            Err(Errno::ENOENT) => Ok(()),
            Err(Errno::EINVAL | Errno::ENOTDIR) => self.try_on_name(mount, name, !directory),
            result => result,
        }
    }

    /// Whether a copy has to be made of a cover before it can be put on a name. One for nothing, or for the wrong kind, has to be
    /// thrown away, which takes a grace period of the kernel.
    fn is_copied(&self, directory: bool) -> bool {
        let cover = if directory { self.directory.as_ref() } else { Some(&self.file) };
        matches!(cover, Some(Cover::Open(_, true)))
    }

    /// Fails with `EINVAL` or `ENOTDIR` for the wrong kind, and `ENOENT` where there is nothing.
    fn try_on_name(&mut self, mount: BorrowedFd<'a>, name: &CStr, directory: bool) -> Result<(), Errno> {
        match if directory { self.directory.as_mut() } else { Some(&mut self.file) } {
            Some(Cover::Reached(path)) => {
                self.inside.enter(mount)?;
                let bound = bind(path, name, MsFlags::empty());
                match bound {
                    Err(Errno::ENOENT) if directory => self.doubt = true,
                    // It is there, and was there before.
                    Ok(()) if directory => self.doubt = false,
                    _ => {}
                }
                bound
            }
            Some(cover) => {
                cover.put(|mounted| api::move_mount_to(mounted, mount, name, libc::MOVE_MOUNT_T_SYMLINKS))
            }
            None if !self.root.alone => {
                self.directory = Some(Cover::Open(empty_directory()?.into(), false));
                self.try_on_name(mount, name, directory)
            }
            None => {
                self.inside.enter(mount)?;
                let kind = Some(c"tmpfs");
                nix::mount::mount(kind, name, kind, MsFlags::MS_RDONLY, Some(c"nr_inodes=1"))?;
                self.directory = Some(Cover::reached(mount, name));
                Ok(())
            }
        }
    }

    /// Makes sure that what was missing were names to hide, and not the one that has their cover.
    ///
    /// # Errors
    /// `ENODEV` where the cover is not there any more.
    pub fn verify(&self) -> Result<(), Errno> {
        match &self.directory {
            Some(Cover::Reached(path)) if self.doubt => {
                let is_there =
                    statfs(path.as_c_str()).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC);
                if is_there { Ok(()) } else { Err(Errno::ENODEV) }
            }
            _ => Ok(()),
        }
    }
}

/// A detached copy of the host's `/dev/null`.
fn hosts_null() -> Result<OwnedFd, Errno> {
    let null = api::open_tree(fd::cwd(), c"/dev/null", libc::OPEN_TREE_CLONE)?;
    if !is_null(&fstat(&null)?) {
        return Err(Errno::ENODEV);
    }
    // The node is the host's own: without this, root in the container could change its mode and owner.
    let read_only =
        Attributes { set: libc::MOUNT_ATTR_RDONLY, propagation: libc::MS_PRIVATE, ..Attributes::default() };
    api::mount_setattr(null.as_fd(), false, read_only)?;
    Ok(null)
}

/// Whether a file is a null device.
#[must_use]
pub fn is_null(stat: &FileStat) -> bool {
    path::file_type(stat) == SFlag::S_IFCHR && stat.st_rdev == makedev(1, 3)
}

/// A detached file system that is an empty directory, read-only and without room for another file.
///
/// # Errors
/// The errno of the failed call.
pub fn empty_directory() -> Result<OwnedFd, Errno> {
    let context = LazyFd::from(api::fsopen(c"tmpfs")?);
    api::fsconfig_string(context.as_fd(), c"source", c"tmpfs")?;
    api::fsconfig_flag(context.as_fd(), c"ro")?;
    api::fsconfig_string(context.as_fd(), c"nr_inodes", c"1")?;
    api::fsconfig_create(context.as_fd())?;
    api::fsmount(context.as_fd(), libc::MOUNT_ATTR_RDONLY)
}
