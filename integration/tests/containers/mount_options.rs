//! Every mount option that runc or crun knows, on a tmpfs, on a bind, or on a tree of mounts.

use integration::container::Container;
use integration::{leaks, needs, outcome, proc, since};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;

/// Mounts a tmpfs with the options and returns the mount as the container sees it.
#[track_caller]
fn tmpfs(options: &[&str]) -> proc::Mount {
    let mut c = Container::new();
    c.mount(json!({ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": options }));
    c.report().mount("/mnt").clone()
}

/// Binds a tmpfs that has all restrictive flags, with the options.
#[track_caller]
fn bind_of_restricted(options: &[&str]) -> proc::Mount {
    let mut c = Container::new();
    fs::create_dir(c.path("restricted")).unwrap();
    let source = c.text_path("restricted");
    c.prepared(&format!("mount -t tmpfs -o nosuid,nodev,noexec,noatime,ro none {source}"));
    c.mount(json!({ "destination": "/mnt", "type": "bind", "source": source, "options": options }));
    c.report().mount("/mnt").clone()
}

#[test]
fn restricting_options_of_a_filesystem() {
    for option in ["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime"] {
        let mount = tmpfs(&[option]);
        assert!(mount.has(option), "{option}: {mount:?}");
        for other in ["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime"] {
            assert_eq!(mount.has(other), other == option, "{other} with {option}: {mount:?}");
        }
    }
}

#[test]
fn options_that_take_others_back() {
    for (set, clear) in
        [("ro", "rw"), ("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec"), ("nodiratime", "diratime")]
    {
        let mount = tmpfs(&[set, clear]);
        assert!(!mount.has(set), "{set},{clear}: {mount:?}");
        let mount = tmpfs(&[clear, set]);
        assert!(mount.has(set), "{clear},{set}: {mount:?}");
    }
}

#[test]
fn times_of_access() {
    assert!(tmpfs(&[]).has("relatime"));
    assert!(tmpfs(&["relatime"]).has("relatime"));
    assert!(tmpfs(&["noatime"]).has("noatime"));
    let strict = tmpfs(&["strictatime"]);
    assert!(!strict.has("relatime") && !strict.has("noatime"), "{strict:?}");
    assert!(tmpfs(&["noatime", "atime"]).has("relatime"));
}

#[test]
fn options_that_the_filesystem_keeps() {
    for option in ["sync", "dirsync"] {
        let mount = tmpfs(&[option]);
        assert!(mount.super_has(option), "{option}: {mount:?}");
    }
    let mount = tmpfs(&["sync", "async"]);
    assert!(!mount.super_has("sync"), "{mount:?}");
}

/// Options that have no trace in the mount table, or mean nothing: they must be taken and not passed on as
/// data.
#[test]
fn options_without_a_trace_are_taken() {
    for option in ["rw", "suid", "dev", "exec", "async", "atime", "diratime", "norelatime", "nostrictatime"] {
        assert_eq!(tmpfs(&[option]).fstype, "tmpfs", "{option}");
    }
    since!("mand, loud and others", "runc 1.2", "crun 1.9");
    for option in ["loud", "silent", "mand", "nomand", "iversion", "noiversion", "nolazytime", "symfollow"] {
        assert_eq!(tmpfs(&[option]).fstype, "tmpfs", "{option}");
    }
    since!("defaults on a tmpfs", "runc -", "crun 1.0");
    assert_eq!(tmpfs(&["defaults"]).fstype, "tmpfs");
}

#[test]
fn lazytime_is_set() {
    since!("lazytime", "runc 1.2", "crun -");
    let mount = tmpfs(&["lazytime"]);
    assert!(mount.super_has("lazytime") || mount.has("lazytime"), "{mount:?}");
}

#[test]
fn nosymfollow_is_set() {
    since!("nosymfollow", "runc 1.2", "crun -");
    assert!(tmpfs(&["nosymfollow"]).has("nosymfollow"));
    assert!(!tmpfs(&["nosymfollow", "symfollow"]).has("nosymfollow"));
}

#[test]
fn unknown_options_are_the_filesystems() {
    let mut c = Container::new();
    c.mount(json!({ "destination": "/mnt", "type": "tmpfs", "source": "x", "options": ["wishful=1"] }));
    let run = c.run(&[]);
    assert!(run.error().contains("/mnt"), "{run:#?}");
    leaks::assert_none(&c);
}

#[test]
fn restricting_options_of_a_bind() {
    for option in ["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime"] {
        let mut c = Container::new();
        let source = c.text_path("rootfs/etc");
        c.mount(
            json!({ "destination": "/mnt", "type": "bind", "source": source, "options": ["bind", option] }),
        );
        let mount = c.report().mount("/mnt").clone();
        assert!(mount.has(option), "{option}: {mount:?}");
        let host = proc::mounts("self");
        assert!(!host.iter().any(|mount| mount.target == source), "the host's tree was changed");
    }
}

/// A bind inherits the flags of its source; what the configuration takes back is taken back.
#[test]
fn a_bind_keeps_flags_of_its_source_unless_they_are_cleared() {
    since!("flags of the source of a bind", "runc 1.2", "crun 1.9");
    let kept = bind_of_restricted(&["bind"]);
    for flag in ["nosuid", "nodev", "noexec", "noatime"] {
        assert!(kept.has(flag), "{flag}: {kept:?}");
    }
    let cleared = bind_of_restricted(&["bind", "suid", "dev", "exec", "rw", "relatime"]);
    for flag in ["nosuid", "nodev", "noexec", "ro", "noatime"] {
        assert!(!cleared.has(flag), "{flag}: {cleared:?}");
    }
}

#[test]
fn remount_changes_a_mount_that_is_there() {
    let mut c = Container::new();
    c.mount(json!({ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs" }));
    c.mount(json!({ "destination": "/mnt", "type": "bind", "source": "/mnt",
        "options": ["remount", "bind", "ro", "nosuid"] }));
    since!("remount of an earlier mount", "runc -", "crun 1.0");
    let report = c.report();
    let mounts: Vec<_> = report.mounts.iter().filter(|mount| mount.target == "/mnt").collect();
    assert_eq!(mounts.len(), 1, "{mounts:?}");
    assert!(mounts[0].has("ro") && mounts[0].has("nosuid"), "{mounts:?}");
}

/// A tree with a submount, bound with `rbind` and the option: flags of (top, below).
#[track_caller]
fn tree(options: &[&str]) -> (proc::Mount, proc::Mount) {
    let mut c = Container::new();
    fs::create_dir(c.path("tree")).unwrap();
    let source = c.text_path("tree");
    c.prepared(&format!(
        "mount -t tmpfs top {source} && mkdir {source}/below && mount -t tmpfs below {source}/below"
    ));
    let mut all = vec!["rbind"];
    all.extend(options);
    c.mount(json!({ "destination": "/mnt", "type": "bind", "source": source, "options": all }));
    let report = c.report();
    (report.mount("/mnt").clone(), report.mount("/mnt/below").clone())
}

#[test]
fn plain_options_reach_the_top_only() {
    let (top, below) = tree(&["ro", "nosuid"]);
    assert!(top.has("ro") && top.has("nosuid"), "{top:?}");
    assert!(below.has("rw") && !below.has("nosuid"), "{below:?}");
}

#[test]
fn recursive_options_reach_the_whole_tree() {
    for (option, flag) in [
        ("rro", "ro"),
        ("rnosuid", "nosuid"),
        ("rnodev", "nodev"),
        ("rnoexec", "noexec"),
        ("rnoatime", "noatime"),
        ("rnodiratime", "nodiratime"),
        ("rrelatime", "relatime"),
    ] {
        let (top, below) = tree(&[option]);
        assert!(top.has(flag), "{option}: {top:?}");
        assert!(below.has(flag), "{option}: {below:?}");
    }
    let (top, below) = tree(&["rstrictatime"]);
    for mount in [top, below] {
        assert!(!mount.has("relatime") && !mount.has("noatime"), "{mount:?}");
    }
    since!("rnosymfollow", "runc 1.2", "crun -");
    let (top, below) = tree(&["rnosymfollow"]);
    assert!(top.has("nosymfollow") && below.has("nosymfollow"));
}

#[test]
fn recursive_options_take_flags_back() {
    let restricted = |options: &[&str]| {
        let mut c = Container::new();
        fs::create_dir(c.path("tree")).unwrap();
        let source = c.text_path("tree");
        let flags = "nosuid,nodev,noexec,noatime,nodiratime";
        c.prepared(&format!(
            "mount -t tmpfs -o {flags} top {source} && mkdir {source}/below && \
             mount -t tmpfs -o {flags} below {source}/below && mount -o remount,bind,ro {source}/below"
        ));
        let mut all = vec!["rbind"];
        all.extend(options);
        c.mount(json!({ "destination": "/mnt", "type": "bind", "source": source, "options": all }));
        let report = c.report();
        (report.mount("/mnt").clone(), report.mount("/mnt/below").clone())
    };
    for (option, flag) in [
        ("rrw", "ro"),
        ("rsuid", "nosuid"),
        ("rdev", "nodev"),
        ("rexec", "noexec"),
        ("rdiratime", "nodiratime"),
    ] {
        let (top, below) = restricted(&[option]);
        assert!(!top.has(flag), "{option}: {top:?}");
        assert!(!below.has(flag), "{option}: {below:?}");
    }
    since!("ratime that the kernel takes", "runc -", "crun -");
    let (top, below) = restricted(&["ratime"]);
    assert!(!top.has("noatime") && !below.has("noatime"), "{top:?} {below:?}");
}

#[test]
fn propagation_of_a_bind() {
    let cases = [
        ("private", false, false),
        ("rprivate", false, false),
        ("shared", true, false),
        ("rshared", true, false),
        ("slave", false, true),
        ("rslave", false, true),
    ];
    for (option, shared, slave) in cases {
        let mut c = Container::new();
        fs::create_dir(c.path("tree")).unwrap();
        let source = c.text_path("tree");
        c.prepared(&format!("mount -t tmpfs top {source} && mount --make-shared {source}"));
        // The root has to let propagation through.
        c.put("/linux/rootfsPropagation", json!("shared"));
        c.mount(
            json!({ "destination": "/mnt", "type": "bind", "source": source, "options": ["rbind", option] }),
        );
        let mount = c.report().mount("/mnt").clone();
        assert_eq!((mount.is_shared(), mount.is_slave()), (shared, slave), "{option}: {mount:?}");
    }
    for option in ["unbindable", "runbindable"] {
        let mut c = Container::new();
        c.mount(json!({ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": [option] }));
        let mount = c.report().mount("/mnt").clone();
        assert_eq!(mount.propagation, ["unbindable"], "{option}: {mount:?}");
    }
}

/// Propagation as users need it: a volume that is mounted on the host later appears in a running container.
#[test]
fn a_slave_mount_follows_the_host() {
    let mut c = Container::new();
    fs::create_dir(c.path("tree")).unwrap();
    let source = c.text_path("tree");
    // A mount namespace that outlives single commands, so that the host's own is not touched.
    let holder = std::process::Command::new("unshare")
        .args(["-m", "sh", "-c", &format!("mount -t tmpfs top {source} && mount --make-shared {source} && mkdir {source}/late && echo ready && exec sleep 600")])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut holder = Kill(holder);
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(holder.0.stdout.take().unwrap()), &mut line)
        .unwrap();
    let enter = format!("--mount=/proc/{}/ns/mnt", holder.0.id());
    c.via.extend(["nsenter", &enter].map(Into::into));
    c.put("/linux/rootfsPropagation", json!("rslave"));
    c.mount(
        json!({ "destination": "/mnt", "type": "bind", "source": source, "options": ["rbind", "rslave"] }),
    );
    let pid = c.sleeping();
    let status = std::process::Command::new("nsenter")
        .args([&enter, "mount", "-t", "tmpfs", "late", &format!("{source}/late")])
        .status()
        .unwrap();
    assert!(status.success());
    outcome::until("the late mount in the container", || {
        proc::mounts(&pid.to_string()).iter().any(|mount| mount.target == "/mnt/late")
    });
}

struct Kill(std::process::Child);

impl Drop for Kill {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_propagation_of_the_root() {
    since!("propagation of the root as asked", "runc 1.2", "crun 1.0");
    for value in ["shared", "rshared", "slave", "rslave", "private", "rprivate"] {
        let mut c = Container::new();
        c.put("/linux/rootfsPropagation", json!(value));
        let root = c.report().mount("/").clone();
        assert_eq!(root.is_shared(), value.ends_with("shared"), "{value}: {root:?}");
    }
    let mut c = Container::new();
    c.put("/linux/rootfsPropagation", json!("unbindable"));
    assert_eq!(c.report().mount("/").propagation, ["unbindable"]);
    c.put("/linux/rootfsPropagation", json!("wishful"));
    assert!(c.run(&[]).error().contains("wishful"));
}

#[test]
fn by_default_nothing_propagates_to_the_host() {
    let mut c = Container::new();
    let rootfs = c.text_path("rootfs");
    c.prepared(&format!("mount --bind {rootfs} {rootfs} && mount --make-rshared /"));
    let report = c.report();
    for mount in &report.mounts {
        assert!(!mount.is_shared(), "{mount:?}");
    }
}

#[test]
fn a_link_can_be_copied_instead_of_followed() {
    since!("copy-symlink", "runc -", "crun 1.9");
    let mut c = Container::new();
    symlink("some/where", c.path("link")).unwrap();
    let source = c.text_path("link");
    c.mount(json!({ "destination": "/data/link", "type": "bind", "source": source,
        "options": ["bind", "copy-symlink"] }));
    c.put("/root/readonly", json!(false));
    assert_eq!(c.script("readlink /data/link"), "some/where\n");
}

#[test]
fn a_link_can_be_bound_itself() {
    since!("src-nofollow and dest-nofollow", "runc -", "crun 1.9");
    let mut c = Container::new();
    fs::write(c.path("file"), "text").unwrap();
    symlink("file", c.path("link")).unwrap();
    symlink("/etc/passwd", c.rootfs("place")).unwrap();
    let source = c.text_path("link");
    c.mount(json!({ "destination": "/place", "type": "bind", "source": source,
        "options": ["bind", "src-nofollow", "dest-nofollow"] }));
    assert_eq!(c.script("readlink /place"), "file\n");
}

#[test]
fn an_id_mapped_mount_shows_other_owners() {
    since!("id-mapped mounts", "runc 1.2", "crun 1.9");
    needs!(supports_idmap(), "a filesystem below /tmp with id-mapped mounts");
    let mut c = Container::new();
    fs::create_dir(c.path("shared")).unwrap();
    fs::write(c.path("shared/file"), "text").unwrap();
    std::os::unix::fs::chown(c.path("shared/file"), Some(1000), Some(2000)).unwrap();
    let source = c.text_path("shared");
    c.mount(json!({ "destination": "/mnt", "type": "bind", "source": source, "options": ["bind"],
        "uidMappings": [{ "containerID": 1000, "hostID": 5000, "size": 1 }, { "containerID": 0, "hostID": 0, "size": 1 }],
        "gidMappings": [{ "containerID": 2000, "hostID": 6000, "size": 1 }, { "containerID": 0, "hostID": 0, "size": 1 }] }));
    assert_eq!(c.script("stat -c '%u %g' /mnt/file"), "5000 6000\n");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(c.path("shared/file")).unwrap()), 1000);
}

/// The use that Kubernetes makes of it: a volume of host ids in a container with a user namespace.
#[test]
fn an_id_mapped_mount_in_a_user_namespace() {
    since!("id-mapped mounts", "runc 1.2", "crun 1.9");
    needs!(supports_idmap(), "a filesystem below /tmp with id-mapped mounts");
    let mut c = Container::new();
    c.user_namespace(100_000, 65_536);
    fs::create_dir(c.path("shared")).unwrap();
    let source = c.text_path("shared");
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    c.mount(json!({ "destination": "/mnt", "type": "bind", "source": source, "options": ["bind"],
        "uidMappings": map, "gidMappings": map }));
    assert_eq!(c.script("touch /mnt/new && stat -c '%u %g' /mnt/new"), "0 0\n");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(c.path("shared/new")).unwrap()), 0);
}

/// `idmap` without mappings takes those of the container's user namespace, `ridmap` does so for submounts as
/// well.
#[test]
fn idmap_and_ridmap_take_the_containers_map() {
    since!("id-mapped mounts", "runc 1.2", "crun 1.9");
    needs!(supports_idmap(), "a filesystem below /tmp with id-mapped mounts");
    for (option, below) in [("idmap", "65534"), ("ridmap", "0")] {
        let mut c = Container::new();
        c.user_namespace(100_000, 65_536);
        fs::create_dir_all(c.path("shared/below")).unwrap();
        fs::create_dir(c.path("inner")).unwrap();
        let (source, inner) = (c.text_path("shared"), c.text_path("inner"));
        c.prepared(&format!("mount --bind {source} {source} && mount --bind {inner} {source}/below"));
        let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
        c.mount(
            json!({ "destination": "/mnt", "type": "bind", "source": source, "options": ["rbind", option],
            "uidMappings": map, "gidMappings": map }),
        );
        assert_eq!(c.script("stat -c %u /mnt /mnt/below"), format!("0\n{below}\n"), "{option}");
    }
}

#[test]
fn any_filesystem_can_be_id_mapped() {
    since!("id-mapped mounts other than binds", "runc -", "crun 1.9");
    let mut c = Container::new();
    c.mount(json!({ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["mode=777"],
        "uidMappings": [{ "containerID": 0, "hostID": 7000, "size": 1000 }],
        "gidMappings": [{ "containerID": 0, "hostID": 7000, "size": 1000 }] }));
    assert_eq!(c.script("stat -c '%u %g' /mnt"), "7000 7000\n");
}

#[test]
fn id_mappings_as_an_option() {
    since!("id mappings in an option", "runc -", "crun 1.9");
    needs!(supports_idmap(), "a filesystem below /tmp with id-mapped mounts");
    let mut c = Container::new();
    fs::create_dir(c.path("shared")).unwrap();
    fs::write(c.path("shared/file"), "text").unwrap();
    let source = c.text_path("shared");
    c.mount(json!({ "destination": "/mnt", "type": "bind", "source": source,
        "options": ["bind", "idmap=uids=0-5000-10;gids=0-6000-10"] }));
    assert_eq!(c.script("stat -c '%u %g' /mnt/file"), "5000 6000\n");
}

#[test]
fn half_an_id_mapping_is_refused() {
    since!("id-mapped mounts", "runc 1.2", "crun 1.9");
    let mut c = Container::new();
    let source = c.text_path("rootfs");
    c.mount(json!({ "destination": "/mnt", "type": "bind", "source": source, "options": ["bind"],
        "uidMappings": [{ "containerID": 0, "hostID": 5000, "size": 1 }] }));
    assert!(!c.run(&[]).error().is_empty());
    leaks::assert_none(&c);
}

/// Whether files below the bundles can be id-mapped, by the kind of their file system.
pub(crate) fn supports_idmap() -> Option<()> {
    let base = integration::rootfs::base();
    let kind = proc::mounts("self")
        .iter()
        .filter(|mount| base.starts_with(&mount.target))
        .max_by_key(|mount| mount.target.len())?
        .fstype
        .clone();
    let tmpfs = kind == "tmpfs" && integration::host::kernel_at_least(6, 3);
    (tmpfs || ["ext4", "btrfs", "xfs", "f2fs", "erofs"].contains(&kind.as_str())).then_some(())
}
