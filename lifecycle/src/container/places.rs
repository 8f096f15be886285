//! The places in a container's file system where the engine's files and the runtime's file systems are mounted.
//!
//! Where the image has no such file, it is made in a layer of its own below the container's files: it is nothing that
//! the container has changed, and does not get into images made from it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use tree::{Lower, Root};

use super::Container;
use crate::error::{Error, Result};
use crate::files;

const FOLDERS: [&str; 5] = ["dev", "dev/pts", "dev/shm", "proc", "sys"];
/// What tells those in it that they are in a container: many look for it.
const MARK: &str = ".dockerenv";
/// Where programs look for what is mounted, those in Java among them: many images leave it to the engine.
const MOUNTS: &str = "etc/mtab";

/// The engine's own files, as they are called in a container; in its folder they are called the same.
pub const FILES: [&str; 3] = ["etc/hostname", "etc/hosts", "etc/resolv.conf"];

/// Makes the layer, if anything is missing in the image, and the directory for what the container will write.
///
/// # Errors
/// When it cannot be made.
pub(super) fn make(container: &Container) -> Result<()> {
    let image = tree::mount(&Lower { upper: None, ..container.overlay()? })?;
    let layer = container.folder.join("init");
    let missing = |path: &&str| image.stat(Path::new(path)).is_err();
    for path in FOLDERS.iter().filter(|path| missing(path)) {
        folder(&image, &layer, Path::new(path))?;
    }
    // In place of anything else, too: where a link leads, the container may mount something of its own.
    let has = |path: &&str| {
        let kind = if *path == MOUNTS { libc::S_IFLNK } else { libc::S_IFREG };
        image.stat(Path::new(path)).is_ok_and(|stat| tree::is_kind(&stat, kind))
    };
    for path in FILES.iter().chain([&MARK, &MOUNTS]).filter(|path| !has(path)) {
        let parent = Path::new(path).parent().unwrap_or(Path::new(""));
        // Where the image has a link or a file for the folder, it is the runtime's to cope with.
        if folder(&image, &layer, parent)? {
            let to = layer.join(path);
            let made = if *path == MOUNTS { symlink("/proc/mounts", &to) } else { fs::write(&to, "") };
            made.map_err(Error::at("make", to))?;
        }
    }
    container.overlay()?.make()?;
    let workdir = container.record().config.working_dir.clone().unwrap_or_default();
    let workdir = tree::clean(Path::new(&workdir));
    // Who copies into it before the start finds it.
    if missing(&&*workdir.to_string_lossy()) {
        tree::mount(&container.overlay()?)?
            .make_dirs(&workdir, Some((0, 0)))
            .map_err(Error::at("make", &workdir))?;
    }
    Ok(())
}

/// Makes a folder and those above it, as they are in the image; whether that is possible.
fn folder(image: &Root, layer: &Path, path: &Path) -> Result<bool> {
    let mut done = std::path::PathBuf::new();
    files::make_dir(layer, 0o755)?;
    for part in path.components() {
        done.push(part);
        let here = layer.join(&done);
        let (mode, owner) = match image.stat(&done) {
            Ok(stat) if !tree::is_kind(&stat, libc::S_IFDIR) => return Ok(false),
            Ok(stat) => (stat.st_mode & 0o7777, (stat.st_uid, stat.st_gid)),
            Err(_) => (0o755, (0, 0)),
        };
        files::make_dir(&here, 0o755)?;
        chown(&here, Some(owner.0), Some(owner.1)).map_err(Error::at("set the owner of", &here))?;
        fs::set_permissions(&here, fs::Permissions::from_mode(mode))
            .map_err(Error::at("set the mode of", &here))?;
    }
    Ok(true)
}
