//! The Docker Engine API: which request means what. What is done is done elsewhere.

pub mod answer;
mod build;
mod container;
mod exec;
mod files;
mod hijack;
mod image;
mod import;
mod inspect;
mod network;
mod registry;
pub mod request;
pub mod server;
mod stats;
mod system;
pub mod tls;
mod volume;

use crate::engine::Engine;
use crate::error::{Error, Result, bail, error};
use answer::Answer;
use request::Call;

/// The newest and the oldest version of the API that is spoken.
pub const VERSIONS: ((u32, u32), (u32, u32)) = ((1, 47), (1, 24));

/// Answers a request.
async fn route(engine: &'static Engine, mut call: Call) -> Result<Answer> {
    let ((major, minor), (oldest_major, oldest_minor)) = VERSIONS;
    let (asked_major, asked_minor) = call.version;
    if call.version > (major, minor) {
        bail!(
            invalid,
            "client version {asked_major}.{asked_minor} is too new. Maximum supported API version is {major}.{minor}"
        );
    }
    if call.version < (oldest_major, oldest_minor) {
        bail!(
            invalid,
            "client version {asked_major}.{asked_minor} is too old. Minimum supported API version is {oldest_major}.{oldest_minor}, please upgrade your client to a newer version"
        );
    }
    let path = std::mem::take(&mut call.path);
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    match (parts.first().copied().unwrap_or_default(), &parts[parts.len().min(1)..]) {
        ("containers", rest) => container::route(engine, call, rest).await,
        ("exec", rest) => exec::route(engine, call, rest).await,
        ("images", rest) => image::route(engine, call, rest).await,
        ("networks", rest) => network::route(engine, call, rest).await,
        ("volumes", rest) => volume::route(engine, call, rest).await,
        (first, rest) => system::route(engine, call, first, rest).await,
    }
}

/// What is not there.
fn not_found(call: &Call) -> Error {
    // As dockerd words it.
    error!(not_found, "page not found: {} {}", call.method, call.request.uri().path())
}
