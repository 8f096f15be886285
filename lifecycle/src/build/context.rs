//! The context of a build: what the client sent, unpacked where nothing outside can be reached, without what
//! `.dockerignore` leaves out.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::fstatat;

use crate::error::{Error, Result};
use crate::image::content::decompressed;
use crate::tree::{Apply, Root, by_descriptor, clean, is_kind};
use crate::{files, glob};

/// An unpacked context; its files go with it.
#[derive(Debug)]
pub struct Context {
    /// Its files.
    pub root: Root,
    folder: PathBuf,
}

impl Drop for Context {
    fn drop(&mut self) {
        // What cannot be removed now is removed when the engine starts next.
        let _gone = files::remove_dir(&self.folder);
    }
}

impl Context {
    /// Unpacks an archive into a folder that does not exist yet.
    ///
    /// # Errors
    /// When it is no archive.
    pub fn unpack(archive: File, folder: PathBuf) -> Result<Self> {
        files::make_dir(&folder, 0o700)?;
        let context = Self { root: Root::open(&folder)?, folder };
        let stream =
            decompressed(archive).map_err(|error| Error::invalid(format!("the context: {error}")))?;
        Apply::default().run(&context.root, stream).map_err(|error| Error::invalid(error.message))?;
        Ok(context)
    }

    /// The Dockerfile, after which everything is removed that `.dockerignore` leaves out.
    ///
    /// # Errors
    /// When there is none.
    pub fn dockerfile(&self, name: &str) -> Result<String> {
        let path = clean(Path::new(name));
        let text = self
            .root
            .text(&path.to_string_lossy())?
            .ok_or_else(|| Error::not_found(format!("Cannot locate specified Dockerfile: {name}")))?;
        if let Some(rules) = self.root.text(".dockerignore")? {
            let rules = Rules::new(&rules);
            self.prune(&rules, Path::new(""))?;
        }
        Ok(text)
    }

    /// Removes what is left out below a folder; whether anything stays in it.
    fn prune(&self, rules: &Rules, folder: &Path) -> Result<bool> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let here = self.root.get(folder, flags).map_err(Error::at("open", folder))?;
        let mut stays = false;
        for entry in files::entries(&by_descriptor(&here)) {
            let name = Path::new(entry.file_name().unwrap_or_default());
            let path = folder.join(name);
            let stat = fstatat(here.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            let is_folder = is_kind(&stat, libc::S_IFDIR);
            let out = rules.leave_out(&path.to_string_lossy());
            if !out || is_folder && rules.has_exceptions {
                let kept = !is_folder || self.prune(rules, &path)?;
                if kept || !out {
                    stays = true;
                    continue;
                }
            }
            let removed =
                if is_folder { std::fs::remove_dir_all(&entry) } else { std::fs::remove_file(&entry) };
            removed.map_err(Error::at("leave out", &path))?;
        }
        Ok(stays)
    }
}

/// The lines of a `.dockerignore`: patterns, and whether each takes back what others leave out.
struct Rules {
    lines: Vec<(String, bool)>,
    has_exceptions: bool,
}

impl Rules {
    fn new(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let rule = |line: &str| {
            let (pattern, back) = line.strip_prefix('!').map_or((line, false), |rest| (rest.trim(), true));
            (clean(Path::new(pattern)).to_string_lossy().into_owned(), back)
        };
        let lines: Vec<_> = lines.map(rule).filter(|(pattern, _)| !pattern.is_empty()).collect();
        let has_exceptions = lines.iter().any(|(_, back)| *back);
        Self { lines, has_exceptions }
    }

    /// Whether a path is left out: the last line that is about it, or about a folder it is in, counts.
    fn leave_out(&self, path: &str) -> bool {
        let about = |pattern: &str| {
            let folders = path.char_indices().filter(|(_, c)| *c == '/').map(|(at, _)| &path[..at]);
            folders.chain([path]).any(|part| glob::matches(pattern, part))
        };
        let last = self.lines.iter().rev().find(|(pattern, _)| about(pattern));
        last.is_some_and(|(_, back)| !back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_those_of_docker() {
        let rules = Rules::new("# note\n*.log\n/tmp\n**/secret\ndocs\n!docs/README*\n");
        for path in ["a.log", "tmp", "tmp/x/y", "a/b/secret", "docs/a", "secret/in"] {
            assert!(rules.leave_out(path), "{path}");
        }
        for path in ["a/b.log", "x/tmp", "docs/README.md", "a"] {
            assert!(!rules.leave_out(path), "{path}");
        }
        assert!(rules.has_exceptions);
    }
}
