//! Starting shims, and cleaning up after one that is gone.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use shim::proto::bootstrap::{BootstrapParams, BootstrapResult};
use shim::proto::task::DeleteResponse;

use super::Client;
use crate::error::{Error, Result};

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

    fn command(&self, id: &str, bundle: &Path, action: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args([
                "-namespace",
                NAMESPACE,
                "-address",
                &self.events.to_string_lossy(),
                "-publish-binary",
                "",
            ])
            .args(["-id", id, "-bundle", &bundle.to_string_lossy(), action])
            .current_dir(bundle)
            .env("TTRPC_ADDRESS", &self.events)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts a shim for a bundle; returns its socket and a connection.
    ///
    /// # Errors
    /// With what the shim says.
    pub async fn start(&self, id: &str, bundle: &Path) -> Result<(PathBuf, Arc<Client>)> {
        let params = BootstrapParams {
            instance_id: id.into(),
            namespace: NAMESPACE.into(),
            containerd_ttrpc_address: self.events.to_string_lossy().into_owned(),
            socket_dir: Some(self.sockets.to_string_lossy().into_owned()),
            ..BootstrapParams::default()
        };
        let output = run(self.command(id, bundle, "start"), params.encode_to_vec()).await?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(Error::internal(format!("failed to start shim: {}", text.trim())));
        }
        let result = BootstrapResult::decode(&output.stdout[..])
            .map_err(|error| Error::internal(format!("the answer of the shim's start: {error}")))?;
        let socket = PathBuf::from(result.address.strip_prefix("unix://").unwrap_or(&result.address));
        let client = Client::connect(&socket).await.map_err(Error::at("connect to", &socket))?;
        Ok((socket, client))
    }

    /// Removes what a container of a dead shim has left; returns the exit status that it is said to have.
    ///
    /// # Errors
    /// With what the shim says.
    pub async fn clean_up(&self, id: &str, bundle: &Path) -> Result<u32> {
        let output = run(self.command(id, bundle, "delete"), Vec::new()).await?;
        let answer = DeleteResponse::decode(&output.stdout[..]);
        match answer {
            Ok(answer) if output.status.success() => Ok(answer.exit_status),
            _ => Err(Error::internal(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        }
    }
}

async fn run(mut command: Command, input: Vec<u8>) -> Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    let running = tokio::task::spawn_blocking(move || -> std::io::Result<Output> {
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not read it will say why.
            let _refused = stdin.write_all(&input);
        }
        child.wait_with_output()
    });
    match tokio::time::timeout(START_LIMIT, running).await {
        Ok(output) => output?.map_err(Error::at("run", &program)),
        Err(_) => Err(Error::internal(format!("{program} did not end within {START_LIMIT:?}"))),
    }
}
