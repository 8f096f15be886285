//! `kill`: a signal to a container.

use super::{Command, CommandError, Context};
use crate::cgroup::Cgroup;
use crate::cli::{Parsed, UsageError, switch};
use crate::state::{self, StateDir, Status};
use crate::sys::{self, Errno, pidfd};
use nix::sys::signal::Signal;
use std::os::fd::AsFd;

/// `kill`.
pub const KILL: Command = Command {
    name: "kill",
    arguments: "ID [SIGNAL]",
    about: "send a signal (default: TERM) to the first process of a container",
    flags: &[
        switch("all", "a", "send the signal to all processes of the container"),
        switch("regex", "r", "to every container whose id matches the pattern"),
    ],
    run: kill,
    enters: false,
};

fn kill(context: &Context, parsed: &Parsed) -> Result<i32, CommandError> {
    let all = parsed.on("all")?;
    let (id, signal) = match parsed.words()?.as_slice() {
        // An empty signal is what scripts pass for the usual one.
        [id] | [id, ""] => (*id, libc::SIGTERM),
        [id, name] => (*id, signal(name)?),
        _ => return Err(UsageError::Arguments { command: "kill", expected: "1 or 2" }.into()),
    };
    match parsed.on("regex")? {
        true => super::each_matching(context, id, |id| one(context, id, signal, all))?,
        false => one(context, id, signal, all)?,
    }
    Ok(0)
}

fn one(context: &Context, id: &str, signal: i32, all: bool) -> Result<(), CommandError> {
    let dir = StateDir::open(&context.root, id)?;
    let record = dir.record()?;
    let init = state::init(&record)?;
    if all {
        // Processes of a container without a PID namespace outlive its first one.
        if let Some(cgroup) = &record.cgroup {
            let cgroup = Cgroup::open(cgroup)?;
            if !cgroup.is_none() {
                return Ok(cgroup.kill_all(signal)?);
            }
        }
    }
    let Some(init) = init else { return Err(CommandError::other("container not running")) };
    pidfd::send_signal(init.pidfd.as_fd(), signal).map_err(|errno| match errno {
        Errno::ESRCH => CommandError::other("container not running"),
        errno => CommandError::other(format!("send signal {signal} to {id}: {}", sys::reason(errno))),
    })?;
    // A frozen process takes a signal when it is thawed; one that cannot be caught should not wait for that.
    if signal == libc::SIGKILL
        && state::status(&dir, &record)? == Status::Paused
        && let Some(cgroup) = &record.cgroup
    {
        Cgroup::open(cgroup)?.thaw()?;
    }
    Ok(())
}

/// A signal by number, or by name with or without `SIG`, in any case; `RTMIN+N` and `RTMAX-N` too.
///
/// # Errors
/// There is no such signal.
pub fn signal(text: &str) -> Result<i32, CommandError> {
    let unknown = || CommandError::other(format!("unknown signal {text:?}"));
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|number| (0..=64).contains(number)).ok_or_else(unknown);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |text: &str| text.parse::<i32>().ok().filter(|offset| (0..=30).contains(offset));
    let realtime = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => Some(34),
        (Some(rest), _) => rest.strip_prefix('+').and_then(offset).map(|offset| 34 + offset),
        (_, Some("")) => Some(64),
        (_, Some(rest)) => rest.strip_prefix('-').and_then(offset).map(|offset| 64 - offset),
        _ => None,
    };
    let alias = match name {
        "CLD" => Some(libc::SIGCHLD),
        "POLL" => Some(libc::SIGIO),
        "IOT" => Some(libc::SIGABRT),
        "STKFLT" => Some(libc::SIGSTKFLT),
        _ => None,
    };
    realtime
        .or(alias)
        .or_else(|| format!("SIG{name}").parse::<Signal>().ok().map(|signal| signal as i32))
        .ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::signal;

    #[test]
    fn signals_by_name_and_number() {
        for (text, number) in [
            ("KILL", 9),
            ("SIGKILL", 9),
            ("kill", 9),
            ("9", 9),
            ("0", 0),
            ("SIGRTMIN", 34),
            ("RTMIN+3", 37),
            ("SIGRTMAX-1", 63),
            ("64", 64),
            ("CLD", 17),
            ("WINCH", 28),
        ] {
            assert_eq!(signal(text).expect(text), number, "{text}");
        }
        for text in ["", "NOPE", "65", "-1", "+9", "RTMIN+99", "SIGSIGKILL", "9x"] {
            assert!(signal(text).is_err(), "{text}");
        }
    }
}
