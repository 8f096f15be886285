//! The mounts of a container, one after the other: first made, then attached where the path leads inside the root.

use super::at_once::{Setting, Wanted};
use super::cgroups::{self, CgroupView};
use super::fresh::{Fresh, Point};
use super::{Handed, OrFail, Step, copy_up, failure, procfs};
use crate::path::{self, Missing};
use crate::plan::Plan;
use crate::plan::mounts::{Attributes, MountPlan, What};
use crate::sys::fd::LazyFd;
use crate::sys::mount as api;
use crate::sys::{Errno, fd};
use crate::trace;
use crate::weak;
use crate::wire::Failure;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat};
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// What the host's half has made for a mount.
#[derive(Debug, Default)]
pub struct Prepared {
    /// The source of a bind mount, detached.
    pub mount: Option<OwnedFd>,
    /// Where a source that is a link to be copied leads.
    pub link: Option<PathBuf>,
    /// The user namespace through whose map a fresh file system shows ids.
    pub idmap: Option<OwnedFd>,
}

/// How the container sees what is neither its own nor the host's as it is.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Its control groups.
    pub cgroups: &'a CgroupView,
    /// The PID namespace that its procfs shows; absent: this process's own.
    pub pids: Option<BorrowedFd<'a>>,
    /// Whether nobody else is in this mount namespace, and nothing that is mounted in it shows elsewhere.
    pub alone: bool,
}

/// Mounts everything; `alone` as in [`View`].
///
/// # Errors
/// The first mount that cannot be made, by its position and destination.
pub fn apply(plan: &Plan, root: BorrowedFd<'_>, handed: &Handed<'_>, alone: bool) -> Step<Made> {
    let Made { mut covered, mut fresh, mut unfinished } = Made::default();
    let view = View { cgroups: &handed.cgroup_mounts, pids: handed.pids, alone };
    for mount in &plan.mounts {
        let _step = trace::span_of("mount", mount.destination.as_bytes());
        let prepared = handed.prepared.get(mount.index);
        let (hides, filled) = (hides_below(plan, mount), is_filled(plan, mount));
        let already = Already { sysfs: covered.untouched_sysfs(plan, mount), fresh: &mut fresh };
        let in_sysfs = already.sysfs.is_some();
        let in_hand = hides || filled || mount.read_only_last;
        let made = one(mount, root, prepared, view, in_hand, already).map_err(|failure| Failure {
            text: format!(
                "mounts[{}]: {}: {}",
                mount.index,
                mount.destination.to_string_lossy(),
                failure.text
            ),
            ..failure
        })?;
        let groups = matches!(mount.what, What::Cgroup { .. });
        if let (Some(made), true) = (&made, mount.read_only_last) {
            unfinished.push(duplicate(made)?);
        }
        if !mount.in_fresh || groups {
            fresh.others(&mount.destination, is_strict(mount) || groups && in_sysfs);
        }
        let made = match made {
            Some(made) if filled => {
                let also = if hides { Some(duplicate(&made)?) } else { None };
                fresh.mounted(&mount.destination, made, alone);
                also
            }
            made => made,
        };
        covered.note(mount, made, prepared, hides)?;
    }
    Ok(Made { covered, fresh, unfinished })
}

/// What is left of the mounts for later steps.
#[derive(Debug, Default)]
pub struct Made {
    /// What masks lie on.
    pub covered: Covered,
    /// The directory in which mount points were made last.
    pub fresh: Fresh,
    /// Mounts that become read-only when all else is in its place.
    pub unfinished: Vec<LazyFd>,
}

/// Whether a path is to be hidden or made read-only in what a mount shows, or control groups are shown in it.
fn hides_below(plan: &Plan, mount: &MountPlan) -> bool {
    let is_below = |path: &OsStr| below(path, &mount.destination).is_some();
    let groups =
        |other: &MountPlan| matches!(other.what, What::Cgroup { .. }) && is_below(&other.destination);
    plan.masked.iter().chain(&plan.read_only).any(|path| is_below(path))
        || is_strict(mount) && plan.mounts.iter().any(groups)
}

/// Whether something is made in what a mount shows, while it still has nothing in it.
fn is_filled(plan: &Plan, mount: &MountPlan) -> bool {
    mount.is_filled || plan.own_dev && mount.destination == "/dev" && mount.is_empty_tmpfs()
}

/// Whether it is one of the kernel's own file systems. No link may lead to where such a one is mounted: who followed it might
/// end up with a /proc that is not this one (CVE-2019-19921, CVE-2023-27561).
fn is_kernels(mount: &MountPlan) -> bool {
    matches!(&mount.what, What::FileSystem { kind, .. } if matches!(kind.to_bytes(), b"proc" | b"sysfs"))
}

fn is_strict(mount: &MountPlan) -> bool {
    is_kernels(mount) && !weak::off("links")
}

fn duplicate(fd: &impl AsFd) -> Step<LazyFd> {
    let copy = fd.as_fd().try_clone_to_owned();
    copy.map(LazyFd::from).map_err(|error| failure(format!("duplicate: {error}")))
}

/// Mounts on which paths are to be hidden or made read-only, by their destinations. Whoever shares the root file system
/// with this container may give another name to a directory that something is mounted on: then the mount goes with it,
/// and a path leads elsewhere.
#[derive(Debug, Default)]
pub struct Covered(Vec<Shown>);

#[derive(Debug)]
struct Shown {
    destination: OsString,
    mount: LazyFd,
    kernels: bool,
    read_only: bool,
}

/// A mount that has a path.
#[derive(Debug, Clone, Copy)]
pub struct InMount<'a> {
    /// The mount.
    pub fd: BorrowedFd<'a>,
    /// It is one of the kernel's own file systems, in which names are certain.
    pub kernels: bool,
    /// It is read-only.
    pub read_only: bool,
}

impl Covered {
    /// Remembers a mount that was made here, or was `prepared` before, if something is hidden in it.
    fn note(
        &mut self,
        mount: &MountPlan,
        made: Option<LazyFd>,
        prepared: Option<&Prepared>,
        hides: bool,
    ) -> Step<()> {
        // What is below it cannot be seen any more.
        self.0.retain(|other| below(&other.destination, &mount.destination).is_none());
        if !hides {
            return Ok(());
        }
        let made = match (made, prepared.and_then(|prepared| prepared.mount.as_ref())) {
            (Some(made), _) => made,
            (None, Some(mount)) => duplicate(mount)?,
            (None, None) => return Ok(()),
        };
        self.0.push(Shown {
            destination: mount.destination.clone(),
            mount: made,
            kernels: is_kernels(mount),
            read_only: (mount.attributes.set | mount.attributes.recursive_set) & libc::MOUNT_ATTR_RDONLY != 0,
        });
        Ok(())
    }

    /// The sysfs that a mount point lies in, and its name from there, while nothing else is mounted in between.
    fn untouched_sysfs(&self, plan: &Plan, mount: &MountPlan) -> Option<(BorrowedFd<'_>, CString)> {
        let (sysfs, name) = self.find(&mount.destination)?;
        let above = mount.destination.as_bytes().strip_suffix(name.as_bytes()).map(OsStr::from_bytes)?;
        let mut earlier = plan.mounts.iter().take_while(|other| other.index < mount.index);
        let touched =
            earlier.any(|other| below(&other.destination, above).is_some_and(|name| !name.is_empty()));
        if !sysfs.kernels || name.is_empty() || touched {
            return None;
        }
        CString::new(name.as_bytes()).ok().map(|name| (sysfs.fd, name))
    }

    /// The mount that has a path, and the path from there. One with `..` is not looked at: it may lead out again, and where
    /// to, only the kernel can say.
    #[must_use]
    pub fn find<'s, 'a>(&'s self, path: &'a OsStr) -> Option<(InMount<'s>, &'a OsStr)> {
        let has_dots = Path::new(path).components().any(|part| part == Component::ParentDir);
        if has_dots && !weak::off("dots") || weak::off("covered") {
            return None;
        }
        let shown = |shown: &'s Shown| {
            let Shown { ref destination, ref mount, kernels, read_only } = *shown;
            let mount = InMount { fd: mount.as_fd(), kernels, read_only };
            Some((mount, below(path, destination)?))
        };
        self.0.iter().rev().find_map(shown)
    }
}

/// The path from `directory` on; `None` when it is not below it.
fn below<'a>(path: &'a OsStr, directory: &OsStr) -> Option<&'a OsStr> {
    // Two parts that differ in a letter are two names. Anything else may be one name written in two ways (`//`, `/./`).
    let differ = path.as_bytes().iter().zip(directory.as_bytes()).find(|(left, right)| left != right);
    if differ.is_some_and(|(left, right)| !matches!(left, b'/' | b'.') && !matches!(right, b'/' | b'.')) {
        return None;
    }
    Path::new(path).strip_prefix(directory).ok().map(Path::as_os_str)
}

/// What mounts that were made before leave to the next one.
#[derive(Debug)]
pub struct Already<'a> {
    /// The sysfs that its mount point lies in, and the name from there.
    pub sysfs: Option<(BorrowedFd<'a>, CString)>,
    /// The directory in which mount points were made last.
    pub fresh: &'a mut Fresh,
}

/// Mounts one entry below `root`; returns the mount, if one was made for it here. A new file system that nobody has to have
/// `in_hand` afterwards may be mounted without, by a process that enters the mount point for that.
///
/// # Errors
/// The mount cannot be made.
pub fn one(
    plan: &MountPlan,
    root: BorrowedFd<'_>,
    prepared: Option<&Prepared>,
    view: View<'_>,
    in_hand: bool,
    already: Already<'_>,
) -> Step<Option<LazyFd>> {
    match &plan.what {
        What::Bind { source, tree, nofollow, copy_symlink } => {
            if let Some(target) = prepared.and_then(|prepared| prepared.link.as_ref()) {
                return make_link(root, &plan.destination, target.as_os_str()).map(|()| None);
            }
            if let Some(mount) = prepared.and_then(|prepared| prepared.mount.as_ref()) {
                return bind(plan, root, mount).map(|()| None);
            }
            // Nothing was prepared: this is still the host's tree.
            if *copy_symlink && let Ok(target) = std::fs::read_link(source) {
                return make_link(root, &plan.destination, target.as_os_str()).map(|()| None);
            }
            let mount =
                open_source(source, *tree, *nofollow).or_fail(|| format!("bind {}", source.display()))?;
            let mount = LazyFd::from(mount);
            bind(plan, root, &mount)?;
            Ok(Some(mount))
        }
        What::FileSystem { kind, source, data, copy_up } => {
            let place = place_for(plan, root, kind.as_bytes(), data, already.fresh)?;
            let options = settings(data, place.mode.as_deref());
            let source = source.as_deref();
            let filled = *copy_up && place.existed;
            let idmap = prepared.and_then(|prepared| prepared.idmap.as_ref());
            let wanted = Wanted { kind, source, options: &options, attributes: &plan.attributes };
            let others = view.pids.is_some() && kind.as_c_str() == c"proc";
            let plain = !filled && idmap.is_none() && !others;
            let done = plain
                && !in_hand
                && match &place.point {
                    Point::Open(fd) => wanted.on(fd.as_fd()),
                    Point::Named(name) => wanted.at(name),
                };
            if done {
                return Ok(None);
            }
            let point = place.point.open().or_fail(|| "open the mount point".into())?;
            if plain
                && view.alone
                && let Some(mount) = wanted.in_hand()
            {
                put(mount.as_fd(), point.as_fd())?;
                return Ok(Some(mount));
            }
            // A read-only mount could not be filled.
            let attributes = if filled { writable(&plan.attributes) } else { plan.attributes.set };
            let context = context(kind, view.pids)?;
            let mount = file_system(context.as_fd(), kind, source, &options, attributes)?;
            if let Some(namespace) = idmap {
                api::idmap(mount.as_fd(), false, namespace.as_fd()).or_fail(|| "map ids".into())?;
            }
            if filled {
                copy_up::copy(point.as_fd(), mount.as_fd())?;
            }
            set_attributes(mount.as_fd(), &left(&plan.attributes, attributes))?;
            put(mount.as_fd(), point.as_fd())?;
            Ok(Some(mount))
        }
        What::Cgroup { unified: true } if matches!(view.cgroups, CgroupView::Hierarchies(_)) => {
            cgroups::unified(plan, root).map(Some)
        }
        What::Cgroup { .. } => cgroups::mount(plan, root, view.cgroups, already.sysfs).map(|()| None),
        What::Remount => {
            let place = destination(plan, root, Missing::Fail)?;
            set_attributes(place.as_fd(), &plan.attributes).map(|()| None)
        }
    }
}

/// A detached copy of what `source` is on the host.
///
/// # Errors
/// The errno of open_tree(2).
pub fn open_source(source: &Path, tree: bool, nofollow: bool) -> Result<OwnedFd, Errno> {
    let source = if weak::off("tree") { Path::new("/") } else { source };
    let path = CString::new(source.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    let mut flags = libc::OPEN_TREE_CLONE;
    if tree {
        flags |= libc::AT_RECURSIVE.cast_unsigned();
    }
    if nofollow {
        flags |= libc::AT_SYMLINK_NOFOLLOW.cast_unsigned();
    }
    api::open_tree(fd::cwd(), &path, flags)
}

fn bind(plan: &MountPlan, root: BorrowedFd<'_>, mount: &impl AsFd) -> Step<()> {
    let stat = fstat(mount).or_fail(|| "stat the source".into())?;
    let missing = match path::file_type(&stat) {
        SFlag::S_IFDIR => Missing::Directory,
        _ => Missing::File,
    };
    attach(plan, root, mount, &plan.attributes, missing)
}

/// Attaches a copy of something of the host's, with attributes.
pub(super) fn attach(
    plan: &MountPlan,
    root: BorrowedFd<'_>,
    mount: &impl AsFd,
    attributes: &Attributes,
    missing: Missing,
) -> Step<()> {
    let place = destination(plan, root, missing)?;
    set_attributes(mount.as_fd(), attributes)?;
    put(mount.as_fd(), place.as_fd())
}

/// Puts a mount in its place. A directory on a file, or a file on a directory, is what people have most often got wrong: engines
/// explain it to them where they find the words of `ENOTDIR`, which mount(2) has for it.
fn put(mount: BorrowedFd<'_>, place: BorrowedFd<'_>) -> Step<()> {
    let is_directory = |fd| fstat(fd).map(|stat| path::file_type(&stat) == SFlag::S_IFDIR);
    match api::move_mount(mount, place) {
        Err(Errno::EINVAL) => match (is_directory(mount), is_directory(place)) {
            (Ok(true), Ok(false)) => Err(Errno::ENOTDIR).or_fail(|| "attach a directory to a file".into()),
            (Ok(false), Ok(true)) => Err(Errno::ENOTDIR).or_fail(|| "attach a file to a directory".into()),
            _ => Err(Errno::EINVAL).or_fail(|| "attach".into()),
        },
        result => result.or_fail(|| "attach".into()),
    }
}

fn destination(plan: &MountPlan, root: BorrowedFd<'_>, missing: Missing) -> Step<LazyFd> {
    if plan.destination_nofollow {
        let (parent, name) = path::parent_in_root(root, &plan.destination).or_fail(|| "open".into())?;
        return openat(
            &parent,
            name.as_os_str(),
            OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .map(LazyFd::from)
        .or_fail(|| "open".into());
    }
    path::resolve(root, &plan.destination, missing).map(LazyFd::from).or_fail(|| match missing {
        Missing::Fail => "open".into(),
        _ => "create the mount point".into(),
    })
}

fn make_link(root: BorrowedFd<'_>, destination: &OsStr, target: &OsStr) -> Step<()> {
    let (parent, name) =
        path::parent_in_root(root, destination).or_fail(|| "create the parent directory".into())?;
    match nix::unistd::symlinkat(target, &parent, name.as_os_str()) {
        Err(Errno::EEXIST) => match nix::fcntl::readlinkat(&parent, name.as_os_str()) {
            Ok(found) if found == target => Ok(()),
            _ => Err(failure("there is something else than the link to copy")),
        },
        result => result.or_fail(|| "create the link".into()),
    }
}

/// A mount point for a file system.
pub(super) struct Place {
    pub(super) point: Point,
    existed: bool,
    /// A tmpfs over an existing directory has that directory's mode, unless an option says otherwise.
    mode: Option<CString>,
}

/// Finds or makes the mount point of a file system.
///
/// # Errors
/// There is something else, or a link where none may be.
pub(super) fn place_for(
    plan: &MountPlan,
    root: BorrowedFd<'_>,
    kind: &[u8],
    data: &[(CString, Option<CString>)],
    fresh: &mut Fresh,
) -> Step<Place> {
    let strict = is_strict(plan);
    if plan.in_fresh
        && !strict
        && let Ok(point) = fresh.point(root, &plan.destination)
    {
        return Ok(Place { point, existed: false, mode: None });
    }
    let found = match strict && !plan.destination_nofollow {
        true => not_through_links(root, &plan.destination)?,
        false => place_if_there(plan, root)?,
    };
    let existed = found.is_some();
    let mut fd = match found {
        Some(fd) => fd,
        None => path::make(root, &plan.destination, Missing::Directory)
            .or_fail(|| "create the mount point".into())?
            .into(),
    };
    if strict && (plan.destination_nofollow || !existed) {
        // What was looked at is what is mounted on: the path may lead elsewhere a moment later.
        fd = not_through_links(root, &plan.destination)?
            .ok_or_else(|| failure("the mount point is gone as soon as it is made"))?;
    }
    let mut mode = None;
    if kind == b"tmpfs" && existed && !data.iter().any(|(key, _)| key.as_c_str() == c"mode") {
        let stat = fstat(&fd).or_fail(|| "stat the mount point".into())?;
        mode = CString::new(format!("{:04o}", stat.st_mode & 0o7777)).ok();
    }
    Ok(Place { point: Point::Open(fd), existed, mode })
}

fn place_if_there(plan: &MountPlan, root: BorrowedFd<'_>) -> Step<Option<LazyFd>> {
    if plan.destination_nofollow {
        return destination(plan, root, Missing::Fail).map(Some);
    }
    match path::resolve(root, &plan.destination, Missing::Fail) {
        Ok(fd) => Ok(Some(fd.into())),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno).or_fail(|| "open the mount point".into()),
    }
}

/// A directory that is reached without a link; `None` where there is nothing.
///
/// # Errors
/// Something else is there, or a link on the way.
pub fn not_through_links(root: BorrowedFd<'_>, destination: &OsStr) -> Step<Option<LazyFd>> {
    match path::directory_without_links(root, destination) {
        Ok(fd) => Ok(Some(fd.into())),
        Err(Errno::ENOENT) => Ok(None),
        Err(Errno::ELOOP | Errno::ENOTDIR) => {
            Err(failure("must be mounted on an ordinary directory, not on a link"))
        }
        Err(errno) => Err(errno).or_fail(|| "open the mount point".into()),
    }
}

/// A context in which a file system is configured.
pub(super) fn context(kind: &CStr, pids: Option<BorrowedFd<'_>>) -> Step<LazyFd> {
    let opened = match pids {
        Some(pids) if kind == c"proc" => procfs::context(pids),
        _ => api::fsopen(kind),
    };
    opened.map(LazyFd::from).or_fail(|| format!("mounting {:?}", kind.to_string_lossy()))
}

/// All options of a file system.
fn settings<'a>(data: &'a [(CString, Option<CString>)], mode: Option<&'a CStr>) -> Vec<Setting<'a>> {
    let data = data.iter().map(|(key, value)| (key.as_c_str(), value.as_deref()));
    mode.map(|mode| (c"mode", Some(mode))).into_iter().chain(data).collect()
}

/// Makes a detached instance of a file system.
pub(super) fn file_system(
    context: BorrowedFd<'_>,
    kind: &CStr,
    source: Option<&CStr>,
    options: &[Setting<'_>],
    attributes: u64,
) -> Step<LazyFd> {
    let what = || format!("mounting {:?}", kind.to_string_lossy());
    if let Some(source) = source {
        api::fsconfig_string(context, c"source", source).or_fail(what)?;
    }
    for (key, value) in options {
        let result = match value {
            Some(value) => api::fsconfig_string(context, key, value),
            None => api::fsconfig_flag(context, key),
        };
        if let Err(errno) = result {
            let option = match value {
                Some(value) => format!("{}={}", key.to_string_lossy(), value.to_string_lossy()),
                None => key.to_string_lossy().into_owned(),
            };
            let reason = api::context_log(context).unwrap_or_else(|| crate::sys::reason(errno));
            return Err(Failure {
                errno: Some(errno),
                text: format!("{}: option {option:?}: {reason}", what()),
            });
        }
    }
    if let Err(errno) = api::fsconfig_create(context) {
        let reason = crate::sys::reason(errno);
        let text = match api::context_log(context) {
            Some(log) => format!("{}: {log}: {reason}", what()),
            None => format!("{}: {reason}", what()),
        };
        return Err(Failure { errno: Some(errno), text });
    }
    api::fsmount(context, attributes).map(LazyFd::from).or_fail(what)
}

/// The attributes of a mount that is to be filled.
pub(super) fn writable(attributes: &Attributes) -> u64 {
    attributes.set & !libc::MOUNT_ATTR_RDONLY
}

/// What is left to set on a mount that was made with the attributes `made`.
pub(super) fn left(attributes: &Attributes, made: u64) -> Attributes {
    Attributes {
        set: attributes.set & !made,
        clear: 0,
        recursive_set: attributes.recursive_set,
        recursive_clear: attributes.recursive_clear,
        propagation: attributes.propagation.clone(),
    }
}

/// Sets attributes and propagation on a mount that is not attached yet.
///
/// # Errors
/// The kernel refuses; `EPERM` for a flag that a user namespace has locked.
pub fn set_attributes(mount: BorrowedFd<'_>, attributes: &Attributes) -> Step<()> {
    let change = |recursive, set: u64, clear, propagation| {
        let set = if weak::off("read-only") { set & !libc::MOUNT_ATTR_RDONLY } else { set };
        let (mut clear, atime) = (clear, libc::MOUNT_ATTR__ATIME);
        // Access time modes are one value, not bits: to set one is to clear all.
        if (set | clear) & atime != 0 {
            clear |= atime;
        }
        let attributes = api::Attributes { set, clear, propagation };
        api::mount_setattr(mount, recursive, attributes).or_fail(|| "set mount attributes".into())
    };
    let mut propagation = attributes.propagation.as_slice();
    // One call does both.
    let mut also = |recursive| match propagation {
        [(kind, whole), rest @ ..] if *whole == recursive => {
            propagation = rest;
            *kind
        }
        _ => 0,
    };
    if attributes.set | attributes.clear != 0 {
        change(false, attributes.set, attributes.clear, also(false))?;
    }
    if attributes.recursive_set | attributes.recursive_clear != 0 {
        change(true, attributes.recursive_set, attributes.recursive_clear, also(true))?;
    }
    for (kind, recursive) in propagation {
        change(*recursive, 0, 0, *kind)?;
    }
    Ok(())
}
