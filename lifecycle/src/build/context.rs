//! The context of a build: what the client sent, unpacked where nothing outside can be reached, without what
//! `.dockerignore` leaves out.

use std::path::Path;

use globset::GlobMatcher;

use crate::error::{Error, Result, error};
use crate::tree::{Root, by_descriptor, clean, is_kind};
use crate::{files, glob, tree};

/// The Dockerfile of a context, after which everything is removed that `.dockerignore` leaves out.
///
/// # Errors
/// When there is none.
pub fn dockerfile(context: &Root, name: &str) -> Result<String> {
    let path = clean(Path::new(name));
    let text = context.text(&path.to_string_lossy())?;
    let text = text.ok_or_else(|| error!(not_found, "Cannot locate specified Dockerfile: {name}"))?;
    if let Some(rules) = context.text(".dockerignore")? {
        prune(context, &Rules::new(&rules), Path::new(""))?;
    }
    Ok(text)
}

/// Removes what is left out below a folder; whether anything stays in it.
fn prune(context: &Root, rules: &Rules, folder: &Path) -> Result<bool> {
    let here = context.list(folder).map_err(Error::at("open", folder))?;
    let mut stays = false;
    for entry in files::entries(&by_descriptor(&here)) {
        let name = Path::new(entry.file_name().unwrap_or_default());
        let path = folder.join(name);
        let is_folder = is_kind(&context.stat(&path)?, libc::S_IFDIR);
        let out = rules.leave_out(&path.to_string_lossy());
        if !out || is_folder && rules.has_exceptions {
            let kept = !is_folder || prune(context, rules, &path)?;
            if kept || !out {
                stays = true;
                continue;
            }
        }
        tree::remove(&here, name).map_err(Error::at("leave out", &path))?;
    }
    Ok(stays)
}

/// The lines of a `.dockerignore`: patterns, and whether each takes back what others leave out.
struct Rules {
    lines: Vec<(GlobMatcher, bool)>,
    has_exceptions: bool,
}

impl Rules {
    fn new(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let rule = |line: &str| {
            let (pattern, back) = line.strip_prefix('!').map_or((line, false), |rest| (rest.trim(), true));
            let pattern = clean(Path::new(pattern));
            let pattern = pattern.to_str().filter(|pattern| !pattern.is_empty()).and_then(glob::compile);
            pattern.map(|pattern| (pattern, back))
        };
        let lines: Vec<_> = lines.filter_map(rule).collect();
        let has_exceptions = lines.iter().any(|(_, back)| *back);
        Self { lines, has_exceptions }
    }

    /// Whether a path is left out: the last line that is about it, or about a folder it is in, counts.
    fn leave_out(&self, path: &str) -> bool {
        let about = |pattern: &GlobMatcher| {
            let folders = path.char_indices().filter(|(_, c)| *c == '/').map(|(at, _)| &path[..at]);
            folders.chain([path]).any(|part| pattern.is_match(part))
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
