//! `check`: what is wrong with a bundle, and what is dangerous about it.

use super::{Command, CommandError, Context, print};
use crate::check::{self, Level, Request, report};
use crate::cli::{Parsed, UsageError, switch, value};
use std::io::IsTerminal;

/// `check`.
pub const CHECK: Command = Command {
    name: "check",
    arguments: "[BUNDLE]",
    about: "say everything that is wrong with a bundle, or dangerous, without running it",
    flags: &[
        value("bundle", "b", "DIR", "the bundle (default: the working directory)"),
        value("config", "f", "FILE", "use FILE in place of the bundle's config.json"),
        switch("json", "", "write JSON"),
        switch("strict", "", "exit with status 2 for dangers and warnings, too"),
    ],
    run,
    enters: false,
};

/// The exit status of `--strict` where nothing is refused, but something is dangerous or odd.
const UNWISE: i32 = 2;

fn run(context: &Context, parsed: &Parsed) -> Result<i32, CommandError> {
    let words = parsed.words()?;
    let bundle = match (words.as_slice(), parsed.path("bundle")) {
        ([""], None) => {
            return Err(CommandError::other("BUNDLE: \"\" is no path; expected the directory of a bundle"));
        }
        ([], bundle) => bundle.unwrap_or_else(|| ".".into()),
        ([bundle], None) => bundle.into(),
        _ => return Err(UsageError::Arguments { command: "check", expected: "at most 1" }.into()),
    };
    let strict = parsed.on("strict")?;
    let request = Request { bundle, config: parsed.path("config"), driver: context.driver };
    let checked = check::check(&request)?;
    let terminal = std::io::stdout().is_terminal();
    let text = if parsed.on("json")? {
        let text = serde_json::to_string_pretty(&report::json(&checked));
        text.map_err(|error| CommandError::other(error.to_string()))? + "\n"
    } else if terminal {
        report::groups(&checked, std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
    } else {
        report::lines(&checked)
    };
    print(&text)?;
    let unwise = checked.count(Level::Danger) + checked.count(Level::Warning) > 0;
    Ok(match checked.count(Level::Error) {
        0 if strict && unwise => UNWISE,
        0 => 0,
        _ => super::FAILED,
    })
}
