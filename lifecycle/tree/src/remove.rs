//! Removing a tree, however deep it is.
//!
//! A container may make folders in folders as long as it likes: more than a process has descriptors for, or a thread
//! stack. What lies deeper than a little is moved up first. Links are never followed.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, renameat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::by_descriptor;

/// How many folders are open at a time.
const OPEN: usize = 64;

/// Removes a name from a folder, with all that is below it. It may be gone already.
///
/// # Errors
/// The errno of what failed.
pub fn remove(folder: &impl AsFd, name: &Path) -> io::Result<()> {
    if !is_left(unlinkat(folder, name, UnlinkatFlags::NoRemoveDir), Errno::EISDIR)? {
        return Ok(());
    }
    let Some(top) = open(folder, name)? else { return Ok(()) };
    loop {
        clear(&top, &top, OPEN)?;
        if !is_left(unlinkat(folder, name, UnlinkatFlags::RemoveDir), Errno::ENOTEMPTY)? {
            return Ok(());
        }
    }
}

/// Removes what is in a folder; what lies deeper than `deep` is moved to the `top` instead.
fn clear(top: &OwnedFd, folder: &OwnedFd, deep: usize) -> io::Result<()> {
    for entry in std::fs::read_dir(by_descriptor(folder))? {
        let name = entry?.file_name();
        if !is_left(unlinkat(folder, name.as_os_str(), UnlinkatFlags::NoRemoveDir), Errno::EISDIR)? {
            continue;
        }
        if deep == 0 {
            // A name that whoever fills the tree does not know.
            let aside = format!("{:016x}", RandomState::new().hash_one(deep));
            renameat(folder, name.as_os_str(), top, aside.as_str())?;
            continue;
        }
        let Some(below) = open(folder, Path::new(&name))? else { continue };
        clear(top, &below, deep - 1)?;
        is_left(unlinkat(folder, name.as_os_str(), UnlinkatFlags::RemoveDir), Errno::ENOENT)?;
    }
    Ok(())
}

/// Opens a folder; `None` when somebody else has removed it. What is mounted there belongs to others: nothing of it is
/// removed.
fn open(folder: &impl AsFd, name: &Path) -> nix::Result<Option<OwnedFd>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat2(folder, name, OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_XDEV)) {
        Err(Errno::ENOENT) => Ok(None),
        opened => opened.map(Some),
    }
}

/// Whether something is left, for the reason that was to be expected.
fn is_left(removed: nix::Result<()>, reason: Errno) -> io::Result<bool> {
    match removed.map_err(io::Error::from) {
        Err(error) if error.raw_os_error() == Some(reason as i32) => Ok(true),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Lower, Pack, Root, Source, changes};
    use nix::sys::stat::{Mode, mkdirat};
    use std::path::PathBuf;

    #[test]
    fn trees_of_any_depth_are_removed_and_none_ends_the_engine() {
        const DEPTH: usize = 20_000;
        let outer = tempfile::tempdir().unwrap();
        let [lower, upper] = ["lower", "upper"].map(|name| outer.path().join(name));
        std::fs::create_dir(&lower).unwrap();
        std::os::unix::fs::symlink(&lower, outer.path().join("link")).unwrap();
        let files =
            Lower { lower: vec![lower.clone()], upper: Some((upper.clone(), PathBuf::new())), copied: true };
        files.make().unwrap();
        let top = nix::fcntl::open(outer.path(), OFlag::O_DIRECTORY, Mode::empty()).unwrap();
        let mut here = open(&top, Path::new("upper")).unwrap().unwrap();
        for _ in 0..DEPTH {
            mkdirat(&here, "d", Mode::S_IRWXU).unwrap();
            std::fs::write(by_descriptor(&here).join("file"), "x").unwrap();
            here = open(&here, Path::new("d")).unwrap().unwrap();
        }
        // On a thread with as little stack as one of the engine's.
        let work = move || {
            let refused = changes(&files).unwrap_err().to_string();
            assert!(refused.contains("folders deep"), "{refused}");
            let root = Root::open(&upper).unwrap();
            let refused = Pack::new(io::sink(), Source::Tree).add(&root, Path::new(""), Path::new(""));
            assert!(refused.unwrap_err().to_string().contains("folders deep"));
            for name in ["upper", "link", "none"] {
                remove(&top, Path::new(name)).unwrap();
            }
        };
        std::thread::Builder::new().stack_size(2 << 20).spawn(work).unwrap().join().unwrap();
        let left: Vec<_> =
            std::fs::read_dir(outer.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, [lower]);
    }
}
