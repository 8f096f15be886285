//! Pull: a manifest for this machine, its configuration, and its layers, several at a time.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::{Method, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::client::{expect, full, read};
use super::{Credentials, MANIFESTS, Registry};
use crate::api::answer::Pusher;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::image::config::architecture;
use crate::image::content::digest;
use crate::image::reference::DEFAULT_DOMAIN;
use crate::image::{ConfigFile, Reference};

/// How many layers are fetched at a time, and how often a download that broke off goes on.
const PARALLEL: usize = 3;
const ATTEMPTS: usize = 5;

/// How much of a list of tags is read, whatever a registry says comes next.
const PAGES: usize = 1000;

#[derive(Debug, Clone, Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Debug, Clone, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Debug, Deserialize)]
struct TagList {
    tags: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// Pulls an image and gives it its name, or all of a repository without a tag; progress goes to `pusher`. What is Docker
/// Hub's may come from a mirror.
///
/// # Errors
/// When the registry does not have it, or what it sends is not what it says.
pub async fn pull(
    engine: &Arc<Engine>,
    reference: &Reference,
    credentials: Credentials,
    pusher: &Pusher,
) -> Result<()> {
    let mirrors = engine.settings.mirrors.iter().filter(|_| reference.domain == DEFAULT_DOMAIN);
    for mirror in mirrors {
        let registry = Arc::new(Registry::new(mirror, Credentials::default()));
        // It needs not have everything, nor be there at all.
        if pull_from(engine, registry, reference, pusher).await.is_ok() {
            return Ok(());
        }
    }
    let registry = Arc::new(Registry::new(&reference.domain, credentials));
    pull_from(engine, registry, reference, pusher).await
}

async fn pull_from(
    engine: &Arc<Engine>,
    registry: Arc<Registry>,
    reference: &Reference,
    pusher: &Pusher,
) -> Result<()> {
    if reference.tag.is_some() || reference.digest.is_some() {
        return pull_one(engine, registry, reference, pusher).await;
    }
    let mut next = Some(format!("/v2/{}/tags/list", reference.path));
    for _ in 0..PAGES {
        let Some(path) = next.take() else { break };
        let answer = registry.request(Method::GET, &path, &[], || full("")).await?;
        let answer = expect(answer, &[StatusCode::OK]).await?;
        let link = answer.headers().get(header::LINK).and_then(|link| link.to_str().ok());
        // `</v2/…?n=…&last=…>; rel="next"`
        next = link.and_then(|link| Some(link.strip_prefix('<')?.split_once('>')?.0.to_owned()));
        let list: TagList = serde_json::from_slice(&read(answer).await?)
            .map_err(|error| Error::invalid(format!("the list of tags: {error}")))?;
        for tag in list.tags.into_iter().flatten() {
            let one = Reference { tag: Some(tag), ..reference.clone() };
            // What the registry calls a tag is one.
            let one = Reference::parse(&one.to_string())?;
            pull_one(engine, Arc::clone(&registry), &one, pusher).await?;
        }
    }
    Ok(())
}

async fn pull_one(
    engine: &Arc<Engine>,
    registry: Arc<Registry>,
    reference: &Reference,
    pusher: &Pusher,
) -> Result<()> {
    let wanted = reference.digest.clone().or(reference.tag.clone()).unwrap_or_default();
    let id = reference.tag.clone().or(reference.digest.clone());
    pusher.json(&json!({"status": format!("Pulling from {}", reference.path.as_str()), "id": id})).await;
    let _lease = engine.images.lease();
    let (top, text) = manifest(&registry, reference, &wanted).await?;
    let text = for_this_machine(&registry, reference, text).await?;
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|error| Error::invalid(format!("the manifest: {error}")))?;
    let config = blob(&registry, reference, &manifest.config.digest).await?;
    let parsed = ConfigFile::parse(&config)?;
    if parsed.rootfs.diff_ids.len() != manifest.layers.len() {
        return Err(Error::invalid("the manifest has another number of layers than the configuration"));
    }
    let mut new = false;
    let limit = Arc::new(Semaphore::new(PARALLEL));
    let mut fetching = JoinSet::new();
    for (layer, diff_id) in manifest.layers.iter().zip(&parsed.rootfs.diff_ids) {
        let short = layer.digest.get(7..19).unwrap_or_default().to_owned();
        if engine.images.layers.get(diff_id).is_some() {
            pusher.json(&json!({"status": "Already exists", "progressDetail": {}, "id": short})).await;
            continue;
        }
        new = true;
        pusher.json(&json!({"status": "Pulling fs layer", "progressDetail": {}, "id": short})).await;
        let (engine, registry, reference) = (Arc::clone(engine), Arc::clone(&registry), reference.clone());
        let (layer, diff_id, limit, pusher) =
            (layer.clone(), diff_id.clone(), Arc::clone(&limit), pusher.clone());
        fetching.spawn(async move {
            let _permit = limit.acquire().await;
            fetch(&engine, &registry, &reference, &layer, &diff_id, &pusher, &short).await
        });
    }
    while let Some(fetched) = fetching.join_next().await {
        fetched??;
    }
    finish(engine, reference, &config, &top, new, pusher).await
}

async fn finish(
    engine: &Arc<Engine>,
    reference: &Reference,
    config: &[u8],
    top: &str,
    new: bool,
    pusher: &Pusher,
) -> Result<()> {
    let before = engine.images.find(&reference.to_string()).map(|image| image.id.clone()).ok();
    let id = engine.images.add(config, None)?;
    if reference.tag.is_some() && reference.digest.is_none() {
        engine.images.tag(reference, &id)?;
    }
    let by_digest = Reference { tag: None, digest: Some(top.to_owned()), ..reference.clone() };
    engine.images.tag(&by_digest, &id)?;
    let name = reference.familiar_full();
    let attributes = std::collections::BTreeMap::from([("name".to_owned(), reference.familiar())]);
    engine.events.publish("image", "pull", &name, attributes);
    pusher.json(&json!({"status": format!("Digest: {top}")})).await;
    let words = match new || before.as_deref() != Some(&id) {
        true => format!("Status: Downloaded newer image for {name}"),
        false => format!("Status: Image is up to date for {name}"),
    };
    pusher.json(&json!({"status": words})).await;
    Ok(())
}

/// A manifest by tag or digest: its digest, and its text.
async fn manifest(registry: &Registry, reference: &Reference, wanted: &str) -> Result<(String, Vec<u8>)> {
    let path = format!("/v2/{}/manifests/{wanted}", reference.path);
    let accept = [("accept", MANIFESTS.join(", "))];
    let answer = registry.request(Method::GET, &path, &accept, || full("")).await?;
    let answer = expect(answer, &[StatusCode::OK]).await.map_err(|error| match error.kind {
        crate::error::Kind::NotFound => {
            Error::not_found(format!("manifest for {} not found: {error}", reference.familiar_full()))
        }
        _ => error,
    })?;
    let text = read(answer).await?.to_vec();
    let own = digest(&text);
    if wanted.starts_with("sha256:") && own != wanted {
        return Err(Error::invalid(format!("the manifest has digest {own}, expected {wanted}")));
    }
    Ok((own, text))
}

/// Of an index, the manifest for this machine; a manifest is itself.
async fn for_this_machine(registry: &Registry, reference: &Reference, text: Vec<u8>) -> Result<Vec<u8>> {
    let value: Value =
        serde_json::from_slice(&text).map_err(|error| Error::invalid(format!("the manifest: {error}")))?;
    if !value["manifests"].is_array() {
        return Ok(text);
    }
    let all: Vec<Descriptor> = serde_json::from_value(value["manifests"].clone())
        .map_err(|error| Error::invalid(format!("the index: {error}")))?;
    let ours = |one: &&Descriptor| {
        one.platform.as_ref().is_some_and(|p| p.os == "linux" && p.architecture == architecture())
    };
    let found = all.iter().find(ours);
    let found = found.ok_or_else(|| {
        Error::not_found(format!(
            "no matching manifest for linux/{} in the manifest list entries",
            architecture()
        ))
    })?;
    Ok(manifest(registry, reference, &found.digest).await?.1)
}

/// A blob of modest size.
async fn blob(registry: &Registry, reference: &Reference, wanted: &str) -> Result<Vec<u8>> {
    let path = format!("/v2/{}/blobs/{wanted}", reference.path);
    let answer = registry.request(Method::GET, &path, &[], || full("")).await?;
    let bytes = read(expect(answer, &[StatusCode::OK]).await?).await?.to_vec();
    let own = digest(&bytes);
    if own == wanted {
        Ok(bytes)
    } else {
        Err(Error::invalid(format!("a blob has digest {own}, expected {wanted}")))
    }
}

/// Fetches a layer and unpacks it.
async fn fetch(
    engine: &Arc<Engine>,
    registry: &Registry,
    reference: &Reference,
    layer: &Descriptor,
    diff_id: &str,
    pusher: &Pusher,
    short: &str,
) -> Result<()> {
    if !engine.images.content.has(&layer.digest) {
        let path = engine.images.content.temporary();
        let mut result = Ok(());
        for _ in 0..ATTEMPTS {
            result = download(registry, reference, layer, &path, pusher, short).await;
            match &result {
                // What has arrived is kept, and the next attempt goes on from there.
                Err(error) if error.kind == crate::error::Kind::Internal => {
                    tokio::time::sleep(std::time::Duration::from_millis(300)).await
                }
                _ => break,
            }
        }
        result?;
        let (engine, wanted) = (Arc::clone(engine), layer.digest.clone());
        let placing = tokio::task::spawn_blocking(move || {
            let file = std::fs::File::open(&path).map_err(Error::at("open", &path))?;
            let stored = engine.images.content.add(file, Some(&wanted));
            let _gone = std::fs::remove_file(&path);
            stored
        });
        placing.await??;
    }
    pusher.json(&json!({"status": "Download complete", "progressDetail": {}, "id": short})).await;
    pusher.json(&json!({"status": "Extracting", "progressDetail": {"current": layer.size, "total": layer.size}, "id": short})).await;
    let (engine, wanted, diff_id) = (Arc::clone(engine), layer.digest.clone(), diff_id.to_owned());
    tokio::task::spawn_blocking(move || {
        engine.images.layers.unpack(&engine.images.content, &wanted, Some(&diff_id))
    })
    .await??;
    pusher.json(&json!({"status": "Pull complete", "progressDetail": {}, "id": short})).await;
    Ok(())
}

/// Downloads the rest of a blob into a file.
async fn download(
    registry: &Registry,
    reference: &Reference,
    layer: &Descriptor,
    path: &Path,
    pusher: &Pusher,
    short: &str,
) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.append(true).create(true).open(path).map_err(Error::at("open", path))?;
    let mut have = file.metadata().map_or(0, |meta| meta.len());
    if layer.size > 0 && have == layer.size {
        return Ok(());
    }
    let url = format!("/v2/{}/blobs/{}", reference.path, layer.digest);
    let range = if have > 0 { vec![("range", format!("bytes={have}-"))] } else { Vec::new() };
    let answer = registry.request(Method::GET, &url, &range, || full("")).await?;
    let answer = expect(answer, &[StatusCode::OK, StatusCode::PARTIAL_CONTENT]).await?;
    if answer.status() == StatusCode::OK && have > 0 {
        file.set_len(0)?;
        have = 0;
    }
    let mut body = answer.into_body();
    let mut told = std::time::Instant::now();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::internal(format!("download {}: {error}", layer.digest)))?;
        let Ok(bytes) = frame.into_data() else { continue };
        have += bytes.len() as u64;
        if layer.size > 0 && have > layer.size {
            return Err(Error::invalid(format!(
                "layer {}: larger than the {} bytes of the manifest",
                layer.digest, layer.size
            )));
        }
        file.write_all(&bytes).map_err(Error::at("write", path))?;
        if told.elapsed().as_millis() > 200 {
            told = std::time::Instant::now();
            let progress = json!({"current": have, "total": layer.size});
            if !pusher.json(&json!({"status": "Downloading", "progressDetail": progress, "id": short})).await
            {
                return Err(Error::invalid("the client has gone"));
            }
        }
    }
    match layer.size {
        0 => Ok(()),
        size if size == have => Ok(()),
        size => Err(Error::internal(format!("layer {}: {have} of {size} bytes arrived", layer.digest))),
    }
}
