//! Events as lines of JSON, in the shape of runc's `events` (runc `types/events.go`): engines parse it.

use super::{IoEntry, MemoryUse, Psi, Stats};
use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use std::collections::BTreeMap;

/// The line for statistics, without its end.
///
/// # Errors
/// None that a caller could cause: the structure has no cycles and its keys are strings.
pub fn stats_line(id: &str, stats: &Stats) -> serde_json::Result<String> {
    serde_json::to_string(&Event { kind: "stats", id, data: Some(StatsData::from(stats)) })
}

/// The line for an out-of-memory kill, without its end.
///
/// # Errors
/// As [`stats_line`].
pub fn oom_line(id: &str) -> serde_json::Result<String> {
    serde_json::to_string(&Event { kind: "oom", id, data: None })
}

#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<StatsData<'a>>,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[derive(Serialize)]
struct StatsData<'a> {
    cpu: Cpu<'a>,
    cpuset: Cpuset<'a>,
    memory: Memory<'a>,
    pids: Pids,
    blkio: Blkio<'a>,
    hugetlb: BTreeMap<&'a str, Hugetlb>,
    intel_rdt: Empty,
    network_interfaces: Option<()>,
}

/// `{}`.
#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
struct Cpu<'a> {
    #[serde(skip_serializing_if = "is_default")]
    usage: Usage<'a>,
    #[serde(skip_serializing_if = "is_default")]
    throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<PsiJson>,
}

#[derive(Serialize, PartialEq, Default)]
struct Usage<'a> {
    #[serde(skip_serializing_if = "is_zero")]
    total: u64,
    #[serde(skip_serializing_if = "<[u64]>::is_empty")]
    percpu: &'a [u64],
    #[serde(skip_serializing_if = "<[u64]>::is_empty")]
    percpu_kernel: &'a [u64],
    #[serde(skip_serializing_if = "<[u64]>::is_empty")]
    percpu_user: &'a [u64],
    kernel: u64,
    user: u64,
}

#[derive(Serialize, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
struct Throttling {
    #[serde(skip_serializing_if = "is_zero")]
    periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    throttled_periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    throttled_time: u64,
}

#[derive(Serialize)]
struct Cpuset<'a> {
    #[serde(skip_serializing_if = "<[u16]>::is_empty")]
    cpus: &'a [u16],
    cpu_exclusive: u64,
    #[serde(skip_serializing_if = "<[u16]>::is_empty")]
    mems: &'a [u16],
    mem_hardwall: u64,
    mem_exclusive: u64,
    memory_migrate: u64,
    memory_spread_page: u64,
    memory_spread_slab: u64,
    memory_pressure: u64,
    sched_load_balance: u64,
    sched_relax_domain_level: i64,
}

#[derive(Serialize)]
struct Memory<'a> {
    #[serde(skip_serializing_if = "is_zero")]
    cache: u64,
    #[serde(skip_serializing_if = "is_default")]
    usage: MemoryEntry,
    #[serde(skip_serializing_if = "is_default")]
    swap: MemoryEntry,
    #[serde(skip_serializing_if = "is_default")]
    kernel: MemoryEntry,
    #[serde(rename = "kernelTCP", skip_serializing_if = "is_default")]
    kernel_tcp: MemoryEntry,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    raw: &'a BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<PsiJson>,
}

#[derive(Serialize, PartialEq, Default)]
struct MemoryEntry {
    limit: u64,
    #[serde(skip_serializing_if = "is_zero")]
    usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    max: u64,
    failcnt: u64,
}

#[derive(Serialize)]
struct Pids {
    #[serde(skip_serializing_if = "is_zero")]
    current: u64,
    #[serde(skip_serializing_if = "is_zero")]
    limit: u64,
}

#[derive(Serialize)]
struct Hugetlb {
    #[serde(skip_serializing_if = "is_zero")]
    usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    max: u64,
    failcnt: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Blkio<'a> {
    #[serde(skip_serializing_if = "Entries::is_empty")]
    io_service_bytes_recursive: Entries<'a>,
    #[serde(skip_serializing_if = "Entries::is_empty")]
    io_serviced_recursive: Entries<'a>,
    #[serde(skip_serializing_if = "Entries::is_empty")]
    io_queue_recursive: Entries<'a>,
    #[serde(skip_serializing_if = "Entries::is_empty")]
    io_service_time_recursive: Entries<'a>,
    #[serde(skip_serializing_if = "Entries::is_empty")]
    io_wait_time_recursive: Entries<'a>,
    #[serde(skip_serializing_if = "Entries::is_empty")]
    io_merged_recursive: Entries<'a>,
    #[serde(skip_serializing_if = "Entries::is_empty")]
    io_time_recursive: Entries<'a>,
    #[serde(skip_serializing_if = "Entries::is_empty")]
    sectors_recursive: Entries<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<PsiJson>,
}

struct Entries<'a>(&'a [IoEntry]);

impl Entries<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(Some(self.0.len()))?;
        for entry in self.0 {
            sequence.serialize_element(&Entry {
                major: entry.major,
                minor: entry.minor,
                op: &entry.op,
                value: entry.value,
            })?;
        }
        sequence.end()
    }
}

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(skip_serializing_if = "is_zero")]
    major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    minor: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    op: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    value: u64,
}

struct PsiJson(Psi);

impl Serialize for PsiJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, pressure) in [("some", self.0.some), ("full", self.0.full)] {
            if !is_default(&pressure) {
                map.serialize_entry(
                    name,
                    &PressureJson {
                        avg10: Number(pressure.avg10),
                        avg60: Number(pressure.avg60),
                        avg300: Number(pressure.avg300),
                        total: pressure.total,
                    },
                )?;
            }
        }
        map.end()
    }
}

#[derive(Serialize)]
struct PressureJson {
    avg10: Number,
    avg60: Number,
    avg300: Number,
    total: u64,
}

/// Go writes a whole number without fraction.
struct Number(f64);

impl Serialize for Number {
    #[allow(clippy::cast_possible_truncation, reason = "a whole percentage")]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 && self.0.abs() < 1e15 {
            serializer.serialize_i64(self.0 as i64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

impl From<MemoryUse> for MemoryEntry {
    fn from(memory: MemoryUse) -> Self {
        Self { limit: memory.limit, usage: memory.usage, max: memory.max_usage, failcnt: memory.failcnt }
    }
}

impl<'a> From<&'a super::Cpu> for Cpu<'a> {
    fn from(cpu: &'a super::Cpu) -> Self {
        Self {
            usage: Usage {
                total: cpu.total,
                percpu: &cpu.percpu,
                percpu_kernel: &cpu.percpu_kernel,
                percpu_user: &cpu.percpu_user,
                kernel: cpu.kernel,
                user: cpu.user,
            },
            throttling: Throttling {
                periods: cpu.periods,
                throttled_periods: cpu.throttled_periods,
                throttled_time: cpu.throttled_time,
            },
            psi: cpu.psi.map(PsiJson),
        }
    }
}

impl<'a> From<&'a super::Cpuset> for Cpuset<'a> {
    fn from(set: &'a super::Cpuset) -> Self {
        Self {
            cpus: &set.cpus,
            cpu_exclusive: set.cpu_exclusive,
            mems: &set.mems,
            mem_hardwall: set.mem_hardwall,
            mem_exclusive: set.mem_exclusive,
            memory_migrate: set.memory_migrate,
            memory_spread_page: set.memory_spread_page,
            memory_spread_slab: set.memory_spread_slab,
            memory_pressure: set.memory_pressure,
            sched_load_balance: set.sched_load_balance,
            sched_relax_domain_level: set.sched_relax_domain_level,
        }
    }
}

impl<'a> From<&'a super::Memory> for Memory<'a> {
    fn from(memory: &'a super::Memory) -> Self {
        Self {
            cache: memory.cache,
            usage: memory.usage.into(),
            swap: memory.swap.into(),
            kernel: memory.kernel.into(),
            kernel_tcp: memory.kernel_tcp.into(),
            raw: &memory.raw,
            psi: memory.psi.map(PsiJson),
        }
    }
}

impl<'a> From<&'a super::Io> for Blkio<'a> {
    fn from(io: &'a super::Io) -> Self {
        Self {
            io_service_bytes_recursive: Entries(&io.service_bytes),
            io_serviced_recursive: Entries(&io.serviced),
            io_queue_recursive: Entries(&io.queued),
            io_service_time_recursive: Entries(&io.service_time),
            io_wait_time_recursive: Entries(&io.wait_time),
            io_merged_recursive: Entries(&io.merged),
            io_time_recursive: Entries(&io.time),
            sectors_recursive: Entries(&io.sectors),
            psi: io.psi.map(PsiJson),
        }
    }
}

impl From<&super::Hugetlb> for Hugetlb {
    fn from(pages: &super::Hugetlb) -> Self {
        Self { usage: pages.usage, max: pages.max_usage, failcnt: pages.failcnt }
    }
}

impl<'a> From<&'a Stats> for StatsData<'a> {
    fn from(stats: &'a Stats) -> Self {
        Self {
            cpu: (&stats.cpu).into(),
            cpuset: (&stats.cpuset).into(),
            memory: (&stats.memory).into(),
            pids: Pids { current: stats.pids.current, limit: stats.pids.limit },
            blkio: (&stats.io).into(),
            hugetlb: stats.hugetlb.iter().map(|(size, pages)| (size.as_str(), pages.into())).collect(),
            intel_rdt: Empty {},
            network_interfaces: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Pressure;
    use super::*;

    /// Byte for byte what runc 1.5.2's types print for the same numbers.
    #[test]
    fn the_shape_is_runc_s() {
        let mut stats = Stats::default();
        assert_eq!(
            stats_line("x", &stats).unwrap(),
            concat!(
                r#"{"type":"stats","id":"x","data":{"cpu":{},"cpuset":{"cpu_exclusive":0,"mem_hardwall":0,"#,
                r#""mem_exclusive":0,"memory_migrate":0,"memory_spread_page":0,"memory_spread_slab":0,"#,
                r#""memory_pressure":0,"sched_load_balance":0,"sched_relax_domain_level":0},"memory":{},"#,
                r#""pids":{},"blkio":{},"hugetlb":{},"intel_rdt":{},"network_interfaces":null}}"#
            )
        );
        stats.cpu.total = 5;
        stats.cpu.user = 3;
        stats.cpu.periods = 2;
        let some = Pressure { avg10: 1.5, total: 9, ..Pressure::default() };
        stats.cpu.psi = Some(Psi { some, ..Psi::default() });
        stats.memory.usage = MemoryUse { usage: 7, limit: u64::MAX, ..MemoryUse::default() };
        stats.memory.raw.insert("anon".into(), 1);
        stats.pids.current = 1;
        stats.io.serviced.push(IoEntry { major: 8, minor: 0, op: "Read".into(), value: 4 });
        stats.hugetlb.insert("2MB".into(), super::super::Hugetlb { usage: 1, max_usage: 0, failcnt: 0 });
        let line = stats_line("x", &stats).unwrap();
        for part in [
            r#""cpu":{"usage":{"total":5,"kernel":0,"user":3},"throttling":{"periods":2},"psi":{"some":{"avg10":1.5,"avg60":0,"avg300":0,"total":9}}}"#,
            r#""memory":{"usage":{"limit":18446744073709551615,"usage":7,"failcnt":0},"raw":{"anon":1}}"#,
            r#""pids":{"current":1},"blkio":{"ioServicedRecursive":[{"major":8,"op":"Read","value":4}]}"#,
            r#""hugetlb":{"2MB":{"usage":1,"failcnt":0}}"#,
        ] {
            assert!(line.contains(part), "{part} not in {line}");
        }
        assert_eq!(oom_line("x").unwrap(), r#"{"type":"oom","id":"x"}"#);
    }
}
