//! What a container uses: one structure for v1 and v2, read from the kernel's files.
//!
//! [`json`] writes it as `events` of runc does; the shim makes containerd's metrics of it. A controller that the cgroup
//! has not leaves its part empty.

pub mod json;
mod legacy;
mod parse;
mod unified;

#[cfg(any(test, fuzzing))]
pub(super) use parse::fuzz;

use super::Cgroup;
use super::error::Result;
use serde::Serialize;
use std::collections::BTreeMap;

/// Everything that is counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// Processor time.
    pub cpu: Cpu,
    /// Processors and memory nodes; v1 only.
    pub cpuset: Cpuset,
    /// Memory and swap.
    pub memory: Memory,
    /// Processes and threads.
    pub pids: Pids,
    /// Block devices.
    pub io: Io,
    /// Huge pages, by size (`2MB`).
    pub hugetlb: BTreeMap<String, Hugetlb>,
    /// RDMA devices.
    pub rdma: Vec<Rdma>,
    /// Miscellaneous scalar resources of v2, by name.
    pub misc: BTreeMap<String, Misc>,
}

/// Processor time. Times are in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cpu {
    /// All of it.
    pub total: u64,
    /// In the kernel.
    pub kernel: u64,
    /// In user space.
    pub user: u64,
    /// By processor; v1 only.
    pub percpu: Vec<u64>,
    /// By processor, in the kernel; v1 only.
    pub percpu_kernel: Vec<u64>,
    /// By processor, in user space; v1 only.
    pub percpu_user: Vec<u64>,
    /// Periods of the quota that have passed.
    pub periods: u64,
    /// Those in which the quota was used up.
    pub throttled_periods: u64,
    /// How long processes waited for that.
    pub throttled_time: u64,
    /// Periods in which more than the quota was used.
    pub burst_periods: u64,
    /// How much more.
    pub burst_time: u64,
    /// Pressure; v2 only.
    pub psi: Option<Psi>,
}

/// Processors and memory nodes of a v1 cpuset, and its switches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the file cpuset.NAME")]
pub struct Cpuset {
    pub cpus: Vec<u16>,
    pub mems: Vec<u16>,
    pub cpu_exclusive: u64,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// One kind of memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// In use.
    pub usage: u64,
    /// The most that was in use.
    pub max_usage: u64,
    /// How often the limit was hit; v1 only.
    pub failcnt: u64,
    /// The limit; `u64::MAX` on v2 when there is none.
    pub limit: u64,
}

/// Memory and swap.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// Page cache in bytes.
    pub cache: u64,
    /// Memory.
    pub usage: MemoryUse,
    /// Memory and swap together.
    pub swap: MemoryUse,
    /// Swap alone.
    pub swap_only: MemoryUse,
    /// Kernel memory; v1 only.
    pub kernel: MemoryUse,
    /// Kernel memory of TCP buffers; v1 only.
    pub kernel_tcp: MemoryUse,
    /// memory.stat.
    pub raw: BTreeMap<String, u64>,
    /// memory.events on v2, memory.oom_control on v1.
    pub events: BTreeMap<String, u64>,
    /// Pressure; v2 only.
    pub psi: Option<Psi>,
}

/// Processes and threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pids {
    /// How many there are.
    pub current: u64,
    /// How many there may be; 0 when there is no limit.
    pub limit: u64,
}

/// A count for one device and one kind of operation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct IoEntry {
    /// Device number.
    pub major: u64,
    /// Device number.
    pub minor: u64,
    /// `Read`, `Write`, `Sync`, `Async`, `Discard`, `Total`, `Count`, or empty.
    pub op: String,
    /// The count.
    pub value: u64,
}

/// Block devices.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(
    missing_docs,
    reason = "each is a file of the v1 controller, which counts for the cgroups below, too"
)]
pub struct Io {
    pub service_bytes: Vec<IoEntry>,
    pub serviced: Vec<IoEntry>,
    pub queued: Vec<IoEntry>,
    pub service_time: Vec<IoEntry>,
    pub wait_time: Vec<IoEntry>,
    pub merged: Vec<IoEntry>,
    pub time: Vec<IoEntry>,
    pub sectors: Vec<IoEntry>,
    pub psi: Option<Psi>,
}

/// Huge pages of one size, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hugetlb {
    /// Reserved, where the kernel counts that, or in use.
    pub usage: u64,
    /// The most there was; v1 only.
    pub max_usage: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// One RDMA device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rdma {
    /// Its name.
    pub device: String,
    /// Handles and objects in use.
    pub current: (u32, u32),
    /// Handles and objects allowed; `u32::MAX` when there is no limit.
    pub limit: (u32, u32),
}

/// One miscellaneous resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Misc {
    /// In use.
    pub usage: u64,
    /// How often the limit was hit.
    pub events: u64,
}

/// Pressure stall information (Documentation/accounting/psi.rst).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Psi {
    /// Some task waited.
    pub some: Pressure,
    /// All tasks waited.
    pub full: Pressure,
}

/// Shares of time in percent, and the total in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Pressure {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    pub total: u64,
}

impl Cgroup {
    /// Reads the container's statistics.
    ///
    /// # Errors
    /// A file that is there and cannot be read, or holds what the kernel does not document.
    pub fn stats(&self) -> Result<Stats> {
        match self.unified() {
            Some(member) if self.is_v2() => unified::read(&member.dir),
            second => legacy::read(self, second.map(|member| &member.dir)),
        }
    }
}
