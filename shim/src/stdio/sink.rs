//! Where a stream's bytes end: a FIFO, a file, or a logger's pipe.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::{ATTACH_LIMIT, Error};
use crate::reactor::{Source, clock};

/// The open end of a stream.
pub(super) struct Sink {
    /// What is written to.
    pub(super) writer: Source,
    /// Bytes may be spliced into it: it is a pipe.
    pub(super) is_pipe: bool,
    /// A FIFO's other end. As long as we have it, nobody else needs to: a reader that goes away, because containerd
    /// is being restarted, neither breaks the pipe nor takes unread bytes with it.
    pub(super) reader: Option<Rc<OwnedFd>>,
}

impl Sink {
    /// Opens `path`. A FIFO is open once somebody reads it; another kind of file is appended to and made if needed.
    pub(super) async fn open(path: &Path) -> Result<Self, Error> {
        match path.metadata() {
            Ok(meta) if meta.file_type().is_fifo() => Self::open_fifo(path).await,
            _ => Self::open_file(path).map_err(Error::io("open for output", path)),
        }
    }

    /// The writing end of a pipe.
    pub(super) fn pipe(writer: OwnedFd) -> Result<Self, Error> {
        let writer = Source::new(writer).map_err(Error::io("watch", "pipe"))?;
        Ok(Self { writer, is_pipe: true, reader: None })
    }

    fn open_file(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_NOCTTY;
        let file = open(path, flags | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC, Mode::from_bits_truncate(0o644))?;
        Ok(Self { writer: Source::new(file)?, is_pipe: false, reader: None })
    }

    async fn open_fifo(path: &Path) -> Result<Self, Error> {
        let deadline = Instant::now() + ATTACH_LIMIT;
        let mut pause = Duration::from_millis(1);
        // Opening for writing only succeeds when there is a reader; opening for both would hide that there is none,
        // and what a short process had written would be gone with it. Readers are there first, nearly always.
        let writer = loop {
            match open(path, OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC, Mode::empty()) {
                Err(Errno::ENXIO) if Instant::now() >= deadline => {
                    return Err(Error::TimedOut {
                        step: "open for output",
                        name: path.display().to_string(),
                    });
                }
                Err(Errno::ENXIO) => clock::sleep(pause).await,
                Err(errno) => return Err(Error::io("open for output", path)(errno.into())),
                Ok(writer) => break writer,
            }
            pause = (pause * 2).min(Duration::from_millis(100));
        };
        let reader = open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|errno| Error::io("open for reading", path)(errno.into()))?;
        let writer = Source::new(writer).map_err(Error::io("watch", path))?;
        Ok(Self { writer, is_pipe: true, reader: Some(Rc::new(reader)) })
    }

    /// Writes all of `bytes`, waiting for room.
    pub(super) async fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        write_all(&self.writer, bytes).await
    }
}

/// Writes all of `bytes`, waiting for room.
pub(super) async fn write_all(to: &Source, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = to.write_with(|fd| Ok(nix::unistd::write(fd, bytes)?)).await?;
        bytes = &bytes[count..];
    }
    Ok(())
}
