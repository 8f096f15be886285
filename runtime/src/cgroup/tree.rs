//! Making, enabling and removing directories of a hierarchy.

use super::Journal;
use super::dir::{Dir, absent};
use super::error::{Error, Result};
use super::host::is_cgroup;
use super::path::parent;
use crate::sys::{self, Errno};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// How long processes that were killed may take to go away before that is an error. The kernel needs milliseconds, or
/// seconds when a process with much memory or a dead disk ends.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait for something, from now on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    length: Duration,
    /// When it is over.
    pub(super) deadline: Instant,
}

impl Patience {
    pub(super) fn of(length: Duration) -> Self {
        Self { length, deadline: Instant::now() + length }
    }

    /// What is left of it.
    pub(super) fn left(self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// That `path` is still in use by `what` when it is over.
    pub(super) fn busy(self, path: &str, what: String) -> Error {
        Error::Busy { path: path.to_owned(), seconds: self.length.as_secs(), what }
    }
}

/// Directories made so far; removed again when dropped, unless they are kept.
#[derive(Debug, Default)]
pub(super) struct Created<'a>(Vec<String>, Option<&'a dyn Journal>);

/// What [`Created::make`] found.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(super) enum Made {
    /// The cgroup is new.
    New,
    /// It was there before.
    Existing,
    /// The hierarchy is not mounted there.
    NoHierarchy,
}

impl<'a> Created<'a> {
    /// `journal` is where [`Created::note`] writes.
    pub(super) fn noted_in(journal: Option<&'a dyn Journal>) -> Self {
        Self(Vec::new(), journal)
    }

    /// Tells the journal of directories that are about to be made for a container, all at once.
    ///
    /// # Errors
    /// The errno of writing to the journal.
    pub(super) fn note(&self, paths: &[String]) -> Result<()> {
        let Some(journal) = self.1 else { return Ok(()) };
        let lines: String = paths.iter().flat_map(|path| [path, "\n"]).collect();
        journal.append(lines.as_bytes()).map_err(|errno| Error::Apply {
            operation: "note",
            path: paths.concat(),
            errno,
            hint: String::new(),
        })
    }

    /// Makes a cgroup, and those above it up to `mount`.
    ///
    /// # Errors
    /// The errno of mkdir(2).
    pub(super) fn make(&mut self, path: &str, mount: &str) -> Result<Made> {
        match self.mkdir(path) {
            Ok(made) => return Ok(made),
            Err(Errno::ENOENT) if !is_cgroup(mount) => return Ok(Made::NoHierarchy),
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(Self::error(path, errno)),
        }
        let above = parent(path);
        if above.len() > mount.len() {
            self.make(above, mount)?;
        }
        self.mkdir(path).map_err(|errno| Self::error(path, errno))
    }

    fn mkdir(&mut self, path: &str) -> std::result::Result<Made, Errno> {
        match nix::unistd::mkdir(path, Mode::from_bits_truncate(0o755)) {
            Ok(()) => {
                self.0.push(path.to_owned());
                Ok(Made::New)
            }
            Err(Errno::EEXIST) => Ok(Made::Existing),
            Err(errno) => Err(errno),
        }
    }

    fn error(path: &str, errno: Errno) -> Error {
        Error::Apply { operation: "mkdir", path: path.to_owned(), errno, hint: String::new() }
    }

    /// Takes back the last directory made: it turned out to be none of a cgroup.
    pub(super) fn take_back(&mut self, path: &str) {
        if self.0.last().is_some_and(|last| last == path) {
            self.0.pop();
            let _ = std::fs::remove_dir(path);
        }
    }

    /// The directories are wanted.
    pub(super) fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Created<'_> {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            // What cannot be removed has become someone else's.
            let _ = std::fs::remove_dir(path);
        }
    }
}

/// A controller that could not be enabled for the cgroups below a directory.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) controller: String,
    pub(super) path: String,
    pub(super) errno: Errno,
}

/// Controllers that can tell threads apart. Only these can be had below a cgroup with processes, at the price that the
/// cgroups there are for threads.
const THREADED: [&str; 4] = ["cpu", "cpuset", "perf_event", "pids"];

/// Gives a v2 cgroup the controllers that its hierarchy has, enabling them in each directory on the way. What cannot be
/// enabled matters only to limits that need it (`needed`), so it is returned, not an error.
pub(super) fn enable(mount: &str, leaf: &Dir, needed: &[&str]) -> Result<Vec<Failure>> {
    let available = controllers(&Dir::new(mount))?;
    let mut there = controllers(leaf)?;
    if available.len() == there.len() {
        return Ok(Vec::new());
    }
    let mut above: Vec<&str> = Vec::new();
    let mut path = parent(leaf.path());
    while path.len() > mount.len() {
        above.push(path);
        path = parent(path);
    }
    above.push(mount);
    let missing: Vec<&str> =
        available.iter().filter(|name| !there.contains(name)).map(String::as_str).collect();
    let mut failures = Vec::new();
    for path in above.into_iter().rev() {
        enable_in(&Dir::new(path), &missing, needed, &mut failures);
    }
    there = controllers(leaf)?;
    failures.retain(|failure| !there.contains(&failure.controller));
    if there.len() < available.len() {
        enter_threaded_mode(leaf);
    }
    Ok(failures)
}

/// Enables controllers for the cgroups below one directory: all at once, else those that the kernel lets.
fn enable_in(dir: &Dir, missing: &[&str], needed: &[&str], failures: &mut Vec<Failure>) {
    let all = missing.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ");
    if dir.write("cgroup.subtree_control", &all).is_ok() {
        return;
    }
    enter_threaded_mode(dir);
    let threaded = |name: &str| THREADED.contains(&name);
    let only_threads = !needed.is_empty() && needed.iter().all(|name| threaded(name));
    let mut has_processes = false;
    let (last, first): (Vec<&str>, Vec<&str>) = missing.iter().partition(|name| threaded(name));
    for name in first.into_iter().chain(last) {
        if has_processes && threaded(name) && !only_threads {
            // The cgroup would become one for threads, which no process can be cloned into.
            failures.push(Failure {
                controller: name.to_owned(),
                path: dir.path().to_owned(),
                errno: Errno::EBUSY,
            });
            continue;
        }
        if let Err(errno) = dir.write("cgroup.subtree_control", &format!("+{name}")) {
            has_processes |= errno == Errno::EBUSY;
            failures.push(Failure { controller: name.to_owned(), path: dir.path().to_owned(), errno });
        }
    }
}

/// A cgroup below a threaded one cannot hold processes before it is made threaded itself, which only those limits
/// survive whose controllers support threads. Nothing else is possible there.
fn enter_threaded_mode(dir: &Dir) {
    if dir.read_value("cgroup.type").is_ok_and(|kind| kind == "domain invalid") {
        let _ = dir.write("cgroup.type", "threaded");
    }
}

/// The controllers of a v2 cgroup.
pub(super) fn controllers(dir: &Dir) -> Result<Vec<String>> {
    let name = "cgroup.controllers";
    let text = dir.read_value(name).map_err(|errno| dir.error("read", name, errno))?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

/// The processes in a cgroup itself, as numbers of this process's PID namespace; those outside of it are 0.
pub(super) fn processes(dir: &Dir) -> std::result::Result<Vec<i32>, Errno> {
    let text = match dir.read("cgroup.procs") {
        // In a threaded cgroup only threads can be listed.
        Err(Errno::ENOTSUP) => dir.read("cgroup.threads")?,
        Err(errno) if absent(Some(errno)) => return Ok(Vec::new()),
        result => result?,
    };
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

/// As [`processes`], with all cgroups below.
pub(super) fn all_processes(dir: &Dir) -> std::result::Result<Vec<i32>, Errno> {
    let mut pids = Vec::new();
    let mut visit = |dir: &Dir| processes(dir).map(|found| pids.extend(found));
    dir.walk(&mut visit, &mut |_, _| Ok(()))?;
    Ok(pids)
}

/// Removes a cgroup with everything below it, waiting for processes in it that are about to end. One that is gone is
/// removed.
///
/// # Errors
/// The errno of rmdir(2); processes that do not end.
pub(super) fn remove(dir: &Dir, patience: Patience) -> Result<()> {
    match rmdir(dir) {
        Ok(()) => return Ok(()),
        Err(Errno::EBUSY) => {}
        Err(errno) => {
            // On a read-only mount even a cgroup that is gone is EROFS.
            let exists = nix::sys::stat::lstat(dir.path()).is_ok();
            return if exists { Err(failed(dir, errno)) } else { Ok(()) };
        }
    }
    loop {
        // What is not empty yet keeps those above it, and is tried again.
        let mut leave =
            |above: BorrowedFd<'_>, name: &CStr| match unlinkat(above, name, UnlinkatFlags::RemoveDir) {
                Ok(()) | Err(Errno::ENOENT | Errno::ENODEV | Errno::EBUSY) => Ok(()),
                Err(errno) => Err(errno),
            };
        dir.walk(&mut |_| Ok(()), &mut leave).map_err(|errno| failed(dir, errno))?;
        match rmdir(dir) {
            Ok(()) => return Ok(()),
            Err(Errno::EBUSY) if !patience.left().is_zero() => wait_for_change(dir, patience.deadline)?,
            Err(Errno::EBUSY) => return Err(busy(dir, patience)),
            Err(errno) => return Err(failed(dir, errno)),
        }
    }
}

/// Removes a cgroup in which nothing is; false when something is, or it cannot be removed.
pub(super) fn remove_idle(dir: &Dir) -> bool {
    rmdir(dir).is_ok()
}

fn rmdir(dir: &Dir) -> std::result::Result<(), Errno> {
    match std::fs::remove_dir(dir.path()).map_err(|error| sys::errno_of(&error)) {
        Err(Errno::ENOENT) => Ok(()),
        result => result,
    }
}

fn failed(dir: &Dir, errno: Errno) -> Error {
    Error::Io { operation: "rmdir", path: dir.path().to_owned(), errno }
}

fn busy(dir: &Dir, patience: Patience) -> Error {
    let what = match all_processes(dir) {
        Ok(pids) if !pids.is_empty() => format!("processes {pids:?}"),
        _ => "the kernel".to_owned(),
    };
    patience.busy(dir.path(), what)
}

/// Waits until a process of a cgroup, or of one below it, has ended. `cgroup.events` would tell on v2, but the kernel holds
/// such notices back for 10 ms after the one before; a pidfd tells at once, and on v1, too.
pub(super) fn wait_for_change(dir: &Dir, deadline: Instant) -> Result<()> {
    let pids = all_processes(dir).map_err(|errno| dir.error("read", "cgroup.procs", errno))?;
    let pidfd = pids.iter().find_map(|pid| sys::pidfd::open(*pid).ok());
    let events = dir.open("cgroup.events", OFlag::O_RDONLY).ok();
    let mut polls = match (&pidfd, &events) {
        // Any process will do: each time the cgroup is looked at anew.
        (Some(pidfd), _) => vec![PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)],
        (None, Some(events)) => vec![PollFd::new(events.as_fd(), PollFlags::POLLPRI)],
        (None, None) => Vec::new(),
    };
    let left = deadline.saturating_duration_since(Instant::now());
    // Without a process to wait for, the last one is between its end and the kernel's bookkeeping of it.
    let most = if pidfd.is_none() { Duration::from_millis(1) } else { Duration::from_secs(1) };
    let timeout = PollTimeout::try_from(left.min(most)).unwrap_or(PollTimeout::ZERO);
    match poll(&mut polls, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(Error::Io { operation: "poll", path: dir.path().to_owned(), errno }),
    }
}
