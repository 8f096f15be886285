//! The recorder: the agent of a container whose filter asks about every system call. It lets each one happen, and
//! remembers it.
//!
//! A process of its own, beside the command that runs the container: neither waits for the other, so a container can be
//! made, started and looked after while its calls are answered. To the rest of this program it is an agent like any
//! other, behind a socket; an `exec` into the container while it is recorded finds it there as well.
//!
//! The kernel's way to ask has one flaw: a signal with a handler that comes in the moment before the recorder looks makes
//! the call return EINTR, whichever call it is, unless the handler was set with SA_RESTART. What would not survive that is
//! not watched (`seccomp_profiles::record::UNWATCHED`). A tracer would not have the flaw, but be in the way of debuggers in
//! the container and of every process that execve(2) changes; a log has no arguments, and loses lines.
//!
//! What it is told by the container is a number and six words a call. It never looks at the container's memory, and what
//! it remembers is bounded by the number of system calls that there are.

use super::error::{Error, OrError, Result, file_error};
use crate::sys::clone::{self, Forked};
use crate::sys::{Errno, fd, seccomp};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use seccomp_profiles::record::Recorder;
use seccomp_profiles::{Arch, Call, Seccomp};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// What was seen.
#[derive(Debug, Serialize, Deserialize)]
pub struct Recording {
    /// The smallest profile that allows it.
    pub profile: Seccomp,
    /// How many calls there were.
    pub calls: u64,
    /// Calls that a profile cannot name: architecture and number.
    pub nameless: Vec<(String, u32)>,
}

/// The message at the end of a recorder: what was seen, or why it gave up.
type Message = std::result::Result<Recording, String>;

/// The longest message of the runtime to an agent that is read; what it says is not needed here.
const MAX_STATE: usize = 64 << 10;

/// A recorder that waits for containers.
#[derive(Debug)]
pub struct Agent {
    directory: Directory,
    /// Closed when there is nothing more to come.
    work: OwnedFd,
    result: File,
}

/// Where the socket is: a directory that nobody else can enter.
#[derive(Debug)]
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Agent {
    /// Starts a recorder.
    ///
    /// # Errors
    /// No socket or process can be made.
    pub fn start() -> Result<Self> {
        let template = std::env::temp_dir().join("corten-record-XXXXXX");
        let path = nix::unistd::mkdtemp(&template)
            .or_error(|| format!("create a directory in {}", std::env::temp_dir().display()))?;
        let directory = Directory(path);
        let path = directory.0.join("socket");
        let socket = UnixListener::bind(&path).map_err(file_error("listen on", &path))?;
        let pipe = || nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).or_error(|| "create a pipe".into());
        let ((end_of_work, work), (result, report)) = (pipe()?, pipe()?);
        match clone::fork_into(0, None).or_error(|| "clone a recorder".into())? {
            Forked::Parent(..) => Ok(Self { directory, work, result: result.into() }),
            Forked::Child => {
                drop((work, result));
                // Ctrl-C is for the container; this process ends when that has.
                let _ = SigSet::all().thread_block();
                let message = Watch { socket, end_of_work, listeners: Vec::new() }.run();
                let bytes = serde_json::to_vec(&message).unwrap_or_default();
                let sent = File::from(report).write_all(&bytes);
                clone::exit_now(i32::from(sent.is_err()))
            }
        }
    }

    /// The socket to hand listeners to.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.0.join("socket")
    }

    /// Ends the recording, after the containers have ended.
    ///
    /// # Errors
    /// The recorder failed, or was killed, in the meantime.
    pub fn finish(mut self) -> Result<Recording> {
        drop(self.work);
        let mut bytes = Vec::new();
        self.result
            .read_to_end(&mut bytes)
            .map_err(|error| Error::Other(format!("hear from the recorder: {error}")))?;
        let message: Message = serde_json::from_slice(&bytes)
            .map_err(|_| Error::Other("the recorder was killed before the container had ended".into()))?;
        message.map_err(|problem| Error::Other(format!("record system calls: {problem}")))
    }
}

/// The recorder's side.
struct Watch {
    socket: UnixListener,
    end_of_work: OwnedFd,
    listeners: Vec<OwnedFd>,
}

impl Watch {
    fn run(mut self) -> Message {
        let mut recorder = Recorder::new();
        let mut calls = 0;
        loop {
            let ready = self.wait(PollTimeout::NONE).map_err(|errno| failure("poll", errno))?;
            if ready.connection {
                self.accept()?;
            }
            for listener in &ready.asking {
                calls += u64::from(answer(&self.listeners[*listener], &mut recorder)?);
            }
            for listener in ready.gone.iter().rev() {
                self.listeners.remove(*listener);
            }
            // What waits at the end is answered; what comes later comes from nobody who was to be recorded.
            if ready.end && ready.asking.is_empty() {
                break;
            }
        }
        let nameless = recorder.nameless().map(|(arch, number)| (arch.oci_name(), number)).collect();
        Ok(Recording { profile: recorder.profile(), calls, nameless })
    }

    fn wait(&self, timeout: PollTimeout) -> std::result::Result<Ready, Errno> {
        let poll_in = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = vec![poll_in(self.end_of_work.as_fd()), poll_in(self.socket.as_fd())];
        fds.extend(self.listeners.iter().map(|listener| poll_in(listener.as_fd())));
        match poll(&mut fds, timeout) {
            Err(Errno::EINTR) => return Ok(Ready::default()),
            result => result?,
        };
        let has = |fd: &PollFd<'_>, flags| fd.revents().is_some_and(|events| events.intersects(flags));
        let with = |flags| {
            let found = fds.iter().skip(2).enumerate().filter(|(_, fd)| has(fd, flags));
            found.map(|(index, _)| index).collect()
        };
        Ok(Ready {
            end: has(&fds[0], PollFlags::POLLIN | PollFlags::POLLHUP),
            connection: has(&fds[1], PollFlags::POLLIN),
            asking: with(PollFlags::POLLIN),
            // No process is left under the filter.
            gone: with(PollFlags::POLLHUP),
        })
    }

    /// Takes a listener from whoever hands one over: the directory is open to this user alone.
    fn accept(&mut self) -> std::result::Result<(), String> {
        let (stream, _) = self.socket.accept().map_err(|error| format!("accept: {error}"))?;
        let mut state = vec![0; MAX_STATE];
        match fd::receive(stream.as_fd(), &mut state) {
            Ok((_, Some(listener))) => {
                // Older kernels answer more slowly, and as well.
                let _ = seccomp::wake_at_once(listener.as_fd());
                self.listeners.push(listener);
            }
            Ok((_, None)) => {}
            Err(errno) => return Err(failure("receive a listener", errno)),
        }
        Ok(())
    }
}

/// What poll(2) says; listeners by index.
#[derive(Debug, Default)]
struct Ready {
    end: bool,
    connection: bool,
    asking: Vec<usize>,
    gone: Vec<usize>,
}

/// Remembers the next call on a listener and lets it happen. Whether there was one: its process may be gone.
fn answer(listener: &OwnedFd, recorder: &mut Recorder) -> std::result::Result<bool, String> {
    let asked = match seccomp::receive(listener.as_fd()) {
        Err(Errno::ENOENT | Errno::EINTR | Errno::EAGAIN) => return Ok(false),
        result => result.map_err(|errno| failure("receive a notification", errno))?,
    };
    if let Some(arch) = Arch::from_audit(asked.arch, asked.number) {
        recorder.observe(&Call { arch, number: asked.number, args: asked.args });
    }
    match seccomp::let_continue(listener.as_fd(), asked.id) {
        Ok(()) | Err(Errno::ENOENT) => Ok(true),
        Err(errno) => Err(failure("let a call continue (Linux 5.5)", errno)),
    }
}

fn failure(what: &str, errno: Errno) -> String {
    format!("{what}: {}", crate::sys::reason(errno))
}

/// A file that appears under its name when it is complete.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
}

impl Output {
    /// Makes the file beside `path`: whether that can be done is known before anything is recorded.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(path: &Path) -> Result<Self> {
        let name = path.file_name().ok_or_else(|| Error::Other(format!("{path:?} is no file")))?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}", std::process::id()));
        let temporary = path.with_file_name(hidden);
        let file = File::create_new(&temporary).map_err(file_error("create", &temporary))?;
        Ok(Self { path: path.to_owned(), temporary, file })
    }

    /// Writes all of it, and gives it its name.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(mut self, text: &str) -> Result<()> {
        self.file.write_all(text.as_bytes()).map_err(file_error("write", &self.path))?;
        fs::rename(&self.temporary, &self.path).map_err(file_error("rename to", &self.path))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // After a rename there is nothing there any more.
        let _ = fs::remove_file(&self.temporary);
    }
}
