//! Where in the hierarchies a container's cgroup is: `linux.cgroupsPath`, and paths below a container's cgroup.

use super::error::{Error, Result};

/// Where the configuration wants the cgroup.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// From the root of each hierarchy as mounted here; starts with `/`.
    Absolute(String),
    /// From a place that this runtime chooses: its own cgroup on v1, beside it on v2; starts with `/`.
    Relative(String),
}

impl Location {
    /// Reads `linux.cgroupsPath` of the cgroupfs driver; empty means a cgroup named after the container.
    ///
    /// `.` and `..` are resolved by name and never lead out of the hierarchy.
    ///
    /// # Errors
    /// The root of a hierarchy is refused: it cannot be limited, frozen or removed. So is a line break, which the kernel
    /// takes in no name, and which would be two lines of the journal.
    pub(super) fn parse(path: &str, id: &str) -> Result<Self> {
        if path.is_empty() {
            return Ok(Self::Relative(format!("/{id}")));
        }
        let invalid = |why: &str| Error::Invalid {
            field: "linux.cgroupsPath".to_owned(),
            value: path.to_owned(),
            why: why.to_owned(),
        };
        if path.contains(['\n', '\0']) {
            return Err(invalid("a cgroup has no name with a line break or a zero byte"));
        }
        let clean = clean(path);
        if clean == "/" {
            return Err(invalid("this is the root of the hierarchy; expected a cgroup below it"));
        }
        Ok(if path.starts_with('/') { Self::Absolute(clean) } else { Self::Relative(clean) })
    }
}

/// Resolves `.`, `..` and repeated slashes by name alone, as below a root directory. Cgroup filesystems have no
/// symbolic links, so this is exact. The result starts with `/`.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// A path below a container's cgroup as `exec --cgroup` gives it, without leading slash; `None` when it leads out.
///
/// Compared by component: below `/a/ctr`, the path `../ctr-evil` is outside although its text begins the same.
pub(super) fn below(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The path of the cgroup that holds this one; the root holds itself.
pub(super) fn parent(path: &str) -> &str {
    match path.trim_end_matches('/').rfind('/') {
        None | Some(0) => "/",
        Some(slash) => &path[..slash],
    }
}

/// Joins a path that starts with `/` to the directory of a hierarchy or to another such path.
pub(super) fn join(base: &str, path: &str) -> String {
    format!("{}{path}", base.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations() {
        for (path, want) in [
            ("", Location::Relative("/id".into())),
            ("/docker/x", Location::Absolute("/docker/x".into())),
            ("//docker//./x/", Location::Absolute("/docker/x".into())),
            ("/../../x", Location::Absolute("/x".into())),
            ("a/../../b", Location::Relative("/b".into())),
            ("user.slice", Location::Relative("/user.slice".into())),
        ] {
            assert_eq!(Location::parse(path, "id").unwrap(), want, "{path}");
        }
        for root in ["/", "/..", "/a/..", ".", "../..", "/a\n/sys/fs/cgroup/b"] {
            let error = Location::parse(root, "id").unwrap_err().to_string();
            assert!(error.contains("linux.cgroupsPath"), "{error}");
        }
    }

    #[test]
    fn below_is_by_component() {
        for (path, want) in [
            ("/", Some("")),
            ("", Some("")),
            ("/sub/x", Some("sub/x")),
            ("sub/../other", Some("other")),
            ("..", None),
            ("../ctr-evil", None),
            ("sub/../../ctr", None),
            ("/..", None),
        ] {
            assert_eq!(below(path).as_deref(), want, "{path}");
        }
    }

    #[test]
    fn parents_and_joins() {
        assert_eq!(parent("/a/b"), "/a");
        assert_eq!(parent("/a"), "/");
        assert_eq!(parent("/"), "/");
        assert_eq!(join("/", "/x"), "/x");
        assert_eq!(join("/a", "/x"), "/a/x");
    }
}
