//! Containers with a user namespace. It is as its root that criu restores one.

use super::*;
use crate::mount_options::supports_idmap;
use integration::{leaks, needs, proc, since};
use std::os::unix::fs::MetadataExt;

/// A file of the container's root, in a directory that is that root's.
fn with_user_namespace(first: u32) -> Container {
    let mut c = container(&format!("echo mine > /data/mine; {COUNTER}"));
    fs::create_dir(c.path("data")).unwrap();
    std::os::unix::fs::chown(c.path("data"), Some(first), Some(first)).unwrap();
    let source = c.text_path("data");
    c.mount(json!({ "destination": "/data", "source": source, "options": ["rbind", "nosuid"] }));
    c.user_namespace(first, 65536).namespace("cgroup", None).give_rootfs_to(first);
    c
}

fn goes_on(c: &Container, first: u32) {
    let seen = |c: &Container| {
        let pid = c.pid().to_string();
        let status = proc::Status::of(&pid);
        let walls = ["CapEff", "CapBnd", "NoNewPrivs", "Uid", "Gid"].map(|key| status.get(key).to_owned());
        let maps = ["uid_map", "gid_map", "setgroups"]
            .map(|name| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap());
        let mut mounts: Vec<_> =
            proc::mounts(&pid).iter().map(|mount| (mount.target.clone(), mount.options.clone())).collect();
        mounts.sort();
        (walls, maps, mounts)
    };
    start(c);
    until_it_counts(c);
    let before = seen(c);
    checkpoint(c, &[]).ok();
    leaks::assert_none(c);
    let saved = count(c);
    restore(c, &[]).ok();
    assert!(until_it_counts(c) > saved);
    let after = seen(c);
    assert_eq!((after.0, after.1), (before.0, before.1));
    assert_eq!(after.2, before.2);
    assert_eq!(inside(c, "id -u; cat /data/mine; echo new > /data/new"), "0\nmine\n");
    for name in ["mine", "new"] {
        assert_eq!(fs::metadata(c.path("data").join(name)).unwrap().uid(), first, "{name}");
    }
    c.delete_force().ok();
    leaks::assert_none(c);
}

/// The host's root under a namespace of its own.
#[test]
fn a_user_namespace_of_the_hosts_root_is_kept() {
    criu!();
    since!("read-only masks after a restore", "runc -", "crun -");
    goes_on(&with_user_namespace(0), 0);
}

/// That root may read neither the images nor what lies above the bundle: both are the host's root's alone.
#[test]
fn a_user_namespace_with_other_ids_is_kept() {
    criu!();
    needs!(supports_idmap(), "a filesystem below /tmp with id-mapped mounts");
    since!("checkpoints of containers whose root is not the host's", "runc -", "crun -");
    goes_on(&with_user_namespace(100_000), 100_000);
}

/// Files of the host's root are the container's root's through a mount that says so, before and after.
#[test]
fn an_id_mapped_mount_is_kept() {
    criu!();
    needs!(supports_idmap(), "a filesystem below /tmp with id-mapped mounts");
    since!("checkpoints of containers whose root is not the host's", "runc -", "crun -");
    let mut c = with_user_namespace(100_000);
    let source = c.path("hosts");
    fs::create_dir(&source).unwrap();
    c.mount(json!({ "destination": "/hosts", "source": source, "options": ["bind", "idmap"] }));
    start(&c);
    until_it_counts(&c);
    let write = |c: &Container, name: &str| {
        inside(c, &format!("echo x > /hosts/{name}"));
        assert_eq!(fs::metadata(source.join(name)).unwrap().uid(), 0, "{name}");
    };
    write(&c, "before");
    checkpoint(&c, &[]).ok();
    restore(&c, &[]).ok();
    until_it_counts(&c);
    write(&c, "after");
}
