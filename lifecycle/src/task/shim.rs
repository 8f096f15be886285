//! Starting shims, and cleaning up after one that is gone.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use prost::Message;
use shim::proto::bootstrap::{BootstrapParams, BootstrapResult};
use shim::proto::task::DeleteResponse;
use tokio::process::Command;

use crate::error::{Error, Result, bail, error};
use crate::program;

/// The namespace that shims are told: one for all containers of this engine.
pub const NAMESPACE: &str = "corten";

/// How long a shim may take to start.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How shims are started.
#[derive(Debug, Clone)]
pub struct Shims {
    /// The program.
    pub program: PathBuf,
    /// The directory of their sockets.
    pub sockets: PathBuf,
    /// Where they send events.
    pub events: PathBuf,
}

impl Shims {
    /// The shim beside this program, or the one on `PATH`.
    pub fn find() -> PathBuf {
        let name = "containerd-shim-corten-v2";
        let beside = std::env::current_exe().ok().map(|own| own.with_file_name(name));
        beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(name))
    }

    /// Runs the shim's program for a bundle; what it starts is left alone.
    async fn run(&self, id: &str, bundle: &Path, action: &str, input: &[u8]) -> Result<Output> {
        let mut command = Command::new(&self.program);
        command
            .args(["-namespace", NAMESPACE, "-publish-binary", ""])
            .args(["-address", &self.events.to_string_lossy()])
            .args(["-id", id, "-bundle", &bundle.to_string_lossy(), action])
            .current_dir(bundle)
            .env("TTRPC_ADDRESS", &self.events);
        match tokio::time::timeout(START_LIMIT, program::run(command, input)).await {
            Ok(output) => output,
            Err(_) => {
                let program = self.program.display();
                Err(error!(internal, "{program} did not end within {START_LIMIT:?}"))
            }
        }
    }

    /// Starts a shim for a bundle; returns its socket.
    ///
    /// # Errors
    /// With what the shim says.
    pub async fn start(&self, id: &str, bundle: &Path) -> Result<PathBuf> {
        let params = BootstrapParams {
            instance_id: id.into(),
            namespace: NAMESPACE.into(),
            containerd_ttrpc_address: self.events.to_string_lossy().into_owned(),
            socket_dir: Some(self.sockets.to_string_lossy().into_owned()),
            ..BootstrapParams::default()
        };
        let output = self.run(id, bundle, "start", &params.encode_to_vec()).await?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!(internal, "failed to start shim: {}", text.trim());
        }
        let result = BootstrapResult::decode(&output.stdout[..])
            .map_err(|error| error!(internal, "the answer of the shim's start: {error}"))?;
        Ok(PathBuf::from(result.address.strip_prefix("unix://").unwrap_or(&result.address)))
    }

    /// Removes what a container of a dead shim has left; returns the exit status that it is said to have.
    ///
    /// # Errors
    /// With what the shim says.
    pub async fn clean_up(&self, id: &str, bundle: &Path) -> Result<u32> {
        let output = self.run(id, bundle, "delete", &[]).await?;
        let answer = DeleteResponse::decode(&output.stdout[..]);
        match answer {
            Ok(answer) if output.status.success() => Ok(answer.exit_status),
            _ => Err(Error::internal(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        }
    }
}
