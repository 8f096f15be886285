//! Manifests and indexes, OCI's and Docker's being the same but for the names of their types.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::config::architecture;

/// What one refers to.
#[derive(Debug, Clone, Deserialize)]
pub struct Descriptor {
    /// `sha256:…`.
    pub digest: String,
    /// In bytes; some say nothing.
    #[serde(default)]
    pub size: u64,
    /// The machine that an image is for.
    pub platform: Option<Platform>,
    /// Notes, such as its name.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// A kind of machine, in Go's words.
#[derive(Debug, Clone, Deserialize)]
pub struct Platform {
    architecture: String,
    os: String,
}

impl Platform {
    /// Whether it is this machine's.
    pub fn is_ours(&self) -> bool {
        self.os == "linux" && self.architecture == architecture()
    }
}

/// One image.
#[derive(Debug, Deserialize)]
pub struct Manifest {
    /// Its configuration.
    pub config: Descriptor,
    /// Its layers, the lowest first.
    pub layers: Vec<Descriptor>,
}

/// Several images, or one for several kinds of machines.
#[derive(Debug, Deserialize)]
pub struct Index {
    /// Their manifests.
    pub manifests: Vec<Descriptor>,
}

/// What a name stands for.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Named {
    /// Several.
    Index(Index),
    /// One.
    Manifest(Manifest),
}
