//! Mounts: those every container has, the engine's files, and the user's.

use serde_json::{Value, json};

use super::Surroundings;
use crate::container::record::{MountPoint, Record};
use crate::error::{Result, ensure};

/// Of /dev/pts, which belongs to the group of terminals.
const PTS: [&str; 6] = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];

pub(super) fn all(record: &Record, around: &Surroundings, own_cgroup: bool) -> Result<Vec<Value>> {
    let host = &record.host;
    let privileged = host.privileged.unwrap_or(false);
    let access = if privileged { "rw" } else { "ro" };
    let taken = |path: &str| record.mounts.iter().any(|mount| mount.destination == path);
    let plain = ["nosuid", "noexec", "nodev"];
    let mut all = vec![
        mount("/proc", "proc", "proc", &plain),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts", &PTS),
        mount("/dev/mqueue", "mqueue", "mqueue", &plain),
    ];
    // In a network namespace that is not the user's own, the kernel makes no sysfs; the host's is shown instead.
    let bound = record.network_mode() == "host" && crate::rootless::is();
    all.push(match bound {
        true => mount("/sys", "bind", "/sys", &["rbind", "nosuid", "noexec", "nodev", access]),
        false => mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", access]),
    });
    if !bound || own_cgroup {
        all.push(mount("/sys/fs/cgroup", "cgroup", "cgroup", &[access, "nosuid", "noexec", "nodev"]));
    }
    all.extend(shm(record).filter(|_| !taken("/dev/shm")));
    for name in ["resolv.conf", "hostname", "hosts"] {
        let (path, source) = (format!("/etc/{name}"), around.files.join(name));
        if !taken(&path) && source.exists() {
            let access = if host.readonly_rootfs == Some(true) { "ro" } else { "rw" };
            all.push(mount(&path, "bind", &source.to_string_lossy(), &["rbind", "rprivate", access]));
        }
    }
    if let Some(init) = &around.init {
        all.push(mount("/sbin/docker-init", "bind", &init.to_string_lossy(), &["bind", "ro"]));
    }
    for point in &record.mounts {
        all.push(user_mount(point)?);
    }
    // What is mounted below another mount has to come after it, the engine's files too.
    all.sort_by_key(|mount| mount["destination"].as_str().map(|path| path.matches('/').count()));
    Ok(all)
}

fn mount(to: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({"destination": to, "type": kind, "source": source, "options": options})
}

fn shm(record: &Record) -> Option<Value> {
    match record.host.ipc_mode.as_deref() {
        Some("none") => None,
        Some("host") => Some(mount("/dev/shm", "bind", "/dev/shm", &["rbind", "rw", "rprivate"])),
        _ => {
            let size = format!("size={}", record.shm_size());
            let options = ["nosuid", "noexec", "nodev", "mode=1777", &size];
            Some(mount("/dev/shm", "tmpfs", "shm", &options))
        }
    }
}

fn user_mount(point: &MountPoint) -> Result<Value> {
    if point.kind == "tmpfs" {
        let access = if point.writable { "rw" } else { "ro" };
        let mut options = vec!["noexec", "nosuid", "nodev", access];
        // The last word counts: `exec` takes `noexec` back.
        options.extend(point.options.iter().map(String::as_str));
        return Ok(mount(&point.destination, "tmpfs", "tmpfs", &options));
    }
    ensure!(!point.source.is_empty(), internal, "the mount at {} has no source", point.destination);
    // With what is mounted below it, so that nothing of it can be written to (Linux 5.12).
    let access = if point.writable { "rw" } else { "rro" };
    let propagation = if point.propagation.is_empty() { "rprivate" } else { &point.propagation };
    Ok(mount(&point.destination, "bind", &point.source, &["rbind", access, propagation]))
}
