//! Runs the tests of the workspace, shows their output as it comes, and ends with one line of counts.
//!
//! `cargo run -p integration --bin suite -- ARGUMENTS`: the arguments are those of `cargo test`, and without
//! any the whole workspace is tested. libtest counts a test that could not run here as passed; this program
//! does not: it takes the `skipped:` lines that such tests write (see `integration::skip`) out of the passed
//! ones.

// What it cannot start or read it cannot test: panicking says so.
#![expect(clippy::unwrap_used)]

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
    skipped: usize,
    /// The reasons of the skipped tests.
    reasons: Vec<String>,
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
        success = passes;
        counts.after(second);
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
        if let Some(at) = line.find("skipped: ") {
            self.skipped += 1;
            self.reasons.push(line[at..].to_owned());
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

    /// Takes in what became of the failed tests when they ran alone.
    fn after(&mut self, second: Counts) {
        let steady = |name: &String| second.failures.contains(name);
        let unsteady: Vec<String> = self.failures.iter().filter(|name| !steady(name)).cloned().collect();
        self.failures.retain(steady);
        self.passed += unsteady.len();
        self.unsteady.extend(unsteady);
        self.failed = second.failed;
    }

    fn sum(&mut self, kind: &str, number: usize) {
        match kind {
            "passed" => self.passed += number,
            "failed" => self.failed += number,
            "ignored" => self.skipped += number,
            _ => {}
        }
    }

    fn print(&self) {
        let mut out = std::io::stdout().lock();
        let mut reasons = self.reasons.clone();
        reasons.sort();
        for reason in reasons {
            writeln!(out, "{reason}").unwrap();
        }
        for name in &self.failures {
            writeln!(out, "failed: {name}").unwrap();
        }
        for name in &self.unsteady {
            writeln!(out, "unsteady (failed, then passed alone): {name}").unwrap();
        }
        let ran = self.passed.saturating_sub(self.reasons.len());
        writeln!(out, "{ran} passed, {} failed, {} skipped", self.failed, self.skipped).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_passes_alone_is_unsteady_and_one_that_does_not_has_failed() {
        let mut counts = Counts::default();
        for line in
            ["test a ... FAILED", "test b ... FAILED", "test result: FAILED. 5 passed; 2 failed; 0 ignored"]
        {
            counts.add(line);
        }
        let mut second = Counts::default();
        for line in
            ["test a ... ok", "test b ... FAILED", "test result: FAILED. 1 passed; 1 failed; 0 ignored"]
        {
            second.add(line);
        }
        counts.after(second);
        assert_eq!((counts.passed, counts.failed), (6, 1));
        assert_eq!((counts.failures, counts.unsteady), (vec!["b".to_owned()], vec!["a".to_owned()]));
    }

    #[test]
    fn skipped_tests_are_not_passed_ones() {
        let mut counts = Counts::default();
        counts.add("test a ... ok");
        counts.add("test b ... skipped: needs X [b]");
        counts.add("test c ... FAILED");
        counts.add("test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s");
        assert_eq!((counts.passed, counts.failed, counts.skipped), (2, 1, 2));
        assert_eq!(counts.failures, ["c"]);
        assert_eq!(counts.passed - counts.reasons.len(), 1);
    }
}
