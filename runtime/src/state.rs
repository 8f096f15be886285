//! What is known of a container between two commands: `ROOT/ID/`.
//!
//! Owns the state directory, its lock and its files. A record exists before any process or cgroup does, and is only
//! ever replaced whole, so that whatever a killed runtime leaves behind can be found and removed. The state of a
//! container is what the kernel says of its process, never what a file says. config.json is not read again, but by
//! `checkpoint`, which compares it with what the kernel says.

mod init;
mod journal;
mod lock;
mod record;

pub use init::{Init, init, process_times};
pub use journal::Journal;
pub use lock::{Lock, Released};
pub use record::{ProcessDefaults, Record};

use crate::cgroup;
use crate::sys::Errno;
use crate::sys::fd::{LazyFd, read_short};
use crate::weak;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use record::FORMAT;
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// How each record begins.
const BEGINNING: &[u8] = b"{\"format\":";
/// The container's record, in the last line that is whole. Before it, as long as nothing has changed since it was made: its
/// record when that began, and the directories of control groups, noted before they were made.
const RECORD: &str = "state.json";
/// What `exec` starts from: a line of JSON, and the compiled seccomp filter behind it. One file, since making and removing
/// another one takes longer than writing it.
const EXEC: &str = "exec";
const FIFO: &str = "exec.fifo";

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

/// The FIFO on which the process of a created container waits for its start.
#[derive(Debug)]
pub enum Fifo {
    /// Its writing end: the process waits.
    Waited(File),
    /// Nobody waits on it: the process has ended, or `start` was killed when it had started it.
    Left,
    /// The container was started.
    Gone,
}

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
        match dir.lock_new() {
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

    /// The writing end of the FIFO, if somebody waits on it.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn open_fifo(&self) -> Result<Fifo> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.path.join(FIFO);
        match File::options().write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(&path) {
            Ok(file) => Ok(Fifo::Waited(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Fifo::Gone),
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(Fifo::Left),
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
    if frozen {
        return Ok((Status::Paused, Some(init)));
    }
    Ok(match dir.open_fifo()? {
        Fifo::Waited(_) => (Status::Created, Some(init)),
        // Killed before its start: it has let go of the FIFO, and takes a moment to end.
        Fifo::Left if init.is_ending() => (Status::Stopped, None),
        Fifo::Left | Fifo::Gone => (Status::Running, Some(init)),
    })
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
