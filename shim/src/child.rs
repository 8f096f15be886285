//! Processes that the shim starts and waits for: runtimes, loggers and helpers.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use runtime::sys::pidfd;
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
    ///
    /// exec may take as long as the file system likes on which the program is: that is waited for like
    /// everything else, at most for `limit`. (`Command::spawn` would hold the event loop until then.)
    pub async fn spawn(mut command: Command, setup: ChildSetup, limit: Duration) -> Result<Self, Error> {
        sys::prepare_child(&mut command, setup);
        if weak::off("exec") {
            return Ok(Self::adopt(command.spawn()?.id().cast_signed())?);
        }
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from)?;
        let mut report = File::from(writer);
        let child = Self::fork(|| {
            let errno = command.exec().raw_os_error().unwrap_or(libc::EIO);
            // When nobody reads it any more the child is being killed.
            let _told = report.write_all(&errno.to_ne_bytes());
            127
        })?;
        // With them go our copies of the descriptors that were passed, and of the end of the pipe that exec
        // closes.
        drop((command, report));
        let reader = Source::new(reader)?;
        let mut errno = [0; 4];
        let told = reader.read_with(|fd| Ok(nix::unistd::read(fd, &mut errno)?));
        match clock::within(limit, told).await {
            Some(Ok(0)) => Ok(child),
            Some(Ok(_)) => {
                child.wait().await?;
                Err(Error::Wait(io::Error::from_raw_os_error(i32::from_ne_bytes(errno))))
            }
            Some(Err(error)) => Err(Error::Wait(error)),
            None => {
                child.kill().await?;
                Err(Error::TimedOut(limit))
            }
        }
    }

    /// Runs `body` in a forked child, as [`sys::fork`] says. One that could not be watched afterwards
    /// (`EMFILE`) is killed: nobody would know what it does.
    pub fn fork(body: impl FnOnce() -> i32) -> io::Result<Self> {
        let pid = sys::fork(body)?;
        // Not reaped yet, so the pid is its own.
        Self::adopt(pid).inspect_err(|_| drop(sys::kill(pid, libc::SIGKILL)))
    }

    /// Takes over a child that exists and that nobody has waited for.
    pub fn adopt(pid: i32) -> io::Result<Self> {
        let owned = Cell::new(Some(reaper::own(pid)));
        Ok(Self { pid, pidfd: Source::watch(pidfd::open(pid)?)?, owned })
    }

    /// Its process id, which means nothing once it is reaped.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends it a signal; false when it has ended.
    pub fn signal(&self, signal: i32) -> io::Result<bool> {
        match pidfd::send_signal(self.pidfd.as_fd(), signal) {
            Ok(()) => Ok(true),
            Err(Errno::ESRCH) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits until it has ended, without reaping it.
    pub async fn ended(&self) {
        self.pidfd.readable().await;
    }

    /// Reaps it after [`ended`](Self::ended).
    ///
    /// A tracer (criu, a debugger) may reap a dead process before its parent can (ptrace(2)): that is waited
    /// for.
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
        self.kill().await?;
        Err(Error::TimedOut(limit))
    }

    /// Kills it together with its process group.
    async fn kill(&self) -> io::Result<()> {
        // The group first: it exists as long as its leader is not reaped.
        let _no_group = sys::kill(-self.pid, libc::SIGKILL);
        self.signal(libc::SIGKILL)?;
        // One that does not die even so (it waits for a dead disk) is left to the reaper.
        let _reaped = clock::within(KILL_GRACE, self.wait()).await;
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended while it was owned: no further SIGCHLD would tell of it.
        if self.owned.take().is_some() {
            reaper::sweep();
        }
    }
}
