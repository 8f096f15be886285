//! One execution of the runtime.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use runtime::weak;
use serde::Deserialize;

use super::{BUILT_IN, Error, Program, Runtime, text_file};
use crate::child::{self, Child};
use crate::stdio::ProcessEnds;
use crate::sys::{self, ChildSetup};

/// No more than this is read of what a runtime prints or logs.
const MAX_OUTPUT: u64 = 1 << 20;

thread_local! {
    static NEXT_LOG: Cell<u64> = const { Cell::new(0) };
}

/// A command line that is being put together.
pub(super) struct Call<'a> {
    runtime: &'a Runtime,
    what: &'static str,
    limit: Duration,
    args: Vec<OsString>,
    /// The streams of the process that is started; otherwise what the runtime prints is kept.
    ends: Option<ProcessEnds>,
    stdin: Option<OwnedFd>,
    /// No global flags: for questions that concern no container.
    bare: bool,
    /// The command enters a container, and so must be a program of its own.
    enters: bool,
}

impl<'a> Call<'a> {
    pub(super) fn new(runtime: &'a Runtime, what: &'static str, limit: Duration) -> Self {
        Self { runtime, what, limit, args: Vec::new(), ends: None, stdin: None, bare: false, enters: false }
    }

    pub(super) fn arg(&mut self, word: impl AsRef<OsStr>) -> &mut Self {
        self.args.push(word.as_ref().to_owned());
        self
    }

    pub(super) fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    pub(super) fn enters(mut self) -> Self {
        self.enters = true;
        self
    }

    pub(super) fn stdio(&mut self, ends: Option<ProcessEnds>) -> &mut Self {
        self.ends = ends;
        self
    }

    pub(super) fn stdin_text(&mut self, text: &[u8]) -> Result<&mut Self, Error> {
        self.stdin = Some(text_file(text).map_err(|source| self.process_error(source))?);
        Ok(self)
    }

    /// Runs the runtime and returns when it has ended well.
    pub(super) async fn run(&mut self) -> Result<(), Error> {
        self.output().await.map(|_printed| ())
    }

    /// As [`run`](Self::run), and returns what it printed.
    pub(super) async fn output(&mut self) -> Result<Vec<u8>, Error> {
        let log = self.log_path();
        let result = self.execute(&log).await;
        if let Err(error) = &result {
            crate::log::debug(&error.to_string());
            // For people: what the runtime wrote stays with the bundle.
            let _kept = std::fs::rename(&log, self.runtime.bundle.join("log.json"));
        } else {
            // Most runtimes make it only when they have something to say.
            let _gone = std::fs::remove_file(&log);
        }
        result
    }

    async fn execute(&mut self, log: &Path) -> Result<Vec<u8>, Error> {
        let printed = text_file(b"").map_err(|source| self.process_error(source))?;
        let begun = Instant::now();
        // Our copies of the process's streams go here: its pipes end when it ends, not when we do.
        let ended = match self.start(log, &printed).await {
            Ok(child) => child.wait_within(self.limit.saturating_sub(begun.elapsed())).await,
            Err(error) => Err(error),
        };
        let text = read_back(printed).unwrap_or_default();
        match ended {
            Ok(exit) if exit.status == 0 => Ok(text),
            Ok(exit) => Err(Error::Failed { what: self.what, message: explain(log, &text, exit.status) }),
            Err(child::Error::TimedOut(_)) => Err(Error::TimedOut { what: self.what, limit: self.limit }),
            Err(child::Error::Wait(source)) => Err(self.process_error(source)),
        }
    }

    async fn start(&mut self, log: &Path, printed: &OwnedFd) -> Result<Child, child::Error> {
        let mut args = Vec::new();
        if !self.bare {
            args.extend_from_slice(&self.runtime.global);
            args.extend(["--log".into(), log.into(), "--log-format".into(), "json".into()]);
        }
        args.append(&mut self.args);
        let streams = self.streams(printed)?;
        match &self.runtime.program {
            Program::BuiltIn if !self.enters => Ok(self.start_here(args, &streams)?),
            program => self.start_program(program, args, streams).await,
        }
    }

    /// Standard input, output and error of the runtime. What it prints goes to the process it starts, or to
    /// us.
    fn streams(&mut self, printed: &OwnedFd) -> io::Result<[OwnedFd; 3]> {
        let null = || OpenOptions::new().read(true).write(true).open("/dev/null").map(OwnedFd::from);
        let or_null = |fd: Option<OwnedFd>| fd.map_or_else(null, Ok);
        match self.ends.take() {
            Some(ends) => Ok([or_null(ends.stdin)?, or_null(ends.stdout)?, or_null(ends.stderr)?]),
            None => Ok([or_null(self.stdin.take())?, printed.try_clone()?, printed.try_clone()?]),
        }
    }

    async fn start_program(
        &self,
        program: &Program,
        args: Vec<OsString>,
        streams: [OwnedFd; 3],
    ) -> Result<Child, child::Error> {
        let mut command = match program {
            Program::Named(path) => Command::new(path),
            Program::BuiltIn => {
                let mut own = Command::new("/proc/self/exe");
                own.arg0(BUILT_IN);
                own
            }
        };
        let [stdin, stdout, stderr] = streams;
        command.args(args).env_remove("NOTIFY_SOCKET").stdin(stdin).stdout(stdout).stderr(stderr);
        if !self.bare {
            command.current_dir(&self.runtime.bundle);
        }
        let setup = ChildSetup {
            die_with_parent: true,
            own_group: true,
            open_files: self.runtime.open_files,
            ..ChildSetup::default()
        };
        Child::spawn(command, setup, self.limit).await
    }

    /// Runs a command of the runtime that is built in, one that enters no container, in a fork of this
    /// process.
    fn start_here(&self, args: Vec<OsString>, streams: &[OwnedFd; 3]) -> io::Result<Child> {
        let shim = std::process::id().cast_signed();
        Child::fork(|| {
            let ready = sys::become_command(shim, streams, self.runtime.open_files)
                .and_then(|()| std::env::set_current_dir(&self.runtime.bundle));
            match ready {
                Ok(()) => runtime::command::run(args.into_iter()),
                Err(_) => 1,
            }
        })
    }

    /// Calls run side by side, and each has to find its own errors.
    fn log_path(&self) -> PathBuf {
        let number = NEXT_LOG.get();
        NEXT_LOG.set(number + 1);
        self.runtime.bundle.join(format!("log-{}-{number}.json", std::process::id()))
    }

    fn process_error(&self, source: io::Error) -> Error {
        let program = self.runtime.program.path();
        match source.kind() {
            io::ErrorKind::NotFound => Error::NotFound { what: self.what, program },
            _ => Error::Process { what: self.what, program, source },
        }
    }
}

fn read_back(file: OwnedFd) -> io::Result<Vec<u8>> {
    let mut file = File::from(file);
    file.rewind()?;
    let mut text = Vec::new();
    file.take(MAX_OUTPUT).read_to_end(&mut text)?;
    Ok(text)
}

/// The best account of a failure: the last error in the runtime's log, else what it printed, else its exit
/// status.
fn explain(log: &Path, printed: &[u8], status: u32) -> String {
    if weak::off("reasons") {
        return format!("exit status {status}");
    }
    let logged = File::open(log).and_then(|file| {
        let mut text = Vec::new();
        file.take(MAX_OUTPUT).read_to_end(&mut text)?;
        Ok(text)
    });
    if let Some(message) = logged.ok().and_then(|text| last_error(&text)) {
        return message;
    }
    let printed = String::from_utf8_lossy(printed);
    match printed.trim() {
        "" => format!("the runtime ended with status {status} and said nothing"),
        text => text.to_owned(),
    }
}

/// The message of the last line of level "error".
fn last_error(log: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Line {
        level: String,
        msg: String,
    }
    let lines = log.split(|byte| *byte == b'\n').rev();
    let mut errors = lines.filter_map(|line| serde_json::from_slice::<Line>(line).ok());
    errors.find(|line| line.level == "error").map(|line| line.msg.trim().to_owned())
}

/// The part of [`crate::fuzz`] that looks inside of this module.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz_log(log: &[u8]) {
    if let Some(message) = last_error(log) {
        assert_eq!(message, message.trim());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_of_the_log_is_the_message() {
        let log = br#"{"level":"error","msg":"first","time":"2026-01-01T00:00:00Z"}
{"level":"error","msg":" exec: \"x\": executable file not found in $PATH ","time":""}
{"level":"warning","msg":"later","time":""}
not json
"#;
        assert_eq!(last_error(log).as_deref(), Some("exec: \"x\": executable file not found in $PATH"));
        assert_eq!(last_error(b""), None);
        let missing = Path::new("/nonexistent/log");
        assert_eq!(explain(missing, b" printed\n", 1), "printed");
        assert!(explain(missing, b"", 3).contains("status 3"));
    }
}
