//! Docker's profile format: OCI's, plus rules and architectures that depend on the machine and the container.
//!
//! Format and meaning: `github.com/moby/profiles`, package seccomp. Everything conditional is resolved here,
//! by the engine, before a config.json is written; a runtime only ever sees the result.

use crate::oci::{Arg, Rule, Seccomp, nullable};
use crate::{Arch, Name};
use serde::Deserialize;
use thiserror::Error;

/// A profile in Docker's format. A plain OCI profile is one too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct DockerProfile {
    #[serde(deserialize_with = "nullable")]
    pub default_action: String,
    pub default_errno_ret: Option<u32>,
    #[serde(deserialize_with = "nullable")]
    pub architectures: Vec<String>,
    /// The architectures to list, by the machine's.
    #[serde(deserialize_with = "nullable")]
    pub arch_map: Vec<ArchMap>,
    pub flags: Option<Vec<String>>,
    #[serde(deserialize_with = "nullable")]
    pub listener_path: String,
    #[serde(deserialize_with = "nullable")]
    pub listener_metadata: String,
    #[serde(deserialize_with = "nullable")]
    pub syscalls: Vec<DockerRule>,
}

/// One of `archMap`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ArchMap {
    #[serde(deserialize_with = "nullable")]
    pub architecture: String,
    #[serde(deserialize_with = "nullable")]
    pub sub_architectures: Vec<String>,
}

/// One of `syscalls`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct DockerRule {
    /// One name, in profiles from before `names` existed.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    #[serde(deserialize_with = "nullable")]
    pub names: Vec<Name>,
    #[serde(deserialize_with = "nullable")]
    pub action: String,
    pub errno_ret: Option<u32>,
    #[serde(deserialize_with = "nullable")]
    pub args: Vec<Arg>,
    /// For people.
    #[serde(deserialize_with = "nullable")]
    pub comment: String,
    /// The rule only counts where all of this is so.
    pub includes: Option<Filter>,
    /// The rule does not count where any of this is so.
    pub excludes: Option<Filter>,
}

/// `includes` or `excludes` of a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Filter {
    #[serde(deserialize_with = "nullable")]
    pub caps: Vec<String>,
    /// In libseccomp's spelling, such as `amd64`: [`Arch::docker_name`].
    #[serde(deserialize_with = "nullable")]
    pub arches: Vec<String>,
    /// Such as `4.8`.
    #[serde(deserialize_with = "nullable")]
    pub min_kernel: String,
}

/// A kernel's version, as far as profiles care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// The 6 of 6.18.
    pub version: u32,
    /// The 18 of 6.18.
    pub revision: u32,
}

impl KernelVersion {
    /// The version in a release as uname(2) tells it: whatever follows the first two numbers is ignored.
    pub fn from_release(release: &str) -> Option<Self> {
        let (version, rest) = release.split_once('.')?;
        let digits = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        Some(Self { version: version.parse().ok()?, revision: rest[..digits].parse().ok()? })
    }

    /// The version in a profile: exactly two numbers, each below 256.
    fn from_profile(text: &str) -> Option<Self> {
        let (version, revision) = text.split_once('.')?;
        let (version, revision): (u8, u8) = (version.parse().ok()?, revision.parse().ok()?);
        (version > 0 || revision > 0).then_some(Self { version: version.into(), revision: revision.into() })
    }
}

/// What a Docker profile's conditions are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host<'a> {
    /// The machine.
    pub arch: Arch,
    /// The container's bounding set: names such as `CAP_SYS_ADMIN`.
    pub caps: &'a [String],
    /// The running kernel.
    pub kernel: KernelVersion,
}

/// A profile that cannot be resolved.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DockerError {
    /// Not JSON, or a field of the wrong type.
    #[error("the seccomp profile is not valid: {0}")]
    Json(#[from] serde_json::Error),
    /// Both ways of saying which architectures.
    #[error("architectures: cannot be used together with archMap")]
    TwoArchitectureLists,
    /// Both ways of saying which calls.
    #[error("syscalls[{0}].name: cannot be used together with names")]
    TwoNames(usize),
    /// Not a version.
    #[error("{path}: {text:?} is not a kernel version; expected two numbers such as \"4.8\"")]
    KernelVersion {
        /// JSON path.
        path: String,
        /// As written.
        text: String,
    },
}

impl DockerProfile {
    /// Parses a profile. Unknown fields are ignored, as everywhere in OCI documents.
    ///
    /// # Errors
    /// [`DockerError::Json`].
    pub fn from_json(text: &str) -> Result<Self, DockerError> {
        Ok(serde_json::from_str(text)?)
    }

    /// The OCI profile for a container on a host.
    ///
    /// # Errors
    /// [`DockerError`] of the first thing that is wrong, with its JSON path.
    pub fn resolve(&self, host: &Host<'_>) -> Result<Seccomp, DockerError> {
        if !self.architectures.is_empty() && !self.arch_map.is_empty() {
            return Err(DockerError::TwoArchitectureLists);
        }
        let mut architectures = self.architectures.clone();
        let native = host.arch.oci_name();
        if let Some(map) = self.arch_map.iter().find(|map| map.architecture == native) {
            architectures.push(native);
            architectures.extend(map.sub_architectures.iter().cloned());
        }
        let rule = |index: usize| self.syscalls[index].to_oci(index);
        let syscalls = self.applying(host)?.into_iter().map(rule).collect::<Result<_, _>>()?;
        Ok(Seccomp {
            default_action: self.default_action.clone(),
            default_errno_ret: self.default_errno_ret,
            architectures,
            flags: self.flags.clone(),
            listener_path: self.listener_path.clone(),
            listener_metadata: self.listener_metadata.clone(),
            syscalls,
        })
    }

    /// The indices of the rules that count for a container on a host: [`DockerProfile::resolve`] keeps these,
    /// in order.
    ///
    /// # Errors
    /// [`DockerError::KernelVersion`].
    pub fn applying(&self, host: &Host<'_>) -> Result<Vec<usize>, DockerError> {
        let mut applying = Vec::with_capacity(self.syscalls.len());
        for (index, rule) in self.syscalls.iter().enumerate() {
            if rule.applies(index, host)? {
                applying.push(index);
            }
        }
        Ok(applying)
    }
}

impl DockerRule {
    fn to_oci(&self, index: usize) -> Result<Rule, DockerError> {
        let names = match (self.name.is_empty(), self.names.is_empty()) {
            (false, false) => return Err(DockerError::TwoNames(index)),
            (false, true) => vec![self.name.as_str().into()],
            (true, _) => self.names.clone(),
        };
        Ok(Rule { names, action: self.action.clone(), errno_ret: self.errno_ret, args: self.args.clone() })
    }

    fn applies(&self, index: usize, host: &Host<'_>) -> Result<bool, DockerError> {
        let path = |field: &str| format!("syscalls[{index}].{field}.minKernel");
        if let Some(filter) = &self.excludes {
            let by_kernel = filter.kernel_reached(host, || path("excludes"))?.unwrap_or(false);
            if by_kernel || filter.names_arch(host) || filter.caps.iter().any(|cap| host.caps.contains(cap)) {
                return Ok(false);
            }
        }
        let Some(filter) = &self.includes else { return Ok(true) };
        let by_kernel = filter.kernel_reached(host, || path("includes"))?.unwrap_or(true);
        let by_arch = filter.arches.is_empty() || filter.names_arch(host);
        Ok(by_kernel && by_arch && filter.caps.iter().all(|cap| host.caps.contains(cap)))
    }
}

impl Filter {
    fn names_arch(&self, host: &Host<'_>) -> bool {
        self.arches.iter().any(|name| Arch::from_docker(name) == Some(host.arch))
    }

    /// Whether the host's kernel is at least `minKernel`, when that is given.
    fn kernel_reached(
        &self,
        host: &Host<'_>,
        path: impl Fn() -> String,
    ) -> Result<Option<bool>, DockerError> {
        if self.min_kernel.is_empty() {
            return Ok(None);
        }
        let wanted = KernelVersion::from_profile(&self.min_kernel)
            .ok_or_else(|| DockerError::KernelVersion { path: path(), text: self.min_kernel.clone() })?;
        Ok(Some(host.kernel >= wanted))
    }
}
