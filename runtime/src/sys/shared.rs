//! Memory that a process and its children share, and the clock by which both tell the time.

use super::{Errno, Result};
use std::sync::atomic::AtomicU64;

/// As many words of memory as asked for, all zero, shared with every process that is forked from now on. They are never
/// given back.
///
/// # Errors
/// The errno of mmap(2).
pub fn words(count: usize) -> Result<&'static [AtomicU64]> {
    let length = count * size_of::<AtomicU64>();
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping at an address of the kernel's choice: no memory of this process is touched.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0) };
    if address == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    // SAFETY: page-aligned memory of `length` bytes that is never unmapped; zeroes are values of AtomicU64, which may be
    // changed by others at any time.
    Ok(unsafe { std::slice::from_raw_parts(address.cast::<AtomicU64>(), count) })
}

/// `CLOCK_MONOTONIC` in nanoseconds: the same for all processes outside of time namespaces.
#[must_use]
pub fn monotonic() -> u64 {
    clock(libc::CLOCK_MONOTONIC)
}

/// `CLOCK_MONOTONIC` less `CLOCK_REALTIME`, which time namespaces leave alone (time_namespaces(7)); it wraps.
#[must_use]
pub fn monotonic_less_real() -> u64 {
    clock(libc::CLOCK_MONOTONIC).wrapping_sub(clock(libc::CLOCK_REALTIME))
}

fn clock(which: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the result.
    unsafe { libc::clock_gettime(which, &raw mut time) };
    let seconds = time.tv_sec.cast_unsigned();
    seconds.wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec.cast_unsigned())
}
