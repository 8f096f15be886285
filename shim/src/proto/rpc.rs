//! `google.rpc`: written by `proto/generate.py` from the published .proto files. Do not edit.

/// Status says how a call ended; absent means success.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Status {
    /// A gRPC status code.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// The error, for people.
    #[prost(string, tag = "2")]
    pub message: String,
}
