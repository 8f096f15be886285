//! What a command leaves behind for its caller: pid files, pidfds, terminals.

use super::error::{Error, OrError, Result, file_error};
use crate::sys::fd;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Writes a pid file, whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let name =
        path.file_name().ok_or_else(|| Error::Other(format!("--pid-file: {path:?} is not a file name")))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    let temporary = path.with_file_name(temporary);
    let written = write_new(&temporary, &pid.to_string()).and_then(|()| {
        fs::rename(&temporary, path).inspect_err(|_| {
            let _ = fs::remove_file(&temporary);
        })
    });
    written.map_err(file_error("--pid-file: write", path))
}

/// Writes a file that was not there before: in a directory that others may write to, a link may wait under its name. What a
/// command that was killed has left is replaced.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut made = File::create_new(path);
    if made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
        fs::remove_file(path)?;
        made = File::create_new(path);
    }
    made?.write_all(text.as_bytes())
}

/// Connects to the socket that takes a terminal or a pidfd.
///
/// # Errors
/// Nobody listens there.
pub fn connect(flag: &'static str, path: &Path) -> Result<OwnedFd> {
    UnixStream::connect(path).map(OwnedFd::from).map_err(|source| {
        let reason = crate::sys::reason(crate::sys::errno_of(&source));
        Error::Other(format!("{flag}: connect to {}: {reason}", path.display()))
    })
}

/// Sends a pidfd to `--pidfd-socket`, with the text runc sends.
///
/// # Errors
/// The other side hangs up.
pub fn send_pidfd(path: &Path, pidfd: BorrowedFd<'_>) -> Result<()> {
    let socket = connect("--pidfd-socket", path)?;
    fd::send(socket.as_fd(), b"pidfd", Some(pidfd)).or_error(|| "--pidfd-socket: send the pidfd".into())
}
