//! System calls that neither the standard library nor nix wraps. The crate's only unsafe code.

use nix::fcntl::{FcntlArg, fcntl};
use std::ffi::CString;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Turns the -1 of a system call into the error it stands for.
fn check(result: libc::c_long) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Makes system call `number` with integer arguments, for probing what a filter or a capability set refuses.
///
/// The arguments must not be addresses that the kernel would write to: callers pass numbers, zero and flags
/// only.
pub fn probe_syscall(number: i64, args: [u64; 6]) -> io::Result<i64> {
    // SAFETY: callers pass no address of memory they own, so the kernel can at worst answer EFAULT.
    check(unsafe { libc::syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]) })
}

/// Makes a system call as a 32-bit program does, by interrupt 0x80, from this 64-bit program. As
/// [`probe_syscall`], with the numbers of x86. A kernel without 32-bit programs ends the process with
/// SIGSEGV.
#[cfg(target_arch = "x86_64")]
pub fn probe_syscall_of_x86(number: i64, args: [u64; 3]) -> io::Result<i64> {
    let mut result = number;
    // SAFETY: callers pass no address of memory they own. The kernel changes eax alone, and r8 to r11 on
    // older versions, which is said; rbx is put back, which the compiler wants for itself.
    unsafe {
        std::arch::asm!(
            "push rbx", "mov rbx, {first}", "int 0x80", "pop rbx",
            first = in(reg) args[0],
            inlateout("rax") result, in("rcx") args[1], in("rdx") args[2],
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    // The result has 32 bits.
    let result = i64::from(i32::try_from(result & 0xffff_ffff).unwrap_or_else(|_| {
        i32::from_ne_bytes(u32::try_from(result & 0xffff_ffff).unwrap_or(u32::MAX).to_ne_bytes())
    }));
    match i32::try_from(result) {
        Ok(error @ -4095..=-1) => Err(io::Error::from_raw_os_error(-error)),
        _ => Ok(result),
    }
}

/// Other machines have no such programs: ENOSYS, as for a call that does not exist.
#[cfg(not(target_arch = "x86_64"))]
pub fn probe_syscall_of_x86(_number: i64, _args: [u64; 3]) -> io::Result<i64> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

/// Lets a signal interrupt whatever this process does, without SA_RESTART, and do nothing else.
pub fn interrupt_on(signal: i32) -> io::Result<()> {
    extern "C" fn nothing(_signal: i32) {}
    // SAFETY: all zeroes are an action without flags and with an empty mask.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = nothing as *const () as usize;
    // SAFETY: the handler does nothing, so it may run at any time; `action` lives across the call.
    let result = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    check(libc::c_long::from(result)).map(drop)
}

/// A system call that waits for an agent's answer.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Names it in the answer.
    pub id: u64,
    /// The thread, in this process's PID namespace.
    pub pid: u32,
    /// Its number.
    pub number: i32,
}

/// Waits for the next call on a seccomp listener (SECCOMP_IOCTL_NOTIF_RECV).
pub fn notification(listener: BorrowedFd<'_>) -> io::Result<Asked> {
    // SAFETY: plain old data; the kernel wants zeroes.
    let mut asked: libc::seccomp_notif = unsafe { mem::zeroed() };
    let request = libc::SECCOMP_IOCTL_NOTIF_RECV;
    // SAFETY: the kernel fills one seccomp_notif, which lives across the call.
    check(libc::c_long::from(unsafe { libc::ioctl(listener.as_raw_fd(), request, &raw mut asked) }))?;
    Ok(Asked { id: asked.id, pid: asked.pid, number: asked.data.nr })
}

/// Answers a call: with an error number, or, for `None`, by letting it happen (SECCOMP_IOCTL_NOTIF_SEND).
pub fn answer(listener: BorrowedFd<'_>, id: u64, error: Option<i32>) -> io::Result<()> {
    // SAFETY: plain old data.
    let mut answer: libc::seccomp_notif_resp = unsafe { mem::zeroed() };
    answer.id = id;
    match error {
        Some(error) => answer.error = -error,
        None => answer.flags = 1, // SECCOMP_USER_NOTIF_FLAG_CONTINUE
    }
    let request = libc::SECCOMP_IOCTL_NOTIF_SEND;
    // SAFETY: the kernel reads one seccomp_notif_resp, which lives across the call.
    check(libc::c_long::from(unsafe { libc::ioctl(listener.as_raw_fd(), request, &raw mut answer) }))?;
    Ok(())
}

/// prctl(2) with an option that only reads.
pub fn prctl_get(option: i32) -> io::Result<i64> {
    // SAFETY: the PR_GET_ options used here take no pointer and change nothing.
    check(libc::c_long::from(unsafe { libc::prctl(option, 0, 0, 0, 0) }))
}

/// The signal that this process gets when its parent ends; 0 for none.
pub fn parent_death_signal() -> io::Result<i64> {
    let mut signal: i32 = 0;
    // SAFETY: PR_GET_PDEATHSIG writes one int to the address, which lives across the call.
    check(libc::c_long::from(unsafe { libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut signal) }))?;
    Ok(i64::from(signal))
}

/// sched_getattr(2) as plain numbers.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub struct SchedAttr {
    size: u32,
    /// SCHED_OTHER and so on.
    pub policy: u32,
    /// SCHED_FLAG_ bits.
    pub flags: u64,
    /// Nice value.
    pub nice: i32,
    /// Static priority of the real-time policies.
    pub priority: u32,
    /// SCHED_DEADLINE, nanoseconds.
    pub runtime: u64,
    /// SCHED_DEADLINE, nanoseconds.
    pub deadline: u64,
    /// SCHED_DEADLINE, nanoseconds.
    pub period: u64,
    /// Utilisation clamps.
    pub util: [u32; 2],
}

/// The scheduling attributes of this process.
pub fn sched_getattr() -> io::Result<SchedAttr> {
    let mut attr = SchedAttr::default();
    let size = mem::size_of::<SchedAttr>();
    // SAFETY: `attr` is a repr(C) struct of plain integers and `size` is its true size.
    check(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size, 0) })?;
    Ok(attr)
}

/// The I/O priority of this process: class in the upper three bits of 16, level below.
pub fn ioprio_get() -> io::Result<i64> {
    const IOPRIO_WHO_PROCESS: i32 = 1;
    // SAFETY: takes integers only.
    check(unsafe { libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0) })
}

/// The execution domain of this process, read without changing it.
pub fn personality() -> io::Result<i64> {
    // SAFETY: 0xffffffff asks and does not set (personality(2)).
    check(libc::c_long::from(unsafe { libc::personality(0xffff_ffff) }))
}

/// The memory policy of this process: mode with its flags, and the nodes as a bit mask.
pub fn get_mempolicy() -> io::Result<(i32, u64)> {
    let mut mode: i32 = 0;
    let mut nodes = [0u64; 16];
    let bits = u64::try_from(nodes.len() * 64).unwrap_or(0);
    // SAFETY: `mode` and `nodes` live across the call and `nodes` holds `bits` bits.
    check(unsafe { libc::syscall(libc::SYS_get_mempolicy, &raw mut mode, nodes.as_mut_ptr(), bits, 0, 0) })?;
    Ok((mode, nodes[0]))
}

/// KEYCTL_DESCRIBE of the session keyring: `keyring;uid;gid;permissions;name`.
pub fn session_keyring() -> io::Result<String> {
    const KEYCTL_DESCRIBE: i32 = 6;
    const KEY_SPEC_SESSION_KEYRING: i32 = -3;
    let mut text = [0u8; 512];
    // SAFETY: the kernel writes at most `text.len()` bytes into `text`.
    let length = check(unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_DESCRIBE,
            KEY_SPEC_SESSION_KEYRING,
            text.as_mut_ptr(),
            text.len(),
            0,
        )
    })?;
    let end = usize::try_from(length).unwrap_or(0).saturating_sub(1).min(text.len());
    Ok(String::from_utf8_lossy(&text[..end]).into_owned())
}

/// The size of a terminal in (rows, columns).
pub fn window_size(fd: BorrowedFd<'_>) -> io::Result<(u16, u16)> {
    // SAFETY: a winsize of zeroes is valid, and TIOCGWINSZ fills exactly one.
    let mut size: libc::winsize = unsafe { mem::zeroed() };
    // SAFETY: as above; the descriptor is borrowed, hence open.
    check(libc::c_long::from(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) }))?;
    Ok((size.ws_row, size.ws_col))
}

/// How many bytes there are to be read (ioctl_pipe(2), `FIONREAD`).
pub fn unread(fd: BorrowedFd<'_>) -> io::Result<i32> {
    let mut count = 0;
    // SAFETY: FIONREAD fills exactly one int; the descriptor is borrowed, hence open.
    check(libc::c_long::from(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &raw mut count) }))?;
    Ok(count)
}

/// Sets the size of a terminal.
pub fn set_window_size(fd: BorrowedFd<'_>, rows: u16, columns: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize, which lives across the call; the descriptor is borrowed, hence
    // open.
    check(libc::c_long::from(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }))?;
    Ok(())
}

/// pidfd_open(2).
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes integers only.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// pidfd_send_signal(2).
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: integers, and a null pointer where the kernel then makes the siginfo of kill(2).
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, 0, 0) }).map(drop)
}

/// Takes over a descriptor that has just come in a message.
pub fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: callers pass a descriptor that the kernel has made for them in recvmsg(2); nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Makes the child of `command` stop at its exec, traced by the thread that spawns it. No signal is ignored in it, whoever runs the
/// tests (nohup(1), a shell in the background): what undoes that would be counted.
pub fn trace_me(command: &mut Command) {
    // SAFETY: signal(2), without a handler, and PTRACE_TRACEME, which takes no memory, are safe between fork and exec.
    unsafe {
        command.pre_exec(|| {
            for signal in 1..=libc::SIGRTMAX() {
                libc::signal(signal, libc::SIG_DFL);
            }
            check(libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0))?;
            Ok(())
        });
    }
}

/// Waits for a process that this thread traces: its pid and wait status, whatever signal is in it (nix knows
/// none of the real-time ones). `None`: none has stopped, and `WNOHANG` was asked for.
pub fn wait_traced(flags: i32) -> io::Result<Option<(i32, i32)>> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the result.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, flags | libc::__WALL | libc::__WNOTHREAD) };
    check(libc::c_long::from(pid))?;
    Ok((pid != 0).then_some((pid, status)))
}

/// Lets a traced process go on to its next system call, with a signal (0: none).
pub fn go_on_to_next_call(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: PTRACE_SYSCALL takes no address; the signal goes where an address would be.
    check(unsafe { libc::ptrace(libc::PTRACE_SYSCALL, pid, 0, libc::c_long::from(signal)) }).map(drop)
}

/// Makes the child of `command` inherit the descriptors as 3, 4 and so on.
pub fn pass_fds(command: &mut Command, fds: Vec<OwnedFd>) {
    // Out of each other's way: one that has the number of another would be lost.
    const APART: libc::c_int = 500;
    let apart = |fd: OwnedFd| fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(APART)).unwrap();
    let apart: Vec<RawFd> = fds.into_iter().map(apart).collect();
    // SAFETY: the numbers were just made, and nobody else knows of them.
    let fds: Vec<OwnedFd> = apart.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect();
    // SAFETY: only dup2 runs between fork and exec; the vector was allocated before and is not changed.
    unsafe {
        command.pre_exec(move || {
            for (target, fd) in (3..).zip(&fds) {
                check(libc::c_long::from(libc::dup2(fd.as_raw_fd(), target)))?;
            }
            Ok(())
        });
    }
}

/// Makes the child of `command` another user, with a session keyring of that name which everybody may do
/// everything with.
pub fn become_with_keyring(command: &mut Command, (uid, gid): (u32, u32), name: &str) {
    const KEYCTL_JOIN_SESSION_KEYRING: i32 = 1;
    const KEYCTL_SETPERM: i32 = 5;
    const EVERYTHING: u32 = 0x3f3f_3f3f;
    let name = CString::new(name).unwrap_or_default();
    command.uid(uid).gid(gid);
    // SAFETY: two system calls between fork and exec; the name was made before and moves into the closure.
    unsafe {
        command.pre_exec(move || {
            let key = check(libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()))?;
            check(libc::syscall(libc::SYS_keyctl, KEYCTL_SETPERM, key, EVERYTHING)).map(drop)
        });
    }
}

/// Makes standard input the controlling terminal of the child of `command`, in a session of its own.
pub fn control_terminal(command: &mut Command) {
    // SAFETY: two system calls without memory arguments, safe between fork and exec.
    unsafe {
        command.pre_exec(|| {
            check(libc::c_long::from(libc::setsid()))?;
            check(libc::c_long::from(libc::ioctl(0, libc::TIOCSCTTY, 0)))?;
            Ok(())
        });
    }
}

/// Takes all capabilities of the child of `command` named by `drop` out of its bounding set.
pub fn drop_bounding(command: &mut Command, drop: Vec<u8>) {
    // SAFETY: prctl(PR_CAPBSET_DROP) takes integers only and is safe between fork and exec.
    unsafe {
        command.pre_exec(move || {
            for capability in &drop {
                check(libc::c_long::from(libc::prctl(
                    libc::PR_CAPBSET_DROP,
                    u64::from(*capability),
                    0,
                    0,
                    0,
                )))?;
            }
            Ok(())
        });
    }
}

/// Makes system call `number` fail with `error` in the child of `command` and in all that it starts, by a
/// seccomp filter.
pub fn refuse(command: &mut Command, number: i64, error: i32) {
    refuse_some(command, number, None, error);
}

/// As [`refuse`], where the first argument is this one.
pub fn refuse_with(command: &mut Command, number: i64, argument: i32, error: i32) {
    refuse_some(command, number, Some(argument.cast_unsigned()), error);
}

fn refuse_some(command: &mut Command, number: i64, argument: Option<u32>, error: i32) {
    let jump = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap_or(0),
        jt,
        jf,
        k,
    };
    let load = |offset| jump(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let equal = |value| jump(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, 0, value);
    let answer = |action| jump(libc::BPF_RET | libc::BPF_K, 0, 0, action);
    // The number is the first field of seccomp_data, and the arguments are behind the third.
    let mut conditions = vec![(0, u32::try_from(number).unwrap_or(u32::MAX))];
    conditions.extend(argument.map(|value| (16, value)));
    let allow = answer(libc::SECCOMP_RET_ALLOW);
    let mut filter: Vec<_> =
        conditions.into_iter().flat_map(|(at, value)| [load(at), equal(value), allow]).collect();
    filter.push(answer(libc::SECCOMP_RET_ERRNO | error.cast_unsigned()));
    // SAFETY: one system call between fork and exec; the list moves into the closure and outlives it.
    unsafe {
        command.pre_exec(move || {
            let len = u16::try_from(filter.len()).unwrap_or(0);
            let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut() };
            let mode = libc::SECCOMP_SET_MODE_FILTER;
            check(libc::syscall(libc::SYS_seccomp, mode, 0, &raw const program)).map(drop)
        });
    }
}

/// Runs `handler` when this program ends by returning from `main` or calling exit(3).
pub fn at_exit(handler: extern "C" fn()) {
    // SAFETY: `handler` is a plain function that lives as long as the program.
    unsafe {
        libc::atexit(handler);
    }
}
