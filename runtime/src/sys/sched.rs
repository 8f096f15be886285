//! Scheduling of this thread: policy, I/O priority, CPU affinity, memory policy.

use super::{Result, check};

/// sched_setattr(2), with the fields of `struct sched_attr`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Attributes {
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

/// sched_setattr(2) on this thread.
///
/// # Errors
/// The errno of sched_setattr(2).
pub fn set_attributes(attributes: &Attributes) -> Result<()> {
    // SAFETY: sched_attr is plain old data for which zeroes are valid.
    let mut attr: libc::sched_attr = unsafe { std::mem::zeroed() };
    // The first version of the structure, 48 bytes: utilisation clamps are not part of config.json.
    attr.size = 48;
    attr.sched_policy = attributes.policy;
    attr.sched_flags = attributes.flags;
    attr.sched_nice = attributes.nice;
    attr.sched_priority = attributes.priority;
    attr.sched_runtime = attributes.runtime;
    attr.sched_deadline = attributes.deadline;
    attr.sched_period = attributes.period;
    // SAFETY: `attr` is valid for the size it names.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw mut attr, 0) }).map(drop)
}

/// ioprio_set(2) on this process; `value` is class << 13 | level.
///
/// # Errors
/// The errno of ioprio_set(2).
pub fn set_io_priority(value: i32) -> Result<()> {
    const WHO_PROCESS: libc::c_int = 1;
    // SAFETY: no pointers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, value) }).map(drop)
}

/// sched_setaffinity(2) on a process of one thread, 0 for this one; bit N of `mask` is CPU N.
///
/// # Errors
/// The errno of sched_setaffinity(2); `EINVAL` when none of the CPUs may be used.
pub fn set_affinity(pid: i32, mask: &[u64]) -> Result<()> {
    // SAFETY: the pointer is valid for the length given in bytes.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, pid, size_of_val(mask), mask.as_ptr()) })
        .map(drop)
}

/// set_mempolicy(2); bit N of `nodes` is node N.
///
/// # Errors
/// The errno of set_mempolicy(2).
pub fn set_memory_policy(mode: u32, nodes: &[u64]) -> Result<()> {
    let (pointer, bits) = match nodes {
        [] => (std::ptr::null(), 0),
        // The kernel looks at one bit less than the number it is given.
        nodes => (nodes.as_ptr(), nodes.len() * 64 + 1),
    };
    // SAFETY: null with length 0, or valid for that many bits (the extra one is never read).
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) }).map(drop)
}
