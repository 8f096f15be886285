//! clone3(2) and the namespaces a process can be moved through.

use super::{Errno, Result, check};
use std::cell::UnsafeCell;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// `CLONE_CLEAR_SIGHAND` and `CLONE_INTO_CGROUP`, which exist in clone3(2) alone.
const CLEAR_SIGHAND: u64 = 1 << 32;
const INTO_CGROUP: u64 = 1 << 33;

/// What [`fork_into`] returns, on each side.
#[derive(Debug)]
pub enum Forked {
    /// In the new process.
    Child,
    /// In the caller: the new process, by number (in the caller's PID namespace) and by pidfd.
    Parent(i32, OwnedFd),
}

/// Forks with clone3(2) into new namespaces, and on cgroup v2 straight into `cgroup` (Linux 5.7).
///
/// `flags` are `CLONE_NEW…` and `CLONE_PARENT`. The child has a copy of the memory, as after fork(2); signal handlers
/// are reset to their defaults in it (`CLONE_CLEAR_SIGHAND`, Linux 5.5).
///
/// # Errors
/// The errno of clone3(2); `ENOSYS` before Linux 5.3 or where a filter forbids it.
pub fn fork_into(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Forked> {
    let mut pidfd: libc::c_int = -1;
    let parent = flags & libc::CLONE_PARENT as u64 != 0;
    // SAFETY: clone_args is plain old data for which all zeroes is the documented "nothing asked for" value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64 | CLEAR_SIGHAND;
    args.pidfd = (&raw mut pidfd) as u64;
    // With CLONE_PARENT the exit signal is the caller's own, and clone3 refuses another one.
    args.exit_signal = if parent { 0 } else { u64::from(libc::SIGCHLD.cast_unsigned()) };
    if let Some(cgroup) = cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    // SAFETY: neither CLONE_VM nor a stack is asked for, so the child runs on its own copy of this stack, as after
    // fork(2). This program has one thread, so no lock is left held in the copy. `args` and `pidfd` outlive the call.
    let pid = check(unsafe {
        libc::syscall(libc::SYS_clone3, &raw mut args, std::mem::size_of::<libc::clone_args>())
    })?;
    if pid == 0 {
        return Ok(Forked::Child);
    }
    // SAFETY: the kernel stored a new descriptor there, which nobody else owns.
    Ok(Forked::Parent(pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// Runs `run` in a child that shares this process's memory, while the caller waits for it to end
/// (`CLONE_VM | CLONE_VFORK`; with `files` also `CLONE_FILES`). The child has its own namespaces, credentials and working
/// directory, so it can go where the caller must not, and what it stores is there when this returns. On cgroup v2 it is
/// born in `cgroup`.
///
/// # Errors
/// The errno of clone3(2) or waitpid(2).
pub fn with_borrowed_memory(
    files: bool,
    cgroup: Option<BorrowedFd<'_>>,
    run: &mut dyn FnMut(),
) -> Result<()> {
    super::process::keep_ended_children();
    // One child at a time: it does not begin another one.
    let Some(stack) = Stack::take() else { return Err(Errno::EBUSY) };
    // SAFETY: clone_args is plain old data for which all zeroes is the documented "nothing asked for" value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = (libc::CLONE_VM | libc::CLONE_VFORK) as u64;
    args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    args.stack = stack.0.get() as u64;
    args.stack_size = STACK as u64;
    if files {
        args.flags |= libc::CLONE_FILES as u64;
    }
    if let Some(cgroup) = cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    let mut call = Call(run);
    // SAFETY: CLONE_VFORK suspends this (only) thread until the child has ended, so `stack` and `call` outlive the child
    // and no memory is used by two at once. The stack is 16-byte aligned and 512 KiB, and nobody else's until the child
    // has ended. `enter` never returns.
    let pid = unsafe { clone_on_stack(&raw mut args, (&raw mut call).cast()) };
    stack.give_back();
    let pid = check(pid)?;
    let mut status = 0;
    loop {
        // SAFETY: `status` is a valid place for the result.
        match Errno::result(unsafe { libc::waitpid(pid, &raw mut status, 0) }) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(_) if libc::WIFEXITED(status) => return Ok(()),
            Ok(_) => return Err(Errno::ECHILD),
        }
    }
}

/// Size of the stack of a child with borrowed memory.
const STACK: usize = 512 << 10;

/// That stack: a part of the program, which is there already. It takes no memory beyond what is used of it.
#[repr(align(4096))]
struct Stack(UnsafeCell<[u8; STACK]>);

// SAFETY: only whoever has taken it uses it.
unsafe impl Sync for Stack {}

static CHILD: Stack = Stack(UnsafeCell::new([0; STACK]));
static TAKEN: AtomicBool = AtomicBool::new(false);

impl Stack {
    fn take() -> Option<&'static Self> {
        (!TAKEN.swap(true, Ordering::Acquire)).then_some(&CHILD)
    }

    fn give_back(&self) {
        TAKEN.store(false, Ordering::Release);
    }
}

/// What the child of [`with_borrowed_memory`] runs.
struct Call<'a>(&'a mut dyn FnMut());

extern "C" fn enter(argument: *mut libc::c_void) -> ! {
    // SAFETY: `argument` is the `Call` of the suspended parent.
    let call = unsafe { &mut *argument.cast::<Call<'_>>() };
    (call.0)();
    exit_now(0)
}

/// clone3(2) with a stack of its own, on which the child calls [`enter`] with `argument`. The C library has no wrapper:
/// the child must not return into the caller's frame.
///
/// # Safety
/// `args` must be valid, with a stack that outlives the child; `argument` must be what [`enter`] takes.
#[cfg(target_arch = "x86_64")]
unsafe fn clone_on_stack(args: *mut libc::clone_args, argument: *mut libc::c_void) -> libc::c_long {
    let result: libc::c_long;
    // SAFETY: the system call changes rax, rcx and r11 alone. The child finds its registers as they were, its stack empty
    // and aligned, and never comes back from the call.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") args,
            in("rsi") std::mem::size_of::<libc::clone_args>(),
            in("r12") enter as extern "C" fn(*mut libc::c_void) -> !,
            in("r13") argument,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    errno_result(result)
}

/// As for x86_64.
///
/// # Safety
/// As for x86_64.
#[cfg(target_arch = "aarch64")]
unsafe fn clone_on_stack(args: *mut libc::clone_args, argument: *mut libc::c_void) -> libc::c_long {
    let result: libc::c_long;
    // SAFETY: the system call changes x0 alone. The child finds its registers as they were, its stack empty and aligned,
    // and never comes back from the call.
    unsafe {
        std::arch::asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x21",
            "blr x20",
            "brk #1",
            "2:",
            in("x8") libc::SYS_clone3,
            inlateout("x0") args => result,
            in("x1") std::mem::size_of::<libc::clone_args>(),
            in("x20") enter as extern "C" fn(*mut libc::c_void) -> !,
            in("x21") argument,
        );
    }
    errno_result(result)
}

/// A raw system call's negative errno, as the C library's wrappers return it.
fn errno_result(result: libc::c_long) -> libc::c_long {
    if (-4095..0).contains(&result) {
        Errno::set_raw(i32::try_from(-result).unwrap_or(libc::EINVAL));
        return -1;
    }
    result
}

/// Ends this process without running anything of the caller's memory image: no destructors, no atexit handlers.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit(2) has no preconditions and does not return.
    unsafe { libc::_exit(status) }
}

/// setns(2) with a namespace file or a pidfd (Linux 5.8) and the `CLONE_NEW…` types expected.
///
/// # Errors
/// The errno of setns(2).
pub fn setns(fd: BorrowedFd<'_>, types: libc::c_int) -> Result<()> {
    // SAFETY: no pointers; the descriptor is borrowed for the call.
    check(unsafe { libc::syscall(libc::SYS_setns, fd.as_raw_fd(), types) }).map(drop)
}

/// unshare(2).
///
/// # Errors
/// The errno of unshare(2).
pub fn unshare(flags: libc::c_int) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::syscall(libc::SYS_unshare, flags) }).map(drop)
}
