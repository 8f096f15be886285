//! Limits: control groups and rlimits.

use bollard_stubs::models::{HostConfig, ThrottleDevice};
use nix::sys::stat::{major, minor, stat};
use serde_json::{Value, json};

use crate::error::{Result, bail, error};

/// The period when only a quota is known, in microseconds.
const PERIOD: i64 = 100_000;

pub(super) fn all(host: &HostConfig) -> Result<Value> {
    let weights = host.blkio_weight_device.iter().flatten().map(|device| {
        let (major, minor) = numbers(device.path.as_deref())?;
        Ok(json!({"major": major, "minor": minor, "weight": device.weight}))
    });
    let mut resources = update(host);
    resources["blockIO"] = json!({
        "weight": host.blkio_weight.filter(|weight| *weight != 0),
        "weightDevice": weights.collect::<Result<Vec<_>>>()?,
        "throttleReadBpsDevice": throttles(host.blkio_device_read_bps.as_deref())?,
        "throttleWriteBpsDevice": throttles(host.blkio_device_write_bps.as_deref())?,
        "throttleReadIOPSDevice": throttles(host.blkio_device_read_iops.as_deref())?,
        "throttleWriteIOPSDevice": throttles(host.blkio_device_write_iops.as_deref())?,
    });
    Ok(said(resources))
}

/// The limits that can also be changed while a container runs.
pub fn update(host: &HostConfig) -> Value {
    // Zero means that nothing is said.
    let some = |value: Option<i64>| value.filter(|value| *value != 0);
    let limit = host.memory.filter(|limit| *limit > 0);
    let nanos = host.nano_cpus.filter(|nanos| *nanos > 0);
    said(json!({
        "memory": {
            "limit": limit,
            // As much swap as memory, when only the latter is said.
            "swap": some(host.memory_swap).or(limit.map(|limit| limit.saturating_mul(2))),
            "reservation": some(host.memory_reservation),
            "swappiness": host.memory_swappiness.filter(|value| *value >= 0),
            "disableOOMKiller": host.oom_kill_disable.filter(|disable| *disable),
        },
        "cpu": {
            "shares": some(host.cpu_shares),
            "quota": nanos.map(|nanos| nanos / (1_000_000_000 / PERIOD)).or(some(host.cpu_quota)),
            "period": nanos.map(|_| PERIOD).or(some(host.cpu_period)),
            "realtimePeriod": some(host.cpu_realtime_period),
            "realtimeRuntime": some(host.cpu_realtime_runtime),
            "cpus": host.cpuset_cpus,
            "mems": host.cpuset_mems,
        },
        "pids": {"limit": host.pids_limit.filter(|limit| *limit > 0)},
    }))
}

/// Without what says nothing.
fn said(mut value: Value) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.values_mut().for_each(|field| *field = said(field.take()));
        fields.retain(|_, field| ![json!(null), json!(""), json!([]), json!({})].contains(field));
    }
    value
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
    let found = stat(path).map_err(|errno| error!(invalid, "device {path:?}: {errno}"))?;
    Ok((major(found.st_rdev), minor(found.st_rdev)))
}

pub(super) fn rlimits(host: &HostConfig) -> Result<Vec<Value>> {
    let one = |limit: &bollard_stubs::models::ResourcesUlimits| {
        let name = limit.name.clone().unwrap_or_default();
        let (soft, hard) = (limit.soft.unwrap_or(0), limit.hard.unwrap_or(0));
        let value = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
        if hard >= 0 && (soft < 0 || soft > hard) {
            bail!(invalid, "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}");
        }
        let name = format!("RLIMIT_{}", name.to_ascii_uppercase());
        Ok(json!({"type": name, "soft": value(soft), "hard": value(hard)}))
    };
    host.ulimits.iter().flatten().map(one).collect()
}
