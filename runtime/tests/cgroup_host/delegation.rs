//! Who may put processes and limits where: an exec, a container that looks at its own cgroups, an ordinary user.

use super::*;

#[test]
fn exec_goes_below_and_never_beside() {
    on_both(|layout| {
        let sandbox = Sandbox::new(&Resources::default()).unwrap();
        let sibling = Sandbox::at(&format!("{}-evil", sandbox.path), &Resources::default()).unwrap();
        let me = std::process::id() as i32;
        let name = sibling.path.rsplit('/').next().unwrap();
        for bad in ["..".to_owned(), format!("../{name}"), "x/../../y".to_owned()] {
            let error = sandbox.cgroup.for_exec(&[bad], me).unwrap_err().to_string();
            assert!(error.contains("bad sub cgroup path"), "{error}");
        }
        let error = sandbox.cgroup.for_exec(&["nonexistent".to_owned()], me).unwrap_err().to_string();
        assert!(error.contains("no such file or directory"), "{error}");
        let error = sandbox.cgroup.for_exec(&["whaaat:/".to_owned()], me).unwrap_err().to_string();
        assert!(error.contains("--cgroup: whaaat"), "{error}");
        for (_, dir) in sandbox.cgroup.record().dirs {
            std::fs::create_dir(format!("{dir}/sub")).unwrap();
        }
        for path in ["/", "sub", "/sub/"] {
            let target = sandbox.cgroup.for_exec(&[path.to_owned()], me).unwrap();
            assert_eq!(target.join_files().count(), sandbox.cgroup.join_files().count());
            assert_eq!(target.clone_target().is_some(), sandbox.cgroup.clone_target().is_some());
            assert!(target.fallback().unwrap().is_none());
        }
        if layout == Layout::V1 {
            let wanted = ["memory:sub".to_owned(), "cpu,cpuacct:/".to_owned()];
            assert!(sandbox.cgroup.for_exec(&wanted, me).is_ok());
            assert!(sandbox.cgroup.for_exec(&["cpu:/".to_owned(), "x".to_owned()], me).is_err());
        }
    });
}

/// A container that made cgroups of its own and gave them controllers has no room at its root.
#[test]
fn exec_falls_back_to_the_init_s_cgroup() {
    if layout().is_none() || !v2_view() {
        return skip("root and a v2 hierarchy");
    }
    let mut sandbox = Sandbox::new(&Resources::default()).unwrap();
    let root = sandbox.dir("");
    std::fs::create_dir(format!("{root}/init")).unwrap();
    let pid = sandbox.run("sleep", &["1000"]);
    std::fs::write(format!("{root}/init/cgroup.procs"), pid.to_string()).unwrap();
    let controllers = std::fs::read_to_string(format!("{root}/cgroup.controllers")).unwrap();
    let Some(first) = controllers.split_whitespace().find(|name| !["cpu", "cpuset", "pids"].contains(name))
    else {
        return skip("a controller on v2 that keeps processes out of inner cgroups");
    };
    std::fs::write(format!("{root}/cgroup.subtree_control"), format!("+{first}")).unwrap();
    let target = sandbox.cgroup.for_exec(&[], pid).unwrap();
    assert_eq!(child_into(target.clone_target(), &[]), Err(runtime::sys::Errno::EBUSY));
    let target = target.fallback().unwrap().unwrap();
    let child = child_into(target.clone_target(), &[]).unwrap();
    let place = cgroups_of(child).into_iter().find(|line| line.starts_with("0::")).unwrap();
    assert!(place.ends_with(&format!("{}/init", sandbox.path)), "{place}");
    sandbox.cgroup.kill_all(9).unwrap();
    nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(child), None).unwrap();
    // The tree that the container made goes with it.
    sandbox.cgroup.remove().unwrap();
    assert!(!Path::new(&root).exists());
}

#[test]
fn a_mount_inside_shows_the_container_s_cgroups() {
    on_both(|layout| {
        let sandbox = Sandbox::new(&Resources::default()).unwrap();
        match (layout, sandbox.cgroup.mounts().unwrap()) {
            (Layout::V2, Mounts::Unified(directory)) => assert_eq!(directory, sandbox.dir("")),
            (Layout::V1, Mounts::Legacy(mounts)) => {
                assert!(mounts.iter().all(|mount| Path::new(&mount.source).is_dir()), "{mounts:?}");
                let memory = mounts.iter().find(|mount| mount.name == "memory").unwrap();
                assert_eq!(
                    (memory.source.as_str(), memory.options.as_str()),
                    (&*sandbox.dir("memory"), "memory")
                );
                let systemd = mounts.iter().find(|mount| mount.name == "systemd");
                assert!(systemd.is_none_or(|mount| mount.options == "name=systemd"));
                assert!(mounts.iter().all(|mount| mount.name != "unified"));
            }
            other => panic!("{other:?}"),
        }
    });
}

const NOBODY: u32 = 65534;

/// As an ordinary user, with or without a wish for a certain cgroup.
fn rootless(path: &'static str, json: &'static str) -> Result<(bool, bool), String> {
    as_user(NOBODY, move || {
        let (limits, none) = (resources(json), BTreeMap::new());
        let mut asked = request(path, &limits, &none);
        asked.rootless = true;
        let cgroup = create(&asked).map_err(|error| error.to_string())?;
        Ok((cgroup.is_none(), cgroup.is_frozen().unwrap()))
    })
}

#[test]
fn without_delegation_a_container_without_limits_runs_and_others_are_told() {
    on_both(|_| {
        // Devices are root's business alone: rules are no limits here.
        for json in ["{}", r#"{"devices": [{"allow": false, "access": "rwm"}]}"#] {
            assert_eq!(rootless("", json), Ok((true, false)), "{json}");
        }
        let error = rootless("", r#"{"pids": {"limit": 5}}"#).unwrap_err();
        for part in [
            "unable to apply cgroup configuration: mkdir /sys/fs/cgroup/",
            "permission denied",
            "linux.resources.pids.limit: 5 needs a cgroup",
            "rootless needs no limits + no cgrouppath when no permission is granted for cgroups",
        ] {
            assert!(error.contains(part), "{part} not in {error}");
        }
        let error = rootless("/corten-test-nobody", "{}").unwrap_err();
        assert!(error.contains("unable to apply cgroup configuration: mkdir /sys/fs/cgroup/"), "{error}");
        assert!(error.contains("permission denied"), "{error}");
        no_trace("/corten-test-nobody");
    });
}

/// A user who was given a v2 cgroup can limit containers below it, as far as controllers were given, too.
#[test]
fn with_delegation_an_ordinary_user_has_limits() {
    if layout().is_none() || !v2_view() {
        return skip("root and a v2 hierarchy");
    }
    let path = unique();
    let (nothing, none) = (Resources::default(), BTreeMap::new());
    let mut asked = request(&path, &nothing, &none);
    asked.owner = Some(NOBODY);
    let given = Sandbox::with(&asked).unwrap();
    let inner = format!("{path}/inner");
    let limits = |json: &'static str| {
        let inner = inner.clone();
        as_user(NOBODY, move || {
            let (limits, none) = (resources(json), BTreeMap::new());
            let mut asked = request(&inner, &limits, &none);
            asked.rootless = true;
            let cgroup = create(&asked).map_err(|error| error.to_string())?;
            let mut again = Cgroup::open(&cgroup.record()).map_err(|error| error.to_string())?;
            again
                .freeze()
                .and_then(|()| again.thaw())
                .and_then(|()| again.remove())
                .map_err(|error| error.to_string())
        })
    };
    assert_eq!(limits("{}"), Ok(()));
    let controllers = given.read("", "cgroup.controllers");
    if controllers.split(' ').any(|name| name == "pids") {
        assert_eq!(limits(r#"{"pids": {"limit": 5}}"#), Ok(()));
    } else {
        let error = limits(r#"{"pids": {"limit": 5}}"#).unwrap_err();
        assert!(
            error.contains("linux.resources.pids.limit: 5: the pids controller is not available"),
            "{error}"
        );
    }
}

#[test]
fn the_disabled_driver_makes_nothing() {
    let none = BTreeMap::new();
    let limits = resources(r#"{"pids": {"limit": 5}}"#);
    let path = unique();
    let mut asked = request(&path, &limits, &none);
    asked.driver = Driver::Disabled;
    let mut cgroup = create(&asked).unwrap();
    assert!(cgroup.is_none() && cgroup.clone_target().is_none() && cgroup.join_files().next().is_none());
    assert!(!cgroup.is_frozen().unwrap() && !cgroup.needs_adopt());
    assert!(cgroup.freeze().unwrap_err().to_string().contains("cannot toggle freezer"));
    assert!(cgroup.update(&limits).unwrap_err().to_string().contains("no cgroup of its own"));
    cgroup.remove().unwrap();
    if Path::new("/sys/fs/cgroup").exists() {
        no_trace(&path);
    }
}
