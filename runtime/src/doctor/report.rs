//! Entries as text: grouped by area, with colours for a terminal; a line each for a pipe; JSON for a program.

use super::{Entry, State};
use serde_json::{Value, json};
use std::fmt::Write;

/// The word for a state, and its colour (ECMA-48, "SGR").
fn words(state: State) -> (&'static str, &'static str) {
    match state {
        State::Ok => ("ok", "32"),
        State::Degraded => ("degraded", "33"),
        State::Missing => ("missing", "31"),
    }
}

/// How many entries are in a state.
#[must_use]
pub fn count(entries: &[Entry], state: State) -> usize {
    entries.iter().filter(|entry| entry.state == state).count()
}

/// Whether containers can be made at all.
#[must_use]
pub fn able(entries: &[Entry]) -> bool {
    !entries.iter().any(|entry| entry.needed && entry.state == State::Missing)
}

/// For a program: `corten doctor --json`.
#[must_use]
pub fn json(entries: &[Entry]) -> Value {
    json!({
        "able": able(entries),
        "ok": count(entries, State::Ok),
        "degraded": count(entries, State::Degraded),
        "missing": count(entries, State::Missing),
        "entries": entries,
    })
}

/// A line for each entry, which begins with its state.
#[must_use]
pub fn lines(entries: &[Entry]) -> String {
    let mut text = String::new();
    for entry in entries {
        let (state, _) = words(entry.state);
        let mut line = format!("{state}: {}: {}", entry.area, entry.name);
        if !entry.detail.is_empty() {
            let _ = write!(line, ": {}", entry.detail);
        }
        if entry.state != State::Ok {
            let _ = write!(line, "; means: {}; fix: {}", entry.means, entry.fix);
        }
        text.push_str(&one_line(&line));
        text.push('\n');
    }
    text + &summary(entries)
}

/// Grouped by area.
#[must_use]
pub fn groups(entries: &[Entry], colour: bool) -> String {
    let paint = |code: &str, text: &str| match colour {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    };
    let width = entries.iter().map(|entry| entry.name.chars().count()).max().unwrap_or(0);
    let (mut text, mut area) = (String::new(), "");
    for entry in entries {
        if entry.area != area {
            area = entry.area;
            let _ = writeln!(text, "{}{}", if text.is_empty() { "" } else { "\n" }, paint("1", area));
        }
        let (word, code) = words(entry.state);
        let line = format!("{:width$}  {}", entry.name, one_line(&entry.detail));
        let _ = writeln!(text, "  {} {}", paint(code, &format!("{word:8}")), line.trim_end());
        if entry.state != State::Ok {
            let _ = writeln!(text, "           {}", paint("2", entry.means));
            let _ = writeln!(text, "           fix: {}", entry.fix);
        }
    }
    text + "\n" + &summary(entries)
}

fn summary(entries: &[Entry]) -> String {
    let can = if able(entries) { "containers can be made here" } else { "containers cannot be made here" };
    let (ok, degraded, missing) =
        (count(entries, State::Ok), count(entries, State::Degraded), count(entries, State::Missing));
    format!("{can}: {ok} ok, {degraded} degraded, {missing} missing\n")
}

/// What a file says must not move a terminal's cursor.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
