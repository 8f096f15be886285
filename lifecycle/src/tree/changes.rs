//! What was changed above some layers.
//!
//! In an overlay that is what the upper directory has; a copy is compared with what it was made of, by the attributes
//! that Docker compares.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::sys::stat::FileStat;

use super::overlay::{is_opaque, is_whiteout};
use super::{Lower, Root, by_descriptor, is_kind, mount, stat_at};
use crate::error::{Error, Result};

/// One thing that was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Absolute, in the container.
    pub path: PathBuf,
    /// 0 changed, 1 added, 2 deleted: Docker's numbers.
    pub kind: u8,
    /// Bytes of a file that is there now.
    pub size: u64,
}

/// What is different above the read-only directories, ordered by path.
///
/// # Errors
/// When a directory cannot be read.
pub fn changes(files: &Lower) -> Result<Vec<Change>> {
    let Some((upper, _)) = &files.upper else { return Ok(Vec::new()) };
    let lower = mount(&Lower { upper: None, ..files.clone() })?;
    let mut walk = Walk { upper: Root::open(upper)?, lower, copied: files.copied, found: Vec::new() };
    walk.folder(&mut PathBuf::new(), true)?;
    walk.found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(walk.found)
}

struct Walk {
    upper: Root,
    /// What was there before.
    lower: Root,
    copied: bool,
    found: Vec<Change>,
}

impl Walk {
    /// Looks at what is in a folder, which was one before when `existed`; whether anything in it was changed.
    fn folder(&mut self, at: &mut PathBuf, existed: bool) -> Result<bool> {
        let folder = self.upper.list(at).map_err(Error::at("open", &at))?;
        let existed = existed && !is_opaque(&folder);
        let mut names = names(&folder).map_err(Error::at("read", &at))?;
        if self.copied
            && existed
            && let Ok(lower) = self.lower.list(at)
        {
            names.extend(self::names(&lower).map_err(Error::at("read", &at))?);
        }
        let before = self.found.len();
        for name in names {
            at.push(&name);
            let changed = self.one(&folder, Path::new(&name), at, existed);
            at.pop();
            changed?;
        }
        // What is in an overlay's upper directory was changed, or something in it.
        Ok(self.found.len() > before)
    }

    fn one(&mut self, folder: &OwnedFd, name: &Path, at: &mut PathBuf, existed: bool) -> Result<()> {
        let stat = match stat_at(folder, name) {
            Ok(stat) => Some(stat).filter(|stat| self.copied || !is_whiteout(stat)),
            Err(nix::errno::Errno::ENOENT) => None,
            Err(errno) => return Err(Error::at("look at", &at)(errno)),
        };
        let before = if existed { lookup(&self.lower, at) } else { None };
        let path = Path::new("/").join(&at);
        let Some(stat) = stat else {
            if before.is_some() {
                self.found.push(Change { path, kind: 2, size: 0 });
            }
            return Ok(());
        };
        if is_kind(&stat, libc::S_IFDIR) {
            let before = before.filter(|(before, _)| is_kind(before, libc::S_IFDIR));
            let inside = self.folder(at, before.is_some())?;
            if inside || !before.as_ref().is_some_and(|(before, _)| same_owner(before, &stat)) {
                self.found.push(Change { path, kind: u8::from(before.is_none()), size: 0 });
            }
            return Ok(());
        }
        let same = |(before, owned): &(FileStat, Option<Vec<u8>>)| {
            same_file(before, &stat) && *owned == capabilities(folder, name, &stat)
        };
        if !self.copied || !before.as_ref().is_some_and(same) {
            let size =
                if is_kind(&stat, libc::S_IFREG) { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 };
            self.found.push(Change { path, kind: u8::from(before.is_none()), size });
        }
        Ok(())
    }
}

fn names(folder: &OwnedFd) -> std::io::Result<BTreeSet<OsString>> {
    std::fs::read_dir(by_descriptor(folder))?.map(|entry| entry.map(|entry| entry.file_name())).collect()
}

/// What a path is in a tree, and the capabilities of a program there.
fn lookup(lower: &Root, path: &Path) -> Option<(FileStat, Option<Vec<u8>>)> {
    let (folder, name) = lower.parent(path).ok()??;
    let stat = stat_at(&folder, &name).ok()?;
    let capabilities = capabilities(&folder, &name, &stat);
    Some((stat, capabilities))
}

fn same_owner(before: &FileStat, now: &FileStat) -> bool {
    (before.st_mode, before.st_uid, before.st_gid) == (now.st_mode, now.st_uid, now.st_gid)
}

/// A copy has whole seconds, until it is written to.
fn same_file(before: &FileStat, now: &FileStat) -> bool {
    let rest = |stat: &FileStat| (stat.st_size, stat.st_rdev, stat.st_mtime);
    same_owner(before, now)
        && rest(before) == rest(now)
        && (now.st_mtime_nsec == 0 || now.st_mtime_nsec == before.st_mtime_nsec)
}

fn capabilities(folder: &OwnedFd, name: &Path, stat: &FileStat) -> Option<Vec<u8>> {
    let path = by_descriptor(folder).join(name);
    if is_kind(stat, libc::S_IFREG) { xattr::get(path, "security.capability").ok()? } else { None }
}
