//! netavark: the program that makes bridges, interfaces, address translation and, with aardvark-dns, names.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::process::Command;

use crate::error::{Error, Result};
use crate::program;

/// Where distributions put these programs.
const FOLDERS: [&str; 5] = [
    "/usr/lib/podman",
    "/usr/libexec/podman",
    "/usr/local/libexec/podman",
    "/usr/local/lib/podman",
    "/usr/bin",
];

/// A program of netavark's family.
fn find(name: &str) -> Option<PathBuf> {
    FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

/// netavark itself, if networks can be made here.
///
/// # Errors
/// With what is missing.
pub(super) fn path() -> Result<PathBuf> {
    find("netavark").ok_or_else(|| {
        Error::internal(
            "networks need the program netavark, which is not on this host (apt-get install netavark aardvark-dns); containers can run with --network none or host",
        )
    })
}

/// Runs `netavark setup` or `teardown` for a network namespace.
///
/// # Errors
/// With what netavark says.
pub(super) async fn run(verb: &str, namespace: &Path, state: &Path, options: &Value) -> Result<()> {
    let mut command = Command::new(path()?);
    command.arg("--config").arg(state);
    if let Some(dns) = find("aardvark-dns") {
        command.arg("--aardvark-binary").arg(dns);
    }
    command.arg(verb).arg(namespace);
    let output = program::run(command, &serde_json::to_vec(options)?).await?;
    if output.status.success() {
        return Ok(());
    }
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let reason = said["error"].as_str().unwrap_or(stderr.trim());
    Err(Error::internal(format!("netavark {verb}: {reason}")))
}
