//! `doctor`: what this host can do for containers, and what it cannot.

use super::{Command, CommandError, print};
use crate::cli::switch;
use crate::doctor::{self, State, report};
use std::io::IsTerminal;

/// `doctor`.
pub const DOCTOR: Command = Command {
    name: "doctor",
    arguments: "",
    about: "say what this host can do for containers, what it lacks, and how to mend it",
    flags: &[
        switch("json", "", "write JSON"),
        switch("strict", "", "exit with status 2 where anything is degraded or missing"),
    ],
    run: |_, parsed| {
        super::no_arguments("doctor", parsed)?;
        let strict = parsed.on("strict")?;
        let entries = doctor::examine();
        let text = if parsed.on("json")? {
            let text = serde_json::to_string_pretty(&report::json(&entries));
            text.map_err(|error| CommandError::other(error.to_string()))? + "\n"
        } else if std::io::stdout().is_terminal() {
            report::groups(&entries, std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
        } else {
            report::lines(&entries)
        };
        print(&text)?;
        Ok(match entries.iter().any(|entry| entry.state != State::Ok) {
            _ if !report::able(&entries) => super::FAILED,
            true if strict => INCOMPLETE,
            _ => 0,
        })
    },
    enters: false,
};

/// The exit status of `--strict` where containers can be made, but something is lacking.
const INCOMPLETE: i32 = 2;
