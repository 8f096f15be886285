//! Limits: control groups and rlimits.

use bollard_stubs::models::{HostConfig, ThrottleDevice};
use nix::sys::stat::{major, minor, stat};
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

/// The period when only a quota is known, in microseconds.
const PERIOD: i64 = 100_000;

pub(super) fn all(host: &HostConfig) -> Result<Value> {
    let mut resources = update(host);
    let mut io = Map::new();
    if let Some(weight) = host.blkio_weight.filter(|weight| *weight != 0) {
        io.insert("weight".into(), json!(weight));
    }
    let weights = host.blkio_weight_device.iter().flatten();
    let weights = weights.map(|device| {
        let (major, minor) = numbers(device.path.as_deref())?;
        Ok(json!({"major": major, "minor": minor, "weight": device.weight}))
    });
    let weights: Vec<Value> = weights.collect::<Result<_>>()?;
    let lists = [
        ("weightDevice", weights),
        ("throttleReadBpsDevice", throttles(host.blkio_device_read_bps.as_deref())?),
        ("throttleWriteBpsDevice", throttles(host.blkio_device_write_bps.as_deref())?),
        ("throttleReadIOPSDevice", throttles(host.blkio_device_read_iops.as_deref())?),
        ("throttleWriteIOPSDevice", throttles(host.blkio_device_write_iops.as_deref())?),
    ];
    for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        io.insert(name.into(), json!(list));
    }
    if !io.is_empty() {
        resources["blockIO"] = Value::Object(io);
    }
    Ok(resources)
}

/// The limits that can also be changed while a container runs.
pub fn update(host: &HostConfig) -> Value {
    let mut memory = Map::new();
    let mut cpu = Map::new();
    let set = |map: &mut Map<String, Value>, name: &str, value: Option<i64>| {
        if let Some(value) = value.filter(|value| *value != 0) {
            map.insert(name.into(), json!(value));
        }
    };
    let limit = host.memory.filter(|limit| *limit > 0);
    set(&mut memory, "limit", limit);
    // As much swap as memory, when only the latter is said.
    let swap = host.memory_swap.filter(|swap| *swap != 0).or(limit.map(|limit| limit.saturating_mul(2)));
    set(&mut memory, "swap", swap);
    set(&mut memory, "reservation", host.memory_reservation);
    if let Some(value) = host.memory_swappiness.filter(|value| *value >= 0) {
        memory.insert("swappiness".into(), json!(value));
    }
    if host.oom_kill_disable == Some(true) {
        memory.insert("disableOOMKiller".into(), json!(true));
    }
    set(&mut cpu, "shares", host.cpu_shares);
    set(&mut cpu, "quota", host.cpu_quota);
    set(&mut cpu, "period", host.cpu_period);
    set(&mut cpu, "realtimePeriod", host.cpu_realtime_period);
    set(&mut cpu, "realtimeRuntime", host.cpu_realtime_runtime);
    if let Some(nanos) = host.nano_cpus.filter(|nanos| *nanos > 0) {
        cpu.insert("period".into(), json!(PERIOD));
        cpu.insert("quota".into(), json!(nanos / (1_000_000_000 / PERIOD)));
    }
    for (name, value) in [("cpus", &host.cpuset_cpus), ("mems", &host.cpuset_mems)] {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            cpu.insert(name.into(), json!(value));
        }
    }
    let mut resources = Map::new();
    if !memory.is_empty() {
        resources.insert("memory".into(), Value::Object(memory));
    }
    if !cpu.is_empty() {
        resources.insert("cpu".into(), Value::Object(cpu));
    }
    if let Some(limit) = host.pids_limit.filter(|limit| *limit > 0) {
        resources.insert("pids".into(), json!({"limit": limit}));
    }
    Value::Object(resources)
}

fn throttles(devices: Option<&[ThrottleDevice]>) -> Result<Vec<Value>> {
    let one = |device: &ThrottleDevice| {
        let (major, minor) = numbers(device.path.as_deref())?;
        Ok(json!({"major": major, "minor": minor, "rate": device.rate}))
    };
    devices.unwrap_or_default().iter().map(one).collect()
}

fn numbers(path: Option<&str>) -> Result<(u64, u64)> {
    let path = path.unwrap_or_default();
    let found = stat(path).map_err(|errno| Error::invalid(format!("device {path:?}: {errno}")))?;
    Ok((major(found.st_rdev), minor(found.st_rdev)))
}

pub(super) fn rlimits(host: &HostConfig) -> Result<Vec<Value>> {
    let one = |limit: &bollard_stubs::models::ResourcesUlimits| {
        let name = limit.name.clone().unwrap_or_default();
        let (soft, hard) = (limit.soft.unwrap_or(0), limit.hard.unwrap_or(0));
        let value = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
        if hard >= 0 && (soft < 0 || soft > hard) {
            return Err(Error::invalid(format!(
                "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
            )));
        }
        let name = format!("RLIMIT_{}", name.to_ascii_uppercase());
        Ok(json!({"type": name, "soft": value(soft), "hard": value(hard)}))
    };
    host.ulimits.iter().flatten().map(one).collect()
}
