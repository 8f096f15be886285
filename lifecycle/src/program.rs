//! This program as others find it, and those that are run to their end: what they are told, and what they say.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::error::{Error, Result, ensure};

/// This very process, as others find it in `/proc`.
///
/// # Errors
/// When there is no `/proc`.
pub fn own() -> Result<PathBuf> {
    let number = std::fs::read_link("/proc/self").map_err(Error::at("read", "/proc/self"))?;
    Ok(Path::new("/proc").join(number))
}

/// Runs a program; `input` is what it reads.
///
/// # Errors
/// When it cannot be started.
pub async fn run(mut command: Command, input: &[u8]) -> Result<Output> {
    let program = command.as_std().get_program().to_owned();
    let failed = || Error::at("run", &program);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed())?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read it will say why.
        let _refused = stdin.write_all(input).await;
    }
    child.wait_with_output().await.map_err(failed())
}

/// Runs a program that has to succeed; returns what it prints.
///
/// # Errors
/// When it cannot be started, and with what it says, of `what` it was to do, when it fails.
pub async fn told(what: &str, command: Command, input: &[u8]) -> Result<Vec<u8>> {
    let output = run(command, input).await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), internal, "{what}: {}", said.trim());
    Ok(output.stdout)
}
