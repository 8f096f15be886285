//! `containerd.events`: written by `proto/generate.py` from the published .proto files. Do not edit.

/// `containerd.events.TaskCreate`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskCreate {
    #[prost(string, tag = "1")]
    pub container_id: String,
    #[prost(string, tag = "2")]
    pub bundle: String,
    #[prost(message, repeated, tag = "3")]
    pub rootfs: Vec<super::types::Mount>,
    #[prost(message, optional, tag = "4")]
    pub io: Option<TaskIO>,
    #[prost(string, tag = "5")]
    pub checkpoint: String,
    #[prost(uint32, tag = "6")]
    pub pid: u32,
}

/// `containerd.events.TaskStart`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskStart {
    #[prost(string, tag = "1")]
    pub container_id: String,
    #[prost(uint32, tag = "2")]
    pub pid: u32,
}

/// `containerd.events.TaskDelete`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskDelete {
    #[prost(string, tag = "1")]
    pub container_id: String,
    #[prost(uint32, tag = "2")]
    pub pid: u32,
    #[prost(uint32, tag = "3")]
    pub exit_status: u32,
    #[prost(message, optional, tag = "4")]
    pub exited_at: Option<super::well_known::Timestamp>,
    /// id is the specific exec. By default if omitted will be `""` thus matches
    /// the init exec of the task matching `container_id`.
    #[prost(string, tag = "5")]
    pub id: String,
}

/// `containerd.events.TaskIO`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskIO {
    #[prost(string, tag = "1")]
    pub stdin: String,
    #[prost(string, tag = "2")]
    pub stdout: String,
    #[prost(string, tag = "3")]
    pub stderr: String,
    #[prost(bool, tag = "4")]
    pub terminal: bool,
}

/// `containerd.events.TaskExit`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskExit {
    #[prost(string, tag = "1")]
    pub container_id: String,
    #[prost(string, tag = "2")]
    pub id: String,
    #[prost(uint32, tag = "3")]
    pub pid: u32,
    #[prost(uint32, tag = "4")]
    pub exit_status: u32,
    #[prost(message, optional, tag = "5")]
    pub exited_at: Option<super::well_known::Timestamp>,
}

/// `containerd.events.TaskOOM`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskOOM {
    #[prost(string, tag = "1")]
    pub container_id: String,
}

/// `containerd.events.TaskExecAdded`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskExecAdded {
    #[prost(string, tag = "1")]
    pub container_id: String,
    #[prost(string, tag = "2")]
    pub exec_id: String,
}

/// `containerd.events.TaskExecStarted`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskExecStarted {
    #[prost(string, tag = "1")]
    pub container_id: String,
    #[prost(string, tag = "2")]
    pub exec_id: String,
    #[prost(uint32, tag = "3")]
    pub pid: u32,
}

/// `containerd.events.TaskPaused`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskPaused {
    #[prost(string, tag = "1")]
    pub container_id: String,
}

/// `containerd.events.TaskResumed`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskResumed {
    #[prost(string, tag = "1")]
    pub container_id: String,
}

/// `containerd.events.TaskCheckpointed`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskCheckpointed {
    #[prost(string, tag = "1")]
    pub container_id: String,
    #[prost(string, tag = "2")]
    pub checkpoint: String,
}
