//! Where a stream's bytes end: a FIFO, a file, a device, or a logger's pipe.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use runtime::weak;

use super::appender::Appender;
use super::{ATTACH_LIMIT, Error};
use crate::reactor::{Source, clock};

/// The open end of a stream.
pub(super) struct Sink {
    /// What is written to.
    pub(super) writer: Source,
    /// Bytes may be spliced into it: it is a pipe.
    pub(super) is_pipe: bool,
    /// A FIFO's other end. As long as we have it, nobody else needs to: a reader that goes away, because
    /// containerd is being restarted, neither breaks the pipe nor takes unread bytes with it.
    pub(super) reader: Option<Rc<OwnedFd>>,
    /// Who takes the bytes out of the pipe and writes them to a file.
    appender: Option<Rc<Appender>>,
}

impl Sink {
    /// Opens `path`. A FIFO is open once somebody reads it; a file is appended to. What is not there is not
    /// made: it was a FIFO, whose reader has given up and removed it.
    pub(super) async fn open(path: &Path) -> Result<Self, Error> {
        match path.metadata().map(|meta| meta.file_type()) {
            Ok(kind) if kind.is_fifo() => Self::open_fifo(path).await,
            Ok(kind) if kind.is_char_device() => {
                Self::open_device(path).map_err(Error::io("open for output", path))
            }
            Ok(_) => {
                let (pipe, appender) = Appender::start(path, false).await?;
                Self::appending(pipe, appender)
            }
            Err(error) => Err(Error::io("open for output", path)(error)),
        }
    }

    /// The writing end of a pipe.
    pub(super) fn pipe(writer: OwnedFd) -> Result<Self, Error> {
        let writer = Source::new(writer).map_err(Error::io("watch", "pipe"))?;
        Ok(Self { writer, is_pipe: true, reader: None, appender: None })
    }

    /// The writing end of a pipe into a file.
    pub(super) fn appending(pipe: OwnedFd, appender: Rc<Appender>) -> Result<Self, Error> {
        Ok(Self { appender: Some(appender), ..Self::pipe(pipe)? })
    }

    /// Closes it. A file has all of its bytes then, if this stream was the last one that goes there.
    pub(super) async fn finish(self) {
        let Self { writer, reader, appender, .. } = self;
        drop((writer, reader));
        if let Some(appender) = appender {
            appender.ended().await;
        }
    }

    fn open_device(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_WRONLY | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let device = open(path, flags, Mode::empty())?;
        Ok(Self { writer: Source::new(device)?, is_pipe: false, reader: None, appender: None })
    }

    async fn open_fifo(path: &Path) -> Result<Self, Error> {
        let deadline = Instant::now() + ATTACH_LIMIT;
        let mut pause = Duration::from_millis(1);
        // Opening for writing only succeeds when there is a reader; opening for both would hide that there is
        // none, and what a short process had written would be gone with it. Readers are there first, nearly
        // always.
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
        Ok(Self {
            writer,
            is_pipe: true,
            reader: (!weak::off("reader")).then(|| Rc::new(reader)),
            appender: None,
        })
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
