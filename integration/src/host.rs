//! The kernel's view of a container from the host.

use crate::{proc, runtime};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The directory of a process in the cgroup version 1 hierarchy of a controller, if there is one.
pub fn cgroup1(pid: i32, controller: &str) -> Option<PathBuf> {
    let groups = proc::cgroups(&pid.to_string());
    let has = |names: &String| names.split(',').any(|name| name == controller);
    let (_, path) = groups.iter().find(|(names, _)| has(names))?;
    let mounts = proc::mounts("self");
    let of = |mount: &&proc::Mount| mount.fstype == "cgroup" && mount.super_has(controller);
    below(mounts.iter().find(of)?, path)
}

/// The directory of a process in the unified hierarchy, if that is mounted.
pub fn cgroup2(pid: i32) -> Option<PathBuf> {
    let groups = proc::cgroups(&pid.to_string());
    let mounts = proc::mounts("self");
    below(mounts.iter().find(|mount| mount.fstype == "cgroup2")?, groups.get("")?)
}

fn below(mount: &proc::Mount, path: &str) -> Option<PathBuf> {
    let inside = path.strip_prefix(mount.root.trim_end_matches('/'))?;
    Some(Path::new(&mount.target).join(inside.trim_start_matches('/')))
}

/// A file of the container's cgroup: by controller and name in version 1, by name in version 2. Nothing when
/// this machine has neither.
pub fn cgroup_file(pid: i32, controller: &str, v1: &str, v2: &str) -> Option<PathBuf> {
    let one = cgroup1(pid, controller).map(|directory| directory.join(v1));
    let two = cgroup2(pid).map(|directory| directory.join(v2));
    [one, two].into_iter().flatten().find(|path| path.exists())
}

/// The text of [`cgroup_file`], without the newline at its end.
pub fn cgroup_text(pid: i32, controller: &str, v1: &str, v2: &str) -> Option<String> {
    let text = fs::read_to_string(cgroup_file(pid, controller, v1, v2)?).ok()?;
    Some(text.trim_end().to_owned())
}

/// Whether this machine has a controller, in either version.
pub fn has_controller(name: &str) -> bool {
    cgroup1(1, name).is_some() || root_controllers().iter().any(|have| have == name)
}

fn root_controllers() -> Vec<String> {
    let mounts = proc::mounts("self");
    let Some(mount) = mounts.iter().find(|mount| mount.fstype == "cgroup2") else { return Vec::new() };
    let text = fs::read_to_string(Path::new(&mount.target).join("cgroup.controllers")).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// The mount points of all cgroup hierarchies.
pub fn hierarchies() -> Vec<PathBuf> {
    let mounts = proc::mounts("self");
    let of = |mount: &&proc::Mount| mount.fstype == "cgroup" || mount.fstype == "cgroup2";
    mounts.iter().filter(of).map(|mount| PathBuf::from(&mount.target)).collect()
}

/// Where the unified hierarchy is mounted, if it is.
pub fn unified() -> Option<PathBuf> {
    let mounts = proc::mounts("self");
    Some(PathBuf::from(&mounts.iter().find(|mount| mount.fstype == "cgroup2")?.target))
}

/// Every cgroup below a directory, children before parents.
pub fn cgroups_below(directory: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            all.extend(cgroups_below(&entry.path()));
            all.push(entry.path());
        }
    }
    all
}

/// Whether a process runs: it exists and is no zombie.
pub fn alive(pid: i32) -> bool {
    let status = proc::Status::of(&pid.to_string());
    !status.0.is_empty() && !status.get("State").starts_with(['Z', 'X'])
}

/// The link of one namespace of a process.
///
/// # Panics
/// When the process is gone.
#[track_caller]
pub fn namespace(pid: i32, kind: &str) -> String {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().to_string_lossy().into_owned()
}

/// The pids in a cgroup directory.
pub fn members(directory: &Path) -> Vec<i32> {
    let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// The system calls and the like that only newer kernels have: whether the running one is at least this new.
pub fn kernel_at_least(major: u32, minor: u32) -> bool {
    let uname = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    let release = uname.unwrap_or_default();
    let mut numbers =
        release.split(|letter: char| !letter.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

/// Whether this kernel runs programs of 32 bits: asked outside of any container.
///
/// # Panics
/// When the probe cannot be run.
pub fn runs_x86() -> Option<()> {
    let mut probe = Command::new(runtime::built("probe"));
    let output = probe.args(["try", "syscall-of-x86", "20"]).output().unwrap();
    (output.stdout == b"ok\n").then_some(())
}
