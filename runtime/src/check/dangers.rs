//! What is allowed and yet gives a container the host, or takes a protection away that it would have had.
//!
//! Tables where they can be: what is dangerous changes more often than how it is looked for.

mod files;
mod rights;

use super::mend::Mended;
use super::refusal::Accepted;
use super::{Finding, Level};
use crate::plan::Host;
use crate::spec::Linux;
use std::path::Path;

/// Collects findings about what is left of a configuration.
struct Dangers<'a> {
    mended: &'a Mended,
    accepted: &'a Accepted,
    linux: &'a Linux,
    host: &'a Host,
    findings: Vec<Finding>,
}

impl Dangers<'_> {
    fn add(&mut self, level: Level, path: &str, problem: impl Into<String>, fix: &str) {
        self.findings.push(self.mended.finding(level, path, problem.into(), "", fix));
    }

    /// Whether root of the container is an ordinary user of the host, by a user namespace or because the caller is one.
    fn mapped(&self) -> bool {
        self.host.rootless || self.accepted.plan.namespaces.separate(libc::CLONE_NEWUSER)
    }

    /// Whether the program runs as root of its user namespace.
    fn is_root(&self) -> bool {
        self.accepted.plan.process.identity.uid == 0
    }
}

/// Looks for dangers in what `create` would accept. `file` is the configuration in the bundle.
#[must_use]
pub fn look(mended: &Mended, bundle: &Path, file: &Path, host: &Host) -> Vec<Finding> {
    let Some(accepted) = &mended.accepted else { return Vec::new() };
    let none = Linux::default();
    let linux = accepted.config.linux.as_ref().unwrap_or(&none);
    let mut dangers = Dangers { mended, accepted, linux, host, findings: Vec::new() };
    rights::namespaces(&mut dangers);
    rights::capabilities(&mut dangers);
    rights::filters(&mut dangers);
    rights::limits(&mut dangers);
    files::mounts(&mut dangers);
    files::masks(&mut dangers);
    files::devices(&mut dangers);
    files::owners(&mut dangers, bundle, file);
    dangers.findings
}
