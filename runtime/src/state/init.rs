//! The first process of a container: whether it is still the one that a record means.

use super::Record;
use crate::sys::pidfd;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

/// The first process of a container, as long as it is the one that the record means.
#[derive(Debug)]
pub struct Init {
    /// Its pidfd.
    pub pidfd: OwnedFd,
    /// Its number.
    pub pid: i32,
}

/// Opens the process of a record; `None` when it has ended (a zombie has ended) or the number is another's now.
#[must_use]
pub fn init(record: &Record) -> Option<Init> {
    if record.pid <= 0 {
        return None;
    }
    // First the descriptor, then the comparison: what is compared can no longer change.
    let pidfd = pidfd::open(record.pid).ok()?;
    let (start_time, ended) = process_times(record.pid)?;
    if ended || start_time != record.start_time || pidfd::has_exited(pidfd.as_fd(), 0) != Ok(false) {
        return None;
    }
    Some(Init { pidfd, pid: record.pid })
}

/// When a process started, in clock ticks since boot, and whether it is a zombie.
#[must_use]
pub fn process_times(pid: i32) -> Option<(u64, bool)> {
    let mut buffer = [0; 1024];
    let mut file = File::open(format!("/proc/{pid}/stat")).ok()?;
    let length = file.read(&mut buffer).ok()?;
    let stat = &buffer[..length];
    // The name in parentheses may hold anything: fields are counted from the last parenthesis.
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let text = std::str::from_utf8(stat.get(close + 2..)?).ok()?;
    let mut fields = text.split(' ');
    let state = fields.next()?;
    let start_time = fields.nth(18)?.parse().ok()?;
    Some((start_time, matches!(state, "Z" | "X")))
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
        assert!(init(&record).is_some());
        record.start_time += 1;
        assert!(init(&record).is_none());
    }
}
