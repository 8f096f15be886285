//! Notices of processes killed for want of memory: v1 by eventfd, v2 by inotify on `memory.events`.

use super::Cgroup;
use super::dir::{Dir, absent};
use super::error::{Error, Result};
use crate::sys::Errno;
use nix::fcntl::OFlag;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A watch for out-of-memory kills in a container. Poll its descriptor for input, then call [`OomWatch::read`].
#[derive(Debug)]
pub struct OomWatch {
    dir: Dir,
    notice: Notice,
    kills: u64,
}

#[derive(Debug)]
enum Notice {
    V1(EventFd, #[allow(dead_code, reason = "the kernel drops the registration with it")] OwnedFd),
    V2(Inotify),
}

/// What a notice meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oom {
    /// Processes ran out of memory. On v2 they were killed; on v1 the notice comes just before that, and also where
    /// `disableOOMKiller` lets them wait instead.
    Happened,
    /// Nothing of that kind happened.
    Nothing,
    /// The cgroup has no more processes, or is gone: there will be no more notices.
    Gone,
}

impl Cgroup {
    /// Watches for out-of-memory kills.
    ///
    /// # Errors
    /// The container has no memory controller, or the kernel's refusal.
    pub fn watch_oom(&self) -> Result<OomWatch> {
        let unsupported = Error::Unsupported {
            what: "watch for OOM kills",
            why: "the container's cgroup has no memory controller",
        };
        if let Some(member) = self.legacy("memory") {
            return OomWatch::v1(Dir::new(member.dir.path()));
        }
        match self.unified() {
            Some(member) => OomWatch::v2(Dir::new(member.dir.path())),
            None => Err(unsupported),
        }
    }

    /// How many processes of the container were killed for want of memory.
    ///
    /// # Errors
    /// The file could not be read. A container without memory controller has had none killed.
    pub fn oom_kills(&self) -> Result<u64> {
        match self.legacy("memory").or_else(|| self.unified()) {
            Some(member) => Ok(kills(&member.dir, !member.is_unified())?.unwrap_or(0)),
            None => Ok(0),
        }
    }
}

impl OomWatch {
    fn v1(dir: Dir) -> Result<Self> {
        let error = |name: &str, errno| dir.error("watch", name, errno);
        let control = dir.open("memory.oom_control", OFlag::O_RDONLY);
        let control = control.map_err(|errno| error("memory.oom_control", errno))?;
        let eventfd = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(|errno| error("memory.oom_control", errno))?;
        let line = format!("{} {}", eventfd.as_fd().as_raw_fd(), control.as_raw_fd());
        dir.write("cgroup.event_control", &line).map_err(|errno| error("cgroup.event_control", errno))?;
        let kills = kills(&dir, true)?.unwrap_or(0);
        Ok(Self { dir, notice: Notice::V1(eventfd, control), kills })
    }

    fn v2(dir: Dir) -> Result<Self> {
        let error = |name: &str, errno| dir.error("watch", name, errno);
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .map_err(|errno| error("memory.events", errno))?;
        // cgroupfs gives no notice of a removal; an empty cgroup is told of by cgroup.events.
        for name in ["memory.events", "cgroup.events"] {
            let watched = inotify.add_watch(dir.file(name).as_str(), AddWatchFlags::IN_MODIFY);
            watched.map_err(|errno| error(name, errno))?;
        }
        let kills = kills(&dir, false)?.unwrap_or(0);
        Ok(Self { dir, notice: Notice::V2(inotify), kills })
    }

    /// Takes the notices that have come, without waiting. On v2 the kernel holds notices back for up to 10 ms: there a kill
    /// is told by its counter, which counts it before the process has ended.
    ///
    /// # Errors
    /// The descriptor or the counter could not be read.
    pub fn read(&mut self) -> Result<Oom> {
        let drained = match &self.notice {
            Notice::V1(eventfd, _) => eventfd.read().map(drop),
            Notice::V2(inotify) => inotify.read_events().map(drop),
        };
        let noticed = match drained {
            Ok(()) => true,
            Err(Errno::EAGAIN | Errno::EINTR) => false,
            Err(errno) => return Err(self.dir.error("read", "OOM notice", errno)),
        };
        let v1 = matches!(self.notice, Notice::V1(..));
        if v1 && !noticed {
            return Ok(Oom::Nothing);
        }
        let Some(kills) = kills(&self.dir, v1)? else { return Ok(Oom::Gone) };
        let more = kills > self.kills;
        self.kills = kills;
        if more || v1 {
            return Ok(Oom::Happened);
        }
        // What is held back will be read when it comes, and whether the cgroup is empty then.
        if !noticed {
            return Ok(Oom::Nothing);
        }
        match self.dir.read("cgroup.events") {
            Ok(text) if text.lines().any(|line| line == "populated 1") => Ok(Oom::Nothing),
            Ok(_) => Ok(Oom::Gone),
            Err(errno) if absent(Some(errno)) => Ok(Oom::Gone),
            Err(errno) => Err(self.dir.error("read", "cgroup.events", errno)),
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.notice {
            Notice::V1(eventfd, _) => eventfd.as_fd(),
            Notice::V2(inotify) => inotify.as_fd(),
        }
    }
}

/// The counter of kills; `None` when the cgroup is gone.
fn kills(dir: &Dir, v1: bool) -> Result<Option<u64>> {
    let name = if v1 { "memory.oom_control" } else { "memory.events" };
    let Some(text) = dir.optional(name)? else { return Ok(None) };
    let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    Ok(Some(line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)))
}
