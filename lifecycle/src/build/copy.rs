//! COPY and ADD: files of the context, or of another image, into a layer of their own.
//!
//! Everything is read below one [`Root`] and written below another, as a tar stream between two threads: no link in a
//! context or image leads out of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use digest_io::IoWrapper;
use nix::fcntl::OFlag;
use nix::sys::stat::FileStat;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::image::content::{decompressed, named};
use crate::tree::{Apply, Lower, Pack, Root, Source, by_descriptor, clean, is_kind, mount, transfer};
use crate::{files, glob};

/// How many links one source may be behind.
const LINKS: usize = 40;

/// What is to be copied.
#[derive(Debug)]
pub(super) struct Copy {
    /// `COPY` or `ADD`.
    pub word: String,
    /// The sources as they are written, variables put in.
    pub sources: Vec<String>,
    /// The folders of those that are URLs, each with what was downloaded.
    pub fetched: BTreeMap<String, TempDir>,
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
pub(crate) fn is_url(source: &str) -> bool {
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
                for path in files::entries(folder.path()) {
                    let root = Root::open(folder.path())?;
                    let one = look(&root, Path::new(&files::name_of(&path)))?;
                    found.push(Found { root: Some(root), ..one });
                }
                continue;
            }
            if self.word == "ADD" && (source.contains("://") || source.starts_with("git@")) {
                return Err(Error::not_implemented(format!(
                    "ADD {source}: expected http or https; Git repositories need BuildKit, which is not part of this engine"
                )));
            }
            let path = clean(Path::new(source)).to_string_lossy().into_owned();
            if glob::is_pattern(&path) {
                for path in expand(from, Path::new(""), &path) {
                    found.push(look(from, &path)?);
                }
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
            let name = one.path.file_name().filter(|_| !is_kind(&one.stat, libc::S_IFDIR));
            let name = Path::new(name.unwrap_or_default());
            pack.add(one.root.as_ref().unwrap_or(from), &one.path, name)?;
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
        let folder = |path: &Path| to.folder(path).is_ok();
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
                let owner = self.chown.then_some(self.owner);
                Apply { owner, ..apply(&target) }.run(to, decompressed(from.file(&one.path)?)?)?;
            } else if is_kind(&one.stat, libc::S_IFDIR) {
                make_folder(to, &target, self.owner)?;
                transfer(from, &one.path, Path::new(""), to, &apply(&target))?;
            } else {
                let name = one.path.file_name().unwrap_or_default();
                let inside = self.target.ends_with('/') || folder(&target);
                let place = if inside { target.join(name) } else { target.clone() };
                let above = place.parent().unwrap_or(Path::new(""));
                make_folder(to, above, self.owner)?;
                let name = Path::new(place.file_name().unwrap_or(name));
                transfer(from, &one.path, name, to, &apply(above))?;
            }
        }
        Ok(())
    }
}

/// Finds what a path is, behind the links that it may be.
fn look(from: &Root, path: &Path) -> Result<Found> {
    let mut path = clean(path);
    for _ in 0..LINKS {
        let stat = from.stat(&path)?;
        if !is_kind(&stat, libc::S_IFLNK) {
            return Ok(Found { path, stat, archive: false, root: None });
        }
        path = clean(&path.parent().unwrap_or(Path::new("")).join(from.link(&path)?));
    }
    Err(nix::errno::Errno::ELOOP.into())
}

/// The paths that a pattern is of, in order: part by part, below those that the parts before are of.
fn expand(from: &Root, at: &Path, pattern: &str) -> Vec<PathBuf> {
    let (part, rest) = pattern.split_once('/').map_or((pattern, None), |(part, rest)| (part, Some(rest)));
    let (Ok(folder), Some(part)) = (from.get(at, OFlag::O_RDONLY | OFlag::O_DIRECTORY), glob::compile(part))
    else {
        return Vec::new();
    };
    let names = files::entries(&by_descriptor(&folder)).into_iter().map(|path| files::name_of(&path));
    let mut paths: Vec<_> = names.filter(|name| part.is_match(name)).map(|name| at.join(name)).collect();
    paths.sort();
    match rest {
        None => paths,
        Some(rest) => paths.iter().flat_map(|path| expand(from, path, rest)).collect(),
    }
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
    to.make_dirs(path, Some(owner)).map(drop).map_err(Error::at("make", path))
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
