//! Logging programs (`binary://`): they read a process's output from descriptors 3 and 4, and close 5 when
//! ready.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio as Redirect};
use std::rc::Rc;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use super::uri::LoggerUri;
use super::{ATTACH_LIMIT, Error, Owner};
use crate::child::{self, Child};
use crate::reactor::{Source, clock, task};
use crate::sys::ChildSetup;

/// How long a logger may take to end by itself when its input has ended.
const END_OF_INPUT: Duration = Duration::from_secs(2);

/// How long it may take after SIGTERM; the libraries that loggers use count on ten seconds.
const TERMINATE: Duration = Duration::from_secs(12);

/// A running logger and the pipes into it.
pub(super) struct Logger {
    child: RefCell<Option<Rc<Child>>>,
    pipes: RefCell<Option<(OwnedFd, OwnedFd)>>,
}

impl Logger {
    /// Starts the program and waits until it is ready.
    pub(super) async fn start(uri: &LoggerUri, owner: &Owner<'_>) -> Result<Self, Error> {
        let failed = || Error::io("start the logging binary", &uri.program);
        let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(|errno| failed()(errno.into()));
        let ((out_read, out_write), (err_read, err_write), (ready_read, ready_write)) =
            (pipe()?, pipe()?, pipe()?);
        let mut command = Command::new(&uri.program);
        command
            .args(&uri.arguments)
            .env_clear()
            .env("CONTAINER_ID", owner.id)
            .env("CONTAINER_NAMESPACE", owner.namespace)
            .stdin(Redirect::null())
            .stdout(Redirect::null())
            .stderr(Redirect::null());
        let setup = ChildSetup { pass: vec![out_read, err_read, ready_write], ..ChildSetup::default() };
        let child = match Child::spawn(command, setup, ATTACH_LIMIT).await {
            Ok(child) => child,
            Err(child::Error::Wait(source)) => return Err(failed()(source)),
            Err(child::Error::TimedOut(_)) => {
                return Err(Error::Logger(uri.program.clone(), "did not begin to run in time"));
            }
        };
        let logger = Self {
            child: RefCell::new(Some(Rc::new(child))),
            pipes: RefCell::new(Some((out_write, err_write))),
        };
        let ready = Source::new(ready_read).map_err(failed())?;
        let mut byte = [0];
        let said = clock::within(ATTACH_LIMIT, ready.read_with(|fd| Ok(nix::unistd::read(fd, &mut byte)?)));
        let problem = match said.await {
            Some(Ok(0)) if uri.must_say_ready => "ended or closed descriptor 5 without being ready",
            Some(Ok(_)) => return Ok(logger),
            Some(Err(_)) => "cannot be waited for",
            None => "was not ready in time",
        };
        logger.close().await;
        Err(Error::Logger(uri.program.clone(), problem))
    }

    /// Copies of the pipes' ends for the process.
    pub(super) fn writers(&self) -> io::Result<(Option<OwnedFd>, Option<OwnedFd>)> {
        match self.pipes.borrow().as_ref() {
            Some((out, err)) => Ok((Some(out.try_clone()?), Some(err.try_clone()?))),
            None => Ok((None, None)),
        }
    }

    /// A copy of the end of the pipe for standard output.
    pub(super) fn stdout(&self) -> io::Result<OwnedFd> {
        let pipes = self.pipes.borrow();
        pipes.as_ref().ok_or(io::ErrorKind::BrokenPipe)?.0.try_clone()
    }

    /// Ends the input and waits a little for the program to end. When it takes longer it is told to, beside
    /// the rest.
    pub(super) async fn close(&self) {
        self.pipes.take();
        let Some(child) = self.child.take() else { return };
        let waiting = Rc::clone(&child);
        task::spawn(async move {
            if clock::within(END_OF_INPUT, child.ended()).await.is_none() {
                let _told = child.signal(libc::SIGTERM);
                if clock::within(TERMINATE, child.ended()).await.is_none() {
                    let _killed = child.signal(libc::SIGKILL);
                    child.ended().await;
                }
            }
            let _reaped = child.reap().await;
        });
        let _late = clock::within(END_OF_INPUT, waiting.ended()).await;
    }
}
