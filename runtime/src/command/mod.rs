//! The commands: one file a verb, each with its flags and what it does.

pub mod candidates;
pub mod check;
pub mod checkpoint;
pub mod completion;
pub mod create;
pub mod delete;
pub mod doctor;
pub mod events;
pub mod exec;
pub mod features;
pub mod help;
pub mod kill;
pub mod list;
pub mod man;
pub mod mounts;
pub mod pattern;
pub mod pause;
pub mod preserved;
pub mod ps;
pub mod restore;
pub mod seccomp;
pub mod spec;
pub mod start;
pub mod state;
pub mod update;
pub mod version;

use crate::cgroup::{self, Driver};
use crate::cli::{self, Flag, Flags, Parsed, UsageError, switch, value};
use crate::log::{Format, Level, Log};
use crate::parent::{Error, seal};
use crate::privilege;
use crate::state::StateError;
use crate::sys;
use crate::trace;
pub use preserved::Preserved;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The name of this program, as messages say it.
pub const PROGRAM: &str = "corten";

/// The flag that every command has.
const HELP: &[Flag] = &[switch("help", "h", "show help")];

/// The exit status of a command that failed by itself, as runc's.
pub const FAILED: i32 = 1;

/// A command.
#[derive(Debug)]
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// Its arguments, as the usage line shows them.
    pub arguments: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// Its flags.
    pub flags: &'static [Flag],
    /// Does it, and returns the exit status.
    pub run: fn(&Context, &Parsed) -> Result<i32, CommandError>,
    /// Whether it enters a container: then nothing in there may reach this program's file.
    pub enters: bool,
}

/// Every command, in the order of the help text.
pub const COMMANDS: &[&Command] = &[
    &check::CHECK,
    &checkpoint::CHECKPOINT,
    &completion::COMPLETION,
    &create::CREATE,
    &delete::DELETE,
    &doctor::DOCTOR,
    &events::EVENTS,
    &exec::EXEC,
    &features::FEATURES,
    &kill::KILL,
    &list::LIST,
    &mounts::MOUNTS,
    &pause::PAUSE,
    &ps::PS,
    &restore::RESTORE,
    &pause::RESUME,
    &create::RUN,
    &seccomp::SECCOMP,
    &spec::SPEC,
    &start::START,
    &state::STATE,
    &update::UPDATE,
    &version::VERSION,
];

/// Commands below a command, by both names.
pub const VERBS: &[&Command] = &[&seccomp::COMPILE, &seccomp::EXPLAIN, &seccomp::RECORD, &seccomp::RESOLVE];

/// Commands that look at no container, and so need no place for state.
const STATELESS: [&str; 6] = ["check", "completion", "doctor", "features", "spec", "version"];

/// Commands whose arguments have flags of their own: a program's, those of ps(1), or a verb's.
const OTHERS_WORDS: [&str; 3] = ["exec", "ps", "seccomp"];

/// Flags before the command.
pub const GLOBAL: &[Flag] = &[
    switch("debug", "", "log what is done, for looking for a fault"),
    value("log", "", "FILE", "append log lines to FILE (default: standard error)"),
    value("log-format", "", "FORMAT", "text (default) or json"),
    value("log-level", "", "LEVEL", "debug, info, warning or error (default: info)"),
    value(
        "root",
        "",
        "DIR",
        "keep the state of containers in DIR (default: /run/corten, or $XDG_RUNTIME_DIR/corten)",
    ),
    value("trace", "", "FILE", "write a timeline of all steps to FILE, as Chrome trace events"),
    switch("systemd-cgroup", "", "ask systemd for control groups; cgroupsPath is \"slice:prefix:name\""),
    value("cgroup-manager", "", "MANAGER", "cgroupfs (default), systemd or disabled"),
    value("criu", "", "PROGRAM", "the criu of checkpoint and restore (default: the one in $PATH)"),
    value("rootless", "", "WHEN", "do without privilege over the host: true, false or auto (default)"),
    switch("help", "h", "show help"),
    switch("version", "v", "print the version"),
];

/// What every command knows.
#[derive(Debug)]
pub struct Context {
    /// The directory of all state.
    pub root: PathBuf,
    /// Where messages go.
    pub log: Log,
    /// Who makes control groups.
    pub driver: Driver,
    /// Descriptors of the caller that a container is to have.
    pub preserved: Preserved,
    /// The criu program; absent: the one that `$PATH` leads to.
    pub criu: Option<PathBuf>,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The command line makes no sense.
    #[error("{PROGRAM}: {0}")]
    Usage(#[from] UsageError),
    /// It could not be done.
    #[error(transparent)]
    Failed(#[from] Error),
    /// State could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// Control groups could not be changed.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// With another exit status than 1.
    #[error("{message}")]
    Status {
        /// What went wrong.
        message: String,
        /// The exit status.
        status: i32,
    },
}

impl CommandError {
    /// A failure in words.
    pub fn other(text: impl Into<String>) -> Self {
        Self::Failed(Error::Other(text.into()))
    }
}

/// Runs the command of a command line (without the program's name) and returns the exit status.
pub fn run(args: impl Iterator<Item = OsString>) -> i32 {
    let fallback = Log::stderr(Format::Text, Level::Info);
    let (global, log) = match begin(args) {
        Ok(begun) => begun,
        Err(error) => {
            fallback.fatal(&error.to_string());
            return FAILED;
        }
    };
    dispatch(&global, log)
}

fn begin(args: impl Iterator<Item = OsString>) -> Result<(Parsed, Log), CommandError> {
    let global = cli::parse(&[GLOBAL], Flags::First, args)?;
    let log = open_log(&global)?;
    Ok((global, log))
}

fn open_log(global: &Parsed) -> Result<Log, CommandError> {
    let format = match global.text("log-format")? {
        None | Some("text") => Format::Text,
        Some("json") => Format::Json,
        Some(other) => return Err(bad("log-format", other, "text or json")),
    };
    let level = match global.text("log-level")? {
        _ if global.on("debug")? => Level::Debug,
        None | Some("info") => Level::Info,
        Some("debug") => Level::Debug,
        Some("warning" | "warn") => Level::Warning,
        Some("error") => Level::Error,
        Some(other) => return Err(bad("log-level", other, "debug, info, warning or error")),
    };
    match global.path("log") {
        None => Ok(Log::stderr(format, level)),
        Some(path) => Log::file(&path, format, level).map_err(|error| {
            CommandError::other(format!("--log: open {}: {}", path.display(), sys::io_reason(&error)))
        }),
    }
}

fn bad(flag: &'static str, value: &str, expected: &'static str) -> CommandError {
    UsageError::BadValue { flag, value: value.to_owned(), expected }.into()
}

fn dispatch(global: &Parsed, log: Log) -> i32 {
    let mut words = global.arguments.iter();
    let name = words.next().and_then(|name| name.to_str());
    let command = COMMANDS.iter().find(|command| Some(command.name) == name);
    let outcome = match (name, command) {
        _ if matches!(global.on("version"), Ok(true)) => version::print(),
        (Some(_), Some(command)) => in_context(global, command, words.cloned(), &log),
        (Some("help" | "h"), None) => help::run(&words.filter_map(|word| word.to_str()).collect::<Vec<_>>()),
        (None, _) => help::overview(),
        (Some(name), None) => {
            Err(CommandError::Status { message: format!("No help topic for '{name}'"), status: 3 })
        }
    };
    if let (Err(error), Some(file)) = (trace::finish(), global.path("trace")) {
        log.warn(&unwritten(&file, &error));
    }
    match outcome {
        Ok(status) => status,
        Err(error) => {
            log.fatal(&error.to_string());
            match error {
                CommandError::Status { status, .. } => status,
                _ => FAILED,
            }
        }
    }
}

/// Where the flags of a command may stand.
fn place(command: &Command) -> Flags {
    if OTHERS_WORDS.contains(&command.name) { Flags::First } else { Flags::Anywhere }
}

fn in_context(
    global: &Parsed,
    command: &'static Command,
    args: impl Iterator<Item = OsString>,
    log: &Log,
) -> Result<i32, CommandError> {
    let parsed = cli::parse(&[command.flags, HELP], place(command), args)?;
    if global.on("help")? || parsed.on("help")? {
        return help::command(Some(command.name));
    }
    if let Some(file) = global.path("trace") {
        trace::begin(&file).map_err(|error| CommandError::other(unwritten(&file, &error)))?;
    }
    let mut preserved = Preserved::default();
    if command.enters {
        // A `create` has no child to wait for but those of hooks and go-betweens, who see to it themselves.
        if command.name != "create" {
            sys::process::keep_ended_children();
        }
        sys::process::survive_file_size_limit();
        seal::ensure()?;
        preserved = Preserved::find(&parsed)?;
        // What the caller had open is for the container at most (`--preserve-fds`), never for a hook.
        seal::keep_to_oneself()?;
    }
    let _whole = trace::span(command.name);
    let root = match root(global) {
        Err(_) if STATELESS.contains(&command.name) => PathBuf::new(),
        root => root?,
    };
    let context =
        Context { root, log: log.again(), driver: driver(global)?, preserved, criu: global.path("criu") };
    (command.run)(&context, &parsed)
}

fn driver(global: &Parsed) -> Result<Driver, CommandError> {
    match (global.text("cgroup-manager")?, global.on("systemd-cgroup")?) {
        (None, false) | (Some("cgroupfs"), false) => Ok(Driver::Cgroupfs),
        (None | Some("systemd"), true) | (Some("systemd"), false) => Ok(Driver::Systemd),
        (Some("disabled"), _) => Ok(Driver::Disabled),
        (Some("cgroupfs"), true) => {
            Err(CommandError::other("--cgroup-manager=cgroupfs contradicts --systemd-cgroup"))
        }
        (Some(other), _) => Err(bad("cgroup-manager", other, "cgroupfs, systemd or disabled")),
    }
}

/// Where state is kept: below the user's own run directory when this is not root.
fn root(global: &Parsed) -> Result<PathBuf, CommandError> {
    let said = match global.text("rootless")? {
        None | Some("auto") => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(other) => return Err(bad("rootless", other, "true, false or auto")),
    };
    if let Some(root) = global.path("root") {
        let root = std::path::absolute(&root).unwrap_or(root);
        if root == Path::new("/") {
            return Err(CommandError::other("--root must not be /"));
        }
        return Ok(root);
    }
    let rootless = said.unwrap_or_else(|| !privilege::user().is_root());
    let own = rootless || said.is_none() && is_a_users_root();
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty() && own) {
        Some(dir) => Ok(PathBuf::from(dir).join(PROGRAM)),
        None if rootless => {
            Err(CommandError::other("XDG_RUNTIME_DIR is not set: say with --root where to keep state"))
        }
        None => Ok(PathBuf::from("/run").join(PROGRAM)),
    }
}

/// A command that has begun, and could not be done.
fn failed(command: &str, error: impl std::fmt::Display) -> CommandError {
    CommandError::other(format!("{PROGRAM} {command} failed: {error}"))
}

fn unwritten(file: &Path, error: &std::io::Error) -> String {
    format!("--trace: write the timeline to {}: {}", file.display(), sys::io_reason(error))
}

/// Whether this is root only in a user namespace that an ordinary user made, as rootless engines do: `/run` is not
/// theirs to write to. Root who enters a user namespace keeps his name in the environment, and his directory.
fn is_a_users_root() -> bool {
    std::env::var_os("USER").is_none_or(|name| name != "root") && privilege::in_user_namespace()
}

/// Prints what a command is asked for, in one piece.
///
/// # Errors
/// Standard output cannot be written to.
pub fn print(text: &str) -> Result<(), CommandError> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // A reader that has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => {
            Err(CommandError::other(format!("write to standard output: {}", sys::io_reason(&error))))
        }
        Ok(()) => Ok(()),
    }
}

/// The value of `--pid-file`, before anything is made whose number it would have.
///
/// # Errors
/// It cannot be a file's path.
pub fn pid_file(parsed: &Parsed) -> Result<Option<PathBuf>, UsageError> {
    let path = parsed.path("pid-file");
    match &path {
        Some(path) if path.file_name().is_none() || path.as_os_str().as_bytes().ends_with(b"/") => {
            let (flag, value) = ("pid-file", path.display().to_string());
            Err(UsageError::BadValue { flag, value, expected: "the path of a file" })
        }
        _ => Ok(path),
    }
}

/// Refuses the arguments of a command that takes none.
///
/// # Errors
/// There is one.
pub fn no_arguments(command: &'static str, parsed: &Parsed) -> Result<(), UsageError> {
    match parsed.arguments.is_empty() {
        true => Ok(()),
        false => Err(UsageError::Arguments { command, expected: "exactly 0" }),
    }
}

/// Does something to every container whose id matches a pattern; one that refuses keeps none of the others from it.
///
/// # Errors
/// The pattern is none, or the last of the failures; those before it are logged.
pub fn each_matching(
    context: &Context,
    pattern: &str,
    act: impl Fn(&str) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let pattern = pattern::Pattern::new(pattern).map_err(CommandError::other)?;
    let mut outcome = Ok(());
    for id in crate::state::ids(&context.root)?.iter().filter(|id| pattern.matches(id)) {
        let failed = match act(id) {
            Ok(()) => continue,
            Err(error) => CommandError::other(format!("{id}: {error}")),
        };
        if let Err(before) = std::mem::replace(&mut outcome, Err(failed)) {
            context.log.write(Level::Error, &before.to_string());
        }
    }
    outcome
}

/// The one argument of a command that takes a container's id.
///
/// # Errors
/// There is none, or more than one.
pub fn only_id<'a>(command: &'static str, parsed: &'a Parsed) -> Result<&'a str, CommandError> {
    match parsed.words()?.as_slice() {
        [id] => Ok(id),
        _ => Err(UsageError::Arguments { command, expected: "exactly 1" }.into()),
    }
}
