//! The Docker Engine API: which request means what. What is done is done elsewhere.

pub mod answer;
mod build;
pub mod client;
mod container;
mod exec;
mod files;
mod hijack;
mod image;
mod import;
mod inspect;
mod network;
pub mod request;
pub mod server;
mod stats;
mod system;
pub mod tls;
mod volume;

use std::fmt;
use std::sync::Arc;

use hyper::body::Body;
use serde_json::json;
use tokio::task::block_in_place;

use crate::container::{self as containers, Container, Removal};
use crate::engine::Engine;
use crate::error::{Result, bail, ensure};
use answer::Answer;
use request::Call;

/// A version of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.0, self.1)
    }
}

/// The newest and the oldest version that is spoken.
pub const NEWEST: Version = Version(1, 56);
const OLDEST: Version = Version(1, 24);

/// Answers a request.
async fn route(engine: &'static Engine, mut call: Call) -> Result<Answer> {
    let (version, method) = (call.version, call.method.clone());
    if version > NEWEST {
        bail!(invalid, "client version {version} is too new. Maximum supported API version is {NEWEST}");
    }
    if version < OLDEST {
        bail!(
            invalid,
            "client version {version} is too old. Minimum supported API version is {OLDEST}, please upgrade your client to a newer version"
        );
    }
    let path = std::mem::take(&mut call.path);
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match (method.as_str(), &path[..]) {
        ("OPTIONS", _) => answer::nothing(),
        ("GET", ["containers", "json"]) => container::list(engine, &call),
        ("POST", ["containers", "create"]) => container::create(engine, call).await,
        ("POST", ["containers", "prune"]) => container::prune(engine, &call).await,
        (_, ["containers", id, rest @ ..]) => route_container(engine.container(id)?, call, rest).await,
        ("GET", ["exec", id, "json"]) => exec::inspect(&*engine.exec(id)?),
        ("POST", ["exec", id, "start"]) => exec::start(call, engine.exec(id)?).await,
        ("POST", ["exec", id, "resize"]) => {
            let exec = engine.exec(id)?;
            exec::resize(&call, &exec.container, Some(&exec)).await
        }
        ("GET", ["images", "json"]) => image::list(engine, &call),
        ("POST", ["images", "load"]) => image::load(engine, call).await,
        ("GET", ["images", "get"]) => image::save(engine, &call, &call.all("names")),
        ("POST", ["images", "create"]) if call.text("fromSrc").is_some() => {
            import::import(engine, call).await
        }
        ("POST", ["images", "create"]) => image::pull(engine, &call).await,
        ("POST", ["images", "prune"]) => image::prune(engine, &call),
        ("GET", ["images", "search"]) => image::search(engine, &call).await,
        // A name may have slashes.
        ("GET", ["images", name @ .., "json"]) => {
            inspect::image(engine, &*image::find(engine, &call, &name.join("/"))?, version)
        }
        ("GET", ["images", name @ .., "history"]) => {
            inspect::history(engine, image::find(engine, &call, &name.join("/"))?)
        }
        ("GET", ["images", name @ .., "get"]) => image::save(engine, &call, &[name.join("/")]),
        ("POST", ["images", name @ .., "push"]) => image::push(engine, &call, &name.join("/")).await,
        ("POST", ["images", name @ .., "tag"]) => image::tag(engine, &call, &name.join("/")),
        ("DELETE", ["images", name @ ..]) => image::remove(engine, &call, &name.join("/")),
        ("GET", ["networks"]) => network::list(engine, &call),
        ("POST", ["networks", "create"]) => network::create(engine, call.json().await?),
        ("POST", ["networks", "prune"]) => network::prune(engine, &call).await,
        ("GET", ["networks", name]) => network::inspect(engine, &call, name),
        ("DELETE", ["networks", name]) => network::remove(engine, name).await,
        ("POST", ["networks", name, "connect"]) => network::connect(engine, name, call.json().await?).await,
        ("POST", ["networks", name, "disconnect"]) => {
            network::disconnect(engine, name, call.json().await?).await
        }
        ("GET", ["volumes"]) => volume::list(engine, &call),
        ("POST", ["volumes", "create"]) => volume::create(engine, call.json().await?),
        ("POST", ["volumes", "prune"]) => volume::prune(engine, &call),
        ("GET", ["volumes", name]) => answer::json(&engine.volumes.get(name)?),
        ("DELETE", ["volumes", name]) => volume::remove(engine, name, call.flag("force")),
        _ => route_rest(engine, call, &path).await,
    }
}

/// What is about one container.
async fn route_container(container: Arc<Container>, mut call: Call, path: &[&str]) -> Result<Answer> {
    let method = call.method.clone();
    let (signal, patience) = (call.text("signal"), call.number("t")?);
    match (method.as_str(), path) {
        ("DELETE", _) if call.flag("link") => {
            bail!(not_implemented, "a link goes with its container: docker rm --link is not offered")
        }
        ("DELETE", []) => {
            let how = Removal { force: call.flag("force"), volumes: call.flag("v") };
            containers::remove(&container, how).await?;
            container.engine.collect()?;
        }
        ("POST", ["start"]) => {
            let is_bare = call.request.body().size_hint().upper().is_some_and(|size| size < 8);
            ensure!(is_bare, invalid, "starting container with non-empty request body was removed in v1.24");
            containers::start(&container).await?;
        }
        ("POST", ["stop"]) => containers::stop(&container, signal, patience).await?,
        ("POST", ["restart"]) => containers::restart(&container, signal, patience).await?,
        ("POST", ["kill"]) => containers::kill(&container, signal).await?,
        ("POST", ["pause"]) => containers::pause(&container).await?,
        ("POST", ["unpause"]) => containers::unpause(&container).await?,
        ("POST", ["rename"]) => container::rename(&container, &call).await?,
        ("GET", ["json"]) => return inspect::container(&container, &call),
        ("GET", ["top"]) => return stats::top(&container, call.text("ps_args").unwrap_or("-ef")).await,
        ("GET", ["stats"]) => return stats::stats(&container, &call),
        ("GET", ["logs"]) => return container::logs(&container, &call),
        ("GET", ["changes"]) => return files::changes(&container),
        ("GET", ["export"]) => return files::export(&container).await,
        ("GET" | "HEAD", ["archive"]) => return files::get(&container, &call).await,
        ("PUT", ["archive"]) => return files::put(&container, call).await,
        ("POST", ["resize"]) => return exec::resize(&call, &container, None).await,
        ("POST", ["wait"]) => return container::wait(container, call.text("condition").unwrap_or_default()),
        ("POST", ["attach"]) => return container::attach(call, container),
        ("POST", ["update"]) => return stats::update(&container, call).await,
        ("POST", ["exec"]) => return exec::create(&container, call.json().await?),
        _ => bail!(not_found, "page not found"),
    }
    answer::done()
}

/// What is about the engine as a whole, and what is not offered.
async fn route_rest(engine: &'static Engine, call: Call, path: &[&str]) -> Result<Answer> {
    let method = call.method.clone();
    match (method.as_str(), path) {
        ("GET" | "HEAD", ["_ping"]) => Ok(system::ping()),
        ("GET", ["version"]) => system::version(),
        ("GET", ["info"]) => system::info(engine, call.version),
        ("GET", ["events"]) => system::events(engine, &call),
        ("GET", ["system", "df"]) => block_in_place(|| system::disk_usage(engine, &call)),
        ("POST", ["auth"]) => image::log_in(engine, call).await,
        ("POST", ["build"]) => build::build(engine, call).await,
        ("POST", ["build", "prune"]) => {
            engine.pruned("builder", 0);
            answer::json(&json!({"CachesDeleted": null, "SpaceReclaimed": 0}))
        }
        ("POST", ["commit"]) => import::commit(engine, call).await,
        ("GET", ["images", _, .., "attestations"]) if call.version >= Version(1, 55) => {
            bail!(not_implemented, "this engine's image store does not keep attestations")
        }
        ("GET", ["plugins"]) => answer::json(&json!([])),
        (_, ["plugins", ..]) => bail!(not_found, "plugins are not offered by this engine"),
        (_, ["swarm" | "nodes" | "services" | "tasks" | "secrets" | "configs", ..]) => {
            bail!(unavailable, "This node is not a swarm manager. Swarm mode is not offered by this engine.")
        }
        (_, ["session" | "grpc", ..]) => bail!(not_found, "{}", build::NO_BUILDKIT),
        ("GET", ["distribution", name @ .., "json"]) => {
            image::distribution(engine, &call, &name.join("/")).await
        }
        _ => bail!(not_found, "page not found"),
    }
}
