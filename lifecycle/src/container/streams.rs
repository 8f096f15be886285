//! What goes in and out of containers. Those who are attached to one may come before it runs, and must then miss nothing
//! of it; the way into a process is a FIFO that its shim reads.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use parking_lot::Mutex;
use shim::proto::task::CloseIORequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};

use super::Container;
use crate::error::{Error, Result};
use crate::logger::WATCH;

/// Output as it comes: stream 1 or 2, and bytes.
pub type Output = BoxStream<'static, (u8, Bytes)>;

/// Output, and where input goes, if it is wanted.
pub type Sides = (Output, Option<Input>);

/// Those who wait for a container to run; when it will not, they are dropped.
pub(super) type Waiting = Mutex<Vec<oneshot::Sender<Output>>>;

/// All output from now on.
///
/// # Errors
/// When the logger is not there.
pub async fn watch(socket: &Path) -> Result<Output> {
    let socket = subscribe(socket, WATCH).await?;
    let frames = stream::unfold(socket, async |mut socket| {
        let mut header = [0; 8];
        socket.read_exact(&mut header).await.ok()?;
        let [stream, _, _, _, a, b, c, d] = header;
        let mut bytes = vec![0; u32::from_be_bytes([a, b, c, d]) as usize];
        socket.read_exact(&mut bytes).await.ok()?;
        Some(((stream, bytes.into()), socket))
    });
    Ok(frames.boxed())
}

/// What is received.
pub fn received<T>(mut receiver: mpsc::Receiver<T>) -> impl Stream<Item = T> {
    stream::poll_fn(move |context| receiver.poll_recv(context))
}

/// A connection to a logger that is asked for one thing.
///
/// # Errors
/// When the logger is not there.
pub(super) async fn subscribe(socket: &Path, wish: u8) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(socket).await.map_err(Error::at("connect to", socket))?;
    stream.write_all(&[wish]).await?;
    Ok(stream)
}

/// An open standard input.
pub struct Input {
    /// The FIFO.
    pub pipe: pipe::Sender,
    container: Arc<Container>,
    exec: String,
    ends: bool,
}

impl Input {
    /// Opens the FIFO; with `ends`, the process sees the end of its input when the user's ends.
    ///
    /// # Errors
    /// When the shim does not read it.
    pub fn open(path: &Path, container: &Arc<Container>, exec: &str, ends: bool) -> Result<Self> {
        let pipe = pipe::OpenOptions::new().open_sender(path).map_err(Error::at("open", path))?;
        Ok(Self { pipe, container: Arc::clone(container), exec: exec.to_owned(), ends })
    }
}

impl Drop for Input {
    /// There is no more, or nobody is there any more.
    fn drop(&mut self) {
        if self.ends {
            let container = Arc::clone(&self.container);
            let exec_id = std::mem::take(&mut self.exec);
            let request = CloseIORequest { id: container.id.clone(), exec_id, stdin: true };
            // It may have ended meanwhile.
            tokio::spawn(async move { container.ask(&request).await });
        }
    }
}
