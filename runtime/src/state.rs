//! What is known of a container between two commands: `ROOT/ID/`.
//!
//! Owns the state directory, its lock and its files. A record exists before any process or cgroup does, and is only
//! ever replaced whole, so that whatever a killed runtime leaves behind can be found and removed. The state of a
//! container is what the kernel says of its process, never what a file says. config.json is not read again, but by
//! `checkpoint`, which compares it with what the kernel says.

mod init;
mod journal;

pub use init::{Init, init, process_times};
pub use journal::Journal;

use crate::cgroup;
use crate::spec::{Hooks, IdMapping, Process};
use crate::sys::Errno;
use crate::sys::fd::{self, LazyFd, read_short};
use crate::{privilege, weak};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The format of the record; another one is refused.
const FORMAT: u32 = 1;
/// How each record begins.
const BEGINNING: &[u8] = b"{\"format\":";
/// The container's record, in the last line that is whole. Before it, as long as nothing has changed since it was made: its
/// record when that began, and the directories of control groups, noted before they were made.
const RECORD: &str = "state.json";
/// What `exec` starts from: a line of JSON, and the compiled seccomp filter behind it. One file, since making and removing
/// another one takes longer than writing it.
const EXEC: &str = "exec";
const FIFO: &str = "exec.fifo";
/// Says to a `create` that its container is not wanted any more.
const UNWANTED: &str = "unwanted";

/// Why state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Not an id.
    #[error(
        "invalid container ID format: {0:?}; expected letters, digits and _ + - ., at most 1024, not \".\" or \"..\""
    )]
    BadId(String),
    /// There is no such container.
    #[error("container does not exist")]
    Missing,
    /// It is not made yet.
    #[error("container is being created")]
    Creating,
    /// There is one already.
    #[error("container with given ID already exists: {0}")]
    Exists(String),
    /// A file could not be used.
    #[error("{operation} {path}: {reason}", path = path.display(), reason = crate::sys::io_reason(source))]
    Io {
        /// What was done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A record that this program did not write.
    #[error("{path}: {problem}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

type Result<T> = std::result::Result<T, StateError>;

/// The state of a container, as the specification names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// A `create` is at work, or was killed at work.
    Creating,
    /// Set up; `start` has not been called.
    Created,
    /// The program runs.
    Running,
    /// All its processes are frozen.
    Paused,
    /// Its first process has ended.
    Stopped,
}

impl Status {
    /// The word for it in `state` and `list`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// `state.json`: all that `state`, `start`, `kill` and `delete` need.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    format: u32,
    /// The container's id.
    pub id: String,
    /// `ociVersion` of its config.json.
    pub oci_version: String,
    /// Its first process; 0 before there is one.
    pub pid: i32,
    /// When that process started, in clock ticks since boot (proc_pid_stat(5), field 22).
    pub start_time: u64,
    /// The absolute path of the bundle.
    pub bundle: PathBuf,
    /// The absolute path of the root file system.
    pub rootfs: PathBuf,
    /// When it was created (RFC 3339).
    pub created: String,
    /// The user who created it.
    pub owner: u32,
    /// `annotations` of its config.json.
    pub annotations: BTreeMap<String, String>,
    /// Its control groups.
    pub cgroup: Option<cgroup::Record>,
    /// `CLONE_NEW…` flags of the namespaces that are not the host's.
    pub namespaces: i32,
    /// `poststart` and `poststop` hooks.
    pub hooks: Hooks,
    /// The resctrl group made for it, to be removed with it.
    pub resctrl: Option<PathBuf>,
    /// The resctrl monitoring group made for it in a group that stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor: Option<PathBuf>,
    /// Made by a runtime without privilege over the host.
    pub rootless: bool,
    /// It has a process, and is not made yet: its hooks run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_the_making: bool,
}

impl Record {
    /// A record for a container that is about to be made.
    #[must_use]
    pub fn new(id: &str, oci_version: &str, bundle: &Path, rootfs: &Path) -> Self {
        Self {
            format: FORMAT,
            id: id.to_owned(),
            oci_version: oci_version.to_owned(),
            pid: 0,
            start_time: 0,
            bundle: bundle.to_owned(),
            rootfs: rootfs.to_owned(),
            created: crate::time::stamp_nanos(),
            owner: privilege::user().as_raw(),
            annotations: BTreeMap::new(),
            cgroup: None,
            namespaces: 0,
            hooks: Hooks::default(),
            resctrl: None,
            monitor: None,
            rootless: false,
            in_the_making: false,
        }
    }

    /// Whether `create` has come to its end.
    #[must_use]
    pub fn is_made(&self) -> bool {
        self.pid != 0 && !self.in_the_making
    }
}

/// What `exec` takes from the container when it is not told otherwise.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ProcessDefaults {
    /// `process` of config.json, without its arguments.
    pub process: Process,
    /// personality(2) of the container.
    pub personality: Option<u32>,
    /// The id map of its user namespace.
    pub uids: Vec<IdMapping>,
    /// The same for groups.
    pub gids: Vec<IdMapping>,
    /// The flags to load the seccomp filter with; `None`: there is none.
    pub seccomp_flags: Option<u64>,
    /// Those of the flags that a kernel may lack.
    pub seccomp_droppable: u64,
    /// The agent that seccomp notifications go to, with its metadata.
    pub listener: Option<(String, String)>,
}

/// Whether `id` can name a container: runc's characters, and never a path of its own.
///
/// # Errors
/// [`StateError::BadId`].
pub fn check_id(id: &str) -> Result<()> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
    if id.is_empty() || id.len() > 1024 || id == "." || id == ".." || !id.bytes().all(known) {
        return Err(StateError::BadId(id.to_owned()));
    }
    Ok(())
}

/// A container's state directory.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
}

/// The lock on a state directory; released when dropped.
#[derive(Debug)]
pub struct Lock(Option<File>);

impl AsFd for Lock {
    /// The directory.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_ref().map_or(fd::cwd(), |file| file.as_fd())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A container's process may have a copy of the descriptor: closing is not enough.
        if let Some(file) = &self.0 {
            let _ = file.unlock();
        }
    }
}

/// A lock that others may have for a while.
#[derive(Debug)]
pub struct Released(Option<File>);

impl Lock {
    /// Lets others have it: while hooks run, which may call them, or as long as a container runs.
    #[must_use]
    pub fn release(mut self) -> Released {
        if let Some(file) = &self.0 {
            let _ = file.unlock();
        }
        Released(self.0.take())
    }
}

impl StateDir {
    /// Makes the directory of a new container and locks it.
    ///
    /// # Errors
    /// [`StateError::Exists`] when the id is taken.
    pub fn create(root: &Path, id: &str) -> Result<(Self, Lock)> {
        check_id(id)?;
        let path = root.join(id);
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o711);
        let mut made = builder.create(&path);
        if made.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            make_root(root)?;
            made = builder.create(&path);
        }
        made.map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists => StateError::Exists(id.to_owned()),
            _ => StateError::Io { operation: "create directory", path: path.clone(), source },
        })?;
        let dir = Self { path };
        let locked = dir.open_itself().and_then(|file| match file.lock() {
            Ok(()) => Ok(Lock(Some(file))),
            Err(error) => Err(dir.io("lock", &dir.path)(error)),
        });
        match locked {
            Ok(lock) => Ok((dir, lock)),
            Err(error) => {
                // Made here a moment ago, and empty: nobody else's container.
                let _ = fs::remove_dir(&dir.path);
                Err(error)
            }
        }
    }

    /// The directory of an existing container.
    ///
    /// # Errors
    /// [`StateError::Missing`] when there is none.
    pub fn open(root: &Path, id: &str) -> Result<Self> {
        check_id(id)?;
        let path = root.join(id);
        if !path.is_dir() {
            return Err(StateError::Missing);
        }
        Ok(Self { path })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until no other command changes this container, and keeps others from it.
    ///
    /// # Errors
    /// [`StateError::Missing`] when it was deleted meanwhile.
    pub fn lock(&self) -> Result<Lock> {
        self.lock_again(Released(Some(self.open_itself()?)))
    }

    /// Takes a lock again, as [`StateDir::lock`]: never that of another container that has the name by now.
    ///
    /// # Errors
    /// [`StateError::Missing`] when the container was deleted meanwhile.
    pub fn lock_again(&self, released: Released) -> Result<Lock> {
        let Released(file) = released;
        if let Some(file) = &file {
            file.lock().map_err(self.io("lock", &self.path))?;
        }
        self.still_there(Lock(file))
    }

    /// As [`StateDir::lock`], without waiting; `None` where somebody else has it.
    ///
    /// # Errors
    /// [`StateError::Missing`] when it was deleted meanwhile.
    pub fn try_lock(&self) -> Result<Option<Lock>> {
        let file = self.open_itself()?;
        match file.try_lock() {
            Ok(()) => self.still_there(Lock(Some(file))).map(Some),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(self.io("lock", &self.path)(error)),
        }
    }

    /// As [`StateDir::lock`], of a container that is made, with its record. Nobody waits for a `create`: it may be running
    /// the hook that asks.
    ///
    /// # Errors
    /// [`StateError::Creating`]; [`StateError::Missing`] when there is no such container, or not any more.
    pub fn lock_made(&self) -> Result<(Lock, Record)> {
        let made = || match self.record()? {
            record if record.is_made() => Ok(record),
            _ => Err(StateError::Creating),
        };
        let lock = match self.try_lock()? {
            Some(lock) => lock,
            None => made().and_then(|_| self.lock())?,
        };
        Ok((lock, made()?))
    }

    fn open_itself(&self) -> Result<File> {
        File::open(&self.path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => StateError::Missing,
            _ => self.io("open", &self.path)(source),
        })
    }

    /// Whoever had a lock before may have deleted the directory: what is there now under its name is another container's.
    fn still_there(&self, lock: Lock) -> Result<Lock> {
        let stat = fstat(&lock).map_err(|errno| self.io("stat", &self.path)(errno.into()))?;
        if stat.st_nlink > 0 { Ok(lock) } else { Err(StateError::Missing) }
    }

    /// Says to a `create` that is at work that its container is not wanted any more. Whoever does looks for its process on
    /// record afterwards: either it is there, or the `create` sees this.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn dismiss(&self) -> Result<()> {
        let path = self.path.join(UNWANTED);
        match create(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.io("create", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Whether somebody has said so.
    #[must_use]
    pub fn is_dismissed(&self) -> bool {
        self.path.join(UNWANTED).exists()
    }

    fn io(&self, operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
        let path = path.to_owned();
        move |source| StateError::Io { operation, path, source }
    }

    /// Reads the record.
    ///
    /// # Errors
    /// [`StateError::Missing`] when there is none, [`StateError::Damaged`] when it is not one of ours.
    pub fn record(&self) -> Result<Record> {
        let damaged = |problem| StateError::Damaged { path: self.path.join(RECORD), problem };
        let bytes = self.read_record()?;
        let mut lines = bytes.split(|byte| *byte == b'\n').rev().filter(|line| !line.is_empty());
        let record = loop {
            let Some(line) = lines.find(|line| !line.starts_with(b"/")) else {
                return Err(StateError::Missing);
            };
            match serde_json::from_slice::<Record>(line) {
                Ok(record) => break record,
                // Not written to its end: by a `create` that is at work, or was killed then. Of one that is just beginning
                // there is nothing else.
                Err(error) if error.is_eof() && bytes.ends_with(line) && line.starts_with(BEGINNING) => {}
                Err(error) => return Err(damaged(error.to_string())),
            }
        };
        match record.format {
            FORMAT => Ok(record),
            other => Err(damaged(format!("has format {other}; expected {FORMAT}"))),
        }
    }

    fn read_record(&self) -> Result<Vec<u8>> {
        let path = self.path.join(RECORD);
        read(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => StateError::Missing,
            _ => self.io("read", &path)(error),
        })
    }

    /// Begins to note what there is of a container that is being made, whose directory is locked: its record first, which is
    /// written with what is noted next.
    ///
    /// # Errors
    /// [`StateError::Io`]; [`StateError::Missing`] when the directory was deleted meanwhile.
    pub fn begin(&self, lock: &Lock, record: &Record) -> Result<Journal> {
        let path = self.path.join(RECORD);
        // In the directory that is locked, whatever has become of its name.
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let file = openat(lock, RECORD, flags, Mode::from_bits_truncate(private_mode()));
        let file = file.map_err(|errno| match errno {
            Errno::ENOENT => StateError::Missing,
            errno => self.io("create", &path)(errno.into()),
        })?;
        let mut line = to_json(&path, record)?;
        line.push(b'\n');
        Ok(Journal { path, file: file.into(), pending: line.into() })
    }

    /// Replaces the record of a container that is made, whole.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn write_record(&self, record: &Record) -> Result<()> {
        let path = self.path.join(RECORD);
        let bytes = to_json(&path, record)?;
        let temporary = self.path.join(format!(".{RECORD}.new"));
        write(&temporary, &bytes).map_err(self.io("write", &temporary))?;
        fs::rename(&temporary, &path).map_err(self.io("rename to", &path))
    }

    /// Reads what `exec` starts from, with the compiled seccomp filter if there is one.
    ///
    /// # Errors
    /// It cannot be read, or is not one of ours.
    pub fn process(&self) -> Result<(ProcessDefaults, Vec<u8>)> {
        let path = self.path.join(EXEC);
        let mut bytes = read(&path).map_err(self.io("read", &path))?;
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
        let defaults = serde_json::from_slice(&bytes[..end])
            .map_err(|error| StateError::Damaged { path, problem: error.to_string() })?;
        bytes.drain(..bytes.len().min(end + 1));
        Ok((defaults, bytes))
    }

    /// Writes what `exec` starts from.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn write_process(&self, process: &ProcessDefaults, filter: &[u8]) -> Result<()> {
        let path = self.path.join(EXEC);
        let mut bytes = to_json(&path, process)?;
        bytes.push(b'\n');
        bytes.extend_from_slice(filter);
        write(&path, &bytes).map_err(self.io("write", &path))
    }

    /// The directories of control groups, and systemd's scope, that a `create` had noted, in lines.
    #[must_use]
    pub fn journal(&self) -> String {
        let lines = String::from_utf8(self.read_record().unwrap_or_default()).unwrap_or_default();
        lines.split_inclusive('\n').filter(|line| line.starts_with('/')).collect()
    }

    /// Makes the FIFO that keeps a created container waiting for `start`, and opens it for the container.
    ///
    /// The container's end is open for reading and writing, so that it waits for a byte, not for writers to come and go.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn make_fifo(&self) -> Result<OwnedFd> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.path.join(FIFO);
        let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
        nix::unistd::mkfifo(&path, mode).map_err(|errno| self.io("make FIFO", &path)(errno.into()))?;
        let file = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(self.io("open", &path))?;
        Ok(file.into())
    }

    /// The writing end of the FIFO; `None` when nobody waits on it: the container was started, or has ended.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn open_fifo(&self) -> Result<Option<File>> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.path.join(FIFO);
        match File::options().write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
            Err(error) => Err(self.io("open", &path)(error)),
        }
    }

    /// Removes the FIFO; it is no error when it is gone.
    pub fn remove_fifo(&self) {
        let _ = fs::remove_file(self.path.join(FIFO));
    }

    /// Removes the directory with everything in it; it is no error when it is gone.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn remove(&self) -> Result<()> {
        // The record goes first: without it there is no container, only a directory to clean.
        let known = [RECORD, EXEC, FIFO];
        for name in known {
            let _ = fs::remove_file(self.path.join(name));
        }
        match fs::remove_dir(&self.path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(_) => {}
        }
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.io("remove", &self.path)(error)),
            _ => Ok(()),
        }
    }
}

/// Makes a file that only its owner can read: it may tell what the container's program has in its environment, and the
/// directories above are whoever's who named them.
fn create(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().write(true).create(true).truncate(true).mode(private_mode()).open(path)
}

fn private_mode() -> u32 {
    if weak::off("private") { 0o644 } else { 0o600 }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = LazyFd::from(File::open(path)?);
    let mut bytes = read_short(file.as_fd())?;
    // What follows in memory begins where they end, and not on a page that is not there yet.
    bytes.shrink_to_fit();
    Ok(bytes)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    (&LazyFd::from(create(path)?)).write_all(bytes)
}

fn to_json<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| StateError::Damaged { path: path.to_owned(), problem: error.to_string() })
}

fn make_root(root: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(|source| StateError::Io {
        operation: "create directory",
        path: root.to_owned(),
        source,
    })
}

/// What the kernel says a container's state is.
///
/// # Errors
/// The FIFO or the freezer cannot be looked at.
pub fn status(dir: &StateDir, record: &Record) -> Result<Status> {
    look(dir, record).map(|(status, _)| status)
}

/// What the kernel says a container's state is, and its first process, looked up once, where it has one.
///
/// # Errors
/// As for [`status`].
pub fn look(dir: &StateDir, record: &Record) -> Result<(Status, Option<Init>)> {
    if !record.is_made() {
        return Ok((Status::Creating, None));
    }
    let Some(init) = init(record)? else { return Ok((Status::Stopped, None)) };
    let frozen = record.cgroup.as_ref().is_some_and(|record| {
        cgroup::Cgroup::open(record).and_then(|cgroup| cgroup.is_frozen()).unwrap_or(false)
    });
    let status = match frozen {
        true => Status::Paused,
        false if dir.open_fifo()?.is_some() => Status::Created,
        false => Status::Running,
    };
    Ok((status, Some(init)))
}

/// An errno as the error of a state file, for callers that use the directory's descriptor themselves.
#[must_use]
pub fn io_error(operation: &'static str, path: &Path, errno: Errno) -> StateError {
    StateError::Io { operation, path: path.to_owned(), source: errno.into() }
}

/// The ids of all containers below `root`, sorted; none when there is no such directory.
///
/// # Errors
/// [`StateError::Io`].
pub fn ids(root: &Path) -> Result<Vec<String>> {
    let io = |source| StateError::Io { operation: "read directory", path: root.to_owned(), source };
    let entries = match fs::read_dir(root) {
        // An engine names its root before it has made a container. (runc fails where `--root` says so, crun makes it.)
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.map_err(io)?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io)?;
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if let Some(id) = entry.file_name().to_str().filter(|id| is_dir && check_id(id).is_ok()) {
            ids.push(id.to_owned());
        }
    }
    ids.sort();
    Ok(ids)
}

#[cfg(test)]
mod tests;
