//! Attacks on Corten: for every weakness that a container runtime was ever reported for, the attack, on a
//! real container.
//!
//! The table in SECURITY.md says which test stands for which report. `RUNTIME=/path` points them at another
//! runtime; `weakened` shows that each of them notices when the protection is gone. Races run for a bounded
//! number of rounds.

#![expect(clippy::unwrap_used)]

mod descriptors;
mod host;
mod identity;
mod input;
mod inventory;
mod kernel;
mod live;
mod races;
mod rootfs;
mod security;
mod users;
mod weakened;

use integration::container::Container;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A directory of the host that no container may change, beside the root filesystem of one.
struct Sentinel {
    directory: PathBuf,
    before: BTreeMap<PathBuf, String>,
    devices: Vec<String>,
}

impl Sentinel {
    /// Makes the directory with a few files in it, and remembers it.
    fn beside(container: &Container) -> Sentinel {
        let directory = container.path("host");
        fs::create_dir_all(directory.join("directory/pts")).unwrap();
        fs::write(directory.join("file"), "the host's").unwrap();
        fs::write(directory.join("directory/null"), "the host's").unwrap();
        fs::write(directory.join("directory/ptmx"), "the host's").unwrap();
        let before = snapshot(&directory);
        Sentinel { directory, before, devices: devices() }
    }

    /// The path of a file of the host, as a link in the container would name it.
    fn path(&self, name: &str) -> String {
        self.directory.join(name).to_str().unwrap().to_owned()
    }

    /// Demands that nothing has changed.
    #[track_caller]
    fn assert_unchanged(&self, what: &str) {
        assert_eq!(self.before, snapshot(&self.directory), "{what} changed the host");
        assert_eq!(self.devices, devices(), "{what} changed the host's devices");
        let inside = |mount: &integration::proc::Mount| Path::new(&mount.target).starts_with(&self.directory);
        assert!(!integration::proc::mounts("self").iter().any(inside), "{what} mounted on the host");
    }
}

/// All that can be changed about a tree, its access times excepted.
fn snapshot(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let times = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
        let text = if meta.is_file() { fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
        let id = (meta.mode(), meta.uid(), meta.gid(), meta.rdev(), meta.ino());
        all.insert(path.clone(), format!("{id:?} {times:?} {text:?}"));
        if meta.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    all
}

/// The host's own devices that runtimes have been made to change.
fn devices() -> Vec<String> {
    let describe = |path: &str| {
        let meta = fs::symlink_metadata(path).ok()?;
        Some(format!("{path} {:o} {}:{} {}", meta.mode(), meta.uid(), meta.gid(), meta.rdev()))
    };
    ["/dev", "/dev/null", "/dev/console", "/dev/ptmx", "/dev/pts", "/dev/pts/ptmx", "/dev/shm"]
        .iter()
        .filter_map(|path| describe(path))
        .collect()
}

/// Puts a link into a root filesystem, in place of whatever is there.
fn link(container: &Container, name: &str, target: &str) {
    let path = container.rootfs(name);
    let _ = fs::remove_dir_all(&path);
    let _ = fs::remove_file(&path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(target, path).unwrap();
}
