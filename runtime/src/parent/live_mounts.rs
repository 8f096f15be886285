//! Mounts of a running container.
//!
//! Sources are opened on the host; then a process that shares this one's memory enters the container's namespaces and
//! attaches them below the container's root, resolved as at create: nothing in the container can lead it elsewhere.

use super::error::{Error, OrError, Result};
use super::sources;
use crate::child::cgroups::CgroupView;
use crate::child::fresh::Fresh;
use crate::child::mounts::{self, Already, Prepared, View};
use crate::plan::mounts::{MountPlan, What};
use crate::plan::{self};
use crate::spec::Mount;
use crate::state::{self, Record, StateDir};
use crate::sys::fd::LazyFd;
use crate::sys::{Errno, clone, pidfd};
use crate::{child, path, weak};
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{Mode, SFlag, fstat};
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Mounts each entry in the container `id`. If one cannot be mounted, those before it are taken back.
///
/// # Errors
/// An entry that cannot be mounted.
pub fn add(root: &Path, id: &str, wanted: &[Mount]) -> Result<()> {
    let host = super::create::host()?;
    with_container(root, id, |record, init| {
        let userns = record.namespaces & libc::CLONE_NEWUSER != 0;
        let planned = plan::mounts::plan(wanted, &record.bundle, "", userns)?;
        if let Some(other) =
            planned.iter().find(|mount| !matches!(mount.what, What::Bind { .. } | What::FileSystem { .. }))
        {
            return Err(Error::Other(format!(
                "mounts[{}]: only binds and file systems can be added",
                other.index
            )));
        }
        let prepared = planned
            .iter()
            .map(|mount| sources::prepare_one(mount, &host, init.pid))
            .collect::<Result<Vec<Prepared>>>()?;
        let pids = pid_namespace(record, init)?;
        let view = View { cgroups: &CgroupView::None, pids: pids.as_ref().map(AsFd::as_fd), alone: false };
        inside(record, init, || {
            let root = container_root()?;
            let mut made: Vec<Option<LazyFd>> = Vec::new();
            for (done, mount) in planned.iter().enumerate() {
                let already = Already { sysfs: None, fresh: &mut Fresh::default() };
                match mounts::one(mount, root.as_fd(), prepared.get(done), view, true, already) {
                    Ok(mounted) => made.push(mounted),
                    Err(failure) => {
                        for (earlier, mounted) in planned.iter().zip(&made).rev() {
                            let _ = take_back(&root, earlier, mounted.as_ref());
                        }
                        let place = mount.destination.to_string_lossy();
                        let text = format!("mounts[{done}]: {place}: {}", failure.text);
                        return Err(Error::Step(crate::wire::Failure { text, ..failure }));
                    }
                }
            }
            Ok(())
        })
    })
}

/// Unmounts each entry's destination in the container `id`.
///
/// # Errors
/// A destination where nothing is mounted.
pub fn remove(root: &Path, id: &str, wanted: &[Mount]) -> Result<()> {
    with_container(root, id, |record, init| {
        let planned = wanted
            .iter()
            .enumerate()
            .map(|(index, mount)| {
                let destination = Mount {
                    destination: mount.destination.clone(),
                    kind: "tmpfs".to_owned(),
                    ..Mount::default()
                };
                plan::mounts::one(index, &destination, &record.bundle, "", false)
            })
            .collect::<plan::Result<Vec<MountPlan>>>()?;
        inside(record, init, || {
            let root = container_root()?;
            for mount in &planned {
                unmount(&root, mount).or_error(|| {
                    format!("mounts[{}]: unmount {}", mount.index, mount.destination.to_string_lossy())
                })?;
            }
            Ok(())
        })
    })
}

fn with_container(
    root: &Path,
    id: &str,
    act: impl FnOnce(&Record, &state::Init) -> Result<()>,
) -> Result<()> {
    let dir = StateDir::open(root, id)?;
    let (_lock, record) = dir.lock_made()?;
    let init = state::init(&record)?.ok_or_else(|| Error::Other("container not running".into()))?;
    if record.namespaces & libc::CLONE_NEWNS == 0 {
        return Err(Error::Other("the container has no mount namespace of its own".into()));
    }
    act(&record, &init)
}

/// Runs `act` in the container's namespaces, the PID namespace excepted.
fn inside(record: &Record, init: &state::Init, act: impl Fn() -> Result<()>) -> Result<()> {
    let namespaces = record.namespaces & !plan::namespaces::NEWTIME;
    let mut result = None;
    let mut go_between = || {
        result = Some(
            clone::setns(init.pidfd.as_fd(), namespaces)
                .or_error(|| "join the container's namespaces".into())
                .and_then(|()| match record.namespaces & libc::CLONE_NEWUSER {
                    0 => Ok(()),
                    _ => child::join::become_root(false).map_err(Error::Step),
                })
                .and_then(|()| act()),
        );
    };
    clone::with_borrowed_memory(false, None, &mut go_between).or_error(|| "clone a go-between".into())?;
    result.unwrap_or_else(|| Err(Error::Other("the go-between ended early".into())))
}

/// The container's PID namespace, of which a new procfs has to be: the process that mounts it is in the host's.
fn pid_namespace(record: &Record, init: &state::Init) -> Result<Option<OwnedFd>> {
    if record.namespaces & libc::CLONE_NEWPID == 0 {
        return Ok(None);
    }
    let path = format!("/proc/{}/ns/pid", init.pid);
    let file = std::fs::File::open(&path).map_err(super::error::file_error("open", path))?;
    // The number may be another process's by now; the descriptor is not.
    match pidfd::has_exited(init.pidfd.as_fd(), 0) {
        Ok(false) => Ok(Some(file.into())),
        _ => Err(Error::Other("container not running".into())),
    }
}

fn container_root() -> Result<OwnedFd> {
    open("/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .or_error(|| "open the container's root".into())
}

/// Unmounts what is mounted at a destination, which must be the root of a mount. Not through a link: whoever is root in the
/// container could have one there that leads to what hides something.
fn unmount(root: &OwnedFd, mount: &MountPlan) -> std::result::Result<(), Errno> {
    unmount_here(open_place(root, &mount.destination)?, &mount.destination, |directory| {
        open_place(root, directory)
    })
}

/// Unmounts what was mounted a moment ago, where its destination still leads there.
fn take_back(root: &OwnedFd, mount: &MountPlan, made: Option<&LazyFd>) -> std::result::Result<(), Errno> {
    let Some(made) = made else { return Ok(()) };
    let open = |path: &OsStr| path::resolve(root.as_fd(), path, path::Missing::Fail);
    let place = open(&mount.destination)?;
    let (one, other) = (fstat(made)?, fstat(&place)?);
    if (one.st_dev, one.st_ino) != (other.st_dev, other.st_ino) {
        return Err(Errno::ESTALE);
    }
    unmount_here(place, &mount.destination, open)
}

fn open_place(root: &OwnedFd, path: &OsStr) -> std::result::Result<OwnedFd, Errno> {
    if weak::off("links") {
        return path::resolve(root.as_fd(), path, path::Missing::Fail);
    }
    path::without_links(root.as_fd(), path)
}

/// umount2(2) knows no descriptors, and the container's /proc is not to be believed: a mount point can be entered, and the
/// directory a process is in needs no path. A file is reached by its name in its directory.
fn unmount_here(
    place: OwnedFd,
    path: &OsStr,
    open: impl Fn(&OsStr) -> std::result::Result<OwnedFd, Errno>,
) -> std::result::Result<(), Errno> {
    let flags = MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW;
    if path::file_type(&fstat(&place)?) == SFlag::S_IFDIR {
        nix::unistd::fchdir(&place)?;
        return umount2(".", flags);
    }
    let path = Path::new(path);
    let (above, name) = (path.parent().ok_or(Errno::EINVAL)?, path.file_name().ok_or(Errno::EINVAL)?);
    nix::unistd::fchdir(open(above.as_os_str())?)?;
    umount2(name, flags)
}
