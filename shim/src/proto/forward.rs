//! `containerd.services.events.ttrpc.v1`: written by `proto/generate.py` from the published .proto files. Do not edit.

/// `containerd.services.events.ttrpc.v1.ForwardRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ForwardRequest {
    #[prost(message, optional, tag = "1")]
    pub envelope: Option<super::types::Envelope>,
}
