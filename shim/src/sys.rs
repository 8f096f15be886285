//! The shim's only unsafe code: system calls that neither the standard library, `nix` nor [`runtime::sys`]
//! offers safely.
//!
//! Everything here is a thin wrapper: arguments in, `io::Result` out, file descriptors owned. No policy.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Pid, setpgid};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The process.
    pub pid: i32,
    /// Its exit code, or 128 plus the number of the signal that killed it.
    pub status: u32,
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn to_fd(result: libc::c_long) -> io::Result<OwnedFd> {
    let raw = RawFd::try_from(check(result)?).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    // SAFETY: the kernel has just returned this descriptor to us, so it is open and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Takes ownership of a descriptor that this process was started with.
///
/// Fails with `EBADF` when `raw` is not open. Call it once per descriptor, before anything else opens files.
pub fn inherited_fd(raw: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD only reads the descriptor table.
    check(unsafe { libc::fcntl(raw, libc::F_GETFD) }.into())?;
    // SAFETY: open (checked above) and, by this function's contract, not owned by anything else in this
    // process.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: F_SETFD with FD_CLOEXEC changes a flag of a descriptor that we own.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) }.into())?;
    Ok(fd)
}

/// Takes ownership of a descriptor that has just been received in a message.
pub fn received_fd(raw: RawFd) -> OwnedFd {
    // SAFETY: the kernel put it into our table for this one message; the caller has it from there and nowhere
    // else.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

/// `accept4(2)`: the next connection of a listening socket, close-on-exec.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let none = std::ptr::null_mut();
    // SAFETY: null address pointers mean that the peer's address is not wanted.
    to_fd(unsafe { libc::accept4(listener.as_raw_fd(), none, none.cast(), libc::SOCK_CLOEXEC) }.into())
}

/// `kill(2)` with any signal number. A negative pid names a process group.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: two integers.
    check(unsafe { libc::kill(pid, signal) }.into())?;
    Ok(())
}

fn wait(kind: libc::idtype_t, id: libc::id_t, flags: libc::c_int) -> io::Result<Option<Exit>> {
    // SAFETY: an all-zero siginfo_t is a valid value of that plain C struct.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` is writable for the duration of the call.
    check(unsafe { libc::waitid(kind, id, &mut info, libc::WEXITED | libc::WNOHANG | flags) }.into())?;
    // SAFETY: waitid filled the SIGCHLD fields, or left the zeroes it was given when no child had ended.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    let status = if info.si_code == libc::CLD_EXITED { status } else { 128 + status };
    Ok(Some(Exit { pid, status: u32::try_from(status).unwrap_or(255) }))
}

/// Reaps the child behind `pidfd` if it has ended.
pub fn reap_pidfd(pidfd: BorrowedFd<'_>) -> io::Result<Option<Exit>> {
    wait(libc::P_PIDFD, pidfd.as_raw_fd().cast_unsigned(), 0)
}

/// Reaps the child `pid` if it has ended.
pub fn reap_pid(pid: i32) -> io::Result<Option<Exit>> {
    wait(libc::P_PID, pid.cast_unsigned(), 0)
}

/// Names a child that has ended, without reaping it.
pub fn peek_ended_child() -> io::Result<Option<Exit>> {
    wait(libc::P_ALL, 0, libc::WNOWAIT)
}

/// Tells whether the child `pid` has ended, without reaping it.
pub fn peek_pid(pid: i32) -> io::Result<Option<Exit>> {
    wait(libc::P_PID, pid.cast_unsigned(), libc::WNOWAIT)
}

/// Runs `body` in a forked child and returns the child's pid; the child ends with the code that `body`
/// returns.
///
/// The child has a copy of the whole process, so `body` must neither return to the event loop nor use its
/// epoll descriptor. Safe only because the shim never has a second thread: no lock can be held by somebody
/// who is gone.
pub fn fork(body: impl FnOnce() -> i32) -> io::Result<i32> {
    // SAFETY: this process is single-threaded (a rule of the crate), so the child may allocate and take
    // locks.
    let pid = check(unsafe { libc::fork() }.into())?;
    if pid == 0 {
        let code = catch_unwind(AssertUnwindSafe(body)).unwrap_or(70);
        // SAFETY: ends the child without running the parent's destructors and exit handlers a second time.
        unsafe { libc::_exit(code) };
    }
    i32::try_from(pid).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

/// Prepares a forked child for work of its own: it dies with the shim, has default signal handling, a process
/// group of its own, and none of the shim's descriptors except `keep`.
pub fn detach_helper(parent: i32, keep: BorrowedFd<'_>) -> io::Result<()> {
    default_child_state(parent)?;
    lead_group()?;
    let keep = keep.as_raw_fd().cast_unsigned();
    if keep > 3 {
        // SAFETY: closing descriptors that this child never uses again; it ends with `_exit`.
        check(unsafe { libc::syscall(libc::SYS_close_range, 3, keep - 1, 0) })?;
    }
    // SAFETY: as above.
    check(unsafe { libc::syscall(libc::SYS_close_range, keep + 1, libc::c_uint::MAX, 0) })?;
    Ok(())
}

/// Prepares a forked child for a command: as [`detach_helper`], with `streams` as standard input, output and
/// error.
pub fn become_command(parent: i32, streams: &[OwnedFd; 3], open_files: Option<u64>) -> io::Result<()> {
    default_child_state(parent)?;
    lead_group()?;
    if let Some(soft) = open_files {
        set_open_files_soft(soft)?;
    }
    for (target, stream) in (0..).zip(streams) {
        // SAFETY: replaces a standard stream of this child; the sources are all above 2, where the shim has
        // its own.
        check(unsafe { libc::dup2(stream.as_raw_fd(), target) }.into())?;
    }
    // SAFETY: closing descriptors that this child never uses again; it ends with `_exit`.
    check(unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) })?;
    Ok(())
}

/// Makes a child the leader of its own process group, so that its children can be signalled with it.
fn lead_group() -> io::Result<()> {
    Ok(setpgid(Pid::this(), Pid::this())?)
}

/// Async-signal-safe: default SIGPIPE, nothing blocked, SIGKILL when `parent` ends.
fn default_child_state(parent: i32) -> io::Result<()> {
    // SAFETY: sigset_t is a plain C struct that sigemptyset initialises; the other calls take integers.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        check(libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut()).into())?;
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        if parent != 0 {
            check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0).into())?;
            // The parent may have gone between fork and prctl.
            if libc::getppid() != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
        }
    }
    Ok(())
}

/// What a child gets beyond what `std::process::Command` offers.
#[derive(Default)]
pub struct ChildSetup {
    /// Send the child SIGKILL when this process ends.
    pub die_with_parent: bool,
    /// Give the child a process group of its own.
    pub own_group: bool,
    /// Descriptors for the child, numbered from 3 in this order.
    pub pass: Vec<OwnedFd>,
    /// The soft limit of open files to give the child, when it differs from ours.
    pub open_files: Option<u64>,
    /// Give the child's process group a core-scheduling cookie of its own.
    pub core_scheduling: bool,
}

/// Arranges for `setup` to happen in the child between fork and exec.
pub fn prepare_child(command: &mut Command, setup: ChildSetup) {
    let parent = if setup.die_with_parent { std::process::id().cast_signed() } else { 0 };
    let in_child = move || {
        default_child_state(parent)?;
        if setup.own_group {
            lead_group()?;
        }
        if let Some(soft) = setup.open_files {
            set_open_files_soft(soft)?;
        }
        if setup.core_scheduling {
            share_core_with_group()?;
        }
        pass_descriptors(&setup.pass)
    };
    // SAFETY: the closure makes system calls only: no allocation, no lock, nothing of the parent's event
    // loop.
    unsafe { command.pre_exec(in_child) };
}

/// Moves `fds` to 3, 4, 5, … of the calling child and lets them survive exec.
fn pass_descriptors(fds: &[OwnedFd]) -> io::Result<()> {
    let first_free =
        3 + RawFd::try_from(fds.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // First away from the target numbers, so that no target overwrites a source that is still needed.
    let mut above = [-1; 8];
    for (fd, slot) in fds.iter().zip(&mut above) {
        // SAFETY: duplicates a descriptor that we own; the copy is closed by exec.
        let copy = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, first_free) }.into())?;
        *slot = RawFd::try_from(copy).unwrap_or(-1);
    }
    for (target, source) in (3..first_free).zip(above) {
        // SAFETY: replaces `target`, which nothing in this child uses before exec.
        check(unsafe { libc::dup2(source, target) }.into())?;
    }
    Ok(())
}

/// Has the allocator give memory back: large blocks are mapped by themselves and go when they are freed, and
/// a free end of the heap is returned when it is more than this many bytes. (mallopt(3); its defaults grow
/// with use.)
#[cfg(target_env = "gnu")]
pub fn keep_heap_small(bytes: i32) {
    // SAFETY: takes integers and changes parameters of the allocator; a refusal changes nothing.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, bytes);
        libc::mallopt(libc::M_TRIM_THRESHOLD, bytes);
        libc::mallopt(libc::M_TOP_PAD, 0);
    }
}

/// musl's allocator does so by itself.
#[cfg(not(target_env = "gnu"))]
pub fn keep_heap_small(_bytes: i32) {}

unsafe extern "C" {
    /// The first byte of the program in memory; set by the linker.
    static __executable_start: u8;
    /// The first byte after its code.
    static etext: u8;
}

/// Gives back what is not in use: free memory of the heap, and the mapping of code that has not run of late.
/// Code is mapped again, from the page cache, when it runs.
pub fn give_memory_back() {
    let (start, end) = (&raw const __executable_start, &raw const etext);
    let page = 4095;
    let start = start.map_addr(|address| (address + page) & !page);
    let length = (end.addr() & !page).saturating_sub(start.addr());
    // SAFETY: the range is whole pages of read-only mappings of the program's file; dropping such pages loses
    // nothing, for they come back unchanged when they are touched. malloc_trim changes nothing that is in
    // use.
    unsafe {
        libc::madvise(start.cast_mut().cast(), length, libc::MADV_DONTNEED);
        #[cfg(target_env = "gnu")]
        libc::malloc_trim(0);
    }
}

/// Sets the soft limit of open files, or as much as the hard one allows.
fn set_open_files_soft(soft: u64) -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, soft.min(hard), hard)?)
}

/// Gives this process group a core-scheduling cookie of its own (`PR_SCHED_CORE_CREATE`, Linux 5.14).
fn share_core_with_group() -> io::Result<()> {
    const PIDTYPE_PGID: libc::c_int = 2;
    let (option, create) = (libc::PR_SCHED_CORE, libc::PR_SCHED_CORE_CREATE);
    // SAFETY: integers only; pid 0 is the caller.
    check(unsafe { libc::prctl(option, create, 0, PIDTYPE_PGID, 0) }.into())?;
    Ok(())
}

/// Moves up to `limit` bytes between a pipe and another file without copying them through this process.
///
/// Returns 0 at end of file, `EAGAIN` when either side would block.
pub fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, limit: usize) -> io::Result<usize> {
    let flags = libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE;
    let none = std::ptr::null_mut();
    // SAFETY: both descriptors are open for the call; null offsets mean "at the current position".
    let moved = unsafe { libc::splice(from.as_raw_fd(), none, to.as_raw_fd(), none, limit, flags) };
    usize::try_from(check(moved as libc::c_long)?).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

/// Whether a pipe holds bytes that nobody has read (`FIONREAD`).
pub fn has_input(pipe: BorrowedFd<'_>) -> bool {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int to the pointer.
    let asked = unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &mut bytes) };
    asked == 0 && bytes > 0
}

/// `ioctl(2)` with an integer argument, for the loop device's requests.
pub fn ioctl_int(fd: impl AsFd, request: libc::Ioctl, argument: libc::c_ulong) -> io::Result<libc::c_int> {
    // SAFETY: the requests this is used with (LOOP_CTL_GET_FREE) take an integer, not a pointer.
    let result = check(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request, argument) }.into())?;
    libc::c_int::try_from(result).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

/// The kernel's `struct loop_config` with its `struct loop_info64` (linux/loop.h).
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    sizelimit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
    reserved: [u64; 8],
}

/// Attaches `backing` to the loop device, detaching itself at the last close (`LOOP_CONFIGURE`, Linux 5.8).
pub fn configure_loop(device: BorrowedFd<'_>, backing: BorrowedFd<'_>, read_only: bool) -> io::Result<()> {
    const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
    const LO_FLAGS_READ_ONLY: u32 = 1;
    const LO_FLAGS_AUTOCLEAR: u32 = 4;
    // SAFETY: an all-zero value is valid for this struct of integers.
    let mut config: LoopConfig = unsafe { std::mem::zeroed() };
    config.fd = backing.as_raw_fd().cast_unsigned();
    config.flags = LO_FLAGS_AUTOCLEAR | if read_only { LO_FLAGS_READ_ONLY } else { 0 };
    // SAFETY: LOOP_CONFIGURE reads one loop_config, whose layout the struct above repeats.
    check(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &config) }.into())?;
    Ok(())
}
