//! From a request to a record: the image's configuration below the user's, and everything that cannot be honoured
//! refused by name.

use std::collections::BTreeMap;

use bollard_stubs::models::{
    ContainerConfig, HostConfig, HostConfigIsolationEnum, HostConfigLogConfig, RestartPolicyNameEnum,
};
use serde_json::Value;

use super::environment;
use super::record::Record;
use crate::error::{Error, Result};
use crate::logger::Rotation;

/// The container's configuration: what the request leaves out is the image's.
pub fn merge(mut config: ContainerConfig, image: &ContainerConfig) -> ContainerConfig {
    let text = |own: &mut Option<String>, image: &Option<String>| {
        if own.as_deref().unwrap_or_default().is_empty() {
            own.clone_from(image);
        }
    };
    let none = |words: &Option<Vec<String>>| words.as_ref().is_none_or(Vec::is_empty);
    text(&mut config.user, &image.user);
    text(&mut config.working_dir, &image.working_dir);
    text(&mut config.stop_signal, &image.stop_signal);
    config.stop_timeout = config.stop_timeout.or(image.stop_timeout);
    if none(&config.shell) {
        config.shell.clone_from(&image.shell);
    }
    if none(&config.entrypoint) {
        if none(&config.cmd) {
            config.cmd.clone_from(&image.cmd);
        }
        config.entrypoint = config.entrypoint.or_else(|| image.entrypoint.clone());
    } else if config.entrypoint.as_deref() == Some(&[String::new()]) {
        config.entrypoint = None;
    }
    environment::inherit(config.env.get_or_insert_default(), image.env.iter().flatten());
    let mut labels = image.labels.clone().unwrap_or_default();
    labels.extend(config.labels.take().unwrap_or_default());
    config.labels = Some(labels);
    config.exposed_ports = union(config.exposed_ports.take(), image.exposed_ports.as_ref());
    config.volumes = union(config.volumes.take(), image.volumes.as_ref());
    config.healthcheck = match (config.healthcheck.take(), &image.healthcheck) {
        (None, inherited) => inherited.clone(),
        (Some(mut own), Some(inherited)) => {
            if own.test.as_ref().is_none_or(Vec::is_empty) {
                own.test.clone_from(&inherited.test);
            }
            let or = |own: Option<i64>, inherited: Option<i64>| own.filter(|value| *value != 0).or(inherited);
            own.interval = or(own.interval, inherited.interval);
            own.timeout = or(own.timeout, inherited.timeout);
            own.start_period = or(own.start_period, inherited.start_period);
            own.retries = or(own.retries, inherited.retries);
            Some(own)
        }
        (own, None) => own,
    };
    config
}

fn union(own: Option<Vec<String>>, image: Option<&Vec<String>>) -> Option<Vec<String>> {
    let mut all: Vec<String> =
        own.into_iter().flatten().chain(image.into_iter().flatten().cloned()).collect();
    all.sort();
    all.dedup();
    (!all.is_empty()).then_some(all)
}

/// What shell forms are run by, when SHELL has said nothing.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// The shell of an image.
pub fn shell(config: &ContainerConfig) -> Vec<String> {
    match config.shell.as_ref().filter(|shell| !shell.is_empty()) {
        Some(shell) => shell.clone(),
        None => SHELL.map(str::to_owned).to_vec(),
    }
}

/// Words of which a request may have one or a list, as a list.
pub fn normalize(body: &mut Value) {
    for key in ["Cmd", "Entrypoint"] {
        if let Some(Value::String(word)) = body.get(key) {
            body[key] = Value::Array(vec![Value::String(word.clone())]);
        }
    }
    // Old clients leave the sub-objects out by writing null.
    if let Some(fields) = body.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
}

/// Names of fields that newer or older clients may send and that nothing here would look at.
const UNKNOWN: [(&str, &str); 6] = [
    ("KernelMemory", "kernel memory limits are not supported by this kernel's cgroups"),
    ("KernelMemoryTCP", "kernel memory limits are not supported by this kernel's cgroups"),
    ("CpuCount", "CpuCount is for Windows only"),
    ("CpuPercent", "CpuPercent is for Windows only"),
    ("IOMaximumIOps", "IOMaximumIOps is for Windows only"),
    ("IOMaximumBandwidth", "IOMaximumBandwidth is for Windows only"),
];

/// Refuses what cannot be honoured.
///
/// # Errors
/// With the name of the option.
pub fn check(config: &ContainerConfig, host: &HostConfig, raw: &Value) -> Result<()> {
    let refuse = |message: String| Err(Error::invalid(message));
    for (key, why) in UNKNOWN {
        if raw["HostConfig"][key].as_i64().is_some_and(|value| value != 0) {
            return refuse(format!("{key}: {why}"));
        }
    }
    let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if config.network_disabled == Some(true) && host.network_mode.as_deref() != Some("none") {
        return refuse("NetworkDisabled: say so with the network mode \"none\"".into());
    }
    if host
        .isolation
        .is_some_and(|i| !matches!(i, HostConfigIsolationEnum::EMPTY | HostConfigIsolationEnum::DEFAULT))
    {
        return refuse("invalid isolation: only \"default\" exists on Linux".into());
    }
    if host.storage_opt.as_ref().is_some_and(|options| !options.is_empty()) {
        return refuse("--storage-opt is not supported: containers have no quota here".into());
    }
    if let Some(mode) = set(&host.userns_mode).filter(|mode| mode != "host") {
        return refuse(format!("invalid user namespace mode: {mode}"));
    }
    if let Some(name) =
        set(&host.runtime).filter(|name| !matches!(name.as_str(), "corten" | "io.containerd.corten.v2"))
    {
        return refuse(format!("unknown or invalid runtime name: {name}"));
    }
    if let Some(driver) = set(&host.volume_driver).filter(|driver| driver != "local") {
        return refuse(format!("volume driver {driver:?} not found: only \"local\" is offered"));
    }
    if host.device_requests.as_ref().is_some_and(|requests| !requests.is_empty()) {
        return refuse("could not select device driver: device requests (--gpus) are not offered".into());
    }
    if let Some(mode) = set(&host.uts_mode).filter(|mode| mode != "host") {
        return refuse(format!("invalid UTS mode: {mode}"));
    }
    if let Some(mode) = set(&host.pid_mode).filter(|mode| mode != "host" && !mode.starts_with("container:")) {
        return refuse(format!("invalid PID mode: {mode}"));
    }
    let ipc = ["none", "host", "private", "shareable"];
    if let Some(mode) =
        set(&host.ipc_mode).filter(|mode| !ipc.contains(&mode.as_str()) && !mode.starts_with("container:"))
    {
        return refuse(format!("invalid IPC mode: {mode}"));
    }
    if host.uts_mode.as_deref() == Some("host") && set(&config.hostname).is_some() {
        return refuse("conflicting options: hostname and the UTS mode".into());
    }
    let retries = host.restart_policy.as_ref().and_then(|policy| policy.maximum_retry_count).unwrap_or(0);
    let counted = host.restart_policy.as_ref().and_then(|policy| policy.name)
        == Some(RestartPolicyNameEnum::ON_FAILURE);
    if retries < 0 || retries > 0 && !counted {
        return refuse(
            "invalid restart policy: maximum retry count can only be used with 'on-failure', and cannot be negative"
                .into(),
        );
    }
    let annotations = host.annotations.iter().flatten();
    if let Some((name, _)) = annotations
        .into_iter()
        .find(|(name, _)| name.starts_with("io.containerd.") || name.starts_with("io.kubernetes.cri."))
    {
        return refuse(format!("annotation {name}: these names have a meaning for the shim"));
    }
    if host.auto_remove == Some(true) && restarts(host) {
        return refuse("can't create 'AutoRemove' container with restart policy".into());
    }
    check_numbers(host)?;
    crate::rootless::refuse(host)?;
    let health = config.healthcheck.clone().unwrap_or_default();
    for (what, nanos) in [
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
    ] {
        if nanos.is_some_and(|nanos| nanos != 0 && nanos < 1_000_000) {
            return refuse(format!("{what} in Healthcheck cannot be less than 1ms"));
        }
    }
    if health.retries.is_some_and(|count| count < 0) {
        return refuse("Retries in Healthcheck cannot be negative".into());
    }
    if let Some(signal) = set(&config.stop_signal) {
        super::signal::parse(&signal)?;
    }
    rotation(host.log_config.as_ref())?;
    Ok(())
}

fn check_numbers(host: &HostConfig) -> Result<()> {
    let refuse = |message: &str| Err(Error::invalid(message));
    let memory = host.memory.unwrap_or(0);
    if memory != 0 && memory < 6 << 20 {
        return refuse("Minimum memory limit allowed is 6MB");
    }
    let swap = host.memory_swap.unwrap_or(0);
    if memory > 0 && swap > 0 && swap < memory {
        return refuse("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if memory == 0 && swap > 0 {
        return refuse("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    if host.memory_reservation.is_some_and(|soft| memory > 0 && soft > memory) {
        return refuse("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    if host.memory_reservation.is_some_and(|soft| soft > 0 && soft < 6 << 20) {
        return refuse("Minimum memory reservation allowed is 6MB");
    }
    if host.memory_swappiness.is_some_and(|value| !(-1..=100).contains(&value)) {
        return refuse("Invalid value for memory swappiness, valid memory swappiness range is 0-100");
    }
    if host.nano_cpus.unwrap_or(0) > 0
        && (host.cpu_period.unwrap_or(0) > 0 || host.cpu_quota.unwrap_or(0) > 0)
    {
        return refuse("Conflicting options: Nano CPUs and CPU Period or Quota cannot both be set");
    }
    if host.cpu_quota.is_some_and(|quota| quota > 0 && quota < 1000) {
        return refuse("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    if host.cpu_period.is_some_and(|period| period != 0 && !(1000..=1_000_000).contains(&period)) {
        return refuse(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if host.cpu_shares.is_some_and(|shares| shares < 0) {
        return refuse("invalid CPU shares: value must be a positive integer");
    }
    if host.shm_size.is_some_and(|size| size < 0) {
        return refuse("SHM size can not be less than 0");
    }
    if host.oom_score_adj.is_some_and(|score| !(-1000..=1000).contains(&score)) {
        return refuse("Invalid value for oom score adj, range is [-1000, 1000]");
    }
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let most = i64::try_from(cpus).unwrap_or(1).saturating_mul(1_000_000_000);
    if host.nano_cpus.is_some_and(|nanos| nanos < 0 || nanos > most) {
        return Err(Error::invalid(format!(
            "Range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        )));
    }
    Ok(())
}

/// What is done otherwise than its options seem to say.
pub fn warnings(record: &Record) -> Vec<&'static str> {
    let host = &record.host;
    let published = host.port_bindings.as_ref().is_some_and(|ports| !ports.is_empty());
    let all = [
        (
            published && record.network_mode() == "host",
            "Published ports are discarded when using host network mode",
        ),
        (
            host.oom_kill_disable == Some(true) && host.memory.unwrap_or(0) == 0,
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.",
        ),
    ];
    all.into_iter().filter_map(|(is, text)| is.then_some(text)).collect()
}

/// Whether its policy restarts it at all.
pub fn restarts(host: &HostConfig) -> bool {
    let name = host.restart_policy.as_ref().and_then(|policy| policy.name);
    !matches!(name, None | Some(RestartPolicyNameEnum::EMPTY | RestartPolicyNameEnum::NO))
}

/// How the log is rotated; `None` when there is to be no log.
///
/// # Errors
/// When the driver or an option is not offered.
pub fn rotation(log: Option<&HostConfigLogConfig>) -> Result<Option<Rotation>> {
    let mut rotation = Rotation { max_size: None, max_file: 1 };
    let Some(log) = log else { return Ok(Some(rotation)) };
    let driver = log.typ.as_deref().unwrap_or_default();
    match driver {
        "" | "json-file" => {}
        "none" => return Ok(None),
        other => return Err(Error::invalid(format!("logger: no log driver named '{other}' is registered"))),
    }
    let options: BTreeMap<_, _> = log.config.iter().flatten().collect();
    for (name, value) in options {
        let bad = || Error::invalid(format!("invalid value for log opt '{name}': {value}"));
        match name.as_str() {
            "max-size" => rotation.max_size = Some(size(value).filter(|size| *size > 0).ok_or_else(bad)?),
            "max-file" => {
                rotation.max_file = value.parse().ok().filter(|count| *count > 0).ok_or_else(bad)?
            }
            "mode" if value == "blocking" => {}
            "labels" | "env" => {}
            _ => return Err(Error::invalid(format!("unknown log opt '{name}' for json-file log driver"))),
        }
    }
    Ok(Some(rotation))
}

/// The labels and variables that the options of a log ask for.
pub fn log_attributes(record: &Record) -> BTreeMap<String, String> {
    let options = record.host.log_config.iter().flat_map(|log| log.config.iter().flatten());
    let mut all = BTreeMap::new();
    for (option, names) in options {
        for name in names.split(',') {
            let value = match option.as_str() {
                "labels" => record.labels().get(name).cloned(),
                "env" => environment::get(record.config.env.as_deref().unwrap_or_default(), name),
                _ => None,
            };
            all.extend(value.map(|value| (name.to_owned(), value)));
        }
    }
    all
}

/// A size such as `10m`, in bytes.
pub fn size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_suffix("ib").or_else(|| text.strip_suffix('b')).unwrap_or(&text);
    let (digits, shift) = match text.chars().last()? {
        'k' => (&text[..text.len() - 1], 10),
        'm' => (&text[..text.len() - 1], 20),
        'g' => (&text[..text.len() - 1], 30),
        't' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let number: f64 = digits.trim().parse().ok().filter(|number: &f64| *number >= 0.0 && *number < 1e12)?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Some((number * (1u64 << shift) as f64) as u64)
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
        let plain = merge(ContainerConfig::default(), &image);
        assert_eq!(
            (plain.cmd, plain.entrypoint, plain.user),
            (words(&["serve"]), words(&["/entry"]), Some("web".into()))
        );
        let command =
            ContainerConfig { cmd: words(&["other"]), env: words(&["A=own"]), ..Default::default() };
        let merged = merge(command, &image);
        assert_eq!((merged.cmd, merged.entrypoint), (words(&["other"]), words(&["/entry"])));
        assert_eq!(merged.env, words(&["A=own", "B=image"]));
        let entry = ContainerConfig { entrypoint: words(&["sh"]), ..Default::default() };
        let merged = merge(entry, &image);
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
            (r#"{"HostConfig":{"LogConfig":{"Type":"syslog"}}}"#, "syslog"),
            (r#"{"HostConfig":{"LogConfig":{"Type":"json-file","Config":{"colour":"red"}}}}"#, "colour"),
            (r#"{"HostConfig":{"AutoRemove":true,"RestartPolicy":{"Name":"always"}}}"#, "AutoRemove"),
            (r#"{"HostConfig":{"Annotations":{"io.containerd.runc.v2.group":"x"}}}"#, "annotation"),
        ] {
            assert!(check(text).is_err_and(|message| message.contains(word)), "{text}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(
            [size("10"), size("1k"), size("1.5M"), size("2gb")],
            [Some(10), Some(1024), Some(1_572_864), Some(2 << 30)]
        );
        assert_eq!([size("x"), size(""), size("-1")], [None; 3]);
    }
}
