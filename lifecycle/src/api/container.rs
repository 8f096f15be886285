//! `/containers/…`

use std::sync::Arc;

use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::block_in_place;

use super::answer::{self, Answer};
use super::hijack::{self, Way};
use super::request::Call;
use super::{exec, files, inspect, not_found, stats};
use crate::container::record::Status;
use crate::container::{self, Container, ExecConfig, Input, Output, Query, Removal, Sides, settings};
use crate::engine::Engine;
use crate::error::{Error, Kind, Result, bail, error};
use crate::logger::frame;

pub(super) async fn route(engine: &'static Engine, mut call: Call, path: &[&str]) -> Result<Answer> {
    let method = call.method.clone();
    match (method.as_str(), path) {
        ("GET", ["json"]) => return list(engine, &call),
        ("POST", ["create"]) => return create(engine, call).await,
        ("POST", ["prune"]) => return prune(engine, &call).await,
        _ => {}
    }
    let [id, rest @ ..] = path else { return Err(not_found(&call)) };
    // All of it first: a client that is still writing would not see an answer.
    let archive = match (method.as_str(), rest) {
        ("PUT", ["archive"]) => Some(call.spool(&engine.images.content).await?),
        _ => None,
    };
    let container = engine.container(id)?;
    if let Some(archive) = archive {
        return files::put(&container, &call, archive);
    }
    let (wish, patience) = (call.text("signal"), call.number("t")?);
    match (method.as_str(), rest) {
        ("DELETE", _) if call.flag("link") => {
            bail!(not_implemented, "a link goes with its container: docker rm --link is not offered")
        }
        ("DELETE", []) => {
            let how = Removal { force: call.flag("force"), volumes: call.flag("v") };
            container::remove(&container, how).await?;
            engine.collect()?;
        }
        ("GET", ["json"]) => {
            return answer::json(&inspect::container(&container, call.flag("size"))?);
        }
        ("GET", ["top"]) => return stats::top(&container, call.text("ps_args").unwrap_or("-ef")).await,
        ("GET", ["stats"]) => return stats::stats(&container, &call),
        ("GET", ["logs"]) => return logs(&container, &call),
        ("GET", ["changes"]) => return files::changes(&container),
        ("GET", ["export"]) => return files::export(&container),
        ("GET" | "HEAD", ["archive"]) => return files::get(&container, &call),
        ("POST", ["start"]) => container::start(&container).await?,
        ("POST", ["stop"]) => container::stop(&container, wish, patience).await?,
        ("POST", ["restart"]) => container::restart(&container, wish, patience).await?,
        ("POST", ["kill"]) => container::kill(&container, wish).await?,
        ("POST", ["pause"]) => container::pause(&container).await?,
        ("POST", ["unpause"]) => container::unpause(&container).await?,
        ("POST", ["rename"]) => rename(&container, &call).await?,
        ("POST", ["resize"]) => return exec::resize(&call, &container, "").await,
        ("POST", ["wait"]) => return wait(&container, call.text("condition").unwrap_or_default()),
        ("POST", ["attach"]) => return attach(call, container),
        ("POST", ["update"]) => {
            let body: Value = call.json().await?.unwrap_or_default();
            return stats::update(&container, &body).await;
        }
        ("POST", ["exec"]) => {
            let config: ExecConfig = call.json().await?.unwrap_or_default();
            return exec::create(&container, config);
        }
        _ => return Err(not_found(&call)),
    }
    answer::done()
}

async fn create(engine: &'static Engine, mut call: Call) -> Result<Answer> {
    let body: Value = call
        .json()
        .await?
        .ok_or_else(|| Error::invalid("config cannot be empty in order to create a container"))?;
    call.check_platform()?;
    engine.images.find(body["Image"].as_str().unwrap_or_default())?;
    let created = block_in_place(|| container::create(engine, call.text("name"), body));
    let container = created.map_err(|error| match error.kind {
        // Clients that are told that something is missing pull the image.
        Kind::NotFound => Error::invalid(error.message),
        _ => error,
    })?;
    let warnings = settings::warnings(&container.record());
    answer::json_with(StatusCode::CREATED, &json!({"Id": container.id, "Warnings": warnings}))
}

async fn rename(container: &Container, call: &Call) -> Result<()> {
    let name = call.text("name").ok_or_else(|| Error::invalid("Neither old nor new names may be empty"))?;
    let name = name.strip_prefix('/').unwrap_or(name).to_owned();
    crate::volume::check_name(&name)?;
    let old = container.record().name.clone();
    if old == name {
        bail!(invalid, "Renaming a container with the same name as its current name");
    }
    container.engine.rename_container(container, &name)?;
    container.engine.networks.rename(container, &old, &name).await?;
    container.publish("rename", &[("oldName", format!("/{old}"))]);
    Ok(())
}

fn wait(container: &Arc<Container>, condition: &str) -> Result<Answer> {
    let status = container.record().state.status;
    let exits = container.exits();
    let condition = condition.to_owned();
    if !matches!(condition.as_str(), "" | "not-running" | "next-exit" | "removed") {
        bail!(invalid, "Invalid condition: {condition}");
    }
    let container = Arc::clone(container);
    Ok(answer::stream("application/json", move |pusher| async move {
        let over = |container: &Container| match condition.as_str() {
            "removed" => container.is_removed(),
            "next-exit" => container.exits() > exits || container.is_removed(),
            _ => {
                !container.record().state.status.is_active()
                    || container.exits() > exits && status != Status::Restarting
                    || container.is_removed()
            }
        };
        tokio::select! {
            () = container.wait_until(over) => {}
            () = pusher.closed() => return,
        }
        // The error is that of waiting: who starts the container is told why that fails.
        let code = container.record().state.exit_code;
        pusher.json(&json!({"StatusCode": code, "Error": null})).await;
    }))
}

fn logs(container: &Arc<Container>, call: &Call) -> Result<Answer> {
    let (stdout, stderr) = (call.flag("stdout"), call.flag("stderr"));
    if !stdout && !stderr {
        bail!(invalid, "Bad parameters: you must choose at least one stream");
    }
    if call.flag("details") {
        bail!(invalid, "details are not offered: logs have none");
    }
    if settings::rotation(container.record().host.log_config.as_ref())?.is_none() {
        bail!(not_implemented, "configured logging driver does not support reading");
    }
    let query = Query {
        stdout,
        stderr,
        tail: call.text("tail").and_then(|text| text.parse().ok()),
        since: call.time("since")?,
        until: call.time("until")?,
        timestamps: call.flag("timestamps"),
        follow: call.flag("follow"),
    };
    let raw = container.record().has_terminal();
    let mut lines = container::read_log(container, query);
    Ok(answer::stream(Way::kind(raw, call.version), move |pusher| async move {
        loop {
            let line = tokio::select! {
                line = lines.recv() => line,
                () = pusher.closed() => return,
            };
            let Some((stream, bytes)) = line else { return };
            if !pusher.send(if raw { bytes } else { frame(stream, &bytes).into() }).await {
                return;
            }
        }
    }))
}

fn attach(call: Call, container: Arc<Container>) -> Result<Answer> {
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
    let (stdin, streaming, past) = (call.flag("stdin"), call.flag("stream"), call.flag("logs"));
    let (stdout, stderr) = (way.stdout, way.stderr);
    // Waiting begins now, before the answer: what comes after it finds this client in the list.
    let next = if state.is_up() { None } else { Some(container.streams.next_run()) };
    hijack::answer(call, way, async move {
        let past = past.then(|| {
            let query = Query { stdout, stderr, ..Query::default() };
            container::read_log(&container, query)
        });
        let live = if streaming { live(&container, next, stdin).await } else { None };
        join(past, live)
    })
}

/// What was logged, and then what comes.
fn join(past: Option<Output>, live: Option<Sides>) -> Option<Sides> {
    let Some(past) = past else { return live };
    let (now, input) = live.map_or((None, None), |(output, input)| (Some(output), input));
    let (sender, output) = mpsc::channel(16);
    tokio::spawn(async move {
        for mut pieces in [Some(past), now].into_iter().flatten() {
            while let Some(piece) = pieces.recv().await {
                if sender.send(piece).await.is_err() {
                    return;
                }
            }
        }
    });
    Some((output, input))
}

/// The streams of a container that runs or is about to.
async fn live(
    container: &Arc<Container>,
    next: Option<oneshot::Receiver<Output>>,
    stdin: bool,
) -> Option<Sides> {
    let output = match next {
        Some(next) => next.await.ok()?,
        None => container::watch(&container.log_socket()).await.ok()?,
    };
    let input = match stdin && container.record().config.open_stdin == Some(true) {
        true => {
            let once = container.record().config.stdin_once == Some(true);
            Some(Input::open(&container.stdin(), container, "", once).ok()?)
        }
        false => None,
    };
    Some((output, input))
}

fn list(engine: &Engine, call: &Call) -> Result<Answer> {
    let filters = call.filters(&[
        "ancestor", "before", "exited", "health", "id", "label", "name", "network", "since", "status",
        "volume",
    ])?;
    let all = call.flag("all") || !filters.get("status").is_empty() || !filters.get("exited").is_empty();
    let created = |name: &str| engine.container(name).map(|other| other.record().created.clone());
    let (before, since) = (filters.one("before", created)?, filters.one("since", created)?);
    for status in filters.get("status") {
        serde_json::from_value::<Status>(json!(status))
            .map_err(|_| error!(invalid, "invalid filter 'status={status}'"))?;
    }
    let names = filters.get("name").iter().map(|text| pattern(text)).collect::<Result<Vec<_>>>()?;
    let limit = call.number("limit")?.and_then(|limit| usize::try_from(limit).ok());
    let limit = limit.filter(|limit| *limit > 0);
    let wanted = |container: &Arc<Container>| {
        let record = container.record();
        let state = &record.state;
        let up = state.status.is_active();
        let health = state.health.as_ref().map_or("none", |health| health.status.as_str());
        (all || limit.is_some() || up)
            && filters.any("status", |status| json!(state.status) == *status)
            && filters.any("exited", |code| {
                state.finished != crate::time::NEVER && !up && code.parse() == Ok(state.exit_code)
            })
            && filters.any("id", |id| record.id.starts_with(id.as_str()))
            && (names.is_empty()
                || names
                    .iter()
                    .any(|name| name.is_match(&record.name) || name.is_match(&record.slash_name())))
            && filters.any("health", |wanted| wanted == health)
            && filters.any("ancestor", |image| {
                engine.images.find(image).is_ok_and(|image| descends(&record, &image))
            })
            && filters.any("volume", |volume| {
                record.mounts.iter().any(|m| m.volume.as_ref() == Some(volume) || m.destination == *volume)
            })
            && filters.any("network", |network| {
                record.networks.contains_key(network)
                    || engine.networks.get(network).is_ok_and(|n| record.networks.contains_key(&n.name))
            })
            && filters.labels(&record.labels())
            && before.as_ref().is_none_or(|time| record.created < *time)
            && since.as_ref().is_none_or(|time| record.created > *time)
    };
    let size = call.flag("size");
    let found = engine.all_containers().into_iter().filter(wanted).take(limit.unwrap_or(usize::MAX));
    answer::json(&found.map(|container| inspect::row(&container, size)).collect::<Vec<_>>())
}

/// A name in a filter: a regular expression, which may begin with the slash that names are written with.
fn pattern(text: &str) -> Result<regex::Regex> {
    regex::Regex::new(text).map_err(|_| error!(invalid, "invalid filter 'name={text}'"))
}

fn descends(record: &container::Record, image: &crate::image::Image) -> bool {
    let layers = &image.config.rootfs.diff_ids;
    record.image == image.id
        || !layers.is_empty() && record.layers.starts_with(layers) && record.layers.len() > layers.len()
}

async fn prune(engine: &Engine, call: &Call) -> Result<Answer> {
    let filters = call.filters(&["label", "label!", "until"])?;
    let (mut deleted, mut freed) = (Vec::new(), 0);
    for container in engine.all_containers() {
        let wanted = {
            let record = container.record();
            matches!(record.state.status, Status::Created | Status::Exited | Status::Dead)
                && filters.labels(&record.labels())
                && filters.old(Some(&record.created))
        };
        if !wanted {
            continue;
        }
        let size = container.size().unwrap_or(0);
        if container::remove(&container, Removal::default()).await.is_ok() {
            freed += size;
            deleted.push(container.id.clone());
        }
    }
    answer::json(&json!({"ContainersDeleted": deleted, "SpaceReclaimed": freed}))
}
