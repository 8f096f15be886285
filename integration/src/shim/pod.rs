//! A shim with its containers, in directories and a namespace of its own.

use super::client::{Answer, Client, patience};
use super::fifo::{Output, Stdio};
use super::sink::Sink;
use super::wire::{Message, Writer};
use crate::{config, leaks, outcome, rootfs, runtime};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output as Ended, Stdio as Redirect};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const OURS: &str = "containerd-shim-corten-v2";

/// The shim under test.
pub fn program() -> PathBuf {
    std::env::var_os("SHIM").map_or_else(|| runtime::built(OURS), PathBuf::from)
}

/// Whether it is Corten's: another build of it, maybe.
pub fn is_ours() -> bool {
    program().file_name().is_some_and(|name| name == OURS)
}

/// Whether it is a debug build of Corten's: one that can be asked to be at fault.
pub fn can_be_weakened() -> bool {
    std::env::var_os("SHIM").is_none() && cfg!(debug_assertions)
}

/// The runtime that scripts go on to be: `SHIM_RUNTIME`, or runc.
pub fn real_runtime() -> String {
    std::env::var("SHIM_RUNTIME").unwrap_or_else(|_| "runc".to_owned())
}

/// One container of a pod: its bundle and configuration.
#[derive(Debug, Clone)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its bundle.
    pub bundle: PathBuf,
    /// The shim's log, which containerd keeps open.
    log: Arc<File>,
}

impl Container {
    /// What the shim has logged since the last time.
    pub fn log(&self) -> String {
        let mut text = [0; 65536];
        let count = (&*self.log).read(&mut text).unwrap_or(0);
        String::from_utf8_lossy(&text[..count]).into_owned()
    }
}

/// A shim and a connection to it.
pub struct Pod {
    /// The events it publishes.
    pub sink: Sink,
    /// The connection of containerd.
    pub client: Client,
    /// The path of the shim's socket.
    pub socket: PathBuf,
    /// The containers, the first one being that of which the shim was started.
    pub containers: Vec<Container>,
    name: String,
    directory: PathBuf,
    /// The runtime options of every Create.
    pub options: Writer,
}

impl Pod {
    /// A shim for a container that runs `args`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn new(args: &[&str]) -> Pod {
        Pod::with(args, |_| {})
    }

    /// As [`Pod::new`], with a configuration that `edit` has changed.
    ///
    /// # Panics
    /// When it does not start.
    pub fn with(args: &[&str], edit: impl FnOnce(&mut Value)) -> Pod {
        Pod::make(args, edit, &[])
    }

    /// As [`Pod::new`], with variables in the shim's environment.
    ///
    /// # Panics
    /// When it does not start.
    pub fn with_variables(args: &[&str], variables: &[(&str, &str)]) -> Pod {
        Pod::make(args, |_| {}, variables)
    }

    fn make(args: &[&str], edit: impl FnOnce(&mut Value), variables: &[(&str, &str)]) -> Pod {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("cits-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let directory = rootfs::base().join(&name);
        fs::create_dir_all(&directory).unwrap();
        let sink = Sink::listen(&directory.join("containerd.sock.ttrpc"));
        let first = make_bundle(&directory, &name, &format!("{name}-a"), args, edit);
        let mut start = start_command(&directory, &name, &first, &[]);
        let output = start.envs(variables.iter().copied()).output().unwrap();
        let socket = address_of(&output);
        let client = Client::connect(&socket).unwrap();
        let options = options(&directory, &std::env::var("SHIM_RUNTIME").unwrap_or_default());
        Pod { sink, client, socket, containers: vec![first], name, directory, options }
    }

    /// The id of the first container.
    pub fn id(&self) -> String {
        self.containers[0].id.clone()
    }

    /// The directory of all its files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// containerd's namespace.
    pub fn namespace(&self) -> &str {
        &self.name
    }

    /// A further container of the pod, for which `start` is called as containerd does; returns its number.
    ///
    /// # Panics
    /// When another shim answers.
    pub fn add(&mut self, args: &[&str], edit: impl FnOnce(&mut Value)) -> usize {
        let id = format!("{}-{}", self.name, (b'a' + u8::try_from(self.containers.len()).unwrap()) as char);
        let container = make_bundle(&self.directory, &self.name, &id, args, edit);
        let output = start_command(&self.directory, &self.name, &container, &[]).output().unwrap();
        assert_eq!(address_of(&output), self.socket, "one shim serves the whole pod");
        self.containers.push(container);
        self.containers.len() - 1
    }

    /// The command that starts a shim for a container, with arguments between the flags and `start`.
    pub fn start_command(&self, container: &Container, more: &[&str]) -> Command {
        start_command(&self.directory, &self.name, container, more)
    }

    /// Runs `delete` as containerd does for a shim that is gone.
    ///
    /// # Panics
    /// When the program cannot be run.
    pub fn delete_command(&self, container: &Container) -> Ended {
        let mut command = shim_command(&self.directory, &self.name, container);
        command.args(["-bundle", &container.bundle.to_string_lossy(), "delete"]);
        command.output().unwrap()
    }

    /// The pid of the shim's daemon.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn shim_pid(&mut self) -> i32 {
        let id = self.id();
        let answer = self.client.call("Connect", &Writer::new().text(1, &id)).unwrap();
        i32::try_from(answer.number(1)).unwrap()
    }

    /// Connects to the shim, which has been stopped, until the next connection would have to wait.
    ///
    /// # Panics
    /// When connections fail in another way.
    pub fn fill_backlog(&self) -> Vec<OwnedFd> {
        let mut connections = Vec::new();
        let address = UnixAddr::new(&self.socket).unwrap();
        loop {
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
            match connect(socket.as_raw_fd(), &address) {
                Ok(()) => connections.push(socket),
                Err(error) => {
                    assert_eq!(error, nix::errno::Errno::EAGAIN);
                    return connections;
                }
            }
        }
    }

    /// Puts a script in the runtime's place, and returns where it is: `faults`, in shell with `$verb` set to
    /// the command, then the real runtime with the same words.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn script_runtime(&mut self, faults: &str) -> PathBuf {
        let path = self.directory.join("runtime.sh");
        let script = format!(
            "#!/bin/sh\nfor verb in \"$@\"; do case $verb in\n\
             create|start|exec|kill|delete|pause|resume|update|ps|checkpoint|restore) break;; esac; done\n\
             {faults}\nexec {} \"$@\"\n",
            real_runtime()
        );
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self.options = options(&self.directory, &path.to_string_lossy());
        path
    }

    /// Sends Create for a container.
    pub fn send_create(&mut self, number: usize, stdio: &Stdio) -> u32 {
        let container = self.containers[number].clone();
        let request = self.create_request(&container, stdio);
        self.client.send("Create", &request)
    }

    /// A Create request.
    pub fn create_request(&self, container: &Container, stdio: &Stdio) -> Writer {
        Writer::new()
            .text(1, &container.id)
            .text(2, &container.bundle.to_string_lossy())
            .number(4, stdio.terminal.into())
            .text(5, &stdio.stdin)
            .text(6, &stdio.stdout)
            .text(7, &stdio.stderr)
            .message(10, &self.options)
    }

    /// Create; returns the pid.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn create(&mut self, number: usize, stdio: &Stdio) -> i32 {
        let stream = self.send_create(number, stdio);
        let answer = self.client.answer(stream).expect("Create");
        i32::try_from(answer.number(1)).unwrap()
    }

    /// Create and Start with no streams; returns the pid.
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    pub fn run(&mut self, number: usize) -> i32 {
        let pid = self.create(number, &Stdio::default());
        self.start(number, "").expect("Start");
        pid
    }

    /// A call that takes a container's and an exec id.
    #[track_caller]
    pub fn call(&mut self, method: &str, number: usize, exec: &str) -> Answer {
        let request = self.named(number, exec);
        self.client.call(method, &request)
    }

    /// A request with container and exec id.
    pub fn named(&self, number: usize, exec: &str) -> Writer {
        Writer::new().text(1, &self.containers[number].id).text(2, exec)
    }

    /// Start.
    #[track_caller]
    pub fn start(&mut self, number: usize, exec: &str) -> Answer {
        self.call("Start", number, exec)
    }

    /// Kill with a signal, of all processes or not.
    #[track_caller]
    pub fn kill(&mut self, number: usize, exec: &str, signal: u64, all: bool) -> Answer {
        let request = self.named(number, exec).number(3, signal).number(4, all.into());
        self.client.call("Kill", &request)
    }

    /// Wait; returns the exit status.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn wait(&mut self, number: usize, exec: &str) -> u64 {
        let answer = self.call("Wait", number, exec).expect("Wait");
        assert!(answer.message(2).number(1) > 1_600_000_000, "the time of the exit");
        answer.number(1)
    }

    /// The state's number: 1 created, 2 running, 3 stopped, 4 paused, 5 pausing.
    ///
    /// # Panics
    /// When State fails.
    #[track_caller]
    pub fn state(&mut self, number: usize, exec: &str) -> u64 {
        self.call("State", number, exec).expect("State").number(4)
    }

    /// Announces a process that runs `args`.
    #[track_caller]
    pub fn exec(&mut self, number: usize, exec: &str, args: &[&str], stdio: &Stdio) -> Answer {
        let request = self.exec_request(number, exec, args, stdio);
        self.client.call("Exec", &request)
    }

    /// An Exec request.
    pub fn exec_request(&self, number: usize, exec: &str, args: &[&str], stdio: &Stdio) -> Writer {
        let mut process = config::plain()["process"].clone();
        process["args"] = json!(args);
        let spec = Writer::any(
            "types.containerd.io/opencontainers/runtime-spec/1/Process",
            process.to_string().as_bytes(),
        );
        self.named(number, exec)
            .number(3, stdio.terminal.into())
            .text(4, &stdio.stdin)
            .text(5, &stdio.stdout)
            .text(6, &stdio.stderr)
            .message(7, &spec)
    }

    /// One process in the first container from its announcement to its deletion: by turns with FIFOs, with a
    /// terminal and with neither.
    ///
    /// # Panics
    /// When any of it fails.
    #[track_caller]
    pub fn exec_once(&mut self, number: usize) {
        let name = format!("e{number}");
        let stdio = match number % 3 {
            0 => Stdio::fifos(&self.directory, &name),
            1 => Stdio::terminal(&self.directory, &name),
            _ => Stdio::default(),
        };
        self.exec(0, &name, &["echo", "out"], &stdio).unwrap();
        let outputs = [&stdio.stdout, &stdio.stderr].map(|path| (!path.is_empty()).then(|| Output::of(path)));
        self.start(0, &name).unwrap();
        if !stdio.stdin.is_empty() {
            drop(super::fifo::writer(&stdio.stdin));
        }
        assert_eq!(self.wait(0, &name), 0);
        self.call("Delete", 0, &name).unwrap();
        for output in outputs.into_iter().flatten() {
            output.end();
        }
        for path in [&stdio.stdin, &stdio.stdout, &stdio.stderr] {
            let _ = fs::remove_file(path);
        }
    }

    /// Kills and deletes a container.
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    pub fn remove(&mut self, number: usize) {
        let _ended = self.kill(number, "", 9, true);
        self.wait(number, "");
        self.call("Delete", number, "").expect("Delete");
    }

    /// Shutdown; waits until the shim is gone.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn shutdown(&mut self) {
        let pid = self.shim_pid();
        let id = self.id();
        self.client.call("Shutdown", &Writer::new().text(1, &id)).expect("Shutdown");
        until("the shim ends", || !crate::host::alive(pid));
        assert!(!self.socket.exists(), "the socket is removed");
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // By its socket's name in the table of descriptors nobody else can be meant.
        let ours = |pid: &i32| {
            let words = crate::proc::nul_separated(&format!("/proc/{pid}/cmdline"));
            words.contains(&self.name)
        };
        for pid in crate::proc::pids().into_iter().filter(ours) {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        for container in &self.containers {
            leaks::sweep(&container.id);
        }
        // What the containers' cgroups were in.
        leaks::sweep(&self.name);
        let _ = fs::remove_file(&self.socket);
        rootfs::remove(&self.directory);
    }
}

/// Waits until something holds.
///
/// # Panics
/// When it does not come to hold.
#[track_caller]
pub fn until(what: &str, holds: impl FnMut() -> bool) {
    outcome::until_within(patience(), what, holds);
}

/// The runtime options of a pod: its own state directory, and a runtime; Corten's own when that is empty.
fn options(directory: &Path, binary: &str) -> Writer {
    let root = directory.join("state").to_string_lossy().into_owned();
    let options = Writer::new().text(6, binary).text(7, &root);
    Writer::any("containerd.runc.v1.Options", &options.done())
}

fn make_bundle(
    directory: &Path,
    group: &str,
    id: &str,
    args: &[&str],
    edit: impl FnOnce(&mut Value),
) -> Container {
    let bundle = directory.join(id);
    fs::create_dir_all(bundle.join("rootfs")).unwrap();
    fs::create_dir(bundle.join("work")).unwrap(); // containerd's is a link to a place that survives a restart of the machine
    rootfs::populate(&bundle.join("rootfs"));
    let mut config = config::plain();
    config["process"]["args"] = json!(args);
    config["annotations"] = json!({ "io.kubernetes.cri.sandbox-id": group });
    config["linux"]["cgroupsPath"] = json!(format!("/{group}-pod/{id}"));
    edit(&mut config);
    fs::write(bundle.join("config.json"), config.to_string()).unwrap();
    let log = bundle.join("log");
    nix::unistd::mkfifo(&log, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let mut open = OpenOptions::new();
    let log = open.read(true).write(true).custom_flags(libc::O_NONBLOCK).open(log).unwrap();
    Container { id: id.to_owned(), bundle, log: Arc::new(log) }
}

fn shim_command(directory: &Path, namespace: &str, container: &Container) -> Command {
    let mut command = Command::new(program());
    let address = directory.join("containerd.sock");
    command
        .current_dir(&container.bundle)
        .env("TTRPC_ADDRESS", directory.join("containerd.sock.ttrpc"))
        .args(["-namespace", namespace, "-address", &address.to_string_lossy()])
        .args(["-publish-binary", "/usr/bin/containerd", "-id", &container.id]);
    command
}

fn start_command(directory: &Path, namespace: &str, container: &Container, more: &[&str]) -> Command {
    let mut command = shim_command(directory, namespace, container);
    command.args(more).arg("start").stdin(Redirect::null());
    command
}

/// Gives a command its standard input and returns what it prints.
///
/// # Panics
/// When it cannot be run.
pub fn output_with_input(mut command: Command, input: &[u8]) -> Ended {
    command.stdin(Redirect::piped()).stdout(Redirect::piped()).stderr(Redirect::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// The socket in the plain or JSON answer of `start`.
///
/// # Panics
/// When there is none.
#[track_caller]
pub fn address_of(output: &Ended) -> PathBuf {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "start: {} {text}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "start must not write to stderr: {:?}", output.stderr);
    let address = match serde_json::from_str::<Value>(&text) {
        Ok(json) => json["address"].as_str().unwrap().to_owned(),
        Err(_) => text.into_owned(),
    };
    PathBuf::from(address.strip_prefix("unix://").expect("an address with unix://"))
}

/// What `delete` prints: pid, exit status and time.
///
/// # Panics
/// When it is no such message.
#[track_caller]
pub fn deleted(output: &Ended) -> Message {
    assert!(output.status.success(), "delete: {}", String::from_utf8_lossy(&output.stderr));
    Message::read(&output.stdout).expect("a DeleteResponse")
}
