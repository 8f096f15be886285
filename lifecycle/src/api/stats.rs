//! What a container uses, which processes it has, and changing its limits.

use std::sync::Arc;
use std::time::Duration;

use bollard_stubs::models::{ContainerUpdateBody, HostConfig, RestartPolicy, RestartPolicyNameEnum};
use futures_util::stream::{self, StreamExt};
use runtime::cgroup::stats::Stats;
use serde_json::{Value, json};
use shim::proto::task::{PidsRequest, UpdateTaskRequest};
use shim::proto::well_known::Any;
use tokio::process::Command;
use tokio::task::block_in_place;

use super::{Answer, Call, Version, answer};
use crate::container::{Container, part, settings, spec};
use crate::error::{Error, Result, bail, ensure};
use crate::{program, said, time};

/// `docker top`: the host's ps, and of its rows those of the container.
pub(super) async fn top(container: &Arc<Container>, words: &str) -> Result<Answer> {
    let answer = container.ask(&PidsRequest { id: container.id.clone() }).await?;
    let pids: Vec<u32> = answer.processes.iter().map(|process| process.pid).collect();
    // ps could be told to read files; it is only asked how to show processes.
    let harmless = words.chars().all(|c| c.is_ascii_alphanumeric() || " -,_=%".contains(c));
    ensure!(harmless, invalid, "ps_args {words:?} is not offered");
    let mut command = Command::new("ps");
    command.args(words.split_whitespace());
    // What it says of how it is to be used is for who has typed it.
    let brief = |error: Error| Error::internal(error.message.lines().next().unwrap_or_default());
    let output = program::told("ps", command, &[]).await.map_err(brief)?;
    let text = String::from_utf8_lossy(&output);
    let mut lines = text.lines();
    let titles: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    let column = titles.iter().position(|title| *title == "PID");
    let column = column.ok_or_else(|| Error::internal("Couldn't find PID field in ps output"))?;
    // Blanks in the last column are part of it.
    let cut = |line: &str| {
        let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let last = words.split_off(words.len().min(titles.len() - 1)).join(" ");
        words.push(last);
        words
    };
    let of_container = |row: &Vec<String>| {
        row.get(column).is_some_and(|pid| pid.parse().is_ok_and(|pid| pids.contains(&pid)))
    };
    let rows: Vec<Vec<String>> = lines.map(cut).filter(of_container).collect();
    container.publish("top", &[]);
    answer::json(&json!({"Titles": titles, "Processes": rows}))
}

/// `docker stats`.
pub(super) fn stats(container: &Arc<Container>, call: &Call) -> Result<Answer> {
    let streaming = call.flag_or("stream", true);
    let one_shot = call.flag("one-shot");
    ensure!(!streaming || !one_shot, invalid, "cannot have stream=true and one-shot=true");
    let container = Arc::clone(container);
    let first = json!({"read": time::NEVER, "cpu_stats": {"cpu_usage": {"total_usage": 0}}});
    let samples = stream::unfold((first, Duration::ZERO), move |(mut before, pause)| {
        let container = Arc::clone(&container);
        async move {
            if streaming && container.record().removed {
                return None;
            }
            tokio::time::sleep(pause).await;
            let mut now = block_in_place(|| sample(&container));
            now["precpu_stats"] = before["cpu_stats"].take();
            now["preread"] = before["read"].take();
            Some((answer::row(&now), (now, Duration::from_secs(1))))
        }
    });
    // One alone has another before it, unless that is not wanted.
    let skipped = usize::from(!streaming && !one_shot);
    let samples = samples.skip(skipped).take(if streaming { usize::MAX } else { 1 });
    Ok(answer::streamed("application/json", samples))
}

/// What a container uses now: the counters of its control groups, with nothing in them while it does not run.
fn sample(container: &Container) -> Value {
    let runs = container.record().state.pid != 0;
    let Stats { cpu, memory, pids, io, .. } = container.usage().unwrap_or_default();
    let total = if runs { memory_total() } else { 0 };
    json!({
        "id": container.id, "name": container.record().slash_name(), "os_type": "linux", "read": time::now(),
        "cpu_stats": {
            "cpu_usage": {
                "total_usage": cpu.total, "percpu_usage": cpu.percpu,
                "usage_in_kernelmode": cpu.kernel, "usage_in_usermode": cpu.user,
            },
            "throttling_data": {
                "periods": cpu.periods, "throttled_periods": cpu.throttled_periods,
                "throttled_time": cpu.throttled_time,
            },
            "online_cpus": settings::processors(), "system_cpu_usage": system_cpu(),
        },
        "memory_stats": {
            "usage": memory.usage.usage, "max_usage": memory.usage.max_usage, "failcnt": memory.usage.failcnt,
            // Without a limit it is a number larger than any memory, or 0.
            "limit": Some(memory.usage.limit).filter(|limit| *limit > 0).map_or(total, |limit| limit.min(total)),
            "stats": memory.raw,
        },
        "pids_stats": {"current": pids.current, "limit": pids.limit},
        "blkio_stats": {
            "io_service_bytes_recursive": io.service_bytes, "io_serviced_recursive": io.serviced,
        },
        "networks": networks(container),
    })
}

/// The time that all processors have worked, in nanoseconds.
fn system_cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let words = text.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
    // A tick is a hundredth of a second in everything the kernel tells.
    words.filter_map(|word| word.parse::<u64>().ok()).sum::<u64>() * 10_000_000
}

/// The memory of the machine in bytes.
pub(super) fn memory_total() -> u64 {
    nix::sys::sysinfo::sysinfo().map_or(0, |info| info.ram_total())
}

/// What has gone through the container's interfaces, as its own network namespace counts it.
fn networks(container: &Container) -> Value {
    let record = container.record().clone();
    let pid = record.state.pid;
    if pid == 0 || record.network_mode() == "host" {
        return json!({});
    }
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    let mut all = json!({});
    for line in text.lines().skip(2) {
        let Some((name, counts)) = line.split_once(':') else { continue };
        let n: Vec<u64> = counts.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        if name.trim() != "lo" && n.len() >= 12 {
            all[name.trim()] = json!({
                "rx_bytes": n[0], "rx_packets": n[1], "rx_errors": n[2], "rx_dropped": n[3],
                "tx_bytes": n[8], "tx_packets": n[9], "tx_errors": n[10], "tx_dropped": n[11],
            });
        }
    }
    all
}

/// The fields that `docker update` may change.
const UPDATABLE: &str = "CpuShares CpuPeriod CpuQuota CpuRealtimePeriod CpuRealtimeRuntime CpusetCpus CpusetMems \
                         Memory MemoryReservation MemorySwap NanoCpus PidsLimit";

/// The same of each device, from API 1.55 on: there an empty list says that there is no limit any more.
const OF_DEVICES: &str =
    "BlkioDeviceReadBps BlkioDeviceWriteBps BlkioDeviceReadIOps BlkioDeviceWriteIOps BlkioWeightDevice";

/// `docker update`.
pub(super) async fn update(container: &Arc<Container>, mut call: Call) -> Result<Answer> {
    let (version, body) = (call.version, call.json_of::<ContainerUpdateBody>().await?);
    let of_device =
        |name: &str| version >= Version(1, 55) && OF_DEVICES.split_whitespace().any(|known| known == name);
    // Where zero means something, too.
    let is_set = |name: &str, value: &Value| match of_device(name) || name == "PidsLimit" {
        true => !value.is_null(),
        false => !said::is_nothing(value) && *value != json!(false),
    };
    let is_known = |name: &str| name != "PidsLimit" || version >= Version(1, 40);
    let given = body.as_object().into_iter().flatten();
    let given = given.filter(|(name, value)| is_known(name) && is_set(name, value));
    let updatable = |name: &str| of_device(name) || UPDATABLE.split_whitespace().any(|known| known == name);
    let known = |name: &str| updatable(name) || matches!(name, "RestartPolicy" | "MemorySwappiness");
    if let Some((name, _)) = given.clone().find(|(name, _)| !known(name)) {
        bail!(invalid, "{name} cannot be changed while a container exists");
    }
    let limits: Vec<_> = given.filter(|(name, _)| updatable(name)).collect();
    // Neither is it started meanwhile, nor changed by somebody else.
    let _busy = container.busy.lock().await;
    let before = container.record().host.clone();
    let mut host = serde_json::to_value(&before)?;
    for (name, value) in &limits {
        host[*name] = (*value).clone();
    }
    host["PidsLimit"] = json!(host["PidsLimit"].as_i64().map(|limit| limit.max(0)));
    let mut host: HostConfig = part(host)?;
    let swap = said::number(before.memory_swap).filter(|_| host.memory_swap == before.memory_swap);
    if swap.is_some_and(|swap| swap > 0 && host.memory > Some(swap)) {
        bail!(
            conflict,
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
        );
    }
    let policy: RestartPolicy = part(body["RestartPolicy"].clone())?;
    if policy.name.is_some_and(|name| name != RestartPolicyNameEnum::EMPTY) {
        host.restart_policy = Some(policy);
        let returns = host.auto_remove == Some(true) && settings::restarts(&host).is_some();
        ensure!(
            !returns,
            conflict,
            "Restart policy cannot be updated because AutoRemove is enabled for the container"
        );
    }
    let config = container.record().config.clone();
    settings::check(&config, &host, &Value::Null)?;
    if container.record().state.status.is_up() && !limits.is_empty() {
        let mut resources = spec::updated_resources(&host);
        if limits.iter().any(|(name, _)| of_device(name)) {
            resources["blockIO"] = spec::updated_devices(&before, &host)?;
        }
        let request = UpdateTaskRequest {
            id: container.id.clone(),
            resources: Some(Any {
                type_url: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources".into(),
                value: serde_json::to_vec(&resources)?,
            }),
            annotations: Default::default(),
        };
        container.ask(&request).await?;
    }
    container.update(|record| record.host = host)?;
    container.publish("update", &[]);
    answer::json(&json!({"Warnings": null}))
}
