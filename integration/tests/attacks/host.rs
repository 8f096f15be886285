//! What of the host a container could be made to change: settings, cgroups, mounts, files of other
//! containers.

use crate::{Sentinel, link};
use integration::container::{Container, cgroup2_view};
use integration::user::user;
use integration::{host, needs, outcome, since, skip};
use serde_json::json;
use std::ffi::OsString;
use std::fs;
use std::process::{Command, Stdio};

/// A `/proc` of the image's own: settings are written to the kernel's or not at all (CVE-2019-16884,
/// CVE-2025-52881).
#[test]
fn a_setting_is_never_written_to_a_false_proc() {
    for kind in ["bind", "link", "none"] {
        let mut c = Container::new();
        let fake = c.path("fake");
        fs::create_dir_all(fake.join("sys/kernel")).unwrap();
        fs::write(fake.join("sys/kernel/shm_rmid_forced"), "fake").unwrap();
        c.put("/linux/maskedPaths", json!([])).put("/linux/readonlyPaths", json!([]));
        match kind {
            // Instead of a procfs, which is the more so when there is one below.
            "bind" => c.unmount("/proc"),
            _ => &mut c,
        };
        match kind {
            "none" => {
                let source = fake.join("sys");
                c.mount(json!({ "destination": "/proc/sys", "type": "bind", "source": source, "options": ["rbind"] }))
            }
            _ => c.mount(
                json!({ "destination": "/proc", "type": "bind", "source": fake, "options": ["rbind"] }),
            ),
        };
        c.put("/linux/sysctl", json!({ "kernel.shm_rmid_forced": "1" })).args(&["/bin/true"]);
        let _ = c.run(&[]);
        let written = fs::read_to_string(fake.join("sys/kernel/shm_rmid_forced")).unwrap();
        assert_eq!(written, "fake", "a setting went to the image's own /proc ({kind})");
    }
}

/// A setting whose file is a link of the image to another one, such as the trigger of SysRq (CVE-2025-52881).
#[test]
fn a_setting_is_never_written_through_a_link() {
    let mut c = Container::new();
    let host = Sentinel::beside(&c);
    let fake = c.path("fake");
    fs::create_dir_all(&fake).unwrap();
    std::os::unix::fs::symlink(host.path("file"), fake.join("shm_rmid_forced")).unwrap();
    c.put("/linux/maskedPaths", json!([])).put("/linux/readonlyPaths", json!([]));
    c.mount(
        json!({ "destination": "/proc/sys/kernel", "type": "bind", "source": fake, "options": ["rbind"] }),
    );
    c.mount(json!({ "destination": host.directory, "type": "bind", "source": host.directory, "options": ["rbind"] }));
    c.put("/linux/sysctl", json!({ "kernel.shm_rmid_forced": "1" })).args(&["/bin/true"]);
    let _ = c.run(&[]);
    host.assert_unchanged("a setting");
}

/// `exec --cgroup` into a neighbour whose name begins as the container's own (runc 1.5.2).
#[test]
fn a_process_is_never_put_into_another_containers_cgroup() {
    let mut c = Container::new();
    c.via = cgroup2_view();
    let pid = c.sleeping();
    let own = needs!(host::cgroup2(pid), "cgroup version 2");
    let neighbour = own.with_file_name(format!("{}-evil", c.id));
    fs::create_dir(&neighbour).unwrap();
    let name = neighbour.file_name().unwrap().to_str().unwrap().to_owned();
    let outcomes: Vec<bool> = ["../", "/../", "x/../../", "./../", ""]
        .iter()
        .map(|way| {
            let exec = c.exec(&["--cgroup", &format!("{way}{name}")], &["/bin/cat", "/proc/self/cgroup"]);
            exec.status.success() && exec.stdout.contains("-evil")
        })
        .collect();
    fs::remove_dir(&neighbour).unwrap();
    assert_eq!(outcomes, [false; 5], "a process was put into a neighbour");
}

/// A rootless container without a cgroup namespace must not be able to move its user's processes
/// (CVE-2023-25809).
#[test]
fn a_rootless_container_cannot_write_its_users_cgroup() {
    let user = needs!(user(), "root and useradd");
    let unified = needs!(host::unified(), "cgroup version 2");
    let mut c = user.container(integration::config::rootless(user.uid, user.gid));
    let delegated = unified.join(format!("{}-delegated", c.id));
    fs::create_dir(&delegated).unwrap();
    for file in [delegated.clone(), delegated.join("cgroup.procs"), delegated.join("cgroup.subtree_control")]
    {
        std::os::unix::fs::chown(file, Some(user.uid), Some(user.gid)).unwrap();
    }
    // The user's session has this cgroup.
    let name = delegated.file_name().unwrap().to_str().unwrap();
    let enter = format!(
        "mount -t cgroup2 none /sys/fs/cgroup && echo 0 > /sys/fs/cgroup/{name}/cgroup.procs && exec \"$0\" \"$@\""
    );
    c.via.splice(0..0, ["unshare", "-m", "sh", "-c", &enter].map(OsString::from));
    c.mount(json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", "nosuid"] }));
    c.shell(
        "for f in $(find /sys/fs/cgroup -name cgroup.procs); do ( : >> $f ) 2>/dev/null && echo writable $f; done; true",
    );
    let run = c.run(&[]);
    let _ = fs::remove_dir(&delegated);
    assert!(run.status.success(), "{run:#?}");
    assert!(!run.stdout.contains("writable"), "{run:#?}");
}

/// Runs the runtime in a mount namespace of its own, where its root is a mount, and says whether the mounts
/// there are what they were.
fn table_unchanged(c: &mut Container) -> bool {
    let (before, after) = (c.text_path("before"), c.text_path("after"));
    let root = c.rootfs("");
    let root = root.display();
    let script = format!(
        "mount --bind {root} {root} && mount --make-rshared / && cat /proc/self/mountinfo > {before}; \"$0\" \"$@\"; r=$?; \
         cat /proc/self/mountinfo > {after}; exit $r"
    );
    c.via.splice(0..0, ["unshare", "-m", "sh", "-c", &script].map(OsString::from));
    let _ = c.run(&[]);
    fs::read_to_string(before).unwrap() == fs::read_to_string(after).unwrap()
}

/// A container without a mount namespace has the host's: nothing may be mounted there, no propagation changed
/// (runc 1.5.3).
#[test]
fn the_hosts_mounts_stay_as_they_are_without_a_mount_namespace() {
    let mut c = Container::new();
    c.without_namespace("mount").args(&["/bin/true"]);
    assert!(table_unchanged(&mut c), "the host's mounts have changed");
    let mut c = Container::new();
    c.without_namespace("mount").args(&["/bin/true"]).put("/mounts", json!([]));
    c.put("/linux/maskedPaths", json!([])).put("/linux/readonlyPaths", json!([]));
    assert!(table_unchanged(&mut c), "the host's mounts have changed");
    let mut c = Container::new();
    c.without_namespace("mount")
        .args(&["/bin/true"])
        .put("/mounts", json!([]))
        .put("/root/readonly", json!(false));
    c.put("/linux/maskedPaths", json!([])).put("/linux/readonlyPaths", json!([]));
    c.put("/linux/rootfsPropagation", json!("private"));
    assert!(table_unchanged(&mut c), "the host's mounts have changed");
}

#[test]
fn the_hosts_mounts_stay_as_they_are() {
    for propagation in ["private", "slave", "shared", "unbindable", ""] {
        let mut c = Container::new();
        if !propagation.is_empty() {
            c.put("/linux/rootfsPropagation", json!(propagation));
        }
        c.args(&["/bin/true"]);
        assert!(table_unchanged(&mut c), "the host's mounts have changed ({propagation})");
    }
}

/// Namespaces that are joined by their paths, and are the host's own: what is allowed in one of the
/// container's own is not done to the host.
#[test]
fn a_namespace_of_the_host_is_not_one_of_the_containers() {
    for (kind, file, setting, look) in [
        ("uts", "uts", "kernel.domainname", "cat /proc/sys/kernel/domainname"),
        ("network", "net", "net.ipv4.ip_default_ttl", "cat /proc/sys/net/ipv4/ip_default_ttl"),
        ("ipc", "ipc", "kernel.msgmni", "cat /proc/sys/kernel/msgmni"),
    ] {
        let mut c = Container::new();
        c.config["hostname"] = json!("");
        c.namespace(kind, Some(&format!("/proc/self/ns/{file}")));
        c.put("/linux/sysctl", json!({ setting: "123" })).args(&["/bin/true"]);
        let (before, after) = (c.text_path("before"), c.text_path("after"));
        // Instead of the host's own.
        let script = format!("{look} > {before}; \"$0\" \"$@\"; {look} > {after}");
        c.via.splice(0..0, ["unshare", "-u", "-n", "-i", "sh", "-c", &script].map(OsString::from));
        let _ = c.run(&[]);
        let read = |path| fs::read_to_string(path).unwrap();
        assert_eq!(read(before), read(after), "{setting} of the host has changed");
    }
    let mut c = Container::new();
    c.namespace("mount", Some("/proc/self/ns/mnt")).args(&["/bin/true"]);
    assert!(table_unchanged(&mut c), "the host's mounts have changed");
    let mut c = Container::new();
    c.namespace("network", Some("/proc/self/ns/net")).args(&["/bin/true"]);
    c.put("/linux/netDevices", json!({ "here": { "name": "there" } }));
    let after = c.text_path("after");
    let script =
        format!("ip link add here type veth peer name other && \"$0\" \"$@\"; cat /proc/net/dev > {after}");
    c.via.splice(0..0, ["unshare", "-n", "sh", "-c", &script].map(OsString::from));
    let _ = c.run(&[]);
    assert!(
        fs::read_to_string(after).unwrap().contains(" here:"),
        "an interface of the host has another name"
    );
}

/// A namespace file bound below the source of a mount makes some kernels refuse to copy the tree: what is
/// mounted then must not be another one (crun#2262, crun#2264).
#[test]
fn a_bind_with_a_namespace_below_is_the_right_tree_or_refused() {
    let mut c = Container::new();
    let source = c.path("source");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("right"), "").unwrap();
    fs::write(source.join("ns"), "").unwrap();
    let source = source.to_str().unwrap().to_owned();
    c.prepared(&format!("mount --bind /proc/self/ns/net {source}/ns"));
    c.mount(json!({ "destination": "/mnt", "type": "bind", "source": source, "options": ["rbind"] }));
    c.args(&["/bin/ls", "/mnt"]);
    let run = c.run(&[]);
    if run.status.success() {
        assert_eq!(run.stdout, "ns\nright\n");
    }
}

/// Some kernels write past the end of what bpf(2) was given, unless that is as large as they know (runc
/// 1.5.2).
#[test]
fn bpf_always_gets_its_full_size() {
    if Command::new("strace").arg("-V").output().is_err() {
        skip!("needs strace");
    }
    let mut c = Container::new();
    c.via = cgroup2_view();
    c.args(&["/bin/true"]);
    let trace = c.text_path("trace");
    let words = ["strace", "-f", "-qq", "-e", "trace=bpf", "-e", "raw=bpf", "-o", &trace];
    c.via.extend(words.map(OsString::from));
    c.run(&[]).ok();
    let trace = fs::read_to_string(trace).unwrap();
    let size = |line: &str| {
        let words = line.split_once("bpf(")?.1.split_once(')')?.0;
        u64::from_str_radix(words.rsplit(", ").next()?.trim_start_matches("0x"), 16).ok()
    };
    let sizes: Vec<u64> = trace.lines().filter_map(size).collect();
    assert!(!sizes.is_empty(), "no call of bpf(2): {trace}");
    assert!(sizes.iter().all(|size| *size >= 144), "{trace}");
}

/// A handler that runs virtual machines wrote its configuration through a link in the root (CVE-2025-24965,
/// CVE-2026-84042).
#[test]
fn an_annotation_makes_nobody_write_into_the_root() {
    for handler in ["krun", "wasm", "/etc/passwd"] {
        let mut c = Container::new();
        let host = Sentinel::beside(&c);
        link(&c, ".krun_config.json", &host.path("file"));
        c.put("/annotations/run.oci.handler", json!(handler)).put("/root/readonly", json!(false));
        c.args(&["/bin/true"]);
        let _ = c.run(&[]);
        host.assert_unchanged("a handler");
    }
}

/// A command of a container that criu saves, with its `$PATH`. Files of the test as standard I/O would have no place in an image.
fn with_criu(c: &Container, path: &OsString, args: &[&str]) -> outcome::Outcome {
    let mut command = c.command(args[0], args);
    command.env("PATH", path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    outcome::finish(child, &format!("{command:?}"), c.bundle(), args[0])
}

/// Names of mounts that mean something to criu (CVE-2026-119101, CVE-2026-115520): each is restored to its own place, or
/// the container goes on and is told why.
#[test]
fn a_restore_takes_no_names_from_an_image() {
    since!("mount points with any name in checkpoints", "runc 1.3", "crun 1.31");
    let path = needs!(integration::criu::path(), "criu (integration/src/fetch-criu.sh)");
    for can_be_told in [true, false] {
        let mut c = Container::new();
        let host = Sentinel::beside(&c);
        // What criu is told of the latter, `mnt[/a]:m0]:KEY`, begins as what it looks for to restore /a does.
        let odd = format!("/a]:{}", host.path("directory"));
        let names = if can_be_told { [odd.as_str(), "/b,[c]", "/m1"] } else { ["/a", "/a]:m0", "/m1"] };
        for (number, name) in names.iter().enumerate() {
            let source = c.path(&format!("source{number}"));
            fs::create_dir(&source).unwrap();
            fs::write(source.join("name"), name).unwrap();
            c.mount(json!({ "destination": name, "source": source, "options": ["rbind", "ro"] }));
        }
        c.put("/root/readonly", json!(false)).args(&["/probe", "sleep"]).write_config();
        let (bundle, images, pid) = (c.text_path(""), c.text_path("images"), c.text_path("pid"));
        with_criu(&c, path, &["run", "--detach", "--bundle", &bundle, "--pid-file", &pid, &c.id]).ok();
        let saved = with_criu(&c, path, &["checkpoint", "--image-path", &images, &c.id]);
        if saved.status.success() {
            let restore =
                ["restore", "--detach", "--image-path", &images, "--bundle", &bundle, "--pid-file", &pid];
            with_criu(&c, path, &[&restore[..], &[&c.id]].concat()).ok();
        } else {
            assert!(!can_be_told && saved.error().contains("criu cannot tell"), "{saved:#?}");
        }
        for name in names {
            let seen = c.exec(&[], &["/bin/cat", &format!("{name}/name")]).ok().stdout;
            assert_eq!(seen, name);
        }
        host.assert_unchanged("a restore");
    }
}

/// An image that somebody has changed: what it says of mounts leads nowhere but to what the bundle has
/// (CVE-2026-119101).
#[test]
fn a_restore_mounts_nothing_that_an_image_asks_for() {
    since!("checkpoints whose files can be looked at", "runc -", "crun -");
    let path = needs!(integration::criu::path(), "criu (integration/src/fetch-criu.sh)");
    let mut c = Container::new();
    let host = Sentinel::beside(&c);
    let source = c.path("source");
    fs::create_dir_all(&source).unwrap();
    c.mount(json!({ "destination": "/mnt", "type": "bind", "source": source, "options": ["bind"] }));
    c.put("/root/readonly", json!(false)).args(&["/probe", "sleep"]).write_config();
    let (bundle, images) = (c.text_path(""), c.text_path("images"));
    let call = |args: &[&str]| with_criu(&c, path, args);
    call(&["run", "--detach", "--bundle", &bundle, &c.id]).ok();
    call(&["checkpoint", "--image-path", &images, &c.id]).ok();
    let file = c.path("images/externals.json");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("\"/mnt\""), "{text}");
    let directory = host.path("directory");
    for place in [directory.as_str(), &format!("/mnt/../..{directory}"), "/", "/mnt/../etc"] {
        fs::write(&file, text.replace("\"/mnt\"", &json!(place).to_string())).unwrap();
        let restore = call(&["restore", "--detach", "--image-path", &images, "--bundle", &bundle, &c.id]);
        assert!(!restore.status.success(), "{place}: {restore:#?}");
        host.assert_unchanged(place);
    }
    fs::write(&file, text).unwrap();
    call(&["restore", "--detach", "--image-path", &images, "--bundle", &bundle, &c.id]).ok();
}

/// A mount that is made read-only late, through a directory that the container fills (CVE-2026-115521).
#[test]
fn what_is_read_only_is_so_from_the_first_moment() {
    let mut c = Container::new();
    let source = c.path("source");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("file"), "").unwrap();
    link(&c, "proc-self-fd", "/etc");
    c.mount(json!({ "destination": "/mnt", "type": "bind", "source": source, "options": ["rbind", "ro"] }));
    c.mount(json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["ro"] }));
    c.shell("touch /mnt/file /tmp/new; awk '$5 ~ /^.(mnt|tmp)$/ { print $5, $6 }' /proc/self/mountinfo");
    let run = c.run(&[]).ok();
    for line in run.stdout.lines() {
        let (place, options) = line.split_once(' ').unwrap();
        assert!(options.split(',').any(|option| option == "ro"), "{place} {options}");
    }
    assert_eq!(run.stdout.lines().count(), 2, "{run:#?}");
}
