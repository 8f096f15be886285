//! Those who are attached to a container: they may come before it runs, and must then miss nothing of it.

use std::path::Path;

use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::logger::{NOTIFY, WATCH};

/// Those who wait for a container to run.
#[derive(Debug, Default)]
pub struct Streams {
    waiting: Mutex<Vec<oneshot::Sender<UnixStream>>>,
}

impl Streams {
    /// The output of the next run; the other side is dropped when there is none.
    pub fn next_run(&self) -> oneshot::Receiver<UnixStream> {
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

/// All output from now on, in frames.
///
/// # Errors
/// When the logger is not there.
pub async fn watch(socket: &Path) -> Result<UnixStream> {
    subscribe(socket, WATCH).await
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
