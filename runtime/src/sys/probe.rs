//! Asking the kernel what it has, without doing anything: calls whose arguments it must refuse, and a child to try in.

use super::{Errno, Result, check, clone};
use std::ffi::CStr;

/// Whether the kernel knows a system call: it is called with -1 for every argument, which is no descriptor, no address
/// and no set of flags, so that a call that is there fails before it does anything.
///
/// Only for calls of which that is true: none that ends, moves or changes this process by a number.
#[must_use]
pub fn knows(call: libc::c_long) -> bool {
    // SAFETY: -1 is no address that can be read or written, and the kernel answers EFAULT for it.
    Errno::result(unsafe { libc::syscall(call, -1, -1, -1, -1, -1, -1) }) != Err(Errno::ENOSYS)
}

/// close_range(2) on the last descriptor there can be, with `flags`.
///
/// # Errors
/// The errno of close_range(2): `EINVAL` for a flag that the kernel does not know.
pub fn close_range(flags: libc::c_uint) -> Result<()> {
    // SAFETY: no pointers, and no descriptor has that number.
    check(unsafe { libc::syscall(libc::SYS_close_range, u32::MAX, u32::MAX, flags) }).map(drop)
}

/// clone3(2) into the control group of a descriptor that is none, so that nothing is made.
///
/// # Errors
/// Always: `EBADF` where the kernel looked at it, another errno where it does not know how.
pub fn clone_into_nothing() -> Result<()> {
    const INTO_CGROUP: u64 = 1 << 33;
    // SAFETY: clone_args is plain old data for which all zeroes is the documented "nothing asked for" value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    (args.flags, args.cgroup) = (INTO_CGROUP, u64::from(i32::MAX.cast_unsigned()));
    args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    // SAFETY: `args` outlives the call. There is no such descriptor, so that no process is made; should a kernel
    // make one after all, it is a copy of this single-threaded one, and leaves at once.
    let pid = check(unsafe {
        libc::syscall(libc::SYS_clone3, &raw mut args, std::mem::size_of::<libc::clone_args>())
    })?;
    if pid == 0 {
        clone::exit_now(0);
    }
    Ok(())
}

/// Whether seccomp(2) knows an action (`SECCOMP_GET_ACTION_AVAIL`, Linux 4.14).
#[must_use]
pub fn seccomp_action(action: u32) -> bool {
    // SAFETY: `action` is a valid 32-bit value that outlives the call.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    result == 0
}

/// Whether seccomp(2) knows a flag of filters: with a program that is none, a known flag gives `EFAULT`.
#[must_use]
pub fn seccomp_flag(flag: u64) -> bool {
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: a null program is refused (seccomp(2), `EFAULT`), and nothing is loaded.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flag, none) };
    Errno::result(result) == Err(Errno::EFAULT)
}

/// The version of Landlock's interface (landlock_create_ruleset(2)).
///
/// # Errors
/// `ENOSYS` where it is not built in, `EOPNOTSUPP` where it was not turned on at boot.
pub fn landlock() -> Result<i32> {
    const VERSION: libc::c_ulong = 1;
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: with this flag the kernel takes no attributes and only answers a number.
    check(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0, VERSION) })
}

/// Whether this process can have keyrings: asks for its session's without making one (keyctl(2)).
///
/// # Errors
/// `ENOSYS` where the kernel has none, `EPERM` where a filter forbids them.
pub fn keyring() -> Result<()> {
    const SESSION: libc::c_int = -3;
    // SAFETY: no pointers; 0: do not make it.
    let found = check(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_GET_KEYRING_ID, SESSION, 0) });
    match found {
        Err(errno @ (Errno::ENOSYS | Errno::EPERM | Errno::EACCES)) => Err(errno),
        _ => Ok(()),
    }
}

/// Whether a program has capabilities of its own (capabilities(7), "File capabilities").
#[must_use]
pub fn has_file_capabilities(path: &CStr) -> bool {
    // SAFETY: both strings are NUL-terminated; a length of 0 asks for the size alone.
    let size =
        unsafe { libc::getxattr(path.as_ptr(), c"security.capability".as_ptr(), std::ptr::null_mut(), 0) };
    size > 0
}

/// Tries something in a child of this process, which is gone afterwards with whatever it changed about itself.
///
/// # Errors
/// What `run` says, or the errno of fork(2) or waitpid(2); `ECANCELED` when the child was killed.
pub fn in_child(run: impl FnOnce() -> Result<()>) -> Result<()> {
    // SAFETY: this program has one thread, so that no lock is left held in the copy.
    let pid = Errno::result(unsafe { libc::fork() })?;
    if pid == 0 {
        clone::exit_now(run().err().map_or(0, |errno| errno as i32));
    }
    let mut status = 0;
    loop {
        // SAFETY: `status` is a valid place for the result.
        match Errno::result(unsafe { libc::waitpid(pid, &raw mut status, 0) }) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(_) if !libc::WIFEXITED(status) => return Err(Errno::ECANCELED),
            Ok(_) => {
                return match libc::WEXITSTATUS(status) {
                    0 => Ok(()),
                    errno => Err(Errno::from_raw(errno)),
                };
            }
        }
    }
}
