//! `containerd.runtime.bootstrap.v1`: written by `proto/generate.py` from the published .proto files. Do not edit.

use std::collections::BTreeMap;

/// BootstrapParams contains all configuration passed from containerd to shim at startup.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BootstrapParams {
    /// Container/sandbox ID
    #[prost(string, tag = "1")]
    pub instance_id: String,
    /// Namespace for the container
    #[prost(string, tag = "2")]
    pub namespace: String,
    /// Requested shim log level.
    /// INFO = 0, more critical levels are positive, and more verbose
    /// levels are negative. This is an open enum; shims should treat
    /// unrecognized values by mapping to the nearest known level.
    #[prost(enumeration = "LogLevel", tag = "3")]
    pub log_level: i32,
    /// containerd daemon version that is launching this shim.
    #[prost(string, tag = "4")]
    pub containerd_version: String,
    /// Containerd's TTRPC API address (e.g., "unix:///run/containerd/containerd.sock.ttrpc")
    #[prost(string, tag = "5")]
    pub containerd_ttrpc_address: String,
    /// Containerd's gRPC API address (e.g., "unix:///run/containerd/containerd.sock")
    #[prost(string, tag = "6")]
    pub containerd_grpc_address: String,
    /// Path to containerd binary for event publishing
    #[prost(string, tag = "7")]
    pub containerd_binary: String,
    /// Extensible configuration sections for new features
    /// Each section can contain arbitrary structured data identified by type URL
    /// Examples: CRI config, NRI config, sandbox config, etc.
    #[prost(message, repeated, tag = "8")]
    pub extensions: Vec<Extension>,
    /// Optional directory for the shim to place its unix socket.
    /// If empty, the shim defaults to a short, well-known path
    /// (e.g., /run/containerd/s). The path must be kept short because
    /// the socket filename is a 64-character SHA256 hash and unix
    /// socket paths are limited to 104-108 bytes depending on platform.
    #[prost(string, optional, tag = "9")]
    pub socket_dir: Option<String>,
}

/// Extension provides extensibility for new configuration types
/// without changing the core BootstrapParams protocol
#[derive(Clone, PartialEq, prost::Message)]
pub struct Extension {
    /// Configuration data with embedded type URL
    /// Examples of type URLs:
    /// - "containerd.io/cri.v1.PodSandboxConfig"
    /// - "containerd.io/nri.v1.PluginConfig"
    /// - "containerd.io/sandbox.v1.SandboxConfig"
    #[prost(message, optional, tag = "1")]
    pub value: Option<super::well_known::Any>,
}

/// BootstrapResult is returned by shim via stdout after successful startup
#[derive(Clone, PartialEq, prost::Message)]
pub struct BootstrapResult {
    /// Version of shim parameters (expected 2 for shim v2)
    #[prost(int32, tag = "1")]
    pub version: i32,
    /// Address where shim is listening (e.g., "unix:///run/containerd/shim.sock")
    /// Containerd will connect to this address for task operations
    #[prost(string, tag = "2")]
    pub address: String,
    /// Protocol used by shim: "ttrpc" or "grpc"
    #[prost(string, tag = "3")]
    pub protocol: String,
    /// Optional: Capabilities supported by this shim instance.
    /// Reserved for future use to allow optional capability negotiation
    /// between the daemon and shim.
    #[prost(enumeration = "Capability", repeated, tag = "4")]
    pub capabilities: Vec<i32>,
    /// Optional: Additional metadata from shim
    #[prost(btree_map = "string, string", tag = "5")]
    pub metadata: BTreeMap<String, String>,
    /// Optional: Typed detail describing what this shim instance is able to
    /// do, so that containerd can adjust its own behavior. For example, a
    /// containerd.types.MountCapabilities extension tells containerd which
    /// mount types and transforms this shim performs itself, so the mount
    /// manager does not perform them on the shim's behalf.
    ///
    /// containerd MUST ignore an extension whose type it does not recognize,
    /// so a shim may advertise unconditionally and an older daemon will
    /// simply keep its previous behavior.
    #[prost(message, repeated, tag = "6")]
    pub extensions: Vec<Extension>,
}

/// LogLevel defines log verbosity. INFO = 0, more critical levels are
/// positive, and more verbose levels are negative. This is an open enum;
/// unknown numeric values are preserved on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum LogLevel {
    Info = 0,
    Trace = -8,
    Debug = -4,
    Warn = 4,
    Error = 8,
    Fatal = 10,
    Panic = 12,
}

/// Capability defines optional features that can be negotiated between
/// containerd and shims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Capability {
    Unspecified = 0,
}
