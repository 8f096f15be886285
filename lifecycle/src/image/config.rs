//! What an image says of itself: its configuration, which is what its containers run, and of which layers it is made.
//!
//! It has fields of Docker's own, which OCI's type would drop. The rest, manifests and indexes among it, are OCI's types:
//! Docker's are the same but for their names.

use bollard_stubs::models::ContainerConfig;
use oci_spec::image::{Arch, Descriptor, History, Os, Platform};
use serde::{Deserialize, Serialize};

use crate::error::{Result, bail, ensure, error};
use crate::time;

/// An image's configuration, Docker's and OCI's being the same.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigFile {
    /// The machine it is for, as Go names it.
    pub architecture: String,
    /// The variant of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// `linux`.
    pub os: String,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// What containers run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<ContainerConfig>,
    /// The layers.
    pub rootfs: RootFs,
    /// How it was made, step by step.
    #[serde(deserialize_with = "nullable")]
    pub history: Vec<History>,
}

/// The layers of an image.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct RootFs {
    /// `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the layers as plain tar, the lowest first.
    #[serde(deserialize_with = "nullable")]
    pub diff_ids: Vec<String>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: "layers".into(), diff_ids: Vec::new() }
    }
}

pub(super) fn nullable<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl ConfigFile {
    /// Of an image for this machine, with nothing in it.
    pub fn ours() -> Self {
        Self { architecture: architecture(), os: "linux".into(), ..Self::default() }
    }

    /// Understands a configuration, and refuses one that is not for this machine.
    ///
    /// # Errors
    /// When it is malformed or for another machine.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let config: Self = serde_json::from_slice(text)
            .map_err(|error| error!(invalid, "the image's configuration: {error}"))?;
        if !config.rootfs.diff_ids.iter().all(|id| super::reference::is_digest(id)) {
            bail!(invalid, "the image's configuration: diff_ids are not sha256 digests");
        }
        let is_ours = matches!(config.os.as_str(), "" | "linux");
        ensure!(is_ours, invalid, "image operating system {:?} cannot be used on this platform", config.os);
        Ok(config)
    }

    /// The configuration after one more step, which has made a layer or none.
    #[must_use]
    pub fn next(mut self, config: ContainerConfig, mut step: History, layer: Option<String>) -> Self {
        self.created = step.created().clone().or_else(|| Some(time::now()));
        self.author.clone_from(step.author());
        self.config = Some(config);
        step.set_created(self.created.clone()).set_empty_layer(layer.is_none().then_some(true));
        self.history.push(step);
        self.rootfs.diff_ids.extend(layer);
        self
    }

    /// What containers run.
    pub fn container(&self) -> ContainerConfig {
        self.config.clone().unwrap_or_default()
    }
}

/// The machine's name in images.
pub fn architecture() -> String {
    Arch::default().to_string()
}

/// The system and the architecture of a platform such as `linux/amd64`, of which one may be left out.
///
/// # Errors
/// When there is no such thing.
pub fn parse_platform(text: &str) -> Result<(String, String)> {
    let lower = text.to_lowercase();
    let parts: Vec<&str> = lower.split('/').collect();
    let is_word =
        |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c));
    let usual = |arch: &str| match arch {
        "x86_64" | "x86-64" => "amd64".to_owned(),
        "aarch64" => "arm64".to_owned(),
        other => other.to_owned(),
    };
    let known = |arch: &str| !matches!(Arch::from(arch), Arch::Other(_));
    match parts[..] {
        [os @ ("linux" | "windows" | "darwin" | "macos" | "freebsd")] => Ok((os.into(), architecture())),
        [arch] if known(&usual(arch)) => Ok(("linux".into(), usual(arch))),
        [os, arch] | [os, arch, _] if parts.iter().all(is_word) => Ok((os.into(), usual(arch))),
        _ => Err(error!(invalid, "{text:?}: unknown operating system or architecture: invalid argument")),
    }
}

/// Refuses a platform, such as `linux/amd64`, that is not this machine's.
///
/// # Errors
/// With its name.
pub fn check_platform(platform: &str) -> Result<()> {
    let ours = parse_platform(platform)? == ("linux".to_owned(), architecture());
    ours.then_some(()).ok_or_else(|| error!(not_found, "the platform {platform} is not that of this machine"))
}

/// Whether an image of an index is for this machine.
pub fn is_ours(image: &Descriptor) -> bool {
    let is = |its: &Platform| *its.os() == Os::Linux && *its.architecture() == Arch::default();
    image.platform().as_ref().is_some_and(is)
}
