//! The program that enters a container is one that nobody in it can change (CVE-2019-5736).
//!
//! A process in a container can reach the file that the runtime was executed from, through `/proc/PID/exe`. So what
//! enters containers is executed from a place that has no way to be written to: an overlay file system without an
//! upper layer, whose only mount is this program's own; where that cannot be had, a sealed copy in memory. The crate `seal`
//! has done that already in most cases, as the program's first step; here it is made sure of.

use super::error::{OrError, Result, file_error};
use crate::child::program;
use crate::sys::process::{self, StringArray};
use crate::sys::{Errno, fd};
use crate::{privilege, trace, weak};
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, statfs};
use nix::sys::statvfs::FsFlags;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

const SELF: &str = "/proc/self/exe";

/// The overlay's mount, which this program holds open. Who closes it last waits for a grace period of the kernel.
static MOUNT: Mutex<Option<OwnedFd>> = Mutex::new(None);

fn keep(mount: Option<OwnedFd>) {
    if let Ok(mut held) = MOUNT.lock() {
        *held = mount;
    }
}

/// Closes the overlay's mount: at once in a child, whose copy is not the last, and in the parent while it waits for the
/// child anyway.
pub fn let_go() {
    drop(take());
}

/// The overlay's mount, for a child that has a better end for it.
pub fn take() -> Option<OwnedFd> {
    MOUNT.lock().ok().and_then(|mut held| held.take())
}

/// Makes sure that this process was executed from a sealed file: executes it again from one if not.
///
/// # Errors
/// No sealed file can be made.
pub fn ensure() -> Result<()> {
    if weak::off("seal") {
        return Ok(());
    }
    // The kernel has taken another file for the one that this program runs from: there is nothing to look at.
    if let Some(mount) = fd::of_the_seal() {
        keep(Some(mount));
        return Ok(());
    }
    let path = std::fs::read_link(SELF).map_err(file_error("read link", SELF))?;
    match is_sealed(&path).or_error(|| format!("inspect {SELF}"))? {
        Some(Kind::Overlay) => {
            keep(inherited_mount());
            return Ok(());
        }
        Some(Kind::Memory) => return Ok(()),
        None => {}
    }
    trace::hand_over().map_err(file_error("write", "the trace"))?;
    let argv = StringArray::new(
        process::arguments()
            .into_iter()
            .filter_map(|argument| CString::new(argument.into_vec()).ok())
            .collect(),
    );
    // Below an overlay, if that can be had.
    process::execute_sealed(&argv);
    let errno = process::execve_in(copy()?.as_fd(), c"", &argv, &environment());
    Err(errno).or_error(|| "execute a sealed copy of this program".into())
}

/// The environment of what enters containers: a process there may see it, and whatever secrets the caller has in its own
/// are none of the container's business.
fn environment() -> StringArray {
    let wanted = |name: &OsString| seal::VARIABLES.iter().any(|known| name == known);
    let entry = |(name, value): (OsString, OsString)| {
        CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
    };
    StringArray::new(std::env::vars_os().filter(|(name, _)| wanted(name)).filter_map(entry).collect())
}

/// How a file is sealed.
enum Kind {
    Overlay,
    Memory,
}

/// The overlay's mount, which this program was executed below of as `/dev/fd/N/NAME`.
fn inherited_mount() -> Option<OwnedFd> {
    let name = process::executed_as()?.to_str().ok()?;
    let number = name.strip_prefix("/dev/fd/")?.split('/').next()?.parse().ok()?;
    let mount = fd::inherited(number)?;
    // It was never the caller's to hand on.
    fd::set_cloexec(number, true).ok()?;
    Some(mount)
}

/// Marks everything but standard I/O as close-on-exec: descriptors that the caller left open reach no hook, and the
/// container only where it is to have them. And nothing without privilege over the host may look into this process and
/// its children from now on, whatever namespaces they enter (CVE-2016-9962).
///
/// # Errors
/// The kernel refuses.
pub fn keep_to_oneself() -> Result<()> {
    program::close_descriptors(0).map_err(super::Error::Step)?;
    // Without privilege, an undumpable process is out of reach of its own parent too, which has to write its id map: there
    // the child does this as soon as it has one.
    if privilege::over_the_host() && !weak::off("dumpable") {
        process::set_dumpable(false).or_error(|| "make this process undumpable".into())?;
    }
    Ok(())
}

/// Whether this program's file can be written to by nobody: on an overlay that is read-only as a whole, or sealed in
/// memory. `path` is the name that the kernel has for it.
fn is_sealed(path: &Path) -> std::result::Result<Option<Kind>, Errno> {
    const SEALS: SealFlag =
        SealFlag::F_SEAL_WRITE.union(SealFlag::F_SEAL_SHRINK).union(SealFlag::F_SEAL_GROW);
    let found = statfs(SELF)?;
    if found.filesystem_type() == OVERLAYFS_SUPER_MAGIC {
        // Not every overlay is ours: the seal is a mount that is in no mount table. A file there is shown as a path from
        // that mount's own root.
        let detached = path.parent() == Some(Path::new("/"));
        return Ok((found.flags().contains(FsFlags::ST_RDONLY) && detached).then_some(Kind::Overlay));
    }
    if found.filesystem_type() != TMPFS_MAGIC {
        return Ok(None);
    }
    let own = open(SELF, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    match fcntl(&own, FcntlArg::F_GET_SEALS) {
        Ok(seals) => Ok(SealFlag::from_bits_truncate(seals).contains(SEALS).then_some(Kind::Memory)),
        Err(Errno::EINVAL) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// A copy of this program in memory that cannot be changed any more (memfd_create(2)).
fn copy() -> Result<OwnedFd> {
    let what = || "copy this program to memory".to_owned();
    let own =
        open(SELF, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).or_error(|| format!("open {SELF}"))?;
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let executable = MFdFlags::from_bits_retain(libc::MFD_EXEC);
    let memory = match memfd_create("corten", flags | executable) {
        // Before Linux 6.3.
        Err(Errno::EINVAL) => memfd_create("corten", flags).or_error(what)?,
        result => result.or_error(what)?,
    };
    let mut memory = File::from(memory);
    std::io::copy(&mut File::from(own), &mut memory).map_err(file_error("copy", PathBuf::from(SELF)))?;
    let seals =
        SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&memory, FcntlArg::F_ADD_SEALS(seals)).or_error(|| "seal the copy of this program".into())?;
    // A file that is open for writing cannot be executed.
    let read_only = format!("/proc/self/fd/{}", memory.as_raw_fd());
    let reopened =
        open(Path::new(&read_only), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).or_error(what)?;
    Ok(reopened)
}
