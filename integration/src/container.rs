//! One container of a test: its bundle, its id, its state directory, and the commands on it.

use crate::outcome::{self, Outcome};
use crate::proc::Status;
use crate::report::Report;
use crate::runtime::{Kind, runtime};
use crate::{config, rootfs};
use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once};

/// The variable by which every process of a container can be found, wherever it hides.
pub const MARK: &str = "CORTEN_TEST_ID";

/// A container. Dropping it deletes it by force, whatever became of it.
#[derive(Debug)]
pub struct Container {
    /// Its id, unique on this machine.
    pub id: String,
    /// config.json, written to the bundle by each `create` and `run`.
    pub config: Value,
    /// What goes before the runtime on the command line: `unshare`, `setpriv` and the like.
    pub via: Vec<OsString>,
    /// Global options besides `--root` and the log.
    pub globals: Vec<String>,
    /// Where the state is: the value of `--root`.
    pub root: PathBuf,
    directory: PathBuf,
    commands: AtomicU32,
}

/// How a container's init ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It exited with this status.
    Exited(i32),
    /// It died of this signal.
    Killed(i32),
}

impl Container {
    /// A container with the configuration of `runc spec`, whose process is the probe's report.
    #[expect(clippy::new_without_default)]
    pub fn new() -> Container {
        Container::with(config::plain())
    }

    /// A container as Docker makes one.
    pub fn docker_like() -> Container {
        Container::with(config::docker())
    }

    /// A container with this configuration.
    ///
    /// # Panics
    /// When its directory cannot be made.
    pub fn with(config: Value) -> Container {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        static SUBREAPER: Once = Once::new();
        // Containers outlive the runtime that made them; their exit status comes to us then.
        SUBREAPER.call_once(|| {
            nix::sys::prctl::set_child_subreaper(true).unwrap();
            std::thread::spawn(reap_orphans);
        });
        let id = format!("cit-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let directory = rootfs::base().join(&id);
        fs::create_dir_all(directory.join("rootfs")).unwrap();
        rootfs::populate(&directory.join("rootfs"));
        let root = directory.join("state");
        let mut container = Container {
            via: default_view(),
            globals: Vec::new(),
            root,
            directory,
            commands: AtomicU32::new(0),
            config,
            id,
        };
        let mark = format!("{MARK}={}", container.id);
        container.put("/process/env/-", json!(mark));
        container
    }

    /// The bundle.
    pub fn bundle(&self) -> &Path {
        &self.directory
    }

    /// A path below the bundle.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A path below the root filesystem; `name` is relative.
    pub fn rootfs(&self, name: &str) -> PathBuf {
        self.directory.join("rootfs").join(name)
    }

    /// A path below the bundle, as a string for the configuration.
    pub fn text_path(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Sets a value of config.json by its JSON pointer; see [`config::put`].
    pub fn put(&mut self, pointer: &str, value: Value) -> &mut Container {
        config::put(&mut self.config, pointer, value);
        self
    }

    /// Sets the process's arguments.
    pub fn args(&mut self, args: &[&str]) -> &mut Container {
        self.put("/process/args", json!(args))
    }

    /// Makes the process a shell that runs a script.
    pub fn shell(&mut self, script: &str) -> &mut Container {
        self.args(&["/bin/sh", "-c", script])
    }

    /// Appends a mount.
    pub fn mount(&mut self, mount: Value) -> &mut Container {
        self.put("/mounts/-", mount)
    }

    /// Takes the mount on a destination out of the configuration.
    ///
    /// # Panics
    /// When there is none.
    pub fn unmount(&mut self, destination: &str) -> &mut Container {
        let mounts = self.config["mounts"].as_array_mut().unwrap();
        let before = mounts.len();
        mounts.retain(|mount| mount["destination"] != destination);
        assert!(mounts.len() < before, "no mount on {destination}");
        self
    }

    /// Removes the mounts on a destination and on what is below it.
    pub fn unmount_below(&mut self, destination: &str) -> &mut Container {
        let mounts = self.config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| !Path::new(mount["destination"].as_str().unwrap()).starts_with(destination));
        self
    }

    /// Adds a namespace to the list, or sets its path when it is there.
    pub fn namespace(&mut self, kind: &str, path: Option<&str>) -> &mut Container {
        self.without_namespace(kind);
        let entry = match path {
            Some(path) => json!({ "type": kind, "path": path }),
            None => json!({ "type": kind }),
        };
        self.put("/linux/namespaces/-", entry)
    }

    /// Takes a namespace out of the list: the container shares the host's.
    ///
    /// # Panics
    /// When the configuration has no list.
    pub fn without_namespace(&mut self, kind: &str) -> &mut Container {
        let list = self.config["linux"]["namespaces"].as_array_mut().unwrap();
        list.retain(|namespace| namespace["type"] != kind);
        self
    }

    /// Lets the runtime run in a mount namespace of its own, after a preparation by the shell.
    pub fn prepared(&mut self, preparation: &str) -> &mut Container {
        self.via.extend(shell_view(preparation));
        self
    }

    /// Gives the process these capabilities in the bounding, effective and permitted sets, and nothing else.
    pub fn capabilities(&mut self, names: &[&str]) -> &mut Container {
        let sets = json!({ "bounding": names, "effective": names, "permitted": names });
        self.put("/process/capabilities", sets)
    }

    /// Maps the container's ids from 0 to a range of the host's, in a user namespace of its own.
    ///
    /// The bundle is opened for the mapped root, as an engine does.
    pub fn user_namespace(&mut self, first: u32, size: u32) -> &mut Container {
        let map = json!([{ "containerID": 0, "hostID": first, "size": size }]);
        self.namespace("user", None);
        self.put("/linux/uidMappings", map.clone());
        self.put("/linux/gidMappings", map)
    }

    /// Gives every directory and file of its own in the root filesystem to an id of the host.
    ///
    /// # Panics
    /// When that fails.
    pub fn give_rootfs_to(&mut self, id: u32) -> &mut Container {
        let rootfs = self.rootfs("");
        give(&rootfs, id);
        self
    }

    /// Writes config.json.
    ///
    /// # Panics
    /// When that fails.
    pub fn write_config(&self) {
        fs::write(self.path("config.json"), serde_json::to_vec_pretty(&self.config).unwrap()).unwrap();
    }

    fn next(&self) -> String {
        format!("cmd{}", self.commands.fetch_add(1, Ordering::Relaxed))
    }

    /// The runtime with these arguments after the global options; `name` is that of the output files.
    pub fn command(&self, name: &str, args: &[&str]) -> Command {
        let mut words = self.via.clone();
        words.push(runtime().path.clone().into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("--root").arg(&self.root);
        command.arg("--log").arg(self.path(&format!("{name}.log"))).args(["--log-format", "json"]);
        command.args(&self.globals).args(args).env(MARK, &self.id).current_dir(&self.directory);
        command
    }

    /// Runs the runtime with these arguments after the global options, to its end.
    pub fn call(&self, args: &[&str]) -> Outcome {
        self.call_with(args, |_| {})
    }

    /// As [`Container::call`], with a change to the command before it starts.
    pub fn call_with(&self, args: &[&str], change: impl FnOnce(&mut Command)) -> Outcome {
        let name = self.next();
        let mut command = self.command(&name, args);
        command.stdin(std::process::Stdio::null());
        change(&mut command);
        let child = outcome::start(&mut command, &self.directory, &name);
        outcome::finish(child, &format!("{command:?}"), &self.directory, &name)
    }

    /// Starts the runtime with these arguments after the global options, and does not wait.
    pub fn launch(&self, args: &[&str]) -> Running<'_> {
        self.launch_with(args, |_| {})
    }

    /// As [`Container::launch`], with a change to the command before it starts.
    pub fn launch_with(&self, args: &[&str], change: impl FnOnce(&mut Command)) -> Running<'_> {
        let name = self.next();
        let mut command = self.command(&name, args);
        command.stdin(std::process::Stdio::null());
        change(&mut command);
        let child = outcome::start(&mut command, &self.directory, &name);
        Running { container: self, child, command: format!("{command:?}"), name }
    }

    fn with_bundle<'a>(&'a self, verb: &'a str, flags: &[&'a str]) -> Vec<&'a str> {
        self.write_config();
        let mut args = vec![verb, "--bundle", self.directory.to_str().unwrap()];
        args.extend(flags);
        args.push(&self.id);
        args
    }

    /// `run` in the foreground, to its end.
    pub fn run(&self, flags: &[&str]) -> Outcome {
        self.call(&self.with_bundle("run", flags))
    }

    /// `run` in the foreground, without waiting.
    pub fn launch_run(&self, flags: &[&str]) -> Running<'_> {
        self.launch(&self.with_bundle("run", flags))
    }

    /// As [`Container::run`], with a change to the command before it starts.
    pub fn run_with(&self, flags: &[&str], change: impl FnOnce(&mut Command)) -> Outcome {
        self.call_with(&self.with_bundle("run", flags), change)
    }

    /// `create`, which may fail.
    pub fn try_create(&self, flags: &[&str]) -> Outcome {
        let pid_file = self.text_path("pid");
        let mut all = vec!["--pid-file", &pid_file];
        all.extend(flags);
        self.call(&self.with_bundle("create", &all))
    }

    /// `create`.
    #[track_caller]
    pub fn create(&self) -> Outcome {
        self.try_create(&[]).ok()
    }

    /// `start`.
    #[track_caller]
    pub fn start(&self) -> Outcome {
        self.call(&["start", &self.id]).ok()
    }

    /// `run --detach`.
    #[track_caller]
    pub fn run_detached(&self) -> Outcome {
        let pid_file = self.text_path("pid");
        self.call(&self.with_bundle("run", &["--detach", "--pid-file", &pid_file])).ok()
    }

    /// Creates and starts a container that sleeps; returns the pid of its init.
    #[track_caller]
    pub fn sleeping(&mut self) -> i32 {
        self.args(&["/probe", "sleep"]);
        self.run_detached();
        self.pid()
    }

    /// Runs the probe as the container's process and reads its report.
    #[track_caller]
    pub fn report(&mut self) -> Report {
        self.report_with(&[])
    }

    /// As [`Container::report`], with flags for `run`.
    #[track_caller]
    pub fn report_with(&mut self, flags: &[&str]) -> Report {
        self.args(&["/probe", "report"]);
        parse_report(&self.run(flags).ok())
    }

    /// Runs a script as the container's process and returns what it wrote.
    #[track_caller]
    pub fn script(&mut self, script: &str) -> String {
        self.shell(script).run(&[]).ok().stdout
    }

    /// Lets the probe attempt one thing and returns `ok` or the name of the error.
    #[track_caller]
    pub fn attempt(&mut self, words: &[&str]) -> String {
        let mut args = vec!["/probe", "try"];
        args.extend(words);
        self.args(&args).run(&[]).ok().stdout.trim().to_owned()
    }

    /// `exec` with flags, to its end.
    pub fn exec(&self, flags: &[&str], args: &[&str]) -> Outcome {
        let mut words = vec!["exec"];
        words.extend(flags);
        words.push(&self.id);
        words.extend(args);
        self.call(&words)
    }

    /// Runs the probe through `exec` and reads its report.
    #[track_caller]
    pub fn exec_report(&self, flags: &[&str]) -> Report {
        parse_report(&self.exec(flags, &["/probe", "report"]).ok())
    }

    /// `state`.
    #[track_caller]
    pub fn state(&self) -> Value {
        self.call(&["state", &self.id]).ok().json()
    }

    /// The `status` of `state`.
    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap_or_default().to_owned()
    }

    /// `kill` with a signal.
    pub fn kill(&self, signal: &str) -> Outcome {
        self.call(&["kill", &self.id, signal])
    }

    /// `delete`.
    pub fn delete(&self) -> Outcome {
        self.call(&["delete", &self.id])
    }

    /// `delete --force`.
    pub fn delete_force(&self) -> Outcome {
        self.call(&["delete", "--force", &self.id])
    }

    /// The pid that `create` or `run --detach` wrote.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        fs::read_to_string(self.path("pid")).unwrap().trim().parse().unwrap()
    }

    /// What the container's init has written so far: the standard output of the command that made it.
    pub fn output(&self) -> String {
        let text = |number| fs::read_to_string(self.path(&format!("cmd{number}.out"))).unwrap_or_default();
        (0..self.commands.load(Ordering::Relaxed)).map(text).find(|text| !text.is_empty()).unwrap_or_default()
    }

    /// Waits until the container's output has a line.
    pub fn await_line(&self, line: &str) {
        outcome::until(&format!("line {line:?} from {}", self.id), || {
            self.output().lines().any(|have| have == line)
        });
    }

    /// Waits for the end of the container's init, whose parent this program has become.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn wait(&self) -> End {
        let pid = Pid::from_raw(self.pid());
        let mut end = None;
        outcome::until(&format!("end of {pid}"), || {
            let status = match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
                Err(Errno::ECHILD) => REAPED.lock().unwrap().remove(&pid).ok_or(Errno::ECHILD),
                status => status,
            };
            end = match status.unwrap() {
                WaitStatus::Exited(_, code) => Some(End::Exited(code)),
                WaitStatus::Signaled(_, signal, _) => Some(End::Killed(signal as i32)),
                _ => None,
            };
            end.is_some()
        });
        end.unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.root.exists() {
            let name = self.next();
            let mut command = self.command(&name, &["delete", "--force", &self.id]);
            command.stdin(std::process::Stdio::null());
            // Never for ever: what it does not remove in time is swept below. Nor is it there any more, where
            // an attack on the runtime's program has succeeded.
            if let Ok(mut child) = outcome::try_start(&mut command, &self.directory, &name) {
                let _ = outcome::end_of(&mut child);
            }
        }
        crate::leaks::sweep(&self.id);
        if std::env::var_os("KEEP_BUNDLES").is_none() {
            rootfs::remove(&self.directory);
        }
    }
}

/// A command on a container that has not ended.
#[derive(Debug)]
pub struct Running<'a> {
    container: &'a Container,
    /// The process.
    pub child: Child,
    command: String,
    name: String,
}

impl Running<'_> {
    /// What it has written so far.
    pub fn output(&self) -> String {
        fs::read_to_string(self.container.path(&format!("{}.out", self.name))).unwrap_or_default()
    }

    /// Waits until it has written a line.
    pub fn await_line(&self, line: &str) {
        outcome::until(&format!("line {line:?} from {}", self.command), || {
            self.output().lines().any(|have| have == line)
        });
    }

    /// Its pid.
    ///
    /// # Panics
    /// Never: pids fit.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Waits for its end.
    pub fn finish(self) -> Outcome {
        outcome::finish(self.child, &self.command, &self.container.directory, &self.name)
    }
}

/// How those ended that [`reap_orphans`] has reaped.
static REAPED: Mutex<BTreeMap<Pid, WaitStatus>> = Mutex::new(BTreeMap::new());

/// Reaps, as a shim does, what runtimes leave to us of processes that entered a container later: a pid
/// namespace does not end before all its processes are reaped. The first process of a PID namespace is left to
/// [`Container::wait`]; one that has joined another's cannot be told from the others, and is kept in [`REAPED`].
fn reap_orphans() {
    loop {
        let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let children = tasks.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
        let children: Vec<String> = children.collect();
        for pid in children.iter().flat_map(|list| list.split_whitespace()) {
            let status = Status::of(pid);
            let inside = status.numbers("NSpid");
            if status.get("State").starts_with('Z') && inside.len() > 1 && inside.last() != Some(&1) {
                let pid = Pid::from_raw(pid.parse().unwrap());
                let mut reaped = REAPED.lock().unwrap();
                if let Ok(status) = waitpid(pid, Some(WaitPidFlag::WNOHANG))
                    && status != WaitStatus::StillAlive
                {
                    reaped.insert(pid, status);
                }
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Reads the probe's report from a command's output.
///
/// # Panics
/// When it is not one.
#[track_caller]
pub fn parse_report(outcome: &Outcome) -> Report {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("no report ({error}): {outcome:#?}"))
}

/// crun refuses a hybrid cgroup layout; it gets a mount namespace that shows it version 1 alone. It makes directories even
/// there, which it never removes: not in the host's `/sys/fs/cgroup`, which has room for few.
fn default_view() -> Vec<OsString> {
    let hybrid = Path::new("/sys/fs/cgroup/unified").exists();
    if runtime().kind == Kind::Crun && hybrid {
        return shell_view("umount /sys/fs/cgroup/unified && mount -t tmpfs tmpfs /sys/fs/cgroup/unified");
    }
    Vec::new()
}

/// A prefix that runs the runtime in a mount namespace of its own, after a preparation by the shell.
pub fn shell_view(preparation: &str) -> Vec<OsString> {
    let script = format!("{preparation} && exec \"$0\" \"$@\"");
    ["unshare", "-m", "sh", "-c", &script].iter().map(OsString::from).collect()
}

/// A prefix that shows the runtime cgroup version 2 alone.
pub fn cgroup2_view() -> Vec<OsString> {
    shell_view("{ [ -e /sys/fs/cgroup/cgroup.controllers ] || mount -t cgroup2 none /sys/fs/cgroup; }")
}

fn give(path: &Path, id: u32) {
    let meta = fs::symlink_metadata(path).unwrap();
    // The linked programs are shared with other bundles and stay as they are.
    if meta.is_file() && std::os::unix::fs::MetadataExt::nlink(&meta) > 1 {
        return;
    }
    std::os::unix::fs::lchown(path, Some(id), Some(id)).unwrap();
    if meta.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), id);
        }
    }
}
