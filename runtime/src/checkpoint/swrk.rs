//! `criu swrk`: criu as a child of this process, which is told what to do over a socket, asks back, and ends.
//!
//! Owns the process and the conversation. criu finds the directories it works in by the numbers they have in this process
//! (`/proc/PID/fd`), and everything else by the descriptors it inherits: the socket, standard I/O, and what the caller of
//! [`Criu::start`] names. A runtime that dies takes nothing along: criu sees the socket close, and undoes what it did.

use super::message::{Kind, Message, Notice, Response};
use super::{Error, Options, Result};
use crate::child::{self, OrFail, Step, program};
use crate::parent::error::{OrError, file_error};
use crate::path;
use crate::search;
use crate::sys::clone::{self, Forked};
use crate::sys::process::{self, StringArray};
use crate::sys::{Errno, fd, pidfd};
use crate::wire::{FromChild, Wire};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The largest message: criu's own buffer has 64 KiB.
const MAX_MESSAGE: usize = 64 << 10;

/// How criu is started.
pub(super) struct Launch<'a> {
    /// The program; absent: the one that `$PATH` leads to.
    pub(super) program: Option<&'a Path>,
    /// The control group of version 2 that it is born in.
    pub(super) cgroup: Option<BorrowedFd<'a>>,
    /// Descriptors that it inherits, under the numbers they have.
    pub(super) inherited: &'a [i32],
    /// It has this process's standard I/O; else none.
    pub(super) standard_io: bool,
    /// What its process does first.
    pub(super) prepare: &'a dyn Fn() -> Step<()>,
}

impl<'a> Launch<'a> {
    /// criu for something that does not make a container.
    #[must_use]
    pub(super) fn plain(options: &'a Options) -> Self {
        Self {
            program: options.program.as_deref(),
            cgroup: None,
            inherited: &[],
            standard_io: false,
            prepare: &|| Ok(()),
        }
    }
}

/// A running criu.
#[derive(Debug)]
pub(super) struct Criu {
    /// Its process.
    pub(super) pid: i32,
    pidfd: OwnedFd,
    socket: OwnedFd,
    /// What it wrote to standard error.
    errors: File,
    reaped: bool,
}

impl Drop for Criu {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = pidfd::send_signal(self.pidfd.as_fd(), libc::SIGKILL);
            let _ = waitpid(Pid::from_raw(self.pid), None);
        }
    }
}

/// Finds criu under this name or path.
///
/// # Errors
/// It is in none of the directories of `$PATH`.
fn find(name: &Path) -> Result<PathBuf> {
    if name.as_os_str().as_bytes().contains(&b'/') {
        return Ok(name.to_owned());
    }
    search::program(name).ok_or(Error::NoCriu)
}

impl Criu {
    /// Starts criu.
    ///
    /// # Errors
    /// There is none, or its process cannot be made.
    pub(super) fn start(launch: &Launch<'_>) -> Result<Self> {
        let file = find(launch.program.unwrap_or(Path::new("criu")))?;
        let (socket, end) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .or_error(|| "create a socket pair".into())?;
        let errors =
            memfd_create("criu", MFdFlags::MFD_CLOEXEC).or_error(|| "create a memory file".into())?;
        let c_file = CString::new(file.as_os_str().as_bytes()).map_err(|_| Error::NoCriu)?;
        let number = CString::new(end.as_raw_fd().to_string()).unwrap_or_default();
        let argv = StringArray::new(vec![c"criu".to_owned(), c"swrk".to_owned(), number]);
        let envp = StringArray::new(environment());
        let (wire, child_wire) = Wire::pair().or_error(|| "create a socket pair".into())?;
        let null = File::options().read(true).write(true).open("/dev/null");
        let null = null.map_err(file_error("open", "/dev/null"))?;
        let child = || -> Step<std::convert::Infallible> {
            let proc = path::verified_proc().or_fail(|| "open /proc".into())?;
            child::reset_signals(proc.as_fd())?;
            (launch.prepare)()?;
            if !launch.standard_io {
                // Images are the memory of a container: nobody else's to read.
                nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
                let what = || "set up criu's standard I/O".to_owned();
                nix::unistd::dup2_stdin(&null).or_fail(what)?;
                nix::unistd::dup2_stdout(&null).or_fail(what)?;
                nix::unistd::dup2_stderr(&errors).or_fail(what)?;
            }
            program::close_descriptors(0)?;
            for kept in launch.inherited.iter().copied().chain([end.as_raw_fd()]) {
                fd::set_cloexec(kept, false).or_fail(|| "pass a descriptor to criu".into())?;
            }
            Err(process::execve(&c_file, &argv, &envp)).or_fail(|| format!("exec {}", file.display()))
        };
        match clone::fork_into(0, launch.cgroup).or_error(|| "clone a process for criu".into())? {
            Forked::Child => {
                wire.close_in_child();
                let Err(failure) = child();
                let _ = child_wire.tell(&FromChild::Failure(failure));
                clone::exit_now(127)
            }
            Forked::Parent(pid, pidfd) => {
                let criu = Self { pid, pidfd, socket, errors: File::from(errors), reaped: false };
                drop((child_wire, end));
                match wire.hear().or_error(|| "hear from criu's process".into())? {
                    // It is criu now.
                    FromChild::End => Ok(criu),
                    FromChild::Failure(failure) => Err(Error::Host(crate::parent::Error::Step(failure))),
                    _ => Err(Error::Other("criu's process said something unexpected".into())),
                }
            }
        }
    }

    /// Asks for one thing, answers what criu asks back, and waits until it has ended. What `answer` refuses, criu undoes.
    ///
    /// # Errors
    /// criu cannot do it, for its own reason; what `answer` fails with; criu ends without an answer.
    pub(super) fn ask(
        mut self,
        kind: Kind,
        options: Option<&Message>,
        answer: &mut dyn FnMut(&Notice, Option<OwnedFd>) -> Result<()>,
    ) -> Result<Response> {
        let mut request = Message::default().number(1, kind as u64);
        if let Some(options) = options {
            request = request.nested(if kind == Kind::FeatureCheck { 5 } else { 2 }, options);
        }
        self.send(&request)?;
        let mut refused = None;
        let response = loop {
            let (response, fd) = self.hear()?;
            if response.kind != Some(Kind::Notify) || !response.success {
                break response;
            }
            let accepted = match &refused {
                None => answer(&response.notice, fd).map_err(|error| refused = Some(error)).is_ok(),
                Some(_) => false,
            };
            let reply = Message::default().number(1, Kind::Notify as u64).number(3, u64::from(accepted));
            self.send(&reply)?;
        };
        if let Some(error) = refused {
            let _ = self.end();
            return Err(error);
        }
        if !response.success || response.kind != Some(kind) {
            let _ = self.end();
            let kind = response.kind.unwrap_or(kind);
            let lines = response.message.lines().map(str::trim);
            let lines: Vec<&str> =
                lines.filter(|line| !line.is_empty() && !line.contains(super::HARMLESS)).collect();
            return Err(Error::Refused { kind, errno: response.errno, message: lines.join("; ") });
        }
        let status = self.end()?;
        // After a pre-dump criu waits for more, and is told that there is none by the end of the socket.
        match status {
            WaitStatus::Exited(_, 0) => Ok(response),
            _ if kind == Kind::PreDump => Ok(response),
            status => Err(Error::Ended { how: how(status), errors: self.said() }),
        }
    }

    fn send(&mut self, message: &Message) -> Result<()> {
        match fd::send(self.socket.as_fd(), message.as_bytes(), None) {
            Err(Errno::EPIPE | Errno::ECONNRESET) => Err(self.gone()),
            result => Ok(result.or_error(|| "write to criu".into())?),
        }
    }

    fn hear(&mut self) -> Result<(Response, Option<OwnedFd>)> {
        // A process that criu left behind may hold the socket open.
        if !fd::readable_before(self.socket.as_fd(), self.pidfd.as_fd())
            .or_error(|| "hear from criu".into())?
        {
            return Err(self.gone());
        }
        let mut buffer = vec![0; MAX_MESSAGE];
        let (length, fd) = match fd::receive(self.socket.as_fd(), &mut buffer) {
            Err(Errno::ECONNRESET) => (0, None),
            result => result.or_error(|| "hear from criu".into())?,
        };
        if length == 0 {
            return Err(self.gone());
        }
        Ok((Response::read(buffer.get(..length).unwrap_or_default()), fd))
    }

    fn gone(&mut self) -> Error {
        let how = self.end().map_or_else(|error| error.to_string(), how);
        Error::Ended { how, errors: self.said() }
    }

    /// Ends the conversation, and waits for criu's end.
    fn end(&mut self) -> Result<WaitStatus> {
        let _ = nix::sys::socket::shutdown(self.socket.as_raw_fd(), nix::sys::socket::Shutdown::Write);
        loop {
            match waitpid(Pid::from_raw(self.pid), None) {
                Err(Errno::EINTR) => {}
                result => {
                    self.reaped = true;
                    return Ok(result.or_error(|| "wait for criu".into())?);
                }
            }
        }
    }

    /// The last line that it wrote to standard error.
    fn said(&mut self) -> String {
        const MOST: u64 = 16 << 10;
        let mut bytes = Vec::new();
        let _ = self.errors.rewind().and_then(|()| (&self.errors).take(MOST).read_to_end(&mut bytes));
        let text = String::from_utf8_lossy(&bytes);
        text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
    }
}

fn how(status: WaitStatus) -> String {
    match status {
        WaitStatus::Exited(_, code) => format!("exit status {code}"),
        WaitStatus::Signaled(_, signal, _) => format!("signal: {signal}"),
        other => format!("{other:?}"),
    }
}

/// The environment of this process, for criu and the tools that it runs.
fn environment() -> Vec<CString> {
    std::env::vars_os()
        .filter_map(|(name, value)| {
            let entry = [name.as_bytes(), b"=", OsStr::as_bytes(&value)].concat();
            CString::new(std::ffi::OsString::from_vec(entry).into_vec()).ok()
        })
        .collect()
}
