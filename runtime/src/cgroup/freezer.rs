//! Freezing and thawing: the v1 freezer, and `cgroup.freeze` of v2 (Linux 5.2).

use super::dir::absent;
use super::error::{Error, Result};
use super::tree::Patience;
use super::{Cgroup, Member};
use crate::sys::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::time::Duration;

/// How long processes may take to stop, those in a system call that cannot be interrupted included.
const PATIENCE: Duration = Duration::from_secs(10);

/// When processes that do not stop are asked to again.
const AGAIN: Duration = Duration::from_millis(100);

impl Cgroup {
    /// Stops every process of the container, and waits until they have.
    ///
    /// # Errors
    /// No freezer here, or processes that do not stop; then they are let go on.
    pub fn freeze(&self) -> Result<()> {
        self.freeze_within(PATIENCE)
    }

    /// As [`Cgroup::freeze`], and waits no longer than `limit`.
    pub(super) fn freeze_within(&self, limit: Duration) -> Result<()> {
        let (member, patience) = (self.freezer()?, Patience::of(limit));
        let result =
            if member.is_unified() { freeze_v2(member, patience) } else { freeze_v1(member, patience) };
        if result.is_err() {
            let _ = set(member, false);
        }
        result
    }

    /// Lets the processes go on.
    ///
    /// # Errors
    /// No freezer here, or the kernel's refusal.
    pub fn thaw(&self) -> Result<()> {
        set(self.freezer()?, false)
    }

    /// Whether the container was frozen, by [`Cgroup::freeze`] or another's hand. One without cgroup is not; nor is one
    /// that only shares the fate of a frozen cgroup above.
    ///
    /// # Errors
    /// The file could not be read.
    pub fn is_frozen(&self) -> Result<bool> {
        self.freezer().map_or(Ok(false), is_frozen)
    }

    /// The directory whose freezer stops the container, if it has one.
    #[must_use]
    pub fn freezer_path(&self) -> Option<&str> {
        self.freezer().ok().map(|member| member.dir.path())
    }

    fn freezer(&self) -> Result<&Member> {
        self.legacy("freezer")
            .or_else(|| self.unified())
            .ok_or(Error::Unsupported { what: "toggle freezer", why: "cgroups not configured for container" })
    }
}

/// Whether this one cgroup was asked to be frozen.
pub(super) fn is_frozen(member: &Member) -> Result<bool> {
    let file = match (member.is_unified(), member.has("freezer")) {
        (true, _) => "cgroup.freeze",
        (false, true) => "freezer.self_freezing",
        (false, false) => return Ok(false),
    };
    match member.dir.read_value(file) {
        Ok(value) => Ok(value == "1"),
        Err(errno) if absent(Some(errno)) => Ok(false),
        Err(errno) => Err(member.dir.error("read", file, errno)),
    }
}

fn set(member: &Member, frozen: bool) -> Result<()> {
    let (file, value) = match (member.is_unified(), frozen) {
        (true, false) => ("cgroup.freeze", "0"),
        (true, true) => ("cgroup.freeze", "1"),
        (false, false) => ("freezer.state", "THAWED"),
        (false, true) => ("freezer.state", "FROZEN"),
    };
    match member.dir.write(file, value) {
        // In one that is gone nothing is frozen.
        Err(errno) if !frozen && absent(Some(errno)) => Ok(()),
        result => result.map_err(|errno| member.dir.error("write", file, errno)),
    }
}

fn freeze_v2(member: &Member, patience: Patience) -> Result<()> {
    let error = |errno| member.dir.error("read", "cgroup.events", errno);
    let events = member.dir.open("cgroup.events", OFlag::O_RDONLY).map_err(error)?;
    let mut buffer = [0u8; 256];
    loop {
        // Who signals all processes lets them go on afterwards, and of that there is no notice.
        set(member, true)?;
        // Reading is what arms the notice for poll(2).
        let length = nix::sys::uio::pread(&events, &mut buffer, 0).map_err(error)?;
        let text = String::from_utf8_lossy(&buffer[..length]);
        if text.lines().any(|line| line == "frozen 1") {
            return Ok(());
        }
        wait(&mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)], member, patience, AGAIN)?;
    }
}

/// The v1 freezer is not told of processes that are made while it works: it must be asked until it has them all.
fn freeze_v1(member: &Member, patience: Patience) -> Result<()> {
    for round in 0u32.. {
        set(member, true)?;
        let state = member.dir.read_value("freezer.state");
        let state = state.map_err(|errno| member.dir.error("read", "freezer.state", errno))?;
        match state.as_str() {
            "FROZEN" => return Ok(()),
            // It gives no notice, so after a few tries it is asked again each millisecond.
            _ if round < 20 => drop(nix::sched::sched_yield()),
            _ => wait(&mut [], member, patience, Duration::from_millis(1))?,
        }
    }
    Ok(())
}

fn wait(polls: &mut [PollFd<'_>], member: &Member, patience: Patience, most: Duration) -> Result<()> {
    let left = patience.left();
    if left.is_zero() {
        return Err(patience.busy(member.dir.path(), "processes that do not freeze".to_owned()));
    }
    match poll(polls, PollTimeout::try_from(left.min(most)).unwrap_or(PollTimeout::ZERO)) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(member.dir.error("poll", "", errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::dir::Dir;
    use std::fs;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "the kernel works beside it")]
    fn what_another_hand_has_thawed_meanwhile_is_frozen() {
        let folder = tempfile::tempdir().unwrap();
        let [freeze, events] = ["cgroup.freeze", "cgroup.events"].map(|name| folder.path().join(name));
        fs::write(&freeze, "0").unwrap();
        fs::write(&events, "populated 1\nfrozen 0\n").unwrap();
        let kernel = std::thread::spawn(move || {
            let asked = || while fs::read_to_string(&freeze).unwrap() != "1" {};
            asked();
            fs::write(&freeze, "0").unwrap();
            asked();
            fs::write(&events, "populated 1\nfrozen 1\n").unwrap();
        });
        freeze_v2(&member(folder.path()), Patience::of(PATIENCE)).unwrap();
        kernel.join().unwrap();
    }

    /// The container is deleted while its processes are signalled.
    #[test]
    fn what_is_gone_is_not_frozen() {
        let folder = tempfile::tempdir().unwrap();
        let gone = member(&folder.path().join("gone"));
        set(&gone, false).unwrap();
        set(&gone, true).unwrap_err();
    }

    fn member(folder: &std::path::Path) -> Member {
        let dir = Dir::new(folder.to_str().unwrap());
        Member { controllers: super::super::host::UNIFIED.to_owned(), dir }
    }
}
