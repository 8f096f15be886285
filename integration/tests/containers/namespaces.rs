//! `linux.namespaces`: each kind new, joined by path, and the host's; time offsets.

use integration::container::Container;
use integration::{host, leaks, outcome, since};
use serde_json::json;
use std::fs;
use std::path::Path;

/// The kinds of config.json with the names of their links in `/proc/PID/ns`.
const KINDS: [(&str, &str); 7] = [
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("mount", "mnt"),
    ("cgroup", "cgroup"),
    ("user", "user"),
];

fn own() -> i32 {
    std::process::id().try_into().unwrap()
}

fn with_all_kinds() -> Container {
    let mut c = Container::new();
    c.namespace("cgroup", None).user_namespace(100_000, 65_536);
    c
}

#[test]
fn every_kind_is_new_when_listed() {
    let mut c = with_all_kinds();
    let report = c.report();
    for (kind, link) in KINDS {
        assert_ne!(report.namespaces[link], host::namespace(own(), link), "{kind}");
    }
}

#[test]
fn every_kind_is_the_hosts_when_not_listed() {
    for (kind, link) in KINDS {
        if kind == "mount" || kind == "user" {
            continue;
        }
        let mut c = Container::new();
        c.without_namespace(kind);
        if kind == "uts" {
            c.config.as_object_mut().unwrap().remove("hostname");
        }
        let report = c.report();
        assert_eq!(report.namespaces[link], host::namespace(own(), link), "{kind}");
        leaks::assert_none(&c);
    }
}

/// The pod pattern: a second container in the namespaces of the first.
#[test]
fn every_kind_can_be_joined_by_path() {
    for (kind, link) in KINDS {
        if kind == "user" || kind == "mount" {
            continue;
        }
        let mut first = Container::new();
        first.namespace("cgroup", None);
        let pid = first.sleeping();
        let mut second = Container::new();
        second.namespace(kind, Some(&format!("/proc/{pid}/ns/{link}")));
        if kind == "uts" {
            second.config.as_object_mut().unwrap().remove("hostname");
        }
        let report = second.report();
        assert_eq!(report.namespaces[link], host::namespace(pid, link), "{kind}");
        for (other, link) in KINDS {
            if other != kind && ["pid", "ipc", "mount"].contains(&other) {
                assert_ne!(report.namespaces[link], host::namespace(pid, link), "{other} beside {kind}");
            }
        }
        drop(second);
        assert!(host::alive(pid), "{kind}");
    }
}

#[test]
fn a_joined_user_namespace_gives_its_ids() {
    since!("join of a user namespace without maps", "runc 1.2", "crun 1.0");
    let mut first = Container::new();
    first.user_namespace(100_000, 65_536);
    let pid = first.sleeping();
    let mut second = Container::new();
    second.namespace("user", Some(&format!("/proc/{pid}/ns/user")));
    let report = second.report();
    assert_eq!(report.namespaces["user"], host::namespace(pid, "user"));
    assert_eq!(report.uid_map, [[0, 100_000, 65_536]]);
    assert_eq!(report.uid, [0; 4]);
}

#[test]
fn all_namespaces_of_another_container_can_be_joined_at_once() {
    since!("join of a user namespace without maps", "runc 1.2", "crun 1.0");
    let mut first = with_all_kinds();
    let pid = first.sleeping();
    let mut second = Container::new();
    second.config.as_object_mut().unwrap().remove("hostname");
    for (kind, link) in KINDS {
        if kind != "mount" {
            second.namespace(kind, Some(&format!("/proc/{pid}/ns/{link}")));
        }
    }
    let report = second.report();
    for (kind, link) in KINDS {
        assert_eq!(report.namespaces[link] == host::namespace(pid, link), kind != "mount", "{kind}");
    }
    assert!(report.pids.contains(&1) && report.pid != 1, "{:?}", report.pids);
}

#[test]
fn a_joined_pid_namespace_shows_its_processes() {
    let mut first = Container::new();
    let pid = first.sleeping();
    let mut second = Container::new();
    second.namespace("pid", Some(&format!("/proc/{pid}/ns/pid")));
    let report = second.report();
    assert_ne!(report.pid, 1);
    assert_eq!(report.pids, [1, report.pid]);
    assert!(host::alive(pid));
}

/// A container in a joined pid namespace has to be ended whole, though its init is not PID 1 there.
#[test]
fn a_container_in_a_joined_pid_namespace_is_deleted_whole() {
    let mut first = Container::new();
    let pid = first.sleeping();
    let mut second = Container::new();
    second.namespace("pid", Some(&format!("/proc/{pid}/ns/pid"))).args(&["/probe", "orphans", "2"]);
    second.run_detached();
    second.await_line("ready");
    assert_eq!(leaks::processes(&second.id).len(), 3);
    second.delete_force().ok();
    leaks::assert_none(&second);
    assert!(host::alive(pid));
}

#[test]
fn a_path_that_is_no_namespace_is_refused() {
    for (kind, path) in [("network", "/proc/self/ns/uts"), ("ipc", "/nonexistent"), ("pid", "/etc/passwd")] {
        let mut c = Container::new();
        c.namespace(kind, Some(path));
        let run = c.run(&[]);
        assert!(!run.error().is_empty(), "{kind} {path}");
        assert_eq!(run.code(), 1);
        leaks::assert_none(&c);
    }
}

#[test]
fn a_kind_given_twice_is_refused() {
    let mut c = Container::new();
    c.put("/linux/namespaces/-", json!({ "type": "pid" }));
    assert!(!c.run(&[]).error().is_empty());
    leaks::assert_none(&c);
}

#[test]
fn an_unknown_kind_is_refused() {
    let mut c = Container::new();
    c.put("/linux/namespaces/-", json!({ "type": "mood" }));
    assert!(c.run(&[]).error().contains("mood"));
    leaks::assert_none(&c);
}

#[test]
fn the_cgroup_namespace_hides_the_path() {
    let mut c = Container::new();
    c.namespace("cgroup", None);
    let report = c.report();
    assert!(!report.cgroup.is_empty());
    for (controllers, path) in &report.cgroup {
        assert_eq!(path, "/", "{controllers}");
    }
    c.without_namespace("cgroup");
    assert!(c.report().cgroup.values().any(|path| path.contains(&c.id)));
}

#[test]
fn the_new_network_has_a_loopback_that_is_up() {
    let mut c = Container::new();
    assert_eq!(c.report().interfaces, ["lo"]);
    assert_eq!(c.script("cat /sys/class/net/lo/flags"), "0x9\n");
}

#[test]
fn the_ipc_namespace_has_its_own_objects() {
    let mut c = Container::new();
    c.put("/linux/sysctl", json!({ "kernel.msgmax": "1234" }));
    c.args(&["/probe", "report", "--sysctl", "kernel.msgmax"]);
    assert_eq!(super::parse(&c.run(&[]).ok()).sysctls["kernel.msgmax"], "1234");
    assert_ne!(fs::read_to_string("/proc/sys/kernel/msgmax").unwrap().trim(), "1234");
}

#[test]
fn time_offsets_move_the_clocks() {
    since!("time namespaces", "runc 1.2", "crun 1.9");
    if !Path::new("/proc/self/timens_offsets").exists() {
        integration::skip!("needs time namespaces");
    }
    let mut c = Container::new();
    c.namespace("time", None);
    c.put(
        "/linux/timeOffsets",
        json!({ "monotonic": { "secs": 7881, "nanosecs": 2 }, "boottime": { "secs": 1_337_000 } }),
    );
    let before = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).unwrap().tv_sec();
    let report = c.report();
    let fields: Vec<Vec<&str>> =
        report.timens_offsets.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(fields, [["monotonic", "7881", "2"], ["boottime", "1337000", "0"]]);
    assert!(report.boottime >= before + 1_337_000, "{} {before}", report.boottime);
    assert_ne!(report.namespaces["time"], host::namespace(own(), "time"));
}

/// A new one belongs to the user namespace, and its clocks are set from there.
#[test]
fn time_offsets_go_with_a_user_namespace() {
    since!("time namespaces", "runc 1.2", "crun 1.9");
    let mut c = Container::new();
    c.user_namespace(100_000, 65_536).give_rootfs_to(100_000);
    c.namespace("time", None).put("/linux/timeOffsets", json!({ "boottime": { "secs": 9_000_000 } }));
    assert!(c.report().boottime > 9_000_000);
    c.sleeping();
    assert!(c.exec_report(&[]).boottime > 9_000_000);
}

#[test]
fn a_time_namespace_without_offsets_is_new_too() {
    since!("time namespaces", "runc 1.2", "crun 1.9");
    let mut c = Container::new();
    c.namespace("time", None);
    let report = c.report();
    assert_ne!(report.namespaces["time"], host::namespace(own(), "time"));
}

#[test]
fn a_time_namespace_can_be_joined() {
    since!("time namespaces", "runc 1.2", "crun 1.9");
    let mut first = Container::new();
    first.namespace("time", None).put("/linux/timeOffsets", json!({ "boottime": { "secs": 5000 } }));
    let pid = first.sleeping();
    let mut second = Container::new();
    second.namespace("time", Some(&format!("/proc/{pid}/ns/time")));
    assert_eq!(second.report().namespaces["time"], host::namespace(pid, "time"));
}

#[test]
fn exec_enters_the_time_namespace() {
    since!("time namespaces", "runc 1.2", "crun 1.9");
    let mut c = Container::new();
    c.namespace("time", None).put("/linux/timeOffsets", json!({ "boottime": { "secs": 9_000_000 } }));
    c.sleeping();
    assert!(c.exec_report(&[]).boottime > 9_000_000);
}

#[test]
fn time_offsets_need_a_time_namespace_of_their_own() {
    since!("time namespaces", "runc 1.2", "crun -");
    let mut c = Container::new();
    c.put("/linux/timeOffsets", json!({ "boottime": { "secs": 5000 } }));
    assert!(c.run(&[]).error().to_lowercase().contains("time"));
    let mut c = Container::new();
    c.namespace("time", None).put("/linux/timeOffsets", json!({ "sundial": { "secs": 5000 } }));
    assert!(!c.run(&[]).error().is_empty());
    leaks::assert_none(&c);
}

/// A container without a mount namespace must leave the host's mount table as it was.
#[test]
fn without_a_mount_namespace_nothing_is_mounted_on_the_host() {
    let mut c = Container::new();
    c.without_namespace("mount");
    let (before, after) = (c.text_path("before"), c.text_path("after"));
    // Where they would be seen: a mount namespace that stands for the host's.
    let script = format!(
        "cat /proc/self/mountinfo > {before}; \"$0\" \"$@\"; r=$?; cat /proc/self/mountinfo > {after}; exit $r"
    );
    c.via.extend(["unshare", "-m", "sh", "-c", &script].map(Into::into));
    // Whether the runtime runs it or refuses it, the host must not change.
    let _ = c.run(&[]);
    let table = fs::read_to_string(before).unwrap();
    assert!(!table.is_empty());
    assert_eq!(fs::read_to_string(after).unwrap(), table);
    leaks::assert_none(&c);
}

#[test]
fn net_devices_are_moved_into_the_container() {
    since!("linux.netDevices", "runc 1.4", "crun 1.24");
    let name = format!("cit{}", std::process::id() % 10_000);
    let mut c = Container::new();
    // The interface belongs to a network namespace that ends with the command.
    let script = format!(
        "ip link add {name}a type veth peer name {name}b && ip address add 10.9.8.7/24 dev {name}a && \
         ip link set {name}a up && exec \"$0\" \"$@\""
    );
    c.via.extend(["unshare", "-n", "sh", "-c", &script].map(Into::into));
    c.put("/linux/netDevices", json!({ format!("{name}a"): {} }));
    c.shell("ls /sys/class/net; ip -o address show; cat /sys/class/net/*a/flags");
    let kept = c.run(&[]);
    let text = kept.ok().stdout;
    assert!(text.lines().any(|line| line == format!("{name}a")), "{text}");
    assert!(text.contains("10.9.8.7/24"), "its addresses go with it: {text}");

    c.put("/linux/netDevices", json!({ format!("{name}a"): { "name": "inside" } }));
    c.shell("ls /sys/class/net; ip -o address show");
    let text = c.run(&[]).ok().stdout;
    assert!(text.lines().any(|line| line == "inside"), "{text}");
    assert!(text.contains("10.9.8.7/24"), "{text}");
}

/// In a network namespace of their own: a runtime may take an interface down before it finds that it cannot
/// move it, and `lo` is the machine's otherwise.
#[test]
fn net_devices_that_cannot_be_moved_are_refused() {
    since!("linux.netDevices", "runc 1.4", "crun 1.24");
    let apart = || {
        let mut c = Container::new();
        c.via.extend(["unshare", "-n"].map(Into::into));
        c
    };
    let mut c = apart();
    c.put("/linux/netDevices", json!({ "cit-missing": {} }));
    assert!(c.run(&[]).error().contains("cit-missing"));
    leaks::assert_none(&c);

    let mut c = apart();
    c.without_namespace("network").put("/linux/netDevices", json!({ "lo": {} }));
    assert!(!c.run(&[]).error().is_empty());

    let mut c = apart();
    c.put("/linux/netDevices", json!({ "lo": { "name": "a-name-that-is-too-long" } }));
    assert!(!c.run(&[]).error().is_empty());
    leaks::assert_none(&c);
}

#[test]
fn a_user_namespace_maps_the_ids() {
    let mut c = Container::new();
    c.user_namespace(100_000, 65_536);
    c.put("/process/user", json!({ "uid": 1000, "gid": 2000, "additionalGids": [30] }));
    c.args(&["/probe", "sleep"]);
    c.run_detached();
    let pid = c.pid();
    outcome::until("the program to run", || {
        fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("probe"))
    });
    let status = integration::proc::Status::of(&pid.to_string());
    assert_eq!(status.numbers("Uid"), [101_000; 4]);
    assert_eq!(status.numbers("Gid"), [102_000; 4]);
    assert_eq!(status.numbers("Groups"), [100_030]);
    let report = c.exec_report(&[]);
    assert_eq!(report.uid_map, [[0, 100_000, 65_536]]);
    assert_eq!(report.gid_map, [[0, 100_000, 65_536]]);
    assert_eq!(report.setgroups, "allow");
    assert_eq!(report.uid, [1000; 4]);
}

#[test]
fn a_map_of_several_lines_is_written_whole() {
    let mut c = Container::new();
    c.user_namespace(100_000, 1000);
    let map = json!([
        { "containerID": 0, "hostID": 100_000, "size": 1 },
        { "containerID": 1, "hostID": 200_000, "size": 10 },
        { "containerID": 500, "hostID": 300_000, "size": 500 },
    ]);
    c.put("/linux/uidMappings", map.clone()).put("/linux/gidMappings", map);
    let report = c.report();
    assert_eq!(report.uid_map, [[0, 100_000, 1], [1, 200_000, 10], [500, 300_000, 500]]);
    assert_eq!(report.gid_map, report.uid_map);
}

/// CVE-2021-43784: a message to the child must not be cut short at any size. The kernel takes 340 lines of
/// one page.
#[test]
fn a_map_of_300_lines_is_written_whole() {
    let mut c = Container::new();
    c.user_namespace(0, 1);
    let line = |number: u32| json!({ "containerID": number, "hostID": 100_000 + number * 2, "size": 1 });
    let map: Vec<_> = (0..300).map(line).collect();
    c.put("/linux/uidMappings", json!(map)).put("/linux/gidMappings", json!(map));
    let report = c.report();
    assert_eq!(report.uid_map.len(), 300);
    assert_eq!(report.uid_map[299], [299, 100_598, 1]);
}

#[test]
fn a_user_namespace_without_maps_is_refused() {
    let mut c = Container::new();
    c.namespace("user", None);
    assert!(!c.run(&[]).error().is_empty());
    leaks::assert_none(&c);
}

#[test]
fn a_user_that_is_not_mapped_is_refused() {
    let mut c = Container::new();
    c.user_namespace(100_000, 10);
    c.put("/process/user", json!({ "uid": 11, "gid": 0 }));
    assert!(!c.run(&[]).error().is_empty());
    leaks::assert_none(&c);
}

/// With a user namespace the devices are bound from the host, because mknod is refused there.
#[test]
fn devices_work_in_a_user_namespace() {
    let mut c = Container::new();
    c.user_namespace(100_000, 65_536);
    let report = c.report();
    for (path, minor) in
        [("/dev/null", 3), ("/dev/zero", 5), ("/dev/full", 7), ("/dev/random", 8), ("/dev/urandom", 9)]
    {
        let node = &report.dev[path];
        assert_eq!((node.kind.as_str(), node.major, node.minor), ("c", 1, minor), "{path}");
    }
    c.shell("head -c 5 /dev/zero | wc -c; echo lost > /dev/null && echo written");
    assert_eq!(c.run(&[]).ok().stdout, "5\nwritten\n");
}

#[test]
fn the_rootfs_may_belong_to_the_mapped_root() {
    let mut c = Container::new();
    c.user_namespace(100_000, 65_536).give_rootfs_to(100_000);
    c.put("/root/readonly", json!(false));
    assert_eq!(c.attempt(&["create", "/made"]), "ok");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(c.rootfs("made")).unwrap()), 100_000);
}

#[test]
fn a_user_namespace_does_not_open_the_host() {
    let mut c = Container::new();
    c.user_namespace(100_000, 65_536).put("/root/readonly", json!(false));
    assert_eq!(c.attempt(&["create", "/made"]), "EACCES");
    assert_eq!(c.attempt(&["write-text", "/proc/sys/vm/swappiness", "1"]), "EROFS");
}

#[test]
fn nsenter_finds_the_container_without_the_runtime() {
    let mut c = Container::new();
    let pid = c.sleeping();
    let output = std::process::Command::new("nsenter")
        .args(["--target", &pid.to_string(), "--all", "/bin/hostname"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "test\n", "{output:?}");
}
