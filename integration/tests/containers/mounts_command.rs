//! `mounts add` and `mounts remove`: mounts of a running container.

use integration::container::Container;
use integration::{leaks, outcome, proc, since};
use serde_json::json;
use std::fs;

fn file(c: &Container, mounts: &serde_json::Value) -> String {
    let path = c.text_path("mounts.json");
    fs::write(&path, mounts.to_string()).unwrap();
    path
}

#[test]
fn a_mount_appears_and_disappears() {
    since!("mounts", "runc -", "crun 1.18");
    let mut c = Container::new();
    fs::create_dir(c.path("shared")).unwrap();
    fs::write(c.path("shared/text"), "from outside").unwrap();
    c.put("/root/readonly", json!(false));
    let pid = c.sleeping().to_string();
    let source = c.text_path("shared");
    let path = file(
        &c,
        &json!([
            { "destination": "/mnt", "type": "bind", "source": source, "options": ["bind", "ro", "nosuid"] },
            { "destination": "/made", "type": "tmpfs", "source": "late", "options": ["size=1m"] },
        ]),
    );
    c.call(&["mounts", "add", &c.id, &path]).ok();
    let mounts = proc::mounts(&pid);
    let mount = mounts.iter().find(|mount| mount.target == "/mnt").unwrap();
    assert!(mount.has("ro") && mount.has("nosuid"), "{mount:?}");
    assert!(mounts.iter().any(|mount| mount.target == "/made" && mount.fstype == "tmpfs"));
    assert_eq!(c.exec(&[], &["/bin/cat", "/mnt/text"]).ok().stdout, "from outside");
    let host = proc::mounts("self");
    assert!(!host.iter().any(|mount| mount.target.contains(&c.id)), "the host sees it");

    c.call(&["mounts", "remove", &c.id, &path]).ok();
    outcome::until("the mounts to go", || {
        !proc::mounts(&pid).iter().any(|mount| ["/mnt", "/made"].contains(&mount.target.as_str()))
    });
    assert_eq!(c.status(), "running");
}

#[test]
fn it_does_not_follow_links_out_of_the_root() {
    since!("mounts", "runc -", "crun 1.18");
    let mut c = Container::new();
    let outside = c.path("outside");
    fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, c.rootfs("link")).unwrap();
    c.put("/root/readonly", json!(false));
    c.sleeping();
    let path = file(&c, &json!([{ "destination": "/link/x", "type": "tmpfs", "source": "late" }]));
    let _ = c.call(&["mounts", "add", &c.id, &path]);
    assert!(fs::read_dir(&outside).unwrap().next().is_none());
    assert!(!proc::mounts("self").iter().any(|mount| mount.target.contains(&c.id)));
}

#[test]
fn wrong_requests_are_refused() {
    since!("mounts", "runc -", "crun 1.18");
    let mut c = Container::new();
    c.sleeping();
    let path = file(
        &c,
        &json!([{ "destination": "/mnt", "type": "bind", "source": "/no/such", "options": ["bind"] }]),
    );
    assert!(c.call(&["mounts", "add", &c.id, &path]).error().contains("/no/such"));
    let path = file(&c, &json!({ "destination": "/mnt" }));
    assert!(!c.call(&["mounts", "add", &c.id, &path]).error().is_empty());
    let path = file(&c, &json!([{ "destination": "/etc", "type": "tmpfs", "source": "x" }]));
    assert!(!c.call(&["mounts", "remove", &c.id, &path]).error().is_empty(), "nothing is mounted there");
    assert_ne!(c.call(&["mounts", "shuffle", &c.id, &path]).code(), 0);
    assert!(c.call(&["mounts", "add", "missing", &path]).error().contains("does not exist"));
    c.delete_force().ok();
    leaks::assert_none(&c);
}

/// The process that mounts it is not in the container's PID namespace; the procfs has to be of that one all
/// the same.
#[test]
fn a_procfs_that_is_added_shows_the_containers_processes() {
    since!("mounts", "runc -", "crun 1.18");
    for way in ["", "pidns"] {
        let mut c = Container::new();
        c.put("/root/readonly", json!(false));
        c.sleeping();
        let path = file(
            &c,
            &json!([{ "destination": "/late", "type": "proc", "source": "proc", "options": ["ro"] }]),
        );
        // With the second, as before Linux 6.18.
        c.call_with(&["mounts", "add", &c.id, &path], |command| {
            command.env("CORTEN_WEAKEN", way);
        })
        .ok();
        let seen = c.exec(&[], &["/bin/sh", "-c", "ls /late | grep -c '^[0-9]'"]).ok().stdout;
        assert!(seen.trim().parse::<u32>().unwrap() <= 5, "{seen} processes, those of the host ({way})");
    }
}
