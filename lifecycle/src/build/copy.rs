//! COPY and ADD: files of the context, or of another image, into a layer of their own.
//!
//! Everything is read below one [`Root`] and written below another, as a tar stream between two threads: no link in a
//! context or image leads out of it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bollard_stubs::models::ContainerConfig;
use digest_io::IoWrapper;
use nix::errno::Errno;
use nix::sys::stat::FileStat;
use percent_encoding::percent_decode_str;
use reqwest::Url;
use reqwest::header::LAST_MODIFIED;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tree::{Apply, Pack, Root, Source, by_descriptor, clean, is_kind, transfer};

use super::{Instruction, Words};
use crate::error::{Error, Result, bail, ensure, error};
use crate::image::content::{decompressed, named};
use crate::{files, glob, registry};

/// What is to be copied.
#[derive(Debug)]
pub(super) struct Copy {
    /// `COPY` or `ADD`.
    pub word: String,
    /// The sources as they are written, variables put in.
    pub sources: Vec<String>,
    /// Where to, absolute; with a slash at the end it is a directory.
    pub target: String,
    /// The same as it is written, which is what the history tells.
    pub written: String,
    /// The owner of what is copied, if it does not keep its own, as what is in an archive does.
    pub owner: Option<(u32, u32)>,
    /// Folders of the context with what was downloaded.
    downloads: Vec<TempDir>,
}

/// Something that is copied: its path below the root, and what it is.
#[derive(Debug)]
pub(super) struct Found {
    path: PathBuf,
    /// What it is called, when it is behind links.
    name: OsString,
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
        // As for dockerd's own builder, --link means nothing: it is about BuildKit's cache.
        instruction.check_flags(&["link", "chown", "from"][..if word == "COPY" { 3 } else { 2 }])?;
        let link = instruction.flag("link").unwrap_or_default();
        let is_flag = matches!(link, "" | "true" | "false");
        ensure!(is_flag, invalid, "expecting boolean value for flag link, not: {link}");
        let mut sources = instruction.words(words)?;
        let target = sources.pop().filter(|_| !sources.is_empty());
        let target = target.ok_or_else(|| error!(invalid, "{word} requires at least two arguments"))?;
        let remote = sources.iter().any(|source| is_url(source));
        ensure!(!remote || word == "ADD", invalid, "COPY failed: source can't be a URL for COPY");
        let is_folder = target.ends_with('/') || target == "." || target.ends_with("/.") || target == "..";
        let path = absolute(config, &target)?;
        Ok(Self {
            word: word.clone(),
            sources,
            target: if is_folder && path != "/" { format!("{path}/") } else { path },
            written: target,
            // What is of another image keeps its owner.
            owner: instruction.flag("from").is_none().then_some((0, 0)),
            downloads: Vec::new(),
        })
    }

    /// Puts what is named by URLs into the context, for as long as this is there.
    ///
    /// # Errors
    /// When a server does not give it, or it has no name.
    pub(super) async fn download(&mut self, context: &Root) -> Result<()> {
        for source in self.sources.iter_mut().filter(|source| is_url(source)) {
            let failed = |error: Error| error.context(format!("ADD failed: {source}"));
            let folder = tempfile::tempdir_in(by_descriptor(context))?;
            let path = folder.path().join("download");
            let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
            let answer = registry::download(source, &mut file).await.map_err(failed)?;
            // The name that was asked for, wherever it has led to.
            let url: Url = source.parse().map_err(Error::invalid).map_err(failed)?;
            let last = url.path_segments().and_then(Iterator::last).unwrap_or_default();
            let name = percent_decode_str(last).decode_utf8_lossy().replace('/', "");
            ensure!(!name.is_empty(), invalid, "ADD failed: cannot determine filename for source {source}");
            std::fs::rename(&path, folder.path().join(&name))?;
            let modified = answer.headers().get(LAST_MODIFIED).and_then(|time| time.to_str().ok());
            let modified = modified.and_then(|time| jiff::fmt::rfc2822::parse(time).ok());
            file.set_modified(modified.map_or(SystemTime::UNIX_EPOCH, |time| time.timestamp().into()))?;
            *source = format!("{}/{name}", files::name_of(folder.path()));
            self.downloads.push(folder);
        }
        Ok(())
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
            let is_download =
                self.downloads.iter().any(|folder| path.starts_with(&files::name_of(folder.path())));
            let paths = if is_pattern && !is_download {
                expand(from, Path::new(""), &path)
            } else {
                vec![path.into()]
            };
            let missing = |error: Error| {
                error!(
                    invalid,
                    "{} failed: file not found in build context or excluded by .dockerignore: stat {source}: {error}",
                    self.word
                )
            };
            for path in paths {
                let mut one = look(from, &path).map_err(missing)?;
                // What is downloaded is never unpacked.
                if self.word == "ADD" && !is_download && is_kind(&one.stat, libc::S_IFREG) {
                    one.archive = decompressed(from.file(&one.path)?).is_ok_and(tree::is_archive);
                }
                found.push(one);
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
        Ok(found)
    }

    /// What the cache knows the sources by: their names below what is copied, modes, owners and contents, but no
    /// times.
    ///
    /// # Errors
    /// When one cannot be read.
    pub(super) fn digest(&self, from: &Root, found: &[Found]) -> Result<String> {
        let mut pack = Pack::new(IoWrapper(Sha256::new()), Source::Content);
        for one in found {
            let name = if is_kind(&one.stat, libc::S_IFDIR) { OsStr::new("") } else { &one.name };
            pack.add(from, &one.path, Path::new(name))?;
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
        let target = to.resolve(Path::new(&self.target))?;
        for one in found {
            let is_folder = is_kind(&one.stat, libc::S_IFDIR);
            let name = one.name.as_os_str();
            // The folder it goes to, and its name there; what is in a folder or an archive keeps its own.
            let (below, name) = if one.archive || is_folder {
                (target.clone(), Path::new(""))
            } else if self.target.ends_with('/') || to.folder(&target).is_ok() {
                (target.clone(), Path::new(name))
            } else {
                let above = target.parent().unwrap_or(Path::new(""));
                (above.to_owned(), Path::new(target.file_name().unwrap_or(name)))
            };
            make_folder(to, &below, self.owner.filter(|_| !one.archive).unwrap_or((0, 0)))?;
            if one.archive {
                let apply = Apply { below, ..Apply::default() };
                apply.run(to, decompressed(from.file(&one.path)?)?)?;
            } else {
                let apply = Apply { owner: self.owner, below, ..Apply::default() };
                transfer(from, &one.path, name, to, &apply)?;
            }
        }
        Ok(())
    }
}

/// Finds what a path is, behind the links that it may be.
fn look(from: &Root, path: &Path) -> Result<Found> {
    let name = path.file_name().unwrap_or_default().to_owned();
    let path = from.resolve(path)?;
    match from.stat(&path) {
        Err(Errno::ENOENT) => bail!(not_found, "file does not exist"),
        other => Ok(Found { path, name, stat: other?, archive: false }),
    }
}

fn is_url(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

/// The paths that a pattern is of, in order: part by part, below those that the parts before are of.
fn expand(from: &Root, at: &Path, pattern: &str) -> Vec<PathBuf> {
    let (part, rest) = pattern.split_once('/').map_or((pattern, None), |(part, rest)| (part, Some(rest)));
    // Not through links.
    let (Ok(folder), Some(part)) = (from.list(at), glob::compile(part)) else { return Vec::new() };
    let names = files::entries(&by_descriptor(&folder)).into_iter().map(|path| files::name_of(&path));
    let mut paths: Vec<_> = names.filter(|name| part.is_match(name)).map(|name| at.join(name)).collect();
    paths.sort();
    match rest {
        None => paths,
        Some(rest) => paths.iter().flat_map(|path| expand(from, path, rest)).collect(),
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
