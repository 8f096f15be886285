//! Calling the OCI runtime: its command line, its errors, and a deadline for every call.
//!
//! Corten's runtime is part of this program. What enters a container (create, exec, restore) runs as this
//! program executed again, with a clean address space; what only changes files or state runs in a fork; what
//! is one system call happens right here. `BinaryName` puts another runtime in its place, which is called
//! with the command line that go-runc gives runc.

mod call;
#[cfg(any(test, fuzzing))]
pub(crate) use call::fuzz_log;

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use runtime::state::{Record, StateDir, StateError};

use crate::cgroup::Cgroup;
use crate::options::RuntimeOptions;
use crate::stdio::ProcessEnds;
use crate::ttrpc::{Code, Status};

use call::Call;

/// The directory of runtime state when no other is asked for; the namespace is appended.
pub const DEFAULT_ROOT: &str = "/run/containerd/runc";

/// What is asked for by Resume.
const RESUME: &str = "OCI runtime resume failed";

/// How long runtimes may take. A call with a deadline of its own is given no more than that.
pub mod limits {
    use std::time::Duration;

    /// Starting a process: hooks run in this time.
    pub const START: Duration = Duration::from_secs(300);
    /// Writing or reading a checkpoint.
    pub const CHECKPOINT: Duration = Duration::from_secs(900);
    /// Everything that only asks the kernel for something.
    pub const CONTROL: Duration = Duration::from_secs(10);
    /// Removing what is left of a container.
    pub const DELETE: Duration = Duration::from_secs(10);
}

/// Why a runtime did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such program.
    #[error("{what}: exec: {program:?}: executable file not found in $PATH")]
    NotFound {
        /// What was asked for.
        what: &'static str,
        /// The runtime.
        program: PathBuf,
    },
    /// The program could not be started or waited for.
    #[error("{what}: {program}: {source}", program = program.display())]
    Process {
        /// What was asked for.
        what: &'static str,
        /// The runtime.
        program: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The runtime said no; the message is its own.
    #[error("{what}: {message}")]
    Failed {
        /// What was asked for.
        what: &'static str,
        /// The last error in its log, else what it printed.
        message: String,
    },
    /// The runtime did not answer.
    #[error("{what}: the runtime did not end within {limit:?} and was killed")]
    TimedOut {
        /// What was asked for.
        what: &'static str,
        /// How long it was given.
        limit: Duration,
    },
}

impl Error {
    /// The runtime does not know the container (any more).
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Failed { message, .. } if message.contains("does not exist"))
    }

    /// As callers of Kill expect it: they treat "not found" as success.
    pub fn of_kill(self) -> Status {
        let text = self.to_string();
        let lower = text.to_lowercase();
        let ended = ["process already finished", "container not running", "no such process"];
        if ended.iter().any(|phrase| lower.contains(phrase)) {
            Status::not_found("process already finished")
        } else if self.is_gone() {
            Status::not_found("no such container")
        } else {
            self.into()
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let code = match error {
            Error::TimedOut { .. } => Code::DeadlineExceeded,
            _ => Code::Unknown,
        };
        Self::new(code, error.to_string())
    }
}

/// How the runtime shall take up a checkpoint.
#[derive(Clone, Debug)]
pub struct Restore {
    /// The checkpoint.
    pub image: PathBuf,
    /// The checkpoint that it continues, if any.
    pub parent: Option<PathBuf>,
    /// Where criu works.
    pub work: PathBuf,
}

/// What a checkpoint shall contain, and what happens to the container.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    /// Where it is written.
    pub image: PathBuf,
    /// Where criu works.
    pub work: PathBuf,
    /// The checkpoint that it continues, if any.
    pub parent: Option<PathBuf>,
    /// Let the container go on.
    pub leave_running: bool,
    /// Open TCP connections too.
    pub open_tcp: bool,
    /// Unix sockets whose other end is outside too.
    pub external_sockets: bool,
    /// A terminal too.
    pub terminal: bool,
    /// File locks too.
    pub file_locks: bool,
    /// Namespaces to be made anew.
    pub empty_namespaces: Vec<String>,
    /// What happens to cgroups: soft, full, strict or ignore.
    pub cgroups_mode: String,
}

/// A process that is about to be started: where its pid is written and what it is connected to.
pub struct Launch<'a> {
    /// The runtime writes the pid there.
    pub pid_file: &'a Path,
    /// The runtime sends the terminal there.
    pub console_socket: Option<&'a Path>,
    /// The process's stdio.
    pub ends: ProcessEnds,
}

impl Launch<'_> {
    /// What the process inherits from the runtime. One with a terminal inherits nothing.
    fn streams(self) -> Option<ProcessEnds> {
        self.console_socket.is_none().then_some(self.ends)
    }
}

/// The name under which this program is the runtime and not the shim.
pub const BUILT_IN: &str = "corten";

/// Which runtime it is.
enum Program {
    /// Corten's own.
    BuiltIn,
    /// A path, or a name on PATH.
    Named(PathBuf),
}

impl Program {
    fn path(&self) -> PathBuf {
        match self {
            Self::BuiltIn => PathBuf::from(BUILT_IN),
            Self::Named(path) => path.clone(),
        }
    }
}

/// The runtime of one container.
pub struct Runtime {
    program: Program,
    /// The words that come before all others.
    global: Vec<OsString>,
    root: PathBuf,
    bundle: PathBuf,
    no_pivot: bool,
    no_new_keyring: bool,
    /// The soft limit of open files that children get back.
    open_files: Option<u64>,
}

impl Runtime {
    /// The runtime that `options` name, for a container of `namespace` with this bundle.
    pub fn new(options: &RuntimeOptions, namespace: &str, bundle: &Path, open_files: Option<u64>) -> Self {
        let root = if options.root.is_empty() { DEFAULT_ROOT } else { &options.root };
        let root = Path::new(root).join(namespace);
        let mut global: Vec<OsString> = vec!["--root".into(), root.clone().into()];
        if options.systemd_cgroup {
            global.push("--systemd-cgroup".into());
        }
        if !options.criu_path.is_empty() {
            global.extend(["--criu".into(), OsString::from(&options.criu_path)]);
        }
        Self {
            program: match options.binary_name.as_str() {
                "" => Program::BuiltIn,
                name if is_this_program(Path::new(name)) => Program::BuiltIn,
                name => Program::Named(PathBuf::from(name)),
            },
            global,
            root,
            bundle: bundle.to_owned(),
            no_pivot: options.no_pivot_root,
            no_new_keyring: options.no_new_keyring,
            open_files,
        }
    }

    /// Where the runtime keeps what it knows of a container.
    pub fn state_dir(&self, id: &str) -> PathBuf {
        self.root.join(id)
    }

    /// Whether it is Corten's own, whose containers can be acted on directly.
    pub fn is_built_in(&self) -> bool {
        matches!(self.program, Program::BuiltIn)
    }

    /// The control groups of a container whose first process is `pid`.
    pub fn cgroup(&self, id: &str, pid: u32) -> std::io::Result<Cgroup> {
        if !self.is_built_in() {
            return crate::cgroup::of_process(pid);
        }
        let record = self.record(id).map_err(std::io::Error::other)?.cgroup.unwrap_or_default();
        Cgroup::open(&record).map_err(std::io::Error::other)
    }

    /// Whether what is kept of a container was not written by Corten's runtime.
    pub fn is_anothers(&self, id: &str) -> bool {
        matches!(self.record(id), Err(StateError::Damaged { .. }))
    }

    fn record(&self, id: &str) -> Result<Record, StateError> {
        StateDir::open(&self.root, id).and_then(|dir| dir.record())
    }

    fn call(&self, what: &'static str, limit: Duration) -> Call<'_> {
        Call::new(self, what, limit)
    }

    fn entering(&self, what: &'static str, limit: Duration) -> Call<'_> {
        self.call(what, limit).enters()
    }

    /// `create`: the container exists and its process waits to be started.
    pub async fn create(&self, id: &str, launch: Launch<'_>, limit: Duration) -> Result<(), Error> {
        let mut call = self.entering("OCI runtime create failed", limit.min(limits::START));
        call.arg("create").arg("--bundle").arg(&self.bundle);
        self.launch_args(&mut call, &launch);
        self.isolation_args(&mut call);
        call.arg(id).stdio(launch.streams()).run().await
    }

    /// `start`: the container's process runs its program.
    pub async fn start(&self, id: &str, limit: Duration) -> Result<(), Error> {
        let mut call = self.call("OCI runtime start failed", limit.min(limits::START));
        call.arg("start").arg(id).run().await
    }

    /// `exec`: a further process with the OCI description `process`, a JSON text.
    pub async fn exec(
        &self,
        id: &str,
        process: &Path,
        launch: Launch<'_>,
        limit: Duration,
    ) -> Result<(), Error> {
        let mut call = self.entering("OCI runtime exec failed", limit.min(limits::START));
        call.arg("exec").arg("--process").arg(process);
        if let Some(socket) = launch.console_socket {
            call.arg("--console-socket").arg(socket);
        }
        call.arg("--detach").arg("--pid-file").arg(launch.pid_file);
        call.arg(id).stdio(launch.streams()).run().await
    }

    /// `restore`: the container goes on from a checkpoint.
    pub async fn restore(
        &self,
        id: &str,
        restore: &Restore,
        launch: Launch<'_>,
        limit: Duration,
    ) -> Result<(), Error> {
        let mut call = self.entering("OCI runtime restore failed", limit.min(limits::CHECKPOINT));
        call.arg("restore").arg("--image-path").arg(&restore.image).arg("--work-path").arg(&restore.work);
        if let Some(parent) = &restore.parent {
            call.arg("--parent-path").arg(parent);
        }
        call.arg("--detach").arg("-no-subreaper").arg("--bundle").arg(&self.bundle);
        self.launch_args(&mut call, &launch);
        if self.no_pivot {
            call.arg("--no-pivot");
        }
        call.arg(id).stdio(launch.streams()).run().await
    }

    fn launch_args(&self, call: &mut Call<'_>, launch: &Launch<'_>) {
        call.arg("--pid-file").arg(launch.pid_file);
        if let Some(socket) = launch.console_socket {
            call.arg("--console-socket").arg(socket);
        }
    }

    fn isolation_args(&self, call: &mut Call<'_>) {
        if self.no_pivot {
            call.arg("--no-pivot");
        }
        if self.no_new_keyring {
            call.arg("--no-new-keyring");
        }
    }

    /// `kill`: sends a signal to the container's first process, or with `all` to every process.
    pub async fn kill(&self, id: &str, signal: u32, all: bool, limit: Duration) -> Result<(), Error> {
        let mut call = self.call("OCI runtime kill failed", limit.min(limits::CONTROL));
        call.arg("kill");
        if all {
            call.arg("--all");
        }
        call.arg(id).arg(signal.to_string()).run().await
    }

    /// `delete`: removes what the runtime keeps of a container; with `force` also one that runs.
    pub async fn delete(&self, id: &str, force: bool, limit: Duration) -> Result<(), Error> {
        let mut call = self.call("failed to delete task", limit.min(limits::DELETE));
        call.arg("delete");
        if force {
            call.arg("--force");
        }
        call.arg(id).run().await
    }

    /// `pause`.
    pub async fn pause(&self, id: &str, limit: Duration) -> Result<(), Error> {
        self.call("OCI runtime pause failed", limit.min(limits::CONTROL)).arg("pause").arg(id).run().await
    }

    /// `resume`.
    pub async fn resume(&self, id: &str, cgroup: Option<&Cgroup>, limit: Duration) -> Result<(), Error> {
        match cgroup.filter(|_| self.is_built_in()) {
            Some(cgroup) => thaw(cgroup),
            None => self.call(RESUME, limit.min(limits::CONTROL)).arg("resume").arg(id).run().await,
        }
    }

    /// `update`: new limits, as the JSON text of an OCI `LinuxResources`.
    pub async fn update(&self, id: &str, resources: &[u8], limit: Duration) -> Result<(), Error> {
        let mut call = self.call("OCI runtime update failed", limit.min(limits::CONTROL));
        call.arg("update").arg("--resources=-").arg(id).stdin_text(resources)?.run().await
    }

    /// `ps`: the pids of all processes.
    pub async fn pids(&self, id: &str, cgroup: Option<&Cgroup>, limit: Duration) -> Result<Vec<u32>, Error> {
        let what = "OCI runtime ps failed";
        if let Some(cgroup) = cgroup.filter(|_| self.is_built_in()) {
            let pids =
                cgroup.processes().map_err(|error| Error::Failed { what, message: error.to_string() })?;
            return Ok(pids.into_iter().map(i32::cast_unsigned).collect());
        }
        let mut call = self.call(what, limit.min(limits::CONTROL));
        let text = call.arg("ps").arg("--format").arg("json").arg(id).output().await?;
        // Go writes an empty list as null.
        serde_json::from_slice::<Option<Vec<u32>>>(&text)
            .map(Option::unwrap_or_default)
            .map_err(|error| Error::Failed { what, message: format!("the list of processes: {error}") })
    }

    /// `checkpoint`.
    pub async fn checkpoint(&self, id: &str, wish: &Checkpoint, limit: Duration) -> Result<(), Error> {
        let mut call = self.entering("OCI runtime checkpoint failed", limit.min(limits::CHECKPOINT));
        call.arg("checkpoint").arg("--image-path").arg(&wish.image).arg("--work-path").arg(&wish.work);
        if let Some(parent) = &wish.parent {
            call.arg("--parent-path").arg(parent);
        }
        let flags = [
            (wish.open_tcp, "--tcp-established"),
            (wish.external_sockets, "--ext-unix-sk"),
            (wish.terminal, "--shell-job"),
            (wish.file_locks, "--file-locks"),
            (wish.leave_running, "--leave-running"),
        ];
        for (_, flag) in flags.iter().filter(|(wanted, _)| *wanted) {
            call.arg(flag);
        }
        if !wish.cgroups_mode.is_empty() {
            call.arg("--manage-cgroups-mode").arg(&wish.cgroups_mode);
        }
        for namespace in &wish.empty_namespaces {
            call.arg("--empty-ns").arg(namespace);
        }
        call.arg(id).run().await
    }

    /// `features`: what the runtime can do, as the JSON text of the OCI features document.
    pub async fn features(&self, limit: Duration) -> Result<Vec<u8>, Error> {
        self.call("OCI runtime features failed", limit).bare().arg("features").output().await
    }
}

/// Lets the processes of frozen control groups go on: one write to a file, which waits for nobody.
pub fn thaw(cgroup: &Cgroup) -> Result<(), Error> {
    cgroup.thaw().map_err(|error| Error::Failed { what: RESUME, message: error.to_string() })
}

/// Whether a path leads to the file that this process was executed from: Docker before 24 can select a
/// runtime by its path only, and a link named `corten` to this program is one.
fn is_this_program(path: &Path) -> bool {
    let identity = |path: &Path| path.metadata().map(|meta| (meta.dev(), meta.ino()));
    match (identity(path), identity(Path::new("/proc/self/exe"))) {
        (Ok(named), Ok(own)) => named == own,
        _ => false,
    }
}

/// A file in memory that holds `text`, to be read from its beginning.
fn text_file(text: &[u8]) -> std::io::Result<OwnedFd> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use std::io::{Seek, Write};
    let mut file = std::fs::File::from(memfd_create(c"corten", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(text)?;
    file.rewind()?;
    Ok(file.into())
}
