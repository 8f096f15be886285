//! config-linux.md, `resources` and `cgroupsPath`: read back from the kernel's own files, outside the
//! container.

use serde_json::{Value, json};

use crate::matrix::bundle::Case;

/// Limits besides the device rule of the base configuration.
fn limits(name: &'static str, resources: Value) -> Case {
    Case::new(name, json!({"linux": {"resources": resources}}))
}

fn devices(name: &'static str, rules: Value) -> Case {
    let operations =
        ["mknod:/tmp/null:1:3", "mknod:/tmp/mem:1:1", "mknod:/tmp/fuse:10:229", "read:/dev/zero"];
    limits(name, json!({"devices": rules})).trying(&operations)
}

/// Cases about cgroups.
pub(crate) fn cases() -> Vec<Case> {
    const MIB: i64 = 1 << 20;
    vec![
        limits("memory", json!({"memory": {"limit": 64 * MIB, "reservation": 32 * MIB}})),
        limits(
            "memory-and-swap",
            json!({"memory": {"limit": 64 * MIB, "swap": 128 * MIB, "swappiness": 10}}),
        ),
        limits("memory-swap-unlimited", json!({"memory": {"limit": 64 * MIB, "swap": -1}})),
        limits("memory-swap-below", json!({"memory": {"limit": 64 * MIB, "swap": 32 * MIB}})),
        limits("memory-unlimited", json!({"memory": {"limit": -1}})),
        limits("memory-no-oom-killer", json!({"memory": {"limit": 64 * MIB, "disableOOMKiller": true}})),
        limits("memory-tiny", json!({"memory": {"limit": 4096}})),
        limits("cpu", json!({"cpu": {"shares": 512, "quota": 50000, "period": 100_000}})),
        limits("cpu-quota-only", json!({"cpu": {"quota": 30000}})),
        limits("cpu-period-only", json!({"cpu": {"period": 50000}})),
        limits("cpu-unlimited", json!({"cpu": {"quota": -1, "shares": 2}})),
        limits("cpu-burst", json!({"cpu": {"quota": 50000, "period": 100_000, "burst": 10000}})),
        limits("cpu-idle", json!({"cpu": {"idle": 1}})),
        limits("cpu-bad-period", json!({"cpu": {"quota": 50000, "period": 1}})),
        limits("cpuset", json!({"cpu": {"cpus": "0", "mems": "0"}})),
        limits("cpuset-missing-cpu", json!({"cpu": {"cpus": "0-500"}})),
        limits("pids", json!({"pids": {"limit": 50}})),
        limits("pids-unlimited", json!({"pids": {"limit": -1}})),
        limits("pids-zero", json!({"pids": {"limit": 0}})),
        limits(
            "block-throttle",
            json!({"blockIO": {
            "throttleReadBpsDevice": [{"major": 7, "minor": 0, "rate": 1_000_000}],
            "throttleWriteIOPSDevice": [{"major": 7, "minor": 0, "rate": 100}]}}),
        ),
        limits("block-weight", json!({"blockIO": {"weight": 500}})),
        limits("hugepages", json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]})),
        limits("hugepages-bad-size", json!({"hugepageLimits": [{"pageSize": "3MB", "limit": 3 * MIB}]})),
        limits("unified", json!({"unified": {"memory.high": "67108864"}})),
        limits("network-class", json!({"network": {"classID": 1_048_577}})),
        limits("none", json!({"devices": []})),
        devices("devices-denied", json!([{"allow": false, "access": "rwm"}])),
        devices(
            "devices-one",
            json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm"}]),
        ),
        devices(
            "devices-read-only",
            json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 1, "access": "r"}]),
        ),
        devices(
            "devices-wildcard",
            json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "access": "rwm"}]),
        ),
        devices("devices-all", json!([{"allow": true, "access": "rwm"}])),
        devices(
            "devices-all-but-one",
            json!([
            {"allow": true, "access": "rwm"}, {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "rwm"}]),
        ),
        Case::new("cgroup-path-empty", json!({"linux": {"cgroupsPath": null}})),
        Case::new("resources-absent", json!({"linux": {"resources": null}})),
    ]
}
