// SPDX-License-Identifier: Apache-2.0
//! Writes RESULTS.md: what the last complete run showed, and on what machine.

use std::fmt::Write as _;
use std::path::Path;

use crate::error::{At as _, Result};
use crate::host::Host;
use crate::runtime::Runtime;
use crate::{matrix, runtime_tools};

/// Write the file.
pub(crate) fn write(
    path: &Path,
    host: &Host,
    runtimes: &[Runtime],
    tools: &runtime_tools::Report,
    matrix: &matrix::Report,
) -> Result<()> {
    let mut text =
        String::from("# Results\n\nWritten by `cargo run -p conformance -- --update`; do not edit.\n\n");
    let facts: Vec<String> = host.facts().map(|fact| format!("`{fact}`")).collect();
    let _ = writeln!(text, "Machine: {}; {}.\n", host.description, facts.join(", "));
    for runtime in runtimes {
        let _ = writeln!(text, "- {}: {}", runtime.name, runtime.version);
    }
    validation(&mut text, runtimes, tools);
    comparison(&mut text, runtimes, matrix);
    std::fs::write(path, text).at("write", path)
}

fn header(text: &mut String, runtimes: &[Runtime]) {
    let names: Vec<&str> = runtimes.iter().map(|runtime| runtime.name).collect();
    let _ = writeln!(text, "| case | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
}

/// A cell may not end the row.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn validation(text: &mut String, runtimes: &[Runtime], report: &runtime_tools::Report) {
    let _ = writeln!(text, "\n## OCI runtime-tools {}\n\n{}.\n", report.version, report.summary());
    header(text, runtimes);
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
}

/// What became of a case, in a word.
fn word(outcome: &runtime_tools::Outcome) -> &'static str {
    match (&outcome.failure, outcome.sometimes) {
        (_, true) => "by luck",
        (None, false) => "pass",
        (Some(_), false) => "**fail**",
    }
}

fn comparison(text: &mut String, runtimes: &[Runtime], report: &matrix::Report) {
    let _ = writeln!(text, "\n## Matrix: one bundle, three runtimes\n\n{}.\n", report.summary());
    text.push_str("*runs*: the container started; *refused*: it did not. A number: places where corten shows something else than\n");
    text.push_str("that runtime, each with its reason in `gaps.toml`.\n\n");
    header(text, runtimes);
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
}
