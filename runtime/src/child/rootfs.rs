//! The container's root: from a directory of the host to `/`.

use super::devices::{self, Dev};
use super::mounts::{self, Covered, Made};
use super::{Handed, OrFail, Step, failure};
use crate::path::{self, Missing};
use crate::plan::{Plan, RootPlan};
use crate::sys::Errno;
use crate::sys::fd::{self, LazyFd};
use crate::sys::mount::{self, Attributes};
use crate::weak;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::stat::Mode;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The root of the container, as descriptors.
#[derive(Debug)]
pub struct Root {
    /// The root directory: on the root mount once that is attached.
    pub fd: OwnedFd,
    /// Its `/dev`, where that is ours to fill.
    pub dev: Option<Dev>,
    /// What masks lie on.
    pub covered: Covered,
    /// Mounts that become read-only when all else is in its place.
    pub unfinished: Vec<LazyFd>,
    /// Whether nobody else is in this mount namespace, and nothing that is mounted in it shows elsewhere: its `/proc` is the
    /// host's, until the root is entered.
    pub alone: bool,
    /// The caller's file mode mask, where this process has given it up: programs of the host get it back.
    pub mask: Option<Mode>,
}

impl Root {
    /// The root to resolve paths below.
    #[must_use]
    pub fn path_root(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Mounts everything below the root, which is still a directory of the host's tree.
///
/// # Errors
/// A mount or node cannot be made.
pub fn build(plan: &Plan, handed: &Handed<'_>) -> Step<Root> {
    // Names, modes and owners are given: nothing of the caller's mask in between.
    let mask = nix::sys::stat::umask(Mode::empty());
    let fd = attach(&plan.root)?;
    let alone = plan.namespaces.creates(libc::CLONE_NEWNS) && !shows_on_the_host(&plan.root);
    let Made { covered, mut fresh, unfinished } = mounts::apply(plan, fd.as_fd(), handed, alone)?;
    let dev = match plan.own_dev {
        true => Some(devices::make(plan, fd.as_fd(), &mut fresh)?),
        false => None,
    };
    let cwd = OsStr::from_bytes(plan.process.cwd.to_bytes());
    if cwd != "/" && !weak::off("cwd") {
        path::resolve(fd.as_fd(), cwd, Missing::Directory)
            .or_fail(|| format!("process.cwd: create {}", cwd.to_string_lossy()))?;
    }
    let mask = Some(mask).filter(|_| !weak::off("mask"));
    Ok(Root { fd, dev, covered, unfinished, alone, mask })
}

/// The root of a container that has no mount namespace of its own: a directory to chroot(2) into.
///
/// # Errors
/// The directory cannot be opened.
pub fn borrow(plan: &Plan) -> Step<Root> {
    Ok(Root {
        fd: open_directory(&plan.root.path)?,
        dev: None,
        covered: Covered::default(),
        unfinished: Vec::new(),
        alone: false,
        mask: None,
    })
}

fn open_directory(path: &Path) -> Step<OwnedFd> {
    open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .or_fail(|| format!("root.path: open {}", path.display()))
}

/// Whether what is mounted in the container shows on the host: only who asks for it stays a peer of the host's mounts; other
/// types of propagation are set when the root is in place.
fn shows_on_the_host(root: &RootPlan) -> bool {
    root.propagation.is_some_and(|propagation| propagation & libc::MS_SHARED != 0) || weak::off("propagation")
}

/// Cuts the new mount namespace off from the host's and makes the root directory a mount of its own.
fn attach(root: &RootPlan) -> Step<OwnedFd> {
    let peers = shows_on_the_host(root);
    let propagation = if peers { libc::MS_SHARED } else { libc::MS_SLAVE } | libc::MS_REC;
    set_propagation(Path::new("/"), propagation).or_fail(|| "set propagation of /".into())?;
    if peers && !weak::off("propagation") {
        make_parent_private(&root.path)
            .or_fail(|| format!("make the mount of {} private", root.path.display()))?;
    }
    let what = || format!("root.path: bind {}", root.path.display());
    let path =
        CString::new(root.path.as_os_str().as_bytes()).map_err(|_| failure("root.path: NUL character"))?;
    let recursive = libc::AT_RECURSIVE.cast_unsigned();
    let tree = mount::open_tree(fd::cwd(), &path, libc::OPEN_TREE_CLONE | recursive).or_fail(what)?;
    // The root itself is nobody's peer and nobody's slave.
    let private = Attributes { propagation: libc::MS_PRIVATE, ..Attributes::default() };
    mount::mount_setattr(tree.as_fd(), false, private).or_fail(what)?;
    // By its name, unless that is a link.
    if mount::move_mount_to(tree.as_fd(), fd::cwd(), &path, 0).is_err() {
        mount::move_mount(tree.as_fd(), open_directory(&root.path)?.as_fd()).or_fail(what)?;
    }
    Ok(tree)
}

fn set_propagation(path: &Path, flags: u64) -> Result<(), Errno> {
    let flags = MsFlags::from_bits_truncate(flags);
    nix::mount::mount(None::<&str>, path, None::<&str>, flags, None::<&str>)
}

/// Where the container's tree stays shared with the host's, mounting on the root would show on the host, and
/// pivot_root(2) would refuse: the mount that the root lies on must not be shared.
fn make_parent_private(path: &Path) -> Result<(), Errno> {
    let mut here = path;
    loop {
        match set_propagation(here, libc::MS_PRIVATE) {
            // Not the root of a mount: the one above is nearer to it.
            Err(Errno::EINVAL) => here = here.parent().ok_or(Errno::EINVAL)?,
            result => return result,
        }
    }
}

/// Makes the root directory `/`, with nothing of the host's tree left in reach. `program` is the mount that this program was
/// executed from, where this mount namespace is new.
///
/// # Errors
/// The kernel refuses.
pub fn enter(plan: &Plan, root: &Root, no_pivot: bool, program: Option<OwnedFd>) -> Step<()> {
    if !plan.namespaces.separate(libc::CLONE_NEWNS) {
        nix::unistd::fchdir(&root.fd).or_fail(|| "enter the root file system".into())?;
        return chroot_here();
    }
    if no_pivot {
        return move_root(root);
    }
    let old = match plan.root.propagation {
        Some(_) => Some(open_directory(Path::new("/"))?),
        None => None,
    };
    // It goes with the old root: closed as it is, it would be unmounted by itself, and wait for a grace period of its own.
    // Where the old root may still be a peer of the host's, that would be mounted there, too.
    if let (Some(program), None) = (program.map(LazyFd::from), &old) {
        let _ = mount::move_mount_to(program.as_fd(), fd::cwd(), c"/proc", 0);
    }
    nix::unistd::fchdir(&root.fd).or_fail(|| "enter the root file system".into())?;
    mount::pivot_here().or_fail(|| "pivot_root".into())?;
    if let Some(old) = &old {
        nix::unistd::fchdir(old).or_fail(|| "enter the old root".into())?;
        // Unmounting the old root must not unmount the host's.
        set_propagation(Path::new("."), libc::MS_SLAVE | libc::MS_REC)
            .or_fail(|| "cut the old root off".into())?;
    }
    // The old root lies on the new one now, and umount2(2) takes what lies on top (pivot_root(2), NOTES).
    umount2(".", MntFlags::MNT_DETACH).or_fail(|| "unmount the old root".into())?;
    // Who has not left it is in the new root already.
    if old.is_some() {
        nix::unistd::chdir("/").or_fail(|| "enter the new root".into())?;
    }
    if let Some(propagation) = plan.root.propagation {
        set_propagation(Path::new("/"), propagation).or_fail(|| "linux.rootfsPropagation".into())?;
    }
    Ok(())
}

fn chroot_here() -> Step<()> {
    nix::unistd::chroot(".").or_fail(|| "chroot".into())?;
    nix::unistd::chdir("/").or_fail(|| "enter the new root".into())
}

/// `--no-pivot`, for roots that pivot_root(2) refuses (a ramdisk): the mount is moved over `/`. Every other procfs
/// and sysfs goes first, since a fresh one could otherwise be had without its masks.
fn move_root(root: &Root) -> Step<()> {
    let table = std::fs::read("/proc/self/mountinfo")
        .map_err(|error| failure(format!("read /proc/self/mountinfo: {error}")))?;
    let own = std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&root.fd)))
        .map_err(|error| failure(format!("find the root file system: {error}")))?;
    for line in table.split(|byte| *byte == b'\n') {
        let Some((kind, place)) = kind_and_place(line) else { continue };
        if !matches!(kind, b"proc" | b"sysfs") || Path::new(OsStr::from_bytes(&place)).starts_with(&own) {
            continue;
        }
        let place = OsStr::from_bytes(&place);
        if umount2(place, MntFlags::MNT_DETACH).is_err() {
            // Locked by a user namespace: covered instead.
            let none = None::<&str>;
            nix::mount::mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), none)
                .or_fail(|| format!("cover {}", place.to_string_lossy()))?;
        }
    }
    let slash = open_directory(Path::new("/"))?;
    mount::move_mount(root.fd.as_fd(), slash.as_fd()).or_fail(|| "move the root file system to /".into())?;
    nix::unistd::fchdir(&root.fd).or_fail(|| "enter the root file system".into())?;
    chroot_here()
}

/// The file system and the mount point of a line of mountinfo (proc_pid_mountinfo(5)). A name may be any bytes.
#[must_use]
pub fn kind_and_place(line: &[u8]) -> Option<(&[u8], Vec<u8>)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let place = fields.nth(4)?;
    fields.find(|field| *field == b"-")?;
    Some((fields.next()?, unescape(place)))
}

/// A path of mountinfo, in which space, tab, line break and backslash are three octal digits.
#[must_use]
pub fn unescape(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let octal = |digits: &&[u8]| digits.iter().all(|digit| matches!(digit, b'0'..=b'7'));
        let digits = after.get(..3).filter(octal).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| *first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

/// Makes those mounts read-only that had to be filled first.
///
/// # Errors
/// The kernel refuses.
pub fn finish_mounts(root: &Root) -> Step<()> {
    let read_only = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
    root.unfinished.iter().try_for_each(|mount| {
        mount::mount_setattr(mount.as_fd(), false, read_only).or_fail(|| "make a tmpfs read-only".into())
    })
}

/// `root.readonly`.
///
/// # Errors
/// The kernel refuses.
pub fn make_read_only(root: &Root) -> Step<()> {
    let attributes = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
    mount::mount_setattr(root.fd.as_fd(), false, attributes).or_fail(|| "root.readonly: remount /".into())
}

#[cfg(test)]
mod tests {
    #[test]
    fn mount_table_paths_are_unescaped() {
        assert_eq!(super::unescape(r"/a\040b\134c\011"), b"/a b\\c\t");
        let line = b"36 35 98:0 /mnt1 /a\\040-\xff rw,noatime master:1 - ext3 /dev/root rw";
        assert_eq!(super::kind_and_place(line), Some((b"ext3".as_slice(), b"/a -\xff".to_vec())));
        assert_eq!(super::kind_and_place(b""), None);
        assert_eq!(super::unescape(r"/end\04"), br"/end\04");
    }
}
