//! Limits: control groups and rlimits.

use bollard_stubs::models::{HostConfig, ThrottleDevice};
use nix::sys::stat::{major, minor, stat};
use serde_json::{Value, json};

use crate::error::{Result, bail, error};
use crate::said;

/// The period when only a quota is known, in microseconds.
const PERIOD: i64 = 100_000;

pub(super) fn all(host: &HostConfig) -> Result<Value> {
    let mut resources = update(host);
    resources["blockIO"] = json!({
        "weight": host.blkio_weight.filter(|weight| *weight != 0),
        "throttleReadBpsDevice": throttles(&host.blkio_device_read_bps)?,
        "throttleWriteBpsDevice": throttles(&host.blkio_device_write_bps)?,
        "throttleReadIOPSDevice": throttles(&host.blkio_device_read_iops)?,
        "throttleWriteIOPSDevice": throttles(&host.blkio_device_write_iops)?,
    });
    Ok(resources)
}

/// The limits that can also be changed while a container runs.
pub fn update(host: &HostConfig) -> Value {
    let limit = host.memory.filter(|limit| *limit > 0);
    let nanos = host.nano_cpus.filter(|nanos| *nanos > 0);
    json!({
        "memory": {
            "limit": limit,
            // As much swap as memory, when only the latter is said.
            "swap": said::number(host.memory_swap).or(limit.map(|limit| limit.saturating_mul(2))),
            "reservation": said::number(host.memory_reservation),
            "swappiness": host.memory_swappiness.filter(|value| *value >= 0),
            "disableOOMKiller": host.oom_kill_disable.filter(|disable| *disable),
        },
        "cpu": {
            "shares": said::number(host.cpu_shares),
            "quota": nanos.map(|nanos| nanos / (1_000_000_000 / PERIOD)).or(said::number(host.cpu_quota)),
            "period": nanos.map(|_| PERIOD).or(said::number(host.cpu_period)),
            "realtimePeriod": said::number(host.cpu_realtime_period),
            "realtimeRuntime": said::number(host.cpu_realtime_runtime),
            "cpus": host.cpuset_cpus,
            "mems": host.cpuset_mems,
        },
        "pids": {"limit": host.pids_limit.filter(|limit| *limit > 0)},
    })
}

fn throttles(devices: &Option<Vec<ThrottleDevice>>) -> Result<Vec<Value>> {
    let one = |device: &ThrottleDevice| {
        let path = device.path.as_deref().unwrap_or_default();
        let found = stat(path).map_err(|errno| error!(invalid, "device {path:?}: {errno}"))?.st_rdev;
        Ok(json!({"major": major(found), "minor": minor(found), "rate": device.rate}))
    };
    said::list(devices).iter().map(one).collect()
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
