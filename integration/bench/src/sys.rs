//! System calls that neither the standard library nor nix wraps. The crate's only unsafe code.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// What a process and those that it waited for have used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// User and system time.
    pub(crate) cpu: Duration,
    /// Page faults served without input or output.
    pub(crate) faults: u64,
}

/// Waits for a child, any for `None`: its pid, its wait status and what it used. `None`: there is no child.
pub(crate) fn wait(pid: Option<i32>) -> Option<(i32, i32, Usage)> {
    let mut status = 0;
    // SAFETY: an rusage is plain old data, for which all zeroes is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let pid = loop {
        // SAFETY: `status` and `usage` are valid places for the results and live across the call.
        let pid = unsafe { libc::wait4(pid.unwrap_or(-1), &raw mut status, 0, &raw mut usage) };
        match pid {
            -1 if std::io::Error::last_os_error().raw_os_error() == Some(libc::EINTR) => {}
            -1 => return None,
            pid => break pid,
        }
    };
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.cast_unsigned()) + Duration::from_micros(time.tv_usec.cast_unsigned())
    };
    let usage =
        Usage { cpu: time(usage.ru_utime) + time(usage.ru_stime), faults: usage.ru_minflt.cast_unsigned() };
    Some((pid, status, usage))
}

/// The process that signals are passed on to; 0: none.
static INNER: AtomicI32 = AtomicI32::new(0);

extern "C" fn pass_on(signal: libc::c_int) {
    let pid = INNER.load(Ordering::Relaxed);
    if pid > 0 {
        // SAFETY: kill(2) takes numbers, and is safe in a signal handler.
        unsafe { libc::kill(pid, signal) };
    }
}

/// From here on SIGINT and SIGTERM are for the process whose pid goes into [`passed_on_to`]: this one has to
/// live to clean up after it.
pub(crate) fn pass_signals_on() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler makes one system call and touches nothing but an atomic.
        unsafe { libc::signal(signal, pass_on as *const () as usize) };
    }
}

/// Whom [`pass_signals_on`] means.
pub(crate) fn passed_on_to(pid: i32) {
    INNER.store(pid, Ordering::Relaxed);
}
