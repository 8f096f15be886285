//! `spec`: a config.json to start from.

use super::{Command, CommandError, Context};
use crate::cli::{Parsed, switch, value};
use crate::sys;
use serde_json::json;
use std::fs::File;
use std::io::{ErrorKind, Write};

/// `spec`.
pub const SPEC: Command = Command {
    name: "spec",
    arguments: "",
    about: "write a config.json to start from",
    flags: &[
        value("bundle", "b", "DIR", "the directory to write it to (default: the working directory)"),
        value("file", "f", "FILE", "write to FILE instead"),
        value("config", "", "FILE", "the same as --file"),
        switch("rootless", "", "for a container without privilege over the host"),
    ],
    run: spec,
    enters: false,
};

fn spec(_: &Context, parsed: &Parsed) -> Result<i32, CommandError> {
    super::no_arguments("spec", parsed)?;
    let name = parsed.path("file").or_else(|| parsed.path("config")).unwrap_or_else(|| "config.json".into());
    let path = parsed.path("bundle").map_or_else(|| name.clone(), |bundle| bundle.join(&name));
    let failed = |what: &str, error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists => {
            CommandError::other(format!("File {} exists. Remove it first", path.display()))
        }
        _ => CommandError::other(format!("{what} {}: {}", path.display(), sys::io_reason(&error))),
    };
    let config = if parsed.on("rootless")? { rootless() } else { standard() };
    let text =
        serde_json::to_string_pretty(&config).map_err(|error| CommandError::other(error.to_string()))?;
    // What is there is somebody's work.
    let mut file =
        File::options().write(true).create_new(true).open(&path).map_err(|error| failed("create", error))?;
    file.write_all(text.as_bytes()).map_err(|error| failed("write", error))?;
    Ok(0)
}

/// The same container as `runc spec` describes, with a cgroup namespace.
fn standard() -> serde_json::Value {
    let capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    json!({
        "ociVersion": super::version::SPEC,
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": super::PROGRAM,
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs",
             "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"},
                {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}
            ],
            "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}

/// [`standard`] for the calling user: root inside is that user outside, the network is the host's, and nothing asks
/// for what only root can give.
fn rootless() -> serde_json::Value {
    let mut config = standard();
    let line = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
    let linux = &mut config["linux"];
    linux["uidMappings"] = line(nix::unistd::geteuid().as_raw());
    linux["gidMappings"] = line(nix::unistd::getegid().as_raw());
    linux["namespaces"] = json!([{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}, {"type": "user"}]);
    if let Some(linux) = linux.as_object_mut() {
        linux.remove("resources");
    }
    if let Some(mounts) = config["mounts"].as_array_mut() {
        for mount in mounts.iter_mut() {
            if let Some(options) = mount.get_mut("options").and_then(serde_json::Value::as_array_mut) {
                options.retain(|option| option != "gid=5");
            }
            match mount["destination"].as_str() {
                // A sysfs belongs to a network namespace, and this one is the host's.
                Some("/sys") => {
                    *mount = json!({"destination": "/sys", "type": "none", "source": "/sys",
                        "options": ["rbind", "nosuid", "noexec", "nodev", "rro"]});
                }
                Some("/sys/fs/cgroup") => *mount = serde_json::Value::Null,
                _ => {}
            }
        }
        mounts.retain(|mount| !mount.is_null());
    }
    config
}
