//! `mounts`: what is mounted, in which order, on which destination; how missing destinations come to be.

use integration::container::Container;
use integration::{host, leaks, since};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

#[test]
fn the_usual_mounts_are_there() {
    let mut c = Container::docker_like();
    let report = c.report();
    // Version 1 has a tmpfs there with one mount for each controller.
    let cgroups = if has_version_1() { "/sys/fs/cgroup/pids" } else { "/sys/fs/cgroup" };
    let expected = [
        ("/proc", "proc", vec!["nosuid", "nodev", "noexec"]),
        ("/dev", "tmpfs", vec!["nosuid"]),
        ("/dev/pts", "devpts", vec!["nosuid", "noexec"]),
        ("/sys", "sysfs", vec!["nosuid", "nodev", "noexec", "ro"]),
        (cgroups, "", vec!["nosuid", "nodev", "noexec", "ro"]),
        ("/dev/mqueue", "mqueue", vec!["nosuid", "nodev", "noexec"]),
        ("/dev/shm", "tmpfs", vec!["nosuid", "nodev", "noexec"]),
    ];
    for (target, fstype, options) in expected {
        let mount = report.mount(target);
        assert!(fstype.is_empty() || mount.fstype == fstype, "{mount:?}");
        for option in options {
            assert!(mount.has(option), "{target} {option}: {mount:?}");
        }
    }
    let dev = report.mount("/dev");
    assert!(dev.super_has("size=65536k") && dev.super_has("mode=755"), "{dev:?}");
    let pts = report.mount("/dev/pts");
    assert!(pts.super_has("gid=5") && pts.super_has("mode=620") && pts.super_has("ptmxmode=666"), "{pts:?}");
    let shm = report.mount("/dev/shm");
    assert!(shm.super_has("size=65536k"), "{shm:?}");
}

fn has_version_1() -> bool {
    host::cgroup1(1, "pids").is_some()
}

#[test]
fn nothing_of_the_host_is_left_in_the_mount_table() {
    let mut c = Container::new();
    let report = c.report();
    let foreign = |target: &str| {
        !["/proc", "/dev", "/sys"].iter().any(|top| target == *top || target.starts_with(&format!("{top}/")))
            && target != "/"
    };
    let strange: Vec<_> = report.mounts.iter().filter(|mount| foreign(&mount.target)).collect();
    assert!(strange.is_empty(), "{strange:#?}");
    assert!(report.mount("/").root.ends_with(&format!("{}/rootfs", c.id)));
}

#[test]
fn mounts_are_made_in_order() {
    let mut c = Container::new();
    c.mount(json!({ "destination": "/mnt", "type": "tmpfs", "source": "first" }));
    c.mount(json!({ "destination": "/mnt/a", "type": "tmpfs", "source": "second" }));
    c.mount(json!({ "destination": "/mnt", "type": "tmpfs", "source": "third" }));
    let report = c.report();
    let sources: Vec<_> = report
        .mounts
        .iter()
        .filter(|mount| mount.target.starts_with("/mnt"))
        .map(|mount| mount.source.as_str())
        .collect();
    assert_eq!(sources, ["first", "second", "third"]);
    assert_eq!(c.attempt(&["read", "/mnt/a/x"]), "ENOENT");
}

#[test]
fn missing_destinations_are_made() {
    let mut c = Container::new();
    fs::create_dir(c.path("directory")).unwrap();
    fs::write(c.path("file"), "text").unwrap();
    let (directory, file) = (c.text_path("directory"), c.text_path("file"));
    c.mount(json!({ "destination": "/a/b/c", "type": "tmpfs", "source": "tmpfs" }));
    c.mount(json!({ "destination": "/d/e", "type": "bind", "source": directory, "options": ["bind"] }));
    c.mount(json!({ "destination": "/f/g", "type": "bind", "source": file, "options": ["bind"] }));
    let report = c.report();
    for target in ["/a/b/c", "/d/e", "/f/g"] {
        assert!(report.is_mounted(target), "{target}");
    }
    assert!(c.rootfs("a/b/c").is_dir() && c.rootfs("d/e").is_dir());
    assert!(c.rootfs("f/g").is_file());
    assert_eq!(fs::metadata(c.rootfs("f/g")).unwrap().len(), 0);
    assert_eq!(fs::metadata(c.rootfs("a/b")).unwrap().permissions().mode() & 0o7777, 0o755);
}

#[test]
fn a_bind_shows_the_source() {
    let mut c = Container::new();
    fs::create_dir(c.path("shared")).unwrap();
    fs::write(c.path("shared/text"), "from outside").unwrap();
    let source = c.text_path("shared");
    c.mount(json!({ "destination": "/mnt", "source": source, "options": ["bind", "rw"] }));
    assert_eq!(c.script("cat /mnt/text; echo from inside > /mnt/new"), "from outside");
    assert_eq!(fs::read_to_string(c.path("shared/new")).unwrap(), "from inside\n");
}

/// `type: none` or nothing, as engines write it.
#[test]
fn a_bind_is_known_by_its_option() {
    for kind in [json!("none"), json!("bind"), json!("")] {
        let mut c = Container::new();
        let source = c.text_path("rootfs/etc");
        c.mount(json!({ "destination": "/mnt", "type": kind, "source": source, "options": ["rbind"] }));
        assert!(c.report().mount("/mnt").root.ends_with("/rootfs/etc"), "{kind}");
    }
}

#[test]
fn a_relative_source_is_below_the_bundle() {
    let mut c = Container::new();
    fs::create_dir(c.path("shared")).unwrap();
    c.mount(json!({ "destination": "/mnt", "type": "bind", "source": "shared", "options": ["bind"] }));
    assert!(c.report().mount("/mnt").root.ends_with(&format!("{}/shared", c.id)));
}

#[test]
fn a_bind_may_be_a_single_file_or_a_device() {
    let mut c = Container::new();
    fs::write(c.path("file"), "one file").unwrap();
    let file = c.text_path("file");
    c.mount(
        json!({ "destination": "/etc/hosts", "type": "bind", "source": file, "options": ["bind", "ro"] }),
    );
    c.mount(json!({ "destination": "/nothing", "type": "bind", "source": "/dev/null", "options": ["bind"] }));
    assert_eq!(
        c.script("cat /etc/hosts; echo x > /etc/hosts || echo refused; test -c /nothing && echo device"),
        "one filerefused\ndevice\n"
    );
}

#[test]
fn rbind_brings_submounts_and_bind_does_not() {
    for (options, expected) in
        [(&["rbind"][..], true), (&["bind"], false), (&["bind", "rbind"], true), (&["rbind", "bind"], true)]
    {
        let mut c = Container::new();
        fs::create_dir_all(c.path("tree/below")).unwrap();
        c.prepared(&format!("mount -t tmpfs below {}", c.text_path("tree/below")));
        let source = c.text_path("tree");
        c.mount(json!({ "destination": "/mnt", "type": "bind", "source": source, "options": options }));
        assert_eq!(c.report().is_mounted("/mnt/below"), expected, "{options:?}");
    }
}

#[test]
fn tmpfs_data_options_reach_the_filesystem() {
    let mut c = Container::new();
    c.mount(json!({ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs",
        "options": ["size=8m", "mode=0750", "uid=7", "gid=8", "nr_inodes=99"] }));
    let report = c.report();
    let mount = report.mount("/mnt");
    for option in ["size=8192k", "mode=750", "uid=7", "gid=8", "nr_inodes=99"] {
        assert!(mount.super_has(option), "{option}: {mount:?}");
    }
}

/// Docker and others let a tmpfs cover a directory of the image and keep what was in it.
#[test]
fn tmpcopyup_copies_what_the_tmpfs_covers() {
    let mut c = Container::new();
    fs::create_dir_all(c.rootfs("data/deep/er")).unwrap();
    fs::write(c.rootfs("data/file"), "kept").unwrap();
    fs::write(c.rootfs("data/deep/er/file"), "deeper").unwrap();
    fs::set_permissions(c.rootfs("data/file"), fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(c.rootfs("data/file"), Some(12), Some(34)).unwrap();
    symlink("file", c.rootfs("data/link")).unwrap();
    c.capabilities(&["CAP_DAC_OVERRIDE"]);
    c.mount(json!({ "destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"] }));
    let text = c.script(
        "cat /data/file; echo; cat /data/deep/er/file; echo; stat -c '%a %u %g' /data/file; readlink /data/link; \
         echo new > /data/new && cat /data/new",
    );
    assert_eq!(text, "kept\ndeeper\n640 12 34\nfile\nnew\n");
    assert!(!c.rootfs("data/new").exists());
    assert_eq!(c.report().mount("/data").fstype, "tmpfs");
}

#[test]
fn tmpcopyup_of_more_than_the_tmpfs_holds_is_refused() {
    since!("its message", "runc -", "crun -");
    let mut c = Container::new();
    let options = json!(["tmpcopyup", "size=4k"]);
    c.mount(json!({ "destination": "/bin", "type": "tmpfs", "source": "tmpfs", "options": options }));
    let run = c.run(&[]);
    assert!(run.error().ends_with("/bin: tmpcopyup: copy busybox: no space left on device"), "{run:#?}");
}

/// A tmpfs takes the mode of the directory that it covers unless it is told another.
#[test]
fn a_tmpfs_keeps_the_mode_of_its_directory() {
    let mut c = Container::new();
    fs::create_dir(c.rootfs("data")).unwrap();
    fs::set_permissions(c.rootfs("data"), fs::Permissions::from_mode(0o1775)).unwrap();
    c.mount(json!({ "destination": "/data", "type": "tmpfs", "source": "tmpfs" }));
    assert_eq!(c.script("stat -c %a /data"), "1775\n");
}

/// What is mounted and made in it finds its place before: podman asks for a read-only `/dev` (`--read-only-tmpfs=false`).
#[test]
fn a_read_only_tmpfs_is_filled_first() {
    let mut c = Container::new();
    for mount in c.config["mounts"].as_array_mut().unwrap() {
        if mount["destination"] == "/dev" {
            mount["options"].as_array_mut().unwrap().push(json!("ro"));
        }
    }
    let source = c.path("source");
    fs::create_dir(&source).unwrap();
    let tmpfs =
        |options| json!({ "destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": options });
    c.mount(tmpfs(json!(["ro", "mode=755"])));
    c.mount(json!({ "destination": "/data/in/it", "type": "bind", "source": source, "options": ["bind"] }));
    c.put("/process/cwd", json!("/data/new"));
    let report = c.report();
    assert!(report.mount("/dev").has("ro") && report.mount("/data").has("ro"), "{report:#?}");
    assert_eq!((report.cwd.as_str(), report.dev["/dev/null"].kind.as_str()), ("/data/new", "c"));
    for (file, end) in
        [("/dev/x", "EROFS"), ("/dev/shm/x", "ok"), ("/data/x", "EROFS"), ("/data/in/it/x", "ok")]
    {
        assert_eq!(c.attempt(&["create", file]), end, "{file}");
    }
    leaks::assert_none(&c);
}

#[test]
fn a_read_only_root_is_read_only_and_its_mounts_are_not() {
    let mut c = Container::new();
    c.mount(json!({ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs" }));
    assert!(c.report().mount("/").has("ro"));
    assert_eq!(c.attempt(&["create", "/file"]), "EROFS");
    assert_eq!(c.attempt(&["create", "/mnt/file"]), "ok");
    c.put("/root/readonly", json!(false));
    assert!(c.report().mount("/").has("rw"));
    assert_eq!(c.attempt(&["create", "/file"]), "ok");
    assert!(c.rootfs("file").exists());
}

#[test]
fn root_path_may_be_absolute_or_relative() {
    let mut c = Container::new();
    let rootfs = c.text_path("rootfs");
    c.put("/root/path", json!(rootfs));
    c.report();
    fs::create_dir(c.path("deep")).unwrap();
    fs::rename(c.path("rootfs"), c.path("deep/other")).unwrap();
    c.put("/root/path", json!("deep/../deep/./other"));
    assert!(c.report().mount("/").root.ends_with("/deep/other"));
}

#[test]
fn the_root_may_be_a_mount_point() {
    let mut c = Container::new();
    let rootfs = c.text_path("rootfs");
    c.prepared(&format!("mount --bind {rootfs} {rootfs}"));
    c.report();
}

/// A link in the image must be resolved in the image: the host's directory of that name is not for it.
#[test]
fn links_in_a_destination_stay_in_the_root() {
    let mut c = Container::new();
    let outside = c.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::create_dir_all(c.rootfs("real")).unwrap();
    symlink("/real", c.rootfs("absolute")).unwrap();
    symlink("../../../../../../real", c.rootfs("climbing")).unwrap();
    symlink(&outside, c.rootfs("foreign")).unwrap();
    for (number, destination) in ["/absolute/a", "/climbing/b", "/foreign/c", "/../../d"].iter().enumerate() {
        c.mount(json!({ "destination": destination, "type": "tmpfs", "source": format!("mark{number}") }));
    }
    let report = c.report();
    let target =
        |source: &str| report.mounts.iter().find(|mount| mount.source == source).unwrap().target.clone();
    assert_eq!(target("mark0"), "/real/a");
    assert_eq!(target("mark1"), "/real/b");
    assert!(target("mark2").ends_with("/outside/c"), "{}", target("mark2"));
    assert_eq!(target("mark3"), "/d");
    assert!(fs::read_dir(&outside).unwrap().next().is_none(), "a directory was made on the host");
    assert!(c.rootfs(&outside.to_str().unwrap()[1..]).join("c").is_dir());
}

/// CVE-2019-19921, CVE-2023-28642: `/proc` and `/sys` that are links would put them where masks do not reach.
#[test]
fn proc_and_sys_must_not_be_links() {
    for name in ["proc", "sys"] {
        let c = Container::new();
        fs::remove_dir(c.rootfs(name)).unwrap();
        fs::create_dir(c.rootfs("elsewhere")).unwrap();
        symlink("/elsewhere", c.rootfs(name)).unwrap();
        let run = c.run(&[]);
        assert!(run.error().contains(name), "{run:#?}");
        leaks::assert_none(&c);
    }
}

#[test]
fn a_destination_of_the_wrong_kind_is_refused() {
    let mut c = Container::new();
    fs::write(c.rootfs("file"), "").unwrap();
    c.mount(json!({ "destination": "/file", "type": "tmpfs", "source": "tmpfs" }));
    let run = c.run(&[]);
    assert!(run.error().contains("/file"), "{run:#?}");
    leaks::assert_none(&c);
}

/// In words that dockerd looks for, to ask "Are you trying to mount a directory onto a file (or vice-versa)?".
#[test]
fn a_directory_on_a_file_is_told_from_other_errors() {
    since!("words for it", "runc 1.0", "crun -");
    let mut c = Container::new();
    fs::create_dir_all(c.rootfs("directory")).unwrap();
    fs::write(c.rootfs("file"), "").unwrap();
    let source = |name| c.rootfs(name);
    let (directory, file) = (source("directory"), source("file"));
    let mounts = c.config["mounts"].clone();
    for (destination, source) in [("/file", directory), ("/directory", file)] {
        c.put("/mounts", mounts.clone());
        c.mount(json!({ "destination": destination, "type": "bind", "source": source, "options": ["bind"] }));
        let run = c.run(&[]);
        assert!(run.error().contains(destination) && run.error().contains("not a directory"), "{run:#?}");
        leaks::assert_none(&c);
    }
}

#[test]
fn a_missing_source_is_refused_by_name() {
    let mut c = Container::new();
    c.mount(
        json!({ "destination": "/mnt", "type": "bind", "source": "/no/such/source", "options": ["bind"] }),
    );
    let run = c.run(&[]);
    assert!(run.error().contains("/no/such/source"), "{run:#?}");
    assert!(run.error().contains("no such file or directory"), "{run:#?}");
    leaks::assert_none(&c);
}

#[test]
fn an_unknown_filesystem_is_refused_by_name() {
    let mut c = Container::new();
    c.mount(json!({ "destination": "/mnt", "type": "cornfs", "source": "x" }));
    let run = c.run(&[]);
    assert!(run.error().contains("/mnt") && run.error().contains("no such device"), "{run:#?}");
    leaks::assert_none(&c);
}

#[test]
fn an_overlay_can_be_mounted() {
    let mut c = Container::new();
    for name in ["lower", "upper", "work"] {
        fs::create_dir(c.path(name)).unwrap();
    }
    fs::write(c.path("lower/file"), "lower").unwrap();
    let options = json!([
        format!("lowerdir={}", c.text_path("lower")),
        format!("upperdir={}", c.text_path("upper")),
        format!("workdir={}", c.text_path("work")),
    ]);
    c.mount(json!({ "destination": "/mnt", "type": "overlay", "source": "overlay", "options": options }));
    assert_eq!(c.script("cat /mnt/file; echo upper > /mnt/file"), "lower");
    assert_eq!(fs::read_to_string(c.path("upper/file")).unwrap(), "upper\n");
}

#[test]
fn the_cgroup_mount_shows_the_containers_cgroup() {
    for (namespaced, writable) in [(false, false), (true, false), (true, true)] {
        let mut c = Container::new();
        if namespaced {
            c.namespace("cgroup", None);
        }
        c.unmount("/sys/fs/cgroup");
        let mode = if writable { "rw" } else { "ro" };
        c.mount(json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", mode] }));
        let first = if has_version_1() { "/sys/fs/cgroup/pids" } else { "/sys/fs/cgroup" };
        let text = c
            .script(&format!("cat {first}/cgroup.procs; mkdir {first}/child 2>/dev/null && echo made; true"));
        assert_eq!(text.lines().next(), Some("1"), "init is in the cgroup that is shown ({namespaced})");
        assert_eq!(text.contains("made"), writable, "{text}");
        leaks::assert_none(&c);
    }
}

#[test]
fn the_cgroup_mount_is_harmless() {
    since!("control groups that are nosuid, nodev and noexec by themselves", "runc -", "crun -");
    for (options, executable) in [(json!([]), false), (json!(["ro", "exec"]), true)] {
        let mut c = Container::new();
        c.unmount("/sys/fs/cgroup");
        c.mount(json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options }));
        let report = c.report();
        let mounts = report.mounts.iter().filter(|mount| mount.target.starts_with("/sys/fs/cgroup"));
        let mut count = 0;
        for mount in mounts {
            assert!(mount.has("nosuid") && mount.has("nodev"), "{options}: {mount:?}");
            assert_eq!(mount.has("noexec"), !executable, "{options}: {mount:?}");
            count += 1;
        }
        assert!(count > 0, "{options}");
    }
}

/// Also where the host has version 1 beside it, or alone.
#[test]
fn a_cgroup2_mount_is_the_unified_hierarchy() {
    let mut c = Container::new();
    c.namespace("cgroup", None);
    c.mount(json!({ "destination": "/mnt", "type": "cgroup2", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "ro"] }));
    let report = c.report();
    let mount = report.mount("/mnt");
    assert_eq!(mount.fstype, "cgroup2");
    assert!(mount.has("ro") && mount.has("noexec"), "{mount:?}");
}

/// With the host's cgroup namespace the paths of `/proc/self/cgroup` have to be there, as `--cgroupns=host`
/// promises.
#[test]
fn a_cgroup2_mount_agrees_with_the_cgroup_namespace() {
    for namespaced in [true, false] {
        let mut c = Container::new();
        c.via = integration::container::cgroup2_view();
        if namespaced {
            c.namespace("cgroup", None);
        }
        assert_eq!(c.report().mount("/sys/fs/cgroup").fstype, "cgroup2");
        let text = c.script(
            "cd /sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup) && head -n 1 cgroup.procs; \
             mkdir child 2>/dev/null && echo made; true",
        );
        assert_eq!(text, "1\n", "namespaced: {namespaced}");
        leaks::assert_none(&c);
    }
}

/// As a fresh mount would be, whatever the host's is, but for what config.json asks for.
#[test]
fn a_cgroup2_mount_is_the_containers_own() {
    for (asked, master, shared) in [
        (None, false, false),
        (Some("private"), false, false),
        (Some("slave"), true, false),
        (Some("shared"), true, true),
    ] {
        let mut c = Container::new();
        c.via = integration::container::cgroup2_view();
        c.prepared("mount --make-shared /sys/fs/cgroup").namespace("cgroup", None);
        let options: Vec<&str> = ["nosuid", "noexec", "nodev", "ro"].into_iter().chain(asked).collect();
        c.mount(json!({ "destination": "/mnt", "type": "cgroup", "source": "cgroup", "options": options }));
        let report = c.report();
        let mount = report.mount("/mnt");
        assert!(mount.fstype == "cgroup2" && mount.has("ro") && mount.has("noexec"), "{asked:?}: {mount:?}");
        let is = |kind: &str| mount.propagation.iter().any(|peers| peers.starts_with(kind));
        assert_eq!((is("master:"), is("shared:")), (master, shared), "{asked:?}: {mount:?}");
    }
}

/// The runtime must not pass more of the host's `/dev` than the configuration says, whatever `/dev` is in the
/// image.
#[test]
fn dev_may_be_bound_from_the_host() {
    let mut c = Container::new();
    c.unmount_below("/dev");
    c.mount(
        json!({ "destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind", "rprivate"] }),
    );
    let before = integration::proc::entries("/dev");
    let report = c.report();
    assert!(report.dev.contains_key("/dev/null"));
    assert_eq!(integration::proc::entries("/dev"), before, "the host's /dev was changed");
}

#[test]
fn an_image_whose_dev_is_a_link_leaves_its_target_alone() {
    since!("devices without following /dev", "runc 1.5", "crun 1.28");
    let c = Container::new();
    let outside = c.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::remove_dir(c.rootfs("dev")).unwrap();
    symlink(&outside, c.rootfs("dev")).unwrap();
    // Refused or resolved inside the root: either is right, the host's directory stays empty.
    let _ = c.run(&[]);
    let left: Vec<_> = fs::read_dir(&outside).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
    leaks::assert_none(&c);
}

#[test]
fn an_image_whose_dev_is_a_link_and_no_mount_on_it() {
    let mut c = Container::new();
    let outside = c.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("ptmx"), "precious").unwrap();
    fs::remove_dir(c.rootfs("dev")).unwrap();
    symlink(&outside, c.rootfs("dev")).unwrap();
    c.unmount_below("/dev");
    since!("devices without following /dev", "runc 1.5", "crun 1.28");
    let _ = c.run(&[]);
    assert_eq!(fs::read_to_string(outside.join("ptmx")).unwrap(), "precious");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}
