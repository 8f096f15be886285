//! `--version`: the lines that callers look for (go-runc wants `commit: ` and `spec: ` at the start of a line).

use super::{Command, CommandError, PROGRAM};

/// `version`.
pub const VERSION: Command = Command {
    name: "version",
    arguments: "",
    about: "print the version, as --version does",
    flags: &[],
    run: |_, parsed| {
        super::no_arguments("version", parsed)?;
        print()
    },
    enters: false,
};

/// The version of the specification that is implemented.
pub const SPEC: &str = "1.3.0";
/// The day of this version, for manual pages.
pub const DATE: &str = "2026-11-21";
/// The commit this was built from.
pub const COMMIT: &str = match option_env!("CORTEN_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// Prints the version.
///
/// # Errors
/// Standard output cannot be written to.
pub fn print() -> Result<i32, CommandError> {
    let text = format!("{PROGRAM} version {}\ncommit: {COMMIT}\nspec: {SPEC}\n", env!("CARGO_PKG_VERSION"));
    super::print(&text)?;
    Ok(0)
}
