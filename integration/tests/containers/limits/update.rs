//! `update`: read back from the cgroup's files.

use super::*;

#[test]
fn by_flags() {
    let mut c = Container::new();
    let pid = with(&mut c, &json!({ "memory": { "limit": 100_000_000 }, "pids": { "limit": 100 } }));
    if host::cgroup1(pid, "memory").is_none() && MEMORY.of(pid).is_none() {
        skip!("needs the memory controller");
    }
    c.call(&["update", "--memory", "209715200", &c.id]).ok();
    assert_eq!(MEMORY.of(pid).as_deref(), Some("209715200"));
    c.call(&["update", "--memory", "60M", &c.id]).ok();
    assert_eq!(MEMORY.of(pid).as_deref(), Some("62914560"));
    c.call(&["update", "--memory", "52428800", "--memory-reservation", "10485760", &c.id]).ok();
    assert_eq!(MEMORY.of(pid).as_deref(), Some("52428800"));
    assert_eq!(MEMORY_SOFT.of(pid).as_deref(), Some("10485760"));
    c.call(&["update", "--pids-limit", "33", &c.id]).ok();
    assert_eq!(PIDS.of(pid).as_deref(), Some("33"));
    c.call(&["update", "--cpuset-cpus", "0", "--cpuset-mems", "0", &c.id]).ok();
    assert_eq!(CPUS.of(pid).as_deref(), Some("0"));
    c.call(&["update", "--cpu-share", "300", "--cpu-period", "60000", "--cpu-quota", "30000", &c.id]).ok();
    assert_shares(&read!(SHARES, pid), ["300", "39", "12"]);
    assert_quota(&read!(QUOTA, pid), &read!(PERIOD, pid), "30000", "60000");
    // What was not named stays.
    assert_eq!(MEMORY.of(pid).as_deref(), Some("52428800"));
}

#[test]
fn of_burst_and_idle() {
    since!("update --cpu-burst", "runc 1.2", "crun -");
    let mut c = Container::new();
    let pid = with(&mut c, &json!({ "cpu": { "quota": 50_000, "period": 100_000 } }));
    assert_eq!(read!(BURST, pid), "0");
    c.call(&["update", "--cpu-burst", "20000", &c.id]).ok();
    assert_eq!(read!(BURST, pid), "20000");
    c.call(&["update", "--cpu-idle", "1", &c.id]).ok();
    assert_eq!(read!(IDLE, pid), "1");
}

#[test]
fn by_a_file_and_standard_input() {
    let mut c = Container::new();
    let pid = with(&mut c, &json!({ "pids": { "limit": 100 } }));
    let _ = read!(PIDS, pid);
    let file = c.text_path("resources.json");
    fs::write(&file, json!({ "pids": { "limit": 44 } }).to_string()).unwrap();
    c.call(&["update", "-r", &file, &c.id]).ok();
    assert_eq!(PIDS.of(pid).as_deref(), Some("44"));
    fs::write(&file, json!({ "pids": { "limit": 45 } }).to_string()).unwrap();
    let input = fs::File::open(&file).unwrap();
    c.call_with(&["update", "--resources", "-", &c.id], |command| {
        command.stdin(input);
    })
    .ok();
    assert_eq!(PIDS.of(pid).as_deref(), Some("45"));
}

#[test]
fn of_memory_and_swap() {
    let mut c = Container::new();
    let pid = with(&mut c, &json!({ "memory": { "limit": 33_554_432, "swap": 33_554_432 } }));
    let Some(directory) = host::cgroup1(pid, "memory") else { skip!("needs cgroup version 1") };
    let read = |name| fs::read_to_string(directory.join(name)).ok().map(|text| text.trim().to_owned());
    if read("memory.memsw.limit_in_bytes").is_none() {
        skip!("needs swap accounting");
    }
    // Both up, then both down: the kernel takes them in one order only.
    c.call(&["update", "--memory", "67108864", "--memory-swap", "67108864", &c.id]).ok();
    assert_eq!(read("memory.memsw.limit_in_bytes").as_deref(), Some("67108864"));
    c.call(&["update", "--memory", "41943040", "--memory-swap", "41943040", &c.id]).ok();
    assert_eq!(read("memory.limit_in_bytes").as_deref(), Some("41943040"));
    assert_eq!(read("memory.memsw.limit_in_bytes").as_deref(), Some("41943040"));
    c.call(&["update", "--memory-swap", "-1", &c.id]).ok();
    assert!(read("memory.memsw.limit_in_bytes").unwrap().parse::<u64>().unwrap() > 1 << 60);
}

#[test]
fn a_wrong_one_is_refused_and_changes_nothing() {
    let mut c = Container::new();
    let pid = with(&mut c, &json!({ "pids": { "limit": 100 } }));
    let _ = read!(PIDS, pid);
    let file = c.text_path("resources.json");
    fs::write(&file, "{ \"pids\": ").unwrap();
    assert!(!c.call(&["update", "--resources", &file, &c.id]).error().is_empty());
    assert!(!c.call(&["update", "--resources", "/no/such/file", &c.id]).error().is_empty());
    assert_ne!(c.call(&["update", "--memory", "plenty", &c.id]).code(), 0);
    assert_ne!(c.call(&["update", "--cpuset-cpus", "4000", &c.id]).code(), 0);
    assert_eq!(PIDS.of(pid).as_deref(), Some("100"));
    assert_eq!(c.status(), "running");
}

/// A group that was idle for a moment has the share of before again.
#[test]
fn a_refused_one_leaves_the_share_of_the_processors() {
    since!("update of cpu.idle", "runc 1.2", "crun -");
    let mut c = Container::new();
    let pid = with(&mut c, &json!({ "cpu": { "shares": 500 }, "pids": { "limit": 100 } }));
    let before = read!(SHARES, pid);
    let _ = read!(IDLE, pid);
    let file = c.text_path("resources.json");
    fs::write(&file, json!({ "cpu": { "idle": 1 }, "pids": { "limit": 1_000_000_000_000_i64 } }).to_string())
        .unwrap();
    assert!(c.call(&["update", "--resources", &file, &c.id]).error().contains("pids.limit"));
    assert_eq!((SHARES.of(pid), IDLE.of(pid)), (Some(before), Some("0".to_owned())));
}
