//! `linux.devices`, the default devices, and the device rules of `linux.resources.devices`.

use integration::container::{Container, cgroup2_view};
use integration::{host, leaks, needs, since};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn the_default_devices_and_links_are_there() {
    let mut c = Container::new();
    let dev = c.report().dev;
    for (name, major, minor) in
        [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)]
    {
        let node = &dev[&format!("/dev/{name}")];
        assert_eq!((node.kind.as_str(), node.major, node.minor), ("c", major, minor), "{name}");
        assert_eq!((node.mode, node.uid, node.gid), (0o666, 0, 0), "{name}");
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        assert_eq!(dev[&format!("/dev/{name}")].link, target, "{name}");
    }
    assert!(!dev.contains_key("/dev/console"), "only with a terminal");
    let known = [
        "null", "zero", "full", "random", "urandom", "tty", "fd", "stdin", "stdout", "stderr", "ptmx", "pts",
        "shm", "mqueue", "core",
    ];
    let strange: Vec<_> = dev.keys().filter(|path| !known.contains(&&path["/dev/".len()..])).collect();
    assert!(strange.is_empty(), "{strange:?}");
}

#[test]
fn listed_devices_are_made() {
    let mut c = Container::new();
    c.put(
        "/linux/devices",
        json!([
            { "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 7, "gid": 8 },
            { "path": "/dev/deep/er/loop", "type": "b", "major": 7, "minor": 3, "fileMode": 0o600, "uid": 0, "gid": 0 },
            { "path": "/dev/uncovered", "type": "u", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 0, "gid": 0 },
            { "path": "/dev/pipe", "type": "p", "fileMode": 0o622, "uid": 1, "gid": 2 },
            { "path": "/elsewhere/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o606, "uid": 0, "gid": 0 },
        ]),
    );
    let report = c.shell("stat -c '%F %t %T %a' /elsewhere/null; /probe report").run(&[]).ok().stdout;
    let (first, rest) = report.split_once('\n').unwrap();
    assert_eq!(first, "character special file 1 3 606");
    let dev = serde_json::from_str::<integration::report::Report>(rest).unwrap().dev;
    let look = |path: &str| {
        let node = &dev[path];
        (node.kind.clone(), node.major, node.minor, node.mode, node.uid, node.gid)
    };
    assert_eq!(look("/dev/fuse"), ("c".into(), 10, 229, 0o640, 7, 8));
    assert_eq!(look("/dev/deep/er/loop"), ("b".into(), 7, 3, 0o600, 0, 0));
    assert_eq!(look("/dev/uncovered"), ("c".into(), 1, 3, 0o666, 0, 0));
    assert_eq!(look("/dev/pipe"), ("p".into(), 0, 0, 0o622, 1, 2));
}

/// Rootless engines bind the host's nodes and list them as devices too: they must not become the container's
/// to change.
#[test]
fn a_node_bound_from_the_host_stays_as_it_is() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    let mut c = Container::new();
    let node = c.path("node");
    let made = std::process::Command::new("mknod").arg(&node).args(["c", "1", "3"]).output().unwrap();
    needs!(made.status.success().then_some(()), "mknod of a device");
    chown(&node, Some(11), Some(12)).unwrap();
    fs::set_permissions(&node, fs::Permissions::from_mode(0o604)).unwrap();
    c.mount(json!({ "destination": "/dev/bound", "type": "bind", "source": node, "options": ["bind"] }));
    c.put(
        "/linux/devices",
        json!([{ "path": "/dev/bound", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 1, "gid": 2 }]),
    );
    assert_eq!(c.script("stat -c '%F %t %T %a %u' /dev/bound"), "character special file 1 3 604 11\n");
    let after = fs::metadata(&node).unwrap();
    assert_eq!((after.mode() & 0o7777, after.uid(), after.gid()), (0o604, 11, 12));
}

/// The mode must not pass through the umask of the caller or of the container.
#[test]
fn the_mode_of_a_device_is_exact() {
    let mut c = Container::new();
    c.via.extend(["sh", "-c", "umask 077; exec \"$0\" \"$@\""].map(Into::into));
    c.put(
        "/linux/devices",
        json!([{ "path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 0, "gid": 0 }]),
    );
    let dev = c.report().dev;
    assert_eq!(dev["/dev/x"].mode, 0o666);
    assert_eq!(dev["/dev/null"].mode, 0o666);
}

#[test]
fn a_device_that_cannot_be_made_is_refused() {
    for device in [
        json!({ "path": "/dev/x", "type": "q", "major": 1, "minor": 3 }),
        json!({ "path": "/dev/null/x", "type": "c", "major": 1, "minor": 3 }),
    ] {
        let mut c = Container::new();
        c.put("/linux/devices", json!([device]));
        assert!(!c.run(&[]).error().is_empty(), "{device}");
        leaks::assert_none(&c);
    }
}

#[test]
fn a_device_path_that_climbs_stays_in_the_root() {
    let mut c = Container::new();
    let outside = c.path("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, c.rootfs("link")).unwrap();
    c.put(
        "/linux/devices",
        json!([{ "path": "/link/x", "type": "c", "major": 1, "minor": 3 },
               { "path": "/../../y", "type": "c", "major": 1, "minor": 3 }]),
    );
    let _ = c.run(&[]);
    assert!(fs::read_dir(&outside).unwrap().next().is_none(), "a device was made on the host");
    assert!(!c.path("y").exists() && !c.bundle().parent().unwrap().join("y").exists());
}

/// What is there is covered by the host's device and stays as it is: each container leaves its mount points to the next one.
#[test]
fn devices_of_a_user_namespace_cover_what_is_there() {
    since!("devices in place of links", "runc -", "crun 1.0");
    let mut c = Container::new();
    c.unmount("/dev/pts").unmount("/dev/shm").unmount("/dev/mqueue").unmount("/dev");
    c.put("/root/readonly", json!(false)).user_namespace(100_000, 65_536);
    fs::write(c.rootfs("dev/full"), "the image's").unwrap();
    symlink("/etc/passwd", c.rootfs("dev/tty")).unwrap();
    fs::create_dir_all(c.rootfs("etc")).unwrap();
    fs::write(c.rootfs("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
    c.give_rootfs_to(100_000).shell("cd /dev && stat -c %F:%t:%T null zero full random urandom tty");
    let devices =
        ["1:3", "1:5", "1:7", "1:8", "1:9", "5:0"].map(|numbers| format!("character special file:{numbers}"));
    for _ in 0..3 {
        assert_eq!(c.run(&[]).ok().stdout.lines().collect::<Vec<_>>(), devices);
    }
    assert_eq!(fs::read_to_string(c.rootfs("dev/full")).unwrap(), "the image's");
}

/// A mount in the place of a device wins, as in `-v /dev/urandom:/dev/random`: with its own `/dev`, and in a user namespace.
#[test]
fn a_mount_in_the_place_of_a_device_stays() {
    since!("mounts in place of devices in a user namespace", "runc -", "crun -");
    for user in [false, true] {
        let mut c = Container::new();
        c.mount(json!({ "destination": "/dev/random", "type": "bind", "source": "/dev/urandom", "options": ["bind"] }));
        c.mount(json!({ "destination": "/dev/tty", "type": "tmpfs", "source": "tmpfs" }));
        if user {
            c.user_namespace(100_000, 65_536).give_rootfs_to(100_000);
        }
        c.shell("stat -c '%F %t:%T' /dev/random /dev/urandom /dev/tty");
        let expected = ["character special file 1:9", "character special file 1:9", "directory 0:0"];
        assert_eq!(c.run(&[]).ok().stdout.lines().collect::<Vec<_>>(), expected, "{user}");
        leaks::assert_none(&c);
    }
}

/// A device that is not among the defaults, and that everybody may open as far as its driver is concerned.
fn fuse() -> Option<()> {
    std::path::Path::new("/dev/fuse").exists().then_some(())
}

/// Where each test of the controller runs: with the machine's hierarchies, and with version 2 alone, whose
/// controller is a BPF program.
fn both_versions() -> Vec<(&'static str, Container)> {
    let mut unified = Container::new();
    unified.via = cgroup2_view();
    vec![("native", Container::new()), ("version 2", unified)]
}

fn with_fuse(c: &mut Container, rules: &serde_json::Value) {
    c.put(
        "/linux/devices",
        json!([
            { "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666, "uid": 0, "gid": 0 },
            { "path": "/dev/tty1", "type": "c", "major": 4, "minor": 1, "fileMode": 0o666, "uid": 0, "gid": 0 },
        ]),
    );
    c.put("/linux/resources/devices", rules.clone());
}

#[test]
fn devices_that_no_rule_allows_are_denied() {
    needs!(fuse(), "/dev/fuse");
    for (name, mut c) in both_versions() {
        let rules = json!([{ "allow": false, "access": "rwm" }]);
        with_fuse(&mut c, &rules);
        // The nodes exist; the controller alone refuses them.
        assert_eq!(c.attempt(&["open-device", "/dev/fuse"]), "EPERM", "{name}");
        for allowed in ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/pts/ptmx"]
        {
            assert_eq!(c.attempt(&["open-device", allowed]), "ok", "{name} {allowed}");
        }
    }
}

#[test]
fn devices_that_a_rule_allows_are_allowed() {
    needs!(fuse(), "/dev/fuse");
    for (name, mut c) in both_versions() {
        let rules = json!([
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm" },
        ]);
        with_fuse(&mut c, &rules);
        assert_eq!(c.attempt(&["open-device", "/dev/fuse"]), "ok", "{name}");
    }
}

#[test]
fn the_access_of_a_rule_counts() {
    needs!(fuse(), "/dev/fuse");
    for (name, mut c) in both_versions() {
        let rules = json!([
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "r" },
        ]);
        with_fuse(&mut c, &rules);
        assert_eq!(c.attempt(&["write", "/dev/fuse"]), "EPERM", "{name}");
        c.shell("true < /dev/fuse && echo opened");
        assert_eq!(c.run(&[]).ok().stdout, "opened\n", "{name}");
    }
}

#[test]
fn later_rules_count_more() {
    needs!(fuse(), "/dev/fuse");
    for (name, mut c) in both_versions() {
        let rules = json!([
            { "allow": true, "access": "rwm" },
            { "allow": false, "type": "c", "major": 10, "minor": 229, "access": "rwm" },
        ]);
        with_fuse(&mut c, &rules);
        assert_eq!(c.attempt(&["open-device", "/dev/fuse"]), "EPERM", "{name}");
    }
}

#[test]
fn wildcards_allow_a_whole_major() {
    needs!(fuse(), "/dev/fuse");
    for (name, mut c) in both_versions() {
        let rules = json!([
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "major": 10, "access": "rw" },
        ]);
        with_fuse(&mut c, &rules);
        assert_eq!(c.attempt(&["open-device", "/dev/fuse"]), "ok", "{name}");
        c.put("/linux/resources/devices/1/major", json!(4));
        assert_eq!(c.attempt(&["open-device", "/dev/fuse"]), "EPERM", "{name}");
    }
}

/// With everything allowed, as for a privileged container.
#[test]
fn a_rule_for_all_allows_all() {
    needs!(fuse(), "/dev/fuse");
    for (name, mut c) in both_versions() {
        let rules = json!([{ "allow": true, "access": "rwm" }]);
        with_fuse(&mut c, &rules);
        assert_eq!(c.attempt(&["open-device", "/dev/fuse"]), "ok", "{name}");
    }
}

#[test]
fn exec_is_under_the_same_rules() {
    needs!(fuse(), "/dev/fuse");
    for (name, mut c) in both_versions() {
        with_fuse(&mut c, &json!([{ "allow": false, "access": "rwm" }]));
        c.sleeping();
        let text = c.exec(&[], &["/probe", "try", "open-device", "/dev/fuse"]).ok().stdout;
        assert_eq!(text, "EPERM\n", "{name}");
    }
}

/// Limits that are changed later must not open or close a device.
#[test]
fn update_of_limits_leaves_the_rules() {
    needs!(fuse(), "/dev/fuse");
    for (name, mut c) in both_versions() {
        let rules = json!([
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm" },
        ]);
        with_fuse(&mut c, &rules);
        let pid = c.sleeping();
        if host::cgroup_file(pid, "pids", "pids.max", "pids.max").is_some() && name == "native" {
            c.call(&["update", "--pids-limit", "50", &c.id]).ok();
        }
        let look = |path| c.exec(&[], &["/probe", "try", "open-device", path]).ok().stdout;
        assert_eq!(look("/dev/fuse"), "ok\n", "{name}");
        assert_eq!(look("/dev/tty1"), "EPERM\n", "{name}");
    }
}

/// Nobody else can do this: device rules of a running container.
#[test]
fn update_changes_device_rules() {
    since!("update of device rules", "runc -", "crun -");
    for (name, mut c) in both_versions() {
        with_fuse(&mut c, &json!([{ "allow": false, "access": "rwm" }]));
        c.sleeping();
        let look = || c.exec(&[], &["/probe", "try", "open-device", "/dev/fuse"]).ok().stdout;
        assert_eq!(look(), "EPERM\n", "{name}");
        let resources = c.text_path("resources.json");
        let rules = json!({ "devices": [
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm" },
        ]});
        fs::write(&resources, rules.to_string()).unwrap();
        c.call(&["update", "--resources", &resources, &c.id]).ok();
        assert_eq!(look(), "ok\n", "{name}");
        fs::write(&resources, json!({ "devices": [{ "allow": false, "access": "rwm" }] }).to_string())
            .unwrap();
        c.call(&["update", "--resources", &resources, &c.id]).ok();
        assert_eq!(look(), "EPERM\n", "{name}");
    }
}

/// Each update replaces the program of the device controller; programs that pile up reach a limit of 64.
#[test]
fn a_hundred_updates_work() {
    let mut c = Container::new();
    c.via = cgroup2_view();
    c.sleeping();
    let resources = c.text_path("resources.json");
    fs::write(&resources, json!({ "devices": [{ "allow": false, "access": "rwm" }] }).to_string()).unwrap();
    since!("update of device rules", "runc -", "crun -");
    for _ in 0..100 {
        c.call(&["update", "--resources", &resources, &c.id]).ok();
    }
}
