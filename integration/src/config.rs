//! The configurations that tests start from.

use serde_json::{Value, json};

/// What `runc spec` writes, without a terminal, running the probe.
pub fn plain() -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": ["/probe", "report"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "test",
        "mounts": mounts(),
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

fn mounts() -> Value {
    json!([
        { "destination": "/proc", "type": "proc", "source": "proc" },
        { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
          "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
        { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
          "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
        { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
          "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
        { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
          "options": ["nosuid", "noexec", "nodev"] },
        { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] },
        { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
          "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] },
    ])
}

/// What `runc spec --rootless` writes for a user, without a terminal: one id, no network namespace, no
/// cgroup.
///
/// # Panics
/// Never: it changes what [`plain`] has.
pub fn rootless(uid: u32, gid: u32) -> Value {
    let mut config = plain();
    config["linux"]["namespaces"] = json!([{ "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }, { "type": "user" }]);
    config["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": uid, "size": 1 }]);
    config["linux"]["gidMappings"] = json!([{ "containerID": 0, "hostID": gid, "size": 1 }]);
    config["linux"].as_object_mut().unwrap().remove("resources");
    let list = config["mounts"].as_array_mut().unwrap();
    list.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
    for mount in list {
        if mount["destination"] == "/sys" {
            // A sysfs of one's own needs a network namespace of one's own.
            *mount = json!({ "destination": "/sys", "type": "none", "source": "/sys",
                "options": ["rbind", "nosuid", "noexec", "nodev", "ro"] });
        } else if mount["destination"] == "/dev/pts" {
            // gid 5 is not mapped.
            mount["options"] = json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]);
        }
    }
    config
}

/// What Docker makes for `docker run`: its capabilities, mounts, masks, limits and seccomp profile.
///
/// # Panics
/// Never: the document is part of the program and checked by a test.
pub fn docker() -> Value {
    serde_json::from_str(include_str!("docker-config.json")).unwrap()
}

/// Sets the value at a JSON pointer, making the objects on the way. `-` at the end appends to a list.
///
/// # Panics
/// When the path leads through something that is neither an object nor a list.
pub fn put(config: &mut Value, pointer: &str, value: Value) {
    let mut place = config;
    let mut keys = pointer.split('/').skip(1).peekable();
    while let Some(key) = keys.next() {
        let below = if keys.peek() == Some(&"-") { json!([]) } else { json!({}) };
        place = step(place, key);
        if place.is_null() && keys.peek().is_some() {
            *place = below;
        }
    }
    *place = value;
}

/// What a key leads to, made when it is absent.
fn step<'a>(place: &'a mut Value, key: &str) -> &'a mut Value {
    match place {
        Value::Array(list) => {
            if key == "-" {
                list.push(Value::Null);
                return list.last_mut().unwrap();
            }
            &mut list[key.parse::<usize>().unwrap()]
        }
        Value::Object(map) => map.entry(key).or_insert(Value::Null),
        other => panic!("{key} is below {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn put_makes_the_way_and_appends() {
        let mut config = plain();
        put(&mut config, "/linux/resources/memory/limit", json!(7));
        put(&mut config, "/process/env/-", json!("A=B"));
        put(&mut config, "/hooks/prestart/-", json!({ "path": "/x" }));
        put(&mut config, "/mounts/0/options", json!(["ro"]));
        assert_eq!(config["linux"]["resources"]["memory"]["limit"], 7);
        assert_eq!(config["process"]["env"][2], "A=B");
        assert_eq!(config["hooks"]["prestart"][0]["path"], "/x");
        assert_eq!(config["mounts"][0]["options"][0], "ro");
    }

    #[test]
    fn the_docker_configuration_is_complete() {
        let config = docker();
        assert!(config["linux"]["seccomp"]["syscalls"].as_array().is_some_and(|list| !list.is_empty()));
        assert_eq!(config["mounts"].as_array().map(Vec::len), Some(7));
    }
}
