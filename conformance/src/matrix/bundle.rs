//! Bundles of the matrix: one base configuration, which every case changes in a few places, and a small root
//! file system.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use serde_json::{Value, json};

use crate::error::{At as _, Result};

/// One configuration to compare.
pub(crate) struct Case {
    /// Its name, unique.
    pub(crate) name: &'static str,
    /// Changes of the base configuration, as a JSON merge patch (RFC 7396).
    pub(crate) patch: Value,
    /// What the probe tries after its report.
    pub(crate) operations: Vec<&'static str>,
    /// Run the probe by `exec` with these arguments instead; the container then only waits.
    pub(crate) exec: Option<Vec<&'static str>>,
    /// Use `run` in the foreground, behind a terminal of its own.
    pub(crate) run: bool,
}

impl Case {
    /// A case that runs the probe as the container's process.
    pub(crate) fn new(name: &'static str, patch: Value) -> Case {
        Case { name, patch, operations: Vec::new(), exec: None, run: false }
    }

    /// Let the probe try these operations.
    pub(crate) fn trying(mut self, operations: &[&'static str]) -> Case {
        self.operations = operations.to_vec();
        self
    }

    /// Use `run` instead of `create`, `start` and `delete`.
    pub(crate) fn run(mut self) -> Case {
        self.run = true;
        self
    }

    /// Let `exec` run the probe in the waiting container. `$BUNDLE` stands for the bundle's folder.
    pub(crate) fn exec(mut self, arguments: &[&'static str]) -> Case {
        self.exec = Some(arguments.to_vec());
        self
    }
}

/// Docker's default set, which every runtime can grant on every machine.
pub(crate) const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// The namespaces of the base configuration.
pub(crate) const NAMESPACES: [&str; 5] = ["pid", "network", "ipc", "uts", "mount"];

/// A list of new namespaces for `linux.namespaces`.
pub(crate) fn namespaces(types: &[&str]) -> Value {
    types.iter().map(|name| json!({"type": name})).collect()
}

/// The mounts of the base configuration and these.
pub(crate) fn mounts_and(more: &Value) -> Value {
    let mut all = base_mounts();
    if let (Some(all), Some(more)) = (all.as_array_mut(), more.as_array()) {
        all.extend_from_slice(more);
    }
    all
}

fn base_mounts() -> Value {
    json!([
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
         "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
    ])
}

/// Capability sets for `process.capabilities`; inheritable and ambient are empty.
pub(crate) fn capabilities(names: &[&str]) -> Value {
    json!({"bounding": names, "effective": names, "permitted": names, "inheritable": null, "ambient": null})
}

fn base(cgroup: &str) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "hostname": "matrix",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "env": ["PATH=/usr/bin:/bin", "TERM=xterm"],
            "cwd": "/",
            "noNewPrivileges": true,
            "capabilities": capabilities(&CAPABILITIES),
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024}],
        },
        "root": {"path": "rootfs", "readonly": false},
        "mounts": base_mounts(),
        "linux": {
            "cgroupsPath": cgroup,
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": namespaces(&NAMESPACES),
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/acpi", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

/// Write config.json and the root file system of a case to `folder`, which exists and may only be entered by
/// others. `holder`: the process whose namespaces a case joins by path.
pub(crate) fn write(case: &Case, folder: &Path, cgroup: &str, probe: &Path, holder: u32) -> Result<()> {
    let mut config = base(cgroup);
    merge(&mut config, &case.patch);
    if config.pointer("/process/args").is_none()
        && let Some(process) = config.get_mut("process").and_then(Value::as_object_mut)
    {
        let mut arguments = vec!["/probe"];
        arguments.extend(if case.exec.is_some() { &["wait"][..] } else { &case.operations });
        process.insert("args".into(), json!(arguments));
    }
    let text = config
        .to_string()
        .replace("$BUNDLE", &folder.display().to_string())
        .replace("$HOLDER", &holder.to_string());
    let path = folder.join("config.json");
    fs::write(&path, text).at("write", &path)?;
    root_file_system(&folder.join("rootfs"), probe)?;
    // What bind mounts take from the host.
    let shared = folder.join("shared");
    for sub in ["", "sub"] {
        make_folder(&shared.join(sub), 0o755)?;
        let file = shared.join(sub).join("file");
        fs::write(&file, "shared\n").at("write", &file)?;
    }
    Ok(())
}

fn root_file_system(root: &Path, probe: &Path) -> Result<()> {
    let folders = [
        ("", 0o755),
        ("proc", 0o555),
        ("sys", 0o555),
        ("dev", 0o755),
        ("root", 0o700),
        ("home", 0o755),
        ("home/user", 0o700),
        ("etc", 0o755),
        ("data", 0o755),
        ("data/inner", 0o755),
        ("tmp", 0o1777),
        ("bin", 0o755),
    ];
    for (name, mode) in folders {
        make_folder(&root.join(name), mode)?;
    }
    std::os::unix::fs::chown(root.join("home/user"), Some(1000), Some(1000)).at("chown", root)?;
    let files = [
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n"),
        ("etc/group", "root:x:0:\ntty:x:5:\nuser:x:1000:\nextra:x:2000:user\n"),
        ("data/file", "data\n"),
        ("data/inner/file", "inner\n"),
    ];
    for (name, text) in files {
        let path = root.join(name);
        fs::write(&path, text).at("write", &path)?;
    }
    symlink("/data", root.join("link")).at("link", root)?;
    symlink("../../../../data", root.join("link-up")).at("link", root)?;
    for name in ["probe", "bin/probe"] {
        let path = root.join(name);
        fs::hard_link(probe, &path).at("link", &path)?;
    }
    Ok(())
}

fn make_folder(path: &Path, mode: u32) -> Result<()> {
    fs::create_dir_all(path).at("create", path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).at("chmod", path)
}

/// JSON merge patch, RFC 7396: objects are merged, `null` removes, everything else replaces.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    if let Value::Object(fields) = target {
        for (key, change) in changes {
            if change.is_null() {
                fields.remove(key);
            } else {
                merge(fields.entry(key).or_insert(Value::Null), change);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{json, merge};

    #[test]
    fn a_merge_patch_replaces_adds_and_removes() {
        let mut value = json!({"a": {"b": 1, "c": 2}, "d": [1]});
        merge(&mut value, &json!({"a": {"b": null, "e": {"f": null, "g": 3}}, "d": [2, 3]}));
        assert_eq!(value, json!({"a": {"c": 2, "e": {"g": 3}}, "d": [2, 3]}));
    }
}
