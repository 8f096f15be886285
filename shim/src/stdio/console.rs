//! The socket over which a runtime hands over the terminal that it made (`--console-socket`).

use std::fs::DirBuilder;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::reactor::Source;
use crate::sys;

/// A listening socket in a folder of its own; both go with it.
pub struct ConsoleSocket {
    listener: Source,
    path: PathBuf,
}

impl ConsoleSocket {
    /// Makes folder and socket below `$XDG_RUNTIME_DIR` or `/tmp`: a bundle's path is longer than a socket's
    /// may be.
    pub fn new() -> io::Result<Self> {
        let base = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
        let folder = make_folder(&base)?;
        let path = folder.join("pty.sock");
        let listener = UnixListener::bind(&path)
            .and_then(|listener| Source::new(listener.into()))
            .inspect_err(|_| drop(std::fs::remove_dir_all(&folder)))?;
        Ok(Self { listener, path })
    }

    /// What the runtime connects to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the runtime's connection and the terminal in it.
    pub async fn receive(&self) -> io::Result<OwnedFd> {
        let connection = Source::new(self.listener.read_with(sys::accept).await?)?;
        connection.read_with(receive_fd).await
    }
}

/// A folder that did not exist before, for us alone.
fn make_folder(base: &Path) -> io::Result<PathBuf> {
    for attempt in 0_u32.. {
        let name = format!("pty-{}-{attempt}-{:x}", std::process::id(), nanos());
        let folder = base.join(name);
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 100 => {}
            result => return result.map(|()| folder),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn nanos() -> u32 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.subsec_nanos())
}

/// Takes the one descriptor of a message; its text, the terminal's name, is of no use.
fn receive_fd(socket: std::os::fd::BorrowedFd<'_>) -> io::Result<OwnedFd> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    let mut name = [0; 4096];
    let mut text = [IoSliceMut::new(&mut name)];
    // The most that one message has (`SCM_MAX_FD`): none is installed and not told of.
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 253]);
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut text, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            fds.extend(received.into_iter().map(sys::received_fd));
        }
    }
    if fds.len() != 1 {
        return Err(io::Error::other(format!("expected one descriptor, got {}", fds.len())));
    }
    fds.pop().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.path);
        if let Some(folder) = self.path.parent() {
            let _gone = std::fs::remove_dir(folder);
        }
    }
}
