//! The way into a process: a FIFO that its shim reads.

use std::path::Path;
use std::sync::Arc;

use shim::proto::task::CloseIORequest;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;

use super::Container;
use crate::error::{Error, Result};

/// An open standard input.
pub struct Input {
    pipe: pipe::Sender,
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

    /// Writes all of it; whether the process still reads.
    pub async fn write(&mut self, bytes: &[u8]) -> bool {
        self.pipe.write_all(bytes).await.is_ok()
    }

    /// There is no more.
    pub async fn finish(self) {
        drop(self.pipe);
        if self.ends {
            let request = CloseIORequest { id: self.container.id.clone(), exec_id: self.exec, stdin: true };
            // It may have ended meanwhile.
            let _gone = self.container.ask(&request).await;
        }
    }
}
