//! `/containers/…`

use std::iter::successors;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bollard_stubs::models::{ContainerCreateBody, HealthStatusEnum};
use futures_util::{FutureExt, StreamExt, stream};
use regex::Regex;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::block_in_place;

use super::hijack::Way;
use super::{Answer, Call, Version, answer, hijack, inspect};
use crate::container::{
    self, Container, Input, MountPoint, Output, Query, Record, Removal, Sides, Status, settings,
};
use crate::engine::Engine;
use crate::error::{Error, Result, StatusCode, bail, ensure};
use crate::image::config::{Platform, check_image};
use crate::said;
use crate::time::Time;

/// `POST /containers/create`
pub(super) async fn create(engine: &'static Engine, mut call: Call) -> Result<Answer> {
    let mut body = call.json_of::<ContainerCreateBody>().await?;
    let beside = |key: &String| matches!(key.as_str(), "HostConfig" | "NetworkingConfig" | "Platform");
    let says = body.as_object().is_some_and(|fields| !fields.keys().all(beside));
    ensure!(says, invalid, "config cannot be empty in order to create a container");
    let mut warnings = adapt(&mut body, call.version)?;
    let asked = call.platform()?;
    if let Some(name) = body["Image"].as_str().filter(|image| !image.is_empty()) {
        let image = engine.images.find(name)?;
        let (own, ours) = (Platform::of(&image.config), Platform::ours());
        match asked {
            Some(asked) => check_image(name, &image.config, &asked)?,
            None if ours.distance(&Platform { variant: None, ..own.clone() }).is_some() => {}
            None => warnings.push(format!(
                "The requested image's platform ({own}) does not match the detected host platform ({ours}) and no specific platform was requested"
            )),
        }
    }
    // Until then only the mount itself was read-only, not what is mounted below it.
    let shallow = call.version < Version(1, 44);
    let created = block_in_place(|| container::create(engine, call.text("name"), body, shallow));
    let container = created.map_err(|error| match error.status {
        // Clients that are told that something is missing pull the image.
        StatusCode::NOT_FOUND => Error::invalid(error.message),
        _ => error,
    })?;
    warnings.extend(settings::warnings(&container.record()).into_iter().map(str::to_owned));
    answer::created(&json!({"Id": container.id, "Warnings": warnings}))
}

/// Makes of a request what it means in that version of the API; returns what its client is to be warned of.
fn adapt(body: &mut Value, version: Version) -> Result<Vec<String>> {
    if version >= Version(1, 52) && !said::is_nothing(&body["MacAddress"]) {
        bail!(
            invalid,
            "container-wide MAC address no longer supported; use endpoint-specific MAC address instead"
        );
    }
    let endpoints =
        body["NetworkingConfig"]["EndpointsConfig"].as_object().into_iter().flat_map(|all| all.keys());
    let endpoints: Vec<&str> = endpoints.map(String::as_str).collect();
    if version < Version(1, 44) && endpoints.len() > 1 {
        bail!(
            invalid,
            "Container cannot be created with multiple network endpoints: {}",
            endpoints.join(", ")
        );
    }
    let mut mac = body["MacAddress"].take();
    let mut warnings = Vec::new();
    if version >= Version(1, 44) && !said::is_nothing(&mac) {
        warnings.push("The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead.".to_owned());
    }
    let endpoints = body.pointer_mut("/NetworkingConfig/EndpointsConfig").and_then(Value::as_object_mut);
    let endpoints = endpoints.into_iter().flat_map(|all| all.values_mut()).filter_map(Value::as_object_mut);
    for endpoint in endpoints {
        if version < Version(1, 48) {
            endpoint.remove("GwPriority");
        }
        // There was one for all, and what endpoints say is what they were told.
        if version < Version(1, 44) {
            endpoint.insert("MacAddress".into(), mac.take());
        }
    }
    body["MacAddress"] = mac;
    let Some(host) = body.get_mut("HostConfig").and_then(Value::as_object_mut) else { return Ok(warnings) };
    // What a version does not know yet, or knows no longer, has no meaning; nor has a limit that is none.
    for (name, known) in [
        ("Umask", version >= Version(1, 56)),
        ("Annotations", version >= Version(1, 43)),
        ("KernelMemory", version < Version(1, 42)),
        ("PidsLimit", host.get("PidsLimit").and_then(Value::as_i64).is_some_and(|limit| limit > 0)),
    ] {
        if !known {
            host.remove(name);
        }
    }
    if version < Version(1, 40) && host.get("IpcMode").is_none_or(said::is_nothing) {
        host.insert("IpcMode".into(), json!("shareable"));
    }
    let ports = host.get_mut("PortBindings").and_then(Value::as_object_mut);
    let mut empty = Vec::new();
    for (port, bindings) in ports.into_iter().flatten().filter(|(_, bindings)| said::is_nothing(bindings)) {
        *bindings = json!([{"HostIp": "", "HostPort": ""}]);
        empty.push(port.as_str());
    }
    if !empty.is_empty() && version >= Version(1, 52) {
        warnings.push(format!(
            "Following container port(s) have an empty list of port-bindings: {}. Such bindings will be discarded in a future version.",
            empty.join(", ")
        ));
    }
    Ok(warnings)
}

/// `POST /containers/ID/rename`
pub(super) async fn rename(container: &Container, call: &Call) -> Result<()> {
    let name = call.text("name").ok_or_else(|| Error::invalid("Neither old nor new names may be empty"))?;
    let name = container::checked_name(name)?;
    let old = container.record().name.clone();
    ensure!(old != name, invalid, "Renaming a container with the same name as its current name");
    container.engine.rename_container(container, &name)?;
    container.engine.networks.rename(container, &old, &name).await?;
    container.publish("rename", &[("oldName", format!("/{old}"))]);
    Ok(())
}

/// `POST /containers/ID/wait`
pub(super) fn wait(container: Arc<Container>, condition: &str) -> Result<Answer> {
    let status = container.record().state.status;
    let exits = container.record().exits;
    let condition = condition.to_owned();
    let is_known = matches!(condition.as_str(), "" | "not-running" | "next-exit" | "removed");
    ensure!(is_known, invalid, "Invalid condition: {condition}");
    let over = move |record: &Record| {
        let ended = record.exits > exits;
        let done = match condition.as_str() {
            "removed" => false,
            "next-exit" => ended,
            _ => !record.state.status.is_active() || ended && status != Status::Restarting,
        };
        done || record.removed
    };
    let waiting = async move {
        container.wait_until(over).await;
        // The error is that of waiting: who starts the container is told why that fails.
        let code = container.record().state.exit_code;
        answer::row(&json!({"StatusCode": code, "Error": null}))
    };
    Ok(answer::streamed("application/json", waiting.into_stream()))
}

/// `GET /containers/ID/logs`
pub(super) fn logs(container: &Arc<Container>, call: &Call) -> Result<Answer> {
    let (stdout, stderr) = (call.flag("stdout"), call.flag("stderr"));
    ensure!(stdout || stderr, invalid, "Bad parameters: you must choose at least one stream");
    let has_log = container.record().has_log();
    ensure!(has_log, not_implemented, "configured logging driver does not support reading");
    let query = Query {
        stdout,
        stderr,
        tail: call.text("tail").and_then(|text| text.parse().ok()),
        since: call.time("since")?,
        // Old clients mean no limit by that.
        until: call.time("until")?.filter(|until| *until != Time::UNIX_EPOCH),
        timestamps: call.flag("timestamps"),
        details: call.flag("details"),
        follow: call.flag("follow"),
    };
    let way = Way { raw: container.record().has_terminal(), stdout, stderr, keys: Vec::new() };
    let lines = container::read_log(container, query);
    Ok(answer::streamed(way.kind(call.version), way.bytes(lines)))
}

/// `POST /containers/ID/attach`
pub(super) fn attach(call: Call, container: Arc<Container>) -> Result<Answer> {
    let state = container.record().state.status;
    if state == Status::Paused {
        bail!(conflict, "container {} is paused, unpause the container before attach", container.id);
    }
    let way = Way {
        raw: container.record().has_terminal(),
        stdout: call.flag("stdout"),
        stderr: call.flag("stderr"),
        keys: hijack::keys(call.text("detachKeys"))?,
    };
    container.publish("attach", &[]);
    let (stdout, stderr) = (way.stdout, way.stderr);
    let (stdin, past) = (call.flag("stdin"), call.flag("logs"));
    let streaming = call.flag("stream") && (stdin || stdout || stderr);
    // Waiting begins now, before the answer: what comes after it finds this client in the list.
    let exits = container.record().exits;
    // Its logger is there before it is said to run.
    let next = if container.log_socket().exists() { None } else { Some(container.next_run()) };
    let query = Query { stdout, stderr, ..Query::default() };
    let past = if past { container::read_log(&container, query) } else { stream::empty().boxed() };
    hijack::answer(call, way, past, async move {
        let live = if streaming { live(&container, next, (exits, stdin)).await } else { None };
        live.unwrap_or_else(|| (stream::empty().boxed(), None))
    })
}

/// The streams of a container that runs or is about to.
async fn live(
    container: &Arc<Container>,
    next: Option<oneshot::Receiver<Output>>,
    (exits, stdin): (u64, bool),
) -> Option<Sides> {
    let output = match next {
        Some(next) => next.await.ok()?,
        None => container::watch(&container.log_socket()).await.ok()?,
    };
    // Whoever has read all of it finds that the container has ended.
    let known = {
        let container = Arc::clone(container);
        async move { container.end_known(exits).await }
    };
    let output = output.chain(known.into_stream().filter_map(async |()| None)).boxed();
    let config = container.record().config.clone();
    if !stdin || config.open_stdin != Some(true) {
        return Some((output, None));
    }
    // At a terminal somebody who goes may come back.
    let ends = config.stdin_once == Some(true) && config.tty != Some(true);
    let input = Input::open(&container.stdin(), container, "", ends).ok()?;
    Some((output, Some(input)))
}

/// `GET /containers/json`
pub(super) fn list(engine: &Engine, call: &Call) -> Result<Answer> {
    let known = "ancestor annotation before exited expose health id is-task label name network publish since status volume";
    let filters = call.filters(&known.split(' ').collect::<Vec<_>>())?;
    let all = call.flag("all") || !filters.get("status").is_empty() || !filters.get("exited").is_empty();
    let filters = filters.beside(|name| Ok(Some(engine.container(name)?.record().created.clone())))?;
    let statuses = filters.parsed("status", |text| serde_json::from_value(json!(text)).ok())?;
    let codes = filters.parsed("exited", |text| text.parse().ok())?;
    let health = |text: &str| text.parse().ok().filter(|health| *health != HealthStatusEnum::EMPTY);
    let healths = filters.parsed("health", health)?;
    // Those of services, which there are none of.
    let tasks = filters.boolean("is-task")? == Some(true);
    // Regular expressions, which may begin with the slash that names are written with.
    let names = filters.parsed("name", |text| Regex::new(text).ok())?;
    let named = |own: &str| names.iter().any(|name| name.is_match(own));
    let (published, exposed) = (filters.parsed("publish", ports)?, filters.parsed("expose", ports)?);
    let limit = call.number("limit")?.and_then(|limit| usize::try_from(limit).ok());
    let limit = limit.filter(|limit| *limit > 0);
    let wanted = |container: &Arc<Container>| {
        let record = container.record();
        let state = &record.state;
        let up = state.status.is_active();
        let ended = !up && state.finished.is_some();
        (all || limit.is_some() || up)
            && !tasks
            && (statuses.is_empty() || statuses.contains(&state.status))
            && (codes.is_empty() || ended && codes.contains(&state.exit_code))
            && filters.any("id", |id| record.id.starts_with(id.as_str()))
            && (names.is_empty() || [&record.name, &record.slash_name()].iter().any(|own| named(own)))
            && (healths.is_empty() || healths.contains(&record.health()))
            && filters.any("ancestor", |image| {
                engine.images.find(image).is_ok_and(|image| descends(engine, &record, &image))
            })
            && filters.any("volume", |volume| {
                let is = |m: &MountPoint| m.volume.as_ref().unwrap_or(&m.source) == volume || m.destination == *volume;
                record.mounts.iter().any(is)
            })
            && filters.any("network", |network| {
                record.networks.contains_key(network)
                    || engine.networks.get(network).is_ok_and(|n| record.networks.contains_key(&n.name))
            })
            // Either of both is enough, as for dockerd.
            && (published.is_empty() && exposed.is_empty()
                || inspect::ports(&record).iter().any(|port| {
                    within(&published, port, "PublicPort") || within(&exposed, port, "PrivatePort")
                }))
            && filters.labels(&record.labels())
            && filters.pairs("annotation", record.host.annotations.as_ref())
            && filters.in_time(Some(&record.created))
    };
    let size = call.flag("size");
    let found = engine.all_containers().into_iter().filter(wanted).take(limit.unwrap_or(usize::MAX));
    answer::json(&found.map(|container| inspect::row(&container, size, call.version)).collect::<Vec<_>>())
}

/// Ports and their protocol.
type Ports = (RangeInclusive<u64>, String);

/// What a filter says of ports: `80`, `80/udp`, `80-90/tcp`.
fn ports(text: &str) -> Option<Ports> {
    let (numbers, kind) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let range = first.parse().ok()?..=last.parse().ok()?;
    (!range.is_empty()).then(|| (range, kind.to_lowercase()))
}

/// Whether a port of a row is among them.
fn within(ports: &[Ports], row: &Value, name: &str) -> bool {
    let is = |(range, kind): &Ports| {
        row["Type"] == *kind && row[name].as_u64().is_some_and(|n| range.contains(&n))
    };
    ports.iter().any(is)
}

fn descends(engine: &Engine, record: &Record, image: &crate::image::Image) -> bool {
    let layers = &image.config.rootfs.diff_ids;
    let parent = |id: &String| engine.images.find(id).ok()?.parent.clone();
    successors(Some(record.image.clone()), parent).any(|id| id == image.id)
        || !layers.is_empty() && record.layers.starts_with(layers) && record.layers.len() > layers.len()
}

/// `POST /containers/prune`
pub(super) async fn prune(engine: &Engine, call: &Call) -> Result<Answer> {
    let filters = call.filters(&["label", "label!", "until"])?;
    let (mut deleted, mut freed) = (Vec::new(), 0);
    for container in engine.all_containers() {
        let record = container.record().clone();
        let wanted = matches!(record.state.status, Status::Created | Status::Exited | Status::Dead)
            && filters.labels(&record.labels())
            && filters.in_time(Some(&record.created));
        let size = if wanted { container.size().unwrap_or(0) } else { 0 };
        if wanted && container::remove(&container, Removal::default()).await.is_ok() {
            freed += size;
            deleted.push(container.id.clone());
        }
    }
    engine.pruned("container", freed);
    answer::json(
        &json!({"ContainersDeleted": Some(deleted).filter(|all| !all.is_empty()), "SpaceReclaimed": freed}),
    )
}
