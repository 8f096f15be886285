//! Writes RESULTS.md: for each suite a section with what its last complete run showed, on what machine and
//! with what.

use std::fmt::Write as _;
use std::path::Path;

use crate::error::{At as _, Result};
use crate::host::Host;
use crate::runtime::Runtime;
use crate::work::text_of;
use crate::{matrix, runtime_tools, scripts};

/// What is above the sections.
const HEAD: &str = "# Results

Written by `cargo run -p conformance -- --update [SUITE]...`; do not edit. What the suites are, and what counts as a failure, is
in README.md.
";

const TOOLS: &str = "OCI runtime-tools";
const MATRIX: &str = "Matrix: one bundle, three runtimes";

/// The part of one suite.
pub(crate) struct Section {
    /// Its place and what is left of its heading when versions change.
    title: &'static str,
    /// From the heading on.
    text: String,
}

/// Write these sections, and keep the others that the file has.
pub(crate) fn write(path: &Path, sections: Vec<Section>) -> Result<()> {
    std::fs::write(path, merge(&text_of(path), sections)).at("write", path)
}

/// The file's text with these sections instead of those of the same titles.
fn merge(old: &str, sections: Vec<Section>) -> String {
    let titles = [TOOLS, MATRIX].into_iter().chain(scripts::SUITES.iter().map(|suite| suite.title));
    let mut text = HEAD.to_owned();
    for title in titles {
        let heading = format!("\n## {title}");
        let new = sections.iter().find(|section| section.title == title).map(|section| section.text.as_str());
        let kept = || {
            let section = old.get(old.find(&heading)?..)?;
            let end =
                section.get(1..).and_then(|rest| rest.find("\n## ")).map_or(section.len(), |end| end + 1);
            section.get(..end)
        };
        text.push_str(new.or_else(kept).unwrap_or_default());
    }
    text
}

/// The machine and the runtimes.
pub(crate) fn with(host: &Host, runtimes: &[Runtime]) -> String {
    let versions = runtimes.iter().map(|runtime| format!("{}: {}", runtime.name, runtime.version));
    conditions(host, versions)
}

/// The machine and the versions of programs.
fn conditions(host: &Host, versions: impl Iterator<Item = String>) -> String {
    let facts: Vec<String> = host.facts().map(|fact| format!("`{fact}`")).collect();
    let list: String = versions.map(|version| format!("- {version}\n")).collect();
    format!("On {}; {}.\n\n{list}", host.description, facts.join(", "))
}

fn header(text: &mut String, names: &[&str]) {
    let _ = writeln!(text, "| case | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
}

fn names(runtimes: &[Runtime]) -> Vec<&str> {
    runtimes.iter().map(|runtime| runtime.name).collect()
}

/// A cell may not end the row, nor be taken for HTML.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ").replace('<', "\\<")
}

/// The section of runtime-tools.
pub(crate) fn validation(with: &str, runtimes: &[Runtime], report: &runtime_tools::Report) -> Section {
    let mut text = format!("\n## {TOOLS} {}\n\n{with}\n{}.\n\n", report.version, report.summary());
    header(&mut text, &names(runtimes));
    for row in report.outcomes.chunks(runtimes.len()) {
        let cells: Vec<&str> = row.iter().map(word).collect();
        let case = row.first().map_or("", |outcome| &outcome.case);
        let _ = writeln!(text, "| {case} | {} |", cells.join(" | "));
    }
    text.push_str("\nWhy each of the others fails:\n\n| case | runtime | reason |\n|---|---|---|\n");
    for outcome in &report.outcomes {
        if let Some(said) = &outcome.failure {
            let said = format!("says: {said}");
            let reason = outcome.reason.as_ref().unwrap_or(&said);
            let _ = writeln!(text, "| {} | {} | {} |", outcome.case, outcome.runtime, cell(reason));
        }
    }
    Section { title: TOOLS, text }
}

/// What became of a case, in a word.
fn word(outcome: &runtime_tools::Outcome) -> &'static str {
    match (&outcome.failure, outcome.sometimes) {
        (_, true) => "by luck",
        (None, false) => "pass",
        (Some(_), false) => "**fail**",
    }
}

/// The section of the matrix.
pub(crate) fn comparison(with: &str, runtimes: &[Runtime], report: &matrix::Report) -> Section {
    let mut text = format!("\n## {MATRIX}\n\n{with}\n{}.\n\n", report.summary());
    text.push_str("*runs*: the container started; *refused*: it did not. A number: places where corten shows something else than\n");
    text.push_str("that runtime, each with its reason in `gaps.toml`.\n\n");
    header(&mut text, &names(runtimes));
    for row in &report.rows {
        let cells: Vec<String> = row
            .started
            .iter()
            .map(|(runtime, started)| {
                let differences =
                    report.differences.iter().filter(|d| d.case == row.case && d.control == *runtime).count();
                let word = if *started { "runs" } else { "refused" };
                if differences == 0 { word.to_owned() } else { format!("{word}, {differences}") }
            })
            .collect();
        let _ = writeln!(text, "| {} | {} |", row.case, cells.join(" | "));
    }
    Section { title: MATRIX, text }
}

/// The section of a suite that a script has run.
pub(crate) fn suite(host: &Host, report: &scripts::Report) -> Section {
    let title = report.suite.title;
    let with = conditions(host, report.with.iter().cloned());
    let mut text = format!("\n## {title}\n\n{with}\n{}.\n\n", report.summary());
    header(&mut text, &report.runtimes);
    for (case, row) in &report.cases {
        let word = |passed: &Option<bool>| match passed {
            Some(true) => "pass",
            Some(false) => "**fail**",
            None => "–",
        };
        let cells: Vec<&str> = row.iter().map(word).collect();
        let _ = writeln!(text, "| {} | {} |", cell(case), cells.join(" | "));
    }
    if !report.reasons.is_empty() {
        text.push_str("\nWhy the others fail:\n\n| case | reason |\n|---|---|\n");
        for (case, reason) in &report.reasons {
            let _ = writeln!(text, "| {} | {} |", cell(case), cell(reason));
        }
    }
    Section { title, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_of_other_suites_are_kept() {
        let critest = scripts::SUITES[1].title;
        let section =
            |title: &'static str, body: &str| Section { title, text: format!("\n## {title}\n\n{body}\n") };
        let first = merge("# Old\n\nrubbish\n", vec![section(critest, "c1"), section(MATRIX, "m1")]);
        assert_eq!(first, format!("{HEAD}\n## {MATRIX}\n\nm1\n\n## {critest}\n\nc1\n"));
        let second = merge(&first, vec![section(TOOLS, "t1"), section(critest, "c2")]);
        assert_eq!(second, format!("{HEAD}\n## {TOOLS}\n\nt1\n\n## {MATRIX}\n\nm1\n\n## {critest}\n\nc2\n"));
        assert_eq!(merge(&second, vec![]), second);
    }
}
