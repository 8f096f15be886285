//! Help texts, from the table of commands.

use super::{COMMANDS, Command, CommandError, GLOBAL, PROGRAM, VERBS, print};
use crate::cli::Flag;

/// The overview.
pub fn overview() -> i32 {
    let mut text = format!(
        "{PROGRAM} runs containers from OCI bundles.\n\n\
         Usage: {PROGRAM} [global options] COMMAND [options] [arguments]\n\n\
         Commands:\n"
    );
    for command in COMMANDS {
        text.push_str(&format!("  {:12} {}\n", command.name, command.about));
    }
    text.push_str("  help         show help, also for one command\n\nGlobal options:\n");
    text.push_str(&flags(GLOBAL));
    i32::from(print(&text).is_err())
}

/// The help of one command, or the overview.
///
/// # Errors
/// There is no such command.
pub fn command(name: Option<&str>) -> Result<i32, CommandError> {
    let Some(name) = name else { return Ok(overview()) };
    let command = COMMANDS.iter().chain(VERBS).find(|command| command.name == name);
    let command = command
        .ok_or_else(|| CommandError::Status { message: format!("No help topic for '{name}'"), status: 3 })?;
    let below = format!("{name} ");
    let verbs = VERBS.iter().filter(|verb| verb.name.starts_with(&below));
    let text: Vec<String> = std::iter::once(command).chain(verbs).map(|command| text(command)).collect();
    print(&text.join("\n"))?;
    Ok(0)
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
    text
}

fn flags(flags: &[Flag]) -> String {
    let head = |flag: &Flag| {
        let mut head = format!("--{}", flag.name);
        if !flag.short.is_empty() {
            let dashes = if flag.short.len() == 1 { "-" } else { "--" };
            head.push_str(&format!(", {dashes}{}", flag.short));
        }
        if !flag.value.is_empty() {
            head.push_str(&format!(" {}", flag.value));
        }
        head
    };
    let width = flags.iter().map(|flag| head(flag).len()).max().unwrap_or(0);
    flags.iter().map(|flag| format!("  {:width$}  {}\n", head(flag), flag.help)).collect()
}
