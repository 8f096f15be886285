//! Which runtime is tested.
//!
//! `RUNTIME=/path` names any OCI runtime; without it `CORTEN_BIN`, and without that the `corten` that lies in
//! the target directory this test program was built into.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The runtimes that tests know apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Ours: every test holds for it.
    Corten,
    /// The first control.
    Runc,
    /// The second control.
    Crun,
    /// Anything else.
    Other,
}

/// The runtime under test.
#[derive(Debug)]
pub struct Runtime {
    /// The binary.
    pub path: PathBuf,
    /// Whose it is.
    pub kind: Kind,
    /// Name and version as the first line of `--version` has them.
    pub title: String,
    /// Major and minor version.
    pub version: (u32, u32),
}

/// The runtime under test, asked for its version once.
///
/// # Panics
/// When there is no such binary or it does not answer.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let path = ["RUNTIME", "CORTEN_BIN"].iter().find_map(std::env::var_os).map(PathBuf::from);
        Runtime::at(path.unwrap_or_else(|| built("corten")))
    })
}

/// A program of this workspace, beside the test program.
///
/// # Panics
/// When it was not built.
pub fn built(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.ancestors().skip(1).take(2).map(|dir| dir.join(name)).find(|path| path.is_file());
    path.unwrap_or_else(|| {
        panic!("there is no {name} beside {}: cargo build --workspace first", own.display())
    })
}

impl Runtime {
    fn at(path: PathBuf) -> Runtime {
        let output = Command::new(&path).arg("--version").output();
        let output = output.unwrap_or_else(|error| panic!("{} --version: {error}", path.display()));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let first = text.lines().next().unwrap_or_default();
        let mut words = first.split_whitespace();
        let name = words.next().unwrap_or_default().to_owned();
        let number = words.nth(1).unwrap_or_default().to_owned();
        let kind = match name.as_str() {
            "corten" => Kind::Corten,
            "runc" => Kind::Runc,
            "crun" => Kind::Crun,
            _ => Kind::Other,
        };
        Runtime { path, kind, version: parse(&number), title: format!("{name} {number}") }
    }

    /// Why a control cannot be expected to have a feature; nothing when it can.
    ///
    /// # Panics
    /// When a control is not written as a name and a version.
    pub fn lacks(&self, feature: &str, controls: &[&str]) -> Option<String> {
        let name = match self.kind {
            Kind::Runc => "runc",
            Kind::Crun => "crun",
            Kind::Corten | Kind::Other => return None,
        };
        let split =
            |control: &&str| control.split_once(' ').map(|(who, from)| (who.to_owned(), from.to_owned()));
        let (_, from) = controls.iter().filter_map(split).find(|(who, _)| who == name)?;
        let has = from != "-" && self.version >= parse(&from);
        (!has).then(|| format!("{} has no {feature}", self.title))
    }

    /// Whether it is Corten itself.
    pub fn is_ours(&self) -> bool {
        self.kind == Kind::Corten
    }
}

/// `1.28.0+x` as (1, 28); zeroes for what is no number.
fn parse(version: &str) -> (u32, u32) {
    let mut numbers = version.split(|letter: char| !letter.is_ascii_digit());
    let mut next = || numbers.next().and_then(|number| number.parse().ok()).unwrap_or(0);
    (next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_compared_by_version() {
        let runc = |version| Runtime {
            path: PathBuf::new(),
            kind: Kind::Runc,
            title: "runc".into(),
            version: parse(version),
        };
        assert!(runc("1.1.5+ds1").lacks("x", &["runc 1.2"]).is_some());
        assert!(runc("1.10.0").lacks("x", &["runc 1.2"]).is_none());
        assert!(runc("1.10.0").lacks("x", &["runc -"]).is_some());
        assert!(runc("1.1.0").lacks("x", &["crun 1.9"]).is_none());
    }
}
