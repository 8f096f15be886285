//! `containerd.v1.types`: written by `proto/generate.py` from the published .proto files. Do not edit.

/// `containerd.v1.types.Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Status {
    Unknown = 0,
    Created = 1,
    Running = 2,
    Stopped = 3,
    Paused = 4,
    Pausing = 5,
}

/// `containerd.v1.types.ProcessInfo`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ProcessInfo {
    /// PID is the process ID.
    #[prost(uint32, tag = "1")]
    pub pid: u32,
    /// Info contains additional process information.
    ///
    /// Info varies by platform.
    #[prost(message, optional, tag = "2")]
    pub info: Option<super::well_known::Any>,
}
