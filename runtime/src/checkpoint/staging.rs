//! Where criu finds what it restores into: a mount namespace of its own, with a directory of names that are ours.
//!
//! The root file system and each thing that belongs to the host lie below one directory, under a name that is a letter and
//! a number. A go-between makes all of it; this process never enters. The namespace ends with criu and this process:
//! whatever happens to them, nothing stays mounted on the host.
//!
//! The root of a user namespace, which criu is on its way, reaches it by a path that everybody may walk.

use super::{Images, Result, view};
use crate::child::mounts::{Prepared, open_source, set_attributes};
use crate::child::{OrFail, Step};
use crate::parent::Error;
use crate::parent::error::OrError;
use crate::path::{self, Missing};
use crate::plan::Plan;
use crate::plan::mounts::{MountPlan, What};
use crate::sys::{clone, fd, mount};
use nix::fcntl::{OFlag, openat};
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The name of the root file system.
const ROOT: &str = "root";
/// The name under which mount points are made.
const SCRATCH: &str = "scratch";

/// Something of the host.
#[derive(Debug)]
pub(super) enum Source {
    /// A bind mount: the position in the plan's list.
    Mount(usize),
    /// A device node or a control group, by its path on the host.
    Path(PathBuf),
    /// The host's `/dev/null`, to hide a file with.
    Null,
}

/// Something of the host, with the name it has.
#[derive(Debug)]
pub(super) struct Staged {
    /// criu's key for it, and its name in the directory.
    pub(super) key: String,
    /// What it is.
    pub(super) source: Source,
}

/// What is to be laid out.
#[derive(Debug)]
pub(super) struct Staging<'a> {
    /// The container.
    pub(super) plan: &'a Plan,
    /// Sources that were made beforehand, by the index of the mount.
    pub(super) prepared: &'a [Prepared],
    /// The directory.
    pub(super) place: &'a Path,
    /// What is laid out there.
    pub(super) sources: &'a [Staged],
    /// The container's user namespace, where it has one, or one with the same maps.
    pub(super) user: Option<BorrowedFd<'a>>,
}

/// criu's mount namespace, and what criu needs to have open in it: a file that was opened outside lies on a mount of
/// another namespace, where nothing can be mounted.
#[derive(Debug)]
pub(super) struct Inside {
    /// The namespace.
    pub(super) namespace: OwnedFd,
    /// The directory of images.
    pub(super) directory: OwnedFd,
    /// The directory of the log, where it is another one.
    pub(super) work: Option<OwnedFd>,
}

impl Staging<'_> {
    /// Makes the namespace.
    ///
    /// # Errors
    /// A source does not exist, or a mount point cannot be made.
    pub(super) fn make(&self, images: &Images) -> Result<Inside> {
        let mut result = None;
        let mut go_between = || result = Some(self.enter(images));
        clone::with_borrowed_memory(true, None, &mut go_between).or_error(|| "clone a go-between".into())?;
        let result = result.unwrap_or_else(|| Err(crate::child::failure("the go-between ended early")));
        Ok(result.map_err(Error::Step)?)
    }

    fn enter(&self, images: &Images) -> Step<Inside> {
        clone::unshare(libc::CLONE_NEWNS).or_fail(|| "create a mount namespace for criu".into())?;
        let none = None::<&str>;
        // Nothing of this is seen outside; what is mounted on the host later is still seen here.
        nix::mount::mount(none, "/", none, MsFlags::MS_SLAVE | MsFlags::MS_REC, none)
            .or_fail(|| "make criu's mounts its own".into())?;
        // Before anything is laid out, which may hide them.
        let (mut directory, mut work) = images.open_again()?;
        let own = "/proc/self/ns/mnt";
        let namespace = openat(fd::cwd(), own, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
            .or_fail(|| format!("open {own}"))?;
        let here = self.lay_out()?;
        if let Some(user) = self.user
            && let Some(mapped) = view::lay_out(directory.as_fd(), here.as_fd(), user)?
        {
            // Nobody but that root may write to them there: the log goes where it would have gone.
            work.get_or_insert(std::mem::replace(&mut directory, mapped));
        }
        Ok(Inside { namespace, directory, work })
    }

    /// The path of the root file system.
    pub(super) fn root(place: &Path) -> PathBuf {
        place.join(ROOT)
    }

    /// Lays everything out, and makes the mount points that the root file system lacks. Returns the directory.
    fn lay_out(&self) -> Step<OwnedFd> {
        let root = &self.plan.root.path;
        let open_root =
            || open_source(root, true, false).or_fail(|| format!("root.path: bind {}", root.display()));
        let mut trees = vec![(ROOT, open_root()?), (SCRATCH, open_root()?)];
        for staged in self.sources {
            trees.push((&staged.key, self.open(&staged.source)?));
        }
        let here = self.make_place()?;
        for (name, tree) in trees {
            put(here.as_fd(), name, tree)?;
        }
        self.make_mount_points(here.as_fd())?;
        umount2(&self.place.join(SCRATCH), MntFlags::MNT_DETACH)
            .or_fail(|| "unmount the scratch root".into())?;
        Ok(here)
    }

    /// The directory of names: a file system of its own, mounted on the first directory of the path that not everybody may
    /// walk through, where that matters.
    fn make_place(&self) -> Step<OwnedFd> {
        let what = || format!("mount {}", self.place.display());
        let mut base = self.place;
        if self.user.is_some() {
            for above in self.place.ancestors() {
                let stat = nix::sys::stat::stat(above).or_fail(what)?;
                if stat.st_mode & libc::S_IXOTH == 0 {
                    base = above;
                }
            }
        }
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        nix::mount::mount(Some("tmpfs"), base, Some("tmpfs"), flags, Some("mode=711")).or_fail(what)?;
        if base != self.place {
            let mut builder = std::fs::DirBuilder::new();
            let made = builder.recursive(true).mode(0o711).create(self.place);
            made.map_err(|error| crate::sys::errno_of(&error)).or_fail(what)?;
        }
        openat(fd::cwd(), self.place, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).or_fail(what)
    }

    fn open(&self, source: &Source) -> Step<OwnedFd> {
        match source {
            Source::Path(path) => {
                open_source(path, false, false).or_fail(|| format!("bind {}", path.display()))
            }
            Source::Null => {
                let what = || "bind /dev/null".to_owned();
                let null = open_source(Path::new("/dev/null"), false, true).or_fail(what)?;
                // criu gives the flags of the saved mount back to the first of several that are the same, not to the
                // others; and the node is the host's own.
                let read_only = mount::Attributes {
                    set: libc::MOUNT_ATTR_RDONLY,
                    propagation: libc::MS_PRIVATE,
                    ..mount::Attributes::default()
                };
                mount::mount_setattr(null.as_fd(), false, read_only).or_fail(what)?;
                Ok(null)
            }
            Source::Mount(position) => {
                let mount = self.plan.mounts.get(*position);
                let Some((mount, What::Bind { source, tree, nofollow, .. })) =
                    mount.map(|mount| (mount, &mount.what))
                else {
                    return Err(crate::child::failure("a mount of the checkpoint is no bind mount here"));
                };
                let what = || format!("mounts[{}].source: bind {}", mount.index, source.display());
                let made = self.prepared.get(mount.index).and_then(|prepared| prepared.mount.as_ref());
                let made = match made {
                    Some(made) => made.try_clone().map_err(|error| crate::sys::errno_of(&error)),
                    None => open_source(source, *tree, *nofollow),
                };
                let made = made.or_fail(what)?;
                // What the saved mount was is criu's to set again; what config.json says is so from the beginning.
                set_attributes(made.as_fd(), &mount.attributes)?;
                Ok(made)
            }
        }
    }

    /// Makes what a create would have made below the root: mount points, also those that lie in bind mounts. What lies
    /// in other file systems is criu's to make, with their content.
    fn make_mount_points(&self, here: BorrowedFd<'_>) -> Step<()> {
        let scratch = open_at(here, SCRATCH)?;
        for (position, mount) in self.plan.mounts.iter().enumerate() {
            let what = || {
                format!("mounts[{}]: {}: create the mount point", mount.index, mount.destination.display())
            };
            if self.plan.mounts[..position].iter().any(|above| holds(above, &mount.destination)) {
                continue;
            }
            match &mount.what {
                What::Cgroup { .. } | What::Remount => {}
                What::FileSystem { .. } => {
                    path::resolve(scratch.as_fd(), &mount.destination, Missing::Directory).or_fail(what)?;
                }
                What::Bind { .. } => {
                    let own =
                        |staged: &&Staged| matches!(staged.source, Source::Mount(other) if other == position);
                    let Some(staged) = self.sources.iter().find(own) else { continue };
                    let staged = open_at(here, &staged.key)?;
                    let missing = match path::file_type(&fstat(&staged).or_fail(what)?) {
                        SFlag::S_IFDIR => Missing::Directory,
                        _ => Missing::File,
                    };
                    let place = path::resolve(scratch.as_fd(), &mount.destination, missing).or_fail(what)?;
                    let copy = mount::clone_mount(staged.as_fd(), true).or_fail(what)?;
                    mount::move_mount(copy.as_fd(), place.as_fd()).or_fail(what)?;
                }
            }
        }
        Ok(())
    }
}

/// Whether a destination lies in a new instance of a file system.
fn holds(above: &MountPlan, destination: &OsStr) -> bool {
    let fresh = matches!(above.what, What::FileSystem { .. } | What::Cgroup { .. });
    let (above, destination) = (Path::new(&above.destination), Path::new(destination));
    fresh && destination != above && destination.starts_with(above)
}

/// Attaches a mount under a name.
pub(super) fn put(here: BorrowedFd<'_>, name: &str, tree: OwnedFd) -> Step<()> {
    let what = || format!("stage {name}");
    let stat = fstat(&tree).or_fail(what)?;
    if path::file_type(&stat) == SFlag::S_IFDIR {
        mkdirat(here, name, Mode::from_bits_truncate(0o700)).or_fail(what)?;
    } else {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        openat(here, name, flags, Mode::from_bits_truncate(0o600)).or_fail(what)?;
    }
    let name = CString::new(OsStr::new(name).as_bytes()).unwrap_or_default();
    mount::move_mount_to(tree.as_fd(), here, &name, 0).or_fail(what)
}

fn open_at(here: BorrowedFd<'_>, name: &str) -> Step<OwnedFd> {
    openat(here, name, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).or_fail(|| format!("open {name}"))
}
