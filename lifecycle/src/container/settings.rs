//! From a request to a record: the image's configuration below the user's, and everything that cannot be honoured
//! refused by name.

use bollard_stubs::models::{
    ContainerConfig, HealthConfig, HostConfig, HostConfigIsolationEnum, RestartPolicyNameEnum,
};
use runtime::plan::cpuset;
use serde_json::Value;

use super::{Record, environment};
use crate::error::{Result, bail, ensure, error};
use crate::said;

/// What is the image's when a request leaves it out; of an object, each part of it.
const OF_IMAGE: [&str; 7] =
    ["User", "WorkingDir", "StopSignal", "Shell", "ExposedPorts", "Volumes", "Healthcheck"];

/// The container's configuration: what the request leaves out is the image's.
///
/// # Errors
/// When they cannot be put together.
pub fn merge(mut config: ContainerConfig, image: &ContainerConfig) -> Result<ContainerConfig> {
    if said::list(&config.entrypoint).is_empty() {
        if said::list(&config.cmd).is_empty() {
            config.cmd.clone_from(&image.cmd);
        }
        config.entrypoint = config.entrypoint.or_else(|| image.entrypoint.clone());
    } else if config.entrypoint.as_deref() == Some(&[String::new()]) {
        config.entrypoint = None;
    }
    config.stop_timeout = config.stop_timeout.or(image.stop_timeout);
    environment::inherit(config.env.get_or_insert_default(), image.env.iter().flatten());
    let mut labels = image.labels.clone().unwrap_or_default();
    labels.extend(config.labels.take().unwrap_or_default());
    config.labels = Some(labels);
    let (mut own, image) = (serde_json::to_value(config)?, serde_json::to_value(image)?);
    for name in OF_IMAGE {
        said::fill(&mut own[name], &image[name]);
    }
    let mut merged: ContainerConfig = serde_json::from_value(own)?;
    // One port has one name: Compose says of what it exposes only the number.
    for port in merged.exposed_ports.iter_mut().flatten().filter(|port| !port.contains('/')) {
        port.push_str("/tcp");
    }
    Ok(merged)
}

/// What shell forms are run by, when SHELL has said nothing.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// The shell of an image.
pub fn shell(config: &ContainerConfig) -> Vec<String> {
    match said::list(&config.shell) {
        [] => SHELL.map(str::to_owned).to_vec(),
        shell => shell.to_vec(),
    }
}

/// Fields that nothing here would look at: those of Windows, and limits that the kernel has no more.
const UNKNOWN: [&str; 6] =
    ["KernelMemory", "KernelMemoryTCP", "CpuCount", "CpuPercent", "IOMaximumIOps", "IOMaximumBandwidth"];

/// Refuses what cannot be honoured.
///
/// # Errors
/// With the name of the option.
pub fn check(config: &ContainerConfig, host: &HostConfig, raw: &Value) -> Result<()> {
    let unknown = UNKNOWN.iter().find(|key| raw["HostConfig"][*key].as_i64().is_some_and(|value| value != 0));
    if let Some(key) = unknown {
        bail!(invalid, "{key} is not offered: it is not one of this system's");
    }
    check_words(host)?;
    let policy = host.restart_policy.clone().unwrap_or_default();
    let counted = policy.name == Some(RestartPolicyNameEnum::ON_FAILURE);
    let retries = policy.maximum_retry_count.unwrap_or(0);
    let isolations = [None, Some(HostConfigIsolationEnum::EMPTY), Some(HostConfigIsolationEnum::DEFAULT)];
    let networkless = config.network_disabled == Some(true) && host.network_mode.as_deref() != Some("none");
    let quota = host.storage_opt.as_ref().is_some_and(|options| !options.is_empty());
    let weights = !said::list(&host.blkio_weight_device).is_empty();
    let requests = !said::list(&host.device_requests).is_empty();
    let named = host.uts_mode.as_deref() == Some("host") && said::text(&config.hostname).is_some();
    let comes_back = host.auto_remove == Some(true) && restarts(host).is_some();
    let published = said::publishes(host) || host.publish_all_ports == Some(true);
    let unnamed = |variable: &&String| variable.is_empty() || variable.starts_with('=');
    if let Some(variable) = config.env.iter().flatten().find(unnamed) {
        bail!(invalid, "invalid environment variable: {variable}");
    }
    let names = [&config.hostname, &config.domainname].into_iter().flatten();
    let odd = names.flat_map(|name| name.chars()).any(|c| c.is_whitespace() || c.is_control());
    let mask = raw["HostConfig"]["Umask"].as_u64().is_some_and(|mask| mask > 0o777);
    let unpublished = published && crate::rootless::is();
    said::refuse([
        (mask, "invalid umask: the largest is 511, which is 0777"),
        (odd, "invalid hostname or domain name: blanks and control characters are not part of names"),
        (networkless, "NetworkDisabled: say so with the network mode \"none\""),
        (!isolations.contains(&host.isolation), "invalid isolation: only \"default\" exists on Linux"),
        (quota, "--storage-opt is not supported: containers have no quota here"),
        (weights, "--blkio-weight-device is not offered: --blkio-weight is for all devices"),
        (requests, "could not select device driver: device requests (--gpus) are not offered"),
        (named, "conflicting options: hostname and the UTS mode"),
        (retries < 0, "invalid restart policy: maximum retry count cannot be negative"),
        (
            retries > 0 && !counted,
            "invalid restart policy: maximum retry count can only be used with 'on-failure'",
        ),
        (comes_back, "can't create 'AutoRemove' container with restart policy"),
        (unpublished, "published ports need an engine that runs as root: this one has a network of its own"),
    ])?;
    check_numbers(host)?;
    check_health(&config.healthcheck.clone().unwrap_or_default())?;
    said::text(&config.stop_signal).map(said::signal).transpose().map(drop)
}

/// Refuses modes that there are not, and annotations that are not for users.
fn check_words(host: &HostConfig) -> Result<()> {
    let known: [(&str, &Option<String>, &[&str]); 6] = [
        ("unknown or invalid runtime name", &host.runtime, &["corten", "io.containerd.corten.v2"]),
        ("volume driver not found", &host.volume_driver, &["local"]),
        ("invalid user namespace mode", &host.userns_mode, &["host"]),
        ("invalid UTS mode", &host.uts_mode, &["host"]),
        ("invalid PID mode", &host.pid_mode, &["host", "container:"]),
        ("invalid IPC mode", &host.ipc_mode, &["none", "host", "private", "shareable", "container:"]),
    ];
    for (what, field, known) in known {
        let is = |text: &str| {
            known.iter().any(|known| text == *known || known.ends_with(':') && text.starts_with(known))
        };
        if let Some(text) = said::text(field).filter(|text| !is(text)) {
            bail!(invalid, "{what}: {text}");
        }
    }
    let of_shim =
        |name: &&String| ["io.containerd.", "io.kubernetes.cri."].iter().any(|of| name.starts_with(of));
    let annotations = || host.annotations.iter().flat_map(|all| all.keys());
    if let Some(name) = annotations().find(of_shim) {
        bail!(invalid, "annotation {name}: these names have a meaning for the shim");
    }
    let unnamed = annotations().any(String::is_empty);
    ensure!(!unnamed, invalid, "invalid Annotations: the empty string is not permitted as an annotation key");
    Ok(())
}

fn check_health(health: &HealthConfig) -> Result<()> {
    let HealthConfig { interval, timeout, start_period, start_interval, retries, .. } = *health;
    let times = [interval, timeout, start_period, start_interval];
    let names = ["Interval", "Timeout", "StartPeriod", "StartInterval"];
    let short = |nanos: &Option<i64>| said::number(*nanos).is_some_and(|nanos| nanos < 1_000_000);
    if let Some((_, name)) = times.iter().zip(names).find(|(nanos, _)| short(nanos)) {
        bail!(invalid, "{name} in Healthcheck cannot be less than 1ms");
    }
    said::refuse([(retries.is_some_and(|count| count < 0), "Retries in Healthcheck cannot be negative")])
}

/// The processors of this machine, whichever of them the engine itself may have.
pub fn processors() -> usize {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let own = |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| !rest.starts_with(' '));
    text.lines().filter(own).count().max(1)
}

fn check_numbers(host: &HostConfig) -> Result<()> {
    const LEAST: i64 = 6 << 20;
    let number = |field: Option<i64>| field.unwrap_or(0);
    let (memory, swap, soft) =
        (number(host.memory), number(host.memory_swap), number(host.memory_reservation));
    let (period, quota, nanos) = (number(host.cpu_period), number(host.cpu_quota), number(host.nano_cpus));
    let cpus = processors();
    let most = i64::try_from(cpus).unwrap_or(1).saturating_mul(1_000_000_000);
    let range = format!("Range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available");
    let tight = memory > 0 && soft > memory;
    let swap_alone = memory == 0 && swap > 0;
    let little_swap = memory > 0 && swap > 0 && swap < memory;
    let odd_swappiness = !(-1..=100).contains(&number(host.memory_swappiness));
    let odd_period = period != 0 && !(1000..=1_000_000).contains(&period);
    let shares = number(host.cpu_shares);
    let few_shares = format!("invalid CPU shares ({shares}): value must be a positive integer");
    let score = number(host.oom_score_adj);
    let odd_score = format!("Invalid value {score}, range for oom score adj is [-1000, 1000]");
    said::refuse([
        (memory != 0 && memory < LEAST, "Minimum memory limit allowed is 6MB"),
        (soft > 0 && soft < LEAST, "Minimum memory reservation allowed is 6MB"),
        (tight, "Minimum memory limit can not be less than memory reservation limit, see usage"),
        (swap_alone, "You should always set the Memory limit when using Memoryswap limit, see usage"),
        (little_swap, "Minimum memoryswap limit should be larger than memory limit, see usage"),
        (odd_swappiness, "Invalid value for memory swappiness, valid memory swappiness range is 0-100"),
        (nanos > 0 && period > 0, "Conflicting options: Nano CPUs and CPU Period cannot both be set"),
        (nanos > 0 && quota > 0, "Conflicting options: Nano CPUs and CPU Quota cannot both be set"),
        (quota > 0 && quota < 1000, "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
        (odd_period, "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"),
        (shares < 0, &few_shares),
        (number(host.shm_size) < 0, "SHM size can not be less than 0"),
        (!(-1000..=1000).contains(&score), &odd_score),
        (!(0..=most).contains(&nanos), &range),
    ])?;
    check_set("cpuset cpus", "CPUs", &host.cpuset_cpus, "/sys/devices/system/cpu/online")?;
    check_set("cpuset mems", "memory nodes", &host.cpuset_mems, "/sys/devices/system/node/online")
}

/// Refuses numbers of what this machine does not have.
fn check_set(field: &str, what: &str, wanted: &Option<String>, online: &str) -> Result<()> {
    let Some(wanted) = said::text(wanted) else { return Ok(()) };
    let mask = |list: &str| cpuset::mask(field, list);
    let asked =
        mask(wanted).map_err(|error| error!(invalid, "Invalid value {wanted} for {field}: {error}"))?;
    let here = std::fs::read_to_string(online).unwrap_or_else(|_| "0".into());
    let present = mask(&here).unwrap_or_default();
    let is_there = |(word, bits): (usize, &u64)| bits & !present.get(word).unwrap_or(&0) == 0;
    if !asked.iter().enumerate().all(is_there) {
        bail!(invalid, "Requested {what} are not available - requested {wanted}, available: {}", here.trim());
    }
    Ok(())
}

/// What is done otherwise than its options seem to say.
pub fn warnings(record: &Record) -> Vec<&'static str> {
    let host = &record.host;
    let mut all = Vec::new();
    if said::publishes(host) && record.network_mode() == "host" {
        all.push("Published ports are discarded when using host network mode");
    }
    if host.oom_kill_disable == Some(true) && said::number(host.memory).is_none() {
        all.push("OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.");
    }
    all
}

/// The policy that restarts it, if there is one.
pub fn restarts(host: &HostConfig) -> Option<RestartPolicyNameEnum> {
    let name = host.restart_policy.as_ref()?.name;
    name.filter(|name| !matches!(name, RestartPolicyNameEnum::EMPTY | RestartPolicyNameEnum::NO))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Option<Vec<String>> {
        Some(list.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn the_request_goes_before_the_image() {
        let image = ContainerConfig {
            cmd: words(&["serve"]),
            entrypoint: words(&["/entry"]),
            env: words(&["A=image", "B=image"]),
            user: Some("web".into()),
            ..Default::default()
        };
        let plain = merge(ContainerConfig::default(), &image).unwrap();
        assert_eq!(
            (plain.cmd, plain.entrypoint, plain.user),
            (words(&["serve"]), words(&["/entry"]), Some("web".into()))
        );
        let command =
            ContainerConfig { cmd: words(&["other"]), env: words(&["A=own"]), ..Default::default() };
        let merged = merge(command, &image).unwrap();
        assert_eq!((merged.cmd, merged.entrypoint), (words(&["other"]), words(&["/entry"])));
        assert_eq!(merged.env, words(&["A=own", "B=image"]));
        let entry = ContainerConfig { entrypoint: words(&["sh"]), ..Default::default() };
        let merged = merge(entry, &image).unwrap();
        assert_eq!((merged.cmd, merged.entrypoint), (None, words(&["sh"])));
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let check = |text: &str| {
            let raw: Value = serde_json::from_str(text).unwrap();
            let host: HostConfig = serde_json::from_value(raw["HostConfig"].clone()).unwrap();
            super::check(&ContainerConfig::default(), &host, &raw).map_err(|error| error.message)
        };
        assert_eq!(
            check(r#"{"HostConfig":{"Memory":67108864,"MemorySwappiness":-1,"Isolation":""}}"#),
            Ok(())
        );
        for (text, word) in [
            (r#"{"HostConfig":{"KernelMemory":1}}"#, "KernelMemory"),
            (r#"{"HostConfig":{"Runtime":"runc"}}"#, "runc"),
            (r#"{"HostConfig":{"Memory":1024}}"#, "6MB"),
            (r#"{"HostConfig":{"AutoRemove":true,"RestartPolicy":{"Name":"always"}}}"#, "AutoRemove"),
            (r#"{"HostConfig":{"Annotations":{"io.containerd.runc.v2.group":"x"}}}"#, "annotation"),
        ] {
            assert!(check(text).is_err_and(|message| message.contains(word)), "{text}");
        }
    }
}
