//! Filesystems in user space, mounted by their helper programs: a type such as `fuse3.fuse-overlayfs`.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use super::Error;
use crate::proto::types::Mount;

/// The program that mounts filesystems of this type, and the type's own name.
pub(super) fn helper_for(kind: &str) -> Option<(&'static str, String)> {
    ["fuse3", "fuse"].into_iter().find_map(|prefix| {
        let name = kind.strip_prefix(prefix)?.strip_prefix('.')?;
        let program = if prefix == "fuse3" { "mount.fuse3" } else { "mount.fuse" };
        Some((program, name.to_owned()))
    })
}

/// Runs the helper program and waits for it.
pub(super) fn mount(helper: (&str, String), request: &Mount, target: &Path) -> Result<(), Error> {
    let (program, kind) = helper;
    let mut command = Command::new(program);
    command.arg(&request.source).arg(target);
    for option in &request.options {
        command.args(["-o", option]);
    }
    let output = command
        .args(["-t", &kind])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))
        .map_err(Error::step("mount on", target))?;
    if output.status.success() {
        return Ok(());
    }
    let problem = format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Err(Error::Request { kind: request.r#type.clone(), path: target.to_owned(), problem })
}
