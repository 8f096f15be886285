//! What a container has left behind.
//!
//! Everything a container's commands make carries its id: the cgroup by its path, processes by a variable in
//! their environment, mounts and state by the bundle's directory. So other tests that run at the same time do
//! not disturb.

use crate::container::{Container, MARK};
use crate::{host, proc};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::PathBuf;

/// What is left of a container; empty when nothing is.
pub fn left(container: &Container) -> Vec<String> {
    let id = &container.id;
    let mut left: Vec<String> = cgroups(id).iter().map(|path| format!("cgroup {}", path.display())).collect();
    left.extend(processes(id).iter().map(|pid| {
        let words = proc::nul_separated(&format!("/proc/{pid}/cmdline"));
        format!("process {pid} ({words:?})")
    }));
    let bundle = container.bundle().to_string_lossy().into_owned();
    for mount in proc::mounts("self") {
        if [&mount.target, &mount.source, &mount.root]
            .iter()
            .any(|text| text.contains(&bundle) || text.contains(id))
        {
            left.push(format!("mount {} on {}", mount.source, mount.target));
        }
    }
    for name in proc::entries(&container.root) {
        left.push(format!("state {name}"));
    }
    left
}

/// Fails the test when a container has left anything behind.
///
/// # Panics
/// When it has.
#[track_caller]
pub fn assert_none(container: &Container) {
    let left = left(container);
    assert!(left.is_empty(), "left behind: {left:#?}");
}

/// The cgroups whose path has the id.
pub fn cgroups(id: &str) -> Vec<PathBuf> {
    let all = host::hierarchies().into_iter().flat_map(|top| host::cgroups_below(&top));
    all.filter(|path| path.components().any(|part| is_of(&part.as_os_str().to_string_lossy(), id))).collect()
}

/// Whether a name belongs to an id: it has it, and no further digit after it.
fn is_of(name: &str, id: &str) -> bool {
    name.match_indices(id).any(|(at, _)| !name[at + id.len()..].starts_with(|c: char| c.is_ascii_digit()))
}

/// The living processes that belong to an id, by their environment or their cgroup.
pub fn processes(id: &str) -> Vec<i32> {
    let mark = format!("{MARK}={id}");
    let own = |pid: &i32| {
        let by_environment = proc::nul_separated(&format!("/proc/{pid}/environ")).contains(&mark);
        by_environment || proc::cgroups(&pid.to_string()).values().any(|path| is_of(path, id))
    };
    proc::pids().into_iter().filter(own).filter(|pid| host::alive(*pid)).collect()
}

/// Kills and removes whatever of a container is left, so that a failed test does not disturb the others.
pub fn sweep(id: &str) {
    for pid in processes(id) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    for cgroup in cgroups(id) {
        let _ = std::fs::write(cgroup.join("freezer.state"), "THAWED");
        for _ in 0..100 {
            if std::fs::remove_dir(&cgroup).is_ok() || !cgroup.exists() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_not_found_in_a_longer_number() {
        assert!(is_of("cit-5-1", "cit-5-1"));
        assert!(is_of("/x/corten-cit-5-1.scope", "cit-5-1"));
        assert!(!is_of("cit-5-12", "cit-5-1"));
    }
}
