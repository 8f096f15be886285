//! The mount API of Linux 5.2 and later, in which a mount is a descriptor before it has a place.

use super::{Errno, Result, check};
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// Attributes to set and clear with [`mount_setattr`]: `MOUNT_ATTR_…`, a propagation type `MS_…`, a user namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `MOUNT_ATTR_…` to set.
    pub set: u64,
    /// `MOUNT_ATTR_…` to clear.
    pub clear: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`, or 0 to leave it.
    pub propagation: u64,
}

fn owned(fd: libc::c_int) -> OwnedFd {
    // SAFETY: only called with a descriptor that a system call of this file has just returned.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// open_tree(2): the mount at `path`, or a detached copy of it with `OPEN_TREE_CLONE` (`AT_RECURSIVE`: of the tree).
///
/// # Errors
/// The errno of open_tree(2).
pub fn open_tree(dir: BorrowedFd<'_>, path: &CStr, flags: u32) -> Result<OwnedFd> {
    let flags = flags | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: `path` is NUL-terminated and outlives the call.
    check(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), path.as_ptr(), flags) }).map(owned)
}

/// A detached copy of the mount that `fd` lies on, with `fd` as its root.
///
/// # Errors
/// The errno of open_tree(2).
pub fn clone_mount(fd: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd> {
    let recursive = if recursive { libc::AT_RECURSIVE.cast_unsigned() } else { 0 };
    open_tree(fd, c"", libc::OPEN_TREE_CLONE | libc::AT_EMPTY_PATH.cast_unsigned() | recursive)
}

/// move_mount(2): attaches the mount `from` on top of the file or directory `to`.
///
/// # Errors
/// The errno of move_mount(2).
pub fn move_mount(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: both paths are static and NUL-terminated.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            from.as_raw_fd(),
            c"".as_ptr(),
            to.as_raw_fd(),
            c"".as_ptr(),
            flags,
        )
    })
    .map(drop)
}

/// move_mount(2): attaches the mount `from` on top of `name` in the directory `dir`. Links on the way are followed, the
/// name itself with `MOVE_MOUNT_T_SYMLINKS` among the `flags`.
///
/// # Errors
/// The errno of move_mount(2).
pub fn move_mount_to(from: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: &CStr, flags: u32) -> Result<()> {
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | flags;
    // SAFETY: both paths are NUL-terminated and outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            from.as_raw_fd(),
            c"".as_ptr(),
            dir.as_raw_fd(),
            name.as_ptr(),
            flags,
        )
    })
    .map(drop)
}

/// fsopen(2): a context in which a file system of that type is configured.
///
/// # Errors
/// The errno of fsopen(2); `ENODEV` for an unknown type.
pub fn fsopen(kind: &CStr) -> Result<OwnedFd> {
    // SAFETY: `kind` is NUL-terminated and outlives the call.
    check(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), libc::FSOPEN_CLOEXEC) }).map(owned)
}

/// fsconfig(2), `FSCONFIG_SET_STRING`.
///
/// # Errors
/// The errno of fsconfig(2).
pub fn fsconfig_string(context: BorrowedFd<'_>, key: &CStr, value: &CStr) -> Result<()> {
    fsconfig(context, libc::FSCONFIG_SET_STRING, Some(key), Some(value))
}

/// fsconfig(2), `FSCONFIG_SET_FLAG`.
///
/// # Errors
/// The errno of fsconfig(2).
pub fn fsconfig_flag(context: BorrowedFd<'_>, key: &CStr) -> Result<()> {
    fsconfig(context, libc::FSCONFIG_SET_FLAG, Some(key), None)
}

/// fsconfig(2), `FSCONFIG_SET_FD`.
///
/// # Errors
/// The errno of fsconfig(2); `EINVAL` for a key that the file system has not.
pub fn fsconfig_fd(context: BorrowedFd<'_>, key: &CStr, value: BorrowedFd<'_>) -> Result<()> {
    const SET_FD: libc::fsconfig_command = libc::FSCONFIG_SET_FD;
    let null = std::ptr::null::<libc::c_char>();
    let (context, value) = (context.as_raw_fd(), value.as_raw_fd());
    // SAFETY: `key` is NUL-terminated and outlives the call; this command wants no value but the descriptor.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, context, SET_FD, key.as_ptr(), null, value) }).map(drop)
}

/// fsconfig(2), `FSCONFIG_CMD_CREATE`: makes the superblock.
///
/// # Errors
/// The errno of fsconfig(2).
pub fn fsconfig_create(context: BorrowedFd<'_>) -> Result<()> {
    fsconfig(context, libc::FSCONFIG_CMD_CREATE, None, None)
}

/// fsconfig(2), `FSCONFIG_CMD_RECONFIGURE`: applies options to an existing superblock (with [`fspick`]).
///
/// # Errors
/// The errno of fsconfig(2).
pub fn fsconfig_reconfigure(context: BorrowedFd<'_>) -> Result<()> {
    fsconfig(context, libc::FSCONFIG_CMD_RECONFIGURE, None, None)
}

fn fsconfig(
    context: BorrowedFd<'_>,
    command: libc::fsconfig_command,
    key: Option<&CStr>,
    value: Option<&CStr>,
) -> Result<()> {
    let key = key.map_or(std::ptr::null(), CStr::as_ptr);
    let value = value.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: each pointer is null where the command wants none, else NUL-terminated; both outlive the call.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, key, value, 0) }).map(drop)
}

/// fspick(2): the superblock below `fd`, to be reconfigured.
///
/// # Errors
/// The errno of fspick(2).
pub fn fspick(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = libc::FSPICK_CLOEXEC | libc::FSPICK_EMPTY_PATH;
    // SAFETY: the path is static and NUL-terminated.
    check(unsafe { libc::syscall(libc::SYS_fspick, fd.as_raw_fd(), c"".as_ptr(), flags) }).map(owned)
}

/// fsmount(2): a detached mount of the configured file system, with `MOUNT_ATTR_…` attributes.
///
/// # Errors
/// The errno of fsmount(2).
pub fn fsmount(context: BorrowedFd<'_>, attributes: u64) -> Result<OwnedFd> {
    // SAFETY: no pointers.
    check(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), libc::FSMOUNT_CLOEXEC, attributes) })
        .map(owned)
}

/// What the kernel wrote to the context's log: the reason for a failed [`fsconfig_create`], without its `e ` mark.
pub fn context_log(context: BorrowedFd<'_>) -> Option<String> {
    let mut buffer = [0; 512];
    let length = nix::unistd::read(context, &mut buffer).ok()?;
    let text = String::from_utf8_lossy(buffer.get(..length)?);
    let text = text.trim().trim_start_matches(['e', 'w', 'i']).trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Whether something is mounted on `name` in the directory `dir`, which is not followed when it is a link (Linux 5.8).
///
/// # Errors
/// The errno of statx(2).
pub fn is_mounted_on(dir: BorrowedFd<'_>, name: &OsStr) -> Result<bool> {
    let name = CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: statx is plain old data for which zeroes are valid.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: `name` is NUL-terminated and `found` has the size that the kernel fills; both outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_statx,
            dir.as_raw_fd(),
            name.as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT,
            libc::STATX_TYPE,
            &raw mut found,
        )
    })?;
    Ok(found.stx_attributes & u64::from(libc::STATX_ATTR_MOUNT_ROOT.cast_unsigned()) != 0)
}

/// mount_setattr(2) (Linux 5.12) on the mount that `fd` is, or on the whole tree below it.
///
/// # Errors
/// The errno of mount_setattr(2).
pub fn mount_setattr(fd: BorrowedFd<'_>, recursive: bool, attributes: Attributes) -> Result<()> {
    setattr(fd, recursive, attributes, None)
}

/// mount_setattr(2) with `MOUNT_ATTR_IDMAP`: ids on the detached mount `fd` are shown through `user_namespace`'s map.
///
/// # Errors
/// The errno of mount_setattr(2); `EINVAL` where the file system cannot be id-mapped.
pub fn idmap(fd: BorrowedFd<'_>, recursive: bool, user_namespace: BorrowedFd<'_>) -> Result<()> {
    let attributes = Attributes { set: libc::MOUNT_ATTR_IDMAP, ..Attributes::default() };
    setattr(fd, recursive, attributes, Some(user_namespace))
}

fn setattr(
    fd: BorrowedFd<'_>,
    recursive: bool,
    attributes: Attributes,
    user_namespace: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    let attr = libc::mount_attr {
        attr_set: attributes.set,
        attr_clr: attributes.clear,
        propagation: attributes.propagation,
        userns_fd: user_namespace.map_or(0, |fd| u64::from(fd.as_raw_fd().cast_unsigned())),
    };
    // SAFETY: the path is static and NUL-terminated; `attr` is valid for the size given.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            std::mem::size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}

/// pivot_root(2) of the working directory onto itself: it becomes `/`, with the old root mounted on top of it.
///
/// # Errors
/// The errno of pivot_root(2).
pub fn pivot_here() -> Result<()> {
    // SAFETY: both paths are static and NUL-terminated.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) }).map(drop)
}
