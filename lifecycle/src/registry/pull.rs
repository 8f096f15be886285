//! Pull: a manifest for this machine, its configuration, and its layers, several at a time.

use std::io::{Seek, SeekFrom};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
use reqwest::header::RANGE;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use tokio::task::spawn_blocking;

use super::client::piece;
use super::{Credentials, Registry};
use crate::api::answer::Pusher;
use crate::engine::Engine;
use crate::error::{Result, bail, ensure, error};
use crate::image::config::{Platform, check_image};
use crate::image::{ConfigFile, DEFAULT_DOMAIN, Reference};

/// How many layers are fetched at a time, and how often a download that broke off goes on.
const PARALLEL: usize = 3;
const ATTEMPTS: usize = 5;

/// Pulls an image, for this machine or the platform that is asked for, and gives it its name, or all of a repository when
/// there is neither a tag nor a digest; progress goes to `pusher`. What is Docker Hub's may come from a mirror.
///
/// # Errors
/// When the registry does not have it, or what it sends is not what it says.
pub async fn pull(
    engine: &'static Engine,
    reference: &Reference,
    platform: Option<&Platform>,
    credentials: Credentials,
    pusher: &Pusher,
) -> Result<()> {
    let mirrors = engine.settings.mirrors.iter().filter(|_| reference.domain == DEFAULT_DOMAIN);
    let insecure = &engine.settings.insecure;
    for mirror in mirrors {
        let host = mirror.split('/').nth(2).unwrap_or_default();
        let registry = Registry::new(insecure, host, Credentials::default()).await?;
        // It needs not have everything, nor be there at all.
        if (Pull { engine, registry, reference, platform, pusher }).run().await.is_ok() {
            return Ok(());
        }
    }
    let registry = Registry::new(insecure, &reference.domain, credentials).await?;
    Pull { engine, registry, reference, platform, pusher }.run().await
}

/// What a registry has under a name, and for which platforms, as the API tells it.
///
/// # Errors
/// When the registry does not have it, or does not tell everyone.
pub async fn describe(
    engine: &'static Engine,
    reference: &Reference,
    credentials: Credentials,
) -> Result<Value> {
    let registry = Registry::new(&engine.settings.insecure, &reference.domain, credentials).await?;
    let wanted = reference.digest.as_deref().or(reference.tag.as_deref()).unwrap_or("latest");
    let (digest, text) = registry.manifest(reference, wanted).await?;
    let manifest: Value = parse("the manifest", &text)?;
    let (usual, platforms): (_, Vec<Value>) = if let Some(all) = manifest["manifests"].as_array() {
        (MediaType::ImageIndex, all.iter().map(|image| image["platform"].clone()).collect())
    } else {
        let config = manifest["config"]["digest"].as_str().unwrap_or_default();
        let mut config: Map<_, _> = parse("the configuration", &registry.config(reference, config).await?)?;
        config.retain(|key, _| matches!(key.as_str(), "architecture" | "os" | "variant"));
        (MediaType::ImageManifest, vec![config.into()])
    };
    let kind = manifest["mediaType"].as_str().map_or_else(|| usual.to_string(), str::to_owned);
    let descriptor = json!({"mediaType": kind, "digest": digest, "size": text.len()});
    Ok(json!({"Descriptor": descriptor, "Platforms": platforms}))
}

/// What a name stands for.
#[derive(Deserialize)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "there is one of them at a time")]
enum Named {
    /// Several images, or one for several kinds of machines.
    Index(ImageIndex),
    Manifest(ImageManifest),
}

/// What is pulled from where.
struct Pull<'a> {
    engine: &'static Engine,
    registry: Registry,
    reference: &'a Reference,
    platform: Option<&'a Platform>,
    pusher: &'a Pusher,
}

impl Pull<'_> {
    async fn run(&self) -> Result<()> {
        let Reference { tag: None, digest: None, path, .. } = self.reference else {
            return self.one(self.reference).await;
        };
        for tag in self.registry.tags(path).await? {
            let named = Reference { tag: Some(tag), ..self.reference.clone() };
            // Checked, as a registry may say anything.
            self.one(&Reference::parse(&named.to_string())?).await?;
        }
        Ok(())
    }

    async fn one(&self, reference: &Reference) -> Result<()> {
        let images = &self.engine.images;
        let (tag, digest) = (reference.tag.as_deref(), reference.digest.as_deref());
        let wanted = digest.or(tag).unwrap_or("latest");
        let _lease = images.lease();
        let (top, text) = self.registry.manifest(reference, wanted).await?;
        // Not before: a registry that does not have it is the whole answer.
        let status = format!("Pulling from {}", reference.path);
        self.pusher.json(&json!({"status": status, "id": tag.or(digest)})).await;
        let manifest = match parse("the manifest", &text)? {
            Named::Manifest(manifest) => manifest,
            Named::Index(index) => {
                let wanted = self.platform.cloned().unwrap_or_else(Platform::ours);
                // One that says nothing of its machine may be for any.
                let distance = |image: &Descriptor| match image.platform() {
                    Some(own) => wanted.distance(&own.into()),
                    None => Some(u32::MAX),
                };
                let fitting = index.manifests().iter().filter_map(|image| Some((distance(image)?, image)));
                let (_, found) = fitting.min_by_key(|(distance, _)| *distance).ok_or_else(|| {
                    error!(not_found, "no matching manifest for {wanted} in the manifest list entries")
                })?;
                parse("the manifest", &self.registry.manifest(reference, found.digest().as_ref()).await?.1)?
            }
        };
        let config = self.registry.config(reference, manifest.config().digest().as_ref()).await?;
        let diff_ids = ConfigFile::parse(&config)?.rootfs.diff_ids;
        let agree = diff_ids.len() == manifest.layers().len();
        ensure!(agree, invalid, "the manifest has another number of layers than the configuration");
        let known = images.find(manifest.config().digest().as_ref()).is_ok();
        let mut missing = Vec::new();
        for (layer, diff_id) in manifest.layers().iter().zip(&diff_ids) {
            let is_here = images.layers.get(diff_id).is_some();
            let status = if is_here { "Already exists" } else { "Pulling fs layer" };
            if !known {
                self.pusher.layer(layer.digest().as_ref(), status, json!({})).await;
            }
            missing.extend((!is_here).then(|| self.fetch(layer, diff_id)));
        }
        stream::iter(missing).buffer_unordered(PARALLEL).try_collect::<()>().await?;
        self.finish(reference, &config, top).await
    }

    async fn finish(&self, reference: &Reference, config: &[u8], top: String) -> Result<()> {
        let images = &self.engine.images;
        let before = images.find(&reference.to_string()).map(|image| image.id.clone()).ok();
        let id = images.add(config, None)?.id.clone();
        if reference.tag.is_some() && reference.digest.is_none() {
            images.tag(reference, &id)?;
        }
        let by_digest = Reference { tag: None, digest: Some(top.clone()), ..reference.clone() };
        images.tag(&by_digest, &id)?;
        let name = reference.familiar_full();
        self.engine.events.publish("image", "pull", &name, [("name", reference.familiar())]);
        let news = if before == Some(id) { "Image is up to date" } else { "Downloaded newer image" };
        for status in [format!("Digest: {top}"), format!("Status: {news} for {name}")] {
            self.pusher.json(&json!({"status": status})).await;
        }
        // One that is for a single platform is taken as it is.
        let other = self.platform.map(|asked| check_image(&name, &ConfigFile::parse(config)?, asked));
        if let Some(Err(error)) = other {
            self.pusher.json(&json!({"status": format!("WARNING: {error}")})).await;
        }
        Ok(())
    }

    /// Fetches a layer and unpacks it.
    async fn fetch(&self, layer: &Descriptor, diff_id: &str) -> Result<()> {
        let (engine, digest) = (self.engine, layer.digest().to_string());
        // Another pull may be at it: what that brings is ours too.
        let turn = engine.images.layers.turn(&digest);
        let _turn = turn.lock().await;
        if !engine.images.content.has(&digest) {
            let mut file = File::from_std(engine.images.content.spool()?);
            let mut more = 1..ATTEMPTS;
            while let Err(error) = self.download(layer, &mut file).await {
                if error.status != StatusCode::INTERNAL_SERVER_ERROR || more.next().is_none() {
                    return Err(error);
                }
                // What has arrived is kept, and the next attempt goes on from there.
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            let (wanted, mut file) = (digest.clone(), file.into_std().await);
            let placing = spawn_blocking(move || {
                file.rewind()?;
                engine.images.content.add(file, Some(&wanted))
            });
            placing.await??;
        }
        self.pusher.layer(&digest, "Download complete", json!({})).await;
        let progress = json!({"current": layer.size(), "total": layer.size()});
        self.pusher.layer(&digest, "Extracting", progress).await;
        let (blob, diff_id) = (digest.clone(), diff_id.to_owned());
        let unpacking = spawn_blocking(move || engine.images.layers.unpack(&blob, Some(&diff_id)));
        unpacking.await??;
        self.pusher.layer(&digest, "Pull complete", json!({})).await;
        Ok(())
    }

    /// Downloads the rest of a blob into a file.
    async fn download(&self, layer: &Descriptor, file: &mut File) -> Result<()> {
        let (digest, size) = (layer.digest(), layer.size());
        // After all that an attempt before has given to be written.
        let mut have = file.seek(SeekFrom::End(0)).await?;
        if have == size {
            return Ok(());
        }
        let path = format!("/v2/{}/blobs/{digest}", self.reference.path);
        let asking = self.registry.request(Method::GET, &path, |request| match have {
            0 => Ok(request),
            _ => Ok(request.header(RANGE, format!("bytes={have}-"))),
        });
        let mut answer = asking.await?;
        if answer.status() != StatusCode::PARTIAL_CONTENT {
            file.set_len(0).await?;
            file.rewind().await?;
            have = 0;
        }
        let mut told = Instant::now();
        while let Some(bytes) = piece(&mut answer).await? {
            have += bytes.len() as u64;
            ensure!(have <= size, invalid, "layer {digest}: larger than the {size} bytes of the manifest");
            file.write_all(&bytes).await?;
            if told.elapsed().as_millis() > 200 {
                told = Instant::now();
                let progress = json!({"current": have, "total": size});
                if !self.pusher.layer(digest.as_ref(), "Downloading", progress).await {
                    bail!(invalid, "the client has gone");
                }
            }
        }
        file.flush().await?;
        ensure!(have >= size, internal, "layer {digest}: {have} of {size} bytes arrived");
        Ok(())
    }
}

fn parse<T: for<'de> Deserialize<'de>>(what: &str, text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|error| error!(invalid, "{what}: {error}"))
}
