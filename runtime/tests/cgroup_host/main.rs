//! Control groups on this machine's own layout: v1 with the real controllers, or v2, whichever is mounted.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_wrap, clippy::disallowed_methods)]

#[path = "../support/mod.rs"]
mod support;

mod delegation;
mod v1;

use runtime::cgroup::{Cgroup, Driver, Mounts, Oom, create};
use runtime::spec::Resources;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;
use support::{
    Layout, Sandbox, as_user, cgroups_of, child_into, layout, request, resources, skip, unique, v2_view,
};

/// Runs on v1 and, in a mount namespace with a v2 hierarchy, on v2.
fn on_both(test: fn(Layout)) {
    match layout() {
        None => return skip("root and a writable /sys/fs/cgroup"),
        Some(layout) => test(layout),
    }
    if layout() == Some(Layout::V1) {
        std::thread::spawn(move || match v2_view() {
            true => test(Layout::V2),
            false => skip("a v2 hierarchy in a mount namespace"),
        })
        .join()
        .unwrap();
    }
}

fn no_trace(path: &str) {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        found.push(entry.path().join(&path[1..]));
    }
    found.push(Path::new("/sys/fs/cgroup").join(&path[1..]));
    found.retain(|path| path.exists());
    assert!(found.is_empty(), "left behind: {found:?}");
}

#[test]
fn made_joined_and_removed() {
    on_both(|_| {
        let parent = unique();
        let path = format!("{parent}/container");
        let mut sandbox = Sandbox::at(&path, &Resources::default()).unwrap();
        let pid = sandbox.run("sleep", &["1000"]);
        for line in cgroups_of(pid) {
            // Hierarchies that this view does not have stay where they are.
            let name = line.split(':').nth(1).unwrap();
            if sandbox.cgroup.record().dirs.iter().any(|(names, _)| names == name) {
                assert!(line.ends_with(&path), "{line}");
            }
        }
        assert_eq!(sandbox.cgroup.processes().unwrap(), [pid]);
        assert!(sandbox.cgroup.is_populated().unwrap());
        sandbox.cgroup.kill_all(9).unwrap();
        sandbox.cgroup.wait_empty().unwrap();
        assert_eq!(sandbox.reap(), ["signal: 9 (SIGKILL)"]);
        let record = sandbox.cgroup.record();
        sandbox.cgroup.remove().unwrap();
        // Gone is gone: each later look has nothing to say.
        let mut again = Cgroup::open(&record).unwrap();
        assert!(!again.is_frozen().unwrap() && !again.is_populated().unwrap());
        assert!(again.processes().unwrap().is_empty());
        again.kill_all(15).unwrap();
        again.remove().unwrap();
        // The directory above was made for the container and is shared from then on.
        for (_, dir) in record.dirs {
            let _ = std::fs::remove_dir(Path::new(&dir).parent().unwrap());
        }
        no_trace(&parent);
    });
}

/// The way a container's process takes: cloned into v2, writing itself into v1.
#[test]
fn cloned_into_the_cgroup() {
    on_both(|_| {
        let mut sandbox = Sandbox::new(&Resources::default()).unwrap();
        let joins: Vec<_> = sandbox.cgroup.join_files().collect();
        let pid = child_into(sandbox.cgroup.clone_target(), &joins).unwrap();
        let places = cgroups_of(pid);
        for (names, _) in sandbox.cgroup.record().dirs {
            let place = places.iter().find(|line| line.split(':').nth(1) == Some(&names)).unwrap();
            assert!(place.ends_with(&sandbox.path), "{places:?}");
        }
        sandbox.cgroup.kill_all(9).unwrap();
        nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None).unwrap();
        sandbox.cgroup.remove().unwrap();
        no_trace(&sandbox.path);
    });
}

#[test]
fn a_used_or_frozen_cgroup_is_refused() {
    on_both(|_| {
        let mut sandbox = Sandbox::new(&Resources::default()).unwrap();
        let none = BTreeMap::new();
        let nothing = Resources::default();
        let pid = sandbox.run("sleep", &["1000"]);
        let error = create(&request(&sandbox.path, &nothing, &none)).unwrap_err().to_string();
        assert!(error.contains("container's cgroup is not empty: 1 process(es) found"), "{error}");
        sandbox.cgroup.kill_all(9).unwrap();
        sandbox.reap();
        sandbox.cgroup.wait_empty().unwrap();
        sandbox.cgroup.freeze().unwrap();
        let error = create(&request(&sandbox.path, &nothing, &none)).unwrap_err().to_string();
        assert!(error.contains("container's cgroup unexpectedly frozen"), "{error}");
        sandbox.cgroup.thaw().unwrap();
        drop(create(&request(&sandbox.path, &nothing, &none)).unwrap());
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    });
}

#[test]
fn frozen_and_thawed() {
    on_both(|_| {
        let mut sandbox = Sandbox::new(&Resources::default()).unwrap();
        assert!(!sandbox.cgroup.is_frozen().unwrap());
        let pid = sandbox.run("sh", &["-c", "while :; do :; done"]);
        sandbox.cgroup.freeze().unwrap();
        assert!(sandbox.cgroup.is_frozen().unwrap());
        let time = || std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
        let before = time();
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert_eq!(before, time(), "a frozen process ran");
        sandbox.cgroup.thaw().unwrap();
        assert!(!sandbox.cgroup.is_frozen().unwrap());
        // A frozen container can be killed, and by any signal that kills.
        sandbox.cgroup.freeze().unwrap();
        sandbox.cgroup.kill_all(9).unwrap();
        assert_eq!(sandbox.reap(), ["signal: 9 (SIGKILL)"]);
    });
}

#[test]
fn signals_reach_every_process_also_below() {
    on_both(|_| {
        let mut sandbox = Sandbox::new(&Resources::default()).unwrap();
        let first = sandbox.run("sleep", &["1000"]);
        let mut below = Cgroup::default();
        if let Ok(cgroup) =
            create(&request(&format!("{}/a/b", sandbox.path), &Resources::default(), &BTreeMap::new()))
        {
            below = cgroup;
        }
        let second = sandbox.run("sleep", &["1000"]);
        below.attach(second).unwrap();
        let mut pids = sandbox.cgroup.processes().unwrap();
        pids.sort_unstable();
        let mut want = [first, second];
        want.sort_unstable();
        assert_eq!(pids, want);
        sandbox.cgroup.kill_all(15).unwrap();
        assert_eq!(sandbox.reap(), ["signal: 15 (SIGTERM)", "signal: 15 (SIGTERM)"]);
        sandbox.cgroup.remove().unwrap();
        no_trace(&sandbox.path);
    });
}

/// Removing must wait for processes that are still on their way out, without a wall clock of its own.
#[test]
fn removal_waits_for_the_dying() {
    on_both(|_| {
        for _ in 0..20 {
            let mut sandbox = Sandbox::new(&Resources::default()).unwrap();
            for _ in 0..5 {
                sandbox.run("sleep", &["1000"]);
            }
            sandbox.cgroup.kill_all(9).unwrap();
            sandbox.cgroup.remove().unwrap();
            no_trace(&sandbox.path);
            sandbox.reap();
        }
    });
}

#[test]
fn devices_are_controlled_live() {
    on_both(|layout| {
        let mut sandbox =
            Sandbox::new(&resources(r#"{"devices": [{"allow": false, "access": "rwm"}]}"#)).unwrap();
        let can = |sandbox: &mut Sandbox, device: &str| {
            let script = format!("read go; exec 3< {device}");
            let mut child = std::process::Command::new("sh")
                .args(["-c", &script])
                .stdin(std::process::Stdio::piped())
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap();
            sandbox.cgroup.attach(child.id() as i32).unwrap();
            drop(child.stdin.take());
            child.wait().unwrap().success()
        };
        assert!(can(&mut sandbox, "/dev/null"));
        assert!(!can(&mut sandbox, "/dev/kmsg"));
        let allow = r#"{"devices": [{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]}"#;
        let deny =
            r#"{"devices": [{"allow": false, "type": "c", "major": 1, "minor": 11, "access": "rwm"}]}"#;
        sandbox.cgroup.update(&resources(allow)).unwrap();
        assert!(can(&mut sandbox, "/dev/kmsg"));
        let rounds = if layout == Layout::V2 { 1000 } else { 50 };
        for _ in 0..rounds {
            sandbox.cgroup.update(&resources(deny)).unwrap();
            sandbox.cgroup.update(&resources(allow)).unwrap();
        }
        assert!(can(&mut sandbox, "/dev/kmsg"));
        let record = sandbox.cgroup.record();
        assert!(record.devices.as_ref().unwrap().len() <= 2, "{record:?}");
        if layout == Layout::V2 {
            let dir = std::fs::File::open(sandbox.dir("")).unwrap();
            assert_eq!(runtime::sys::bpf::device_filters(dir.as_fd()).unwrap().len(), 1);
        }
        // Another command knows the rules from the record.
        let mut again = Cgroup::open(&record).unwrap();
        again.update(&resources(deny)).unwrap();
        assert!(!can(&mut sandbox, "/dev/kmsg"));
        assert!(can(&mut sandbox, "/dev/null"));
    });
}

/// A privileged container costs no filter, and can get one.
#[test]
fn a_privileged_container_can_be_restricted_later() {
    on_both(|layout| {
        let all = r#"{"devices": [{"allow": true, "access": "rwm"}]}"#;
        let mut sandbox = Sandbox::new(&resources(all)).unwrap();
        let filters = |sandbox: &Sandbox| {
            let dir = std::fs::File::open(sandbox.dir("")).unwrap();
            runtime::sys::bpf::device_filters(dir.as_fd()).unwrap().len()
        };
        let deny =
            r#"{"devices": [{"allow": false, "type": "c", "major": 1, "minor": 11, "access": "rwm"}]}"#;
        match layout {
            Layout::V2 => {
                assert_eq!(filters(&sandbox), 0);
                sandbox.cgroup.update(&resources(deny)).unwrap();
                assert_eq!(filters(&sandbox), 1);
                sandbox.cgroup.update(&resources(all)).unwrap();
                assert_eq!(filters(&sandbox), 1);
            }
            Layout::V1 => {
                assert_eq!(sandbox.read("devices", "devices.list"), "a *:* rwm");
                sandbox.cgroup.update(&resources(deny)).unwrap();
                assert_eq!(sandbox.read("devices", "devices.list"), "a *:* rwm");
                sandbox
                    .cgroup
                    .update(&resources(r#"{"devices": [{"allow": false, "access": "rwm"}]}"#))
                    .unwrap();
                assert!(sandbox.read("devices", "devices.list").contains("c 1:3 rwm"));
            }
        }
    });
}
