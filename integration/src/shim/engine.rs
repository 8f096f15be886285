//! Real engines around the shim: containerd and dockerd, of the distribution and newer, each in namespaces of
//! its own.
//!
//! An engine runs in new mount, network and process namespaces with its own /run: whatever it starts, mounts
//! and binds is gone with it, and two of them do not meet. Newer ones come from a folder that
//! `fetch-engines.sh` fills.

use super::client::patience;
use super::pod::{program, until};
use super::said::Said;
use crate::{host, leaks, outcome, proc, rootfs};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// Which of the engines on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// What the distribution has: containerd 1.6, Docker 20.10.
    Distribution,
    /// What `fetch-engines.sh` has fetched from Debian 13: containerd 1.7.
    Next,
    /// What it has fetched from Debian sid: containerd 2.1, Docker 28, Compose 2.
    Newer,
}

impl Release {
    /// All of them.
    pub const ALL: [Release; 3] = [Release::Distribution, Release::Next, Release::Newer];

    /// Where its programs are.
    fn folders(self) -> Vec<PathBuf> {
        let below: &[&str] = match self {
            Release::Distribution => &[],
            Release::Next => &["trixie/usr/bin", "trixie/usr/sbin"],
            Release::Newer => &["sid/usr/bin", "sid/usr/sbin", "sid/usr/libexec/docker/cli-plugins", ""],
        };
        let fetched = std::env::var_os("CORTEN_ENGINES");
        let fetched = fetched.map_or_else(|| PathBuf::from("/var/cache/corten-engines"), PathBuf::from);
        below.iter().map(|below| fetched.join(below)).collect()
    }

    /// A program of it.
    pub fn find(self, name: &str) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders = self.folders();
        if self == Release::Distribution {
            folders.extend(std::env::split_paths(&path));
        }
        folders.into_iter().map(|folder| folder.join(name)).find(|path| path.is_file())
    }
}

/// An engine and the namespaces it lives in.
pub struct Engine {
    /// Which one.
    pub release: Release,
    /// The folder of its files.
    pub directory: PathBuf,
    /// The containerd namespace of its containers.
    pub name: String,
    /// Where their control groups are.
    cgroups: String,
    path: String,
    holder: Child,
    inside: i32,
    daemons: Vec<(String, i32)>,
}

impl Engine {
    /// New namespaces, and nothing running in them yet.
    ///
    /// # Panics
    /// When they cannot be made.
    pub fn new(release: Release) -> Engine {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("cite-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let directory = rootfs::base().join(&name);
        fs::create_dir_all(directory.join("bin")).unwrap();
        for shim in ["containerd-shim-corten-v2", "containerd-shim-runc-v2", "corten"] {
            symlink(program(), directory.join("bin").join(shim)).unwrap();
        }
        let mut folders = vec![directory.join("bin")];
        folders.extend(release.folders());
        let own = std::env::var("PATH").unwrap_or_default();
        let own = crate::criu::path().map_or(own, |path| path.to_string_lossy().into_owned());
        let path = folders.iter().map(|folder| folder.display().to_string()).chain([own]).collect::<Vec<_>>();
        let (holder, inside) = new_namespaces();
        Engine {
            release,
            directory,
            cgroups: name.clone(),
            name,
            path: path.join(":"),
            holder,
            inside,
            daemons: Vec::new(),
        }
    }

    /// containerd with an image `busybox`; `None` when this machine has no such release.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn containerd(release: Release) -> Option<Engine> {
        release.find("containerd")?;
        let mut engine = Engine::new(release);
        engine.start_containerd("");
        engine.ctr(&["images", "import", &image("oci-archive").to_string_lossy()]).ok();
        Some(engine)
    }

    /// Starts containerd, with more lines for its configuration.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_containerd(&mut self, more: &str) {
        let dir = self.directory.display();
        let cri = if more.is_empty() { "disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n" } else { "" };
        let config = format!(
            "version = 2\nroot = \"{dir}/root\"\nstate = \"{dir}/state\"\n{cri}[grpc]\n  address = \"{dir}/containerd.sock\"\n{more}"
        );
        let file = self.directory.join("config.toml");
        fs::write(&file, config).unwrap();
        self.daemon("containerd", &["containerd", "-l", "trace", "-c", &file.to_string_lossy()]);
        until("containerd answers", || self.ctr(&["version"]).status == 0);
    }

    /// containerd with its CRI service, a bridge network, and Corten twice: as `corten` by its own type, and
    /// as `typed` by containerd's, with the path of the shim. `None` when something of that is not on this
    /// machine.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn cri(release: Release) -> Option<Engine> {
        Engine::cri_with(release, RUNTIMES)
    }

    /// As [`Engine::cri`], with these lines for the runtimes.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn cri_with(release: Release, runtimes: &str) -> Option<Engine> {
        release.find("containerd")?;
        Release::Newer.find("crictl")?;
        Path::new("/usr/lib/cni/bridge").exists().then_some(())?;
        let mut engine = Engine::new(release);
        engine.name = "k8s.io".to_owned();
        let dir = engine.directory.display().to_string();
        fs::create_dir_all(format!("{dir}/cni")).unwrap();
        fs::write(format!("{dir}/cni/10-test.conflist"), NETWORK).unwrap();
        engine.start_containerd(&format!("{CRI}{runtimes}").replace("DIR", &dir));
        for format in ["oci-archive", "pause"] {
            engine.ctr(&["-n", "k8s.io", "images", "import", &image(format).to_string_lossy()]).ok();
        }
        Some(engine)
    }

    /// Starts the containerd of [`Engine::cri`] again.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart_cri(&mut self) {
        let dir = self.directory.display().to_string();
        self.start_containerd(&format!("{CRI}{RUNTIMES}").replace("DIR", &dir));
    }

    /// Runs crictl.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn crictl(&self, words: &[&str]) -> Said {
        let socket = format!("unix://{}/containerd.sock", self.directory.display());
        let program = Release::Newer.find("crictl").expect("crictl");
        self.run(&[&[&*program.to_string_lossy(), "-t", "60s", "-r", &socket, "-i", &socket], words].concat())
    }

    /// dockerd with the image `busybox`, and Corten as its default runtime; `runtime` is its entry in
    /// daemon.json. `None` when this machine has no such release.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn docker(release: Release, runtime: &str) -> Option<Engine> {
        release.find("dockerd")?;
        let mut engine = Engine::new(release);
        let dir = engine.directory.display().to_string();
        let bin = format!("{dir}/bin");
        let runtime = runtime.replace("BIN", &bin);
        let config = format!(
            r#"{{"runtimes": {{"corten": {runtime}}}, "default-runtime": "corten", "features": {{"buildkit": false}}}}"#
        );
        fs::write(engine.directory.join("daemon.json"), config).unwrap();
        let socket = format!("unix://{dir}/docker.sock");
        let [file, data, exec, pid] =
            ["daemon.json", "data", "exec", "docker.pid"].map(|name| format!("{dir}/{name}"));
        let words = ["dockerd", "--config-file", &file, "--data-root", &data, "--exec-root", &exec];
        engine.daemon("dockerd", &[&words[..], &["-H", &socket, "--pidfile", &pid]].concat());
        until("dockerd answers", || engine.docker_command("docker version").status == 0);
        let archive = image("docker-archive");
        engine.docker_command(&format!("docker load -qi {}", archive.display())).ok();
        Some(engine)
    }

    /// Runs a shell script, in the engine's folder, in which `docker` means this engine's.
    #[track_caller]
    pub fn docker_command(&self, script: &str) -> Said {
        let dir = self.directory.display();
        let environment =
            format!("DOCKER_HOST=unix://{dir}/docker.sock DOCKER_CONFIG={dir} DOCKER_BUILDKIT=0");
        self.run(&["sh", "-c", &format!("cd {dir}; export {environment}\n{script}")])
    }

    /// Starts a program that stays.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn daemon(&mut self, name: &str, command: &[&str]) {
        let log = self.directory.join(format!("{name}.log"));
        let log = fs::OpenOptions::new().append(true).create(true).open(log).unwrap();
        let before = self.processes_of(command[0]);
        let words: Vec<String> = command.iter().map(|&word| word.to_owned()).collect();
        let mut command = self.command(command);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        // A wrapper that starts the daemon and goes: reaped with this program's other children.
        drop(command.spawn().unwrap());
        let program = command.get_args().nth(9).unwrap().to_string_lossy().into_owned();
        let mut found = None;
        until("the daemon runs", || {
            // Not what it starts as itself, as an engine its loggers.
            let is = |pid: &i32| proc::nul_separated(&format!("/proc/{pid}/cmdline")) == words;
            found = self.processes_of(&program).into_iter().find(|pid| !before.contains(pid) && is(pid));
            found.is_some()
        });
        self.daemons.push((name.to_owned(), found.unwrap()));
    }

    /// Kills a daemon and waits until it is gone.
    ///
    /// # Panics
    /// When there is none.
    pub fn kill(&mut self, name: &str, signal: nix::sys::signal::Signal) {
        let at = self.daemons.iter().position(|(daemon, _)| daemon == name).unwrap();
        let (_, pid) = self.daemons.remove(at);
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
        until("the daemon is gone", || !host::alive(pid));
    }

    /// What becomes of a machine that loses its power and has it again: nothing runs, /run is empty, what was mounted is
    /// gone, and so are networks and control groups. The engine's folder stays.
    pub fn reboot(&mut self) {
        self.end_all();
        self.daemons.clear();
        (self.holder, self.inside) = new_namespaces();
    }

    fn end_all(&mut self) {
        // Everything in the process namespace dies with its first process.
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.inside),
            nix::sys::signal::Signal::SIGKILL,
        );
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        let deadline = Instant::now() + patience();
        while cgroups_of(&self.cgroups) > 0 && Instant::now() < deadline {
            leaks::sweep(&self.cgroups);
            for top in host::hierarchies() {
                for cgroup in host::cgroups_below(&top.join(&self.cgroups)) {
                    let _ = fs::remove_dir(cgroup);
                }
            }
        }
    }

    /// A command in the engine's namespaces.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.inside.to_string(), "-m", "-n", "-p", "--", "env"]);
        command
            .arg(format!("PATH={}", self.path))
            .arg(format!("CONTAINERD_NAMESPACE={}", self.name))
            .args(words);
        command.current_dir(&self.directory).stdin(Stdio::null());
        command
    }

    /// Runs a command in the engine's namespaces to its end.
    ///
    /// # Panics
    /// When it cannot be run, or takes too long.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Said {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("said-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        // Into files: what it leaves in the background does not have to be waited for.
        let mut child = outcome::start(&mut self.command(words), &self.directory, &name);
        let status = outcome::wait(&mut child, &format!("{words:?}"));
        let text = |kind: &str| {
            let file = self.directory.join(format!("{name}.{kind}"));
            let bytes = fs::read(&file).unwrap();
            fs::remove_file(file).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Said { status: status.code().unwrap_or(255), out: text("out"), err: text("err") }
    }

    /// Ends the engine's processes whose program has this name.
    pub fn end(&self, name: &str) {
        for pid in self.processes_of(name) {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }

    /// Runs ctr.
    #[track_caller]
    pub fn ctr(&self, words: &[&str]) -> Said {
        let socket = self.directory.join("containerd.sock");
        self.run(&[&["ctr", "-a", &socket.to_string_lossy()], words].concat())
    }

    /// Runs a container of `busybox` with Corten's shim in the background.
    #[track_caller]
    pub fn start(&self, id: &str, words: &[&str]) -> Said {
        self.ctr(&[&["run", "-d", "--runtime", RUNTIME, IMAGE, id], words].concat())
    }

    /// The pids, on the host, of the engine's processes whose program has this name.
    pub fn processes_of(&self, name: &str) -> Vec<i32> {
        let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let own = namespace(self.inside);
        let is = |pid: &i32| {
            let words = proc::nul_separated(&format!("/proc/{pid}/cmdline"));
            let program =
                words.first().map(|word| Path::new(word).file_name().unwrap_or_default().to_owned());
            program.is_some_and(|program| program == name) && namespace(*pid) == own && host::alive(*pid)
        };
        proc::pids().into_iter().filter(is).collect()
    }

    /// The shims, without the copies of themselves that do work which may block.
    pub fn shims(&self) -> Vec<i32> {
        let names = [RUNTIME_SHIM, "containerd-shim-runc-v2"];
        let all: Vec<i32> = names.iter().flat_map(|name| self.processes_of(name)).collect();
        let parent = |pid: i32| proc::Status::of(&pid.to_string()).get("PPid").parse();
        let is_copy = |pid: &i32| parent(*pid).is_ok_and(|parent: i32| all.contains(&parent));
        all.iter().copied().filter(|pid| !is_copy(pid)).collect()
    }

    /// What shims could leave behind, counted.
    pub fn residue(&self) -> Residue {
        let root = PathBuf::from(format!("/proc/{}/root", self.inside));
        let entries = |path: &str| proc::entries(root.join(path)).len();
        let mounts = proc::mounts(&self.inside.to_string());
        // Its /proc shows its own processes and those of the containers.
        let processes = proc::entries(root.join("proc"));
        let processes: Vec<_> = processes.iter().filter(|name| name.parse::<i32>().is_ok()).collect();
        let network = |pid: &&String| fs::read_link(root.join("proc").join(pid).join("ns/net")).ok();
        let networks: BTreeSet<_> = processes.iter().filter_map(network).collect();
        let state = self.directory.join("state").display().to_string();
        let namespace = self.name.clone();
        Residue {
            shims: self.shims().len(),
            processes: processes.len(),
            networks: networks.len() + mounts.iter().filter(|mount| mount.fstype == "nsfs").count(),
            mounts: mounts.iter().filter(|mount| mount.target.starts_with(&state)).count(),
            sockets: entries("run/containerd/s"),
            fifos: entries("run/containerd/fifo"),
            states: entries(&format!("run/containerd/runc/{namespace}")),
            bundles: proc::entries(
                self.directory.join("state/io.containerd.runtime.v2.task").join(&namespace),
            )
            .len(),
            cgroups: cgroups_of(&self.cgroups),
        }
    }

    /// The end of a daemon's log, for messages.
    pub fn log(&self, name: &str) -> String {
        let text = fs::read_to_string(self.directory.join(format!("{name}.log"))).unwrap_or_default();
        text.chars().rev().take(4000).collect::<Vec<_>>().into_iter().rev().collect()
    }

    /// What the log of one of Corten's programs says of a panic: no input may lead to one, and in the program that people
    /// run it is the end of it.
    fn panicked(&self) -> Option<String> {
        let logs = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let texts = logs.filter(|file| file.path().extension().is_some_and(|kind| kind == "log"));
        let mut texts = texts.filter_map(|file| fs::read_to_string(file.path()).ok());
        texts.find_map(|text| text.find("panicked at").map(|at| text[at..].chars().take(4000).collect()))
    }

    /// The control group below which pods and their containers are to be.
    pub fn cgroup_parent(&self) -> String {
        format!("/{}", self.cgroups)
    }

    /// A path of the engine as seen from outside.
    pub fn outside(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.inside))
    }
}

/// The configuration of containerd's CRI service; `DIR` is the engine's folder.
const CRI: &str = r#"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:corten"
  restrict_oom_score_adj = true
  disable_apparmor = true
  tolerate_missing_hugetlb_controller = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "DIR/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "corten"
"#;

/// Corten in both ways.
const RUNTIMES: &str = r#"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.corten]
      runtime_type = "io.containerd.corten.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.typed]
      runtime_type = "io.containerd.runc.v2"
      runtime_path = "DIR/bin/containerd-shim-corten-v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.typed.options]
        SystemdCgroup = false
"#;

const NETWORK: &str = r#"{"cniVersion": "0.4.0", "name": "test", "plugins": [
  {"type": "bridge", "bridge": "test0", "isGateway": true, "ipMasq": true, "ipam": {"type": "host-local",
   "subnet": "10.88.0.0/16", "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}"#;

/// The name by which engines call Corten's shim.
pub const RUNTIME: &str = "io.containerd.corten.v2";
const RUNTIME_SHIM: &str = "containerd-shim-corten-v2";
/// The image that every engine has.
pub const IMAGE: &str = "docker.io/library/busybox:latest";

/// The image of pods' first containers, which sleep.
pub const PAUSE: &str = "registry.k8s.io/pause:corten";

/// What is left when containers are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Residue {
    /// Shims.
    pub shims: usize,
    /// Processes of the engine and of containers, zombies too.
    pub processes: usize,
    /// Network namespaces that they are in or that are mounted.
    pub networks: usize,
    /// Mounts below containerd's state.
    pub mounts: usize,
    /// Sockets of shims.
    pub sockets: usize,
    /// Folders of FIFOs.
    pub fifos: usize,
    /// State of the runtime.
    pub states: usize,
    /// Bundles.
    pub bundles: usize,
    /// Control groups of containers.
    pub cgroups: usize,
}

fn cgroups_of(namespace: &str) -> usize {
    let tops = host::hierarchies().into_iter().map(|top| top.join(namespace));
    tops.map(|top| host::cgroups_below(&top).len()).sum()
}

/// New namespaces, by a process that holds them and their first one.
fn new_namespaces() -> (Child, i32) {
    // A shell as the first process of the namespace: it reaps, and ends with this program, whatever
    // becomes of it.
    let script = "ip link set lo up; mount -t tmpfs -o mode=755 tmpfs /run; mkdir -p /run/lock; \
                  mount -t tmpfs tmpfs /var/lib/cni 2>/dev/null; echo ready; cat >/dev/null";
    let mut holder = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["--propagation", "private", "bash", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 6];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut line).unwrap();
    let inside = proc::children(holder.id().cast_signed())[0];
    (holder, inside)
}

/// The image as an archive that skopeo calls `format`, or [`PAUSE`] for `pause`; made once.
///
/// # Panics
/// When umoci or skopeo fails.
pub fn image(format: &'static str) -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    let folder = MADE.get_or_init(|| {
        let folder = rootfs::base().join("image");
        fs::create_dir_all(&folder).unwrap();
        let umoci = |words: &[&str]| {
            let output = Command::new("umoci").args(words).current_dir(&folder).output().unwrap();
            assert!(output.status.success(), "umoci {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        umoci(&["init", "--layout", "oci"]);
        umoci(&["new", "--image", "oci:latest"]);
        umoci(&["unpack", "--image", "oci:latest", "bundle"]);
        rootfs::populate(&folder.join("bundle/rootfs"));
        umoci(&["repack", "--image", "oci:latest", "bundle"]);
        umoci(&["config", "--image", "oci:latest", "--config.cmd", "/bin/sh"]);
        let sleep = ["--config.cmd", "/bin/sleep", "--config.cmd", "2147483647"];
        umoci(&[&["config", "--image", "oci:latest", "--tag", "pause"], &sleep[..]].concat());
        folder
    });
    static LOCK: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = LOCK.lock();
    let archive = folder.join(format!("{format}.tar"));
    let (source, kind, name) = match format {
        "pause" => ("oci:oci:pause", "oci-archive", PAUSE),
        _ => ("oci:oci:latest", format, IMAGE),
    };
    if !archive.exists() {
        let target = format!("{kind}:{}:{name}", archive.display());
        let output =
            Command::new("skopeo").args(["copy", "-q", source, &target]).current_dir(folder).output();
        let output = output.unwrap();
        assert!(output.status.success(), "skopeo: {}", String::from_utf8_lossy(&output.stderr));
    }
    archive
}

impl Drop for Engine {
    fn drop(&mut self) {
        let panicked = self.panicked();
        self.end_all();
        for top in host::hierarchies() {
            let _ = fs::remove_dir(top.join(&self.cgroups));
        }
        rootfs::remove(&self.directory);
        // The program that people run ends there.
        assert!(panicked.is_none() || std::thread::panicking(), "{}", panicked.unwrap_or_default());
    }
}
