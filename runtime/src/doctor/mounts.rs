//! File systems that containers are made of: overlays, maps of ids, FUSE.

use super::{Entry, State, state};
use crate::child::rootfs::kind_and_place;
use crate::parent::create;
use crate::parent::idmap;
use crate::spec::IdMapping;
use crate::sys::{Errno, clone, fd, mount, probe, reason};
use nix::mount::{MsFlags, mount as mount_by_name};
use nix::unistd::{getegid, geteuid};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

/// File systems on which a container's files may lie, and whose mounts can be asked for a map of ids.
const KINDS: [&str; 10] =
    ["btrfs", "ceph", "erofs", "ext4", "f2fs", "overlay", "squashfs", "tmpfs", "xfs", "zfs"];

pub(super) fn look() -> Vec<Entry> {
    let mut entries = vec![sysfs(), overlay(), overlay_for_users(), fuse()];
    entries.extend(maps());
    entries
}

fn sysfs() -> Entry {
    // `SYSFS_MAGIC` of linux/magic.h.
    const MAGIC: nix::sys::statfs::FsType = nix::sys::statfs::FsType(0x6265_6572);
    let there = nix::sys::statfs::statfs("/sys").is_ok_and(|stat| stat.filesystem_type() == MAGIC);
    Entry::new("file systems", "sysfs", state(there), "").otherwise(
        "much of this report cannot be told, and no limits can be set: control groups lie below it",
        "mount -t sysfs sysfs /sys",
    )
}

/// Whether the kernel lists a file system.
fn listed(kind: &str) -> bool {
    let text = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    text.lines().any(|line| line.split_whitespace().last() == Some(kind))
}

/// Whether a module of that name lies ready: the kernel loads it when it is first used, which is not now.
fn loadable(kind: &str) -> bool {
    let release = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    let list = fs::read_to_string(format!("/lib/modules/{}/modules.dep", release.unwrap_or_default()));
    list.is_ok_and(|list| list.lines().any(|line| line.split(['/', ':', '.']).any(|part| part == kind)))
}

fn overlay() -> Entry {
    let (state, detail) = match (listed("overlay"), loadable("overlay")) {
        (true, _) => (State::Ok, ""),
        (false, true) => (State::Degraded, "a module that is loaded when it is first used"),
        (false, false) => (State::Missing, ""),
    };
    Entry::new("file systems", "overlay", state, detail).otherwise(
        "engines copy images instead of stacking them, and the runtime copies itself for each container",
        "modprobe overlay, or a kernel with CONFIG_OVERLAY_FS",
    )
}

/// Becomes root of a new user namespace, with a mount namespace of its own.
fn become_root_alone() -> Result<(), Errno> {
    let (uid, gid) = (geteuid(), getegid());
    clone::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)?;
    let write = |file: &str, text: String| {
        fs::write(format!("/proc/self/{file}"), text).map_err(|error| crate::sys::errno_of(&error))
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("0 {uid} 1"))?;
    write("gid_map", format!("0 {gid} 1"))
}

/// Mounts an overlay of directories in a tmpfs, as a rootless engine does, in a child.
fn overlay_for_users() -> Entry {
    let tried = match listed("overlay") {
        false => Err(Errno::ENODEV),
        true => probe::in_child(|| {
            become_root_alone()?;
            // Any directory will do: nobody else sees what is mounted on it.
            let base = ["/tmp", "/run", "/mnt"].into_iter().find(|path| Path::new(path).is_dir());
            let base = base.ok_or(Errno::ENOENT)?;
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
            mount_by_name(Some("tmpfs"), base, Some("tmpfs"), flags, None::<&str>)?;
            let at = |name: &str| format!("{base}/{name}");
            for name in ["lower", "upper", "work", "all"] {
                fs::create_dir(at(name)).map_err(|error| crate::sys::errno_of(&error))?;
            }
            let data =
                format!("lowerdir={},upperdir={},workdir={},userxattr", at("lower"), at("upper"), at("work"));
            let all = at("all");
            mount_by_name(Some("overlay"), all.as_str(), Some("overlay"), flags, Some(data.as_str()))
        }),
    };
    let (state, detail) = match tried {
        Ok(()) => (State::Ok, String::new()),
        Err(errno) => (State::Missing, reason(errno)),
    };
    Entry::new("file systems", "overlay in a user namespace", state, detail).otherwise(
        "rootless engines use fuse-overlayfs, or copy",
        "a kernel since 5.11 with overlayfs loaded, and user namespaces for users",
    )
}

fn fuse() -> Entry {
    let there = Path::new("/dev/fuse").exists();
    let detail = if listed("fuse") { "" } else { "not loaded" };
    Entry::new("file systems", "fuse", state(there), detail)
        .otherwise("no fuse-overlayfs for rootless engines on older kernels", "modprobe fuse")
}

/// For one mount of each kind of file system: whether it can be shown with other ids.
fn maps() -> Vec<Entry> {
    let mut places: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    for line in fs::read("/proc/self/mountinfo").unwrap_or_default().split(|byte| *byte == b'\n') {
        let Some((kind, place)) = kind_and_place(line) else { continue };
        if let Some(kind) = KINDS.into_iter().find(|known| known.as_bytes() == kind) {
            places.entry(kind).or_insert(place);
        }
    }
    let line = [IdMapping { container_id: 0, host_id: 100_000, size: 1 }];
    let namespace = create::host().and_then(|host| match host.rootless {
        true => Err(crate::parent::Error::Other("only root can try".to_owned())),
        false => idmap::namespace(&line, &line, &host),
    });
    let one = |(kind, place): (&str, Vec<u8>)| {
        let shown = String::from_utf8_lossy(&place);
        let (state, detail) = match &namespace {
            Err(error) => (State::Degraded, error.to_string()),
            Ok(namespace) => match try_map(&place, namespace.as_fd()) {
                Ok(()) => (State::Ok, format!("tried on {shown}")),
                Err(errno) => (State::Missing, format!("{shown}: {}", reason(errno))),
            },
        };
        Entry::new("idmapped mounts", kind, state, detail).otherwise(
            "volumes on it cannot be shown with the container's ids (mounts[].uidMappings is refused)",
            "a newer kernel (ext4 and xfs since 5.12, overlay since 5.19, tmpfs since 6.3), as root",
        )
    };
    places.into_iter().map(one).collect()
}

/// Maps a copy of a mount that nobody sees, and lets it go.
fn try_map(place: &[u8], namespace: std::os::fd::BorrowedFd<'_>) -> Result<(), Errno> {
    let path = CString::new(place).map_err(|_| Errno::EINVAL)?;
    let copy = mount::open_tree(fd::cwd(), &path, libc::OPEN_TREE_CLONE)?;
    mount::idmap(copy.as_fd(), false, namespace)
}
