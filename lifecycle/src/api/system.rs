//! Everything about the engine as a whole: ping, version, info, events, disk usage; and what is not offered.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bollard_stubs::models::Volume;
use futures_util::future::ready;
use futures_util::stream::{self, StreamExt};
use hyper::header::HeaderValue;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::request::Filters;
use super::{Answer, Call, NEWEST, OLDEST, Version, answer, inspect, stats};
use crate::container::{Container, Status, settings, spec};
use crate::engine::{Engine, Settings};
use crate::error::{Result, bail, ensure};
use crate::events::Event;
use crate::files::lossy;
use crate::image::{DEFAULT_DOMAIN, Image, Reference};
use crate::rootless;
use crate::time::{self, Time};

pub(super) fn ping() -> Answer {
    let mut answer = answer::text("OK");
    for (name, value) in [
        ("Cache-Control", "no-cache, no-store, must-revalidate"),
        ("Pragma", "no-cache"),
        ("Builder-Version", "1"),
        ("Swarm", "inactive"),
    ] {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

fn kernel() -> String {
    nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default()
}

/// The version of Docker's engine whose tests this one is held to. Clients compare it with what they need at least.
const DOCKER: &str = "28.5.2";

pub(super) fn version() -> Result<Answer> {
    let arch = crate::image::config::architecture();
    let (newest, oldest) = (NEWEST.to_string(), OLDEST.to_string());
    answer::json(&json!({
        "Platform": {"Name": "Corten"},
        "Components": [{
            "Name": "Engine",
            "Version": DOCKER,
            "Details": {
                "ApiVersion": newest, "MinAPIVersion": oldest, "Arch": arch, "Os": "linux",
                "KernelVersion": kernel(), "Experimental": "false",
            },
        }, {
            "Name": "cortend",
            "Version": env!("CARGO_PKG_VERSION"),
        }],
        "Version": DOCKER,
        "ApiVersion": newest,
        "MinAPIVersion": oldest,
        "GoVersion": "",
        "Os": "linux",
        "Arch": arch,
        "KernelVersion": kernel(),
    }))
}

fn os_name() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".into(), |name| name.trim_matches('"').to_owned())
}

/// How registries are spoken to.
fn registries(settings: &Settings) -> Value {
    let (networks, hosts): (Vec<_>, Vec<_>) = settings.insecure.iter().partition(|own| own.contains('/'));
    let hub = json!({"Name": DEFAULT_DOMAIN, "Mirrors": settings.mirrors, "Secure": true, "Official": true});
    let mut indexes = json!({DEFAULT_DOMAIN: hub});
    for host in hosts {
        indexes[host] = json!({"Name": host, "Mirrors": [], "Secure": false, "Official": false});
    }
    json!({"InsecureRegistryCIDRs": networks, "IndexConfigs": indexes, "Mirrors": settings.mirrors})
}

pub(super) fn info(engine: &Engine, version: Version) -> Result<Answer> {
    let containers = engine.all_containers();
    let count = |wanted: &[Status]| {
        containers.iter().filter(|container| wanted.contains(&container.record().state.status)).count()
    };
    let unified = spec::is_unified();
    let controller = |name: &str| {
        let path = if unified { "/sys/fs/cgroup/cgroup.controllers" } else { "/proc/cgroups" };
        std::fs::read_to_string(path).is_ok_and(|text| text.split_whitespace().any(|word| word == name))
    };
    let (memory, cpu) = (controller("memory"), controller("cpu"));
    let mut security = vec!["name=seccomp,profile=builtin"];
    security.extend(spec::apparmor::is_here().then_some("name=apparmor"));
    security.extend(rootless::is().then_some("name=rootless"));
    let is_closed = rootless::is() && !rootless::leads_out();
    let warnings = Vec::from_iter(is_closed.then_some(rootless::NO_WAY_OUT));
    let mut info = json!({
        "ID": engine.id,
        "Containers": containers.len(),
        "ContainersRunning": count(&[Status::Running]),
        "ContainersPaused": count(&[Status::Paused]),
        "ContainersStopped": count(&[Status::Created, Status::Restarting, Status::Exited, Status::Dead]),
        "Images": engine.images.all().len(),
        "Driver": engine.images.layers.driver(),
        "DockerRootDir": lossy(&engine.settings.root),
        "Plugins": {"Volume": ["local"], "Network": ["bridge", "host", "null"], "Log": ["json-file", "none"], "Authorization": null},
        "MemoryLimit": memory, "SwapLimit": memory, "CpuCfsPeriod": cpu, "CpuCfsQuota": cpu, "CPUShares": cpu,
        "CPUSet": controller("cpuset"), "PidsLimit": controller("pids"), "OomKillDisable": memory && !unified,
        "Debug": false, "IPv4Forwarding": true,
        "SystemTime": time::now(),
        "LoggingDriver": "json-file",
        "CgroupDriver": spec::slice(&engine.settings.cgroup_parent).map_or("cgroupfs", |_| "systemd"),
        "CgroupVersion": if unified { "2" } else { "1" },
        "KernelVersion": kernel(),
        "OperatingSystem": os_name(),
        "OSType": "linux",
        "Architecture": std::env::consts::ARCH,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": registries(&engine.settings),
        "NCPU": settings::processors(),
        "MemTotal": stats::memory_total(),
        "Name": nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        "ServerVersion": DOCKER,
        "Runtimes": {"corten": {"path": lossy(&engine.settings.shim)}},
        "DefaultRuntime": "corten",
        "ExperimentalBuild": false,
        "Swarm": {
            "LocalNodeState": "inactive", "ControlAvailable": false,
            "NodeID": "", "NodeAddr": "", "Error": "", "RemoteManagers": null,
        },
        "LiveRestoreEnabled": true,
        "InitBinary": "docker-init",
        "SecurityOptions": security,
        "Warnings": warnings,
    });
    if version < Version(1, 50) {
        for name in ["BridgeNfIptables", "BridgeNfIp6tables"] {
            info[name] = json!(false);
        }
    }
    answer::json(&info)
}

/// What events may be of, and be asked for by name; of some there are none here. Images have several names.
const KINDS: [&str; 9] =
    ["config", "container", "daemon", "network", "node", "plugin", "secret", "service", "volume"];

fn event_wanted(filters: &Filters, event: &Event) -> bool {
    let name = event.attributes.get("name").map(String::as_str).unwrap_or_default();
    let of = |kind: &str, wanted: &String| {
        event.kind == kind && [&event.actor, name].iter().any(|own| own.starts_with(wanted.as_str()))
    };
    let labels = event.attributes.clone().into_iter().collect();
    filters.any("type", |kind| kind == event.kind)
        // exec_start: sh is found as exec_start.
        && filters.any("event", |action| event.action == *action || event.action.starts_with(&format!("{action}:")))
        && KINDS.iter().all(|kind| filters.any(kind, |wanted| of(kind, wanted)))
        && filters.any("image", |wanted| {
            let is_its =
                |own: &String| own == wanted || Reference::parse(own).is_ok_and(|own| own.familiar() == *wanted);
            let (is_image, own) = (event.kind == "image", if event.kind == "image" { "name" } else { "image" });
            is_image && event.actor.starts_with(wanted.as_str()) || event.attributes.get(own).is_some_and(is_its)
        })
        && filters.any("scope", |scope| scope == "local")
        && filters.labels(&labels)
}

/// Each event behind a byte that begins it: RFC 7464.
const SEQUENCE: &str = "application/json-seq";

pub(super) fn events(engine: &Engine, call: &Call) -> Result<Answer> {
    let filters = call.filters(&[&KINDS[..], &["event", "image", "label", "scope", "type"]].concat())?;
    let (since, until) = (call.time("since")?, call.time("until")?);
    if let (Some(since), Some(until)) = (since, until) {
        ensure!(since <= until, invalid, "`since` time ({since}) cannot be after `until` time ({until})");
    }
    let (past, receiver) = engine.events.subscribe();
    let old = call.version < Version(1, 52);
    let kind = call.accepted(&["application/jsonl", "application/x-ndjson", SEQUENCE]);
    let kind = kind.unwrap_or(if old { "application/json" } else { "application/jsonl" });
    let start = if kind == SEQUENCE { "\u{1e}" } else { "" };
    // With an end alone it is all that is remembered until then.
    let is_told = move |event: &Event| since.map_or(until.is_some(), |since| event.time >= since);
    let past = past.into_iter().filter(is_told);
    let news = stream::unfold(receiver, async |mut receiver| {
        loop {
            match receiver.recv().await {
                Err(RecvError::Lagged(_)) => {}
                other => return Some((other.ok()?, receiver)),
            }
        }
    });
    let left = until.map_or(Duration::MAX, |until| time::between(Time::now(), until));
    let told = stream::iter(past).chain(news.take_until(tokio::time::sleep(left))).filter_map(move |event| {
        let over = until.is_some_and(|until| event.time > until);
        let wanted = !over && event_wanted(&filters, &event);
        ready(wanted.then(|| format!("{start}{}\n", event.json(old)).into()))
    });
    Ok(answer::streamed(kind, told))
}

/// Things of a kind: what is told of each, its size, and whether it is in use.
type Rows = Vec<(Value, u64, bool)>;

/// What is on the disk: of all kinds, or of those that are asked for. From API 1.52 on there are sums; as by dockerd, what
/// was told before still is, unless all is asked for.
pub(super) fn disk_usage(engine: &Engine, call: &Call) -> Result<Answer> {
    let kinds = call.all("type");
    let summed = call.version >= Version(1, 52);
    let verbose = summed && call.flag("verbose");
    let mut all = if summed { json!({}) } else { json!({"BuilderSize": 0}) };
    let tables: [(&str, &str, &str, &dyn Fn() -> Rows); 4] = [
        ("image", "ImageUsage", "Images", &|| images(engine)),
        ("container", "ContainerUsage", "Containers", &|| containers(engine, call.version)),
        ("volume", "VolumeUsage", "Volumes", &|| volumes(engine)),
        ("build-cache", "BuildCacheUsage", "BuildCache", &Rows::new),
    ];
    if let Some(unknown) = kinds.iter().find(|kind| tables.iter().all(|(known, ..)| known != kind)) {
        bail!(invalid, "unknown object type: {unknown}");
    }
    let asked = |kind: &str| kinds.is_empty() || kinds.iter().any(|own| own == kind);
    for (kind, name, plural, rows) in tables.into_iter().filter(|(kind, ..)| asked(kind)) {
        let rows = rows();
        let size = match kind {
            "image" => engine.images.size(&engine.images.layers.all()),
            _ => rows.iter().map(|(_, size, _)| size).sum(),
        };
        let unused: Vec<_> = rows.iter().filter(|(_, _, used)| !used).map(|(_, size, _)| *size).collect();
        if summed {
            all[name] = json!({
                "ActiveCount": rows.len() - unused.len(), "TotalCount": rows.len(), "TotalSize": size,
                "Reclaimable": unused.iter().sum::<u64>(),
            });
        }
        if kind == "image" && !verbose {
            all["LayersSize"] = json!(size);
        }
        if verbose && rows.is_empty() {
            continue;
        }
        let items = if verbose { &mut all[name]["Items"] } else { &mut all[plural] };
        *items = rows.into_iter().map(|(row, ..)| row).collect();
    }
    answer::json(&all)
}

fn images(engine: &Engine) -> Rows {
    let images = engine.images.all();
    let row = |image: &Arc<Image>| {
        let others = images.iter().filter(|other| other.id != image.id);
        let others: BTreeSet<_> = others.flat_map(|other| &other.config.rootfs.diff_ids).collect();
        let layers = image.config.rootfs.diff_ids.iter().cloned();
        let (shared, own): (Vec<_>, Vec<_>) = layers.partition(|layer| others.contains(layer));
        let mut row = inspect::image_row(engine, image);
        row["SharedSize"] = json!(engine.images.size(&shared));
        let used = row["Containers"] != 0;
        (row, engine.images.size(&own), used)
    };
    images.iter().map(row).collect()
}

fn containers(engine: &Engine, version: Version) -> Rows {
    let row = |container: &Arc<Container>| {
        let row = inspect::row(container, true, version);
        let size = row["SizeRw"].as_u64().unwrap_or(0);
        (row, size, container.record().state.status.is_active())
    };
    engine.all_containers().iter().map(row).collect()
}

fn volumes(engine: &Engine) -> Rows {
    let used = engine.used_volumes();
    let row = |volume: &Volume| {
        let size = inspect::size_of_tree(&volume.mountpoint);
        let users = used.get(&volume.name).map_or(0, Vec::len);
        let mut row = json!(volume);
        row["UsageData"] = json!({"Size": size, "RefCount": users});
        (row, size, users > 0)
    };
    // What one with options has is elsewhere.
    engine.volumes.all().iter().filter(|volume| volume.options.is_empty()).map(row).collect()
}
