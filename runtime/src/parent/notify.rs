//! `NOTIFY_SOCKET` (sd_notify(3)): a container that says when it is ready.
//!
//! The container gets a socket of its own, below `/run/notify`; `start` waits there for `READY=1` and passes it on to
//! the caller's socket with the container's pid.

use super::error::{OrError, Result, file_error};
use crate::spec::{Config, Mount};
use crate::state::StateDir;
use crate::sys::{fd, pidfd};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

const DIRECTORY: &str = "notify";
const SOCKET: &str = "notify.sock";
const IN_CONTAINER: &str = "/run/notify";

/// Whether a container gets a socket.
#[derive(Debug, Clone, Copy)]
pub struct Wanted(bool);

/// Adds the socket's directory and variable to a configuration, when the caller has a socket.
#[must_use]
pub fn prepare(config: &mut Config, root: &Path, id: &str) -> Wanted {
    let wanted = host_socket().is_some();
    if let Some(process) = config.process.as_mut().filter(|_| wanted) {
        process.env.push(format!("NOTIFY_SOCKET={IN_CONTAINER}/{SOCKET}"));
        config.mounts.push(Mount {
            destination: IN_CONTAINER.to_owned(),
            source: root.join(id).join(DIRECTORY).to_string_lossy().into_owned(),
            options: ["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned).to_vec(),
            ..Mount::default()
        });
    }
    Wanted(wanted)
}

/// The caller's socket.
fn host_socket() -> Option<String> {
    std::env::var("NOTIFY_SOCKET").ok().filter(|path| !path.is_empty())
}

impl Wanted {
    /// Makes the directory that is mounted into the container.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make(self, dir: &StateDir) -> Result<()> {
        if !self.0 {
            return Ok(());
        }
        let path = dir.path().join(DIRECTORY);
        fs::create_dir(&path).map_err(file_error("create directory", path))
    }
}

/// The container's socket, listening.
#[derive(Debug)]
pub struct Listener {
    socket: UnixDatagram,
    host: String,
}

/// Listens on the container's socket, where it was made with one and the caller of this command has one too.
///
/// # Errors
/// The socket cannot be made.
pub fn listen(dir: &StateDir) -> Result<Option<Listener>> {
    let directory = dir.path().join(DIRECTORY);
    let Some(host) = host_socket().filter(|_| directory.is_dir()) else { return Ok(None) };
    let path = directory.join(SOCKET);
    let _ = fs::remove_file(&path);
    let socket = UnixDatagram::bind(&path).map_err(file_error("listen on", &path))?;
    // The container's user, whoever that is, must be able to write to it.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(&path, mode).map_err(file_error("change mode of", &path))?;
    Ok(Some(Listener { socket, host }))
}

impl Listener {
    /// Waits until the container says that it is ready, or has ended, and tells the caller's socket.
    ///
    /// # Errors
    /// The caller's socket cannot be written to.
    pub fn wait(&self, pid: i32, init: BorrowedFd<'_>) -> Result<()> {
        let mut buffer = vec![0; 4096];
        loop {
            if !fd::readable_before(self.socket.as_fd(), init).or_error(|| "wait for READY=1".into())? {
                return Ok(());
            }
            let length = self.socket.recv(&mut buffer).map_err(file_error("read", SOCKET))?;
            let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
            if text.lines().any(|line| line == "READY=1") {
                return self.forward(pid);
            }
        }
    }

    fn forward(&self, pid: i32) -> Result<()> {
        let socket = UnixDatagram::unbound().map_err(file_error("create a socket for", &self.host))?;
        let address = match self.host.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&self.host),
        };
        address
            .and_then(|address| socket.connect_addr(&address))
            .and_then(|()| socket.send(format!("MAINPID={pid}\nREADY=1").as_bytes()))
            .map_err(file_error("notify", &self.host))?;
        barrier(&socket, &self.host)
    }
}

/// `BARRIER=1` (sd_notify_barrier(3)): when this returns, the manager has seen what was sent before, and may no longer
/// mistake this short-lived process for a stranger.
fn barrier(socket: &UnixDatagram, host: &str) -> Result<()> {
    const PATIENCE: i32 = 30_000;
    let (read, write): (OwnedFd, OwnedFd) =
        nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).or_error(|| "create a pipe".into())?;
    match fd::send(socket.as_fd(), b"BARRIER=1", Some(write.as_fd())) {
        Ok(()) => {}
        Err(errno) => return Err(errno).or_error(|| format!("notify {}", PathBuf::from(host).display())),
    }
    drop(write);
    // The manager closes its copy once it has come that far; one that does not know barriers closes it at once.
    pidfd::has_exited(read.as_fd(), PATIENCE).map(drop).or_error(|| "wait for the service manager".into())
}
