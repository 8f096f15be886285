//! Root filesystems that are hostile: links, files, FIFOs and devices where a runtime expects something else.

use crate::{Sentinel, link};
use integration::container::Container;
use integration::sockets::Receiver;
use integration::{host, skip};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::json;
use std::fs;

/// A container on whose `/dev` nothing is mounted: the image's is used.
fn with_own_dev() -> Container {
    let mut c = Container::new();
    c.unmount("/dev/pts").unmount("/dev/shm").unmount("/dev/mqueue").unmount("/dev");
    c.put("/root/readonly", json!(false));
    c
}

/// Runs to its end, however that is: refusing is as good as surviving. What it may not do is to hang or to
/// panic.
fn run(c: &mut Container) -> integration::outcome::Outcome {
    c.args(&["/bin/true"]).run(&[])
}

#[test]
fn dev_as_a_link_to_the_host() {
    let mut c = with_own_dev();
    let host = Sentinel::beside(&c);
    link(&c, "dev", &host.path("directory"));
    run(&mut c);
    host.assert_unchanged("an image's /dev");
}

#[test]
fn dev_as_a_link_to_the_host_that_is_mounted_on() {
    let mut c = Container::new();
    let host = Sentinel::beside(&c);
    link(&c, "dev", &host.path("directory"));
    run(&mut c);
    host.assert_unchanged("an image's /dev");
}

#[test]
fn proc_and_sys_as_links_are_refused() {
    for name in ["proc", "sys"] {
        let mut c = Container::new();
        let host = Sentinel::beside(&c);
        fs::create_dir_all(c.rootfs("elsewhere")).unwrap();
        link(&c, name, "elsewhere");
        let run = run(&mut c);
        assert!(!run.status.success(), "a link for /{name} was accepted: {run:#?}");
        host.assert_unchanged("a link for a filesystem");
    }
}

#[test]
fn proc_and_sys_as_links_to_the_host() {
    for name in ["proc", "sys"] {
        let mut c = Container::new();
        let host = Sentinel::beside(&c);
        link(&c, name, &host.path("directory"));
        let run = run(&mut c);
        assert!(!run.status.success(), "a link for /{name} was accepted: {run:#?}");
        host.assert_unchanged("a link for a filesystem");
    }
}

#[test]
fn a_mount_through_a_link_stays_in_the_root() {
    let host_link = |c: &Container, host: &Sentinel| link(c, "leads-out", &host.path("directory"));
    for mount in [
        json!({ "destination": "/leads-out/new", "type": "tmpfs", "source": "tmpfs" }),
        json!({ "destination": "/leads-out/deep/new", "type": "tmpfs", "source": "tmpfs" }),
        json!({ "destination": "/leads-out", "type": "tmpfs", "source": "tmpfs" }),
        json!({ "destination": "/leads-out/made", "type": "bind", "source": "/bin/busybox", "options": ["bind"] }),
        json!({ "destination": "/tmp/../leads-out/../../../made", "type": "tmpfs", "source": "tmpfs" }),
    ] {
        let mut c = Container::new();
        let host = Sentinel::beside(&c);
        host_link(&c, &host);
        c.put("/root/readonly", json!(false)).mount(mount.clone());
        run(&mut c);
        host.assert_unchanged(&mount.to_string());
    }
}

/// A destination that begins in the sysfs and leads out of it again, through a link, to a mount that others share.
#[test]
fn a_mount_of_control_groups_stays_in_the_root() {
    if host::hierarchies().iter().all(|path| path.join("cgroup.controllers").exists()) {
        skip!("needs cgroup version 1");
    }
    let mut c = Container::new();
    let target = c.text_path("host");
    fs::create_dir(&target).unwrap();
    link(&c, "leads-out", &target);
    c.put("/root/readonly", json!(false)).put("/linux/rootfsPropagation", json!("rshared"));
    c.unmount("/sys/fs/cgroup").mount(json!({ "destination": "/sys/../leads-out/sub", "type": "cgroup" }));
    // Nothing of it is the host's: `prepared` begins with mounts that are private.
    let after =
        format!("{{ \"$0\" \"$@\"; code=$?; grep -c {target}/sub /proc/self/mountinfo; exit $code; }}");
    c.prepared(&format!(
        "mount --make-rshared / && mount -t tmpfs t {target} && mkdir {target}/sub && {after}"
    ));
    c.args(&["/bin/grep", "-c", " - cgroup ", "/proc/self/mountinfo"]);
    let run = c.run(&[]);
    let counts: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(counts.last(), Some(&"0"), "mounted on the host: {run:#?}");
    assert!(counts.len() == 2 && counts[0] != "0", "not mounted in the container: {run:#?}");
}

/// A mask is looked for where its path leads, be that by a way through something else that is mounted.
#[test]
fn a_mask_by_a_way_around_hides_what_it_names() {
    let mut c = Container::new();
    fs::write(c.rootfs("etc/masked"), "secret").unwrap();
    c.put("/linux/maskedPaths", json!(["/sys/../etc/masked"]));
    c.put("/linux/readonlyPaths", json!(["/proc/../etc"]));
    c.put("/root/readonly", json!(false)).shell("cat /etc/masked; touch /etc/new && echo written");
    let run = c.run(&[]);
    assert_eq!(run.stdout, "", "{run:#?}");
}

/// The last part of a destination followed as a link (CVE-2019-18837).
#[test]
fn a_mount_on_a_link_stays_in_the_root() {
    let mut c = Container::new();
    let host = Sentinel::beside(&c);
    link(&c, "last", &host.path("file"));
    c.put("/root/readonly", json!(false));
    c.mount(
        json!({ "destination": "/last", "type": "bind", "source": "/etc/hostname", "options": ["bind"] }),
    );
    let run = c.args(&["/bin/cat", "/last"]).run(&[]);
    host.assert_unchanged("a mount on a link");
    // Nothing shows on the host what was mounted there in another mount namespace; it is missing in the
    // container.
    if run.status.success() {
        assert_eq!(run.stdout, fs::read_to_string("/etc/hostname").unwrap());
    } else {
        assert!(run.stdout.is_empty() && !run.stderr.contains("No such file"), "mounted elsewhere: {run:#?}");
    }
}

#[test]
fn a_working_directory_through_a_link_stays_in_the_root() {
    let mut c = Container::new();
    let host = Sentinel::beside(&c);
    link(&c, "leads-out", &host.path("directory"));
    c.put("/root/readonly", json!(false)).put("/process/cwd", json!("/leads-out/made"));
    run(&mut c);
    host.assert_unchanged("a working directory");
}

/// The image's `/dev/null` names the file that everybody's masks are made of (CVE-2025-31133).
#[test]
fn a_mask_is_never_the_images_own_null_device() {
    for kind in ["link", "file"] {
        let mut c = with_own_dev();
        c.put("/linux/maskedPaths", json!(["/etc/masked"])).put("/process/noNewPrivileges", json!(false));
        fs::write(c.rootfs("etc/masked"), "secret").unwrap();
        fs::write(c.rootfs("etc/evil"), "evil").unwrap();
        match kind {
            "link" => link(&c, "dev/null", "/etc/evil"),
            _ => fs::write(c.rootfs("dev/null"), "evil").unwrap(),
        }
        c.shell("stat -c %t:%T /etc/masked; cat /etc/masked");
        let run = c.run(&[]);
        if run.status.success() {
            assert_eq!(run.stdout.trim(), "1:3", "masked by something else ({kind})");
        }
    }
}

/// A mask made of a link of the image leads to a setting of the kernel, which is then writable
/// (CVE-2025-31133).
#[test]
fn a_mask_does_not_open_the_kernels_settings() {
    let mut c = with_own_dev();
    c.put("/linux/maskedPaths", json!(["/proc/sys/kernel/domainname"]))
        .put("/linux/readonlyPaths", json!([]));
    link(&c, "dev/null", "/proc/sys/kernel/hostname");
    c.shell("echo attacked > /proc/sys/kernel/domainname; cat /proc/sys/kernel/hostname");
    let run = c.run(&[]);
    assert!(!run.stdout.contains("attacked"), "{run:#?}");
}

/// Standard streams replaced by what the image calls `/dev/null` (CVE-2026-88265).
#[test]
fn standard_streams_are_never_the_images_own_null_device() {
    let mut c = with_own_dev();
    c.put("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let host = Sentinel::beside(&c);
    fs::write(c.rootfs("etc/evil"), "").unwrap();
    link(&c, "dev/null", "/etc/evil");
    c.args(&["/bin/readlink", "/proc/self/fd/0"]);
    let run = c.run(&[]);
    assert!(!run.stdout.contains("evil"), "{run:#?}");
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(c.rootfs("etc/evil")).unwrap());
    assert_eq!(owner, 0, "given away");
    host.assert_unchanged("an image's /dev/null");
}

/// `/dev/console` as a link to a file of the host, or to one that is not there yet (CVE-2025-52565,
/// CVE-2026-88264).
#[test]
fn a_console_is_never_made_through_a_link() {
    for target in ["file", "made", "directory/null"] {
        let mut c = with_own_dev();
        c.mount(json!({ "destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["newinstance", "ptmxmode=0666"] }));
        let host = Sentinel::beside(&c);
        link(&c, "dev/console", &host.path(target));
        c.put("/process/terminal", json!(true)).args(&["/bin/true"]);
        let socket = Receiver::at(&c.path("console"));
        let _ = c.try_create(&["--console-socket", c.path("console").to_str().unwrap()]);
        drop(socket);
        host.assert_unchanged("a console");
    }
}

/// A `/dev/pts/ptmx` that is no multiplexer of a devpts: the terminal would be whatever the image says
/// (CVE-2025-52565).
#[test]
fn a_terminal_comes_from_a_true_devpts() {
    for kind in ["link", "file", "device", "missing"] {
        let mut c = with_own_dev();
        let host = Sentinel::beside(&c);
        fs::create_dir_all(c.rootfs("dev/pts")).unwrap();
        match kind {
            "link" => link(&c, "dev/pts/ptmx", &host.path("file")),
            "file" => fs::write(c.rootfs("dev/pts/ptmx"), "").unwrap(),
            "device" => {
                let path = c.rootfs("dev/pts/ptmx");
                mknod(&path, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(5, 2)).unwrap();
            }
            _ => {}
        }
        c.put("/process/terminal", json!(true)).args(&["/bin/true"]);
        let socket = Receiver::at(&c.path("console"));
        let create = c.try_create(&["--console-socket", c.path("console").to_str().unwrap()]);
        drop(socket);
        assert!(!create.status.success(), "a terminal of a {kind} was accepted: {create:#?}");
        host.assert_unchanged("a terminal");
    }
}

/// Everything that a runtime looks for in `/dev`, `/etc` and below, as everything that it is not.
#[test]
fn names_that_a_runtime_looks_for_may_be_anything() {
    let names = [
        "dev",
        "dev/null",
        "dev/console",
        "dev/ptmx",
        "dev/pts",
        "dev/shm",
        "dev/fd",
        "dev/mqueue",
        "etc",
        "etc/passwd",
    ];
    for name in names {
        for kind in ["link", "dangling", "file", "fifo", "device", "loop"] {
            let mut c = if name.starts_with("dev") { with_own_dev() } else { Container::new() };
            let host = Sentinel::beside(&c);
            let path = c.rootfs(name);
            let _ = fs::remove_dir_all(&path);
            let _ = fs::remove_file(&path);
            let mode = Mode::from_bits_truncate(0o666);
            match kind {
                "link" => link(&c, name, &host.path("directory")),
                "dangling" => link(&c, name, &host.path("not-there")),
                "file" => fs::write(&path, "").unwrap(),
                "fifo" => nix::unistd::mkfifo(&path, mode).unwrap(),
                "device" => mknod(&path, SFlag::S_IFCHR, mode, makedev(1, 1)).unwrap(),
                _ => link(&c, name, &format!("/{name}")),
            }
            run(&mut c);
            host.assert_unchanged(&format!("/{name} as a {kind}"));
        }
    }
}

/// Destinations with every letter that some parser takes for its own.
#[test]
fn names_of_destinations_may_be_anything() {
    let long = format!("/{}", "x".repeat(4200));
    let deep = format!("/{}", "d/".repeat(3000));
    let names = [
        "/a]:b",
        "/a,b",
        "/a\nb",
        "/a b\tc",
        "/a\\040b",
        "/[x]",
        "/%s%n",
        "/a:b",
        "/\u{7f}\u{1}",
        "/..",
        "/../../etc",
        "/tmp/../..",
        "/.",
        "//",
        "",
        "relative",
        "../outside",
        "/../outside",
        "/tmp/../../outside",
        &long,
        &deep,
    ];
    for name in names {
        let mut c = Container::new();
        let host = Sentinel::beside(&c);
        c.put("/root/readonly", json!(false));
        c.mount(json!({ "destination": name, "type": "tmpfs", "source": "tmpfs" }));
        let run = run(&mut c);
        assert!(run.status.code().is_some(), "{name:?}: {run:#?}");
        host.assert_unchanged("a destination");
        let outside = fs::read_dir(c.bundle()).unwrap().any(|entry| entry.unwrap().file_name() == "outside");
        assert!(!outside, "{name:?} was made outside of the root");
    }
}
