//! Runs the tests of the workspace, shows their output as it comes, and ends with one line of counts.
//!
//! `cargo run -p integration --bin suite -- ARGUMENTS`: the arguments are those of `cargo test`, and without
//! any the whole workspace is tested. libtest counts a test that could not run here as passed; this program
//! does not: it takes the tests that write `skipped:` lines (see `integration::skip`) out of the passed ones.
//!
//! Of the whole workspace, a test that failed is run again by itself. One that passes then is unsteady: it is
//! named and counted, as neither passed nor failed, and does not make the run fail.

// What it cannot start or read it cannot test: panicking says so.
#![expect(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The sums over all test programs.
#[derive(Default)]
struct Counts {
    passed: usize,
    failed: usize,
    ignored: usize,
    /// The test program that runs.
    program: String,
    /// The tests that said they were skipped, or a part of them, each with its program.
    skipped: BTreeSet<(String, String)>,
    /// Why.
    reasons: BTreeSet<String>,
    /// The names of all that ran.
    ran: BTreeSet<String>,
    /// The names of the failed tests.
    failures: Vec<String>,
    /// The names of those that failed, and passed when they ran alone.
    unsteady: Vec<String>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // The test programs run binaries of other crates, which `cargo test` alone does not build.
    if !cargo(&["build", "--workspace", "--bins"]).status().unwrap().success() {
        return ExitCode::FAILURE;
    }
    let whole = arguments.is_empty();
    let mut command = cargo(&["test", "--no-fail-fast"]);
    if whole {
        command.arg("--workspace");
    }
    command.args(arguments);
    let (mut success, mut counts) = run(command);
    // Tests of real daemons on a busy machine: one that fails is seen again by itself, twice at most, and
    // said to be unsteady if it passes then. More than a few are no accident.
    let mut tries = 2;
    while whole
        && !success
        && tries > 0
        && (1..=MOST_UNSTEADY).contains(&counts.failures.len())
        && counts.failed == counts.failures.len()
        && !counts.failures.iter().any(|name| name.starts_with('('))
    {
        tries -= 1;
        let mut again =
            cargo(&["test", "--no-fail-fast", "--workspace", "--", "--exact", "--test-threads=1"]);
        again.args(&counts.failures);
        let (passes, second) = run(again);
        counts.after(second);
        success = passes && counts.failures.is_empty();
    }
    counts.print();
    if success { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How many failed tests are tried again.
const MOST_UNSTEADY: usize = 8;

/// How long cargo and the tests may say nothing: a test that hangs is ended, and with it the run.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs cargo, shows its output, and counts.
fn run(mut command: Command) -> (bool, Counts) {
    // A group of its own, to be ended as a whole.
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().unwrap();
    let (lines, received) = mpsc::channel();
    let readers =
        [forward(child.stdout.take().unwrap(), lines.clone()), forward(child.stderr.take().unwrap(), lines)];
    let mut counts = Counts::default();
    let (up, mut touched) = (loopback_is_up(), false);
    loop {
        match received.recv_timeout(PATIENCE) {
            Ok(line) => {
                println!("{line}");
                counts.add(&line);
                if up && !touched && !loopback_is_up() {
                    touched = true;
                    counts
                        .failures
                        .push(format!("(the machine's loopback interface was taken down before {line:?})"));
                    counts.failed += 1;
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                println!("suite: nothing was said for {} s: ended", PATIENCE.as_secs());
                counts
                    .failures
                    .push("(a test that hangs: the last one \"running for over 60 seconds\")".into());
                counts.failed += 1;
                end(&mut child);
                return (false, counts);
            }
        }
    }
    for reader in readers {
        reader.join().unwrap();
    }
    let success = child.wait().unwrap().success();
    if !success && counts.failed == 0 {
        counts.failures.push("(a test program that did not end by itself: see \"target failed\")".into());
        counts.failed = 1;
    }
    (success && !touched, counts)
}

/// Whether the machine's own loopback interface is up, which no test may change: nothing else that listens
/// there would answer.
fn loopback_is_up() -> bool {
    let flags = std::fs::read_to_string("/sys/class/net/lo/flags").unwrap_or_default();
    // IFF_UP is the lowest bit (netdevice(7)).
    flags
        .trim()
        .strip_prefix("0x")
        .and_then(|hex| u32::from_str_radix(hex, 16).ok())
        .is_some_and(|bits| bits & 1 != 0)
}

/// Ends cargo and the test programs it started.
fn end(child: &mut Child) {
    let group = format!("-{}", child.id());
    let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
    let _ = child.wait();
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

/// Sends each line of a stream to one place.
fn forward(stream: impl Read + Send + 'static, lines: mpsc::Sender<String>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let text = String::from_utf8_lossy(&line.unwrap()).into_owned();
            if lines.send(text).is_err() {
                return;
            }
        }
    })
}

impl Counts {
    fn add(&mut self, line: &str) {
        if let Some(path) = line.trim_start().strip_prefix("Running ") {
            self.program = path.to_owned();
        }
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.split(" ... ").next()) {
            self.ran.insert(name.to_owned());
        }
        if let Some(at) = line.find("skipped: ") {
            let reason = &line[at..];
            self.reasons.insert(reason.to_owned());
            // Several parts of one test are one test; what names none is not one.
            if let Some((_, name)) = reason.strip_suffix(']').and_then(|rest| rest.rsplit_once('[')) {
                self.skipped.insert((self.program.clone(), name.to_owned()));
            }
        } else if let Some(rest) = line.strip_prefix("test result: ") {
            for part in rest.split([';', '.']) {
                let words: Vec<&str> = part.split_whitespace().collect();
                if let [number, kind] = words[..] {
                    self.sum(kind, number.parse().unwrap_or(0));
                }
            }
        } else if let Some(name) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failures.push(name.to_owned());
        }
    }

    /// Takes in what became of the failed tests when they ran alone: one has to have run, and not to have
    /// left before its end.
    fn after(&mut self, second: Counts) {
        let passed = |name: &String| {
            let skipped = second.skipped.iter().any(|(_, other)| other == name);
            second.ran.contains(name) && !skipped && !second.failures.contains(name)
        };
        let (unsteady, failed) = std::mem::take(&mut self.failures).into_iter().partition(passed);
        self.failures = failed;
        self.unsteady.extend::<Vec<String>>(unsteady);
        self.failures.extend(second.failures.into_iter().filter(|name| name.starts_with('(')));
        self.failed = self.failures.len();
    }

    fn sum(&mut self, kind: &str, number: usize) {
        match kind {
            "passed" => self.passed += number,
            "failed" => self.failed += number,
            "ignored" => self.ignored += number,
            _ => {}
        }
    }

    fn print(&self) {
        let mut out = std::io::stdout().lock();
        for reason in &self.reasons {
            writeln!(out, "{reason}").unwrap();
        }
        for name in &self.failures {
            writeln!(out, "failed: {name}").unwrap();
        }
        for name in &self.unsteady {
            writeln!(out, "unsteady (failed, then passed alone): {name}").unwrap();
        }
        writeln!(out, "{}", self.line()).unwrap();
    }

    /// The last line. Of each test that there is, one of the numbers tells.
    fn line(&self) -> String {
        let failed = |name: &String| self.failures.contains(name) || self.unsteady.contains(name);
        let skipped = self.skipped.iter().filter(|(_, name)| !failed(name)).count();
        let passed = self.passed.saturating_sub(skipped);
        let mut line = format!("{passed} passed, {} failed, {} skipped", self.failed, skipped + self.ignored);
        if !self.unsteady.is_empty() {
            line += &format!(", {} unsteady", self.unsteady.len());
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(lines: &[&str]) -> Counts {
        let mut counts = Counts::default();
        for line in lines {
            counts.add(line);
        }
        counts
    }

    #[test]
    fn a_test_that_passes_alone_is_unsteady_and_one_that_does_not_has_failed() {
        let mut first = counts(&[
            "test a ... FAILED",
            "test b ... FAILED",
            "test result: FAILED. 5 passed; 2 failed; 0 ignored",
        ]);
        first.after(counts(&[
            "test a ... ok",
            "test b ... FAILED",
            "test result: FAILED. 1 passed; 1 failed; 0 ignored",
        ]));
        assert_eq!(first.line(), "5 passed, 1 failed, 0 skipped, 1 unsteady");
        assert_eq!((first.failures, first.unsteady), (vec!["b".to_owned()], vec!["a".to_owned()]));
    }

    #[test]
    fn a_test_that_failed_and_is_then_skipped_or_not_run_has_failed() {
        let failed = ["test a ... FAILED", "test result: FAILED. 5 passed; 1 failed; 0 ignored"];
        let skipped =
            ["skipped: needs X [a]", "test a ... ok", "test result: ok. 1 passed; 0 failed; 0 ignored"];
        for second in [&skipped[..], &["test result: ok. 0 passed; 0 failed; 0 ignored"]] {
            let mut first = counts(&failed);
            first.after(counts(second));
            assert_eq!(first.line(), "5 passed, 1 failed, 0 skipped");
        }
    }

    #[test]
    fn skipped_tests_are_not_passed_ones() {
        let counts = counts(&[
            "test a ... ok",
            "test b ... skipped: needs X [b]",
            "test c ... FAILED",
            "test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s",
        ]);
        assert_eq!(counts.line(), "1 passed, 1 failed, 2 skipped");
        assert_eq!(counts.failures, ["c"]);
    }

    #[test]
    fn a_test_is_skipped_once_and_what_is_none_not_at_all() {
        let counts = counts(&[
            "     Running tests/one.rs (target/one)",
            "skipped: needs X, for a part [a]",
            "skipped: needs Y, for a part [a]",
            "skipped: needs Z, for a part [b]",
            "test b ... FAILED",
            "critest: skipped: needs go",
            "test result: FAILED. 3 passed; 1 failed; 0 ignored",
            "     Running tests/two.rs (target/two)",
            "skipped: needs X [a]",
            "test result: ok. 1 passed; 0 failed; 0 ignored",
        ]);
        assert_eq!(counts.line(), "2 passed, 1 failed, 2 skipped");
        assert_eq!(counts.reasons.len(), 5);
    }
}
