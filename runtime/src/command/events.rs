//! `events`: statistics at intervals, and out-of-memory kills as they happen, one line of JSON each.

use super::{Command, CommandError, Context, only_id};
use crate::cgroup::stats::json::{oom_line, stats_line};
use crate::cgroup::{Cgroup, Oom, OomWatch};
use crate::cli::{Parsed, UsageError, switch, value};
use crate::state::{self, Init, StateDir};
use crate::sys::{Errno, reason};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// `events`.
pub const EVENTS: Command = Command {
    name: "events",
    arguments: "ID",
    about: "show statistics and out-of-memory kills of a container",
    flags: &[
        value("interval", "", "DURATION", "how often to show statistics, as in 5s or 1m30s (default: 5s)"),
        switch("stats", "", "show statistics once"),
    ],
    run: events,
    enters: false,
};

fn events(context: &Context, parsed: &Parsed) -> Result<i32, CommandError> {
    let id = only_id("events", parsed)?;
    let interval = match parsed.text("interval")? {
        None => Duration::from_secs(5),
        Some(text) => duration(text).ok_or_else(|| UsageError::BadValue {
            flag: "interval",
            value: text.to_owned(),
            expected: "a duration such as 5s",
        })?,
    };
    if interval.is_zero() {
        return Err(CommandError::other("duration interval must be greater than 0"));
    }
    let dir = StateDir::open(&context.root, id)?;
    let record = dir.record()?;
    let init = state::init(&record)?
        .ok_or_else(|| CommandError::other(format!("container with id {id} is not running")))?;
    let cgroup = Cgroup::open(record.cgroup.as_ref().unwrap_or(&Default::default()))?;
    if parsed.on("stats")? {
        emit(&stats_line(id, &cgroup.stats()?))?;
        return Ok(0);
    }
    watch(context, id, &cgroup, &init, interval)?;
    Ok(0)
}

/// Shows what happens until the container ends, or nobody reads any more.
fn watch(
    context: &Context,
    id: &str,
    cgroup: &Cgroup,
    init: &Init,
    interval: Duration,
) -> Result<(), CommandError> {
    let mut oom = cgroup.watch_oom().map_err(|error| context.log.warn(&error.to_string())).ok();
    // An interval beyond all time: never.
    let mut next = Instant::now().checked_add(interval);
    loop {
        let left = next.map_or(Duration::MAX, |next| next.saturating_duration_since(Instant::now()));
        let (ended, noticed) = wait(init, oom.as_ref(), left)?;
        if noticed && let Some(watch) = &mut oom {
            match watch.read()? {
                Oom::Happened if !emit(&oom_line(id))? => return Ok(()),
                Oom::Gone => return Ok(()),
                _ => {}
            }
        }
        if ended {
            return Ok(());
        }
        if let Some(due) = next.filter(|next| Instant::now() >= *next) {
            next = due.checked_add(interval);
            match cgroup.stats() {
                Ok(stats) if !emit(&stats_line(id, &stats))? => return Ok(()),
                Ok(_) => {}
                Err(error) => context.log.warn(&error.to_string()),
            }
        }
    }
}

/// Waits for the end of the container or a notice, which of the two came.
fn wait(init: &Init, oom: Option<&OomWatch>, most: Duration) -> Result<(bool, bool), CommandError> {
    let mut polls = vec![PollFd::new(init.pidfd.as_fd(), PollFlags::POLLIN)];
    polls.extend(oom.map(|watch| PollFd::new(watch.as_fd(), PollFlags::POLLIN)));
    // Rounded up, so that the time has come when this returns.
    let most = most.saturating_add(Duration::from_millis(1));
    match poll(&mut polls, PollTimeout::try_from(most).unwrap_or(PollTimeout::MAX)) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(CommandError::other(format!("poll: {}", reason(errno)))),
    }
    let happened = |at: usize| polls.get(at).and_then(PollFd::any).unwrap_or(false);
    Ok((happened(0), happened(1)))
}

/// Prints one line; false when there is no reader any more.
fn emit(line: &serde_json::Result<String>) -> Result<bool, CommandError> {
    let line = line.as_ref().map_err(|error| CommandError::other(error.to_string()))?;
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => {
            Err(CommandError::other(format!("write to standard output: {}", crate::sys::io_reason(&error))))
        }
    }
}

/// A duration as Go writes it: numbers with units, `300ms`, `1.5h`, `2h45m`.
fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let (unit, seconds) =
            [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)]
                .into_iter()
                .filter(|(unit, _)| rest.starts_with(unit))
                .max_by_key(|(unit, _)| unit.len())?;
        rest = &rest[unit.len()..];
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_writes_them() {
        for (text, milliseconds) in
            [("5s", 5000), ("300ms", 300), ("1m30s", 90_000), ("1.5h", 5_400_000), ("0", 0), ("0s", 0)]
        {
            assert_eq!(duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "5", "s", "5x", "-5s", "1.2.3s", "5s5"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
