//! Statistics of v1 (Documentation/admin-guide/cgroup-v1).

use super::super::dir::{Dir, absent};
use super::super::error::{Error, Result};
use super::super::{Cgroup, Member};
use super::parse::{blkio, huge_page_sizes, keyed_file, list, rdma};
use super::{Cpu, Cpuset, Hugetlb, Io, IoEntry, Memory, MemoryUse, Pids, Stats, unified};
use std::collections::BTreeMap;

/// The clock of `cpuacct.stat`: `USER_HZ` is 100 on every architecture that runs containers.
const NANOSECONDS_A_TICK: u64 = 1_000_000_000 / 100;

/// Reads what the v1 hierarchies count, and from a v2 one beside them what only that does.
pub(super) fn read(cgroup: &Cgroup, second: Option<&Dir>) -> Result<Stats> {
    let dir = |controller: &str| cgroup.legacy(controller).map(|member: &Member| &member.dir);
    let mut stats = match second {
        Some(dir) => unified::read(dir)?,
        None => Stats::default(),
    };
    if let Some(dir) = dir("cpu") {
        throttling(dir, &mut stats.cpu)?;
    }
    if let Some(dir) = dir("cpuacct") {
        usage(dir, &mut stats.cpu)?;
    }
    if let Some(dir) = dir("cpuset") {
        stats.cpuset = cpuset(dir)?;
    }
    if let Some(dir) = dir("memory") {
        stats.memory = Memory { psi: stats.memory.psi, ..memory(dir)? };
    }
    if let Some(dir) = dir("pids") {
        stats.pids = pids(dir)?;
    }
    if let Some(dir) = dir("blkio") {
        stats.io = Io { psi: stats.io.psi, ..io(dir)? };
    }
    if let Some(dir) = dir("hugetlb") {
        stats.hugetlb = hugetlb(dir)?;
    }
    if let Some(dir) = dir("rdma") {
        stats.rdma = rdma(dir)?;
    }
    Ok(stats)
}

fn throttling(dir: &Dir, cpu: &mut Cpu) -> Result<()> {
    let stat = keyed_file(dir, "cpu.stat")?;
    let get = |name: &str| stat.get(name).copied().unwrap_or(0);
    cpu.periods = get("nr_periods");
    cpu.throttled_periods = get("nr_throttled");
    cpu.throttled_time = get("throttled_time");
    cpu.burst_periods = get("nr_bursts");
    cpu.burst_time = get("burst_time");
    Ok(())
}

fn usage(dir: &Dir, cpu: &mut Cpu) -> Result<()> {
    let Some(total) = dir.optional_number("cpuacct.usage")? else { return Ok(()) };
    let ticks = keyed_file(dir, "cpuacct.stat")?;
    let time = |name: &str| ticks.get(name).copied().unwrap_or(0).saturating_mul(NANOSECONDS_A_TICK);
    cpu.total = total;
    cpu.user = time("user");
    cpu.kernel = time("system");
    let numbers = |name: &str, line: &str, words: &mut dyn Iterator<Item = &str>| -> Result<Vec<u64>> {
        words
            .map(|word| word.parse())
            .collect::<std::result::Result<_, _>>()
            .map_err(|_| Error::Content { path: dir.file(name), content: line.to_owned() })
    };
    let percpu = dir.optional("cpuacct.usage_percpu")?.unwrap_or_default();
    cpu.percpu = numbers("cpuacct.usage_percpu", &percpu, &mut percpu.split_whitespace())?;
    // A head line, then `CPU USER SYSTEM` for each processor.
    for line in dir.optional("cpuacct.usage_all")?.unwrap_or_default().lines().skip(1) {
        if let [_, user, system, ..] = numbers("cpuacct.usage_all", line, &mut line.split_whitespace())?[..] {
            cpu.percpu_user.push(user);
            cpu.percpu_kernel.push(system);
        }
    }
    Ok(())
}

fn cpuset(dir: &Dir) -> Result<Cpuset> {
    let number =
        |name: &str| -> Result<u64> { Ok(dir.optional_number(&format!("cpuset.{name}"))?.unwrap_or(0)) };
    let numbers = |name: &str| -> Result<Vec<u16>> {
        let file = format!("cpuset.{name}");
        let text = dir.optional(&file)?.unwrap_or_default();
        list(&text).ok_or_else(|| Error::Content { path: dir.file(&file), content: text })
    };
    let level = match dir.read_value("cpuset.sched_relax_domain_level") {
        Err(errno) if absent(Some(errno)) => 0,
        Err(errno) => return Err(dir.error("read", "cpuset.sched_relax_domain_level", errno)),
        Ok(text) => text.parse().unwrap_or(0),
    };
    Ok(Cpuset {
        cpus: numbers("cpus")?,
        mems: numbers("mems")?,
        cpu_exclusive: number("cpu_exclusive")?,
        mem_hardwall: number("mem_hardwall")?,
        mem_exclusive: number("mem_exclusive")?,
        memory_migrate: number("memory_migrate")?,
        memory_spread_page: number("memory_spread_page")?,
        memory_spread_slab: number("memory_spread_slab")?,
        memory_pressure: number("memory_pressure")?,
        sched_load_balance: number("sched_load_balance")?,
        sched_relax_domain_level: level,
    })
}

fn memory(dir: &Dir) -> Result<Memory> {
    let raw = keyed_file(dir, "memory.stat")?;
    let usage = memory_use(dir, "memory")?;
    let swap = memory_use(dir, "memory.memsw")?;
    Ok(Memory {
        cache: raw.get("cache").copied().unwrap_or(0),
        usage,
        swap,
        swap_only: MemoryUse {
            usage: swap.usage.saturating_sub(usage.usage),
            failcnt: swap.failcnt.saturating_sub(usage.failcnt),
            ..MemoryUse::default()
        },
        kernel: memory_use(dir, "memory.kmem")?,
        kernel_tcp: memory_use(dir, "memory.kmem.tcp")?,
        raw,
        events: keyed_file(dir, "memory.oom_control")?,
        psi: None,
    })
}

/// Swap and kernel memory are counted only where the kernel was built and started so.
fn memory_use(dir: &Dir, name: &str) -> Result<MemoryUse> {
    let Some(usage) = dir.optional_number(&format!("{name}.usage_in_bytes"))? else {
        return Ok(MemoryUse::default());
    };
    let number =
        |file: &str| -> Result<u64> { Ok(dir.optional_number(&format!("{name}.{file}"))?.unwrap_or(0)) };
    Ok(MemoryUse {
        usage,
        max_usage: number("max_usage_in_bytes")?,
        failcnt: number("failcnt")?,
        limit: number("limit_in_bytes")?,
    })
}

fn pids(dir: &Dir) -> Result<Pids> {
    let limit = dir.optional_number("pids.max")?.unwrap_or(u64::MAX);
    Ok(Pids {
        current: dir.optional_number("pids.current")?.unwrap_or(0),
        limit: if limit == u64::MAX { 0 } else { limit },
    })
}

/// Which files there are depends on the kernel's I/O schedulers: the first complete set counts.
fn io(dir: &Dir) -> Result<Io> {
    let read = |name: &str| -> Result<Option<Vec<IoEntry>>> {
        let Some(text) = dir.optional(name)? else { return Ok(None) };
        let entries = blkio(&text).ok_or_else(|| Error::Content { path: dir.file(name), content: text })?;
        // A scheduler that no disk has counts nothing.
        Ok(Some(entries).filter(|entries| !entries.is_empty()))
    };
    for prefix in ["blkio.bfq.", "blkio."] {
        let file = |name: &str| read(&format!("{prefix}{name}_recursive"));
        if let (Some(serviced), Some(service_bytes)) = (file("io_serviced")?, file("io_service_bytes")?) {
            return Ok(Io {
                serviced,
                service_bytes,
                queued: file("io_queued")?.unwrap_or_default(),
                service_time: file("io_service_time")?.unwrap_or_default(),
                wait_time: file("io_wait_time")?.unwrap_or_default(),
                merged: file("io_merged")?.unwrap_or_default(),
                time: file("time")?.unwrap_or_default(),
                sectors: file("sectors")?.unwrap_or_default(),
                psi: None,
            });
        }
    }
    for suffix in ["_recursive", ""] {
        let file = |name: &str| read(&format!("blkio.throttle.{name}{suffix}"));
        if let (Some(serviced), Some(service_bytes)) = (file("io_serviced")?, file("io_service_bytes")?) {
            return Ok(Io { serviced, service_bytes, ..Io::default() });
        }
    }
    Ok(Io::default())
}

fn hugetlb(dir: &Dir) -> Result<BTreeMap<String, Hugetlb>> {
    let mut sizes = BTreeMap::new();
    for size in huge_page_sizes() {
        for prefix in [format!("hugetlb.{size}.rsvd"), format!("hugetlb.{size}")] {
            let number = |name: &str| dir.optional_number(&format!("{prefix}.{name}"));
            if let Some(usage) = number("usage_in_bytes")? {
                let max_usage = number("max_usage_in_bytes")?.unwrap_or(0);
                let failcnt = number("failcnt")?.unwrap_or(0);
                sizes.insert(size, Hugetlb { usage, max_usage, failcnt });
                break;
            }
        }
    }
    Ok(sizes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_scheduler_that_no_disk_has_hides_no_io() {
        let folder = tempfile::tempdir().unwrap();
        for (scheduler, text) in [("bfq", "Total 0\n"), ("throttle", "8:0 Read 4096\nTotal 4096\n")] {
            for file in ["io_serviced_recursive", "io_service_bytes_recursive"] {
                fs::write(folder.path().join(format!("blkio.{scheduler}.{file}")), text).unwrap();
            }
        }
        let io = io(&Dir::new(folder.path().to_str().unwrap())).unwrap();
        assert_eq!(io.service_bytes.iter().map(|entry| entry.value).collect::<Vec<_>>(), [4096]);
    }
}
