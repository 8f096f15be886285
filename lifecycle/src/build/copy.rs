//! COPY and ADD: files of the context, or of another image, into a layer of their own.
//!
//! Everything is read below one [`Root`] and written below another, as a tar stream between two threads: no link in a
//! context or image leads out of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use digest_io::IoWrapper;
use nix::fcntl::{AtFlags, OFlag, readlinkat};
use nix::sys::stat::{FileStat, fstat, fstatat};
use nix::unistd::{Gid, Uid, fchownat};
use sha2::{Digest, Sha256};

use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::image::content::{decompressed, named};
use crate::tree::{Apply, Lower, Pack, Root, Source, by_descriptor, clean, is_kind, mount, transfer};
use crate::{files, glob};

/// How many links one source may be behind.
const LINKS: usize = 40;

/// What is to be copied.
#[derive(Debug, Clone)]
pub(super) struct Copy {
    /// `COPY` or `ADD`.
    pub word: String,
    /// The sources as they are written, variables put in.
    pub sources: Vec<String>,
    /// The folders of those that are URLs, each with what was downloaded.
    pub fetched: BTreeMap<String, PathBuf>,
    /// Where to, absolute; with a slash at the end it is a directory.
    pub target: String,
    /// The owner of what is copied.
    pub owner: (u32, u32),
    /// Whether the owner was asked for: what is in an archive keeps its own otherwise.
    pub chown: bool,
    /// The mode of what is copied, if not its own.
    pub mode: Option<u32>,
}

/// Something that is copied: its path below the root, and what it is.
#[derive(Debug)]
pub(super) struct Found {
    path: PathBuf,
    stat: FileStat,
    archive: bool,
    /// The folder that it was downloaded to.
    root: Option<Root>,
}

/// Whether ADD downloads it.
pub(super) fn is_url(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

impl Copy {
    /// Finds the sources.
    ///
    /// # Errors
    /// When one is not there.
    pub(super) fn find(&self, from: &Root) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        for source in &self.sources {
            if let Some(folder) = self.fetched.get(source) {
                let root = Root::open(folder)?;
                for name in files::entries(folder) {
                    found.push(look(&root, Path::new(&files::name_of(&name)))?);
                }
                found.last_mut().into_iter().for_each(|one| one.root = Root::open(folder).ok());
                continue;
            }
            if self.word == "ADD" && (source.contains("://") || source.starts_with("git@")) {
                return Err(Error::not_implemented(format!(
                    "ADD {source}: expected http or https; Git repositories need BuildKit, which is not part of this engine"
                )));
            }
            let path = clean(Path::new(source)).to_string_lossy().into_owned();
            if glob::is_pattern(&path) {
                expand(from, Path::new(""), &path, &mut |path| {
                    found.push(look(from, &path)?);
                    Ok(())
                })?;
            } else {
                let missing = |error: Error| {
                    let word = &self.word;
                    Error::invalid(format!(
                        "{word} failed: file not found in build context or excluded by .dockerignore: stat {source}: {error}"
                    ))
                };
                found.push(look(from, Path::new(&path)).map_err(missing)?);
            }
        }
        if found.is_empty() {
            return Err(Error::invalid(format!("{} failed: no source files were specified", self.word)));
        }
        if found.len() > 1 && !self.target.ends_with('/') {
            return Err(Error::invalid(format!(
                "When using {} with more than one source file, the destination must be a directory and end with a /",
                self.word
            )));
        }
        if self.word == "ADD" {
            // What was downloaded is not unpacked.
            for one in found.iter_mut().filter(|one| one.root.is_none() && is_kind(&one.stat, libc::S_IFREG))
            {
                one.archive = is_archive(from, &one.path)?;
            }
        }
        Ok(found)
    }

    /// What the cache knows the sources by: their names below what is copied, modes and contents, but neither owners
    /// nor times.
    ///
    /// # Errors
    /// When one cannot be read.
    pub(super) fn digest(&self, from: &Root, found: &[Found]) -> Result<String> {
        let mut pack = Pack::new(IoWrapper(Sha256::new()), Source::Content);
        for one in found {
            let name = if is_kind(&one.stat, libc::S_IFDIR) {
                PathBuf::new()
            } else {
                PathBuf::from(one.path.file_name().unwrap_or_default())
            };
            pack.add(one.root.as_ref().unwrap_or(from), &one.path, &name)?;
        }
        let hash = named(pack.finish()?.0);
        let kind = match found {
            [one] if is_kind(&one.stat, libc::S_IFDIR) => "dir",
            [_] => "file",
            _ => "multi",
        };
        Ok(format!("{kind}:{}", hash.trim_start_matches("sha256:")))
    }

    /// Copies into a tree.
    ///
    /// # Errors
    /// With the path that failed.
    pub(super) fn run(&self, from: &Root, found: &[Found], to: &Root) -> Result<()> {
        let target = clean(Path::new(&self.target));
        let folder = |path: &Path| to.get(path, OFlag::O_PATH | OFlag::O_DIRECTORY).is_ok();
        let apply = |below: &Path| Apply {
            owner: Some(self.owner),
            mode: self.mode,
            below: below.to_owned(),
            ..Apply::default()
        };
        for one in found {
            let from = one.root.as_ref().unwrap_or(from);
            if one.archive {
                make_folder(to, &target, (0, 0))?;
                let fd = from.get(&one.path, OFlag::O_RDONLY)?;
                let owner = self.chown.then_some(self.owner);
                Apply { owner, ..apply(&target) }.run(to, decompressed(File::from(fd))?)?;
            } else if is_kind(&one.stat, libc::S_IFDIR) {
                make_folder(to, &target, self.owner)?;
                transfer(from, &one.path, Path::new(""), to, &apply(&target))?;
            } else {
                let name = one.path.file_name().unwrap_or_default();
                let place = if self.target.ends_with('/') || folder(&target) {
                    target.join(name)
                } else {
                    target.clone()
                };
                let above = place.parent().unwrap_or(Path::new(""));
                make_folder(to, above, self.owner)?;
                let name = PathBuf::from(place.file_name().unwrap_or(name));
                transfer(from, &one.path, &name, to, &apply(above))?;
            }
        }
        Ok(())
    }
}

/// Finds what a path is, behind the links that it may be.
fn look(from: &Root, path: &Path) -> Result<Found> {
    let mut path = clean(path);
    for _ in 0..LINKS {
        let Some((folder, name)) = from.parent(&path)? else {
            return Ok(Found { path, stat: fstat(from.as_fd())?, archive: false, root: None });
        };
        let stat = fstatat(folder.as_fd(), &name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        if !is_kind(&stat, libc::S_IFLNK) {
            return Ok(Found { path, stat, archive: false, root: None });
        }
        let target = PathBuf::from(readlinkat(folder.as_fd(), &name)?);
        path = clean(&path.parent().unwrap_or(Path::new("")).join(target));
    }
    Err(nix::errno::Errno::ELOOP.into())
}

/// Calls for each path that a pattern is of, part by part, in order.
fn expand(from: &Root, at: &Path, pattern: &str, call: &mut dyn FnMut(PathBuf) -> Result<()>) -> Result<()> {
    let (part, rest) = pattern.split_once('/').map_or((pattern, None), |(part, rest)| (part, Some(rest)));
    let Ok(folder) = from.get(at, OFlag::O_RDONLY | OFlag::O_DIRECTORY) else { return Ok(()) };
    let mut names: Vec<String> =
        files::entries(&by_descriptor(&folder)).iter().map(|path| files::name_of(path)).collect();
    names.sort();
    for name in names.iter().filter(|name| glob::matches(part, name)) {
        match rest {
            None => call(at.join(name))?,
            Some(rest) => expand(from, &at.join(name), rest, call)?,
        }
    }
    Ok(())
}

/// Whether a file is a tar archive, compressed or not.
fn is_archive(from: &Root, path: &Path) -> Result<bool> {
    let stream = match decompressed(from.file(path)?) {
        Ok(stream) => stream,
        Err(error) if error.kind == Kind::NotImplemented => {
            return Err(error.context(format!("ADD {}", path.display())));
        }
        Err(_) => return Ok(false),
    };
    let mut archive = tar::Archive::new(stream);
    Ok(archive.entries().is_ok_and(|mut entries| matches!(entries.next(), Some(Ok(_)))))
}

/// Makes a directory and those above it; those that are made belong to `owner`.
pub(super) fn make_folder(to: &Root, path: &Path, owner: (u32, u32)) -> Result<()> {
    let mut done = PathBuf::new();
    for part in path.components() {
        done.push(part);
        if to.get(&done, OFlag::O_PATH | OFlag::O_DIRECTORY).is_ok() {
            continue;
        }
        let made = to.make_dirs(&done, 0o755).map_err(Error::at("make", &done))?;
        let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
        fchownat(made.as_fd(), "", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH)
            .map_err(Error::at("set the owner of", &done))?;
    }
    Ok(())
}

/// Makes a layer of what `change` does to the files of these layers; `None` when it does nothing.
///
/// # Errors
/// Those of `change`.
pub(super) fn layer(
    engine: &Engine,
    layers: &[String],
    change: impl FnOnce(&Root) -> Result<()>,
) -> Result<Option<String>> {
    let folder = engine.images.content.folder()?;
    let upper = Some((folder.path().join("upper"), folder.path().join("work")));
    let tree = Lower { upper, ..engine.images.files_of(layers)? };
    tree.make()?;
    change(&mount(&tree)?)?;
    engine.images.add_tree(&tree)
}
