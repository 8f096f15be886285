//! The program that enters a container is one that nobody in it can change (CVE-2019-5736).
//!
//! A process in a container can reach the file that the runtime was executed from, through `/proc/PID/exe`. So what
//! enters containers is executed from a place that has no way to be written to: an overlay file system without an
//! upper layer, whose only mount is this program's own; where that cannot be had, a sealed copy in memory.

use super::error::{OrError, Result, file_error};
use crate::child::program;
use crate::sys::process::{self, StringArray, execve_fd};
use crate::sys::{Errno, mount};
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, fstatfs};
use nix::sys::statvfs::FsFlags;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

const SELF: &str = "/proc/self/exe";

/// Makes sure that this process was executed from a sealed file: executes it again from one if not.
///
/// # Errors
/// No sealed file can be made.
pub fn ensure() -> Result<()> {
    let own =
        open(SELF, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).or_error(|| format!("open {SELF}"))?;
    if is_sealed(&own).or_error(|| format!("inspect {SELF}"))? {
        return Ok(());
    }
    let sealed = match overlay() {
        Ok(sealed) => sealed,
        Err(_) => copy(own)?,
    };
    let strings = |texts: Vec<OsString>| {
        StringArray::new(texts.into_iter().filter_map(|text| CString::new(text.into_vec()).ok()).collect())
    };
    let argv = strings(std::env::args_os().collect());
    let envp = strings(
        std::env::vars_os()
            .map(|(name, value)| {
                let mut entry = name;
                entry.push("=");
                entry.push(value);
                entry
            })
            .collect(),
    );
    Err(execve_fd(sealed.as_fd(), &argv, &envp)).or_error(|| "execute a sealed copy of this program".into())
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
    if nix::unistd::geteuid().is_root() && !super::create::in_user_namespace() {
        process::set_dumpable(false).or_error(|| "make this process undumpable".into())?;
    }
    Ok(())
}

/// Whether a file can be written to by nobody: on an overlay that is read-only as a whole, or sealed in memory.
fn is_sealed(file: &OwnedFd) -> std::result::Result<bool, Errno> {
    const SEALS: SealFlag =
        SealFlag::F_SEAL_WRITE.union(SealFlag::F_SEAL_SHRINK).union(SealFlag::F_SEAL_GROW);
    let stat = fstatfs(file)?;
    if stat.filesystem_type() == OVERLAYFS_SUPER_MAGIC {
        // Not every overlay is ours: the seal is a mount that is in no mount table, so its file has no path.
        return Ok(stat.flags().contains(FsFlags::ST_RDONLY) && link_is_detached());
    }
    if stat.filesystem_type() != TMPFS_MAGIC {
        return Ok(false);
    }
    match fcntl(file, FcntlArg::F_GET_SEALS) {
        Ok(seals) => Ok(SealFlag::from_bits_truncate(seals).contains(SEALS)),
        Err(Errno::EINVAL) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// A file on a mount that is not part of any tree is shown as a path from that mount's own root: `/NAME`.
fn link_is_detached() -> bool {
    std::fs::read_link(SELF).is_ok_and(|path| path.parent() == Some(Path::new("/")))
}

/// This program on an overlay of its directory (Linux 5.2; needs `CAP_SYS_ADMIN`). Costs 50 µs and no memory.
fn overlay() -> std::result::Result<OwnedFd, Errno> {
    let path = std::fs::read_link(SELF).map_err(|error| crate::sys::errno_of(&error))?;
    let directory = path.parent().ok_or(Errno::ENOENT)?;
    let name = path.file_name().ok_or(Errno::ENOENT)?;
    let context = configure(directory)?;
    let attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID;
    let overlay = mount::fsmount(context.as_fd(), attributes)?;
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let sealed = nix::fcntl::openat(&overlay, name, flags, Mode::empty())?;
    same_file(&sealed)?;
    Ok(sealed)
}

/// An overlay of `directory` alone, read-only. One without an upper layer wants two lower ones; the second is never looked
/// at, since the first has the name. `:`, `\` and `,` are escaped in the list of layers.
fn configure(directory: &Path) -> std::result::Result<OwnedFd, Errno> {
    let mut layers = Vec::new();
    for byte in directory.as_os_str().as_bytes() {
        if matches!(byte, b':' | b'\\' | b',') {
            layers.push(b'\\');
        }
        layers.push(*byte);
    }
    layers.extend_from_slice(b":/dev");
    let layers = CString::new(layers).map_err(|_| Errno::EINVAL)?;
    let context = mount::fsopen(c"overlay")?;
    mount::fsconfig_string(context.as_fd(), c"lowerdir", &layers)?;
    mount::fsconfig_flag(context.as_fd(), c"ro")?;
    mount::fsconfig_create(context.as_fd())?;
    Ok(context)
}

/// The path of this program may mean another file by now: what is executed next must be what runs now.
fn same_file(sealed: &OwnedFd) -> std::result::Result<(), Errno> {
    let (one, other) = (nix::sys::stat::stat(SELF)?, nix::sys::stat::fstat(sealed)?);
    // The inode number is the overlay's own.
    if (one.st_size, one.st_mtime, one.st_mtime_nsec) == (other.st_size, other.st_mtime, other.st_mtime_nsec)
    {
        Ok(())
    } else {
        Err(Errno::ESTALE)
    }
}

/// A copy of this program in memory that cannot be changed any more (memfd_create(2)).
fn copy(own: OwnedFd) -> Result<OwnedFd> {
    let what = || "copy this program to memory".to_owned();
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
