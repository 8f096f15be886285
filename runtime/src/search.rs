//! Programs of the host, found by their names as a shell finds them. Those of containers are `child::program`'s.

use nix::unistd::{AccessFlags, access};
use std::path::{Path, PathBuf};

/// The program of a name in the directories of `$PATH`, relative ones excepted; `None` when there is none.
#[must_use]
pub fn program(name: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|file| file.is_file() && access(file, AccessFlags::X_OK).is_ok())
}
