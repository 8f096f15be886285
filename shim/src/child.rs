//! Processes that the shim starts and waits for: runtimes, loggers and helpers.

use std::cell::Cell;
use std::io;
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;

use runtime::weak;

use crate::reactor::{Source, clock};
use crate::reaper::{self, Owned};
use crate::sys::{self, ChildSetup, Exit};

/// How long a process that was sent SIGKILL may take to die before nobody waits for it any more.
const KILL_GRACE: Duration = Duration::from_secs(1);

/// A child process. Dropping it neither kills nor forgets it: the reaper takes over.
pub struct Child {
    pid: i32,
    pidfd: Source,
    /// Given up when it is reaped: from then on the pid may be another process's.
    owned: Cell<Option<Owned>>,
}

/// Why a child's end is not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be waited for.
    #[error("wait for process: {0}")]
    Wait(#[from] io::Error),
    /// It took too long, and was killed.
    #[error("it did not end within {0:?} and was killed")]
    TimedOut(Duration),
}

impl Child {
    /// Starts `command`; the error is that of fork or exec.
    pub fn spawn(command: &mut Command, setup: ChildSetup) -> io::Result<Self> {
        sys::prepare_child(command, setup);
        let pid = command.spawn()?.id().cast_signed();
        Self::adopt(pid)
    }

    /// Takes over a child that exists and that nobody has waited for.
    pub fn adopt(pid: i32) -> io::Result<Self> {
        let owned = Cell::new(Some(reaper::own(pid)));
        Ok(Self { pid, pidfd: Source::watch(sys::pidfd_open(pid)?)?, owned })
    }

    /// Its process id, which means nothing once it is reaped.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends it a signal; false when it has ended.
    pub fn signal(&self, signal: i32) -> io::Result<bool> {
        match sys::pidfd_send_signal(self.pidfd.as_fd(), signal) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits until it has ended, without reaping it.
    pub async fn ended(&self) {
        self.pidfd.readable().await;
    }

    /// Reaps it after [`ended`](Self::ended).
    ///
    /// A tracer (criu, a debugger) may reap a dead process before its parent can (ptrace(2)): that is waited for.
    pub async fn reap(&self) -> io::Result<Exit> {
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(exit) = sys::reap_pidfd(self.pidfd.as_fd())? {
                self.owned.take();
                return Ok(exit);
            }
            if weak::off("tracers") {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            clock::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    /// Waits for its end and reaps it.
    pub async fn wait(&self) -> io::Result<Exit> {
        self.ended().await;
        self.reap().await
    }

    /// Waits for its end, at most for `limit`; then it is killed together with its process group.
    pub async fn wait_within(&self, limit: Duration) -> Result<Exit, Error> {
        if weak::off("deadlines") {
            return Ok(self.wait().await?);
        }
        if let Some(result) = clock::within(limit, self.wait()).await {
            return Ok(result?);
        }
        // The group first: it exists as long as its leader is not reaped.
        let _no_group = sys::kill(-self.pid, libc::SIGKILL);
        self.signal(libc::SIGKILL)?;
        // One that does not die even so (it waits for a dead disk) is left to the reaper.
        let _reaped = clock::within(KILL_GRACE, self.wait()).await;
        Err(Error::TimedOut(limit))
    }
}
