//! Limits: control groups and rlimits.

use std::path::Path;

use bollard_stubs::models::{HostConfig, ThrottleDevice};
use nix::sys::stat::{major, minor, stat};
use serde_json::{Value, json};

use crate::error::{Result, bail, error};
use crate::said;

/// The period when only a quota is known, in microseconds.
const PERIOD: i64 = 100_000;

pub(super) fn all(host: &HostConfig) -> Result<Value> {
    let mut resources = update(host);
    resources["blockIO"] = update_devices(&HostConfig::default(), host)?;
    resources["blockIO"]["weight"] = json!(host.blkio_weight.filter(|weight| *weight != 0));
    Ok(resources)
}

/// The limits of devices, and none for those that only had one before.
///
/// # Errors
/// When there is no such device.
pub fn update_devices(before: &HostConfig, host: &HostConfig) -> Result<Value> {
    let all = |of: fn(&HostConfig) -> &Option<Vec<ThrottleDevice>>| {
        let mut devices = said::list(of(host)).to_vec();
        let still = |path: &Option<String>| devices.iter().any(|device| device.path == *path);
        let mut lifted = said::list(of(before)).to_vec();
        // One that is gone from the machine has no limit to lift.
        lifted.retain(|device| {
            !still(&device.path) && said::text(&device.path).is_some_and(|path| Path::new(path).exists())
        });
        lifted.iter_mut().for_each(|device| device.rate = Some(0));
        devices.extend(lifted);
        throttles(&devices)
    };
    Ok(json!({
        "throttleReadBpsDevice": all(|host| &host.blkio_device_read_bps)?,
        "throttleWriteBpsDevice": all(|host| &host.blkio_device_write_bps)?,
        "throttleReadIOPSDevice": all(|host| &host.blkio_device_read_iops)?,
        "throttleWriteIOPSDevice": all(|host| &host.blkio_device_write_iops)?,
    }))
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
        "pids": {"limit": host.pids_limit.map(|limit| if limit > 0 { limit } else { -1 })},
    })
}

fn throttles(devices: &[ThrottleDevice]) -> Result<Vec<Value>> {
    let one = |device: &ThrottleDevice| {
        let path = device.path.as_deref().unwrap_or_default();
        let found = stat(path).map_err(|errno| error!(invalid, "device {path:?}: {errno}"))?.st_rdev;
        Ok(json!({"major": major(found), "minor": minor(found), "rate": device.rate}))
    };
    devices.iter().map(one).collect()
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
