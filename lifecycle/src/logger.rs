//! The program between a container's output and its log, one process for each container (`cortend logger`).
//!
//! The container's shim starts it with the output's pipes as descriptors 3 and 4, and waits until something is
//! written to 5. It writes the log, and serves those who want to see the output as it comes on a socket. So the daemon
//! is not needed for output to flow, and when it is killed nothing of a log is missing.
//!
//! A client of the socket says what it wants with one byte: [`WATCH`] gets every byte, in Docker's frames of eight
//! bytes header, and holds the container back when it does not read; [`NOTIFY`] gets one byte whenever the log has
//! grown. What is printed after a client has connected reaches it, for sure.

mod jsonfile;

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use serde::{Deserialize, Serialize};

pub(crate) use jsonfile::rotated;
pub use jsonfile::{JsonFile, Rotation};

use crate::error::{Error, Result};
use crate::{files, sys};

/// The first byte of a client that wants all output.
pub const WATCH: u8 = b'w';
/// The first byte of a client that wants to know when there is output.
pub const NOTIFY: u8 = b'n';

/// With more than this waiting for a client, nothing is read from the container.
const MOST_WAITING: usize = 256 << 10;

/// How long clients may take for the last bytes.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// What a logger is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    /// The log, and when it is rotated; without one, nothing is written.
    pub log: Option<(PathBuf, Rotation)>,
    /// The socket that it serves.
    pub socket: PathBuf,
}

/// Output with the stream and its length before it, in eight bytes: how Docker tells streams apart.
pub fn frame(stream: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[stream, 0, 0, 0], &length[..], bytes].concat()
}

/// Runs a logger until the container's output ends.
///
/// # Errors
/// When it cannot begin, or the log cannot be written.
pub fn run(config: &Path) -> Result<()> {
    let config: Config =
        files::read_json(config)?.ok_or_else(|| Error::invalid("the logger's configuration is missing"))?;
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let outputs = [Output::new(sys::inherited(3)?, 1)?, Output::new(sys::inherited(4)?, 2)?];
    let ready = sys::inherited(5)?;
    let _old = std::fs::remove_file(&config.socket);
    let listener = UnixListener::bind(&config.socket).map_err(Error::at("listen on", &config.socket))?;
    listener.set_nonblocking(true)?;
    let log = config.log.map(|(path, rotation)| JsonFile::open(&path, rotation)).transpose()?;
    nix::unistd::write(&ready, b"1")?;
    drop(ready);
    let mut logger = Logger { listener, signals, outputs, clients: Vec::new(), log };
    let result = logger.serve();
    let _gone = std::fs::remove_file(&config.socket);
    result
}

/// One of the container's two streams.
struct Output {
    pipe: Option<OwnedFd>,
    /// 1 or 2, as in a frame's header.
    number: u8,
}

impl Output {
    fn new(pipe: OwnedFd, number: u8) -> io::Result<Self> {
        use nix::fcntl::{FcntlArg, OFlag, fcntl};
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self { pipe: Some(pipe), number })
    }
}

struct Client {
    socket: UnixStream,
    watches: bool,
    waiting: Vec<u8>,
}

struct Logger {
    listener: UnixListener,
    signals: SignalFd,
    outputs: [Output; 2],
    clients: Vec<Client>,
    log: Option<JsonFile>,
}

impl Logger {
    fn serve(&mut self) -> Result<()> {
        while self.outputs.iter().any(|output| output.pipe.is_some()) {
            self.wait(None)?;
            let told_to_end = self.signals.read_signal()?.is_some();
            // Whoever was there before the output sees it.
            self.accept();
            self.read(told_to_end)?;
            self.clients.retain_mut(Client::send);
        }
        if let Some(log) = &mut self.log {
            log.finish()?;
        }
        self.accept();
        let deadline = Instant::now() + LAST_WORDS;
        loop {
            self.clients.retain_mut(Client::send);
            self.clients.retain(|client| !client.waiting.is_empty());
            if self.clients.is_empty() || Instant::now() >= deadline {
                return Ok(());
            }
            self.wait(Some(deadline))?;
        }
    }

    /// Waits until something can be done.
    fn wait(&self, deadline: Option<Instant>) -> Result<()> {
        let full = self.clients.iter().any(|client| client.waiting.len() >= MOST_WAITING);
        let mut polled = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        if deadline.is_none() {
            polled.push(PollFd::new(self.listener.as_fd(), PollFlags::POLLIN));
            if !full {
                let pipes = self.outputs.iter().filter_map(|output| output.pipe.as_ref());
                polled.extend(pipes.map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
            }
        }
        for client in &self.clients {
            let flags = if client.waiting.is_empty() { PollFlags::POLLIN } else { PollFlags::POLLOUT };
            polled.push(PollFd::new(client.socket.as_fd(), flags));
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| PollTimeout::try_from(left).ok()).unwrap_or(PollTimeout::NONE);
        match poll(&mut polled, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn accept(&mut self) {
        while let Ok((mut socket, _)) = self.listener.accept() {
            let mut wish = [0];
            let read = socket
                .set_read_timeout(Some(Duration::from_secs(1)))
                .and_then(|()| socket.read_exact(&mut wish));
            if read.and_then(|()| socket.set_nonblocking(true)).is_ok() {
                self.clients.push(Client { socket, watches: wish[0] == WATCH, waiting: Vec::new() });
            }
        }
    }

    /// Takes what there is; at the end of it all when told to end.
    fn read(&mut self, to_the_end: bool) -> Result<()> {
        let mut buffer = vec![0; 32 << 10];
        for output in &mut self.outputs {
            while let Some(pipe) = &output.pipe {
                if !to_the_end && self.clients.iter().any(|client| client.waiting.len() >= MOST_WAITING) {
                    break;
                }
                let bytes = match nix::unistd::read(pipe, &mut buffer) {
                    Err(Errno::EAGAIN) if !to_the_end => break,
                    Err(Errno::EINTR) => continue,
                    Ok(0) | Err(Errno::EAGAIN) => {
                        output.pipe = None;
                        break;
                    }
                    Ok(count) => &buffer[..count],
                    Err(errno) => return Err(errno.into()),
                };
                if let Some(log) = &mut self.log {
                    log.add(output.number, bytes)?;
                }
                for client in &mut self.clients {
                    client.take(output.number, bytes);
                }
            }
        }
        Ok(())
    }
}

impl Client {
    fn take(&mut self, stream: u8, bytes: &[u8]) {
        if !self.watches {
            if self.waiting.is_empty() {
                self.waiting.push(NOTIFY);
            }
            return;
        }
        self.waiting.extend_from_slice(&frame(stream, bytes));
    }

    /// Sends what the client takes; whether it is still there.
    fn send(&mut self) -> bool {
        let mut sent = 0;
        let alive = loop {
            if sent == self.waiting.len() {
                break !self.has_gone();
            }
            match self.socket.write(&self.waiting[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break false,
            }
        };
        self.waiting.drain(..sent);
        alive
    }

    /// Clients say nothing after their first byte: what can be read is their end.
    fn has_gone(&mut self) -> bool {
        matches!(self.socket.read(&mut [0]), Ok(0))
    }
}
