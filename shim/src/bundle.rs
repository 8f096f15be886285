//! The files that the shim leaves in a container's bundle.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes a file for our own user alone, in place of one that is there.
///
/// # Errors
/// The kernel's, without the path.
pub fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut create = OpenOptions::new();
    create.write(true).create(true).truncate(true).mode(0o600);
    create.open(path)?.write_all(text)
}
