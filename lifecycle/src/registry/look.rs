//! What a registry has under a name: its manifest and configuration, and what of them is told without a pull.

use reqwest::Method;
use reqwest::header::ACCEPT;
use serde_json::{Value, json};

use super::client::read;
use super::{Credentials, MANIFESTS, Registry};
use crate::error::{Error, Kind, Result, error};
use crate::image::Reference;
use crate::image::content::digest;
use crate::image::reference::DEFAULT_DOMAIN;

impl Registry {
    /// A manifest by tag or digest: its digest, and its text.
    ///
    /// # Errors
    /// When there is none, or it is not what its digest says.
    pub(super) async fn manifest(&self, reference: &Reference, wanted: &str) -> Result<(String, Vec<u8>)> {
        let path = format!("/v2/{}/manifests/{wanted}", reference.path);
        let asking =
            self.request(Method::GET, &path, |request| Ok(request.header(ACCEPT, MANIFESTS.join(", "))));
        let answer = asking.await.map_err(|error| match error.kind {
            Kind::NotFound => error.context(format!("manifest for {} not found", reference.familiar_full())),
            _ => error,
        })?;
        let text = read(answer).await?;
        if wanted.starts_with("sha256:") {
            check("the manifest", &text, wanted)?;
        }
        Ok((digest(&text), text))
    }

    /// An image's configuration, by its digest.
    ///
    /// # Errors
    /// When there is none, or it is not what its digest says.
    pub(super) async fn config(&self, reference: &Reference, wanted: &str) -> Result<Vec<u8>> {
        let path = format!("/v2/{}/blobs/{wanted}", reference.path);
        let config = read(self.get(&path).await?).await?;
        check("a blob", &config, wanted)?;
        Ok(config)
    }
}

/// Refuses what is not what its digest says.
pub(super) fn check(what: &str, bytes: &[u8], wanted: &str) -> Result<()> {
    match digest(bytes) {
        own if own == wanted => Ok(()),
        own => Err(error!(invalid, "{what} has digest {own}, expected {wanted}")),
    }
}

/// What an image is and for which machines, as `GET /distribution/NAME/json` tells it. What is Docker Hub's may come from
/// one of the `mirrors`.
///
/// # Errors
/// When no registry has it.
pub async fn inspect(mirrors: &[String], reference: &Reference, credentials: Credentials) -> Result<Value> {
    for mirror in mirrors.iter().filter(|_| reference.domain == DEFAULT_DOMAIN) {
        let registry = Registry::new(mirror, Credentials::default())?;
        // It needs not have everything, nor be there at all.
        if let Ok(found) = inspect_at(&registry, reference).await {
            return Ok(found);
        }
    }
    inspect_at(&Registry::new(&reference.domain, credentials)?, reference).await
}

async fn inspect_at(registry: &Registry, reference: &Reference) -> Result<Value> {
    let wanted = reference.digest.as_ref().or(reference.tag.as_ref());
    let (digest, text) = registry.manifest(reference, wanted.map_or("latest", String::as_str)).await?;
    let bad = |error: serde_json::Error| error!(invalid, "the manifest: {error}");
    let manifest: Value = serde_json::from_slice(&text).map_err(bad)?;
    let platforms: Vec<Value> = match manifest["manifests"].as_array() {
        Some(all) => {
            all.iter().map(|one| &one["platform"]).filter(|its| its.is_object()).map(platform).collect()
        }
        None => {
            let config = manifest["config"]["digest"].as_str();
            let config = config.ok_or_else(|| Error::invalid("the manifest names no configuration"))?;
            let config = registry.config(reference, config).await?;
            vec![platform(&serde_json::from_slice(&config).map_err(bad)?)]
        }
    };
    // OCI's may leave it out.
    let kind = if manifest["manifests"].is_array() { MANIFESTS[0] } else { MANIFESTS[2] };
    let kind = manifest["mediaType"].as_str().unwrap_or(kind);
    let descriptor = json!({"mediaType": kind, "digest": digest, "size": text.len()});
    Ok(json!({"Descriptor": descriptor, "Platforms": platforms}))
}

/// The fields that say what machine something is for.
fn platform(of: &Value) -> Value {
    let fields = ["architecture", "os", "os.version", "variant"];
    fields
        .iter()
        .filter(|field| of[**field].is_string())
        .map(|field| ((*field).to_owned(), of[*field].clone()))
        .collect()
}
