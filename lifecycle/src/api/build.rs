//! `POST /build`: what is asked for, and what cannot be honoured refused by name.

use std::collections::HashMap;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::{Answer, Call, answer};
use crate::build::{self, Build, Options};
use crate::container::{part, spec};
use crate::engine::Engine;
use crate::error::{Result, bail, ensure, error};
use crate::image::{DEFAULT_DOMAIN, Reference};
use crate::registry::{self, Credentials};

/// Parameters of BuildKit, of other systems, or of what is not offered.
const REFUSED: [(&str, &str); 6] = [
    ("remote", "building from a URL is not offered: send the context"),
    ("squash", "squashing is not offered"),
    ("outputs", "outputs need BuildKit"),
    ("session", "sessions need BuildKit"),
    ("isolation", "isolation is for Windows"),
    ("target-platform", "building for other machines is not offered"),
];

/// What those hear who ask for it.
pub(super) const NO_BUILDKIT: &str = "BuildKit is not part of this engine: use the classic builder (DOCKER_BUILDKIT=0), \
     or buildkitd with corten as its runtime";

pub(super) async fn build(engine: &'static Engine, mut call: Call) -> Result<Answer> {
    let options = options(engine, &call)?;
    let archive = call.spool(&engine.images.content).await?;
    let quiet = call.flag("q");
    let name = call.text("dockerfile").unwrap_or("Dockerfile").to_owned();
    let (context, file) = block_in_place(|| -> Result<_> {
        let context = engine.images.content.unpack(archive)?;
        let file = build::parse(&build::context::dockerfile(&context.root, &name)?)?;
        Ok((context, file))
    })?;
    Ok(answer::stream(move |pusher| async move {
        let progress = if quiet { pusher.holding() } else { pusher.clone() };
        let built = Build::new(engine, progress.clone(), options, context).run(file).await;
        if built.is_err() {
            progress.release().await;
        }
        let id = built?;
        if quiet {
            pusher.json(&json!({"stream": format!("{id}\n")})).await;
        }
        Ok(())
    }))
}

fn options(engine: &Engine, call: &Call) -> Result<Options> {
    ensure!(call.text("version").is_none_or(|version| version == "1"), invalid, "{NO_BUILDKIT}");
    for (name, why) in REFUSED {
        if call.text(name).is_some_and(|value| !matches!(value, "0" | "false" | "[]" | "null" | "default")) {
            bail!(not_implemented, "{name}: {why}");
        }
    }
    let platform = call.platform()?;
    let os = platform.as_ref().map_or("linux", |platform| &platform.os);
    ensure!(os == "linux", invalid, "operating system is not supported: {os}");
    let names = call.all("t").into_iter().filter(|name| !name.is_empty());
    let sources: Vec<String> = json_of(call, "cachefrom")?;
    let credentials: HashMap<String, Option<Credentials>> =
        registry::from_header(call.header("x-registry-config"));
    let own = |(server, own): (String, Option<Credentials>)| Some((domain(&server).to_owned(), own?));
    Ok(Options {
        names: names.map(|name| Reference::parse_tag(&name)).collect::<Result<_>>()?,
        arguments: json_of(call, "buildargs")?,
        labels: json_of(call, "labels")?,
        no_cache: call.flag("nocache"),
        // One that is not here is no cache.
        cache_from: (!sources.is_empty())
            .then(|| sources.iter().filter_map(|name| engine.images.find(name).ok()).collect()),
        target: call.text("target").map(str::to_owned),
        platform,
        pull: call.flag("pull"),
        keep: (!call.flag_or("rm", true), !call.flag("forcerm")),
        host: host(call)?,
        credentials: credentials.into_iter().filter_map(own).collect(),
    })
}

/// The registry that clients mean by a server's address.
pub(super) fn domain(server: &str) -> &str {
    let server = server.trim_start_matches("https://").trim_start_matches("http://");
    match server.split('/').next() {
        None | Some("" | "index.docker.io") => DEFAULT_DOMAIN,
        Some(domain) => domain,
    }
}

/// A parameter in JSON; none is what the type has for nothing.
fn json_of<T: DeserializeOwned + Default>(call: &Call, name: &str) -> Result<T> {
    let Some(text) = call.text(name) else { return Ok(T::default()) };
    let value: Option<T> = serde_json::from_str(text).map_err(|error| error!(invalid, "{name}: {error}"))?;
    Ok(value.unwrap_or_default())
}

/// The settings of the containers of RUN.
fn host(call: &Call) -> Result<Value> {
    let host = json!({
        "NetworkMode": call.text("networkmode").unwrap_or("default"),
        "Memory": call.number("memory")?,
        "MemorySwap": call.number("memswap")?,
        "CpuShares": call.number("cpushares")?,
        "CpuPeriod": call.number("cpuperiod")?,
        "CpuQuota": call.number("cpuquota")?,
        "CpusetCpus": call.text("cpusetcpus"),
        "CpusetMems": call.text("cpusetmems"),
        "CgroupParent": call.text("cgroupparent"),
        "ShmSize": call.number("shmsize")?,
        "Ulimits": json_of::<Value>(call, "ulimits")?,
        "ExtraHosts": call.all("extrahosts"),
        "SecurityOpt": call.all("securityopt"),
    });
    // Also when there is no RUN.
    spec::seccomp(&part(host.clone())?)?;
    Ok(host)
}
