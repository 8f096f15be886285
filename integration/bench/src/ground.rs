//! The ground that everything is measured on: a mount namespace, a tmpfs and control groups of the bench's
//! own.
//!
//! All contestants see the same: where the machine has a hybrid layout of control groups, which crun refuses,
//! the unified hierarchy is taken out of the namespace's view. Everything that is made lies on one tmpfs, so
//! that no disk is measured.

use crate::compiler;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// The two shapes of containers, as `integration::config` has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// What `runc spec` writes.
    Plain,
    /// What Docker makes for `docker run`.
    Docker,
}

impl Shape {
    /// As the floor calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Shape::Plain => "plain",
            Shape::Docker => "docker",
        }
    }

    fn config(self) -> Value {
        match self {
            Shape::Plain => integration::config::plain(),
            Shape::Docker => integration::config::docker(),
        }
    }
}

/// The place where the bench runs.
#[derive(Debug)]
pub(crate) struct Ground {
    /// A tmpfs.
    pub(crate) directory: PathBuf,
    /// The root file system of all containers.
    pub(crate) rootfs: PathBuf,
    /// Docker's filter, as the kernel takes it.
    pub(crate) filter: PathBuf,
    /// The control groups of the bench, one a hierarchy; containers' are below.
    pub(crate) groups: Vec<PathBuf>,
    /// What the machine has, in words.
    pub(crate) layout: &'static str,
    name: String,
}

/// The name of the bench's control groups and directory, by the process that cleans up.
pub(crate) fn name(pid: u32) -> String {
    format!("corten-bench-{pid}")
}

impl Ground {
    /// Prepares everything in a new mount namespace, in which this process is from then on.
    pub(crate) fn new(directory: &Path, unified_view: bool) -> Ground {
        let none = None::<&str>;
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace: run the bench as root");
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), Some("mode=755")).unwrap();
        let unified = Path::new("/sys/fs/cgroup/unified");
        let legacy = Path::new("/sys/fs/cgroup/memory").exists();
        let layout = match (legacy, unified.exists()) {
            (true, _) if unified_view => {
                mount(Some("cgroup2"), "/sys/fs/cgroup", Some("cgroup2"), MsFlags::empty(), none).unwrap();
                "version 2, with the controllers that the machine has left to it"
            }
            (true, true) => {
                umount2(unified, MntFlags::MNT_DETACH).unwrap();
                // crun makes directories there that it never removes.
                mount(Some("tmpfs"), unified, Some("tmpfs"), MsFlags::empty(), none).unwrap();
                "hybrid, seen as version 1"
            }
            (true, false) => "version 1",
            (false, _) => "version 2",
        };
        nix::sys::prctl::set_child_subreaper(true).unwrap();
        let name = directory.file_name().unwrap().to_string_lossy().into_owned();
        let mut ground = Ground {
            rootfs: directory.join("rootfs"),
            filter: directory.join("filter"),
            directory: directory.to_owned(),
            groups: Vec::new(),
            layout,
            name,
        };
        ground.fill();
        ground
    }

    fn fill(&mut self) {
        for place in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
            fs::create_dir_all(self.rootfs.join(place)).unwrap();
        }
        fs::copy("/bin/busybox", self.rootfs.join("bin/busybox")).expect("install busybox-static");
        for applet in ["cat", "grep", "hostname", "id", "ls", "readlink", "sh", "sleep"] {
            std::os::unix::fs::symlink("busybox", self.rootfs.join("bin").join(applet)).unwrap();
        }
        let compiler = compiler::compile("true.c", &self.rootfs.join("bin/true"));
        compiler.expect("install musl-tools, or gcc and libc6-dev");
        fs::write(self.rootfs.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
        fs::write(&self.filter, filter()).unwrap();
        for hierarchy in hierarchies() {
            let group = hierarchy.join(&self.name);
            fs::create_dir(&group).unwrap();
            // A group of this hierarchy is of no use before it has processors and memory nodes.
            for file in ["cpuset.cpus", "cpuset.mems"].iter().filter(|_| hierarchy.ends_with("cpuset")) {
                let own = fs::read_to_string(hierarchy.join(file)).unwrap();
                fs::write(group.join(file), own.trim_end()).unwrap();
            }
            self.groups.push(group);
        }
    }

    /// The directories of a container's control groups.
    pub(crate) fn groups_of(&self, container: &str) -> Vec<PathBuf> {
        self.groups.iter().map(|group| group.join(container)).collect()
    }

    /// Mounts so many things more on the host, as this mount namespace is for the contestants; once.
    pub(crate) fn many_mounts(&self, count: usize) {
        let many = self.directory.join("many");
        if many.exists() {
            return;
        }
        let none = None::<&str>;
        fs::create_dir(&many).unwrap();
        mount(Some("tmpfs"), &many, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        for number in 0..count {
            let place = many.join(number.to_string());
            fs::create_dir(&place).unwrap();
            mount(Some("tmpfs"), &place, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        }
    }

    /// Takes them away.
    pub(crate) fn no_many_mounts(&self) {
        let many = self.directory.join("many");
        if many.exists() {
            umount2(&many, MntFlags::MNT_DETACH).unwrap();
            fs::remove_dir(&many).unwrap();
        }
    }

    /// Writes a bundle: the container of that name will run `program`. `change` has the last word on
    /// config.json.
    pub(crate) fn bundle(
        &self,
        container: &str,
        shape: Shape,
        program: &[&str],
        change: impl FnOnce(&mut Value),
    ) -> PathBuf {
        let bundle = self.directory.join("bundles").join(container);
        fs::create_dir_all(&bundle).unwrap();
        let mut config = shape.config();
        config["process"]["args"] = json!(program);
        config["root"]["path"] = json!(self.rootfs);
        if self.layout.starts_with("version 2") {
            // As Docker and `runc spec` do there.
            integration::config::put(&mut config, "/linux/namespaces/-", json!({ "type": "cgroup" }));
        }
        config["linux"]["cgroupsPath"] = json!(format!("/{}/{container}", self.name));
        change(&mut config);
        fs::write(bundle.join("config.json"), serde_json::to_vec(&config).unwrap()).unwrap();
        bundle
    }
}

/// The program that Corten's compiler makes of Docker's profile: the floor loads the same one.
fn filter() -> Vec<u8> {
    let profile = serde_json::from_value(integration::config::docker()["linux"]["seccomp"].clone()).unwrap();
    let program = seccomp_profiles::compile(&profile, &seccomp_profiles::Options::default()).unwrap();
    let bytes = |one: &seccomp_profiles::Instruction| {
        let mut bytes = one.code.to_ne_bytes().to_vec();
        bytes.extend([one.jt, one.jf]);
        bytes.extend(one.k.to_ne_bytes());
        bytes
    };
    program.instructions.iter().flat_map(bytes).collect()
}

/// Where control groups are mounted, as far as one can see: a mount may be covered by another.
fn hierarchies() -> Vec<PathBuf> {
    let mut found = integration::host::hierarchies();
    found.sort();
    found.retain(|place| place.join("cgroup.procs").exists());
    found
}

/// Ends what is left in the bench's control groups, and removes them.
pub(crate) fn clear(name: &str) {
    for hierarchy in hierarchies() {
        let group = hierarchy.join(name);
        let mut all = integration::host::cgroups_below(&group);
        all.push(group);
        for directory in all.iter().filter(|directory| directory.exists()) {
            for _ in 0..200 {
                for pid in integration::host::members(directory) {
                    let _ = nix::sys::signal::kill(
                        nix::unistd::Pid::from_raw(pid),
                        nix::sys::signal::Signal::SIGKILL,
                    );
                }
                if fs::remove_dir(directory).is_ok() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
    }
}
