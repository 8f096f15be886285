//! Output that goes to a file, written by a process of its own.
//!
//! A write to a file cannot be made to wait elsewhere: when the disk is slow, or the server behind it gone,
//! it holds up whoever does it. That must not be the event loop. The process is a fork of the shim that has a
//! pipe, the file and nothing else, and ends when nobody has the pipe open any more; as it may still have
//! bytes then, it does not die with the shim. The file is slow: the pipe fills, and the container waits. The
//! file is full: what does not fit is lost, the log says so, and the container goes on, as under engines that
//! write such files themselves.

use std::cell::Cell;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::rc::Rc;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use super::{ATTACH_LIMIT, Error};
use crate::child::Child;
use crate::reactor::{Condition, Source, clock, task};
use crate::{log, sys};

/// What the process says when the file is open; anything else it says is for the log.
const READY: &[u8] = b"\n";

/// How much is read at once: what a pipe holds in a quarter.
const BLOCK: usize = 16 << 10;

/// The process, as seen from the shim.
#[derive(Default)]
pub(super) struct Appender {
    ended: Cell<bool>,
    changed: Condition,
}

impl Appender {
    /// Starts the process and waits until it has opened the file, which it makes with its folders if it may.
    /// With it comes the pipe into it.
    pub(super) async fn start(path: &Path, may_make: bool) -> Result<(OwnedFd, Rc<Self>), Error> {
        let step = "open for output";
        let (report, child, pipe) = fork(path, may_make).map_err(Error::io("start the writer of", path))?;
        let mut said = [0; 512];
        let read = report.read_with(|fd| Ok(nix::unistd::read(fd, &mut said)?));
        let count = match clock::within(ATTACH_LIMIT, read).await {
            Some(result) => result.map_err(Error::io(step, path))?,
            None => {
                let _killed = child.signal(libc::SIGKILL);
                return Err(Error::TimedOut { step, name: path.display().to_string() });
            }
        };
        if &said[..count] != READY {
            let text = String::from_utf8_lossy(&said[..count]).into_owned();
            let _reaped = child.wait().await;
            return Err(Error::io(step, path)(io::Error::other(text)));
        }
        let appender = Rc::new(Self::default());
        task::spawn(Rc::clone(&appender).follow(report, child));
        Ok((pipe, appender))
    }

    /// Waits until all that went into the pipe is written, once nobody has it open.
    pub(super) async fn ended(&self) {
        self.changed.until(|| self.ended.get()).await;
    }

    async fn follow(self: Rc<Self>, report: Source, child: Child) {
        let mut said = [0; 512];
        while let Ok(count @ 1..) = report.read_with(|fd| Ok(nix::unistd::read(fd, &mut said)?)).await {
            log::warn(&String::from_utf8_lossy(&said[..count]));
        }
        if let Err(error) = child.wait().await {
            log::warn(&format!("wait for the writer of a file: {error}"));
        }
        self.ended.set(true);
        self.changed.changed();
    }
}

fn fork(path: &Path, may_make: bool) -> io::Result<(Source, Child, OwnedFd)> {
    let (input, pipe) = pipe2(OFlag::O_CLOEXEC)?;
    let (report, said) = pipe2(OFlag::O_CLOEXEC)?;
    let null = OpenOptions::new().write(true).open("/dev/null")?;
    let streams = [input, null.into(), said];
    let child = Child::fork(|| match sys::become_command(0, &streams, None) {
        Ok(()) => write(path, may_make),
        Err(_) => 1,
    })?;
    Ok((Source::new(report)?, child, pipe))
}

/// The body of the process: from standard input to the file, words about it to standard error.
fn write(path: &Path, may_make: bool) -> i32 {
    let mut report = io::stderr();
    let mut file = match open(path, may_make) {
        Ok(file) => file,
        Err(error) => return report.write_all(error.to_string().as_bytes()).map_or(1, |()| 1),
    };
    if report.write_all(READY).is_err() {
        return 1;
    }
    let mut input = io::stdin().lock();
    let mut block = [0; BLOCK];
    let mut losing = false;
    loop {
        let count = match input.read(&mut block) {
            Ok(0) => return 0,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return 1,
        };
        match (file.write_all(&block[..count]), losing) {
            (Err(error), false) => {
                let text = format!("write to {}: {error}: output is lost", path.display());
                let _nobody = report.write_all(text.as_bytes());
                losing = true;
            }
            (Ok(()), true) => {
                let text = format!("write to {}: output is written again", path.display());
                let _nobody = report.write_all(text.as_bytes());
                losing = false;
            }
            _ => {}
        }
    }
}

fn open(path: &Path, may_make: bool) -> io::Result<File> {
    if let Some(folder) = path.parent().filter(|_| may_make) {
        DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    }
    OpenOptions::new().append(true).create(may_make).mode(0o644).custom_flags(libc::O_NOCTTY).open(path)
}
