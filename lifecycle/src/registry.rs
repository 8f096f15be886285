//! Registries: pull and push, by the OCI distribution specification.
//!
//! Everything that arrives is hostile until its digest is the one that was asked for. Registries on this machine's
//! loopback, and those that cortend is told of, may speak without TLS, all others may not.

mod client;
mod pull;
mod push;

use base64::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use client::{Registry, download};
pub use pull::{describe, pull};
pub use push::push;

use crate::image::config::nullable;

/// The type of manifests that are pushed.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Types of manifests that are understood.
const MANIFESTS: [&str; 4] = [
    MANIFEST,
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// What a client sends in `X-Registry-Auth`.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Credentials {
    /// The name.
    #[serde(alias = "Username", deserialize_with = "nullable")]
    pub username: String,
    /// The password.
    #[serde(alias = "Password", deserialize_with = "nullable")]
    pub password: String,
    /// A token that stands for both.
    #[serde(alias = "IdentityToken", rename = "identitytoken", deserialize_with = "nullable")]
    pub identity_token: String,
    /// The registry they are for.
    #[serde(alias = "ServerAddress", rename = "serveraddress", deserialize_with = "nullable")]
    pub server: String,
}

/// Understands what clients say in `X-Registry-Auth` and `X-Registry-Config`: JSON in base64 of either alphabet, with or
/// without padding. A header that is not there, or is something else, says nothing, as for dockerd.
pub fn from_header<T: DeserializeOwned + Default>(header: Option<&str>) -> T {
    let text = header.unwrap_or_default().trim_end_matches('=').replace('+', "-").replace('/', "_");
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
    serde_json::from_slice::<Option<T>>(&bytes).ok().flatten().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_understood() {
        let header = crate::files::base64(br#"{"username":"me","password":"secret"}"#);
        let credentials: Credentials = from_header(Some(header.trim_end_matches('=')));
        assert_eq!((credentials.username.as_str(), credentials.password.as_str()), ("me", "secret"));
        assert_eq!(from_header::<Credentials>(Some("e30=")).username, "");
        let header = crate::files::base64(br#"{"one":{"username":"me","identitytoken":null},"two":null}"#);
        let all: std::collections::BTreeMap<String, Option<Credentials>> = from_header(Some(&header));
        let names = all.into_values().map(|own| own.map(|own| own.username));
        assert_eq!(names.collect::<Vec<_>>(), [Some("me".into()), None]);
        assert_eq!(from_header::<Credentials>(None).username, "");
        assert_eq!(from_header::<Credentials>(Some("!")).username, "");
    }
}
