//! Those who are attached to a container: they may come before it runs, and must then miss nothing of it.

use std::path::Path;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::Input;
use crate::error::{Error, Result};
use crate::logger::{NOTIFY, WATCH};

/// Output as it comes: stream 1 or 2, and bytes.
pub type Output = mpsc::Receiver<(u8, Bytes)>;

/// Output, and where input goes, if it is wanted.
pub type Sides = (Output, Option<Input>);

/// Those who wait for a container to run.
#[derive(Debug, Default)]
pub struct Streams {
    waiting: Mutex<Vec<oneshot::Sender<Output>>>,
}

impl Streams {
    /// The output of the next run; the other side is dropped when there is none.
    pub fn next_run(&self) -> oneshot::Receiver<Output> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().push(sender);
        receiver
    }

    /// Connects all who wait with the logger of a container that is about to run.
    pub async fn connect(&self, socket: &Path) -> Result<()> {
        let waiting: Vec<_> = self.waiting.lock().drain(..).collect();
        for one in waiting {
            if !one.is_closed() {
                let _has_gone = one.send(watch(socket).await?);
            }
        }
        Ok(())
    }

    /// Nothing will run: those who wait are told.
    pub fn give_up(&self) {
        self.waiting.lock().clear();
    }
}

/// All output from now on.
///
/// # Errors
/// When the logger is not there.
pub async fn watch(socket: &Path) -> Result<Output> {
    let mut socket = subscribe(socket, WATCH).await?;
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut header = [0; 8];
        while socket.read_exact(&mut header).await.is_ok() {
            let [stream, _, _, _, a, b, c, d] = header;
            let mut bytes = vec![0; u32::from_be_bytes([a, b, c, d]) as usize];
            let read = socket.read_exact(&mut bytes).await;
            if read.is_err() || sender.send((stream, bytes.into())).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

/// One byte whenever there is more in the log.
///
/// # Errors
/// When the logger is not there.
pub(super) async fn notify(socket: &Path) -> Result<UnixStream> {
    subscribe(socket, NOTIFY).await
}

async fn subscribe(socket: &Path, wish: u8) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(socket).await.map_err(Error::at("connect to", socket))?;
    stream.write_all(&[wish]).await?;
    Ok(stream)
}
