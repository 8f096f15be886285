//! Manual pages (man(7)), from the table of commands: one for the program, one for each command.

use super::help::{exit_status, head};
use super::{COMMANDS, Command, CommandError, GLOBAL, PROGRAM, VERBS, version};
use crate::cli::Flag;
use std::path::Path;

/// The other documents that each page names.
const SEE: &str = "namespaces(7), cgroups(7), capabilities(7), seccomp(2)";

/// Writes all pages to a directory, which must be there.
///
/// # Errors
/// A page cannot be written.
pub fn write(directory: &Path) -> Result<(), CommandError> {
    let store = |name: String, text: String| {
        let path = directory.join(format!("{name}.8"));
        std::fs::write(&path, text).map_err(|error| {
            CommandError::other(format!("write {}: {}", path.display(), crate::sys::io_reason(&error)))
        })
    };
    store(PROGRAM.to_owned(), overview())?;
    for command in COMMANDS {
        store(format!("{PROGRAM}-{}", command.name), page(command))?;
    }
    Ok(())
}

/// Text as roff takes it: no line that begins a request, no hyphen that becomes a dash.
fn plain(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

fn title(name: &str, about: &str) -> String {
    format!(
        ".TH {} 8 {} \"{PROGRAM} {}\" \"Containers\"\n.SH NAME\n{} \\- {}\n",
        plain(&name.to_uppercase()),
        version::DATE,
        env!("CARGO_PKG_VERSION"),
        plain(name),
        plain(about)
    )
}

fn options(flags: &[Flag]) -> String {
    flags.iter().map(|flag| format!(".TP\n\\fB{}\\fR\n{}\n", plain(&head(flag)), plain(flag.help))).collect()
}

fn overview() -> String {
    let mut text = title(PROGRAM, "run containers from OCI bundles");
    text.push_str(&format!(
        ".SH SYNOPSIS\n\\fB{PROGRAM}\\fR [\\fIglobal options\\fR] \\fICOMMAND\\fR [\\fIoptions\\fR] [\\fIarguments\\fR]\n"
    ));
    text.push_str(
        ".SH DESCRIPTION\nMakes, starts, watches and removes single containers, as the OCI runtime specification \
         describes them.\nIts command line, its output and its exit status are those of runc(8), so that engines \
         can use it in its place.\n",
    );
    text.push_str(".SH COMMANDS\n");
    for command in COMMANDS {
        let about = plain(command.about);
        text.push_str(&format!(".TP\n\\fB{PROGRAM}\\-{}\\fR(8)\n{about}\n", plain(command.name)));
    }
    text.push_str(".SH OPTIONS\n");
    text.push_str(&options(GLOBAL));
    text.push_str(&format!(".SH EXIT STATUS\n{}\n", plain(exit_status(""))));
    text.push_str(&format!(".SH SEE ALSO\n{}\n", plain(SEE)));
    text
}

fn page(command: &Command) -> String {
    let name = format!("{PROGRAM}-{}", command.name);
    let mut text = title(&name, command.about);
    let below = format!("{} ", command.name);
    let verbs = VERBS.iter().filter(|verb| verb.name.starts_with(&below));
    let all: Vec<&&Command> = verbs.collect();
    text.push_str(".SH SYNOPSIS\n");
    let lines: Vec<String> = std::iter::once(&command)
        .chain(all.iter().copied())
        .map(|command| {
            let arguments = plain(command.arguments);
            format!("\\fB{PROGRAM} {}\\fR [\\fIoptions\\fR] {arguments}", plain(command.name))
                .trim_end()
                .to_owned()
        })
        .collect();
    text.push_str(&(lines.join("\n.br\n") + "\n"));
    text.push_str(&format!(".SH DESCRIPTION\n{}.\n", plain(&capital(command.about))));
    if !command.flags.is_empty() {
        text.push_str(&format!(".SH OPTIONS\n{}", options(command.flags)));
    }
    for verb in all {
        let about = plain(&capital(verb.about));
        text.push_str(&format!(
            ".SH {}\n{about}.\n{}",
            plain(&verb.name.to_uppercase()),
            options(verb.flags)
        ));
    }
    text.push_str(&format!(".SH EXIT STATUS\n{}\n", plain(exit_status(command.name))));
    text.push_str(&format!(".SH SEE ALSO\n{PROGRAM}(8), {}\n", plain(SEE)));
    text
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_on_a_page_is_taken_for_a_request() {
        assert_eq!(plain(".so --x\\"), "\\&.so \\-\\-x\\e");
        for command in COMMANDS {
            let text = page(command);
            let known = [".TH ", ".SH ", ".TP", ".br"];
            assert!(
                text.lines()
                    .all(|line| !line.starts_with(['.', '\'']) || known.iter().any(|k| line.starts_with(k))),
                "{text}"
            );
            assert!(command.flags.iter().all(|flag| text.contains(&plain(flag.name))), "{text}");
        }
    }
}
