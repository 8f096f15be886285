//! Help texts, from the table of commands.

use super::{COMMANDS, Command, CommandError, GLOBAL, PROGRAM, VERBS, print};
use crate::cli::{Flag, UsageError};

/// The overview.
///
/// # Errors
/// Standard output cannot be written to.
pub fn overview() -> Result<i32, CommandError> {
    let mut text = format!(
        "{PROGRAM} runs containers from OCI bundles.\n\n\
         Usage: {PROGRAM} [global options] COMMAND [options] [arguments]\n\n\
         Commands:\n"
    );
    for command in COMMANDS {
        text.push_str(&format!("  {:12} {}\n", command.name, command.about));
    }
    text.push_str(
        "  help         show help, also for one command; --man DIR writes manual pages\n\nGlobal options:\n",
    );
    text.push_str(&flags(GLOBAL));
    print(&text)?;
    Ok(0)
}

/// The help of one command, or the overview.
///
/// # Errors
/// There is no such command.
pub fn command(name: Option<&str>) -> Result<i32, CommandError> {
    let Some(name) = name else { return overview() };
    let command = COMMANDS.iter().chain(VERBS).find(|command| command.name == name);
    let command = command
        .ok_or_else(|| CommandError::Status { message: format!("No help topic for '{name}'"), status: 3 })?;
    // Of a command with verbs all of them.
    let below = format!("{name} ");
    let verbs = VERBS.iter().filter(|verb| verb.name.starts_with(&below));
    let text: Vec<String> = std::iter::once(command).chain(verbs).map(|command| text(command)).collect();
    print(&text.join("\n"))?;
    Ok(0)
}

/// `help` with its arguments: nothing, a command, or `--man DIR` for manual pages.
///
/// # Errors
/// There is no such command, or a page cannot be written.
pub fn run(words: &[&str]) -> Result<i32, CommandError> {
    match words {
        ["--man", directory] => super::man::write(std::path::Path::new(directory)).map(|()| 0),
        ["--man"] => Err(UsageError::MissingValue("man".to_owned()).into()),
        [] | ["help" | "h" | "--help" | "-h"] => overview(),
        [first, ..] => {
            let full = words.join(" ");
            command(Some(if VERBS.iter().any(|verb| verb.name == full) { &full } else { first }))
        }
    }
}

/// What the exit status of a command means; of the program as a whole with an empty name.
#[must_use]
pub fn exit_status(command: &str) -> &'static str {
    match command {
        "check" => {
            "0: create would take the bundle. 1: it would refuse it. 2: with --strict, there are dangers or warnings."
        }
        "doctor" => {
            "0: containers can be made here. 1: they cannot. 2: with --strict, something is degraded or missing."
        }
        "run" => "That of the program, or 128 and its signal. 1: the container could not be made.",
        "exec" => "That of the program, or 128 and its signal. 255: it could not be started.",
        _ => "0: done. 1: it could not be done, and the log says why.",
    }
}

fn text(command: &Command) -> String {
    let name = command.name;
    let mut text = format!(
        "{PROGRAM} {name}: {}\n\nUsage: {PROGRAM} {name} [options] {}\n",
        command.about, command.arguments
    );
    if !command.flags.is_empty() {
        text.push_str("\nOptions:\n");
        text.push_str(&flags(command.flags));
    }
    text.push_str(&format!("\nExit status:\n  {}\n", exit_status(name)));
    text
}

/// A flag as it is written: both names, and what its value stands for.
pub(super) fn head(flag: &Flag) -> String {
    let mut head = format!("--{}", flag.name);
    if !flag.short.is_empty() {
        let dashes = if flag.short.len() == 1 { "-" } else { "--" };
        head.push_str(&format!(", {dashes}{}", flag.short));
    }
    if !flag.value.is_empty() {
        head.push_str(&format!(" {}", flag.value));
    }
    head
}

fn flags(flags: &[Flag]) -> String {
    let width = flags.iter().map(|flag| head(flag).len()).max().unwrap_or(0);
    flags.iter().map(|flag| format!("  {:width$}  {}\n", head(flag), flag.help)).collect()
}
