//! What an image says of itself: its configuration, which is what its containers run, and of which layers it is made.
//!
//! It has fields of Docker's own, which OCI's type would drop. The rest, manifests and indexes among it, are OCI's types:
//! Docker's are the same but for their names.

use std::fmt;

use bollard_stubs::models::ContainerConfig;
use oci_spec::image::{Arch, History};
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
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, tag = "type", rename = "layers")]
pub struct RootFs {
    /// Digests of the layers as plain tar, the lowest first.
    #[serde(deserialize_with = "nullable")]
    pub diff_ids: Vec<String>,
}

/// What may be `null` in JSON, and is nothing then.
pub(crate) fn nullable<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
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

/// What an image is for, as `linux/arm64/v8`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Platform {
    /// The system.
    pub os: String,
    /// The machine, as Go names it.
    pub architecture: String,
    /// Its variant.
    pub variant: Option<String>,
}

impl Platform {
    /// This machine's.
    pub fn ours() -> Self {
        Self { os: "linux".into(), architecture: architecture(), variant: None }
    }

    /// Of a configuration; what it does not say is this machine's.
    pub fn of(config: &ConfigFile) -> Self {
        let ConfigFile { os, architecture, variant, .. } = config.clone();
        let said = |own: String, ours| if own.is_empty() { ours } else { own };
        let (ours, variant) = (Self::ours(), variant.filter(|variant| !variant.is_empty()));
        Self { os: said(os, ours.os), architecture: said(architecture, ours.architecture), variant }
    }

    /// Understands a platform, of which the system or the architecture may be left out.
    ///
    /// # Errors
    /// When there is no such thing.
    pub fn parse(text: &str) -> Result<Self> {
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
        let (os, architecture, variant) = match parts[..] {
            [os @ ("linux" | "windows" | "darwin" | "macos" | "freebsd")] => (os, architecture(), None),
            [arch] if known(&usual(arch)) => ("linux", usual(arch), None),
            [os, arch] if parts.iter().all(is_word) => (os, usual(arch), None),
            [os, arch, variant] if parts.iter().all(is_word) => (os, usual(arch), Some(variant.to_owned())),
            _ => bail!(invalid, "{text:?}: unknown operating system or architecture: invalid argument"),
        };
        Ok(Self { os: os.into(), architecture, variant })
    }

    /// How far from this one is another that can be used where this one is asked for; an older variant can be, and
    /// one that is not told.
    pub fn distance(&self, other: &Self) -> Option<u32> {
        let level = |one: &Self| -> u32 {
            let usual = match &*one.architecture {
                "arm" => 7,
                "arm64" => 8,
                // All there are: which of them this machine has is seen when something runs.
                _ => 4,
            };
            let variant = one.variant.as_deref().map(|variant| variant.trim_start_matches('v').parse());
            variant.and_then(Result::ok).unwrap_or(usual)
        };
        let (ours, its) = (&*self.architecture, &*other.architecture);
        let is_older = matches!((ours, its), ("amd64", "386") | ("arm64", "arm"));
        if self.os != other.os || ours != its && !is_older {
            return None;
        }
        match (is_older, &other.variant) {
            (true, _) => Some(100),
            (false, None) => Some(0),
            (false, Some(_)) => level(self).checked_sub(level(other)),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variant = self.variant.iter().flat_map(|variant| ["/", variant]).collect::<String>();
        write!(formatter, "{}/{}{variant}", self.os, self.architecture)
    }
}

impl From<&oci_spec::image::Platform> for Platform {
    fn from(from: &oci_spec::image::Platform) -> Self {
        let (os, architecture) = (from.os().to_string(), from.architecture().to_string());
        Self { os, architecture, variant: from.variant().clone().filter(|variant| !variant.is_empty()) }
    }
}

/// Refuses an image that is for another platform than the one that was asked for.
///
/// # Errors
/// In dockerd's words, by which clients know that they are to pull it.
pub fn check_image(name: &str, image: &ConfigFile, asked: &Platform) -> Result<()> {
    let own = Platform::of(image);
    asked.distance(&own).map(drop).ok_or_else(|| {
        let text = format!("platform ({own}) does not match the specified platform ({asked})");
        error!(not_found, "image with reference {name} was found but its {text}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_used_where_they_can_be() {
        for (asked, image, distance) in [
            ("linux/amd64", "linux/amd64", Some(0)),
            ("linux/arm64", "linux/arm64/v8", Some(0)),
            ("linux/arm64/v8", "linux/arm64", Some(0)),
            ("linux/arm", "linux/arm/v6", Some(1)),
            ("linux/arm/v6", "linux/arm/v7", None),
            ("linux/amd64", "linux/amd64/v3", Some(1)),
            ("linux/amd64/v2", "linux/amd64/v3", None),
            ("linux/amd64", "linux/386", Some(100)),
            ("linux/amd64", "linux/arm64", None),
            ("linux/amd64", "windows/amd64", None),
        ] {
            let [asked, image] = [asked, image].map(|text| Platform::parse(text).unwrap());
            assert_eq!(asked.distance(&image), distance, "{asked} {image}");
        }
    }
}
