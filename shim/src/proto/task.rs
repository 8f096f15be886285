//! `containerd.task.v3`: written by `proto/generate.py` from the published .proto files. Do not edit.

use std::collections::BTreeMap;

/// `containerd.task.v3.CreateTaskRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CreateTaskRequest {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub bundle: String,
    #[prost(message, repeated, tag = "3")]
    pub rootfs: Vec<super::types::Mount>,
    #[prost(bool, tag = "4")]
    pub terminal: bool,
    #[prost(string, tag = "5")]
    pub stdin: String,
    #[prost(string, tag = "6")]
    pub stdout: String,
    #[prost(string, tag = "7")]
    pub stderr: String,
    #[prost(string, tag = "8")]
    pub checkpoint: String,
    #[prost(string, tag = "9")]
    pub parent_checkpoint: String,
    #[prost(message, optional, tag = "10")]
    pub options: Option<super::well_known::Any>,
}

/// `containerd.task.v3.CreateTaskResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CreateTaskResponse {
    #[prost(uint32, tag = "1")]
    pub pid: u32,
}

/// `containerd.task.v3.DeleteRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeleteRequest {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub exec_id: String,
}

/// `containerd.task.v3.DeleteResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeleteResponse {
    #[prost(uint32, tag = "1")]
    pub pid: u32,
    #[prost(uint32, tag = "2")]
    pub exit_status: u32,
    #[prost(message, optional, tag = "3")]
    pub exited_at: Option<super::well_known::Timestamp>,
}

/// `containerd.task.v3.ExecProcessRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExecProcessRequest {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub exec_id: String,
    #[prost(bool, tag = "3")]
    pub terminal: bool,
    #[prost(string, tag = "4")]
    pub stdin: String,
    #[prost(string, tag = "5")]
    pub stdout: String,
    #[prost(string, tag = "6")]
    pub stderr: String,
    #[prost(message, optional, tag = "7")]
    pub spec: Option<super::well_known::Any>,
}

/// `containerd.task.v3.ResizePtyRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ResizePtyRequest {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub exec_id: String,
    #[prost(uint32, tag = "3")]
    pub width: u32,
    #[prost(uint32, tag = "4")]
    pub height: u32,
}

/// `containerd.task.v3.StateRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StateRequest {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub exec_id: String,
}

/// `containerd.task.v3.StateResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StateResponse {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub bundle: String,
    #[prost(uint32, tag = "3")]
    pub pid: u32,
    #[prost(enumeration = "super::task_types::Status", tag = "4")]
    pub status: i32,
    #[prost(string, tag = "5")]
    pub stdin: String,
    #[prost(string, tag = "6")]
    pub stdout: String,
    #[prost(string, tag = "7")]
    pub stderr: String,
    #[prost(bool, tag = "8")]
    pub terminal: bool,
    #[prost(uint32, tag = "9")]
    pub exit_status: u32,
    #[prost(message, optional, tag = "10")]
    pub exited_at: Option<super::well_known::Timestamp>,
    #[prost(string, tag = "11")]
    pub exec_id: String,
}

/// `containerd.task.v3.KillRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct KillRequest {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub exec_id: String,
    #[prost(uint32, tag = "3")]
    pub signal: u32,
    #[prost(bool, tag = "4")]
    pub all: bool,
}

/// `containerd.task.v3.CloseIORequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CloseIORequest {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub exec_id: String,
    #[prost(bool, tag = "3")]
    pub stdin: bool,
}

/// `containerd.task.v3.PidsRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PidsRequest {
    #[prost(string, tag = "1")]
    pub id: String,
}

/// `containerd.task.v3.PidsResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PidsResponse {
    #[prost(message, repeated, tag = "1")]
    pub processes: Vec<super::task_types::ProcessInfo>,
}

/// `containerd.task.v3.CheckpointTaskRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckpointTaskRequest {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub path: String,
    #[prost(message, optional, tag = "3")]
    pub options: Option<super::well_known::Any>,
}

/// `containerd.task.v3.UpdateTaskRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateTaskRequest {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(message, optional, tag = "2")]
    pub resources: Option<super::well_known::Any>,
    #[prost(btree_map = "string, string", tag = "3")]
    pub annotations: BTreeMap<String, String>,
}

/// `containerd.task.v3.StartRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StartRequest {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub exec_id: String,
}

/// `containerd.task.v3.StartResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StartResponse {
    #[prost(uint32, tag = "1")]
    pub pid: u32,
}

/// `containerd.task.v3.WaitRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WaitRequest {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub exec_id: String,
}

/// `containerd.task.v3.WaitResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WaitResponse {
    #[prost(uint32, tag = "1")]
    pub exit_status: u32,
    #[prost(message, optional, tag = "2")]
    pub exited_at: Option<super::well_known::Timestamp>,
}

/// `containerd.task.v3.StatsRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StatsRequest {
    #[prost(string, tag = "1")]
    pub id: String,
}

/// `containerd.task.v3.StatsResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StatsResponse {
    #[prost(message, optional, tag = "1")]
    pub stats: Option<super::well_known::Any>,
}

/// `containerd.task.v3.ConnectRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ConnectRequest {
    #[prost(string, tag = "1")]
    pub id: String,
}

/// `containerd.task.v3.ConnectResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ConnectResponse {
    #[prost(uint32, tag = "1")]
    pub shim_pid: u32,
    #[prost(uint32, tag = "2")]
    pub task_pid: u32,
    #[prost(string, tag = "3")]
    pub version: String,
}

/// `containerd.task.v3.ShutdownRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ShutdownRequest {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(bool, tag = "2")]
    pub now: bool,
}

/// `containerd.task.v3.PauseRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PauseRequest {
    #[prost(string, tag = "1")]
    pub id: String,
}

/// `containerd.task.v3.ResumeRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ResumeRequest {
    #[prost(string, tag = "1")]
    pub id: String,
}
