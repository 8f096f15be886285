//! `create` and `run`.

use super::{Command, CommandError, Context, failed, only_id};
use crate::cli::{Flag, Parsed, switch, value};
use crate::parent::create::{Created, Options, create};
use crate::parent::{foreground, notify, start};
use crate::state::{Record, StateError};
use crate::sys::process;
use crate::trace;
use crate::wire::{FromChild, Wire};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

pub(super) const BUNDLE: Flag = value("bundle", "b", "DIR", "the bundle (default: the working directory)");
const CONFIG: Flag = value("config", "f", "FILE", "use FILE in place of the bundle's config.json");
pub(super) const CONSOLE: Flag =
    value("console-socket", "", "SOCKET", "send the master of the terminal to this socket");
const PIDFD: Flag = value("pidfd-socket", "", "SOCKET", "send a pidfd of the first process to this socket");
pub(super) const PID_FILE: Flag =
    value("pid-file", "", "FILE", "write the number of the first process to FILE");
pub(super) const NO_PIVOT: Flag =
    switch("no-pivot", "", "do not use pivot_root(2), which a ramdisk refuses; less safe");
const NO_KEYRING: Flag = switch("no-new-keyring", "", "keep the caller's session keyring");
pub(super) const PRESERVE: Flag =
    value("preserve-fds", "", "N", "pass N descriptors after standard error on to the container");

/// `create`.
pub const CREATE: Command = Command {
    name: "create",
    arguments: "ID",
    about: "create a container; its program waits for start",
    flags: &[
        BUNDLE,
        CONFIG,
        CONSOLE,
        PIDFD,
        PID_FILE,
        NO_PIVOT,
        NO_KEYRING,
        PRESERVE,
        switch("no-subreaper", "", "accepted as in runc: create leaves at once, and is no subreaper"),
        switch("detach", "d", "accepted as in runc: create always detaches"),
    ],
    run: |context, parsed| {
        let options = options("create", context, parsed, false, true)?;
        let created = create(&options, &context.log).map_err(|error| failed("create", error))?;
        // What it holds open, and its lock, go with this process, which ends here.
        std::mem::forget(created);
        Ok(0)
    },
    enters: true,
};

/// `run`.
pub const RUN: Command = Command {
    name: "run",
    arguments: "ID",
    about: "create and start a container, and wait for it",
    flags: &[
        BUNDLE,
        CONFIG,
        CONSOLE,
        PIDFD,
        PID_FILE,
        NO_PIVOT,
        NO_KEYRING,
        PRESERVE,
        switch("detach", "d", "do not wait for the container"),
        switch("keep", "", "do not delete the container when it has ended"),
        switch("no-subreaper", "", "do not adopt orphans of the container"),
    ],
    run,
    enters: true,
};

fn options(
    command: &'static str,
    context: &Context,
    parsed: &Parsed,
    attached: bool,
    detach: bool,
) -> Result<Options, CommandError> {
    Ok(Options {
        id: only_id(command, parsed)?.to_owned(),
        root: context.root.clone(),
        bundle: parsed.path("bundle").unwrap_or_else(|| ".".into()),
        config: parsed.path("config"),
        console_socket: parsed.path("console-socket"),
        pidfd_socket: parsed.path("pidfd-socket"),
        pid_file: super::pid_file(parsed)?,
        no_pivot: parsed.on("no-pivot")?,
        no_new_keyring: parsed.on("no-new-keyring")?,
        listen_fds: context.preserved.listen,
        preserve_fds: context.preserved.asked,
        driver: context.driver,
        attached,
        foreground: !detach,
        watcher: None,
    })
}

fn run(context: &Context, parsed: &Parsed) -> Result<i32, CommandError> {
    run_watched(context, parsed, None)
}

/// `run`, with every system call of the container watched by a recorder, if there is one.
///
/// # Errors
/// As `run`.
pub(super) fn run_watched(
    context: &Context,
    parsed: &Parsed,
    watcher: Option<PathBuf>,
) -> Result<i32, CommandError> {
    let detach = parsed.on("detach")?;
    let options = Options { watcher, ..options("run", context, parsed, true, detach)? };
    if !detach && !parsed.on("no-subreaper")? {
        process::set_subreaper().map_err(|errno| failed("run", crate::sys::reason(errno)))?;
    }
    let mut created = create(&options, &context.log).map_err(|error| failed("run", error))?;
    let console = created.console.take();
    if let Some(console) = &console {
        foreground::fit(console.as_fd());
    }
    let signals = (!detach).then(foreground::hold_signals).transpose()?;
    let mut steps = trace::Steps::begin("start the program");
    let Created { dir, record, pidfd, wire, lock, .. } = created;
    let notify = notify::listen(&dir);
    // Other commands may have it now: those that its hooks call, and above all the `delete` that ends what this one waits for.
    let released = lock.release();
    let started = notify
        .map_err(CommandError::from)
        .and_then(|notify| begin(&record, pidfd.as_fd(), &wire, notify, context));
    steps.then("wait for the program");
    let outcome = started.and_then(|()| match &signals {
        None => Ok(0),
        Some(signals) => {
            foreground::wait(record.pid, pidfd.as_fd(), console, signals).map_err(CommandError::from)
        }
    });
    steps.then("delete");
    // A container that ran in the foreground is gone afterwards; so is one that could not be started.
    if outcome.is_err() || (!detach && !parsed.on("keep")?) {
        match dir.lock_again(released) {
            Ok(lock) => super::delete::remove(&dir, lock, &record, &context.log)?,
            // Somebody else was faster.
            Err(StateError::Missing) => {}
            Err(error) => return Err(error.into()),
        }
    }
    outcome.map_err(|error| match error {
        CommandError::Failed(error) => failed("run", error),
        error => error,
    })
}

/// Lets the program run, and waits until it does.
fn begin(
    record: &Record,
    pidfd: BorrowedFd<'_>,
    wire: &Wire,
    notify: Option<notify::Listener>,
    context: &Context,
) -> Result<(), CommandError> {
    let system = |what: &str, errno| CommandError::other(format!("{what}: {}", crate::sys::reason(errno)));
    wire.go().map_err(|errno| system("start the container's process", errno))?;
    match wire.hear().map_err(|errno| system("hear from the container's process", errno))? {
        FromChild::End => {}
        FromChild::Failure(failure) => return Err(CommandError::other(failure.text)),
        _ => return Err(CommandError::other("the container's process said something unexpected")),
    }
    start::after(record, &context.log);
    if let Some(listener) = notify {
        listener.wait(record.pid, pidfd)?;
    }
    Ok(())
}
