//! config.md `root` and `mounts`, config-linux.md masked and read-only paths, propagation.

use serde_json::{Value, json};

use crate::matrix::bundle::{Case, mounts_and};

/// One more mount, seen by the probe through the operations.
fn mount(name: &'static str, mount: Value, operations: &[&'static str]) -> Case {
    Case::new(name, json!({"mounts": mounts_and(&json!([mount]))})).trying(operations)
}

fn bind(name: &'static str, destination: &str, options: &[&str]) -> Case {
    let operations =
        ["list:/data", "write:/data/file", "write:/data/sub/file", "read:/data/file", "exec:/data/file"];
    mount(
        name,
        json!({"destination": destination, "type": "bind", "source": "$BUNDLE/shared", "options": options}),
        &operations,
    )
}

fn tmpfs(name: &'static str, destination: &str, options: &[&str]) -> Case {
    let operations = ["list:/data", "stat:/data", "mkdir:/data/new", "list:/"];
    mount(
        name,
        json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options}),
        &operations,
    )
}

/// Cases about the file systems a container sees.
pub(crate) fn cases() -> Vec<Case> {
    let mut all = single();
    all.extend(layout());
    all.extend(hidden());
    all
}

fn single() -> Vec<Case> {
    vec![
        bind("bind", "/data", &["bind"]),
        bind("bind-recursive", "/data", &["rbind"]),
        bind("bind-read-only", "/data", &["bind", "ro"]),
        bind("bind-recursive-read-only", "/data", &["rbind", "rro"]),
        bind("bind-flags", "/data", &["bind", "nosuid", "nodev", "noexec", "noatime"]),
        bind("bind-relatime", "/data", &["bind", "relatime", "nodiratime"]),
        bind("bind-private", "/data", &["rbind", "rprivate"]),
        bind("bind-slave", "/data", &["rbind", "rslave"]),
        bind("bind-shared", "/data", &["rbind", "rshared"]),
        bind("bind-unknown-option", "/data", &["bind", "nonsense"]),
        bind("bind-to-missing", "/new/place", &["bind"]),
        bind("bind-through-link", "/link/inner", &["bind"]),
        bind("bind-through-link-up", "/link-up/inner", &["bind"]),
        bind("bind-relative-destination", "data", &["bind"]),
        bind("bind-dots", "/data/../data/./inner", &["bind"]),
        mount(
            "bind-without-type",
            json!({"destination": "/data", "source": "$BUNDLE/shared", "options": ["rbind"]}),
            &["list:/data"],
        ),
        mount(
            "bind-type-none",
            json!({"destination": "/data", "type": "none", "source": "$BUNDLE/shared", "options": ["bind"]}),
            &["list:/data"],
        ),
        mount(
            "bind-file",
            json!({"destination": "/data/file", "type": "bind", "source": "$BUNDLE/shared/file", "options": ["bind", "ro"]}),
            &["read:/data/file", "write:/data/file"],
        ),
        mount(
            "bind-file-to-missing",
            json!({"destination": "/new/file", "type": "bind", "source": "$BUNDLE/shared/file", "options": ["bind"]}),
            &["read:/new/file", "stat:/new", "stat:/new/file"],
        ),
        mount(
            "bind-missing-source",
            json!({"destination": "/data", "type": "bind", "source": "$BUNDLE/none", "options": ["bind"]}),
            &[],
        ),
        mount(
            "bind-relative-source",
            json!({"destination": "/data", "type": "bind", "source": "shared", "options": ["bind"]}),
            &["list:/data"],
        ),
        mount(
            "bind-mapped",
            json!({"destination": "/data", "type": "bind", "source": "$BUNDLE/shared", "options": ["bind"],
            "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}]}),
            &["list:/data"],
        ),
        mount(
            "bind-device",
            json!({"destination": "/dev/zero2", "type": "bind", "source": "/dev/zero", "options": ["bind"]}),
            &["stat:/dev/zero2"],
        ),
        tmpfs("tmpfs", "/data", &["nosuid", "nodev", "size=1m", "mode=0700"]),
        tmpfs("tmpfs-owner", "/data", &["uid=1000", "gid=2000", "mode=1770", "nr_inodes=100"]),
        tmpfs("tmpfs-defaults", "/data", &[]),
        tmpfs("tmpfs-copied-up", "/data", &["tmpcopyup", "size=1m"]),
        tmpfs("tmpfs-read-only", "/data", &["ro", "size=1m"]),
        tmpfs("tmpfs-to-missing", "/new/deep/place", &["size=1m"]),
        tmpfs("tmpfs-atime", "/data", &["noatime", "nodiratime", "sync", "dirsync"]),
        tmpfs("tmpfs-bad-option", "/data", &["size=nonsense"]),
        mount("type-unknown", json!({"destination": "/data", "type": "nonsense", "source": "x"}), &[]),
    ]
}

fn layout() -> Vec<Case> {
    let propagation = |name, value: &str| Case::new(name, json!({"linux": {"rootfsPropagation": value}}));
    let two = json!([
        {"destination": "/data", "type": "tmpfs", "source": "first", "options": ["size=1m"]},
        {"destination": "/data/below", "type": "tmpfs", "source": "second", "options": ["size=1m"]},
        {"destination": "/data", "type": "tmpfs", "source": "third", "options": ["size=1m"]},
    ]);
    let cgroup = |options: &[&str]| {
        mounts_and(&json!([
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options}]))
    };
    let with_cgroup_namespace =
        crate::matrix::bundle::namespaces(&["pid", "network", "ipc", "uts", "mount", "cgroup"]);
    vec![
        Case::new("root-read-only", json!({"root": {"readonly": true}})).trying(&[
            "mkdir:/x",
            "mkdir:/tmp/x",
            "mkdir:/dev/x",
        ]),
        Case::new("root-missing", json!({"root": {"path": "nothing"}})),
        Case::new("root-absolute", json!({"root": {"path": "$BUNDLE/rootfs"}})),
        propagation("root-slave", "slave"),
        propagation("root-shared", "shared"),
        propagation("root-private", "private"),
        propagation("root-unbindable", "unbindable"),
        Case::new("mounts-on-each-other", json!({"mounts": mounts_and(&two)})).trying(&["list:/data"]),
        Case::new("mounts-none", json!({"mounts": [], "linux": {"maskedPaths": [], "readonlyPaths": []}})),
        Case::new(
            "mounts-without-dev",
            json!({"mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {"maskedPaths": [], "readonlyPaths": []}}),
        )
        .trying(&["list:/dev"]),
        Case::new(
            "cgroup-mount",
            json!({"mounts": cgroup(&["nosuid", "noexec", "nodev", "relatime", "ro"])}),
        )
        .trying(&["list:/sys/fs/cgroup", "mkdir:/sys/fs/cgroup/memory/x"]),
        Case::new(
            "cgroup-mount-writable",
            json!({"mounts": cgroup(&["nosuid", "noexec", "nodev", "relatime", "rw"])}),
        )
        .trying(&["list:/sys/fs/cgroup"]),
        Case::new(
            "cgroup-mount-namespace",
            json!({"mounts": cgroup(&["nosuid", "noexec", "nodev", "relatime", "ro"]),
            "linux": {"namespaces": with_cgroup_namespace}}),
        )
        .trying(&["list:/sys/fs/cgroup"]),
    ]
}

fn hidden() -> Vec<Case> {
    let linux = |change: Value| json!({"linux": change});
    vec![
        Case::new("masked-default", json!({})).trying(&[
            "read:/proc/kcore",
            "read:/proc/keys",
            "read:/proc/timer_list",
            "list:/sys/firmware",
            "list:/proc/acpi",
        ]),
        Case::new("read-only-default", json!({})).trying(&[
            "write:/proc/sysrq-trigger",
            "write:/proc/sys/kernel/shm_rmid_forced",
            "write:/proc/irq/default_smp_affinity",
        ]),
        Case::new(
            "masked-custom",
            linux(json!({"maskedPaths": ["/data/inner", "/data/file", "/does/not/exist"]})),
        )
        .trying(&["list:/data/inner", "read:/data/file", "write:/data/file"]),
        Case::new("read-only-custom", linux(json!({"readonlyPaths": ["/data", "/does/not/exist"]})))
            .trying(&["write:/data/file", "mkdir:/data/x", "mkdir:/tmp/x"]),
        Case::new("masked-through-link", linux(json!({"maskedPaths": ["/link/file"]})))
            .trying(&["read:/data/file", "read:/link/file"]),
        Case::new("hidden-none", linux(json!({"maskedPaths": null, "readonlyPaths": null})))
            .trying(&["write:/proc/sys/kernel/shm_rmid_forced"]),
        Case::new("hidden-relative", linux(json!({"maskedPaths": ["data/inner"]}))),
        Case::new(
            "proc-options",
            json!({"mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev", "hidepid=2"]}]}),
        ),
    ]
}
