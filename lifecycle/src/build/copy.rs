//! COPY and ADD: files of the context, or of another image, into a layer of their own.
//!
//! Everything is read below one [`Root`] and written below another, as a tar stream between two threads: no link in a
//! context or image leads out of it.

use std::path::{Path, PathBuf};

use bollard_stubs::models::ContainerConfig;
use digest_io::IoWrapper;
use nix::fcntl::OFlag;
use nix::sys::stat::FileStat;
use sha2::{Digest, Sha256};
use tree::{Apply, Pack, Root, Source, by_descriptor, clean, is_kind, transfer};

use super::{Instruction, Words};
use crate::error::{Error, Result, StatusCode, bail, ensure, error};
use crate::image::content::{decompressed, named};
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
    /// Where to, absolute; with a slash at the end it is a directory.
    pub target: String,
    /// The owner of what is copied, if not root; what is in an archive keeps its own.
    pub owner: Option<(u32, u32)>,
}

/// Something that is copied: its path below the root, and what it is.
#[derive(Debug)]
pub(super) struct Found {
    path: PathBuf,
    stat: FileStat,
    archive: bool,
}

impl Copy {
    /// What COPY or ADD says.
    ///
    /// # Errors
    /// When it says it wrongly, or asks for what is not offered.
    pub(super) fn read(config: &ContainerConfig, instruction: &Instruction, words: &Words) -> Result<Self> {
        let word = &instruction.word;
        instruction.check_flags(&["chown", "from"][..if word == "COPY" { 2 } else { 1 }])?;
        let mut sources = instruction.words(words)?;
        let target = sources.pop().filter(|_| !sources.is_empty());
        let target = target.ok_or_else(|| error!(invalid, "{word} requires at least two arguments"))?;
        let is_remote = |source: &&String| source.contains("://") || source.starts_with("git@");
        if let Some(source) = sources.iter().find(is_remote).filter(|_| word == "ADD") {
            bail!(
                not_implemented,
                "ADD {source}: downloading is not offered: fetch it with RUN, or put it into the context"
            );
        }
        let is_folder = target.ends_with('/') || target == "." || target.ends_with("/.") || target == "..";
        let path = absolute(config, &target)?;
        Ok(Self {
            word: word.clone(),
            sources,
            target: if is_folder && path != "/" { format!("{path}/") } else { path },
            owner: None,
        })
    }

    /// Finds the sources.
    ///
    /// # Errors
    /// When one is not there.
    pub(super) fn find(&self, from: &Root) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        for source in &self.sources {
            let path = clean(Path::new(source)).to_string_lossy().into_owned();
            let is_pattern = glob::is_pattern(&path);
            let paths = if is_pattern { expand(from, Path::new(""), &path) } else { vec![path.into()] };
            let missing = |error: Error| {
                let word = &self.word;
                error!(
                    invalid,
                    "{word} failed: file not found in build context or excluded by .dockerignore: stat {source}: {error}"
                )
            };
            for path in paths {
                found.push(look(from, &path).map_err(missing)?);
            }
        }
        ensure!(!found.is_empty(), invalid, "{} failed: no source files were specified", self.word);
        if found.len() > 1 && !self.target.ends_with('/') {
            bail!(
                invalid,
                "When using {} with more than one source file, the destination must be a directory and end with a /",
                self.word
            );
        }
        if self.word == "ADD" {
            for one in found.iter_mut().filter(|one| is_kind(&one.stat, libc::S_IFREG)) {
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
            pack.add(from, &one.path, name)?;
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
        let owner = self.owner.unwrap_or((0, 0));
        for one in found {
            let is_folder = is_kind(&one.stat, libc::S_IFDIR);
            let name = one.path.file_name().unwrap_or_default();
            // The folder it goes to, and its name there; what is in a folder or an archive keeps its own.
            let (below, name) = if one.archive || is_folder {
                (target.clone(), Path::new(""))
            } else if self.target.ends_with('/') || to.folder(&target).is_ok() {
                (target.clone(), Path::new(name))
            } else {
                let above = target.parent().unwrap_or(Path::new(""));
                (above.to_owned(), Path::new(target.file_name().unwrap_or(name)))
            };
            make_folder(to, &below, if one.archive { (0, 0) } else { owner })?;
            if one.archive {
                let apply = Apply { owner: self.owner, below, ..Apply::default() };
                apply.run(to, decompressed(from.file(&one.path)?)?)?;
            } else {
                let apply = Apply { owner: Some(owner), below, ..Apply::default() };
                transfer(from, &one.path, name, to, &apply)?;
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
            return Ok(Found { path, stat, archive: false });
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
    match decompressed(from.file(path)?) {
        Ok(stream) => Ok(tree::is_archive(stream)),
        Err(error) if error.status == StatusCode::NOT_IMPLEMENTED => {
            Err(error.context(format!("ADD {}", path.display())))
        }
        Err(_) => Ok(false),
    }
}

/// A path as seen from the working directory.
pub(super) fn absolute(config: &ContainerConfig, path: &str) -> Result<String> {
    ensure!(!path.is_empty(), invalid, "the path can not be an empty string");
    let path = Path::new("/").join(config.working_dir.as_deref().unwrap_or_default()).join(path);
    Ok(format!("/{}", clean(&path).display()))
}

/// Makes a directory and those above it; those that are made belong to `owner`.
pub(super) fn make_folder(to: &Root, path: &Path, owner: (u32, u32)) -> Result<()> {
    to.make_dirs(path, Some(owner)).map(drop).map_err(Error::at("make", path))
}
