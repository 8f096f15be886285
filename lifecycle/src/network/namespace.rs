//! Network namespaces that outlive the processes in them: bound to a file.

use std::path::Path;

use nix::mount::{MntFlags, umount2};
use tokio::process::Command;

use crate::error::{Error, Result};
use crate::{files, program};

/// Makes a new namespace that is found at `path`.
///
/// # Errors
/// When it cannot be made or bound.
pub(super) async fn make(path: &Path) -> Result<()> {
    remove(path);
    files::make_dir(path.parent().unwrap_or(Path::new("/")), 0o700)?;
    std::fs::write(path, "").map_err(Error::at("make", path))?;
    let mut command = Command::new("unshare");
    command.arg(format!("--net={}", path.display())).args(["ip", "link", "set", "lo", "up"]);
    program::told("make the network namespace", command, &[]).await.map(drop)
}

/// Lets a namespace go; none is fine.
pub(super) fn remove(path: &Path) {
    let _not_bound = umount2(path, MntFlags::MNT_DETACH);
    let _missing = std::fs::remove_file(path);
}
