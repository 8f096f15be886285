//! What this host can do for containers, what it cannot, what that means, and how to mend it.
//!
//! Finds out by doing: harmless system calls whose arguments the kernel must refuse, and, where something has to be
//! made, a child that makes it for itself and ends. Files of `/proc` and `/sys` say the rest; where they are not there,
//! that is a finding, too.
//!
//! Must never leave anything behind, load a module, or change a setting; and never be run by another command. criu, which is
//! asked as well, keeps what it found of the kernel in `/run/criu.kdat`, as it does whenever it runs.

pub mod cgroups;
pub mod criu;
pub mod kernel;
pub mod limits;
pub mod mounts;
pub mod report;
pub mod security;
pub mod services;
pub mod users;

use serde::Serialize;

/// How it stands with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is there.
    Ok,
    /// It is there in part, or cannot be told.
    Degraded,
    /// It is not there.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// What it belongs to.
    pub area: &'static str,
    /// Its name, unique within its area.
    pub name: String,
    /// How it stands.
    pub state: State,
    /// Whether no container can be made without it.
    pub needed: bool,
    /// What was found.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// What it means for containers that it is not there; empty where it is.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub means: &'static str,
    /// What to do; empty where nothing has to be done.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub fix: &'static str,
}

impl Entry {
    /// An entry: its place, its state and what was found.
    fn new(area: &'static str, name: impl Into<String>, state: State, detail: impl Into<String>) -> Self {
        Self { area, name: name.into(), state, needed: false, detail: detail.into(), means: "", fix: "" }
    }

    /// What it means, and what to do, where it is not as it should be.
    fn otherwise(mut self, means: &'static str, fix: &'static str) -> Self {
        if self.state != State::Ok {
            (self.means, self.fix) = (means, fix);
        }
        self
    }

    /// Without it there are no containers.
    fn needed(mut self) -> Self {
        self.needed = true;
        self
    }
}

/// Looks at everything.
#[must_use]
pub fn examine() -> Vec<Entry> {
    let mut entries = kernel::look();
    entries.extend(cgroups::look());
    entries.extend(security::look());
    entries.extend(mounts::look());
    entries.extend(users::look());
    entries.extend(services::look());
    entries.extend(criu::look());
    entries.extend(limits::look());
    entries
}

/// The words of a file; nothing where it cannot be read.
fn words(path: &str) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// The number in a file.
fn number(path: &str) -> Option<u64> {
    words(path).first()?.parse().ok()
}

/// There or not.
fn state(there: bool) -> State {
    if there { State::Ok } else { State::Missing }
}
