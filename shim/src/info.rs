//! `-info` and `-v`: what the shim and its runtime are and can do.

use std::io;
use std::path::Path;
use std::time::Duration;

use prost::Message;

use crate::options::{self, RuntimeOptions};
use crate::proto::types::{RuntimeInfo, RuntimeVersion};
use crate::proto::well_known::Any;
use crate::{oci::Runtime, reactor};

/// How long the runtime may take to list its features.
const FEATURES_LIMIT: Duration = Duration::from_secs(5);

/// The type of the features document; its value is the OCI JSON.
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Standard input, or the event loop.
    #[error("{0}: {1}")]
    Io(&'static str, io::Error),
    /// The options on standard input.
    #[error(transparent)]
    Options(#[from] options::Error),
    /// The options on standard input are no message.
    #[error("runtime options: {0}")]
    Message(#[from] prost::DecodeError),
}

/// Serves `-info` and returns what is to be printed: a `containerd.types.RuntimeInfo`.
pub fn describe(name: &str) -> Result<Vec<u8>, Error> {
    let input = options::read_input().map_err(|error| Error::Io("read standard input", error))?;
    let any = Any::decode(&input[..])?;
    let options = RuntimeOptions::decode(Some(&any))?;
    let runtime = Runtime::new(&options, "", Path::new("/"), None);
    let features = reactor::run(async move { runtime.features(FEATURES_LIMIT).await });
    // A runtime that has no such command has no features to tell of.
    let features = features.map_err(|error| Error::Io("event loop", error))?.ok();
    let info = RuntimeInfo {
        name: name.to_owned(),
        version: Some(RuntimeVersion {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: option_env!("CORTEN_REVISION").unwrap_or_default().to_owned(),
        }),
        options: Some(any).filter(|any| !any.type_url.is_empty()),
        features: features.map(|value| Any { type_url: FEATURES.to_owned(), value }),
        ..Default::default()
    };
    Ok(info.encode_to_vec())
}

/// The text of `-v`.
pub fn version(program: &str) -> String {
    format!(
        "{program}:\n  Version:  {}\n  Revision: {}\n\n",
        env!("CARGO_PKG_VERSION"),
        option_env!("CORTEN_REVISION").unwrap_or("unknown")
    )
}
