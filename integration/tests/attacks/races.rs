//! Races: somebody swaps what a runtime looks at while it looks, for a bounded number of rounds.

use crate::Sentinel;
use integration::container::Container;
use nix::fcntl::{RenameFlags, renameat2};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// How often a container is run while names are swapped.
const ROUNDS: usize = 25;

/// Exchanges two names as fast as the kernel can, while `action` runs.
fn while_swapping(one: &Path, other: &Path, action: impl FnOnce()) {
    let here = nix::fcntl::AT_FDCWD;
    let swap = || {
        let _ = renameat2(here, one, here, other, RenameFlags::RENAME_EXCHANGE);
    };
    again_and_again(swap, action);
}

/// Does something as fast as it can be done, while `action` runs.
fn again_and_again(doing: impl Fn() + Sync, action: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                doing();
            }
        });
        let guard = Stop(&stop);
        action();
        drop(guard);
    });
}

/// Ends the swapping, also when an assertion fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs a container while `name` in its root is now itself and now a link to the host.
fn swap(c: &mut Container, name: &str, target: &str) {
    let host = Sentinel::beside(c);
    let place = c.rootfs(name);
    fs::create_dir_all(&place).unwrap();
    let link = c.rootfs("swapped");
    std::os::unix::fs::symlink(host.path(target), &link).unwrap();
    c.put("/root/readonly", json!(false)).args(&["/bin/true"]);
    while_swapping(&place, &link, || {
        for round in 0..ROUNDS {
            let _ = c.run(&[]);
            host.assert_unchanged(&format!("round {round} with /{name}"));
        }
    });
}

/// The destination of a mount (CVE-2021-30465).
#[test]
fn a_destination_that_is_swapped_stays_in_the_root() {
    let mut c = Container::new();
    c.mount(json!({ "destination": "/volume/inner", "type": "tmpfs", "source": "tmpfs" }));
    c.mount(json!({ "destination": "/volume/made/deep", "type": "bind", "source": "/bin/busybox", "options": ["bind"] }));
    swap(&mut c, "volume", "directory");
}

/// A directory that is made on the way to a mount (CVE-2024-45310).
#[test]
fn nothing_is_made_outside_while_names_are_swapped() {
    let mut c = Container::new();
    for number in 0..8 {
        let destination = format!("/volume/a{number}/b/c");
        c.mount(json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs" }));
    }
    swap(&mut c, "volume", "directory");
}

/// `/dev` (CVE-2025-52565, CVE-2026-41579, CVE-2026-47766).
#[test]
fn a_dev_that_is_swapped_changes_nothing_outside() {
    let mut c = Container::new();
    c.unmount("/dev/pts").unmount("/dev/shm").unmount("/dev/mqueue").unmount("/dev");
    swap(&mut c, "dev", "directory");
}

/// A device under whose name there is something else is made anew; by the time its mode is set, the name may
/// be a link to a file of the host.
#[test]
fn a_device_that_is_swapped_changes_nothing_outside() {
    let mut c = Container::new();
    let host = Sentinel::beside(&c);
    c.unmount("/dev/pts").unmount("/dev/shm").unmount("/dev/mqueue").unmount("/dev");
    // Each is what the next one finds in its place.
    let kinds = ["p", "c"].iter().cycle().take(300);
    let devices = kinds.map(|kind| json!({ "path": "/dev/swapped", "type": kind, "major": 1, "minor": 3 }));
    c.put("/linux/devices", devices.collect()).put("/root/readonly", json!(false)).args(&["/bin/true"]);
    let (place, link, target) = (c.rootfs("dev/swapped"), c.rootfs("dev/link"), host.path("file"));
    let plant = || {
        let _ = std::os::unix::fs::symlink(&target, &link);
        let here = nix::fcntl::AT_FDCWD;
        let _ = renameat2(here, &link, here, &place, RenameFlags::RENAME_EXCHANGE);
        let _ = fs::remove_file(&link);
    };
    again_and_again(plant, || {
        for round in 0..ROUNDS {
            let _ = c.run(&[]);
            host.assert_unchanged(&format!("round {round}"));
        }
    });
}

/// `/proc`: whoever gets a masked or a fake one sees it in the settings that are written (CVE-2019-19921).
#[test]
fn a_setting_never_goes_to_a_proc_that_is_swapped() {
    let mut c = Container::new();
    let fake = c.rootfs("fake");
    fs::create_dir_all(fake.join("sys/kernel")).unwrap();
    fs::write(fake.join("sys/kernel/shm_rmid_forced"), "fake").unwrap();
    fs::create_dir_all(c.rootfs("elsewhere")).unwrap();
    let link = c.rootfs("swapped");
    std::os::unix::fs::symlink("fake", &link).unwrap();
    c.put("/root/readonly", json!(false)).put("/linux/sysctl", json!({ "kernel.shm_rmid_forced": "1" }));
    c.args(&["/bin/true"]);
    let place = c.rootfs("proc");
    while_swapping(&place, &link, || (0..ROUNDS).for_each(|_| drop(c.run(&[]))));
    assert_eq!(fs::read_to_string(fake.join("sys/kernel/shm_rmid_forced")).unwrap(), "fake");
}

/// `/proc` gets another name when something is mounted on it already, by somebody who has the root file
/// system as well: what was to be hidden stays hidden, under whatever name (CVE-2025-31133).
#[test]
fn what_is_hidden_stays_hidden_under_another_name() {
    let mut c = Container::new();
    let other = c.rootfs("other");
    fs::create_dir_all(&other).unwrap();
    c.put("/linux/maskedPaths", json!(["/proc/keys", "/proc/version"]));
    c.put("/linux/readonlyPaths", json!(["/proc/sys"])).put("/root/readonly", json!(false));
    // Names change while it looks: one reading of the table, in which they are one or the other.
    c.shell(
        "until table=$(cat /proc/self/mountinfo || cat /other/self/mountinfo); do true; done 2> /dev/null; \
         for name in keys version sys; do echo \"$table\" | grep -qE \" /(proc|other)/$name \" || echo \"$name is open\"; \
         done; echo looked",
    );
    let place = c.rootfs("proc");
    let mut looked = 0;
    while_swapping(&place, &other, || {
        for _ in 0..ROUNDS {
            let run = c.run(&[]);
            assert!(!run.stdout.contains("is open"), "{run:#?}");
            looked += usize::from(run.stdout.contains("looked"));
        }
    });
    assert!(looked > 0, "no container came as far as to look");
}

/// Two containers with one volume: one swaps names in it, the other mounts through them (CVE-2019-19921).
#[test]
fn a_volume_that_another_container_changes_leads_nowhere() {
    let mut victim = Container::new();
    let host = Sentinel::beside(&victim);
    let volume = victim.path("volume");
    fs::create_dir_all(volume.join("place")).unwrap();
    std::os::unix::fs::symlink(host.path("directory"), volume.join("link")).unwrap();
    let bind = |destination: &str| json!({ "destination": destination, "type": "bind", "source": volume, "options": ["rbind", "rw"] });
    let mut attacker = Container::new();
    attacker.put("/root/readonly", json!(false)).mount(bind("/volume"));
    attacker.args(&["/probe", "swap", "/volume/place", "/volume/link"]);
    attacker.run_detached();
    victim.put("/root/readonly", json!(false)).mount(bind("/volume"));
    victim.mount(json!({ "destination": "/volume/place/inner", "type": "tmpfs", "source": "tmpfs" }));
    victim.args(&["/bin/true"]);
    for round in 0..ROUNDS {
        let _ = victim.run(&[]);
        host.assert_unchanged(&format!("round {round}"));
    }
}

/// What the command line says is the new process's alone, as its environment is: others in the container see
/// no more of it than of the process's own arguments.
#[test]
fn a_variable_of_an_executed_program_is_seen_by_nobody_else() {
    let mut c = Container::new();
    let look = "while :; do for f in /proc/[0-9]*/cmdline; do read -r line < $f; case $line in *the-s[e]cret*) echo seen; esac; \
        done; done 2> /dev/null";
    c.args(&["/bin/sh", "-c", &format!("echo ready; {look}")])
        .put("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    c.run_detached();
    c.await_line("ready");
    for _ in 0..40 {
        c.exec(&["--user", "0:0", "--env", "PASSWORD=the-secret"], &["/bin/true"]).ok();
    }
    assert!(!c.output().contains("seen"), "a variable was seen in the arguments of the runtime");
}
