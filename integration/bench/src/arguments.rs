//! The command line.

use std::path::PathBuf;

/// The help text.
const HELP: &str = "\
bench: Corten beside runc, crun, other runtimes and the floor, in one interleaved run

Usage: integration/bench/run.sh [options] [NAME=]RUNTIME...

Options:
  --quick           few rounds, and only the cases that take seconds
  --case NAME       only this case; may be repeated (--list names them)
  --list            list the cases
  --corten PATH     this binary in place of the one beside the bench
  --only NAMES      only these contestants, separated by commas (corten,crun,floor)
  --rounds N        warm rounds of a case (default 60; quick: 20)
  --cold-rounds N   rounds with a gap of 60 ms before each command (default 20; quick: 8; 0: none)
  --cpu N           run on this processor alone, all together (default: the last one; none: not pinned)
  --v2              let all see control groups of version 2, where the machine has both
  --compare         only compare what containers of Corten and of the floor see
  --shims           only Corten's shim beside containerd's; writes SHIM.md
  --execs N         with --shims: processes executed one after the other (default 20000)
  --picture FILE    only print a picture (SVG) of a trace that `corten --trace FILE` has written
  --write           write RESULTS.md and results.svg beside the bench's source

Without --case and --quick all cases run and the results are written.";

/// What can be asked for with `--case` and is no series of rounds.
const MORE: [(&str, &str); 2] = [
    ("figures", "size of the binary, smallest memory limit"),
    ("engines", "ctr run --rm, docker run --rm, memory of 50 shims"),
];

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Arguments {
    pub(crate) quick: bool,
    pub(crate) cases: Vec<String>,
    pub(crate) corten: Option<PathBuf>,
    pub(crate) only: Vec<String>,
    pub(crate) others: Vec<(String, PathBuf)>,
    pub(crate) rounds: usize,
    pub(crate) cold: usize,
    pub(crate) cpu: Option<usize>,
    pub(crate) v2: bool,
    pub(crate) compare: bool,
    pub(crate) shims: bool,
    pub(crate) execs: usize,
    pub(crate) picture: Option<PathBuf>,
    pub(crate) write: bool,
}

impl Arguments {
    /// Reads the command line; `Err` is what to print.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let (mut rounds, mut cold) = (None, None);
        let mut found = Arguments {
            quick: false,
            cases: Vec::new(),
            corten: None,
            only: Vec::new(),
            others: Vec::new(),
            rounds: 0,
            cold: 0,
            cpu: Some(processors - 1),
            v2: false,
            compare: false,
            shims: false,
            execs: 20_000,
            picture: None,
            write: false,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("bench: {word} needs a value"));
            match word.as_str() {
                "--quick" => found.quick = true,
                "--v2" => found.v2 = true,
                "--compare" => found.compare = true,
                "--shims" => found.shims = true,
                "--execs" => found.execs = number(&word, &value()?)?,
                "--write" => found.write = true,
                "--case" => found.cases.push(value()?),
                "--corten" => found.corten = Some(value()?.into()),
                "--only" => found.only = value()?.split(',').map(str::to_owned).collect(),
                "--picture" => found.picture = Some(value()?.into()),
                "--rounds" => rounds = Some(number(&word, &value()?)?),
                "--cold-rounds" => cold = Some(number(&word, &value()?)?),
                "--cpu" => {
                    let value = value()?;
                    found.cpu = if value == "none" { None } else { Some(number(&word, &value)?) };
                }
                "--list" => {
                    let line = |case: &crate::cases::Case| format!("{:16} {}", case.name, case.title);
                    let more = MORE.iter().map(|(name, title)| format!("{name:16} {title}"));
                    return Err(crate::cases::all().map(line).chain(more).collect::<Vec<_>>().join("\n"));
                }
                "--help" | "-h" => return Err(HELP.to_owned()),
                flag if flag.starts_with('-') => return Err(format!("bench: no option {flag}\n\n{HELP}")),
                path => found.others.push(named(path)),
            }
        }
        let unknown = |name: &&String| {
            !crate::cases::all().any(|case| case.name == *name) && !MORE.iter().any(|(more, _)| more == name)
        };
        if let Some(name) = found.cases.iter().find(unknown) {
            return Err(format!("bench: no case {name}; --list names them"));
        }
        found.rounds = rounds.unwrap_or(if found.quick { 20 } else { 60 });
        found.cold = cold.unwrap_or(if found.quick { 8 } else { 20 });
        found.write |=
            !found.quick && found.cases.is_empty() && found.only.is_empty() && !found.compare && !found.v2;
        Ok(found)
    }

    /// Whether something that is no case is to be measured.
    pub(crate) fn wants_named(&self, name: &str) -> bool {
        match self.cases.is_empty() {
            true => !self.quick,
            false => self.cases.iter().any(|wanted| wanted == name),
        }
    }

    /// Whether a case is to run.
    pub(crate) fn wants(&self, case: &crate::cases::Case) -> bool {
        match self.cases.is_empty() {
            true => !self.quick || case.quick,
            false => self.cases.iter().any(|name| name == case.name),
        }
    }
}

fn number(flag: &str, text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("bench: {flag}: {text:?} is not a number"))
}

/// `NAME=PATH`, or a path whose last part is the name.
fn named(text: &str) -> (String, PathBuf) {
    match text.split_once('=') {
        Some((name, path)) => (name.to_owned(), path.into()),
        None => {
            let path = PathBuf::from(text);
            let name = path.file_name().map_or(text.into(), |name| name.to_string_lossy().into_owned());
            (name, path)
        }
    }
}
