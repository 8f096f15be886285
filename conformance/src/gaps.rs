//! `gaps.toml`: the reasons why a case does not pass, or why two runtimes may differ. A reason that is no
//! longer needed is an error for corten, so the table cannot become untrue.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::error::{At as _, Error, Result};
use crate::host::Host;

/// The whole table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gaps {
    /// Control → the beginning of its `--version` when the table was written.
    #[serde(default, rename = "written-with")]
    written_with: BTreeMap<String, String>,
    /// Cases of runtime-tools that fail.
    #[serde(default, rename = "runtime-tools")]
    pub(crate) runtime_tools: Vec<Failure>,
    /// Cases of the suites that scripts run, which fail with the control too.
    #[serde(default)]
    pub(crate) suites: Vec<SuiteFailure>,
    /// Differences in the matrix.
    #[serde(default)]
    pub(crate) matrix: Vec<Difference>,
}

/// A validation program that fails.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Failure {
    /// Names of the programs; `*` stands for any text.
    pub(crate) cases: Vec<String>,
    /// The runtimes it is true for.
    pub(crate) runtimes: Vec<String>,
    /// Facts of the machine (`host.rs`) that must hold for it.
    #[serde(default)]
    pub(crate) when: Vec<String>,
    /// The case has a race of its own and passes now and then, on a control too.
    #[serde(default)]
    pub(crate) sometimes: bool,
    /// Why, in one line.
    pub(crate) reason: String,
}

/// A case of a suite that a script runs, and that a runtime fails.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SuiteFailure {
    /// Names of the suites.
    pub(crate) suites: Vec<String>,
    /// Names of the cases; `*` stands for any text.
    pub(crate) cases: Vec<String>,
    /// Facts of the machine (`host.rs`) that must hold for it.
    #[serde(default)]
    pub(crate) when: Vec<String>,
    /// The case has a race of its own and passes now and then, on a control too.
    #[serde(default)]
    pub(crate) sometimes: bool,
    /// Why, in one line.
    pub(crate) reason: String,
}

/// A place where corten may report something else than a control.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Difference {
    /// Case name, `*` stands for any text.
    pub(crate) case: String,
    /// Path in the report, `/` between its parts; `*` stands for any text.
    pub(crate) path: String,
    /// The controls that report something else.
    pub(crate) controls: Vec<String>,
    /// Facts of the machine (`host.rs`) that must hold for it.
    #[serde(default)]
    pub(crate) when: Vec<String>,
    /// It comes and goes.
    #[serde(default)]
    pub(crate) sometimes: bool,
    /// Why, in one line.
    pub(crate) reason: String,
}

impl Gaps {
    /// Read the table.
    pub(crate) fn read(path: &Path) -> Result<Gaps> {
        let text = std::fs::read_to_string(path).at("read", path)?;
        toml::from_str(&text)
            .map_err(|error| Error::Format { path: path.to_owned(), message: error.to_string() })
    }

    /// Whether this control is the one that the table was written with.
    pub(crate) fn knows(&self, control: &str, version: &str) -> bool {
        self.written_with.get(control).is_some_and(|known| version.starts_with(known.as_str()))
    }

    /// Why this runtime fails this validation program on this machine.
    pub(crate) fn failure(&self, case: &str, runtime: &str, host: &Host) -> Option<&Failure> {
        let fits = |gap: &&Failure| {
            gap.cases.iter().any(|pattern| matches(pattern, case))
                && gap.runtimes.iter().any(|name| name == runtime)
                && host.all(&gap.when)
        };
        self.runtime_tools.iter().find(fits)
    }

    /// The place in the table that explains why corten differs from this control here.
    pub(crate) fn difference(&self, case: &str, path: &str, control: &str, host: &Host) -> Option<usize> {
        self.matrix.iter().position(|gap| {
            matches(&gap.case, case)
                && matches(&gap.path, path)
                && gap.controls.iter().any(|name| name == control)
                && host.all(&gap.when)
        })
    }
}

/// Whether `text` has the form of `pattern`, in which `*` stands for any text, also none.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|tail| {
            rest.is_empty() || (0..=tail.len()).any(|n| tail.get(n..).is_some_and(|end| matches(rest, end)))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::{Difference, Gaps, matches};
    use crate::{matrix, runtime_tools, scripts};
    use std::path::Path;

    /// An entry about something that is not there would never be found to be stale.
    #[test]
    fn every_entry_is_about_something_there_is() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let gaps = Gaps::read(&folder.join("gaps.toml")).unwrap();
        let programs = runtime_tools::all_names(folder).unwrap();
        for pattern in gaps.runtime_tools.iter().flat_map(|gap| &gap.cases) {
            assert!(programs.iter().any(|name| matches(pattern, name)), "no program {pattern}");
        }
        let cases = matrix::all_names();
        for Difference { case, .. } in &gaps.matrix {
            assert!(cases.iter().any(|name| matches(case, name)), "no case {case} in the matrix");
        }
        let results = std::fs::read_to_string(folder.join("RESULTS.md")).unwrap();
        let rows: Vec<String> = results
            .lines()
            .filter_map(|line| Some(line.strip_prefix("| ")?.split_once(" | ")?.0))
            .map(|cell| cell.replace("\\|", "|").replace("\\<", "<"))
            .collect();
        for gap in &gaps.suites {
            let known = |name: &String| scripts::SUITES.iter().any(|suite| suite.name == name);
            assert!(gap.suites.iter().all(known), "no such suite: {:?}", gap.suites);
            for pattern in &gap.cases {
                assert!(rows.iter().any(|name| matches(pattern, name)), "no result of {pattern}");
            }
        }
        let facts = include_str!("host.rs");
        let whens = gaps.runtime_tools.iter().map(|gap| &gap.when);
        let whens = whens.chain(gaps.suites.iter().map(|gap| &gap.when));
        for fact in whens.chain(gaps.matrix.iter().map(|gap| &gap.when)).flatten() {
            assert!(facts.contains(&format!("fact(\"{fact}\", ")), "no fact {fact}");
        }
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text) in
            [("a", "a"), ("*", ""), ("a*", "abc"), ("*c", "abc"), ("a*c*e", "abcde"), ("*/x", "a/b/x")]
        {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a", "ab"), ("a*", "ba"), ("*c", "cb"), ("a*c", "acb"), ("", "x")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
