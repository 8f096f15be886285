//! Containers made by a user without privilege over the host: one id, and ranges of subordinate ids.
//!
//! The user is 65534, in a mount namespace that gives it ranges in `/etc/subuid` and `/etc/subgid`: the machine's own
//! files stay as they are. Its config.json is the one that `spec --rootless` writes.

#![expect(clippy::unwrap_used)]

use integration::container::{Container, shell_view};
use integration::runtime::{Kind, runtime};
use integration::{since, skip};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

/// `nobody`, who is in every `/etc/passwd`, as newuidmap(1) wants it.
const USER: u32 = 65534;
/// The first subordinate id.
const RANGE: u32 = 700_000;

/// A container of the user's own, with what `spec --rootless` describes.
fn container() -> Container {
    let mut c = Container::new();
    let file = |name: &str, text: &str| {
        let path = c.text_path(name);
        fs::write(&path, text).unwrap();
        path
    };
    let subuid = file("subuid", &format!("nobody:{RANGE}:65536\n"));
    let subgid = file("subgid", &format!("nogroup:{RANGE}:65536\nnobody:{RANGE}:65536\n"));
    c.via = shell_view(&format!(
        "mount --make-rprivate /; mount --bind {subuid} /etc/subuid; mount --bind {subgid} /etc/subgid"
    ));
    c.via.extend(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"].map(Into::into),
    );
    give(c.bundle());
    c.config = spec(&c);
    c.args(&["/probe", "report"]);
    c.put("/process/terminal", json!(false));
    c.put("/process/env/-", json!(format!("{}={}", integration::container::MARK, c.id)));
    c
}

/// The configuration that the user would start from.
fn spec(c: &Container) -> Value {
    let directory = c.path("spec");
    fs::create_dir(&directory).unwrap();
    give(&directory);
    c.call(&["spec", "--rootless", "--bundle", directory.to_str().unwrap()]).ok();
    serde_json::from_slice(&fs::read(directory.join("config.json")).unwrap()).unwrap()
}

fn give(path: &Path) {
    chown(path, Some(USER), Some(USER)).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn map(lines: &[(u32, u32, u32)]) -> Value {
    let line = |(container, host, size): &(u32, u32, u32)| json!({"containerID": container, "hostID": host, "size": size});
    lines.iter().map(line).collect()
}

fn has_newuidmap() -> bool {
    Command::new("sh").args(["-c", "command -v newuidmap"]).output().unwrap().status.success()
}

#[test]
fn root_inside_is_the_user_outside() {
    since!("rootless without cgroups of its own", "runc 1.2", "crun 1.9");
    let mut c = container();
    let report = c.report();
    assert_eq!((report.uid[1], report.gid[1]), (0, 0));
    assert_eq!(report.pid, 1);
    assert!(report.mount("/").options.iter().any(|option| option == "ro"), "{:?}", report.mount("/"));
    c.shell("sleep 1000");
    c.run_detached().ok();
    let status = fs::read_to_string(format!("/proc/{}/status", c.pid())).unwrap();
    let uids = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
    assert_eq!(uids.split_whitespace().nth(1), Some("65534"), "{uids}");
    assert_eq!(c.exec(&[], &["/bin/id", "-u"]).ok().stdout.trim(), "0");
    c.delete_force().ok();
    assert!(!c.root.join(&c.id).exists());
}

#[test]
fn ranges_of_subordinate_ids_are_mapped() {
    since!("rootless without cgroups of its own", "runc 1.2", "crun 1.9");
    if !has_newuidmap() {
        skip!("needs newuidmap (package uidmap)");
    }
    let mut c = container();
    for ids in ["/linux/uidMappings", "/linux/gidMappings"] {
        c.put(ids, map(&[(0, USER, 1), (1, RANGE, 1000)]));
    }
    c.put("/process/user", json!({"uid": 5, "gid": 6, "additionalGids": [7]}));
    let report = c.report();
    assert_eq!((report.uid[1], report.gid[1], report.groups.clone()), (5, 6, vec![7]));
    c.shell("sleep 1000");
    c.run_detached().ok();
    let map = fs::read_to_string(format!("/proc/{}/uid_map", c.pid())).unwrap();
    let map: Vec<Vec<&str>> = map.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(map, [vec!["0", "65534", "1"], vec!["1", "700000", "1000"]]);
    assert_eq!(c.exec(&["--user", "9:9"], &["/bin/id", "-u"]).ok().stdout.trim(), "9");
}

#[test]
fn what_needs_privilege_is_refused_in_one_line() {
    if runtime().kind != Kind::Corten {
        skip!("the words of this test are Corten's");
    }
    // Ids that nobody gave to the user.
    let mut c = container();
    c.put("/linux/uidMappings", map(&[(0, USER, 1), (1, 100, 10)]));
    let run = c.run(&[]);
    assert!(run.error().contains("uid"), "{run:#?}");
    // An id-mapped mount.
    let mut c = container();
    c.mount(json!({"destination": "/mnt", "type": "none", "source": "/tmp", "options": ["bind"],
        "uidMappings": [{"containerID": 0, "hostID": USER, "size": 1}],
        "gidMappings": [{"containerID": 0, "hostID": USER, "size": 1}]}));
    let run = c.run(&[]);
    assert!(run.error().contains("need privilege over the host"), "{run:#?}");
    // A limit, where no cgroup may be made.
    let mut c = container();
    c.put("/linux/resources", json!({"memory": {"limit": 64 << 20}}));
    let run = c.run(&[]);
    assert!(run.error().contains("linux.resources.memory.limit"), "{run:#?}");
    assert!(!c.root.join(&c.id).exists());
}

/// The filter is loaded with the user's own rights over the container, and its listener goes to a recorder of the user.
#[test]
fn a_user_can_record_a_profile_and_run_under_it() {
    if runtime().kind != Kind::Corten {
        skip!("recording is Corten's own");
    }
    for no_new_privileges in [true, false] {
        let mut c = container();
        c.put("/process/noNewPrivileges", json!(no_new_privileges));
        c.args(&["/probe", "try", "read", "/etc/passwd"]);
        c.write_config();
        let (bundle, profile) = (c.bundle().to_str().unwrap().to_owned(), c.text_path("profile.json"));
        let run = c.call(&["seccomp", "record", "--bundle", &bundle, "--output", &profile, &c.id]);
        assert_eq!(run.ok().stdout, "ok\n");
        let recorded = serde_json::from_slice(&fs::read(&profile).unwrap()).unwrap();
        c.put("/linux/seccomp", recorded);
        assert_eq!(c.attempt(&["read", "/etc/passwd"]), "ok");
        assert_eq!(c.attempt(&["syscall", "140", "0", "0"]), "EPERM");
    }
}
