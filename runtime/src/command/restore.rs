//! `restore`.

use super::checkpoint::{
    CGROUPS, DEDUP, EMPTY, IMAGES, LAZY, LINKS, LOCK, LOCKS, PARENT, SHELL_JOB, SOCKETS, TCP, WORK, options,
    warn_without_privilege,
};
use super::create::{BUNDLE, CONSOLE, NO_PIVOT, PID_FILE, PRESERVE};
use super::{Command, CommandError, Context, delete, failed, only_id};
use crate::checkpoint::{self, Restored, Wish};
use crate::cli::{Parsed, switch, value};
use crate::parent::foreground;
use crate::state::StateError;
use crate::sys::process;
use std::os::fd::AsFd;

/// `restore`.
pub const RESTORE: Command = Command {
    name: "restore",
    arguments: "ID",
    about: "make a container go on from a checkpoint, with criu",
    flags: &[
        BUNDLE,
        CONSOLE,
        PID_FILE,
        PRESERVE,
        IMAGES,
        WORK,
        PARENT,
        switch("detach", "d", "do not wait for the container"),
        TCP,
        switch("tcp-close", "", "close what were open TCP connections"),
        SOCKETS,
        SHELL_JOB,
        LOCKS,
        LINKS,
        LAZY,
        CGROUPS,
        EMPTY,
        DEDUP,
        LOCK,
        value(
            "lsm-profile",
            "",
            "TYPE:NAME",
            "the security label of the processes: apparmor:NAME or selinux:NAME",
        ),
        value("lsm-mount-context", "", "CONTEXT", "the SELinux context of mounts"),
        switch("no-subreaper", "", "do not adopt orphans of the container"),
        NO_PIVOT,
    ],
    run,
    enters: true,
};

fn run(context: &Context, parsed: &Parsed) -> Result<i32, CommandError> {
    let detach = parsed.on("detach")?;
    let wish = Wish {
        id: only_id("restore", parsed)?.to_owned(),
        root: context.root.clone(),
        bundle: parsed.path("bundle").unwrap_or_else(|| ".".into()),
        console_socket: parsed.path("console-socket"),
        pid_file: super::pid_file(parsed)?,
        driver: context.driver,
        foreground: !detach,
        preserve_fds: context.preserved.asked,
    };
    warn_without_privilege(context, "restore");
    let options = options(context, parsed)?;
    if !detach && !parsed.on("no-subreaper")? {
        process::set_subreaper().map_err(|errno| failed("restore", crate::sys::reason(errno)))?;
    }
    let signals = (!detach).then(foreground::hold_signals).transpose()?;
    let mut restored =
        checkpoint::restore(&wish, &options, &context.log).map_err(|error| failed("restore", error))?;
    let console = restored.console.take();
    let Restored { dir, record, pidfd, lock, .. } = restored;
    let released = lock.release();
    let Some(signals) = signals else { return Ok(0) };
    let outcome = foreground::wait(record.pid, pidfd.as_fd(), console, &signals);
    match dir.lock_again(released) {
        Ok(lock) => delete::remove(&dir, lock, &record, &context.log)?,
        // Somebody else was faster.
        Err(StateError::Missing) => {}
        Err(error) => return Err(error.into()),
    }
    outcome.map_err(|error| failed("restore", error))
}
