//! A command that has ended: how, what it wrote, and what it logged.

use serde::Deserialize;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// No command of a test takes this long on the slowest machine; it is a bound against hanging, not a measure.
pub const BOUND: Duration = Duration::from_secs(90);

/// One line of the log, as go-runc and containerd read it.
#[derive(Debug, Clone, Deserialize)]
pub struct LogLine {
    /// `error`, `warning`, `info`, `debug`.
    pub level: String,
    /// The message.
    pub msg: String,
    /// RFC 3339.
    pub time: String,
}

/// The end of a command.
#[derive(Debug)]
pub struct Outcome {
    /// What was run, for messages.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The log.
    pub log: Vec<LogLine>,
}

/// Starts a command with its output in files `NAME.out` and `NAME.err` of a directory.
///
/// Files and not pipes: a container that lives on holds them open, and nobody has to wait for it.
///
/// # Panics
/// When the command cannot be started.
pub fn start(command: &mut Command, directory: &Path, name: &str) -> Child {
    try_start(command, directory, name).unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// As [`start`], for a test that may be failing already.
///
/// # Errors
/// The command cannot be started.
pub fn try_start(command: &mut Command, directory: &Path, name: &str) -> std::io::Result<Child> {
    let file = |kind: &str| File::create(directory.join(format!("{name}.{kind}")));
    command.stdout(file("out")?).stderr(file("err")?);
    command.spawn()
}

/// Runs a command to its end, with nothing on standard input unless the command says otherwise.
///
/// # Panics
/// When it does not end within [`BOUND`], or dies of a fault of its own such as a panic.
pub fn run(command: &mut Command, directory: &Path, name: &str) -> Outcome {
    command.stdin(Stdio::null());
    let child = start(command, directory, name);
    finish(child, &format!("{command:?}"), directory, name)
}

/// Waits for a command that [`start`] started.
///
/// # Panics
/// As [`run`].
pub fn finish(mut child: Child, command: &str, directory: &Path, name: &str) -> Outcome {
    let status = wait(&mut child, command);
    let read = |kind: &str| {
        let bytes = fs::read(directory.join(format!("{name}.{kind}"))).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let (stdout, stderr) = (read("out"), read("err"));
    assert!(!stderr.contains("panicked at"), "{command} panicked:\n{stderr}");
    let log = parse_log(&read("log"));
    Outcome { command: command.to_owned(), status, stdout, stderr, log }
}

/// Every line must be an object with the three keys: callers give up on the whole log at one that is not.
fn parse_log(text: &str) -> Vec<LogLine> {
    let parse =
        |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("log line {line:?}: {error}"));
    text.lines().map(parse).collect()
}

/// Waits for a child within [`BOUND`].
///
/// # Panics
/// When it does not end; it is killed then.
pub fn wait(child: &mut Child, what: &str) -> ExitStatus {
    end_of(child).unwrap_or_else(|| panic!("{what} did not end within {BOUND:?}"))
}

/// How a child ended; nothing when it did not within [`BOUND`] and was killed.
///
/// # Panics
/// When it cannot be waited for.
pub fn end_of(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + BOUND;
    let mut pause = Duration::from_micros(200);
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// Waits until a condition holds.
///
/// # Panics
/// When it does not within [`BOUND`].
#[track_caller]
pub fn until(what: &str, condition: impl FnMut() -> bool) {
    until_within(BOUND, what, condition);
}

/// As [`until`], with a bound of its own.
///
/// # Panics
/// When it does not.
#[track_caller]
pub fn until_within(bound: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + bound;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {bound:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl Outcome {
    /// Itself, if the command succeeded.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn ok(self) -> Outcome {
        assert!(self.status.success(), "should succeed: {self:#?}");
        self
    }

    /// The error, if the command failed by itself: the last `error` of the log.
    ///
    /// # Panics
    /// When it succeeded, died of a signal, or failed without saying why.
    #[track_caller]
    pub fn error(&self) -> &str {
        assert!(self.status.code().is_some_and(|code| code != 0), "should fail by itself: {self:#?}");
        let last = self.log.iter().rev().find(|line| line.level == "error");
        &last.unwrap_or_else(|| panic!("no error in the log: {self:#?}")).msg
    }

    /// The exit status, as a shell has it: 128 and the signal for a death by signal.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// The messages of a level.
    pub fn logged(&self, level: &str) -> Vec<&str> {
        self.log.iter().filter(|line| line.level == level).map(|line| line.msg.as_str()).collect()
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {self:#?}"))
    }
}
