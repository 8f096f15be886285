//! `doctor`: each claim against another reading of the same kernel, and against a kernel that lacks what it
//! claims.

use integration::runtime::runtime;
use integration::{proc, skip, sys, user};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// The entries by area and name.
type Entries = BTreeMap<(String, String), Value>;

fn entries(json: &str) -> Entries {
    let report: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let list = report["entries"].as_array().unwrap();
    let found: Entries =
        list.iter().map(|entry| ((text(entry, "area"), text(entry, "name")), entry.clone())).collect();
    assert_eq!(found.len(), list.len(), "two entries of one name");
    for (name, entry) in &found {
        let lacks = entry["state"] != "ok";
        for key in ["means", "fix"] {
            assert_eq!(entry[key].as_str().is_some_and(|text| !text.is_empty()), lacks, "{name:?}: {entry}");
        }
    }
    found
}

fn examined() -> Entries {
    let output = Command::new(&runtime().path).args(["doctor", "--json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    entries(&String::from_utf8(output.stdout).unwrap())
}

fn state<'a>(entries: &'a Entries, area: &str, name: &str) -> &'a str {
    let entry = entries.get(&(area.to_owned(), name.to_owned()));
    entry.unwrap_or_else(|| panic!("no entry {area}: {name}"))["state"].as_str().unwrap()
}

fn ok(entries: &Entries, area: &str, name: &str) -> bool {
    state(entries, area, name) == "ok"
}

fn detail(entries: &Entries, area: &str, name: &str) -> String {
    entries[&(area.to_owned(), name.to_owned())]["detail"].as_str().unwrap_or_default().to_owned()
}

/// unshare(1) makes the same namespaces.
#[test]
fn namespaces_are_those_that_unshare_makes() {
    ours!();
    let found = examined();
    let flags = [
        ("cgroup", "-C"),
        ("ipc", "-i"),
        ("mount", "-m"),
        ("network", "-n"),
        ("pid", "-p"),
        ("time", "-T"),
        ("user", "-U"),
        ("uts", "-u"),
    ];
    for (name, flag) in flags {
        let made = |more: &[&str]| {
            Command::new("unshare").args(more).args([flag, "true"]).output().unwrap().status.success()
        };
        assert_eq!(ok(&found, "namespaces", name), made(&[]) || made(&["-U"]), "{name}");
    }
}

#[test]
fn what_the_kernel_lists_is_what_is_told() {
    ours!();
    let found = examined();
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let actions = read("/proc/sys/kernel/seccomp/actions_avail");
    for action in ["kill_process", "kill_thread", "trap", "errno", "user_notif", "trace", "log", "allow"] {
        let listed = actions.split_whitespace().any(|other| other == action);
        assert_eq!(ok(&found, "seccomp", action), listed, "{action}");
    }
    let release = Command::new("uname").arg("-r").output().unwrap();
    assert!(detail(&found, "kernel", "version").starts_with(String::from_utf8_lossy(&release.stdout).trim()));
    let listed =
        |kind: &str| read("/proc/filesystems").lines().any(|line| line.ends_with(&format!("\t{kind}")));
    assert_eq!(ok(&found, "file systems", "overlay"), listed("overlay"));
    assert_eq!(ok(&found, "file systems", "fuse"), Path::new("/dev/fuse").exists());
    assert_eq!(
        ok(&found, "limits", "resctrl"),
        proc::mounts("self").iter().any(|mount| mount.fstype == "resctrl")
    );
    assert_eq!(state(&found, "services", "systemd") != "missing", Path::new("/run/systemd/system").exists());
    let criu = Command::new("sh").args(["-c", "command -v criu"]).output().unwrap().status.success();
    assert_eq!(state(&found, "services", "criu") != "missing", criu);
    assert!(detail(&found, "limits", "process numbers").starts_with(read("/proc/sys/kernel/pid_max").trim()));
    let landlock = sys::probe_syscall(libc::SYS_landlock_create_ruleset, [0, 0, 1, 0, 0, 0]).ok();
    assert_eq!(ok(&found, "security modules", "landlock"), landlock.is_some());
    if let Some(version) = landlock {
        assert_eq!(detail(&found, "security modules", "landlock"), format!("interface {version}"));
    }
    // Every capability that is not in this program's bounding set, which the command inherits.
    let status = read("/proc/self/status");
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap().trim();
    let bounding = u64::from_str_radix(bounding, 16).unwrap();
    let last: u32 = read("/proc/sys/kernel/cap_last_cap").trim().parse().unwrap();
    assert_eq!(ok(&found, "capabilities", "bounding set"), bounding.count_ones() == last + 1);
}

/// Controllers as the table of mounts and the file of v2 have them.
#[test]
fn controllers_are_those_that_are_mounted() {
    ours!();
    let found = examined();
    let mounts = proc::mounts("self");
    let at = |mount: &&proc::Mount| mount.target.starts_with("/sys/fs/cgroup");
    let v1 =
        |name: &str| mounts.iter().filter(at).any(|mount| mount.fstype == "cgroup" && mount.super_has(name));
    let v2: BTreeSet<String> = mounts
        .iter()
        .filter(at)
        .filter(|mount| mount.fstype == "cgroup2")
        .flat_map(|mount| {
            let text =
                fs::read_to_string(Path::new(&mount.target).join("cgroup.controllers")).unwrap_or_default();
            text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    for (name, old) in [
        ("cpu", "cpu"),
        ("cpuset", "cpuset"),
        ("memory", "memory"),
        ("io", "blkio"),
        ("pids", "pids"),
        ("hugetlb", "hugetlb"),
        ("rdma", "rdma"),
    ] {
        assert_eq!(ok(&found, "cgroups", name), v1(old) || v2.contains(name), "{name}");
    }
    let pure = mounts.iter().any(|mount| mount.fstype == "cgroup2" && mount.target == "/sys/fs/cgroup");
    assert_eq!(ok(&found, "cgroups", "layout"), pure);
}

/// A mount of the kind shows whether its ids can be mapped: a container that asks for it runs, or is refused.
#[test]
fn maps_of_ids_work_where_they_are_said_to() {
    ours!();
    let found = examined();
    let told: Vec<&(String, String)> = found.keys().filter(|(area, _)| area == "idmapped mounts").collect();
    assert!(!told.is_empty(), "this machine has a file system");
    let mut c = integration::container::Container::new();
    let here = proc::mounts("self");
    // The file system that the bundle is on.
    let holds = |mount: &&proc::Mount| c.bundle().starts_with(&mount.target);
    let kind = here.iter().filter(holds).max_by_key(|mount| mount.target.len()).unwrap().fstype.clone();
    if !told.iter().any(|(_, name)| *name == kind) {
        skip!("needs a bundle on a file system that is tried, not on {kind}");
    }
    fs::create_dir(c.path("volume")).unwrap();
    let map = serde_json::json!([{ "containerID": 0, "hostID": 1000, "size": 1 }]);
    c.mount(serde_json::json!({ "destination": "/mnt", "type": "bind", "source": c.text_path("volume"),
        "options": ["bind"], "uidMappings": map, "gidMappings": map }));
    c.args(&["/bin/true"]);
    assert_eq!(ok(&found, "idmapped mounts", &kind), c.run(&[]).status.success());
}

/// As on an older kernel, or under the filter of an engine: the entry of the call says so, and no other
/// call's.
#[test]
fn a_call_that_is_missing_is_told() {
    ours!();
    let calls: [(i64, &str, &str); 14] = [
        (libc::SYS_openat2, "system calls", "openat2"),
        (libc::SYS_fsopen, "system calls", "fsopen"),
        (libc::SYS_fsmount, "system calls", "fsmount"),
        (libc::SYS_open_tree, "system calls", "open_tree"),
        (libc::SYS_move_mount, "system calls", "move_mount"),
        (libc::SYS_mount_setattr, "system calls", "mount_setattr"),
        (457, "system calls", "statmount"),
        (libc::SYS_clone3, "system calls", "clone3"),
        (libc::SYS_pidfd_open, "system calls", "pidfd_open"),
        (libc::SYS_close_range, "system calls", "close_range"),
        (libc::SYS_seccomp, "seccomp", "user_notif"),
        (libc::SYS_keyctl, "capabilities", "keyrings"),
        (libc::SYS_landlock_create_ruleset, "security modules", "landlock"),
        (libc::SYS_unshare, "namespaces", "pid"),
    ];
    let whole = examined();
    for (number, area, name) in calls {
        let mut command = Command::new(&runtime().path);
        command.args(["doctor", "--json"]);
        sys::refuse(&mut command, number, libc::ENOSYS);
        let said = command.output().unwrap();
        let found = entries(&String::from_utf8(said.stdout).unwrap());
        assert_ne!(state(&found, area, name), "ok", "{name}");
        let others = found.keys().filter(|(other, call)| other == "system calls" && call != name);
        for key in others.filter(|(_, call)| !(number == libc::SYS_clone3 && call == "CLONE_INTO_CGROUP")) {
            assert_eq!(found[key]["state"], whole[key]["state"], "{name}: {key:?}");
        }
        let needed = found[&(area.to_owned(), name.to_owned())]["needed"] == true;
        assert_eq!(said.status.code(), Some(i32::from(needed)), "{name}");
    }
}

fn output(via: &[&str], args: &[&str]) -> Output {
    let mut words: Vec<&str> = via.to_vec();
    words.push(runtime().path.to_str().unwrap());
    words.extend(args);
    let output = Command::new(words[0]).args(&words[1..]).env_remove("XDG_RUNTIME_DIR").output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("fault of corten"), "{output:?}");
    output
}

#[test]
fn it_works_wherever_it_is_asked() {
    ours!();
    // Without sysfs, and without procfs, there is less to tell, and it says so.
    for (directory, area, name, code) in
        [("/sys", "file systems", "sysfs", 0), ("/proc", "kernel", "procfs", 1)]
    {
        let script = format!("umount -l {directory} && exec \"$@\"");
        let said = output(&["unshare", "-m", "sh", "-c", &script, "sh"], &["doctor", "--json"]);
        assert_eq!(said.status.code(), Some(code), "{said:?}");
        let found = entries(&String::from_utf8(said.stdout).unwrap());
        assert_eq!(state(&found, area, name), "missing");
    }
    let Some(user) = user::user() else { skip!("needs root, useradd and usermod") };
    let ids = [format!("--reuid={}", user.uid), format!("--regid={}", user.gid)];
    let said = output(&["setpriv", &ids[0], &ids[1], "--clear-groups"], &["doctor", "--json"]);
    assert!(said.status.success(), "{said:?}");
    let found = entries(&String::from_utf8(said.stdout).unwrap());
    assert!(ok(&found, "namespaces", "user") && ok(&found, "namespaces", "mount"));
    assert_eq!(state(&found, "rootless", "run directory"), "missing");
    assert!(detail(&found, "rootless", "subordinate uids").ends_with(" ids"), "{found:?}");
    let bundle = integration::container::Container::new();
    bundle.write_config();
    let check = output(
        &["setpriv", &ids[0], &ids[1], "--clear-groups"],
        &["check", bundle.bundle().to_str().unwrap()],
    );
    // That user cannot make this container: there is no user namespace in it.
    assert_eq!(check.status.code(), Some(1), "{check:?}");
    assert!(String::from_utf8_lossy(&check.stdout).contains("error: linux.namespaces: "), "{check:?}");
}

#[test]
fn it_leaves_nothing_behind() {
    ours!();
    let state = || {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let mounts = proc::mounts("self")
            .into_iter()
            .map(|mount| mount.target)
            .filter(|target| !target.contains("cit-"));
        (mounts.collect::<Vec<_>>(), read("/proc/modules"), read("/proc/sys/user/max_user_namespaces"))
    };
    let before = state();
    let said = output(&[], &["doctor"]);
    assert!(before == state());
    // A line each, the state first; the last one counts.
    let text = String::from_utf8(said.stdout).unwrap();
    let words = ["ok: ", "degraded: ", "missing: ", "containers can be made here: "];
    assert!(text.lines().all(|line| words.iter().any(|word| line.starts_with(word))), "{text}");
    assert!(!text.contains('\u{1b}'));
    let lacking = text.lines().any(|line| line.starts_with("missing: ") || line.starts_with("degraded: "));
    let strict = output(&[], &["doctor", "--strict"]);
    assert_eq!(strict.status.code(), Some(if lacking { 2 } else { 0 }));
    assert_eq!(output(&[], &["doctor", "x"]).status.code(), Some(1));
}
