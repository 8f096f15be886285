//! `io.containerd.cgroups.v2.Metrics`.

use std::collections::BTreeMap;

use runtime::cgroup::stats::{Hugetlb, Memory, Pressure, Psi};

use super::{IoEntry, Stats};
use crate::proto::cgroups_v2::{
    CPUStat, HugeTlbStat, IOEntry, IOStat, MemoryEvents, MemoryStat, Metrics, PSIData, PSIStats, PidsStat,
    RdmaEntry, RdmaStat,
};

pub(super) fn metrics(stats: &Stats) -> Metrics {
    let microseconds = |nanoseconds: u64| nanoseconds / 1000;
    Metrics {
        pids: Some(PidsStat {
            current: stats.pids.current,
            // Here, no limit is the largest number.
            limit: if stats.pids.limit == 0 { u64::MAX } else { stats.pids.limit },
        }),
        cpu: Some(CPUStat {
            usage_usec: microseconds(stats.cpu.total),
            user_usec: microseconds(stats.cpu.user),
            system_usec: microseconds(stats.cpu.kernel),
            nr_periods: stats.cpu.periods,
            nr_throttled: stats.cpu.throttled_periods,
            throttled_usec: microseconds(stats.cpu.throttled_time),
            psi: psi(stats.cpu.psi),
            nr_bursts: stats.cpu.burst_periods,
            burst_usec: microseconds(stats.cpu.burst_time),
        }),
        memory: Some(memory(&stats.memory)),
        rdma: Some(rdma(stats)),
        io: Some(IOStat { usage: io(&stats.io.service_bytes, &stats.io.serviced), psi: psi(stats.io.psi) }),
        hugetlb: stats.hugetlb.iter().map(hugetlb).collect(),
        memory_events: Some(events(&stats.memory)),
        network: Vec::new(),
    }
}

fn psi(of: Option<Psi>) -> Option<PSIStats> {
    let data =
        |of: Pressure| PSIData { avg10: of.avg10, avg60: of.avg60, avg300: of.avg300, total: of.total };
    of.map(|psi| PSIStats { some: Some(data(psi.some)), full: Some(data(psi.full)) })
}

fn hugetlb((size, pages): (&String, &Hugetlb)) -> HugeTlbStat {
    HugeTlbStat { current: pages.usage, max: pages.max_usage, pagesize: size.clone(), failcnt: pages.failcnt }
}

fn events(memory: &Memory) -> MemoryEvents {
    let count = |name: &str| memory.events.get(name).copied().unwrap_or(0);
    MemoryEvents {
        low: count("low"),
        high: count("high"),
        max: count("max"),
        oom: count("oom"),
        oom_kill: count("oom_kill"),
        oom_group_kill: count("oom_group_kill"),
    }
}

fn memory(memory: &Memory) -> MemoryStat {
    let raw = |name: &str| memory.raw.get(name).copied().unwrap_or(0);
    MemoryStat {
        anon: raw("anon"),
        file: raw("file"),
        kernel_stack: raw("kernel_stack"),
        slab: raw("slab"),
        sock: raw("sock"),
        shmem: raw("shmem"),
        file_mapped: raw("file_mapped"),
        file_dirty: raw("file_dirty"),
        file_writeback: raw("file_writeback"),
        anon_thp: raw("anon_thp"),
        inactive_anon: raw("inactive_anon"),
        active_anon: raw("active_anon"),
        inactive_file: raw("inactive_file"),
        active_file: raw("active_file"),
        unevictable: raw("unevictable"),
        slab_reclaimable: raw("slab_reclaimable"),
        slab_unreclaimable: raw("slab_unreclaimable"),
        pgfault: raw("pgfault"),
        pgmajfault: raw("pgmajfault"),
        workingset_refault: raw("workingset_refault"),
        workingset_activate: raw("workingset_activate"),
        workingset_nodereclaim: raw("workingset_nodereclaim"),
        pgrefill: raw("pgrefill"),
        pgscan: raw("pgscan"),
        pgsteal: raw("pgsteal"),
        pgactivate: raw("pgactivate"),
        pgdeactivate: raw("pgdeactivate"),
        pglazyfree: raw("pglazyfree"),
        pglazyfreed: raw("pglazyfreed"),
        thp_fault_alloc: raw("thp_fault_alloc"),
        thp_collapse_alloc: raw("thp_collapse_alloc"),
        usage: memory.usage.usage,
        usage_limit: memory.usage.limit,
        swap_usage: memory.swap_only.usage,
        swap_limit: memory.swap_only.limit,
        max_usage: memory.usage.max_usage,
        swap_max_usage: memory.swap_only.max_usage,
        psi: psi(memory.psi),
    }
}

/// One entry for each device, of what the library lists under the names of v1.
fn io(bytes: &[IoEntry], operations: &[IoEntry]) -> Vec<IOEntry> {
    let mut devices = BTreeMap::<(u64, u64), IOEntry>::new();
    let all = bytes.iter().map(|entry| (entry, true)).chain(operations.iter().map(|entry| (entry, false)));
    for (entry, is_bytes) in all {
        let (major, minor) = (entry.major, entry.minor);
        let device =
            devices.entry((major, minor)).or_insert_with(|| IOEntry { major, minor, ..IOEntry::default() });
        match (entry.op.as_str(), is_bytes) {
            ("Read", true) => device.rbytes = entry.value,
            ("Write", true) => device.wbytes = entry.value,
            ("Read", false) => device.rios = entry.value,
            ("Write", false) => device.wios = entry.value,
            _ => {}
        }
    }
    devices.into_values().collect()
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
