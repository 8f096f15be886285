//! `google.protobuf`: written by `proto/generate.py` from the published .proto files. Do not edit.

/// Any carries a serialized message together with the name of its type.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Any {
    /// Name of the type; containerd writes the bare full name, without "type.googleapis.com/".
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The serialized message (JSON for the OCI types).
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// Timestamp is a point in time, independent of any time zone.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Timestamp {
    /// Seconds of UTC time since the Unix epoch.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds, 0 to 999,999,999.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}
