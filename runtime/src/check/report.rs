//! Findings as text: grouped and coloured for a terminal, a line each for a pipe, JSON for a program.

use super::{Checked, Finding, Level};
use serde_json::{Value, json};
use std::fmt::Write;

/// How much of a value is shown.
const SHOWN: usize = 120;

/// The words for a level: one, several, and its colour (ECMA-48, "SGR").
fn words(level: Level) -> (&'static str, &'static str, &'static str) {
    match level {
        Level::Error => ("error", "errors", "31;1"),
        Level::Danger => ("danger", "dangers", "35;1"),
        Level::Warning => ("warning", "warnings", "33"),
        Level::Note => ("note", "notes", "36"),
    }
}

const LEVELS: [Level; 4] = [Level::Error, Level::Danger, Level::Warning, Level::Note];

/// For a program: `corten check --json`.
#[must_use]
pub fn json(checked: &Checked) -> Value {
    json!({
        "file": checked.file,
        "errors": checked.count(Level::Error),
        "dangers": checked.count(Level::Danger),
        "warnings": checked.count(Level::Warning),
        "notes": checked.count(Level::Note),
        "complete": checked.complete,
        "findings": checked.findings,
    })
}

/// A line for each finding, which begins with its level and its place.
#[must_use]
pub fn lines(checked: &Checked) -> String {
    let mut text = String::new();
    for finding in &checked.findings {
        let (level, ..) = words(finding.level);
        let mut line = format!("{level}: {}", finding.path);
        if let Some(value) = shown(finding) {
            let _ = write!(line, ": {value}");
        }
        let _ = write!(line, ": {}", finding.problem);
        if !finding.expected.is_empty() {
            let _ = write!(line, "; expected {}", finding.expected);
        }
        let _ = write!(line, "; fix: {}", finding.fix);
        text.push_str(&one_line(&line));
        text.push('\n');
    }
    text.push_str(&summary(checked));
    text
}

/// Groups by level, with colours where they are wanted.
#[must_use]
pub fn groups(checked: &Checked, colour: bool) -> String {
    let paint = |code: &str, text: &str| match colour {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    };
    let mut text = String::new();
    for level in LEVELS {
        let count = checked.count(level);
        if count == 0 {
            continue;
        }
        let (_, many, code) = words(level);
        let _ = writeln!(text, "{} ({count})", paint(code, many));
        for finding in checked.findings.iter().filter(|finding| finding.level == level) {
            let value = shown(finding).map(|value| format!("  {}", paint("2", &value))).unwrap_or_default();
            let _ = writeln!(text, "  {}{value}", paint("1", &one_line(&finding.path)));
            let _ = writeln!(text, "      {}", one_line(&finding.problem));
            if !finding.expected.is_empty() {
                let _ = writeln!(text, "      expected: {}", one_line(&finding.expected));
            }
            let _ = writeln!(text, "      fix: {}", paint("32", &one_line(&finding.fix)));
        }
        text.push('\n');
    }
    text.push_str(&summary(checked));
    text
}

fn summary(checked: &Checked) -> String {
    let counted = LEVELS.iter().filter_map(|level| {
        let (one, many, _) = words(*level);
        match checked.count(*level) {
            0 => None,
            1 => Some(format!("1 {one}")),
            count => Some(format!("{count} {many}")),
        }
    });
    let counted: Vec<String> = counted.collect();
    let counted = if counted.is_empty() { "nothing found".to_owned() } else { counted.join(", ") };
    let more = match checked.complete {
        true => "",
        false => "; there may be more once these are mended",
    };
    format!("{}: {counted}{more}\n", one_line(&checked.file.display().to_string()))
}

/// A value as far as it fits. What it is in is a line of its own in the file, and no help.
fn shown(finding: &Finding) -> Option<String> {
    let value = finding.value.as_ref()?;
    if value.is_object() || value.is_array() {
        return None;
    }
    let text = value.to_string();
    // What is wrong often begins with the value.
    if finding.problem.contains(&text) || value.as_str().is_some_and(|bare| finding.problem.contains(bare)) {
        return None;
    }
    let end = text.char_indices().nth(SHOWN).map_or(text.len(), |(end, _)| end);
    Some(if end < text.len() { format!("{}…", &text[..end]) } else { text })
}

/// What stands in a bundle must not move a terminal's cursor or begin a line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(level: Level, value: Option<Value>) -> Finding {
        Finding {
            level,
            path: "process.args".to_owned(),
            value,
            problem: "is \u{1b}[2Jodd".to_owned(),
            expected: "a list".to_owned(),
            fix: "write one".to_owned(),
        }
    }

    #[test]
    fn every_finding_is_one_line_and_moves_no_cursor() {
        let findings = vec![
            finding(Level::Error, Some(json!("x\n\u{1b}[31m"))),
            finding(Level::Note, Some(json!("é".repeat(500)))),
            finding(Level::Note, None),
        ];
        let checked = Checked { file: "/b/config.json".into(), findings, complete: false };
        let text = lines(&checked);
        assert_eq!(text.lines().count(), 4);
        assert!(!text.contains('\u{1b}'));
        assert!(text.starts_with("error: process.args: \"x\\n"), "{text}");
        assert!(
            text.ends_with("/b/config.json: 1 error, 2 notes; there may be more once these are mended\n")
        );
        assert!(!groups(&checked, false).contains('\u{1b}'));
        assert!(groups(&checked, true).contains("\u{1b}[31;1merrors\u{1b}[0m (1)"));
    }
}
