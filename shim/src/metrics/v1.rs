//! `io.containerd.cgroups.v1.Metrics`.

use runtime::cgroup::stats::{Memory, MemoryUse};

use super::{IoEntry, Stats};
use crate::proto::cgroups_v1::{
    BlkIOEntry, BlkIOStat, CPUStat, CPUUsage, HugetlbStat, MemoryEntry, MemoryOomControl, MemoryStat,
    Metrics, PidsStat, RdmaEntry, RdmaStat, Throttle,
};

/// Names of block devices by major and minor number.
type DiskNames = [((u64, u64), String)];

pub(super) fn metrics(stats: &Stats, disks: &DiskNames) -> Metrics {
    Metrics {
        hugetlb: hugetlb(stats),
        pids: Some(PidsStat { current: stats.pids.current, limit: stats.pids.limit }),
        cpu: Some(CPUStat {
            usage: Some(CPUUsage {
                total: stats.cpu.total,
                kernel: stats.cpu.kernel,
                user: stats.cpu.user,
                per_cpu: stats.cpu.percpu.clone(),
            }),
            throttling: Some(Throttle {
                periods: stats.cpu.periods,
                throttled_periods: stats.cpu.throttled_periods,
                throttled_time: stats.cpu.throttled_time,
            }),
        }),
        memory: Some(memory(&stats.memory)),
        blkio: Some(blkio(stats, disks)),
        rdma: Some(rdma(stats)),
        network: Vec::new(),
        cgroup_stats: None,
        memory_oom_control: Some(MemoryOomControl {
            oom_kill_disable: event(&stats.memory, "oom_kill_disable"),
            under_oom: event(&stats.memory, "under_oom"),
            oom_kill: event(&stats.memory, "oom_kill"),
        }),
    }
}

fn event(memory: &Memory, name: &str) -> u64 {
    memory.events.get(name).copied().unwrap_or(0)
}

fn hugetlb(stats: &Stats) -> Vec<HugetlbStat> {
    let entry = |(size, pages): (&String, &runtime::cgroup::stats::Hugetlb)| HugetlbStat {
        usage: pages.usage,
        max: pages.max_usage,
        failcnt: pages.failcnt,
        pagesize: size.clone(),
    };
    stats.hugetlb.iter().map(entry).collect()
}

fn memory(memory: &Memory) -> MemoryStat {
    let raw = |name: &str| memory.raw.get(name).copied().unwrap_or(0);
    MemoryStat {
        cache: raw("cache"),
        rss: raw("rss"),
        rss_huge: raw("rss_huge"),
        mapped_file: raw("mapped_file"),
        dirty: raw("dirty"),
        writeback: raw("writeback"),
        pg_pg_in: raw("pgpgin"),
        pg_pg_out: raw("pgpgout"),
        pg_fault: raw("pgfault"),
        pg_maj_fault: raw("pgmajfault"),
        inactive_anon: raw("inactive_anon"),
        active_anon: raw("active_anon"),
        inactive_file: raw("inactive_file"),
        active_file: raw("active_file"),
        unevictable: raw("unevictable"),
        hierarchical_memory_limit: raw("hierarchical_memory_limit"),
        hierarchical_swap_limit: raw("hierarchical_memsw_limit"),
        total_cache: raw("total_cache"),
        total_rss: raw("total_rss"),
        total_rss_huge: raw("total_rss_huge"),
        total_mapped_file: raw("total_mapped_file"),
        total_dirty: raw("total_dirty"),
        total_writeback: raw("total_writeback"),
        total_pg_pg_in: raw("total_pgpgin"),
        total_pg_pg_out: raw("total_pgpgout"),
        total_pg_fault: raw("total_pgfault"),
        total_pg_maj_fault: raw("total_pgmajfault"),
        total_inactive_anon: raw("total_inactive_anon"),
        total_active_anon: raw("total_active_anon"),
        total_inactive_file: raw("total_inactive_file"),
        total_active_file: raw("total_active_file"),
        total_unevictable: raw("total_unevictable"),
        usage: Some(entry(&memory.usage)),
        swap: Some(entry(&memory.swap)),
        kernel: Some(entry(&memory.kernel)),
        kernel_tcp: Some(entry(&memory.kernel_tcp)),
    }
}

fn entry(kind: &MemoryUse) -> MemoryEntry {
    MemoryEntry { limit: kind.limit, usage: kind.usage, max: kind.max_usage, failcnt: kind.failcnt }
}

fn blkio(stats: &Stats, disks: &DiskNames) -> BlkIOStat {
    let list = |entries: &[IoEntry]| entries.iter().map(|entry| io_entry(entry, disks)).collect();
    BlkIOStat {
        io_service_bytes_recursive: list(&stats.io.service_bytes),
        io_serviced_recursive: list(&stats.io.serviced),
        io_queued_recursive: list(&stats.io.queued),
        io_service_time_recursive: list(&stats.io.service_time),
        io_wait_time_recursive: list(&stats.io.wait_time),
        io_merged_recursive: list(&stats.io.merged),
        io_time_recursive: list(&stats.io.time),
        sectors_recursive: list(&stats.io.sectors),
    }
}

fn io_entry(entry: &IoEntry, disks: &DiskNames) -> BlkIOEntry {
    let (major, minor) = (entry.major, entry.minor);
    let device = disks.iter().find(|(number, _)| *number == (major, minor));
    BlkIOEntry {
        op: entry.op.clone(),
        device: device.map(|(_, name)| name.clone()).unwrap_or_default(),
        major,
        minor,
        value: entry.value,
    }
}

fn rdma(stats: &Stats) -> RdmaStat {
    let entry = |device: &str, (hca_handles, hca_objects): (u32, u32)| RdmaEntry {
        device: device.to_owned(),
        hca_handles,
        hca_objects,
    };
    RdmaStat {
        current: stats.rdma.iter().map(|rdma| entry(&rdma.device, rdma.current)).collect(),
        limit: stats.rdma.iter().map(|rdma| entry(&rdma.device, rdma.limit)).collect(),
    }
}
