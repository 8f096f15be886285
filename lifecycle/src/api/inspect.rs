//! Containers and images as the API writes them.

use std::path::Path;
use std::sync::Arc;

use bollard_stubs::models::{ContainerConfig, HealthStatusEnum};
use serde_json::{Value, json};
use walkdir::WalkDir;

use super::{Answer, Call, Version, answer};
use crate::container::{Container, MountPoint, Record, Status, spec};
use crate::engine::Engine;
use crate::error::Result;
use crate::files::lossy;
use crate::image::{Image, Reference};
use crate::network;
use crate::said;
use crate::time::{self, NEVER, Time};

/// A container in full.
pub(super) fn container(container: &Container, call: &Call) -> Result<Answer> {
    let version = call.version;
    let record = container.record().clone();
    let state = &record.state;
    let path =
        |name: &str| Some(container.folder.join(name)).filter(|path| path.exists()).unwrap_or_default();
    let log = record.has_log().then(|| container.log());
    let mut value = json!({
        "Id": record.id,
        "Created": record.created,
        "Path": record.command.first(),
        "Args": record.command.get(1..).unwrap_or_default(),
        "State": {
            "Status": state.status,
            "Running": state.status.is_active(),
            "Paused": state.status == Status::Paused,
            "Restarting": state.status == Status::Restarting,
            "OOMKilled": state.oom_killed,
            "Dead": state.status == Status::Dead,
            "Pid": state.pid,
            "ExitCode": state.exit_code,
            "Error": state.error,
            "StartedAt": state.started.as_deref().unwrap_or(NEVER),
            "FinishedAt": state.finished.as_deref().unwrap_or(NEVER),
        },
        "Image": record.image,
        "ResolvConfPath": lossy(&path("resolv.conf")),
        "HostnamePath": lossy(&path("hostname")),
        "HostsPath": lossy(&path("hosts")),
        "LogPath": log.map(|log| lossy(&log)),
        "Name": record.slash_name(),
        "RestartCount": record.restart_count,
        "Driver": container.engine.images.layers.driver(),
        "Platform": "linux",
        "AppArmorProfile": spec::apparmor::profile(&record.host)?.unwrap_or_default(), "MountLabel": "", "ProcessLabel": "",
        "ExecIDs": Some(container.engine.execs_of(&record.id)).filter(|ids| !ids.is_empty()),
        "HostConfig": host(&record, version)?,
        "GraphDriver": graph_driver(container)?,
        "Mounts": mounts(&record, |_| true),
        "Config": config(&record.config, Some(&record.image_name), version)?,
        "NetworkSettings": super::network::of_container(container, &record, version),
    });
    let mode = container.engine.networks.get(record.network_mode()).map(|network| network.name);
    let main = mode.ok().and_then(|name| record.networks.get(&name));
    if let Some(mac) = main.and_then(network::own_mac).filter(|_| version < Version(1, 52)) {
        value["Config"]["MacAddress"] = json!(mac);
    }
    if let Some(health) = &state.health {
        value["State"]["Health"] = json!(health);
    }
    if call.flag("size") {
        sizes(container, &mut value)?;
    }
    answer::json(&value)
}

/// What a container has written, and what that is with its image.
fn sizes(container: &Container, value: &mut Value) -> Result<()> {
    let own = container.size()?;
    let layers = container.record().layers.clone();
    value["SizeRootFs"] = json!(own + container.engine.images.size(&layers));
    value["SizeRw"] = json!(own);
    Ok(())
}

/// Where the files are: the directories of the overlay, if it is one.
fn graph_driver(container: &Container) -> Result<Value> {
    let (files, layers) = (container.overlay()?, &container.engine.images.layers);
    let Some((upper, work)) = files.upper.filter(|_| !layers.copied) else {
        return Ok(json!({"Name": layers.driver(), "Data": null}));
    };
    let lower: Vec<_> = files.lower.iter().map(|path| path.to_string_lossy()).collect();
    let merged = container.bundle().join("rootfs");
    let data = json!({"LowerDir": lower.join(":"), "UpperDir": upper, "WorkDir": work, "MergedDir": merged});
    Ok(json!({"Name": layers.driver(), "Data": data}))
}

/// Fields of the host's configuration that clients take for granted.
fn host(record: &Record, version: Version) -> Result<Value> {
    let mut host = serde_json::to_value(&record.host)?;
    host["ShmSize"] = json!(record.shm_size());
    // In other networks they are the endpoint's.
    host["Links"] =
        json!(record.host.links.as_ref().filter(|_| record.network_mode() == "bridge").map(|links| {
            let full = |(other, alias)| format!("/{other}:/{}/{alias}", record.name);
            links.iter().map(|link| full(network::links::split(link))).collect::<Vec<_>>()
        }));
    let privileged = record.host.privileged == Some(true);
    let shown = |paths: Vec<String>| Some(paths).filter(|paths| !privileged || !paths.is_empty());
    let cgroup = if spec::is_unified() { "private" } else { "host" };
    let defaults = json!({
        "NetworkMode": "bridge", "IpcMode": "private", "CgroupnsMode": cgroup, "Runtime": "corten",
        "PortBindings": {}, "Binds": null, "ContainerIDFile": "", "AutoRemove": false,
        "Privileged": false, "ReadonlyRootfs": false, "Memory": 0, "NanoCpus": 0,
        "CapAdd": null, "CapDrop": null, "DeviceCgroupRules": null, "DeviceRequests": null, "ExtraHosts": null,
        "LogConfig": {"Type": "json-file", "Config": {}}, "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "GroupAdd": null, "Links": null, "SecurityOpt": null, "VolumesFrom": null, "PidsLimit": null,
        "Dns": null, "DnsOptions": null, "DnsSearch": null, "Devices": null, "Ulimits": null, "BlkioWeightDevice": null,
        "BlkioDeviceReadBps": null, "BlkioDeviceWriteBps": null, "BlkioDeviceReadIOps": null,
        "BlkioDeviceWriteIOps": null, "VolumeDriver": "", "Cgroup": "", "CgroupParent": "", "CpusetCpus": "",
        "CpusetMems": "", "Isolation": "", "PidMode": "", "UTSMode": "", "UsernsMode": "", "BlkioWeight": 0,
        "CpuShares": 0, "CpuPeriod": 0, "CpuQuota": 0, "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0, "CpuCount": 0,
        "CpuPercent": 0, "IOMaximumIOps": 0, "IOMaximumBandwidth": 0, "MemoryReservation": 0, "MemorySwap": 0,
        "OomScoreAdj": 0, "OomKillDisable": false, "PublishAllPorts": false, "ConsoleSize": [0, 0],
        "MaskedPaths": shown(spec::masked(&record.host)), "ReadonlyPaths": shown(spec::read_only(&record.host)),
    });
    said::fill(&mut host, &defaults);
    if let Some(umask) = record.umask.filter(|_| version >= Version(1, 56)) {
        host["Umask"] = json!(umask);
    }
    // Nothing is -1 here, as the command line sends it.
    host["PidsLimit"] = json!(record.host.pids_limit);
    host["MemorySwappiness"] = json!(record.host.memory_swappiness.filter(|share| *share >= 0));
    Ok(host)
}

/// What is not told of images, though those that are made from containers have it.
const OF_CONTAINERS: &str = "Hostname Domainname AttachStdin AttachStdout AttachStderr Tty OpenStdin StdinOnce \
                             Image NetworkDisabled MacAddress StopTimeout";

/// The configuration of a container, or of an image, which is made from none.
fn config(config: &ContainerConfig, image: Option<&String>, version: Version) -> Result<Value> {
    let mut config = serde_json::to_value(config)?;
    // Of an image, what is empty is not there.
    if let Value::Object(fields) = &mut config {
        fields.retain(|_, value| image.is_some() || !said::is_nothing(value));
    }
    config["Image"] = json!(image);
    let defaults = json!({
        "Tty": false, "OpenStdin": false, "StdinOnce": false, "AttachStdin": false, "AttachStdout": false,
        "AttachStderr": false, "User": "", "Domainname": "", "WorkingDir": "", "Labels": {}, "Env": [],
        "Cmd": null, "Entrypoint": null, "Volumes": null, "OnBuild": null,
    });
    said::fill(&mut config, &defaults);
    let may_lack = |name: &str| version >= Version(1, 52) && (image.is_none() || name == "OnBuild");
    let is_told = |name: &str| image.is_some() || !OF_CONTAINERS.split_whitespace().any(|own| own == name);
    if let Value::Object(fields) = &mut config {
        fields.retain(|name, value| {
            is_told(name) && !(may_lack(name) && (said::is_nothing(value) || *value == json!({})))
        });
    }
    Ok(config)
}

/// What is mounted, but for what `--tmpfs` says.
fn mounts(record: &Record, wanted: fn(&&MountPoint) -> bool) -> Vec<Value> {
    let own =
        |point: &&MountPoint| !record.host.tmpfs.iter().flatten().any(|(path, _)| *path == point.destination);
    record.mounts.iter().filter(own).filter(wanted).map(mount).collect()
}

fn mount(point: &MountPoint) -> Value {
    let mut value = json!({
        "Type": point.kind,
        "Source": point.source,
        "Destination": point.destination,
        "Mode": point.mode,
        "RW": point.writable,
        "Propagation": if point.kind == "bind" && point.propagation.is_empty() { "rprivate" } else { &point.propagation },
    });
    if let Some(volume) = &point.volume {
        value["Name"] = json!(volume);
        value["Driver"] = json!("local");
    }
    value
}

/// A container as a row of a list.
pub(super) fn row(container: &Container, size: bool, version: Version) -> Value {
    let record = container.record().clone();
    // The name, as long as it still means this image.
    let current =
        container.engine.images.find(&record.image_name).is_ok_and(|image| image.id == record.image);
    let image = if current { record.image_name.clone() } else { record.image.clone() };
    let mut value = json!({
        "Id": record.id,
        "Names": [record.slash_name()],
        "Image": image,
        "ImageID": record.image,
        "Command": command(&record.command),
        "Created": seconds(Some(&record.created)),
        "Ports": ports(&record),
        "Labels": record.labels(),
        "State": record.state.status,
        "Status": status(&record),
        "HostConfig": {"NetworkMode": record.network_mode()},
        "NetworkSettings": {"Networks": super::network::endpoints(container.engine, &record, version)},
        "Mounts": mounts(&record, |point| point.kind != "tmpfs"),
    });
    if let Some(annotations) = record.host.annotations.as_ref().filter(|_| version >= Version(1, 46)) {
        value["HostConfig"]["Annotations"] = json!(annotations);
    }
    if version >= Version(1, 52) {
        let streak = record.state.health.as_ref().and_then(|health| health.failing_streak);
        value["Health"] = json!({"Status": record.health(), "FailingStreak": streak.unwrap_or(0)});
    }
    if size {
        // One that is being removed has none.
        let _gone = sizes(container, &mut value);
    }
    value
}

/// A time as rows of lists have it.
fn seconds(time: Option<&String>) -> i64 {
    time.and_then(|time| time::parse(time)).map_or(0, Time::as_second)
}

fn command(words: &[String]) -> String {
    let quote = |word: &String| match word.contains(char::is_whitespace) || word.is_empty() {
        true => format!("'{word}'"),
        false => word.clone(),
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// What is exposed, and what is published where.
pub(super) fn ports(record: &Record) -> Vec<Value> {
    let private = |port: &str| {
        let (number, kind) = port.split_once('/').unwrap_or((port, "tcp"));
        json!({"PrivatePort": number.parse::<u16>().unwrap_or(0), "Type": kind})
    };
    let hidden = record.exposed().into_iter().filter(|port| !record.ports.contains_key(*port));
    let mut all: Vec<_> = hidden.map(|port| private(port)).collect();
    for (port, (ip, public)) in record.ports.iter().flat_map(|(port, on)| on.iter().map(move |on| (port, on)))
    {
        let mut row = private(port);
        (row["IP"], row["PublicPort"]) = (json!(ip), json!(public));
        all.push(row);
    }
    all
}

/// What people read: `Up 5 minutes (healthy)`.
fn status(record: &Record) -> String {
    let state = &record.state;
    let since = |time: &Option<String>| {
        let time = time.as_deref().and_then(time::parse).unwrap_or_default();
        words(time::between(time, Time::now()).as_secs())
    };
    match state.status {
        Status::Created => "Created".into(),
        Status::Running | Status::Paused => {
            let health = match state.health.as_ref().and_then(|health| health.status) {
                Some(HealthStatusEnum::STARTING) => " (health: starting)".to_owned(),
                Some(status) => format!(" ({status})"),
                None => String::new(),
            };
            let paused = if state.status == Status::Paused { " (Paused)" } else { &health };
            format!("Up {}{paused}", since(&state.started))
        }
        Status::Restarting => format!("Restarting ({}) {} ago", state.exit_code, since(&state.finished)),
        Status::Removing => "Removal In Progress".into(),
        Status::Dead => "Dead".into(),
        Status::Exited if state.finished.is_none() => "Exited".into(),
        Status::Exited => format!("Exited ({}) {} ago", state.exit_code, since(&state.finished)),
    }
}

/// A duration as go-units writes it.
fn words(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        0 => "Less than a second".into(),
        1 => "1 second".into(),
        _ if seconds < 60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".into(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".into(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 14 => format!("{} days", hours / 24),
        _ if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// Bytes of all files below a directory of ours; links are not followed.
pub(super) fn size_of_tree(path: impl AsRef<Path>) -> u64 {
    let entries = WalkDir::new(path).into_iter().flatten().filter(|entry| entry.file_type().is_file());
    entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
}

fn familiar(names: &[Reference]) -> Vec<String> {
    names.iter().map(Reference::familiar_full).collect()
}

/// An image in full.
pub(super) fn image(engine: &Engine, image: &Image, version: Version) -> Result<Answer> {
    let (tags, digests) = engine.images.names(&image.id);
    let mut value = json!({
        "Id": image.id,
        "RepoTags": familiar(&tags),
        "RepoDigests": familiar(&digests),
        "Parent": image.parent.clone().unwrap_or_default(),
        "Comment": image.config.history.last().and_then(|step| step.comment().as_deref()).unwrap_or_default(),
        "Created": image.config.created.as_deref().unwrap_or(NEVER),
        "Author": image.config.author.clone().unwrap_or_default(),
        "DockerVersion": "",
        "Config": config(&image.config.container(), None, version)?,
        "Architecture": image.config.architecture,
        "Variant": image.config.variant,
        "Os": image.config.os,
        "Size": engine.images.size(&image.config.rootfs.diff_ids),
        "GraphDriver": {"Name": engine.images.layers.driver(), "Data": null},
        "RootFS": {"Type": "layers", "Layers": image.config.rootfs.diff_ids},
        "Metadata": {"LastTagTime": image.tagged.as_deref().unwrap_or(NEVER)},
    });
    let may_lack = |name: &str| matches!(name, "Parent" | "Comment" | "DockerVersion" | "Author");
    if let Some(fields) = value.as_object_mut().filter(|_| version >= Version(1, 52)) {
        fields.retain(|name, value| !(may_lack(name) && said::is_nothing(value)));
    }
    answer::json(&value)
}

/// An image as a row of a list.
pub(super) fn image_row(engine: &Engine, image: &Image) -> Value {
    let (tags, digests) = engine.images.names(&image.id);
    let size = engine.images.size(&image.config.rootfs.diff_ids);
    json!({
        "Id": image.id,
        "ParentId": image.parent.clone().unwrap_or_default(),
        "RepoTags": familiar(&tags),
        "RepoDigests": familiar(&digests),
        "Created": seconds(image.config.created.as_ref()),
        "Size": size,
        // What clients before 1.44 make the sizes of `docker system df -v` from.
        "VirtualSize": size,
        "SharedSize": -1,
        "Labels": image.config.container().labels,
        "Containers": super::image::users(engine, &image.id).len(),
    })
}

/// A list of what each step of an image has added.
pub(super) fn history(engine: &Engine, image: Arc<Image>) -> Result<Answer> {
    let mut layers = image.config.rootfs.diff_ids.iter();
    let mut rows: Vec<Value> = Vec::new();
    for step in &image.config.history {
        let layer = if step.empty_layer() == Some(true) { None } else { layers.next() };
        let size = layer.and_then(|id| engine.images.layers.get(id)).map_or(0, |layer| layer.size);
        rows.push(json!({
            "Id": "<missing>",
            "Created": seconds(step.created().as_ref()),
            "CreatedBy": step.created_by().as_deref().unwrap_or_default(),
            "Tags": null,
            "Size": size,
            "Comment": step.comment().as_deref().unwrap_or_default(),
        }));
    }
    rows.reverse();
    // What was made here is an image step by step.
    let mut own = Some(image);
    for row in &mut rows {
        let Some(image) = own else { break };
        let (tags, _) = engine.images.names(&image.id);
        row["Id"] = json!(image.id);
        row["Tags"] = json!((!tags.is_empty()).then(|| familiar(&tags)));
        own = image.parent.as_deref().and_then(|parent| engine.images.find(parent).ok());
    }
    answer::json(&rows)
}
