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

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use shim::sys::inherited_fd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::Receiver;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub use jsonfile::{JsonFile, Options};
pub(crate) use jsonfile::{find_last, is_compressed, lock, older};

use crate::error::{Error, Result};
use crate::files;

/// The first byte of a client that wants all output.
pub const WATCH: u8 = b'w';
/// The first byte of a client that wants to know when there is output.
pub const NOTIFY: u8 = b'n';

/// How much is read at once, and how many such pieces may wait for a client. There is always room for two more, which
/// are what both streams end with: while there is not, nothing is read from the container.
const PIECE: usize = 32 << 10;
const MOST_WAITING: usize = 8;
const LAST: usize = 2;

/// The most that a pipe can hold, pipe(7).
const PIPE: u64 = 1 << 20;

/// How long clients may take for the last bytes.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// What a logger is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    /// The log, and how it is written; without one, nothing is.
    pub log: Option<(PathBuf, Options)>,
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
    let outputs = [inherited_fd(3)?, inherited_fd(4)?];
    let ready = inherited_fd(5)?;
    let config: Config =
        files::read_json(config)?.ok_or_else(|| Error::invalid("the logger's configuration is missing"))?;
    let socket = config.socket.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result =
        runtime.map_err(Error::step("start the event loop"))?.block_on(serve(config, outputs, ready));
    let _gone = std::fs::remove_file(socket);
    result
}

/// Serves until both streams have ended, or somebody says that it is time.
async fn serve(config: Config, [out, err]: [OwnedFd; 2], ready: OwnedFd) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let _old = std::fs::remove_file(&config.socket);
    let listener = net::UnixListener::bind(&config.socket).map_err(Error::at("listen on", &config.socket))?;
    listener.set_nonblocking(true)?;
    let waiting = UnixListener::from_std(listener.try_clone()?)?;
    let mut outputs = [Some(Receiver::from_owned_fd(out)?), Some(Receiver::from_owned_fd(err)?)];
    let log = config.log.map(|(path, options)| JsonFile::open(&path, options)).transpose()?;
    let mut sinks = Sinks { log, clients: Vec::new(), serving: JoinSet::new() };
    nix::unistd::write(&ready, b"1")?;
    drop(ready);
    while outputs.iter().any(Option::is_some) {
        let piece = tokio::select! {
            _ = terminate.recv() => break,
            Ok((socket, _)) = waiting.accept() => {
                sinks.add(socket.into_std()?);
                None
            }
            piece = next(&mut outputs, &sinks.clients) => Some(piece?),
        };
        // Whoever was there before the output sees it.
        sinks.accept(&listener);
        if let Some((stream, bytes)) = piece {
            sinks.take(stream, &bytes);
        }
    }
    for (stream, pipe) in (1..).zip(outputs).filter_map(|(stream, output)| Some((stream, output?))) {
        let mut rest = Vec::new();
        // To its end, or to where it is empty.
        let _empty = File::from(pipe.into_nonblocking_fd()?).take(PIPE).read_to_end(&mut rest);
        sinks.accept(&listener);
        sinks.take(stream, &rest);
    }
    sinks.accept(&listener);
    sinks.finish().await
}

/// What comes next of the two streams, once every client has room for it.
async fn next(outputs: &mut [Option<Receiver>; 2], clients: &[Client]) -> io::Result<(u8, Vec<u8>)> {
    for client in clients.iter().filter(|client| client.watches) {
        // One that has gone holds nobody up.
        let _room = client.pieces.reserve_many(1 + LAST).await;
    }
    let [out, err] = outputs;
    tokio::select! {
        bytes = read(out) => Ok((1, bytes?)),
        bytes = read(err) => Ok((2, bytes?)),
    }
}

/// Reads from a stream; one that has ended is closed.
async fn read(output: &mut Option<Receiver>) -> io::Result<Vec<u8>> {
    let Some(pipe) = output else { return std::future::pending().await };
    let mut bytes = Vec::with_capacity(PIECE);
    if pipe.read_buf(&mut bytes).await? == 0 {
        *output = None;
    }
    Ok(bytes)
}

/// Somebody who is connected.
struct Client {
    pieces: mpsc::Sender<Bytes>,
    watches: bool,
}

/// Where the output goes.
struct Sinks {
    log: Option<JsonFile>,
    clients: Vec<Client>,
    serving: JoinSet<()>,
}

impl Sinks {
    fn accept(&mut self, listener: &net::UnixListener) {
        while let Ok((socket, _)) = listener.accept() {
            self.add(socket);
        }
    }

    /// Serves a client, if it says what it wants.
    fn add(&mut self, mut socket: net::UnixStream) {
        let mut wish = [0];
        let socket = socket
            .set_nonblocking(false)
            .and_then(|()| socket.set_read_timeout(Some(Duration::from_secs(1))))
            .and_then(|()| socket.read_exact(&mut wish))
            .and_then(|()| socket.set_nonblocking(true))
            .and_then(|()| UnixStream::from_std(socket));
        let Ok(socket) = socket else { return };
        let watches = wish[0] == WATCH;
        // Of news, one piece says as much as many.
        let (pieces, waiting) = mpsc::channel(if watches { MOST_WAITING + LAST } else { 1 });
        self.serving.spawn(send(socket, waiting));
        self.clients.push(Client { pieces, watches });
    }

    /// Writes output to the log, and then passes it on.
    fn take(&mut self, stream: u8, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Some(log) = &mut self.log {
            // While the disk is full the log has a gap: who prints needs not end for that.
            let _full = log.add(stream, bytes);
        }
        let piece = Bytes::from(frame(stream, bytes));
        self.clients.retain(|client| !client.pieces.is_closed());
        for client in &self.clients {
            let piece = if client.watches { piece.clone() } else { Bytes::from_static(&[NOTIFY]) };
            let _told_already = client.pieces.try_send(piece);
        }
    }

    /// Ends the log, and waits until the clients have everything.
    async fn finish(mut self) -> Result<()> {
        if let Some(log) = &mut self.log {
            log.finish()?;
        }
        drop(self.clients);
        let _late = tokio::time::timeout(LAST_WORDS, self.serving.join_all()).await;
        Ok(())
    }
}

/// Sends a client what there is for it, as long as it is there.
async fn send(mut socket: UnixStream, mut pieces: mpsc::Receiver<Bytes>) {
    let ((mut reader, mut writer), mut byte) = (socket.split(), [0]);
    let sending = async {
        while let Some(piece) = pieces.recv().await
            && writer.write_all(&piece).await.is_ok()
        {}
    };
    tokio::select! {
        () = sending => {}
        // Clients say nothing after their first byte: what can be read is their end.
        _ = reader.read(&mut byte) => {}
    }
}
