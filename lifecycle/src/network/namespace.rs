//! Network namespaces that outlive the processes in them: bound to a file.

use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::error::{Error, Result};
use crate::files;

/// Makes a new namespace that is found at `path`.
///
/// # Errors
/// When it cannot be made or bound.
pub(super) fn make(path: &Path) -> Result<()> {
    remove(path);
    if let Some(folder) = path.parent() {
        files::make_dir(folder, 0o700)?;
    }
    std::fs::write(path, "").map_err(Error::at("make", path))?;
    let target = path.to_owned();
    // A thread of its own enters the namespace, and ends; nobody else does.
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        let own = PathBuf::from("/proc/thread-self/ns/net");
        mount(Some(&own), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
    });
    let made = thread.join().map_err(|_| Error::internal("making a network namespace broke off"))?;
    made.map_err(Error::at("make the network namespace", path))
}

/// Lets a namespace go; none is fine.
pub(super) fn remove(path: &Path) {
    let _not_bound = umount2(path, MntFlags::MNT_DETACH);
    let _missing = std::fs::remove_file(path);
}
