//! What may follow on a command line, for the completion scripts of all shells: from the table of commands, the state of
//! containers, and what each value can be. Never fails: where nothing is known, nothing is offered.

use super::{COMMANDS, Command, GLOBAL, HELP, VERBS};
use crate::cli::{self, Flag, Flags, Parsed, UsageError};
use crate::plan::capabilities;
use crate::state::{self, StateDir};
use std::ffi::OsString;

/// What may be written in the place of a word.
#[derive(Debug, PartialEq, Eq)]
pub enum Candidates {
    /// The path of a file.
    Files,
    /// The path of a directory.
    Directories,
    /// One of these, with what each is for.
    Words(Vec<(String, &'static str)>),
}

use Candidates::{Directories, Files, Words};

const SIGNALS: [&str; 17] = [
    "TERM", "KILL", "HUP", "INT", "QUIT", "USR1", "USR2", "WINCH", "STOP", "CONT", "ABRT", "ALRM", "CHLD",
    "PIPE", "TSTP", "TTIN", "TTOU",
];

/// The candidates for the last of `words`, which are those of a command line after the program's name.
#[must_use]
pub fn of(words: &[String]) -> Candidates {
    let (words, current, bare) = joined(words);
    let found = after(&words, &current);
    let Words(mut list) = found else { return found };
    list.retain(|(word, _)| word.starts_with(&current));
    // The shell took `--flag=` for words of its own: only the value is to be replaced.
    if bare {
        for (word, _) in &mut list {
            *word = word.split_once('=').map_or_else(|| word.clone(), |(_, value)| value.to_owned());
        }
    }
    Words(list)
}

/// The words before the last one, and that one. bash takes `--flag=value` for three words: whether it did so to the last.
fn joined(words: &[String]) -> (Vec<OsString>, String, bool) {
    let (mut before, mut bare): (Vec<String>, bool) = (Vec::new(), false);
    for word in words {
        let value = before.last().is_some_and(|last| bare && last.ends_with('='));
        bare = word == "=" && before.last().is_some_and(|last| last.starts_with('-')) || value;
        match before.last_mut() {
            Some(last) if bare => last.push_str(word),
            _ => before.push(word.clone()),
        }
    }
    let current = before.pop().unwrap_or_default();
    (before.into_iter().map(OsString::from).collect(), current, bare)
}

fn after(words: &[OsString], current: &str) -> Candidates {
    let global = match cli::parse(&[GLOBAL], Flags::First, words.iter().cloned()) {
        Ok(global) => global,
        Err(error) => return missing(&[GLOBAL], &error),
    };
    let Some((name, rest)) = global.arguments.split_first() else {
        let commands = COMMANDS.iter().map(|command| (command.name.to_owned(), command.about));
        let commands = commands.chain([("help".to_owned(), "show help, also for one command")]);
        return flag_or(&[GLOBAL], current, || Words(commands.collect()));
    };
    if matches!(name.to_str(), Some("help" | "h")) {
        let names = COMMANDS.iter().map(|command| (command.name.to_owned(), command.about));
        return if rest.is_empty() { Words(names.collect()) } else { none() };
    }
    let full = |verb: &OsString| format!("{} {}", name.display(), verb.display());
    let verb = rest.split_first().and_then(|(verb, rest)| {
        let full = full(verb);
        VERBS.iter().find(|known| known.name == full).map(|known| (*known, rest))
    });
    let command = COMMANDS.iter().find(|command| name == command.name);
    match (verb, command) {
        (Some((verb, rest)), _) => of_command(verb, &global, rest, current),
        (None, Some(command)) => of_command(command, &global, rest, current),
        (None, None) => none(),
    }
}

fn of_command(command: &Command, global: &Parsed, words: &[OsString], current: &str) -> Candidates {
    let tables = [command.flags, HELP];
    let place = super::place(command);
    let parsed = match cli::parse(&tables, place, words.iter().cloned()) {
        Ok(parsed) => parsed,
        Err(error) => return missing(&tables, &error),
    };
    let position = parsed.arguments.len();
    let ended = words.iter().any(|word| word == "--") || (place == Flags::First && position > 0);
    if ended {
        return argument(command, global, position, current);
    }
    flag_or(&tables, current, || match argument(command, global, position, current) {
        // Nothing is known of what comes here: then at least the flags.
        Words(list) if list.is_empty() && current.is_empty() => flags(&tables),
        found => found,
    })
}

/// What an argument of a command can be.
fn argument(command: &Command, global: &Parsed, position: usize, current: &str) -> Candidates {
    let words = |list: &[&str]| Words(list.iter().map(|word| ((*word).to_owned(), "")).collect());
    match (command.name, position) {
        ("completion", 0) => words(&["bash", "zsh", "fish"]),
        ("check", 0) => Directories,
        ("mounts", 0) => words(&["add", "remove"]),
        ("mounts", 1) => ids(global),
        ("mounts", 2) => Files,
        ("seccomp", 0) => {
            let verbs = VERBS.iter().filter_map(|verb| Some((verb.name.split_once(' ')?.1, verb.about)));
            Words(verbs.map(|(name, about)| (name.to_owned(), about)).collect())
        }
        ("seccomp compile" | "seccomp explain" | "seccomp resolve", 0) => {
            match seccomp_profiles::PROFILES.iter().any(|name| name.starts_with(current)) {
                true => words(&seccomp_profiles::PROFILES),
                false => Files,
            }
        }
        ("kill", 1) => match current.starts_with("SIG") {
            true => Words(SIGNALS.iter().map(|name| (format!("SIG{name}"), "")).collect()),
            false => words(&SIGNALS),
        },
        (
            "checkpoint" | "delete" | "events" | "exec" | "kill" | "pause" | "ps" | "resume" | "start"
            | "state" | "update",
            0,
        ) => ids(global),
        _ => none(),
    }
}

/// The containers that the command line would find.
fn ids(global: &Parsed) -> Candidates {
    let Ok(root) = super::root(global) else { return none() };
    let mut ids = state::ids(&root).unwrap_or_default();
    ids.retain(|id| StateDir::open(&root, id).and_then(|dir| dir.record()).is_ok());
    Words(ids.into_iter().map(|id| (id, "")).collect())
}

/// A flag or its value, where that is what is being written; what is no flag otherwise.
fn flag_or(tables: &[&'static [Flag]], current: &str, other: impl FnOnce() -> Candidates) -> Candidates {
    match current.split_once('=') {
        Some((head, _)) if head.starts_with('-') => {
            let flag = cli::find(tables, head.trim_start_matches('-').as_bytes());
            match flag.map_or_else(none, values) {
                Words(list) => {
                    Words(list.into_iter().map(|(word, about)| (format!("{head}={word}"), about)).collect())
                }
                path => path,
            }
        }
        _ if current.starts_with('-') => flags(tables),
        _ => other(),
    }
}

fn flags(tables: &[&'static [Flag]]) -> Candidates {
    let all = tables.iter().flat_map(|table| table.iter());
    Words(all.flat_map(|flag| flag.written().map(|word| (word, flag.help))).collect())
}

/// The value of a flag that ends the words before.
fn missing(tables: &[&'static [Flag]], error: &UsageError) -> Candidates {
    match error {
        UsageError::MissingValue(name) => cli::find(tables, name.as_bytes()).map_or_else(none, values),
        _ => none(),
    }
}

/// What the value of a flag can be.
fn values(flag: &Flag) -> Candidates {
    let words = |list: &[&str]| Words(list.iter().map(|word| ((*word).to_owned(), "")).collect());
    match (flag.name, flag.value) {
        // In the container.
        ("cwd", _) => none(),
        (_, "FILE" | "SOCKET" | "PROGRAM") => Files,
        (_, "DIR") => Directories,
        ("log-format", _) => words(&["text", "json"]),
        ("format", _) => words(&["table", "json"]),
        ("log-level", _) => words(&["debug", "info", "warning", "error"]),
        ("cgroup-manager", _) => words(&["cgroupfs", "systemd", "disabled"]),
        ("rootless", _) => words(&["auto", "true", "false"]),
        ("cpu-idle", _) => words(&["0", "1"]),
        ("manage-cgroups-mode", _) => words(&["soft", "full", "strict", "ignore"]),
        ("network-lock", _) => words(&["iptables", "nftables", "skip"]),
        ("cap" | "docker-caps", _) => words(&capabilities::NAMES),
        _ => none(),
    }
}

const fn none() -> Candidates {
    Words(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(line: &[&str]) -> Vec<String> {
        let words: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
        match of(&words) {
            Words(list) => list.into_iter().map(|(word, _)| word).collect(),
            Files => vec!["<file>".to_owned()],
            Directories => vec!["<directory>".to_owned()],
        }
    }

    #[test]
    fn every_command_and_flag_is_offered() {
        assert!(offered(&["--ro"]).contains(&"--rootless".to_owned()));
        for command in COMMANDS {
            assert!(offered(&[""]).contains(&command.name.to_owned()), "{}", command.name);
            let flags = offered(&["--debug", command.name, "-"]);
            for flag in command.flags {
                assert!(flags.contains(&format!("--{}", flag.name)), "{}", flag.name);
            }
        }
        for verb in VERBS {
            let words: Vec<&str> = verb.name.split(' ').chain(["--"]).collect();
            assert!(verb.flags.iter().all(|flag| offered(&words).contains(&format!("--{}", flag.name))));
        }
    }

    #[test]
    fn values_are_what_they_can_be() {
        for (line, expected) in [
            (&["--log-format", ""][..], &["text", "json"][..]),
            (&["--log-format=j"], &["--log-format=json"]),
            (&["--log-format", "=", "j"], &["json"]),
            (&["--log-format", "="], &["text", "json"]),
            (&["--root", "/x", "run", "-b", ""], &["<directory>"]),
            (&["--root", "=", "/x", "run", "--pid-file", "=", "/r"], &["<file>"]),
            (&["run", "--pid-file=/r"], &["<file>"]),
            (&["exec", "--cap", "CAP_SYS_A"], &["CAP_SYS_ADMIN"]),
            (&["exec", "--cwd", ""], &[]),
            (&["list", "-qf", "t"], &["table"]),
            (&["kill", "-a", "id", "U"], &["USR1", "USR2"]),
            (&["kill", "id", "SIGK"], &["SIGKILL"]),
            (&["completion", "z"], &["zsh"]),
            (&["mounts", ""], &["add", "remove"]),
            (&["mounts", "add", "id", ""], &["<file>"]),
            (&["seccomp", "rec"], &["record"]),
            (&["seccomp", "compile", "s"], &["strict"]),
            (&["seccomp", "compile", "./s"], &["<file>"]),
            (&["check", ""], &["<directory>"]),
            (&["help", "versi"], &["version"]),
            (&["exec", "id", "-"], &[]),
            (&["exec", "id", "--", "-"], &[]),
            (&["nonsense", ""], &[]),
            (&["--nonsense", ""], &[]),
            (&["run", "--nonsense", ""], &[]),
        ] {
            assert_eq!(offered(line), expected, "{line:?}");
        }
    }
}
