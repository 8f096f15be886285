//! Work that may block, done in a process of its own with a deadline: mounting, unmounting, removing trees.
//!
//! The helper is a fork of the shim without its descriptors. When it does not come back it is killed and, if
//! the kernel does not let it die, left behind: the event loop never waits for a disk.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use crate::child::{self, Child};
use crate::reactor::{Source, clock};
use crate::sys;

/// Why work was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The helper could not be started or did not report.
    #[error("{what}: helper process: {source}")]
    Helper {
        /// The work.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The work itself failed; the text is its error.
    #[error("{0}")]
    Failed(String),
    /// The work took too long.
    #[error("{what}: gave up after {limit:?}")]
    TimedOut {
        /// The work.
        what: &'static str,
        /// How long it was given.
        limit: Duration,
    },
}

/// Does `work` in a helper process and returns when it has, or when `limit` is over.
///
/// `what` names the work in errors.
pub async fn run<E: std::fmt::Display>(
    what: &'static str,
    limit: Duration,
    work: impl FnOnce() -> Result<(), E>,
) -> Result<(), Error> {
    let failed = |source| Error::Helper { what, source };
    let (report, child) = start(work).map_err(failed)?;
    let mut text = String::new();
    let finished = clock::within(limit, async {
        read_to_end(&report, &mut text).await?;
        child.wait().await
    });
    match finished.await {
        Some(Ok(exit)) if exit.status == 0 => Ok(()),
        Some(Ok(exit)) if text.is_empty() => {
            Err(failed(io::Error::other(format!("ended with status {}", exit.status))))
        }
        Some(Ok(_)) => Err(Error::Failed(text)),
        Some(Err(source)) => Err(failed(source)),
        None => {
            match child.wait_within(Duration::ZERO).await {
                Ok(_) | Err(child::Error::TimedOut(_)) => {}
                Err(child::Error::Wait(source)) => return Err(failed(source)),
            }
            Err(Error::TimedOut { what, limit })
        }
    }
}

fn start<E: std::fmt::Display>(work: impl FnOnce() -> Result<(), E>) -> io::Result<(Source, Child)> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    let shim = std::process::id().cast_signed();
    let mut writer = File::from(writer);
    let child = Child::fork(|| {
        let done = sys::detach_helper(shim, writer.as_fd()).map_err(|error| error.to_string());
        match done.and_then(|()| work().map_err(|error| error.to_string())) {
            Ok(()) => 0,
            // When nobody reads the report the exit code still says that there is one.
            Err(text) => writer.write_all(text.as_bytes()).map_or(1, |()| 1),
        }
    })?;
    Ok((Source::new(reader)?, child))
}

async fn read_to_end(from: &Source, text: &mut String) -> io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 512];
        match from.read_with(|fd| Ok(nix::unistd::read(fd, &mut part)?)).await? {
            0 => break,
            count => bytes.extend_from_slice(&part[..count]),
        }
    }
    text.push_str(&String::from_utf8_lossy(&bytes));
    Ok(())
}
