//! What was changed above some layers.
//!
//! In an overlay that is what the upper directory has; a copy is compared with what it was made of, by the attributes
//! that Docker compares.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::FileStat;

use super::overlay::{is_opaque, is_whiteout};
use super::pack::xattrs;
use super::{Error, Lower, Result, Root, by_descriptor, is_kind, mount, within_reach};

/// One thing that was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Absolute, in the container.
    pub path: PathBuf,
    /// 0 changed, 1 added, 2 deleted: Docker's numbers. [`Change::TIME`] is none of them.
    pub kind: u8,
    /// Bytes of a file that is there now.
    pub size: u64,
}

impl Change {
    /// A folder that has another time, and nothing else, or one above it: Docker's layers have it, and its lists do not.
    pub const TIME: u8 = 3;
}

/// What is different above the read-only directories, ordered by path.
///
/// # Errors
/// When a directory cannot be read.
pub fn changes(files: &Lower) -> Result<Vec<Change>> {
    let Some((upper, _)) = &files.upper else { return Ok(Vec::new()) };
    let lower = mount(&Lower { upper: None, ..files.clone() })?;
    let mut walk = Walk { upper: Root::open(upper)?, lower, found: Vec::new() };
    let roots = walk.upper.look(Path::new("")).and_then(|now| Ok((now, walk.lower.look(Path::new(""))?)));
    let ((now, _), (before, _)) = roots.map_err(Error::at("look at", upper))?;
    walk.folder(&mut PathBuf::new(), &now, Some(&before), files.copied)?;
    walk.found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(walk.found)
}

struct Walk {
    upper: Root,
    /// What was there before.
    lower: Root,
    found: Vec<Change>,
}

impl Walk {
    /// Looks at what is in a folder, and in what it was before if it was one; returns what was changed in it. When it is
    /// `whole`, what is not there now is gone, and what is may be as it was.
    fn folder(
        &mut self,
        at: &mut PathBuf,
        now: &OwnedFd,
        before: Option<&OwnedFd>,
        whole: bool,
    ) -> Result<&[Change]> {
        within_reach(at).map_err(Error::at("look at", &at))?;
        let whole = whole || is_opaque(now);
        let mut all = names(now).map_err(Error::at("read", &at))?;
        if let Some(before) = before.filter(|_| whole) {
            all.extend(names(before).map_err(Error::at("read", &at))?);
        }
        let count = self.found.len();
        for name in all {
            at.push(&name);
            let changed = self.one(at, before.is_some(), whole);
            at.pop();
            changed?;
        }
        Ok(&self.found[count..])
    }

    /// Looks at a path, whose folder was one before when that `existed`.
    fn one(&mut self, at: &mut PathBuf, existed: bool, whole: bool) -> Result<()> {
        let now = match self.upper.look(at) {
            Ok(now) => Some(now).filter(|(_, stat)| !is_whiteout(stat)),
            Err(Errno::ENOENT) => None,
            Err(errno) => return Err(Error::at("look at", &at)(errno)),
        };
        let before = if existed { self.lower.look(at).ok() } else { None };
        let path = Path::new("/").join(&at);
        let Some((file, stat)) = now else {
            if before.is_some() {
                self.found.push(Change { path, kind: 2, size: 0 });
            }
            return Ok(());
        };
        let is_same = |(old, before): &(OwnedFd, FileStat)| {
            let notes = |own| xattrs(&file).is_ok_and(|now| now == own);
            same(before, &stat) && xattrs(old).is_ok_and(notes)
        };
        let is_folder = is_kind(&stat, libc::S_IFDIR);
        let is_old = before.as_ref().is_some_and(is_same);
        let kind = if is_folder {
            let old = before.as_ref().filter(|(_, before)| is_kind(before, libc::S_IFDIR));
            let inside = self.folder(at, &file, old.map(|(old, _)| old), whole)?;
            let is_later = !inside.is_empty() || old.is_some_and(|(_, old)| !same_time(old, &stat));
            let is_other = !is_old || inside.iter().any(|change| change.kind != Change::TIME);
            if is_other { Some(u8::from(before.is_none())) } else { is_later.then_some(Change::TIME) }
        } else {
            // In an overlay it is there because it was changed.
            (!whole || !is_old).then_some(u8::from(before.is_none()))
        };
        let size = if is_kind(&stat, libc::S_IFREG) { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 };
        self.found.extend(kind.map(|kind| Change { path, kind, size }));
        Ok(())
    }
}

/// The names in a folder; there are none in one that a running container has removed.
fn names(folder: &OwnedFd) -> io::Result<BTreeSet<OsString>> {
    let names = std::fs::read_dir(by_descriptor(folder));
    match names.and_then(|names| names.map(|entry| entry.map(|entry| entry.file_name())).collect()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        other => other,
    }
}

/// Whether two files look the same; of folders, their sizes and times say nothing.
fn same(before: &FileStat, now: &FileStat) -> bool {
    let owner = |stat: &FileStat| (stat.st_mode, stat.st_uid, stat.st_gid);
    let rest = |stat: &FileStat| (stat.st_size, stat.st_rdev);
    let is_folder = is_kind(now, libc::S_IFDIR);
    owner(before) == owner(now) && (is_folder || rest(before) == rest(now) && same_time(before, now))
}

fn same_time(before: &FileStat, now: &FileStat) -> bool {
    // A copy has whole seconds, until it is written to.
    let same_nanos = now.st_mtime_nsec == 0 || now.st_mtime_nsec == before.st_mtime_nsec;
    before.st_mtime == now.st_mtime && same_nanos
}

#[cfg(test)]
mod tests {
    use super::super::{Pack, Source};
    use super::*;
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_copy_is_compared_with_what_it_was_made_of() {
        let outer = tempfile::tempdir().unwrap();
        let [lower, upper] = ["lower", "upper"].map(|name| outer.path().join(name));
        for name in ["aged/in", "same", "noted", "gone"] {
            fs::create_dir_all(lower.join(name)).unwrap();
            fs::write(lower.join(name).join("file"), name).unwrap();
        }
        let files = Lower { lower: vec![lower], upper: Some((upper.clone(), PathBuf::new())), copied: true };
        files.make().unwrap();
        assert_eq!(changes(&files).unwrap(), []);
        let aged = fs::File::open(upper.join("aged/in")).unwrap();
        aged.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        fs::remove_dir_all(upper.join("gone")).unwrap();
        fs::write(upper.join("new"), "four").unwrap();
        let noted = xattr::set(upper.join("noted"), "user.note", b"x").is_ok();
        if !noted {
            // Past libtest's capture, where skipped tests are counted.
            let line = b"skipped: needs attributes of users [a_copy_is_compared_with_what_it_was_made_of]\n";
            let _said = std::io::Write::write_all(&mut std::io::stderr(), line);
        }
        let found = changes(&files).unwrap();
        let found: Vec<_> =
            found.iter().map(|change| (change.path.to_str().unwrap(), change.kind, change.size)).collect();
        let aged = [("/aged", Change::TIME, 0), ("/aged/in", Change::TIME, 0)];
        let expected = [&aged[..], &[("/gone", 2, 0), ("/new", 1, 4), ("/noted", 0, 0)]].concat();
        assert_eq!(found, expected[..if noted { 5 } else { 4 }]);
    }

    #[test]
    fn what_comes_and_goes_meanwhile_is_no_failure() {
        let outer = tempfile::tempdir().unwrap();
        let [lower, upper] = ["lower", "upper"].map(|name| outer.path().join(name));
        fs::create_dir(&lower).unwrap();
        let files = Lower { lower: vec![lower], upper: Some((upper.clone(), PathBuf::new())), copied: true };
        files.make().unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    fs::create_dir_all(upper.join("a/b/c")).unwrap();
                    fs::write(upper.join("a/b/file"), "x").unwrap();
                    fs::remove_dir_all(upper.join("a")).unwrap();
                }
            });
            let look = || {
                let mut pack = Pack::new(io::sink(), Source::Tree);
                pack.add_changes(&Root::open(&upper)?, &changes(&files)?)
            };
            let looked = (0..2000).try_for_each(|_| look());
            over.store(true, Ordering::Relaxed);
            looked.unwrap();
        });
    }
}
