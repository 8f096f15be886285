//! A container's control groups, as the runtime library knows them: found from a process, watched and read.

pub use runtime::cgroup::{Cgroup, Oom, OomWatch};

use std::io;
use std::path::Path;

use runtime::cgroup::Record;

/// Where control groups are mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// The control groups that the process `pid` is in, in every hierarchy that is mounted where it usually is.
pub fn of_process(pid: u32) -> io::Result<Cgroup> {
    let table = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let v2_alone = Path::new(ROOT).join("cgroup.controllers").exists();
    let dirs = table.lines().filter_map(|line| directory(line, v2_alone)).collect();
    Cgroup::open(&Record { dirs, ..Record::default() }).map_err(io::Error::other)
}

/// The directory that one line of `/proc/PID/cgroup` names (cgroups(7)); `None` for one that is not mounted.
fn directory(line: &str, v2_alone: bool) -> Option<(String, String)> {
    let mut fields = line.splitn(3, ':');
    let (_hierarchy, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let folder = match (controllers, v2_alone) {
        ("", true) => String::new(),
        ("", false) => "/unified".to_owned(),
        (controllers, _) => format!("/{}", controllers.strip_prefix("name=").unwrap_or(controllers)),
    };
    let directory = format!("{ROOT}{folder}{}", path.trim_end_matches('/'));
    Path::new(&directory).is_dir().then(|| (controllers.to_owned(), directory))
}

/// Whether a container's cgroups are still there.
pub fn exists(cgroup: &Cgroup) -> bool {
    cgroup.record().dirs.iter().any(|(_, directory)| Path::new(directory).is_dir())
}
