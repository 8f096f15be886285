//! Push: layers that the registry does not have, the configuration, and a manifest of OCI.

use std::fs::File;
use std::io;

use digest_io::HashWriter;
use flate2::Compression;
use flate2::write::GzEncoder;
use oci_spec::image::{Descriptor, Digest, MediaType};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::task::block_in_place;

use super::{MANIFEST, Registry};
use crate::api::answer::Pusher;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::image::content::{digest, manifest, named, opened};
use crate::image::{Image, Reference};

/// A blob as it is sent, and what the manifest says of it.
struct Upload {
    file: File,
    descriptor: Descriptor,
}

impl Upload {
    fn new(digest: &str, file: File, kind: MediaType) -> Result<Self> {
        let digest: Digest = digest.parse().map_err(Error::step("name a blob"))?;
        Ok(Self { descriptor: Descriptor::new(kind, file.metadata()?.len(), digest), file })
    }
}

/// Pushes an image under a name; progress goes to `pusher`.
///
/// # Errors
/// When the registry refuses.
pub async fn push(
    engine: &Engine,
    registry: &Registry,
    image: &Image,
    reference: &Reference,
    pusher: &Pusher,
) -> Result<()> {
    let _lease = engine.images.lease();
    let tag = reference.tag.as_deref().unwrap_or("latest");
    let mut layers = Vec::new();
    for layer in engine.images.layers_of(image)? {
        let upload = block_in_place(|| compressed(engine, &layer.blob))?;
        let say = async |status: &str, detail: Value| pusher.layer(&layer.diff_id, status, detail).await;
        if registry.has_blob(reference, &upload).await {
            say("Layer already exists", json!({})).await;
        } else {
            say("Pushing", json!({"current": 0, "total": upload.descriptor.size()})).await;
            let from = elsewhere(engine, reference, &layer.diff_id);
            let mounted = registry.send(reference, &upload, from.as_deref()).await?;
            say(&mounted.map_or("Pushed".into(), |from| format!("Mounted from {from}")), json!({})).await;
        }
        layers.push(upload.descriptor);
    }
    let config = engine.images.content.open_blob(&image.id)?;
    let config = Upload::new(&image.id, config, MediaType::ImageConfig)?;
    if !registry.has_blob(reference, &config).await {
        registry.send(reference, &config, None).await?;
    }
    let text = manifest(&config.descriptor, &layers);
    let path = format!("/v2/{}/manifests/{tag}", reference.path);
    let adorn = |request: RequestBuilder| Ok(request.header(CONTENT_TYPE, MANIFEST).body(text.clone()));
    registry.request(Method::PUT, &path, adorn).await?;
    let digest = digest(text.as_bytes());
    let named = Reference { tag: None, digest: Some(digest.clone()), ..reference.clone() };
    engine.images.tag(&named, &image.id)?;
    pusher.json(&json!({"status": format!("{tag}: digest: {digest} size: {}", text.len())})).await;
    let aux = json!({"Tag": tag, "Digest": digest, "Size": text.len()});
    pusher.json(&json!({"progressDetail": {}, "aux": aux})).await;
    engine.events.publish("image", "push", &reference.familiar_full(), [("name", reference.familiar())]);
    Ok(())
}

/// Another repository of the same registry that an image with this layer came from or went to.
fn elsewhere(engine: &Engine, reference: &Reference, diff_id: &String) -> Option<String> {
    let all = engine.images.all().into_iter().filter(|image| image.config.rootfs.diff_ids.contains(diff_id));
    let mut digests = all.flat_map(|image| engine.images.names(&image.id).1);
    let is = |name: &Reference| name.domain == reference.domain && name.path != reference.path;
    Some(digests.find(is)?.path)
}

/// A layer's blob, compressed anew unless registries have a word for how it is.
fn compressed(engine: &Engine, digest: &str) -> Result<Upload> {
    let content = &engine.images.content;
    let file = content.open_blob(digest)?;
    let (kind, mut plain) = opened(&file)?;
    if let Some(kind) = kind {
        drop(plain);
        return Upload::new(digest, file, kind);
    }
    let hashing = HashWriter::<Sha256, _>::new(content.spool()?);
    let mut encoder = GzEncoder::new(hashing, Compression::default());
    io::copy(&mut plain, &mut encoder)?;
    let (hash, file) = encoder.finish()?.into_parts();
    Upload::new(&named(hash), file, MediaType::ImageLayerGzip)
}

impl Registry {
    async fn has_blob(&self, reference: &Reference, upload: &Upload) -> bool {
        let path = format!("/v2/{}/blobs/{}", reference.path, upload.descriptor.digest());
        // What else is wrong is said by the attempt to send it.
        self.request(Method::HEAD, &path, Ok).await.is_ok()
    }

    /// Sends a blob, unless the registry takes it `from` another of its repositories; returns that then.
    async fn send<'a>(
        &self,
        reference: &Reference,
        upload: &Upload,
        from: Option<&'a str>,
    ) -> Result<Option<&'a str>> {
        let start = format!("/v2/{}/blobs/uploads/", reference.path);
        let empty = |request: RequestBuilder| Ok(request.header(CONTENT_LENGTH, 0));
        let mut answer = None;
        if let Some(from) = from {
            let mount = format!("{start}?mount={}&from={from}", upload.descriptor.digest());
            // Whoever may not read there can still write here.
            answer = self.request(Method::POST, &mount, empty).await.ok();
        }
        let answer = match answer {
            Some(answer) if answer.status() == StatusCode::CREATED => return Ok(from),
            Some(answer) => answer,
            None => self.request(Method::POST, &start, empty).await?,
        };
        let target = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let target = target.and_then(|target| answer.url().join(target).ok());
        let missing = || Error::internal("the registry does not say where to upload to");
        let mut target = target.ok_or_else(missing)?;
        target.query_pairs_mut().append_pair("digest", upload.descriptor.digest().as_ref());
        let adorn = |request: RequestBuilder| {
            // Each with a place of its own in it: one that was refused may not be done with reading.
            let file = File::open(tree::by_descriptor(&upload.file))?;
            let request = request.header(CONTENT_TYPE, "application/octet-stream");
            let request = request.header(CONTENT_LENGTH, upload.descriptor.size());
            Ok(request.body(tokio::fs::File::from_std(file)))
        };
        self.request(Method::PUT, target.as_str(), adorn).await?;
        Ok(None)
    }
}
