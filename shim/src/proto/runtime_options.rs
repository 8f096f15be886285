//! `runtimeoptions.v1`: written by `proto/generate.py` from the published .proto files. Do not edit.

/// `runtimeoptions.v1.Options`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Options {
    /// TypeUrl specifies the type of the content inside the config file.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// ConfigPath specifies the filesystem location of the config file
    /// used by the runtime.
    #[prost(string, tag = "2")]
    pub config_path: String,
    /// Blob specifies an in-memory TOML blob passed from containerd's configuration section
    /// for this runtime. This will be used if config_path is not specified.
    #[prost(bytes = "vec", tag = "3")]
    pub config_body: Vec<u8>,
}
