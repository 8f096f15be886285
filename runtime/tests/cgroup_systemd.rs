//! The systemd driver, against the systemd that runs this host; skipped, visibly, where none does.
//!
//! As root against the system's, as a user against the user's own: run it both ways.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_wrap)]

mod support;

use runtime::cgroup::{Cgroup, Driver, Request, create};
use runtime::spec::Resources;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use support::{cgroups_of, child_into, resources, skip, unique};

fn have_systemd() -> bool {
    let ready = Path::new("/run/systemd/system").is_dir()
        && (root() || std::env::var_os("XDG_RUNTIME_DIR").is_some())
        && Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    if !ready {
        skip("systemd (for a user: with a session) and cgroup v2");
    }
    ready
}

fn root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// What is asked for of a container that is to be at a path.
fn request<'a>(
    path: &'a str,
    resources: &'a Resources,
    annotations: &'a BTreeMap<String, String>,
) -> Request<'a> {
    let plain = support::request(path, resources, annotations);
    Request { driver: Driver::Systemd, id: "x", rootless: !root(), ..plain }
}

/// A container in a scope: its process waits until it is killed.
struct Scoped {
    cgroup: Cgroup,
    child: Child,
    unit: String,
}

impl Scoped {
    fn new(resources: &Resources, annotations: &BTreeMap<String, String>) -> Result<Self, String> {
        let name = unique()[1..].to_owned();
        let path = format!("{}:corten:{name}", if root() { "corten-test.slice" } else { "user.slice" });
        let request = request(&path, resources, annotations);
        let mut cgroup = create(&request).map_err(|error| error.to_string())?;
        assert!(cgroup.needs_adopt() && cgroup.clone_target().is_none());
        let mounts = cgroup.mounts().unwrap();
        // As the first process of a PID namespace, it does not hear what systemd asks of it.
        let deaf = ["-c", "trap '' TERM; exec sleep 1000"];
        let mut child = Command::new("sh").args(deaf).stdin(Stdio::null()).spawn().unwrap();
        if let Err(error) = cgroup.adopt(child.id() as i32) {
            let _ = child.kill();
            let _ = child.wait();
            cgroup.remove().unwrap();
            return Err(error.to_string());
        }
        // What was told of the mounts before there was a scope is so.
        assert_eq!(cgroup.mounts().unwrap(), mounts);
        Ok(Self { cgroup, child, unit: format!("corten-{name}.scope") })
    }

    fn dir(&self) -> String {
        self.cgroup.record().dirs[0].1.clone()
    }

    fn read(&self, file: &str) -> String {
        let path = format!("{}/{file}", self.dir());
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")).trim_end().to_owned()
    }

    fn shows(&self, property: &str) -> String {
        let mut command = Command::new("systemctl");
        if !root() {
            command.arg("--user");
        }
        let output = command.args(["show", "--value", "-p", property, &self.unit]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Scoped {
    fn drop(&mut self) {
        let _ = self.cgroup.kill_all(9);
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.cgroup.remove();
    }
}

fn systemctl(arguments: &[&str]) {
    let mut command = Command::new("systemctl");
    if !root() {
        command.arg("--user");
    }
    assert!(command.args(arguments).status().unwrap().success(), "systemctl {arguments:?}");
}

const LIMITS: &str = r#"{"memory": {"limit": 104857600, "swap": 209715200, "reservation": 52428800},
    "cpu": {"shares": 512, "quota": 25500, "period": 100000}, "pids": {"limit": 20},
    "unified": {"memory.high": "73400320"}}"#;

#[test]
fn a_scope_holds_the_container_with_its_limits_and_keeps_them() {
    if !have_systemd() {
        return;
    }
    let mut scoped = Scoped::new(&resources(LIMITS), &BTreeMap::new()).unwrap();
    let place = cgroups_of(scoped.child.id() as i32).pop().unwrap();
    assert!(place.ends_with(&scoped.unit), "{place}");
    let files = |scoped: &Scoped| {
        ["memory.max", "memory.swap.max", "memory.low", "memory.high", "pids.max"]
            .map(|file| scoped.read(file))
    };
    let want = ["104857600", "104857600", "52428800", "73400320", "20"].map(str::to_owned);
    assert_eq!(files(&scoped), want);
    for (property, value) in [
        ("MemoryMax", "104857600"),
        ("MemorySwapMax", "104857600"),
        ("MemoryLow", "52428800"),
        ("MemoryHigh", "73400320"),
        ("TasksMax", "20"),
        ("Delegate", "yes"),
        ("DefaultDependencies", "no"),
        ("Slice", if root() { "corten-test.slice" } else { "user.slice" }),
        ("NeedDaemonReload", "no"),
    ] {
        assert_eq!(scoped.shows(property), value, "{property}");
    }
    // A user's systemd has the controllers that it was given.
    let has_cpu = scoped.read("cgroup.controllers").split(' ').any(|name| name == "cpu");
    if has_cpu {
        assert_eq!((&*scoped.read("cpu.weight"), &*scoped.read("cpu.max")), ("59", "26000 100000"));
    }
    systemctl(&["daemon-reload"]);
    assert_eq!(files(&scoped), want, "after daemon-reload");
    if has_cpu {
        assert_eq!((&*scoped.read("cpu.weight"), &*scoped.read("cpu.max")), ("59", "26000 100000"));
    }
    // An update goes to systemd and to the files, and holds as well.
    let update = r#"{"memory": {"limit": 52428800, "swap": -1}, "pids": {"limit": -1}}"#;
    scoped.cgroup.update(&resources(update)).unwrap();
    systemctl(&["daemon-reload"]);
    assert_eq!((&*scoped.read("memory.max"), &*scoped.read("memory.swap.max")), ("52428800", "max"));
    assert_eq!((&*scoped.read("pids.max"), &*scoped.shows("TasksMax")), ("max", "infinity"));
    if has_cpu {
        scoped.cgroup.update(&resources(r#"{"cpu": {"quota": 60000}}"#)).unwrap();
        assert_eq!(
            (&*scoped.read("cpu.max"), &*scoped.shows("CPUQuotaPerSecUSec")),
            ("60000 100000", "600ms")
        );
        scoped.cgroup.update(&resources(r#"{"cpu": {"idle": 1}}"#)).unwrap();
        assert_eq!(scoped.read("cpu.idle"), "1");
        scoped.cgroup.update(&resources(r#"{"cpu": {"idle": 0}}"#)).unwrap();
        systemctl(&["daemon-reload"]);
        assert_eq!((&*scoped.read("cpu.idle"), &*scoped.read("cpu.weight")), ("0", "100"));
    }
}

/// systemd writes all limits of a device anew of which it knows one.
#[test]
fn all_limits_of_a_device_are_told() {
    if !have_systemd() {
        return;
    }
    let number = |disk: &str| std::fs::read_to_string(format!("/sys/block/{disk}/dev")).ok();
    let (Some(disk), true) = (["vda", "sda", "nvme0n1"].into_iter().find_map(number), root()) else {
        return skip("root, and a disk");
    };
    let (major, minor) = disk.trim().split_once(':').unwrap();
    let scoped = Scoped::new(
        &resources(&format!(
            r#"{{"blockIO": {{"throttleReadBpsDevice": [{{"major": {major}, "minor": {minor}, "rate": 1000000}}]}},
                "unified": {{"io.max": "{major}:{minor} riops=77 wbps=88888"}}}}"#
        )),
        &BTreeMap::new(),
    )
    .unwrap();
    let want = format!("{major}:{minor} rbps=1000000 wbps=88888 riops=77 wiops=max");
    assert_eq!(scoped.read("io.max"), want);
    systemctl(&["daemon-reload"]);
    assert_eq!(scoped.read("io.max"), want);
}

#[test]
fn a_failed_update_changes_nothing_for_systemd_either() {
    if !have_systemd() {
        return;
    }
    let mut scoped = Scoped::new(&resources(LIMITS), &BTreeMap::new()).unwrap();
    let state = |scoped: &Scoped| {
        let files = ["memory.max", "memory.swap.max", "memory.low", "pids.max"].map(|file| scoped.read(file));
        (files, ["MemoryMax", "MemorySwapMax", "MemoryLow", "TasksMax"].map(|name| scoped.shows(name)))
    };
    let before = state(&scoped);
    for bad in [
        r#"{"memory": {"limit": 52428800, "reservation": 1048576}, "pids": {"limit": 7},
            "unified": {"memory.oom.group": "rubbish"}}"#,
        r#"{"pids": {"limit": 7}, "devices": [{"allow": true, "type": "z", "access": "r"}]}"#,
    ] {
        scoped.cgroup.update(&resources(bad)).unwrap_err();
        assert_eq!(state(&scoped), before, "{bad}");
    }
}

#[test]
fn devices_stay_controlled_after_a_reload() {
    if !have_systemd() {
        return;
    }
    if !root() {
        return skip("root: device rules");
    }
    let mut scoped = Scoped::new(&Resources::default(), &BTreeMap::new()).unwrap();
    let can = |scoped: &Scoped, device: &str| {
        let target = scoped.cgroup.for_exec(&[], scoped.child.id() as i32).unwrap();
        let script = format!("read go; exec 3< {device}");
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        assert!(target.clone_target().is_some());
        scoped.cgroup.attach(child.id() as i32).unwrap();
        drop(child.stdin.take());
        child.wait().unwrap().success()
    };
    assert!(can(&scoped, "/dev/null") && !can(&scoped, "/dev/kmsg"));
    systemctl(&["daemon-reload"]);
    assert!(can(&scoped, "/dev/null") && !can(&scoped, "/dev/kmsg"));
    let allow = r#"{"devices": [{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]}"#;
    scoped.cgroup.update(&resources(allow)).unwrap();
    assert!(can(&scoped, "/dev/kmsg"));
    systemctl(&["daemon-reload"]);
    assert!(can(&scoped, "/dev/kmsg"));
    let dir = std::fs::File::open(scoped.dir()).unwrap();
    assert_eq!(runtime::sys::bpf::device_filters(dir.as_fd()).unwrap().len(), 1);
}

#[test]
fn annotations_set_properties() {
    if !have_systemd() {
        return;
    }
    let annotations = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| (format!("org.systemd.property.{name}"), (*value).to_owned()))
            .collect()
    };
    let good = annotations(&[("TimeoutStopSec", "uint64 7"), ("Documentation", "['man:corten(1)']")]);
    let scoped = Scoped::new(&Resources::default(), &good).unwrap();
    assert_eq!(scoped.shows("TimeoutStopUSec"), "7s");
    assert!(scoped.shows("Documentation").contains("man:corten(1)"));
    for bad in [annotations(&[("TimeoutStopSec", "'x'")]), annotations(&[("NoSuchProperty", "5")])] {
        let error = Scoped::new(&Resources::default(), &bad).err().unwrap();
        assert!(error.contains("NoSuchProperty") || error.contains("TimeoutStopSec"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn a_name_is_free_again_at_once() {
    if !have_systemd() {
        return;
    }
    let (nothing, none) = (Resources::default(), BTreeMap::new());
    let name = unique()[1..].to_owned();
    let path = format!(":corten:{name}");
    for _ in 0..5 {
        let request = request(&path, &nothing, &none);
        let mut cgroup = create(&request).unwrap();
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        cgroup.adopt(child.id() as i32).unwrap();
        let record = cgroup.record();
        let mut later = Cgroup::open(&record).unwrap();
        later.kill_all(9).unwrap();
        child.wait().unwrap();
        later.remove().unwrap();
        assert!(!Path::new(&record.dirs[0].1).exists());
        // Twice is once.
        Cgroup::open(&record).unwrap().remove().unwrap();
    }
}

/// What is noted of a container that is being made.
#[derive(Debug, Default)]
struct Noted(std::cell::RefCell<Vec<u8>>);

impl runtime::cgroup::Journal for Noted {
    fn append(&self, lines: &[u8]) -> Result<(), runtime::sys::Errno> {
        self.0.borrow_mut().extend_from_slice(lines);
        Ok(())
    }
}

/// As far as a create comes that is killed: at each point `delete` finds the scope, and its name is free again.
#[test]
fn a_scope_is_found_by_what_was_noted_of_it() {
    if !have_systemd() {
        return;
    }
    let (nothing, none) = (Resources::default(), BTreeMap::new());
    let path = format!(":corten:{}", &unique()[1..]);
    for made in [false, true, true] {
        let noted = Noted::default();
        let request = Request { journal: Some(&noted), ..request(&path, &nothing, &none) };
        let mut cgroup = create(&request).unwrap();
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        if made {
            cgroup.adopt(child.id() as i32).unwrap();
            let other = Noted::default();
            drop(create(&Request { journal: Some(&other), ..request }).unwrap());
            assert!(other.0.borrow().is_empty(), "the scope is somebody else's");
        }
        let text = String::from_utf8(noted.0.borrow().clone()).unwrap();
        Cgroup::from_journal(&text).destroy().unwrap();
        assert_eq!(child.try_wait().unwrap().is_some(), made, "{text}");
        let dirs = cgroup.record().dirs;
        assert!(dirs.iter().all(|(_, dir)| !Path::new(dir).exists()), "{dirs:?}");
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// systemd keeps a scope whose process was gone before it was made.
#[test]
fn the_name_of_an_empty_scope_can_be_had() {
    if !have_systemd() {
        return;
    }
    let (nothing, none) = (Resources::default(), BTreeMap::new());
    let name = unique()[1..].to_owned();
    let slice = if root() { "corten-test.slice" } else { "user.slice" };
    let mut gone = Command::new("true").spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(1));
    let mut command = Command::new("busctl");
    if !root() {
        command.arg("--user");
    }
    let manager =
        ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"];
    let (unit, pid) = (format!("corten-{name}.scope"), gone.id().to_string());
    command.arg("call").args(manager).args(["StartTransientUnit", "ssa(sv)a(sa(sv))", &unit, "replace"]);
    command.args(["3", "Slice", "s", slice, "Delegate", "b", "true", "PIDs", "au", "1", &pid, "0"]);
    assert!(command.status().unwrap().success());
    std::thread::sleep(std::time::Duration::from_secs(3));
    gone.wait().unwrap();
    let path = format!("{slice}:corten:{name}");
    let request = request(&path, &nothing, &none);
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    for free in [true, false] {
        let mut cgroup = create(&request).unwrap();
        let adopted = cgroup.adopt(child.id() as i32);
        assert_eq!(adopted.is_ok(), free, "{adopted:?}");
        std::mem::forget(cgroup);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn bad_paths_and_limits_are_one_line_and_leave_no_unit() {
    if !have_systemd() {
        return;
    }
    let none = BTreeMap::new();
    let nothing = Resources::default();
    for (path, want) in [
        ("/docker/x", "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups"),
        ("a--b.slice:x:y", "invalid slice name: a--b.slice"),
    ] {
        let request = request(path, &nothing, &none);
        let error = create(&request).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
    let error =
        Scoped::new(&resources(r#"{"unified": {"memory.oom.group": "rubbish"}}"#), &none).err().unwrap();
    assert!(error.contains("linux.resources.unified[\"memory.oom.group\"]: rubbish: write"), "{error}");
    let mut command = Command::new("systemctl");
    if !root() {
        command.arg("--user");
    }
    let units =
        command.args(["list-units", "--all", "--plain", "--no-legend", "corten-corten-test-*"]).output();
    let text = String::from_utf8_lossy(&units.unwrap().stdout).into_owned();
    let mine = format!("corten-test-{}-", std::process::id());
    let is_left = |line: &&str| line.contains(&mine) && (line.contains("failed") || line.contains("stop-"));
    let left: Vec<&str> = text.lines().filter(is_left).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A user's processes outside of the user's own part of the tree can be moved into it by systemd only.
#[test]
fn exec_reaches_the_scope() {
    if !have_systemd() {
        return;
    }
    let scoped = Scoped::new(&Resources::default(), &BTreeMap::new()).unwrap();
    let target = scoped.cgroup.for_exec(&[], scoped.child.id() as i32).unwrap();
    let pid = match child_into(target.clone_target(), &[]) {
        Ok(pid) => pid,
        Err(runtime::sys::Errno::EACCES) => {
            let pid = child_into(None, &[]).unwrap();
            scoped.cgroup.attach(pid).unwrap();
            pid
        }
        Err(errno) => panic!("{errno}"),
    };
    let place = cgroups_of(pid).pop().unwrap();
    assert!(place.ends_with(&scoped.unit), "{place}");
    scoped.cgroup.kill_all(9).unwrap();
    nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None).unwrap();
}
