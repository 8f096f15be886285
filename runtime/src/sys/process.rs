//! What a process is: identity, resources, name, and the program it becomes.

use super::{Errno, Result, check};
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

fn prctl(option: libc::c_int, value: libc::c_ulong) -> Result<()> {
    // SAFETY: only called with options whose second argument is a number and whose others must be 0.
    check(unsafe { libc::syscall(libc::SYS_prctl, option, value, 0, 0, 0) }).map(drop)
}

/// `PR_SET_DUMPABLE`: with `false` no process without privilege over the host can ptrace this one or follow its
/// `/proc/PID/{exe,fd,cwd}` (CVE-2016-9962).
///
/// # Errors
/// The errno of prctl(2).
pub fn set_dumpable(on: bool) -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(on))
}

/// `PR_SET_PDEATHSIG`: the signal this process gets when its parent dies; 0 for none.
///
/// # Errors
/// The errno of prctl(2).
pub fn set_parent_death_signal(signal: i32) -> Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, libc::c_ulong::from(signal.cast_unsigned()))
}

/// `PR_SET_CHILD_SUBREAPER`: orphans below this process become its children.
///
/// # Errors
/// The errno of prctl(2).
pub fn set_subreaper() -> Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1)
}

/// `PR_SET_NO_NEW_PRIVS`.
///
/// # Errors
/// The errno of prctl(2).
pub fn set_no_new_privileges() -> Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// `PR_SET_KEEPCAPS`: permitted capabilities survive a change of all user ids from 0.
///
/// # Errors
/// The errno of prctl(2).
pub fn set_keep_capabilities(on: bool) -> Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, libc::c_ulong::from(on))
}

/// setdomainname(2).
///
/// # Errors
/// The errno of setdomainname(2).
pub fn set_domainname(name: &CStr) -> Result<()> {
    let bytes = name.to_bytes();
    // SAFETY: the pointer is valid for the length given.
    check(unsafe { libc::syscall(libc::SYS_setdomainname, bytes.as_ptr(), bytes.len()) }).map(drop)
}

/// The user and the group that this program was executed as (getauxval(3)): its real ids, where they are the effective ones,
/// which the saved ones are, too (execve(2)). Only its children become others. `None`: they are not the same.
#[must_use]
pub fn ids() -> Option<(u32, u32)> {
    let id = |kind| {
        // SAFETY: no pointers.
        u32::try_from(unsafe { libc::getauxval(kind) }).ok()
    };
    let same = |real, effective| id(real).filter(|real| id(effective) == Some(*real));
    same(libc::AT_UID, libc::AT_EUID).zip(same(libc::AT_GID, libc::AT_EGID))
}

/// setgroups(2) of this thread.
///
/// # Errors
/// The errno of setgroups(2).
pub fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: the pointer is valid for `len` group ids.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// setresgid(2), all three ids of this thread.
///
/// # Errors
/// The errno of setresgid(2).
pub fn set_gid(gid: u32) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// setresuid(2), all three ids of this thread.
///
/// # Errors
/// The errno of setresuid(2).
pub fn set_uid(uid: u32) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// prlimit(2) on a process; 0 is this one.
///
/// # Errors
/// The errno of prlimit(2).
pub fn set_rlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    let none = std::ptr::null_mut::<libc::rlimit64>();
    // SAFETY: `limit` is valid; no old value is asked for.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, &raw const limit, none) }).map(drop)
}

/// personality(2).
///
/// # Errors
/// The errno of personality(2).
pub fn set_personality(persona: u32) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::syscall(libc::SYS_personality, libc::c_ulong::from(persona)) }).map(drop)
}

/// Undoes what this program, or its caller, did to signals: nothing blocked, nothing ignored (execve(2) would pass both on).
/// Bit N-1 of the masks is signal N.
///
/// # Errors
/// The errno of sigprocmask(2).
pub fn reset_signals(blocked: u64, ignored: u64) -> Result<()> {
    // struct sigaction as the kernel has it, all zero: SIG_DFL, without flags or mask.
    const DEFAULT: [u64; 4] = [0; 4];
    for signal in (1..=64).filter(|signal| ignored & (1 << (signal - 1)) != 0) {
        let (none, set_size) = (std::ptr::null_mut::<u64>(), size_of::<u64>());
        // By the system call, because the C library keeps 32 and 33 to itself, and they can be ignored, too.
        // SAFETY: reads a static structure that is as long as the kernel's on every architecture, and runs no code.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), none, set_size) };
    }
    match blocked {
        0 => Ok(()),
        _ => nix::sys::signal::SigSet::empty().thread_set_mask(),
    }
}

/// setsid(2): a new session without a controlling terminal.
///
/// # Errors
/// The errno of setsid(2).
pub fn new_session() -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::syscall(libc::SYS_setsid) }).map(drop)
}

/// A C array of pointers to NUL-terminated strings with a null at its end, as execve(2) wants it.
#[derive(Debug)]
pub struct StringArray {
    strings: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

impl StringArray {
    /// Lays out the array once, so that nothing is left to allocate just before execve(2).
    #[must_use]
    pub fn new(strings: Vec<CString>) -> Self {
        let mut pointers: Vec<_> = strings.iter().map(|string| string.as_ptr()).collect();
        pointers.push(std::ptr::null());
        Self { strings, pointers }
    }

    /// The strings.
    #[must_use]
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }
}

/// execve(2). Returns only on failure.
pub fn execve(path: &CStr, argv: &StringArray, envp: &StringArray) -> Errno {
    // SAFETY: both arrays end with a null pointer and own the NUL-terminated strings they point to.
    unsafe { libc::execve(path.as_ptr(), argv.pointers.as_ptr(), envp.pointers.as_ptr()) };
    Errno::last()
}

/// execveat(2) of `name` in `directory`. Returns only on failure.
pub fn execve_in(directory: BorrowedFd<'_>, name: &CStr, argv: &StringArray, envp: &StringArray) -> Errno {
    // SAFETY: as for `execve`.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            directory.as_raw_fd(),
            name.as_ptr(),
            argv.pointers.as_ptr(),
            envp.pointers.as_ptr(),
            if name.is_empty() { libc::AT_EMPTY_PATH } else { libc::AT_SYMLINK_NOFOLLOW },
        )
    };
    Errno::last()
}

/// Executes this program below an overlay of its directory ([`seal::again`]), with what it needs of its environment. Returns
/// only on failure.
pub fn execute_sealed(argv: &StringArray) {
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    // SAFETY: the arguments end with a null pointer and own the NUL-terminated strings they point to; so does what the C
    // library has as the environment, which nobody changes.
    let _errno = unsafe { seal::again(argv.pointers.as_ptr(), environ) };
}

/// The effective user that this program was executed as (`AT_EUID` of getauxval(3)).
#[must_use]
pub fn executing_user() -> nix::unistd::Uid {
    // SAFETY: no pointers. The value is there on every kernel, and is a user id.
    let user = unsafe { libc::getauxval(libc::AT_EUID) };
    nix::unistd::Uid::from_raw(u32::try_from(user).unwrap_or(u32::MAX))
}

/// What this program was executed as (`AT_EXECFN` of getauxval(3)).
#[must_use]
pub fn executed_as() -> Option<&'static CStr> {
    // SAFETY: the value, where there is one, points to a NUL-terminated string above the stack that lives as long as the
    // process.
    let name = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const libc::c_char;
    // SAFETY: as above.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) })
}

/// The arguments of this program as the kernel shows them to others (proc_pid_cmdline(5)); null: not known.
static ARGUMENTS: AtomicPtr<*const libc::c_char> = AtomicPtr::new(std::ptr::null_mut());

/// The arguments of this program, its name first. The standard library learns of them where it begins itself, or where
/// the C library hands them to constructors, as glibc does and musl does not.
#[must_use]
pub fn arguments() -> Vec<OsString> {
    let mut next = ARGUMENTS.load(Ordering::Relaxed);
    if next.is_null() {
        return std::env::args_os().collect();
    }
    let mut all = Vec::new();
    // SAFETY: `begin` was given the array that ends with a null pointer, which is not passed, of NUL-terminated strings.
    unsafe {
        while !(*next).is_null() {
            all.push(OsStr::from_bytes(CStr::from_ptr(*next).to_bytes()).to_owned());
            next = next.add(1);
        }
    }
    all
}

/// Overwrites what is secret at the end of an argument. Everybody in a PID namespace can read the arguments of each process
/// in it.
pub fn hide_arguments(secrets: &[&str]) {
    let mut next = ARGUMENTS.load(Ordering::Relaxed);
    let secret = |bytes: &[u8]| {
        secrets
            .iter()
            .find(|secret| !secret.is_empty() && bytes.ends_with(secret.as_bytes()))
            .map(|secret| secret.len())
    };
    while !next.is_null() {
        // SAFETY: `begin` was given the array that ends with a null pointer, which is not passed. Its strings are NUL-terminated,
        // in memory of this process's own (execve(2)) that nothing has a reference to: the standard library copies them.
        let bytes = unsafe {
            if (*next).is_null() {
                return;
            }
            std::slice::from_raw_parts_mut((*next).cast_mut().cast::<u8>(), libc::strlen(*next))
        };
        if let Some(length) = secret(bytes) {
            let from = bytes.len() - length;
            bytes[from..].fill(b'*');
        }
        // SAFETY: the array goes on, since this was not its last pointer.
        next = unsafe { next.add(1) };
    }
}

/// What a program needs before anything else: standard input, output and error are open, if only on `/dev/null` (or
/// the next file opened would be taken for one of them), and a reader that goes away is an error, not a death.
///
/// # Safety
/// `argv` is what the program's entry was given: an array of NUL-terminated strings with a null pointer at its end.
pub unsafe fn begin(argv: *const *const libc::c_char) {
    ARGUMENTS.store(argv.cast_mut(), Ordering::Relaxed);
    let mut polls = [0, 1, 2].map(|fd| libc::pollfd { fd, events: 0, revents: 0 });
    // SAFETY: three valid pollfds; a time-out of zero.
    unsafe { libc::poll(polls.as_mut_ptr(), 3, 0) };
    for _ in polls.iter().filter(|poll| poll.revents & libc::POLLNVAL != 0) {
        // SAFETY: a static path. It gets the lowest number that is free, and is to stay open.
        unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
    }
    notice_only(libc::SIGPIPE);
}

/// Has a signal do nothing. Not by ignoring it, which each process made from here on would have to undo: a handler goes
/// with `CLONE_CLEAR_SIGHAND`, and with execve(2).
fn notice_only(signal: libc::c_int) {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: the handler does nothing. The C library has it set with SA_RESTART: no call is interrupted by it.
    unsafe { libc::signal(signal, nothing as *const () as libc::sighandler_t) };
}

/// Children that end wait to be waited for, whatever the caller does with its own: `SIGCHLD` stays ignored through
/// execve(2), and what has ended would be gone, with its exit status (wait(2), NOTES). Done once.
pub fn keep_ended_children() {
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.swap(true, Ordering::Relaxed) {
        // SAFETY: SIG_DFL is no handler.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    }
}

/// A file that may not grow is an error (`RLIMIT_FSIZE` in getrlimit(2)), not a death that leaves half a container.
pub fn survive_file_size_limit() {
    notice_only(libc::SIGXFSZ);
}

/// The number of the last capability that the kernel knows, as far as this process can have it: from `PR_CAPBSET_READ` alone
/// (no procfs needed), or from those that it is `permitted`, where it is root. Looked up once.
#[must_use]
pub fn last_capability(permitted: u64) -> u32 {
    static ANSWER: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *ANSWER.get_or_init(|| find_last_capability(permitted))
}

/// CAP_CHECKPOINT_RESTORE, the last one of every kernel since 5.9.
const KNOWN: u32 = 40;

fn find_last_capability(permitted: u64) -> u32 {
    // What root executes is permitted all that is left in the bounding set (capabilities(7); but for SECBIT_NOROOT, with which a
    // caller would have to know no more of them than this program): there are no others to drop.
    if executing_user().is_root() && permitted >> KNOWN != 0 {
        return permitted.ilog2();
    }
    let mut last = KNOWN;
    while last < 63 && super::capability::in_bounding(last + 1).is_ok() {
        last += 1;
    }
    while last > 0 && super::capability::in_bounding(last).is_err() {
        last -= 1;
    }
    last
}
