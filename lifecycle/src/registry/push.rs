//! Push: layers that the registry does not have, the configuration, and a manifest.

use std::fs::File;
use std::io::{self, Read, Seek};

use digest_io::HashWriter;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::Method;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::task::block_in_place;

use super::Registry;
use super::client::location;
use crate::api::answer::Pusher;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::image::content::{Blob, Format, digest};
use crate::image::reference::short;
use crate::image::{Image, Reference};

/// A blob as it is sent.
struct Upload {
    blob: Blob,
    file: File,
    format: Format,
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
    let status = format!("The push refers to repository [{}]", reference.repository());
    pusher.json(&json!({"status": status})).await;
    let mut layers = Vec::new();
    for layer in engine.images.layers_of(image)? {
        let upload = block_in_place(|| compressed(engine, &layer.blob))?;
        let short = short(&layer.diff_id);
        let say = async |status: &str, detail: Value| {
            pusher.json(&json!({"status": status, "progressDetail": detail, "id": short})).await
        };
        if has_blob(registry, reference, &upload.blob.digest).await {
            say("Layer already exists", json!({})).await;
        } else {
            say("Pushing", json!({"current": 0, "total": upload.blob.size})).await;
            send_file(registry, reference, &upload.blob, &upload.file).await?;
            say("Pushed", json!({})).await;
        }
        layers.push((upload.blob, upload.format));
    }
    let file = engine.images.content.open_blob(&image.id)?;
    let config = Blob { digest: image.id.clone(), size: file.metadata()?.len() };
    if !has_blob(registry, reference, &config.digest).await {
        send_file(registry, reference, &config, &file).await?;
    }
    let (kind, text) = manifest(&config, &layers);
    let path = format!("/v2/{}/manifests/{tag}", reference.path);
    let adorn = |request: reqwest::RequestBuilder| Ok(request.header(CONTENT_TYPE, kind).body(text.clone()));
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

/// Docker's types, unless a layer needs OCI's.
fn manifest(config: &Blob, layers: &[(Blob, Format)]) -> (&'static str, String) {
    let oci = layers.iter().any(|(_, format)| *format == Format::Zstd);
    let (kind, config_type, gzip) = match oci {
        true => (
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.oci.image.config.v1+json",
            "application/vnd.oci.image.layer.v1.tar+gzip",
        ),
        false => (
            "application/vnd.docker.distribution.manifest.v2+json",
            "application/vnd.docker.container.image.v1+json",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
        ),
    };
    let descriptor =
        |kind: &str, blob: &Blob| json!({"mediaType": kind, "size": blob.size, "digest": blob.digest});
    let layer = |(blob, format): &(Blob, Format)| match format {
        Format::Zstd => descriptor("application/vnd.oci.image.layer.v1.tar+zstd", blob),
        _ => descriptor(gzip, blob),
    };
    let value = json!({
        "schemaVersion": 2,
        "mediaType": kind,
        "config": descriptor(config_type, config),
        "layers": layers.iter().map(layer).collect::<Vec<_>>(),
    });
    (kind, value.to_string())
}

/// A layer's blob, compressed if it was not.
fn compressed(engine: &Engine, digest: &str) -> Result<Upload> {
    let content = &engine.images.content;
    let mut file = content.open_blob(digest)?;
    let mut start = Vec::new();
    file.by_ref().take(4).read_to_end(&mut start)?;
    file.rewind()?;
    let format = Format::of(&start);
    if format != Format::Plain {
        let blob = Blob { digest: digest.to_owned(), size: file.metadata()?.len() };
        return Ok(Upload { blob, file, format });
    }
    let hashing = HashWriter::<Sha256, _>::new(content.spool()?);
    let mut encoder = GzEncoder::new(hashing, Compression::default());
    io::copy(&mut file, &mut encoder)?;
    let (hash, file) = encoder.finish()?.into_parts();
    Ok(Upload { blob: Blob::new(hash, file.metadata()?.len()), file, format: Format::Gzip })
}

async fn has_blob(registry: &Registry, reference: &Reference, digest: &str) -> bool {
    let path = format!("/v2/{}/blobs/{digest}", reference.path);
    // What else is wrong is said by the attempt to send it.
    registry.request(Method::HEAD, &path, Ok).await.is_ok()
}

async fn send_file(registry: &Registry, reference: &Reference, blob: &Blob, file: &File) -> Result<()> {
    let start = format!("/v2/{}/blobs/uploads/", reference.path);
    let answer =
        registry.request(Method::POST, &start, |request| Ok(request.header(CONTENT_LENGTH, 0))).await?;
    let mut target =
        location(&answer).ok_or_else(|| Error::internal("the registry does not say where to upload to"))?;
    target.query_pairs_mut().append_pair("digest", &blob.digest);
    let adorn = |request: reqwest::RequestBuilder| {
        let mut file = file.try_clone()?;
        file.rewind()?;
        let request = request.header(CONTENT_TYPE, "application/octet-stream");
        Ok(request.header(CONTENT_LENGTH, blob.size).body(tokio::fs::File::from_std(file)))
    };
    registry.request(Method::PUT, target.as_str(), adorn).await.map(drop)
}
