//! netavark: the program that makes bridges, interfaces, address translation and, with aardvark-dns, names.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::error::{Error, Result, error};
use crate::{files, program};

/// Where distributions put these programs.
const FOLDERS: [&str; 5] = [
    "/usr/lib/podman",
    "/usr/libexec/podman",
    "/usr/local/libexec/podman",
    "/usr/local/lib/podman",
    "/usr/bin",
];

/// How often, and for how long, is looked whether a netavark of an earlier engine has ended.
const PAUSE: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_secs(60);

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

/// The file that netavark reads, locked. The lock is that of the open file, which netavark has as its input: when an
/// engine is killed, its netavark goes on, and the next engine waits here until that has ended.
async fn alone(state: &Path) -> Result<File> {
    let path = state.join("input.json");
    let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(Error::at("open", &path))?;
    let locked = async {
        while file.try_lock().is_err() {
            tokio::time::sleep(PAUSE).await;
        }
    };
    match tokio::time::timeout(LIMIT, locked).await {
        Ok(()) => Ok(file),
        Err(_) => Err(error!(internal, "an earlier netavark has not ended within {LIMIT:?}")),
    }
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
    let input = alone(state).await?;
    input
        .set_len(0)
        .and_then(|()| (&input).write_all(options.to_string().as_bytes()))
        .and_then(|()| (&input).rewind())
        .map_err(Error::at("write", state))?;
    let output = program::run_with(command, input).await?;
    if output.status.success() {
        return Ok(());
    }
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let reason = said["error"].as_str().unwrap_or(stderr.trim());
    Err(error!(internal, "netavark {verb}: {reason}"))
}

/// Gives a container another name in networks that have names. netavark has no verb for it: aardvark-dns has a file for
/// each network, in which a container is a line `ID IPv4 IPv6 NAME,NAME`, and reads them all again at SIGHUP.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn rename(state: &Path, networks: &[String], id: &str, (old, new): (&str, &str)) -> Result<()> {
    let folder = state.join("aardvark-dns");
    for network in networks {
        let path = folder.join(network);
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let is = |name: &str| name == old || name.strip_prefix(old) == Some(&format!(".{network}"));
        let renamed = |name: &str| if is(name) { name.replacen(old, new, 1) } else { name.to_owned() };
        let line = |line: &str| match line.rsplit_once(' ') {
            Some((head, names)) if line.starts_with(id) => {
                format!("{head} {}\n", names.split(',').map(renamed).collect::<Vec<_>>().join(","))
            }
            _ => format!("{line}\n"),
        };
        files::write(&path, text.lines().map(line).collect::<String>().as_bytes(), 0o600)?;
    }
    let pid = std::fs::read_to_string(folder.join("aardvark.pid")).unwrap_or_default();
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", pid.trim())).unwrap_or_default();
    if let (Ok(pid), "aardvark-dns") = (pid.trim().parse(), comm.trim()) {
        let _gone = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGHUP);
    }
    Ok(())
}
