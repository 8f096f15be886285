//! The way into a process: a FIFO that its shim reads.

use std::path::Path;
use std::sync::Arc;

use shim::proto::task::CloseIORequest;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;

use crate::error::{Error, Result};
use crate::task::Client;

/// An open standard input.
#[derive(Debug)]
pub struct Input {
    pipe: pipe::Sender,
    client: Arc<Client>,
    container: String,
    exec: String,
    ends: bool,
}

impl Input {
    /// Opens the FIFO; with `ends`, the process sees the end of its input when the user's ends.
    ///
    /// # Errors
    /// When the shim does not read it.
    pub fn open(path: &Path, client: Arc<Client>, container: &str, exec: &str, ends: bool) -> Result<Self> {
        let pipe = pipe::OpenOptions::new().open_sender(path).map_err(Error::at("open", path))?;
        Ok(Self { pipe, client, container: container.to_owned(), exec: exec.to_owned(), ends })
    }

    /// Writes all of it; whether the process still reads.
    pub async fn write(&mut self, bytes: &[u8]) -> bool {
        self.pipe.write_all(bytes).await.is_ok()
    }

    /// There is no more.
    pub async fn finish(self) {
        let Self { pipe, client, container, exec, ends } = self;
        drop(pipe);
        if ends {
            let request = CloseIORequest { id: container, exec_id: exec, stdin: true };
            // It may have ended meanwhile.
            let _gone = client.call(&request).await;
        }
    }
}
