//! The context of a build: what the client sent, unpacked where nothing outside can be reached.
//!
//! Clients leave out what `.dockerignore` says, but for that file itself and the Dockerfile, which a build needs.

use std::path::Path;

use tree::{Root, clean};

use crate::error::{Error, Result, error};
use crate::{files, glob};

/// The Dockerfile of a context, from which it is removed then if `.dockerignore` leaves it out, as is that file.
///
/// # Errors
/// When there is none.
pub fn dockerfile(context: &Root, name: &str) -> Result<String> {
    let mut path = clean(Path::new(name));
    let mut text = context.text(&path.to_string_lossy())?;
    if text.is_none() && name == "Dockerfile" {
        path = "dockerfile".into();
        text = context.text("dockerfile")?;
    }
    let text = text.ok_or_else(|| error!(not_found, "Cannot locate specified Dockerfile: {name}"))?;
    let rules = Rules::new(&context.text(".dockerignore")?.unwrap_or_default());
    for path in [path.as_path(), Path::new(".dockerignore")] {
        if rules.leave_out(&path.to_string_lossy()) {
            let folder = context.folder(path.parent().unwrap_or(Path::new("")));
            let name = Path::new(path.file_name().unwrap_or_default());
            let removed = folder.map_err(Into::into).and_then(|folder| tree::remove(&folder, name));
            removed.map_err(Error::at("leave out", path))?;
        }
    }
    Ok(text)
}

/// The lines of a `.dockerignore`: patterns, and whether each takes back what others leave out.
struct Rules(Vec<(String, bool)>);

impl Rules {
    fn new(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let rule = |line: &str| {
            let (pattern, back) = line.strip_prefix('!').map_or((line, false), |rest| (rest.trim(), true));
            (files::lossy(&clean(Path::new(pattern))), back)
        };
        Self(lines.map(rule).collect())
    }

    /// Whether a path is left out: the last line that is about it, or about a folder it is in, counts.
    fn leave_out(&self, path: &str) -> bool {
        // Compiled, each is some hundred times as long.
        let about = |pattern: &String| {
            let folders = path.char_indices().filter(|(_, c)| *c == '/').map(|(at, _)| &path[..at]);
            glob::compile(pattern)
                .is_some_and(|pattern| folders.chain([path]).any(|part| pattern.is_match(part)))
        };
        let last = self.0.iter().rev().find(|(pattern, _)| about(pattern));
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
    }
}
