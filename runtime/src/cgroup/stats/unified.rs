//! Statistics of v2 (Documentation/admin-guide/cgroup-v2.rst).

use super::super::dir::Dir;
use super::super::error::{Error, Result};
use super::super::tree::processes;
use super::parse::{huge_page_sizes, keyed_file, psi, rdma};
use super::{Cpu, Hugetlb, Io, IoEntry, Memory, MemoryUse, Misc, Pids, Stats};
use std::collections::BTreeMap;

pub(super) fn read(dir: &Dir) -> Result<Stats> {
    Ok(Stats {
        cpu: cpu(dir)?,
        memory: memory(dir)?,
        pids: pids(dir)?,
        io: io(dir)?,
        hugetlb: hugetlb(dir)?,
        rdma: rdma(dir)?,
        misc: misc(dir)?,
        ..Stats::default()
    })
}

fn cpu(dir: &Dir) -> Result<Cpu> {
    let stat = keyed_file(dir, "cpu.stat")?;
    let get = |name: &str| stat.get(name).copied().unwrap_or(0);
    let nanoseconds = |name: &str| get(name).saturating_mul(1000);
    Ok(Cpu {
        total: nanoseconds("usage_usec"),
        user: nanoseconds("user_usec"),
        kernel: nanoseconds("system_usec"),
        periods: get("nr_periods"),
        throttled_periods: get("nr_throttled"),
        throttled_time: nanoseconds("throttled_usec"),
        burst_periods: get("nr_bursts"),
        burst_time: nanoseconds("burst_usec"),
        psi: psi(dir, "cpu.pressure")?,
        ..Cpu::default()
    })
}

fn memory(dir: &Dir) -> Result<Memory> {
    let raw = keyed_file(dir, "memory.stat")?;
    let usage = memory_use(dir, "memory")?;
    let swap_only = memory_use(dir, "memory.swap")?;
    // As v1 counts it: memory and swap together. Their peaks were not at the same time, so there is none of the sum.
    let swap = MemoryUse {
        usage: usage.usage.saturating_add(swap_only.usage),
        limit: usage.limit.saturating_add(swap_only.limit),
        ..MemoryUse::default()
    };
    Ok(Memory {
        cache: raw.get("file").copied().unwrap_or(0),
        usage,
        swap,
        swap_only,
        raw,
        events: keyed_file(dir, "memory.events")?,
        psi: psi(dir, "memory.pressure")?,
        ..Memory::default()
    })
}

fn memory_use(dir: &Dir, name: &str) -> Result<MemoryUse> {
    let Some(usage) = dir.optional_number(&format!("{name}.current"))? else {
        return Ok(MemoryUse::default());
    };
    Ok(MemoryUse {
        usage,
        limit: dir.optional_number(&format!("{name}.max"))?.unwrap_or(u64::MAX),
        // memory.peak since Linux 5.19, memory.swap.peak since 6.5.
        max_usage: dir.optional_number(&format!("{name}.peak"))?.unwrap_or(0),
        failcnt: 0,
    })
}

fn pids(dir: &Dir) -> Result<Pids> {
    match dir.optional_number("pids.current")? {
        Some(current) => {
            let limit = dir.optional_number("pids.max")?.unwrap_or(u64::MAX);
            Ok(Pids { current, limit: if limit == u64::MAX { 0 } else { limit } })
        }
        // Without the controller, at least the processes can be counted.
        None => {
            let pids = processes(dir).map_err(|errno| dir.error("read", "cgroup.procs", errno))?;
            Ok(Pids { current: pids.len() as u64, limit: 0 })
        }
    }
}

fn io(dir: &Dir) -> Result<Io> {
    let mut io = Io { psi: psi(dir, "io.pressure")?, ..Io::default() };
    let text = dir.optional("io.stat")?.unwrap_or_default();
    for line in text.lines() {
        io_line(&mut io, line)
            .ok_or_else(|| Error::Content { path: dir.file("io.stat"), content: line.to_owned() })?;
    }
    Ok(io)
}

/// `MAJOR:MINOR rbytes=N wbytes=N rios=N wios=N dbytes=N dios=N …`, under v1's names.
fn io_line(io: &mut Io, line: &str) -> Option<()> {
    let mut words = line.split_whitespace();
    let Some((major, minor)) = words.next().and_then(|device| device.split_once(':')) else {
        return Some(());
    };
    let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
    for (name, value) in words.filter_map(|word| word.split_once('=')) {
        let (op, list) = match name {
            "rbytes" => ("Read", &mut io.service_bytes),
            "wbytes" => ("Write", &mut io.service_bytes),
            "dbytes" => ("Discard", &mut io.service_bytes),
            "rios" => ("Read", &mut io.serviced),
            "wios" => ("Write", &mut io.serviced),
            "dios" => ("Discard", &mut io.serviced),
            _ => continue,
        };
        list.push(IoEntry { major, minor, op: op.to_owned(), value: value.parse().ok()? });
    }
    Some(())
}

fn hugetlb(dir: &Dir) -> Result<BTreeMap<String, Hugetlb>> {
    let mut sizes = BTreeMap::new();
    for size in huge_page_sizes() {
        let reserved = dir.optional_number(&format!("hugetlb.{size}.rsvd.current"))?;
        let usage = match reserved {
            Some(usage) => Some(usage),
            None => dir.optional_number(&format!("hugetlb.{size}.current"))?,
        };
        let Some(usage) = usage else { continue };
        let events = keyed_file(dir, &format!("hugetlb.{size}.events"))?;
        let failcnt = events.get("max").copied().unwrap_or(0);
        sizes.insert(size, Hugetlb { usage, failcnt, max_usage: 0 });
    }
    Ok(sizes)
}

fn misc(dir: &Dir) -> Result<BTreeMap<String, Misc>> {
    let events = keyed_file(dir, "misc.events")?;
    let current = keyed_file(dir, "misc.current")?;
    Ok(current
        .into_iter()
        .map(|(name, usage)| {
            let events = events.get(&format!("{name}.max")).copied().unwrap_or(0);
            (name, Misc { usage, events })
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_lines_under_the_names_of_v1() {
        let mut io = Io::default();
        io_line(&mut io, "8:16 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=3 dios=4 cost.usage=5").unwrap();
        io_line(&mut io, "8:0 ").unwrap();
        let short = |entries: &[IoEntry]| -> Vec<(u64, String, u64)> {
            entries.iter().map(|entry| (entry.minor, entry.op.clone(), entry.value)).collect()
        };
        assert_eq!(
            short(&io.service_bytes),
            [(16, "Read".into(), 10), (16, "Write".into(), 20), (16, "Discard".into(), 3)]
        );
        assert_eq!(
            short(&io.serviced),
            [(16, "Read".into(), 1), (16, "Write".into(), 2), (16, "Discard".into(), 4)]
        );
        assert!(io_line(&mut io, "8:16 rbytes=x").is_none());
    }
}
