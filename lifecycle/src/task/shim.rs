//! Starting shims, and cleaning up after one that is gone.

use std::path::PathBuf;
use std::time::Duration;

use prost::Message;
use shim::proto::bootstrap::{BootstrapParams, BootstrapResult};
use shim::proto::task::DeleteResponse;
use tokio::process::Command;

use crate::container::Container;
use crate::engine::Settings;
use crate::error::{Error, Result, error};
use crate::files::lossy;
use crate::program;

/// The namespace that shims are told: one for all containers of this engine.
pub const NAMESPACE: &str = "corten";

/// How long a shim may take to start.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The shim beside this program, or the one on `PATH`.
pub fn find() -> PathBuf {
    let name = "containerd-shim-corten-v2";
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name(name));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(name))
}

/// Where shims send events.
pub(super) fn events(settings: &Settings) -> PathBuf {
    settings.exec_root.join("events.sock")
}

/// Runs the shim's program for a container; what it starts is left alone.
async fn run(container: &Container, what: &str, action: &str, input: &[u8]) -> Result<Vec<u8>> {
    let settings = &container.engine.settings;
    let (events, bundle) = (events(settings), container.bundle());
    let mut command = Command::new(&settings.shim);
    command
        .args(["-namespace", NAMESPACE, "-publish-binary", ""])
        .args(["-address", &events.to_string_lossy()])
        .args(["-id", &container.id, "-bundle", &bundle.to_string_lossy(), action])
        .current_dir(&bundle)
        .kill_on_drop(true)
        .env("TTRPC_ADDRESS", &events);
    let late = |_| error!(internal, "{} did not end within {START_LIMIT:?}", settings.shim.display());
    tokio::time::timeout(START_LIMIT, program::told(what, command, input)).await.map_err(late)?
}

/// Starts a shim for a container; returns its socket.
///
/// # Errors
/// With what the shim says.
pub async fn start(container: &Container) -> Result<PathBuf> {
    let settings = &container.engine.settings;
    let params = BootstrapParams {
        instance_id: container.id.clone(),
        namespace: NAMESPACE.into(),
        containerd_ttrpc_address: lossy(&events(settings)),
        socket_dir: Some(lossy(&settings.exec_root.join("s"))),
        ..BootstrapParams::default()
    };
    let output = run(container, "failed to start shim", "start", &params.encode_to_vec()).await?;
    let result = BootstrapResult::decode(&output[..])
        .map_err(|error| error!(internal, "the answer of the shim's start: {error}"))?;
    Ok(PathBuf::from(result.address.strip_prefix("unix://").unwrap_or(&result.address)))
}

/// Removes what a container of a dead shim has left; returns the exit status that it is said to have.
///
/// # Errors
/// With what the shim says.
pub async fn clean_up(container: &Container) -> Result<u32> {
    let output = run(container, "clean up after a shim", "delete", &[]).await?;
    DeleteResponse::decode(&output[..]).map(|answer| answer.exit_status).map_err(Error::internal)
}
