//! From statistics to messages, without a cgroup.

use runtime::cgroup::stats::{Cpu, Io, Memory, MemoryUse, Pids, Psi};

use super::*;

fn entry(op: &str, value: u64) -> IoEntry {
    IoEntry { major: 8, minor: 16, op: op.into(), value }
}

fn stats() -> Stats {
    Stats {
        cpu: Cpu { total: 5_000_000, user: 3_000_999, psi: Some(Psi::default()), ..Cpu::default() },
        memory: Memory {
            usage: MemoryUse { usage: 10, max_usage: 20, failcnt: 1, limit: u64::MAX },
            raw: [("anon".to_owned(), 7), ("rss".to_owned(), 8)].into(),
            events: [("oom_kill".to_owned(), 2)].into(),
            ..Memory::default()
        },
        pids: Pids { current: 3, limit: 0 },
        io: Io {
            service_bytes: vec![entry("Read", 1), entry("Write", 2), entry("Discard", 9)],
            serviced: vec![entry("Write", 4)],
            ..Io::default()
        },
        ..Stats::default()
    }
}

#[test]
fn v2_has_microseconds_and_one_entry_for_a_device() {
    let metrics = v2::metrics(&stats());
    let cpu = metrics.cpu.unwrap();
    assert_eq!((cpu.usage_usec, cpu.user_usec, cpu.psi.is_some()), (5000, 3000, true));
    let memory = metrics.memory.unwrap();
    assert_eq!((memory.anon, memory.usage, memory.usage_limit, memory.max_usage), (7, 10, u64::MAX, 20));
    assert_eq!(metrics.pids.unwrap().limit, u64::MAX);
    let io = metrics.io.unwrap();
    assert_eq!(io.usage.len(), 1);
    assert_eq!((io.usage[0].rbytes, io.usage[0].wbytes, io.usage[0].rios, io.usage[0].wios), (1, 2, 0, 4));
    assert_eq!(metrics.memory_events.unwrap().oom_kill, 2);
}

#[test]
fn v1_has_nanoseconds_and_the_names_of_devices() {
    let metrics = v1::metrics(&stats(), &[((8, 16), "/dev/sdb".to_owned())]);
    assert_eq!(metrics.cpu.unwrap().usage.unwrap().user, 3_000_999);
    let memory = metrics.memory.unwrap();
    assert_eq!((memory.rss, memory.usage.unwrap().failcnt), (8, 1));
    assert_eq!(metrics.pids.unwrap().limit, 0);
    let bytes = metrics.blkio.unwrap().io_service_bytes_recursive;
    assert_eq!((bytes.len(), bytes[0].device.as_str(), bytes[1].op.as_str()), (3, "/dev/sdb", "Write"));
    assert_eq!(metrics.memory_oom_control.unwrap().oom_kill, 2);
}
