//! `linux.cgroupsPath` and the managers: where the cgroups of a container are, and that they go with it.

use integration::container::{Container, cgroup2_view};
use integration::runtime::{Kind, runtime};
use integration::{host, leaks, outcome, proc, since, skip};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use serde_json::json;
use std::fs;

#[test]
fn the_container_has_a_cgroup_of_its_own_in_every_hierarchy() {
    let mut c = Container::new();
    let pid = c.sleeping();
    let groups = proc::cgroups(&pid.to_string());
    let own = proc::cgroups("self");
    for (controllers, path) in &groups {
        if host::cgroup2(pid).is_none() && controllers.is_empty() {
            continue; // The unified hierarchy is not mounted.
        }
        assert!(path.ends_with(&c.id), "{controllers}: {path}");
        assert_ne!(Some(path), own.get(controllers));
    }
    assert!(!leaks::cgroups(&c.id).is_empty());
    c.delete_force().ok();
    assert_eq!(leaks::cgroups(&c.id), Vec::<std::path::PathBuf>::new());
}

#[test]
fn cgroups_path_is_as_asked() {
    for (path, end) in [("/cit-parent/{id}/deep", "/deep"), ("/{id}-plain", "-plain")] {
        let mut c = Container::new();
        let path = path.replace("{id}", &c.id).replace("cit-parent", &format!("{}-parent", c.id));
        c.put("/linux/cgroupsPath", json!(path));
        let pid = c.sleeping();
        let groups = proc::cgroups(&pid.to_string());
        let group = groups.get("pids").or_else(|| groups.get("")).unwrap();
        assert!(group.ends_with(&path) && group.ends_with(end), "{group}");
        c.delete_force().ok();
        leaks::sweep(&c.id);
    }
}

/// A path with `..` is a mistake or an attack: the cgroup has to stay where cgroups of containers are.
#[test]
fn cgroups_path_cannot_climb() {
    let mut c = Container::new();
    let path = format!("../../../../../{}/x", c.id);
    c.put("/linux/cgroupsPath", json!(path)).args(&["/bin/true"]);
    let _ = c.run(&[]);
    // Five steps lead out of every hierarchy, and from the deepest of them to the root of all files.
    for top in host::hierarchies() {
        for above in top.ancestors().skip(1) {
            let outside = above.join(&c.id);
            assert!(!outside.exists(), "{}", outside.display());
        }
    }
    leaks::sweep(&c.id);
}

/// A cgroup that another container is in must not be shared by mistake.
#[test]
fn a_cgroup_in_use_is_not_taken_over() {
    since!("refusal of a cgroup that has processes", "runc 1.2", "crun -");
    let mut first = Container::new();
    let path = format!("/{}-shared", first.id);
    first.put("/linux/cgroupsPath", json!(path));
    let pid = first.sleeping();
    let mut second = Container::new();
    second.put("/linux/cgroupsPath", json!(path)).args(&["/bin/true"]);
    assert!(!second.run(&[]).error().is_empty());
    assert!(host::alive(pid));
    assert_eq!(first.exec(&[], &["/bin/true"]).code(), 0);
}

/// With version 2 alone: the golden test of what is created and removed.
#[test]
fn a_version_2_cgroup_comes_and_goes() {
    let mut c = Container::new();
    c.via = cgroup2_view();
    let pid = c.sleeping();
    let directory = host::cgroup2(pid).unwrap();
    assert!(directory.ends_with(&c.id));
    assert_eq!(host::members(&directory), [pid]);
    c.delete_force().ok();
    assert!(!directory.exists());
    leaks::assert_none(&c);
}

/// A nested engine makes cgroups below the container's; delete has to remove them too.
#[test]
fn cgroups_made_inside_are_removed() {
    for (name, via) in [("native", Container::new().via.clone()), ("version 2", cgroup2_view())] {
        let mut c = Container::new();
        c.via = via;
        let pid = c.sleeping();
        let directory = if name == "native" { host::cgroup1(pid, "pids") } else { host::cgroup2(pid) };
        let Some(directory) = directory else {
            skip::say(&format!("needs, for a part, the controller pids of version 1 ({name})"));
            continue;
        };
        fs::create_dir_all(directory.join("nested/deeper")).unwrap();
        c.delete_force().ok();
        leaks::assert_none(&c);
    }
}

/// Whoever may make cgroups below the container's may give them names that are no text, and make them deeper
/// than a path can be long: neither hides a process, or keeps the container from being deleted.
#[test]
fn cgroups_with_odd_names_and_without_end_are_removed() {
    use std::os::unix::ffi::OsStrExt;
    for (name, via) in [("native", Container::new().via.clone()), ("version 2", cgroup2_view())] {
        let mut c = Container::new();
        c.via = via;
        c.without_namespace("pid").shell("sleep 1000 & echo $!; exec sleep 1000");
        c.run_detached();
        outcome::until("the second process", || c.output().ends_with('\n'));
        let second = c.output().trim().to_owned();
        let directory =
            if name == "native" { host::cgroup1(c.pid(), "devices") } else { host::cgroup2(c.pid()) };
        let Some(directory) = directory else {
            skip::say(&format!("needs, for a part, the controller devices of version 1 ({name})"));
            continue;
        };
        let odd = directory.join(std::ffi::OsStr::from_bytes(b"\xff"));
        fs::create_dir(&odd).unwrap();
        fs::write(odd.join("cgroup.procs"), &second).unwrap();
        let mut here = fs::File::open(&directory).unwrap();
        let long = "x".repeat(255);
        for _ in 0..20 {
            mkdirat(&here, long.as_str(), Mode::S_IRWXU).unwrap();
            here = openat(&here, long.as_str(), OFlag::O_RDONLY, Mode::empty()).unwrap().into();
        }
        assert!(c.call(&["ps", "--format", "json", &c.id]).ok().stdout.contains(&second), "{name}");
        c.delete_force().ok();
        assert!(!host::alive(second.parse().unwrap()), "{name}");
        leaks::assert_none(&c);
    }
}

#[test]
fn the_manager_can_be_chosen() {
    since!("--cgroup-manager", "runc -", "crun 1.0");
    let mut c = Container::new();
    c.globals = vec!["--cgroup-manager=cgroupfs".into()];
    let pid = c.sleeping();
    assert!(proc::cgroups(&pid.to_string()).values().any(|path| path.ends_with(&c.id)));
    let mut c = Container::new();
    c.globals = vec!["--cgroup-manager=disabled".into()];
    let pid = c.sleeping();
    assert_eq!(proc::cgroups(&pid.to_string()), proc::cgroups("self"));
    assert!(leaks::cgroups(&c.id).is_empty());
    c.globals = vec!["--cgroup-manager=wishful".into()];
    assert_ne!(c.call(&["list"]).code(), 0);
}

#[test]
fn systemd_is_used_or_said_to_be_missing() {
    if std::path::Path::new("/run/systemd/system").exists() {
        skip!("needs a machine without systemd");
    }
    let mut c = Container::new();
    c.globals = vec!["--systemd-cgroup".into()];
    let slice = format!("system.slice:cit:{}", c.id);
    c.put("/linux/cgroupsPath", json!(slice));
    let run = c.run(&[]);
    if runtime().kind == Kind::Crun {
        assert_ne!(run.code(), 0);
    } else {
        assert!(run.error().contains("systemd"), "{run:#?}");
    }
    leaks::assert_none(&c);
}
