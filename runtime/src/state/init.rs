//! The first process of a container: whether it is still the one that a record means.

use super::{Record, Result, StateError};
use crate::sys::fd::LazyFd;
use crate::sys::{Errno, pidfd};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// The first process of a container, as long as it is the one that the record means.
#[derive(Debug)]
pub struct Init {
    /// Its pidfd.
    pub pidfd: OwnedFd,
    /// Its number.
    pub pid: i32,
}

impl Init {
    /// Whether it has ended, or is on its way there with its files closed already: it runs no program any more.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        // PF_EXITING of the kernel's sched.h.
        let exiting = stat(self.pid).is_ok_and(|stat| stat.flags & 4 != 0);
        exiting || pidfd::has_exited(self.pidfd.as_fd(), 0) != Ok(false)
    }
}

/// Opens the process of a record; `None` when it has ended (a zombie has ended) or the number is another's now.
///
/// # Errors
/// [`StateError::Io`] when nobody can tell, as without `/proc` or without a descriptor left: a container that runs must not
/// be taken for one that has stopped.
pub fn init(record: &Record) -> Result<Option<Init>> {
    if record.pid <= 0 {
        return Ok(None);
    }
    let unknown =
        |operation, path: String, source| StateError::Io { operation, path: PathBuf::from(path), source };
    // First the descriptor, then the comparison: what is compared can no longer change.
    let pidfd = match pidfd::open(record.pid) {
        Ok(pidfd) => pidfd,
        // No process has this number, or a thread has it (pidfd_open(2)).
        Err(Errno::ESRCH | Errno::EINVAL | Errno::ENOENT) => return Ok(None),
        Err(errno) => {
            return match is_another(record) {
                true => Ok(None),
                false => Err(unknown("pidfd_open", record.pid.to_string(), errno.into())),
            };
        }
    };
    let times = process_times(record.pid);
    if pidfd::has_exited(pidfd.as_fd(), 0) != Ok(false) {
        return Ok(None);
    }
    match times {
        Ok((start_time, false)) if start_time == record.start_time => {
            Ok(Some(Init { pidfd, pid: record.pid }))
        }
        Ok(_) => Ok(None),
        Err(error) => Err(unknown("read", format!("/proc/{}/stat", record.pid), error)),
    }
}

/// Whether the process that a record means has ended for certain, as far as procfs tells.
fn is_another(record: &Record) -> bool {
    match process_times(record.pid) {
        Ok((start_time, ended)) => ended || start_time != record.start_time,
        // There is none of this number, or there is no /proc.
        Err(error) => {
            error.kind() == io::ErrorKind::NotFound && process_times(nix::unistd::getpid().as_raw()).is_ok()
        }
    }
}

/// When a process started, in clock ticks since boot, and whether it is a zombie.
///
/// # Errors
/// It cannot be read: there is no such process, or no `/proc`.
pub fn process_times(pid: i32) -> io::Result<(u64, bool)> {
    stat(pid).map(|stat| (stat.start_time, stat.ended))
}

/// What `/proc/PID/stat` says of a process (proc_pid_stat(5)).
struct Stat {
    ended: bool,
    flags: u32,
    start_time: u64,
}

fn stat(pid: i32) -> io::Result<Stat> {
    let mut buffer = [0; 1024];
    let file = LazyFd::from(File::open(format!("/proc/{pid}/stat"))?);
    let length = nix::unistd::read(&file, &mut buffer)?;
    let stat = parse_stat(buffer.get(..length).unwrap_or_default());
    stat.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

fn parse_stat(stat: &[u8]) -> Option<Stat> {
    // The name in parentheses may hold anything: fields are counted from the last parenthesis.
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let text = std::str::from_utf8(stat.get(close + 2..)?).ok()?;
    let mut fields = text.split(' ');
    let state = fields.next()?;
    let flags = fields.nth(5)?.parse().ok()?;
    let start_time = fields.nth(12)?.parse().ok()?;
    Some(Stat { ended: matches!(state, "Z" | "X"), flags, start_time })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn this_process_has_a_start_time_and_pid_reuse_is_seen() {
        let pid = i32::try_from(std::process::id()).expect("a pid");
        let (start_time, ended) = process_times(pid).expect("alive");
        assert!(!ended);
        let mut record = Record::new("x", "1.3.0", Path::new("/"), Path::new("/"));
        (record.pid, record.start_time) = (pid, start_time);
        assert!(matches!(init(&record), Ok(Some(_))));
        record.start_time += 1;
        assert!(matches!(init(&record), Ok(None)));
    }
}
