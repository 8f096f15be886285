//! A container's control groups, as the runtime library knows them: found from a process, watched and read.

pub use runtime::cgroup::{Cgroup, Oom, OomWatch};

use std::io;
use std::path::Path;

use runtime::cgroup::Record;

/// Where control groups are mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// The control groups that the process `pid` is in, in every hierarchy that is mounted where it usually is.
///
/// A hierarchy in which it is where this shim is, or above, is left out: that group is not the container's,
/// and what is done to all of its processes would be done to ours.
pub fn of_process(pid: u32) -> io::Result<Cgroup> {
    let table = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let own = std::fs::read_to_string("/proc/self/cgroup")?;
    let v2_alone = Path::new(ROOT).join("cgroup.controllers").exists();
    let lines = table.lines().filter(|line| !holds_us(line, &own));
    let dirs = lines.filter_map(|line| directory(line, v2_alone)).collect();
    Cgroup::open(&Record { dirs, ..Record::default() }).map_err(io::Error::other)
}

/// Whether the group of one line of a process's table is ours in `own`, or one above it.
fn holds_us(line: &str, own: &str) -> bool {
    let Some((controllers, path)) = fields(line) else { return true };
    let ours = own.lines().filter_map(fields).find(|(names, _)| *names == controllers);
    ours.is_none_or(|(_, ours)| Path::new(ours).starts_with(path))
}

/// Controllers and path of one line of `/proc/PID/cgroup` (cgroups(7)).
fn fields(line: &str) -> Option<(&str, &str)> {
    line.split_once(':')?.1.split_once(':')
}

/// The directory that one line names; `None` for one that is not mounted.
fn directory(line: &str, v2_alone: bool) -> Option<(String, String)> {
    let (controllers, path) = fields(line)?;
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

#[cfg(test)]
mod tests {
    use super::holds_us;

    #[test]
    fn a_group_that_holds_the_shim_is_never_the_containers() {
        let own = "5:memory:/system.slice/containerd.service\n1:name=systemd:/\n0::/\n";
        assert!(!holds_us("5:memory:/docker/c1", own));
        assert!(!holds_us("5:memory:/system.slice/containerd.service/c1", own));
        assert!(!holds_us("5:memory:/system.slice/containerd", own));
        for ours in
            ["5:memory:/system.slice/containerd.service", "5:memory:/system.slice", "5:memory:/", "0::/"]
        {
            assert!(holds_us(ours, own), "{ours}");
        }
        assert!(holds_us("7:pids:/docker/c1", own), "a hierarchy that we cannot compare");
        assert!(holds_us("nonsense", own));
    }
}
