//! Id maps of a new user namespace (user_namespaces(7)).

use super::error::{Error, OrError, Result, file_error};
use crate::plan::Host;
use crate::plan::namespaces::{self, Namespaces};
use crate::privilege;
use crate::spec::IdMapping;
use crate::sys::clone::{self, Forked};
use crate::sys::{self, pidfd};
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;

/// Writes the maps of the process `pid`, which waits in its new user namespace.
///
/// # Errors
/// The kernel, or newuidmap(1), refuses a line.
pub fn write(pid: i32, plan: &Namespaces, host: &Host) -> Result<()> {
    write_maps(pid, &plan.uids, &plan.gids, host)
}

fn write_maps(pid: i32, uids: &[IdMapping], gids: &[IdMapping], host: &Host) -> Result<()> {
    if !host.rootless {
        write_file(pid, "uid_map", &namespaces::map_text(uids))?;
        return write_file(pid, "gid_map", &namespaces::map_text(gids));
    }
    one_map(pid, uids, privilege::user().as_raw(), "uid_map", "newuidmap")?;
    one_map(pid, gids, nix::unistd::getegid().as_raw(), "gid_map", "newgidmap")
}

/// Without privilege, a process may map its own id alone; for the rest there are setuid helpers and /etc/subuid.
fn one_map(pid: i32, map: &[IdMapping], own: u32, file: &str, helper: &str) -> Result<()> {
    if let [IdMapping { host_id, size: 1, .. }] = map
        && *host_id == own
    {
        if file == "gid_map" {
            write_file(pid, "setgroups", "deny")?;
        }
        return write_file(pid, file, &namespaces::map_text(map));
    }
    let mut command = Command::new(helper);
    command.arg(pid.to_string());
    for line in map {
        command.args([line.container_id, line.host_id, line.size].map(|number| number.to_string()));
    }
    let output = command.output().map_err(|error| {
        Error::Other(format!(
            "run {helper} (package uidmap) to map ids without privilege: {}",
            crate::sys::io_reason(&error)
        ))
    })?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let field = if file == "uid_map" { "uidMappings" } else { "gidMappings" };
    Err(Error::Other(format!("linux.{field}: {}", text.trim().replace('\n', "; "))))
}

fn write_file(pid: i32, name: &str, text: &str) -> Result<()> {
    let path = format!("/proc/{pid}/{name}");
    fs::write(&path, text).map_err(file_error("write", path))
}

/// A user namespace with the given maps, for an id-mapped mount: made by a process that lives as long as this call.
///
/// # Errors
/// The namespace cannot be made or mapped.
pub fn namespace(uids: &[IdMapping], gids: &[IdMapping], host: &Host) -> Result<OwnedFd> {
    let what = || "create a user namespace for an id-mapped mount".to_owned();
    let parent = nix::unistd::getpid();
    let forked = clone::fork_into(libc::CLONE_NEWUSER as u64, None).or_error(what)?;
    let Forked::Parent(pid, process) = forked else {
        // Lives until it is killed, or its parent is, which may have been before this was asked for.
        let _ = sys::process::set_parent_death_signal(libc::SIGKILL);
        while nix::unistd::getppid() == parent {
            nix::unistd::pause();
        }
        clone::exit_now(1)
    };
    let opened = write_maps(pid, uids, gids, host).and_then(|()| {
        let path = format!("/proc/{pid}/ns/user");
        File::open(&path).map_err(file_error("open", path))
    });
    let _ = pidfd::send_signal(process.as_fd(), libc::SIGKILL);
    let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
    opened.map(OwnedFd::from)
}
