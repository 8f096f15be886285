//! Push: layers that the registry does not have, the configuration, and a manifest.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use hyper::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::Registry;
use super::client::{expect, full};
use super::transport::Body;
use crate::api::answer::Pusher;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::image::content::{Blob, Digesting};
use crate::image::{Image, Reference};

/// A layer as it is sent.
struct Upload {
    blob: Blob,
    path: PathBuf,
    zstd: bool,
    temporary: bool,
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.temporary {
            let _gone = std::fs::remove_file(&self.path);
        }
    }
}

/// Pushes an image under a name; progress goes to `pusher`.
///
/// # Errors
/// When the registry refuses.
pub async fn push(
    engine: &Arc<Engine>,
    registry: &Registry,
    image: &Image,
    reference: &Reference,
    pusher: &Pusher,
) -> Result<()> {
    let _lease = engine.images.lease();
    let tag = reference.tag.clone().unwrap_or_else(|| "latest".into());
    pusher
        .json(&json!({"status": format!("The push refers to repository [{}]", reference.repository())}))
        .await;
    let mut layers = Vec::new();
    let mut has_zstd = false;
    for layer in engine.images.layers_of(image)? {
        let upload = {
            let (engine, digest) = (Arc::clone(engine), layer.blob.clone());
            tokio::task::spawn_blocking(move || compressed(&engine, &digest)).await??
        };
        let short = layer.diff_id[7..19].to_owned();
        if has_blob(registry, reference, &upload.blob.digest).await? {
            pusher.json(&json!({"status": "Layer already exists", "progressDetail": {}, "id": short})).await;
        } else {
            pusher.json(&json!({"status": "Pushing", "progressDetail": {"current": 0, "total": upload.blob.size}, "id": short})).await;
            send_file(registry, reference, &upload.blob, upload.path.clone()).await?;
            pusher.json(&json!({"status": "Pushed", "progressDetail": {}, "id": short})).await;
        }
        has_zstd |= upload.zstd;
        layers.push((upload.blob.clone(), upload.zstd));
    }
    let config = Blob {
        digest: image.id.clone(),
        size: std::fs::metadata(engine.images.content.path(&image.id)?)?.len(),
    };
    if !has_blob(registry, reference, &config.digest).await? {
        send_file(registry, reference, &config, engine.images.content.path(&image.id)?).await?;
    }
    let (kind, text) = manifest(&config, &layers, has_zstd);
    let path = format!("/v2/{}/manifests/{tag}", reference.path);
    let headers = [("content-type", kind.to_owned())];
    let answer = registry.request(Method::PUT, &path, &headers, || full(text.clone())).await?;
    expect(answer, &[StatusCode::CREATED, StatusCode::OK, StatusCode::ACCEPTED]).await?;
    let digest = crate::image::content::digest(&text);
    let named = Reference { tag: None, digest: Some(digest.clone()), ..reference.clone() };
    engine.images.tag(&named, &image.id)?;
    pusher.json(&json!({"status": format!("{tag}: digest: {digest} size: {}", text.len())})).await;
    pusher
        .json(&json!({"progressDetail": {}, "aux": {"Tag": tag, "Digest": digest, "Size": text.len()}}))
        .await;
    let attributes = std::collections::BTreeMap::from([("name".to_owned(), reference.familiar())]);
    engine.events.publish("image", "push", &reference.familiar_full(), attributes);
    Ok(())
}

/// Docker's types, unless a layer needs OCI's.
fn manifest(config: &Blob, layers: &[(Blob, bool)], oci: bool) -> (&'static str, Vec<u8>) {
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
    let layers: Vec<Value> = layers
        .iter()
        .map(|(blob, zstd)| {
            let kind = if *zstd { "application/vnd.oci.image.layer.v1.tar+zstd" } else { gzip };
            json!({"mediaType": kind, "size": blob.size, "digest": blob.digest})
        })
        .collect();
    let value = json!({
        "schemaVersion": 2,
        "mediaType": kind,
        "config": {"mediaType": config_type, "size": config.size, "digest": config.digest},
        "layers": layers,
    });
    (kind, value.to_string().into_bytes())
}

/// A layer's blob, compressed if it was not.
fn compressed(engine: &Engine, digest: &str) -> Result<Upload> {
    let mut file = engine.images.content.open_blob(digest)?;
    let mut magic = [0; 4];
    let count = file.read(&mut magic)?;
    file.seek(SeekFrom::Start(0))?;
    let (gzip, zstd) = (magic.starts_with(&[0x1f, 0x8b]), magic == [0x28, 0xb5, 0x2f, 0xfd]);
    if count >= 2 && (gzip || zstd) {
        let blob = Blob { digest: digest.to_owned(), size: file.metadata()?.len() };
        return Ok(Upload { blob, path: engine.images.content.path(digest)?, zstd, temporary: false });
    }
    let path = engine.images.content.temporary();
    let mut encoder = GzEncoder::new(Digesting::new(File::create(&path)?), Compression::default());
    std::io::copy(&mut file, &mut encoder)?;
    let mut digesting = encoder.finish()?;
    digesting.flush()?;
    Ok(Upload { blob: digesting.finish(), path, zstd: false, temporary: true })
}

async fn has_blob(registry: &Registry, reference: &Reference, digest: &str) -> Result<bool> {
    let path = format!("/v2/{}/blobs/{digest}", reference.path);
    Ok(registry.request(Method::HEAD, &path, &[], || full("")).await?.status() == StatusCode::OK)
}

async fn send_file(registry: &Registry, reference: &Reference, blob: &Blob, path: PathBuf) -> Result<()> {
    let start = format!("/v2/{}/blobs/uploads/", reference.path);
    let answer =
        registry.request(Method::POST, &start, &[("content-length", "0".into())], || full("")).await?;
    let answer = expect(answer, &[StatusCode::ACCEPTED]).await?;
    let location = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    let location = location.ok_or_else(|| Error::internal("the registry does not say where to upload to"))?;
    let separator = if location.contains('?') { '&' } else { '?' };
    let target = format!("{location}{separator}digest={}", blob.digest.replace(':', "%3A"));
    let headers =
        [("content-type", "application/octet-stream".to_owned()), ("content-length", blob.size.to_string())];
    let answer = registry.request(Method::PUT, &target, &headers, || file_body(path.clone())).await?;
    expect(answer, &[StatusCode::CREATED]).await.map(drop)
}

/// The content of a file, read as it is sent.
fn file_body(path: PathBuf) -> Body {
    let (mut sender, body) = Channel::<Bytes, std::io::Error>::new(4);
    tokio::spawn(async move {
        let Ok(mut file) = File::open(&path) else { return };
        loop {
            let reading = tokio::task::spawn_blocking(move || {
                let mut buffer = vec![0; 64 << 10];
                file.read(&mut buffer).map(|count| {
                    buffer.truncate(count);
                    (file, buffer)
                })
            });
            let Ok(Ok((again, buffer))) = reading.await else { return };
            file = again;
            if buffer.is_empty() || sender.send_data(buffer.into()).await.is_err() {
                return;
            }
        }
    });
    body.boxed_unsync()
}
