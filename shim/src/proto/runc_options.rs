//! `containerd.runc.v1`: written by `proto/generate.py` from the published .proto files. Do not edit.

/// `containerd.runc.v1.Options`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Options {
    /// disable pivot root when creating a container
    #[prost(bool, tag = "1")]
    pub no_pivot_root: bool,
    /// create a new keyring for the container
    #[prost(bool, tag = "2")]
    pub no_new_keyring: bool,
    /// place the shim in a cgroup
    #[prost(string, tag = "3")]
    pub shim_cgroup: String,
    /// set the I/O's pipes uid
    #[prost(uint32, tag = "4")]
    pub io_uid: u32,
    /// set the I/O's pipes gid
    #[prost(uint32, tag = "5")]
    pub io_gid: u32,
    /// binary name of the runc binary
    #[prost(string, tag = "6")]
    pub binary_name: String,
    /// runc root directory
    #[prost(string, tag = "7")]
    pub root: String,
    /// criu binary path.
    ///
    /// Until containerd 1.7.
    #[prost(string, tag = "8")]
    pub criu_path: String,
    /// enable systemd cgroups
    #[prost(bool, tag = "9")]
    pub systemd_cgroup: bool,
    /// criu image path
    #[prost(string, tag = "10")]
    pub criu_image_path: String,
    /// criu work path
    #[prost(string, tag = "11")]
    pub criu_work_path: String,
    /// task api address, can be a unix domain socket, or vsock address.
    /// it is in the form of ttrpc+unix://path/to/uds or grpc+vsock://<vsock cid>:<port>.
    #[prost(string, tag = "12")]
    pub task_api_address: String,
    /// task api version, currently supported value is 2 and 3.
    #[prost(uint32, tag = "13")]
    pub task_api_version: u32,
}

/// `containerd.runc.v1.CheckpointOptions`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckpointOptions {
    /// exit the container after a checkpoint
    #[prost(bool, tag = "1")]
    pub exit: bool,
    /// checkpoint open tcp connections
    #[prost(bool, tag = "2")]
    pub open_tcp: bool,
    /// checkpoint external unix sockets
    #[prost(bool, tag = "3")]
    pub external_unix_sockets: bool,
    /// checkpoint terminals (ptys)
    #[prost(bool, tag = "4")]
    pub terminal: bool,
    /// allow checkpointing of file locks
    #[prost(bool, tag = "5")]
    pub file_locks: bool,
    /// restore provided namespaces as empty namespaces
    #[prost(string, repeated, tag = "6")]
    pub empty_namespaces: Vec<String>,
    /// set the cgroups mode, soft, full, strict
    #[prost(string, tag = "7")]
    pub cgroups_mode: String,
    /// checkpoint image path
    #[prost(string, tag = "8")]
    pub image_path: String,
    /// checkpoint work path
    #[prost(string, tag = "9")]
    pub work_path: String,
    /// parent image path
    #[prost(string, tag = "10")]
    pub parent_path: String,
}

/// `containerd.runc.v1.ProcessDetails`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ProcessDetails {
    /// exec process id if the process is managed by a shim
    #[prost(string, tag = "1")]
    pub exec_id: String,
}
