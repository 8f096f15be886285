//! `containerd.types`: written by `proto/generate.py` from the published .proto files. Do not edit.

use std::collections::BTreeMap;

/// `containerd.types.Envelope`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Envelope {
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<super::well_known::Timestamp>,
    #[prost(string, tag = "2")]
    pub namespace: String,
    #[prost(string, tag = "3")]
    pub topic: String,
    #[prost(message, optional, tag = "4")]
    pub event: Option<super::well_known::Any>,
}

/// `containerd.types.RuntimeVersion`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RuntimeVersion {
    #[prost(string, tag = "1")]
    pub version: String,
    #[prost(string, tag = "2")]
    pub revision: String,
}

/// `containerd.types.RuntimeInfo`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RuntimeInfo {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub version: Option<RuntimeVersion>,
    /// Options correspond to RuntimeInfoRequest.Options (contains runc binary path, etc.)
    #[prost(message, optional, tag = "3")]
    pub options: Option<super::well_known::Any>,
    /// OCI-compatible runtimes should use https://github.com/opencontainers/runtime-spec/blob/main/features.md
    #[prost(message, optional, tag = "4")]
    pub features: Option<super::well_known::Any>,
    /// Annotations of the shim. Irrelevant to features.Annotations.
    #[prost(btree_map = "string, string", tag = "5")]
    pub annotations: BTreeMap<String, String>,
}

/// Mount describes mounts for a container.
///
/// This type is the lingua franca of ContainerD. All services provide mounts
/// to be used with the container at creation time.
///
/// The Mount type follows the structure of the mount syscall, including a type,
/// source, target and options.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Mount {
    /// Type defines the nature of the mount.
    #[prost(string, tag = "1")]
    pub r#type: String,
    /// Source specifies the name of the mount. Depending on mount type, this
    /// may be a volume name or a host path, or even ignored.
    #[prost(string, tag = "2")]
    pub source: String,
    /// Target path in container
    #[prost(string, tag = "3")]
    pub target: String,
    /// Options specifies zero or more fstab style mount options.
    #[prost(string, repeated, tag = "4")]
    pub options: Vec<String>,
}
