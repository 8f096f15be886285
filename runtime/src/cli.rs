//! The command line: one table of commands and flags, from which parsing, help, completion and manual pages come.
//!
//! Flags are read as runc reads them, because that is what every caller was written against: one dash or two, `--flag
//! value` or `--flag=value`, before the arguments or among them, but not among the words of another program. Beyond that,
//! switches of one letter may stand together (`-td`), as crun takes them. Parsing is a walk over a few static tables: this
//! program starts once for every health check of every container on the machine.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// A flag of a command.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Its name, without dashes.
    pub name: &'static str,
    /// Another name, mostly of one letter; empty for none.
    pub short: &'static str,
    /// What its value stands for; empty: it is a switch.
    pub value: &'static str,
    /// What it does.
    pub help: &'static str,
}

impl Flag {
    /// Both names, as they are written.
    pub(crate) fn written(&self) -> impl Iterator<Item = String> {
        let dashes = if self.short.len() == 1 { "-" } else { "--" };
        let short = (!self.short.is_empty()).then(|| format!("{dashes}{}", self.short));
        [Some(format!("--{}", self.name)), short].into_iter().flatten()
    }
}

/// A switch.
pub const fn switch(name: &'static str, short: &'static str, help: &'static str) -> Flag {
    Flag { name, short, value: "", help }
}

/// A flag with a value.
pub const fn value(name: &'static str, short: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag { name, short, value, help }
}

/// What was found on the command line.
#[derive(Debug, Default)]
pub struct Parsed {
    flags: Vec<(&'static str, OsString)>,
    /// What is no flag, in order.
    pub arguments: Vec<OsString>,
}

/// A command line that makes no sense.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UsageError {
    /// No such flag; in the words of Go's flag package.
    #[error("flag provided but not defined: -{0}")]
    UnknownFlag(String),
    /// A flag without its value.
    #[error("flag needs an argument: -{0}")]
    MissingValue(String),
    /// A value of another kind.
    #[error("invalid value {value:?} for flag -{flag}: expected {expected}")]
    BadValue {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: String,
        /// What it should have been.
        expected: &'static str,
    },
    /// Too many or too few arguments.
    #[error("{command:?} requires {expected} argument(s)")]
    Arguments {
        /// The command.
        command: &'static str,
        /// How many.
        expected: &'static str,
    },
    /// An argument that must be text.
    #[error("{0:?} is not valid UTF-8")]
    NotText(OsString),
}

/// Where flags may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flags {
    /// Before the first argument: what comes after it is for another program.
    First,
    /// Among the arguments, too. There, a word with a dash that is no flag is an argument (a signal `-9`, say).
    Anywhere,
}

/// Reads flags; the rest are arguments. `--` ends the flags.
///
/// # Errors
/// A flag that does not exist, or has no value.
pub fn parse(
    tables: &[&'static [Flag]],
    place: Flags,
    mut args: impl Iterator<Item = OsString>,
) -> Result<Parsed, UsageError> {
    let mut parsed = Parsed::default();
    while let Some(arg) = args.next() {
        let bytes = arg.as_bytes();
        if bytes == b"--" {
            break;
        }
        if bytes.len() < 2 || bytes[0] != b'-' {
            parsed.arguments.push(arg);
            match place {
                Flags::First => break,
                Flags::Anywhere => continue,
            }
        }
        let bare = bytes.strip_prefix(b"--").unwrap_or(&bytes[1..]);
        let (name, given) = match bare.iter().position(|byte| *byte == b'=') {
            Some(at) => (&bare[..at], Some(OsStr::from_bytes(&bare[at + 1..]).to_owned())),
            None => (bare, None),
        };
        let text = || String::from_utf8_lossy(name).into_owned();
        let found = match find(tables, name) {
            Some(flag) => Some((&name[..0], flag)),
            None if bytes.starts_with(b"--") => None,
            None => together(tables, name),
        };
        let Some((switches, flag)) = found else {
            if parsed.arguments.is_empty() {
                return Err(UsageError::UnknownFlag(text()));
            }
            parsed.arguments.push(arg);
            continue;
        };
        let asked = name.get(switches.len()..).unwrap_or_default();
        let switches = switches.chunks(1).filter_map(|letter| find(tables, letter));
        parsed.flags.extend(switches.map(|switch| (switch.name, "true".into())));
        let value = match (given, flag.value.is_empty()) {
            (Some(given), _) => given,
            (None, true) => "true".into(),
            (None, false) => {
                let missing = || UsageError::MissingValue(String::from_utf8_lossy(asked).into_owned());
                args.next().ok_or_else(missing)?
            }
        };
        parsed.flags.push((flag.name, value));
    }
    parsed.arguments.extend(args);
    Ok(parsed)
}

/// The flag of this name, without dashes.
pub(crate) fn find(tables: &[&'static [Flag]], name: &[u8]) -> Option<&'static Flag> {
    let matches = |flag: &&Flag| {
        flag.name.as_bytes() == name || (!flag.short.is_empty() && flag.short.as_bytes() == name)
    };
    tables.iter().flat_map(|table| table.iter()).find(matches)
}

/// Several flags of one letter in one word: switches, and a last one that may have a value.
fn together<'a>(tables: &[&'static [Flag]], name: &'a [u8]) -> Option<(&'a [u8], &'static Flag)> {
    let (last, switches) = name.split_last()?;
    let switch = |letter| find(tables, letter).is_some_and(|flag| flag.value.is_empty());
    let flag = find(tables, std::slice::from_ref(last))?;
    switches.chunks(1).all(switch).then_some((switches, flag))
}

impl Parsed {
    /// The last value of a flag, as it was written.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&OsStr> {
        self.flags.iter().rev().find(|(flag, _)| *flag == name).map(|(_, value)| value.as_os_str())
    }

    /// The last value of a flag that is a path; an empty one is none.
    #[must_use]
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.raw(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// Whether a switch is on. `--switch=false` turns it off.
    ///
    /// # Errors
    /// A value that is neither true nor false.
    pub fn on(&self, name: &'static str) -> Result<bool, UsageError> {
        match self.raw(name).map(OsStr::as_bytes) {
            None | Some(b"false" | b"0" | b"f" | b"F" | b"False" | b"FALSE") => Ok(false),
            Some(b"true" | b"1" | b"t" | b"T" | b"True" | b"TRUE") => Ok(true),
            Some(other) => Err(UsageError::BadValue {
                flag: name,
                value: String::from_utf8_lossy(other).into_owned(),
                expected: "true or false",
            }),
        }
    }

    /// The last value of a flag, as text.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<&str>, UsageError> {
        self.raw(name).map(utf8).transpose()
    }

    /// All values of a flag that may stand several times, in order, as text.
    ///
    /// # Errors
    /// One is not UTF-8.
    pub fn texts(&self, name: &str) -> Result<Vec<&str>, UsageError> {
        self.flags.iter().filter(|(flag, _)| *flag == name).map(|(_, value)| utf8(value)).collect()
    }

    /// The last value of a flag, as a number.
    ///
    /// # Errors
    /// It is no number, or too large for `T`.
    pub fn number<T: std::str::FromStr>(&self, name: &'static str) -> Result<Option<T>, UsageError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        // A leading plus or zero would be read as something else elsewhere.
        let digits = text.strip_prefix('-').unwrap_or(text);
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if plain => Ok(Some(number)),
            _ => Err(UsageError::BadValue { flag: name, value: text.to_owned(), expected: "a number" }),
        }
    }

    /// The arguments as text.
    ///
    /// # Errors
    /// One is not UTF-8.
    pub fn words(&self) -> Result<Vec<&str>, UsageError> {
        self.arguments.iter().map(|argument| utf8(argument)).collect()
    }
}

fn utf8(value: &OsStr) -> Result<&str, UsageError> {
    value.to_str().ok_or_else(|| UsageError::NotText(value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] =
        &[switch("detach", "d", ""), value("bundle", "b", "DIR", ""), value("env", "e", "X", "")];

    fn parsed(args: &[&str]) -> Result<Parsed, UsageError> {
        parse(&[FLAGS], Flags::First, args.iter().map(OsString::from))
    }

    fn anywhere(args: &[&str]) -> Result<Parsed, UsageError> {
        parse(&[FLAGS], Flags::Anywhere, args.iter().map(OsString::from))
    }

    #[test]
    fn one_dash_or_two_and_both_forms_of_values() {
        for args in [["--bundle", "/b"], ["-bundle", "/b"], ["-b", "/b"]] {
            assert_eq!(parsed(&args).expect("valid").path("bundle"), Some("/b".into()));
        }
        let found = parsed(&["--bundle=/b", "-d", "id", "-x", "--detach"]).expect("valid");
        assert_eq!(found.path("bundle"), Some("/b".into()));
        assert_eq!(found.on("detach"), Ok(true));
        assert_eq!(found.words(), Ok(vec!["id", "-x", "--detach"]));
    }

    #[test]
    fn switches_can_be_off_and_values_can_repeat() {
        let found = parsed(&["--detach=false", "-e", "A=1", "--env=B=2", "--", "-d"]).expect("valid");
        assert_eq!(found.on("detach"), Ok(false));
        assert_eq!(found.texts("env"), Ok(vec!["A=1", "B=2"]));
        assert_eq!(found.words(), Ok(vec!["-d"]));
    }

    #[test]
    fn among_arguments_flags_are_found_and_nothing_else_is_taken_for_one() {
        let found = anywhere(&["id", "-b", "/b", "-9", "--detach", "--nope", "-", "--", "-d", "-e"]);
        let found = found.expect("valid");
        assert_eq!((found.path("bundle"), found.on("detach")), (Some("/b".into()), Ok(true)));
        assert_eq!(found.words(), Ok(vec!["id", "-9", "--nope", "-", "-d", "-e"]));
        assert_eq!(anywhere(&["--nope", "id"]).map(drop), Err(UsageError::UnknownFlag("nope".into())));
        assert_eq!(anywhere(&["id", "-b"]).map(drop), Err(UsageError::MissingValue("b".into())));
    }

    #[test]
    fn switches_of_one_letter_may_stand_together() {
        let found = parsed(&["-de", "A=1", "-de=B=2", "id", "-de"]).expect("valid");
        assert_eq!((found.on("detach"), found.texts("env")), (Ok(true), Ok(vec!["A=1", "B=2"])));
        assert_eq!(found.words(), Ok(vec!["id", "-de"]));
        for unknown in ["ed", "dx", "xd", "dé"] {
            let failed = parsed(&[&format!("-{unknown}"), "/b"]).map(drop);
            assert_eq!(failed, Err(UsageError::UnknownFlag(unknown.into())));
        }
        assert_eq!(parsed(&["--de", "A=1"]).map(drop), Err(UsageError::UnknownFlag("de".into())));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(parsed(&["--nope"]).map(drop), Err(UsageError::UnknownFlag("nope".into())));
        assert_eq!(parsed(&["-b"]).map(drop), Err(UsageError::MissingValue("b".into())));
        assert!(parsed(&["--detach=maybe"]).expect("parsed").on("detach").is_err());
        for bad in ["1x", "+1", "", " 1", "4294967296", "-1"] {
            let found = parsed(&["-b", bad]).expect("parsed");
            assert!(found.number::<u32>("bundle").is_err(), "{bad}");
        }
    }
}
