//! Runs the tests of the workspace, shows their output as it comes, and ends with one line of counts.
//!
//! `cargo run -p integration --bin suite -- ARGUMENTS`: the arguments are those of `cargo test`, and without any
//! the whole workspace is tested. libtest counts a test that could not run here as passed; this program does not:
//! it takes the `skipped:` lines that such tests write (see `integration::skip`) out of the passed ones.

// What it cannot start or read it cannot test: panicking says so.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;

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
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // The test programs run binaries of other crates, which `cargo test` alone does not build.
    if !cargo(&["build", "--workspace", "--bins"]).status().unwrap().success() {
        return ExitCode::FAILURE;
    }
    let mut command = cargo(&["test", "--no-fail-fast"]);
    if arguments.is_empty() {
        command.arg("--workspace");
    }
    let mut child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (lines, received) = mpsc::channel();
    let readers =
        [forward(child.stdout.take().unwrap(), lines.clone()), forward(child.stderr.take().unwrap(), lines)];
    let mut counts = Counts::default();
    for line in received {
        println!("{line}");
        counts.add(&line);
    }
    for reader in readers {
        reader.join().unwrap();
    }
    let success = child.wait().unwrap().success();
    counts.print();
    if success { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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
        let ran = self.passed.saturating_sub(self.reasons.len());
        writeln!(out, "{ran} passed, {} failed, {} skipped", self.failed, self.skipped).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
