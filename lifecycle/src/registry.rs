//! Registries: pull and push, by the OCI distribution specification.
//!
//! Everything that arrives is hostile until its digest is the one that was asked for. Registries on this machine's
//! loopback may speak without TLS, all others may not.

mod auth;
mod client;
mod pull;
mod push;

pub use auth::Credentials;
pub use client::Registry;
pub use pull::pull;
pub use push::push;

/// The type of manifests that are pushed.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Types of manifests that are understood.
const MANIFESTS: [&str; 4] = [
    MANIFEST,
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
