//! Mounts: those every container has, the engine's files, and the user's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Surroundings, security};
use crate::container::mounts;
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
        let writable = security::options(host)?.writable_cgroups.unwrap_or(privileged);
        let access = if writable { "rw" } else { "ro" };
        all.push(mount("/sys/fs/cgroup", "cgroup", "cgroup", &[access, "nosuid", "noexec", "nodev"]));
    }
    all.extend(shm(record, around));
    if let Some(init) = &around.init {
        all.push(mount("/sbin/docker-init", "bind", &init.to_string_lossy(), &["bind", "ro"]));
    }
    // A user's mount stands in place of one of these, one at /dev in place of all below it.
    let in_place = |path: &str| taken(path) || path.starts_with("/dev/") && taken("/dev");
    all.retain(|mount| !mount["destination"].as_str().is_some_and(in_place));
    all.extend(shown(record, &around.files, &around.parts)?);
    all.sort_by_key(depth);
    Ok(all)
}

/// The engine's own files, which are in a folder, and what the user wants, of which these are parts of something.
///
/// # Errors
/// When a mount has no source.
pub fn shown(record: &Record, files: &Path, parts: &BTreeMap<String, PathBuf>) -> Result<Vec<Value>> {
    let access = if record.host.readonly_rootfs == Some(true) { "ro" } else { "rw" };
    let own = ["resolv.conf", "hostname", "hosts"].map(|name| (format!("/etc/{name}"), files.join(name)));
    let taken = |path: &str| record.mounts.iter().any(|mount| mount.destination == path);
    let own = own.iter().filter(|(path, source)| source.exists() && !taken(path));
    let own = own.map(|(path, source)| {
        Ok(mount(path, "bind", &source.to_string_lossy(), &["rbind", "rprivate", access]))
    });
    let mut all =
        own.chain(record.mounts.iter().map(|point| user_mount(point, parts))).collect::<Result<Vec<_>>>()?;
    all.sort_by_key(depth);
    Ok(all)
}

/// What is mounted below another mount has to come after it, the engine's files too.
fn depth(mount: &Value) -> Option<usize> {
    mount["destination"].as_str().map(|path| path.matches('/').count())
}

/// That of the root, without which a user's mount could not have its own.
pub(super) fn propagation(record: &Record) -> Option<&'static str> {
    let fits = |point: &MountPoint| mounts::check_propagation(point).is_ok();
    let is = |kind: &str| record.mounts.iter().any(|point| point.propagation.ends_with(kind) && fits(point));
    if is("shared") { Some("shared") } else { is("slave").then_some("rslave") }
}

fn mount(to: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({"destination": to, "type": kind, "source": source, "options": options})
}

fn shm(record: &Record, around: &Surroundings) -> Option<Value> {
    let bound = |source| Some(mount("/dev/shm", "bind", source, &["rbind", "rw", "rprivate"]));
    match (record.host.ipc_mode.as_deref(), &around.shm) {
        (Some("none"), _) => None,
        (Some("host"), _) => bound("/dev/shm"),
        (_, Some(shared)) => bound(&shared.to_string_lossy()),
        _ => {
            let size = format!("size={}", record.shm_size());
            let options = ["nosuid", "noexec", "nodev", "mode=1777", &size];
            Some(mount("/dev/shm", "tmpfs", "shm", &options))
        }
    }
}

fn user_mount(point: &MountPoint, parts: &BTreeMap<String, PathBuf>) -> Result<Value> {
    if point.kind == "tmpfs" {
        let access = if point.writable { "rw" } else { "ro" };
        let mut options = vec!["noexec", "nosuid", "nodev", access];
        // The last word counts: `exec` takes `noexec` back.
        options.extend(point.options.iter().map(String::as_str));
        return Ok(mount(&point.destination, "tmpfs", "tmpfs", &options));
    }
    ensure!(!point.source.is_empty(), internal, "the mount at {} has no source", point.destination);
    let own = |word: &'static str| point.options.iter().any(|option| option == word).then_some(word);
    // What is mounted into a volume later is seen, as with Docker.
    let usual = if point.kind == "volume" { "rslave" } else { "rprivate" };
    let propagation = if point.propagation.is_empty() { usual } else { &point.propagation };
    let source = parts.get(&point.destination).map(|part| part.to_string_lossy());
    let source = source.unwrap_or_else(|| point.source.as_str().into());
    let mut options = vec![own("bind").unwrap_or("rbind"), propagation];
    if !point.writable {
        // With what is mounted below it, so that nothing of it can be written to (Linux 5.12).
        options.push(own("ro").unwrap_or("rro"));
    }
    Ok(mount(&point.destination, "bind", &source, &options))
}
