//! Mounting and unmounting a container's root filesystem as containerd asks for it.
//!
//! Everything here blocks and changes the working directory: it runs in a [helper](crate::helper) process
//! only. containerd's own `mount.All` and `mount.UnmountRecursive` define what the messages mean.

mod fuse;
mod idmap;
mod loopback;
mod options;
mod overlay;

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use runtime::child::rootfs::unescape;
use runtime::sys::fd::cwd;
use runtime::sys::mount::move_mount_to;

use crate::proto::types::Mount;
use options::Options;

/// The directory of the root filesystem in a bundle.
pub const ROOTFS: &str = "rootfs";

/// The kernel takes one page of options, and containerd keeps clear of its end.
const MAX_DATA: usize = 4096 - 512;

const PROPAGATION: MsFlags =
    MsFlags::MS_SHARED.union(MsFlags::MS_PRIVATE).union(MsFlags::MS_SLAVE).union(MsFlags::MS_UNBINDABLE);

/// Why something could not be mounted or unmounted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("{step} {path}: {source}", path = path.display())]
    Step {
        /// What was being done.
        step: &'static str,
        /// To which path.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The request makes no sense.
    #[error("mount of type {kind:?} on {path}: {problem}", path = path.display())]
    Request {
        /// The type of the filesystem.
        kind: String,
        /// Where it was to be mounted.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl Error {
    fn step(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Step { step, path, source }
    }

    fn errno(step: &'static str, path: &Path) -> impl FnOnce(Errno) -> Self {
        let path = path.to_owned();
        move |errno| Self::Step { step, path, source: errno.into() }
    }
}

/// Mounts all of `mounts` on `rootfs` in order. What was mounted before one failed stays: unmount it.
pub fn mount_all(mounts: &[Mount], rootfs: &Path) -> Result<(), Error> {
    for one in mounts {
        mount_one(one, &target(rootfs, &one.target)?)?;
    }
    Ok(())
}

/// Where below `rootfs` a mount goes. The path comes from containerd, which made the directory.
fn target(rootfs: &Path, below: &str) -> Result<PathBuf, Error> {
    let mut path = rootfs.to_owned();
    for component in Path::new(below).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::RootDir | Component::CurDir => {}
            _ => {
                let problem = format!("target {below:?} leaves the root filesystem");
                return Err(Error::Request { kind: String::new(), path: rootfs.to_owned(), problem });
            }
        }
        let is_link = path.symlink_metadata().is_ok_and(|meta| meta.file_type().is_symlink());
        if is_link {
            let problem = format!("target {below:?} passes through a symbolic link");
            return Err(Error::Request { kind: String::new(), path, problem });
        }
    }
    Ok(path)
}

fn mount_one(request: &Mount, target: &Path) -> Result<(), Error> {
    if let Some(helper) = fuse::helper_for(&request.kind()) {
        return fuse::mount(helper, request, target);
    }
    let options = Options::parse(&request.options);
    let refuse = |problem: &str| Error::Request {
        kind: request.kind(),
        path: target.to_owned(),
        problem: problem.to_owned(),
    };
    let mapping = match (&options.uid_map, &options.gid_map) {
        (None, None) => None,
        (Some(uids), Some(gids)) => {
            let namespace = idmap::user_namespace(uids, gids)
                .map_err(Error::step("make the user namespace for", target))?;
            Some(namespace)
        }
        _ => return Err(refuse("uidmap and gidmap must be given together")),
    };
    if request.kind() == "overlay" {
        return overlay::mount(options, mapping.as_ref(), target);
    }
    let data = options.data.join(",");
    if data.len() > MAX_DATA {
        return Err(refuse("the options are longer than the kernel takes"));
    }
    let read_only = options.flags.contains(MsFlags::MS_RDONLY);
    let attached = match options.loop_device {
        true => Some(
            loopback::attach(Path::new(&request.source), read_only)
                .map_err(Error::step("attach a loop device to", Path::new(&request.source)))?,
        ),
        false => None,
    };
    let source = attached.as_ref().map_or(Path::new(&request.source), |(path, _)| path);
    plain(source, target, &request.kind(), options.flags, &data)?;
    if let Some(namespace) = mapping {
        idmap::remap(target, namespace.as_fd())?;
    }
    Ok(())
}

/// mount(2) and the further calls that some flags need.
fn plain(source: &Path, target: &Path, kind: &str, flags: MsFlags, data: &str) -> Result<(), Error> {
    let own = flags.difference(PROPAGATION);
    let data = (!data.is_empty()).then_some(data);
    if !flags.contains(MsFlags::MS_REMOUNT) || data.is_some() {
        mount(Some(source), target, Some(kind), own, data).map_err(Error::errno("mount on", target))?;
    }
    let propagation = flags.intersection(PROPAGATION);
    if !propagation.is_empty() {
        let flags = flags.intersection(PROPAGATION.union(MsFlags::MS_REC).union(MsFlags::MS_SILENT));
        mount(None::<&str>, target, None::<&str>, flags, None::<&str>)
            .map_err(Error::errno("set the propagation of", target))?;
    }
    if own.contains(MsFlags::MS_BIND.union(MsFlags::MS_RDONLY)) {
        // A bind mount ignores "read-only" and takes it when it is mounted again.
        let again = own.union(MsFlags::MS_REMOUNT);
        mount(None::<&str>, target, None::<&str>, again, None::<&str>)
            .map_err(Error::errno("make read-only", target))?;
    }
    Ok(())
}

/// Unmounts a bundle's root filesystem, and what older shims may have left beside it. Nothing mounted, or no
/// such bundle, is fine.
pub fn unmount_bundle(bundle: &Path, lazily: bool) -> Result<(), Error> {
    let layers = unmount_layers(bundle);
    unmount_all(&bundle.join(ROOTFS), lazily).and(layers)
}

/// Detaches the layers with mapped owners that earlier shims left in a bundle when they were killed:
/// whoever removes the bundle would empty them.
fn unmount_layers(bundle: &Path) -> Result<(), Error> {
    let entries = match bundle.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::step("read", bundle))?,
    };
    let layers = entries.flatten().filter(|entry| entry.file_name().as_bytes().starts_with(b".lower-"));
    let mut result = Ok(());
    for layer in layers {
        result = result.and(unmount_all(&layer.path(), true));
        let _removed = std::fs::remove_dir(layer.path());
    }
    result
}

/// Unmounts everything on and below `rootfs`. Nothing mounted, or no such directory, is fine.
fn unmount_all(rootfs: &Path, lazily: bool) -> Result<(), Error> {
    let flags = MntFlags::UMOUNT_NOFOLLOW | if lazily { MntFlags::MNT_DETACH } else { MntFlags::empty() };
    // Nearly always there is exactly one mount, or one after the other at the same place: no table needs to
    // be read.
    loop {
        match umount2(rootfs, flags) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT | Errno::ENOTDIR) => break,
            Err(Errno::EBUSY) => return unmount_below(&as_mounted(rootfs), flags),
            Err(errno) => return Err(Error::errno("unmount", rootfs)(errno)),
        }
    }
    Ok(())
}

/// The path as the mount table has it: the bundle may be named through links, the last part is none.
fn as_mounted(rootfs: &Path) -> PathBuf {
    match (rootfs.parent().map(Path::canonicalize), rootfs.file_name()) {
        (Some(Ok(bundle)), Some(name)) => bundle.join(name),
        _ => rootfs.to_owned(),
    }
}

/// Unmounts what the mount table shows at or below `rootfs`, which is busy, the deepest first.
fn unmount_below(rootfs: &Path, flags: MntFlags) -> Result<(), Error> {
    let table = std::fs::read("/proc/self/mountinfo")
        .map_err(Error::step("read", Path::new("/proc/self/mountinfo")))?;
    let points: Vec<_> = mount_points(&table).into_iter().filter(|path| path.starts_with(rootfs)).collect();
    if points.is_empty() {
        return Err(Error::errno("unmount", rootfs)(Errno::EBUSY));
    }
    let mut busy = None;
    for path in points.into_iter().rev() {
        match umount2(&path, flags) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            // Somebody looks at it: it goes when they have finished.
            Err(Errno::EBUSY) => {
                umount2(&path, flags | MntFlags::MNT_DETACH).map_err(Error::errno("unmount", &path))?;
            }
            Err(errno) => busy = Some(Error::errno("unmount", &path)(errno)),
        }
    }
    busy.map_or(Ok(()), Err)
}

/// The mount points of a mountinfo table in its order (proc_pid_mountinfo(5)).
fn mount_points(table: &[u8]) -> Vec<PathBuf> {
    let path = |field: &[u8]| PathBuf::from(OsString::from_vec(unescape(field)));
    let field = |line: &[u8]| line.split(|byte| *byte == b' ').nth(4).map(path);
    table.split(|byte| *byte == b'\n').filter_map(field).collect()
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Attaches a detached mount.
fn attach(mount: impl AsFd, target: &Path) -> io::Result<()> {
    Ok(move_mount_to(mount.as_fd(), cwd(), &c_path(target)?, 0)?)
}

impl Mount {
    /// The type of the filesystem, a keyword as a field's name.
    fn kind(&self) -> String {
        self.r#type.clone()
    }
}

/// A part of [`crate::fuzz`] that looks inside of this module.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz_options(list: &[String]) {
    let options = Options::parse(list);
    assert!(options.data.len() <= list.len());
    if let Some((folder, shorter)) = overlay::shorten(list) {
        let find = |list: &[String]| {
            list.iter().find_map(|option| option.strip_prefix("lowerdir=").map(str::to_owned))
        };
        let shorter: Vec<String> = shorter.split(',').map(str::to_owned).collect();
        let (Some(long), Some(short)) = (find(list), find(&shorter)) else { return };
        // A comma ends an option, for the kernel as well.
        if !list.iter().any(|option| option.contains(',')) {
            let clean = |path: &Path| path.components().collect::<PathBuf>();
            let long: Vec<PathBuf> = long.split(':').map(|path| clean(Path::new(path))).collect();
            let short: Vec<PathBuf> = short.split(':').map(|path| clean(&folder.join(path))).collect();
            assert_eq!(long, short);
        }
    }
    for option in list {
        if let Ok(path) = target(Path::new("/nonexistent/root"), option) {
            assert!(path.starts_with("/nonexistent/root"), "{option:?}");
        }
    }
}

/// A part of [`crate::fuzz`] that looks inside of this module.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz_table(table: &[u8]) {
    let points = mount_points(table);
    assert!(points.len() <= table.split(|byte| *byte == b'\n').count());
    assert!(points.iter().map(|path| path.as_os_str().len()).sum::<usize>() <= table.len());
}

#[cfg(test)]
mod tests;
