//! The standard streams of a container's process: from the pipes or terminal it sees to the place that the
//! caller named, and back.
//!
//! Two steps. [`Prepared::new`] makes what the runtime hands to the process; once that exists,
//! [`Prepared::attach`] connects it with the caller's side and yields an [`Io`], which lives as long as the
//! process's record.
//!
//! A process always gets a pipe or a terminal of its own, never the caller's FIFO: it may open `/dev/stdout`
//! again, and the FIFO belongs to somebody else. Bytes go from pipe to FIFO by splice(2), through no buffer
//! of ours.

mod appender;
mod console;
mod copy;
mod logger;
mod sink;
mod uri;

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::unistd::{Gid, Uid, fchown, pipe2};

use runtime::sys::tty;
use runtime::weak;

use crate::reactor::task::{TaskId, spawn};
use crate::reactor::{Condition, Source, clock, yield_now};
use crate::sys;

use appender::Appender;
pub use console::ConsoleSocket;
use logger::Logger;
use sink::Sink;
use uri::Target;

/// The part of [`crate::fuzz`] that looks inside of this module: programs and files are absolute.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz_uri(text: &str) {
    let stdio = Stdio { stdout: text.to_owned(), ..Stdio::default() };
    match Target::parse(&stdio) {
        Ok(Target::File(path)) => assert!(path.is_absolute(), "{text:?}"),
        Ok(Target::Logger(logger)) => assert!(logger.program.is_absolute(), "{text:?}"),
        Ok(target @ Target::Paths) => {
            let _ = target.of_stream(text);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// How long the other side of a stream may take to appear: the reader of a FIFO, the runtime's terminal, a
/// logger.
pub const ATTACH_LIMIT: Duration = Duration::from_secs(30);

/// How long, in milliseconds and step by step, the end of a process is held back for output that nobody has
/// read yet.
const READER_PATIENCE: [u64; 7] = [1, 1, 2, 4, 8, 16, 32];

/// Why a process's streams could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("{step} {name:?}: {source}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// With what.
        name: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The other side did not appear.
    #[error("{step} {name:?}: nobody there within {ATTACH_LIMIT:?}")]
    TimedOut {
        /// What was being done.
        step: &'static str,
        /// With what.
        name: String,
    },
    /// The place cannot be understood.
    #[error("unknown STDIO scheme {0}")]
    Scheme(String),
    /// The place is not written as its scheme demands.
    #[error("stdio {0:?}: {1}")]
    Malformed(String, &'static str),
    /// The logging program did not start.
    #[error("logging binary {0:?} {1}")]
    Logger(PathBuf, &'static str),
}

impl Error {
    fn io(step: &'static str, name: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let name = name.as_ref().display().to_string();
        move |source| Self::Io { step, name, source }
    }
}

/// What the caller asked for, kept as it came: State reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stdio {
    /// A FIFO to read from; empty for nothing.
    pub stdin: String,
    /// A FIFO or a URI to write to; empty for nothing.
    pub stdout: String,
    /// As `stdout`; unused with a terminal.
    pub stderr: String,
    /// Give the process a terminal.
    pub terminal: bool,
}

/// Whose process it is.
pub struct Owner<'a> {
    /// The container or exec id, for a logger.
    pub id: &'a str,
    /// containerd's namespace, for a logger.
    pub namespace: &'a str,
    /// The user that shall own the pipes.
    pub uid: u32,
    /// The group that shall own the pipes.
    pub gid: u32,
}

/// The descriptors that the process gets; `None` is /dev/null.
#[derive(Default)]
pub struct ProcessEnds {
    /// Its standard input.
    pub stdin: Option<OwnedFd>,
    /// Its standard output.
    pub stdout: Option<OwnedFd>,
    /// Its standard error.
    pub stderr: Option<OwnedFd>,
}

/// Our ends of the pipes.
#[derive(Default)]
struct OwnEnds {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

/// Streams that exist and lead nowhere yet.
pub struct Prepared {
    stdio: Stdio,
    target: Target,
    ends: ProcessEnds,
    own: OwnEnds,
    logger: Option<Logger>,
    console: Option<ConsoleSocket>,
}

impl Prepared {
    /// Makes pipes, or the socket for a terminal, and starts the logging program if one is asked for.
    pub async fn new(stdio: &Stdio, owner: &Owner<'_>) -> Result<Self, Error> {
        let target = Target::parse(stdio)?;
        let mut prepared = Self {
            stdio: stdio.clone(),
            target,
            ends: ProcessEnds::default(),
            own: OwnEnds::default(),
            logger: None,
            console: None,
        };
        let logs = match &prepared.target {
            Target::Logger(uri) => Some(Logger::start(uri, owner).await?),
            _ => None,
        };
        if stdio.terminal {
            prepared.console = Some(ConsoleSocket::new().map_err(Error::io("make", "console socket"))?);
        } else {
            prepared.make_pipes(owner, logs.as_ref()).map_err(Error::io("make", "pipes for stdio"))?;
        }
        prepared.logger = logs;
        Ok(prepared)
    }

    fn make_pipes(&mut self, owner: &Owner<'_>, logger: Option<&Logger>) -> io::Result<()> {
        if !self.stdio.stdin.is_empty() {
            let (reader, writer) = owned_pipe(owner)?;
            (self.ends.stdin, self.own.stdin) = (Some(reader), Some(writer));
        }
        if let Some(logger) = logger {
            (self.ends.stdout, self.ends.stderr) = logger.writers()?;
            return Ok(());
        }
        let file = matches!(self.target, Target::File(_));
        if file || !self.stdio.stdout.is_empty() {
            let (reader, writer) = owned_pipe(owner)?;
            (self.own.stdout, self.ends.stdout) = (Some(reader), Some(writer));
        }
        if file || !self.stdio.stderr.is_empty() {
            let (reader, writer) = owned_pipe(owner)?;
            (self.own.stderr, self.ends.stderr) = (Some(reader), Some(writer));
        }
        Ok(())
    }

    /// What the process gets; once.
    pub fn take_process_ends(&mut self) -> ProcessEnds {
        std::mem::take(&mut self.ends)
    }

    /// Where the runtime sends the terminal, if there is to be one.
    pub fn console_socket(&self) -> Option<&Path> {
        self.console.as_ref().map(ConsoleSocket::path)
    }

    /// Connects the streams with the caller's side and starts to carry bytes. The runtime must have returned.
    pub async fn attach(mut self) -> Result<Io, Error> {
        let io = Io::new(self.logger.take());
        let result = match self.console.take() {
            Some(socket) => self.attach_console(&io, &socket).await,
            None => self.attach_pipes(&io).await,
        };
        match result {
            Ok(()) => Ok(io),
            Err(error) => {
                io.close().await;
                Err(error)
            }
        }
    }

    /// Gives them up: there is no process. A logging program is told so, and ended if that does not end it.
    pub async fn abandon(self) {
        let Self { ends, own, logger, .. } = self;
        drop((ends, own));
        if let Some(logger) = logger
            && !weak::off("logger")
        {
            logger.close().await;
        }
    }

    async fn attach_pipes(&mut self, io: &Io) -> Result<(), Error> {
        // Standard input first: the reader of our output may wait for it.
        if let Some(pipe) = self.own.stdin.take() {
            let (fifo, keep_open) = open_input(&self.stdio.stdin)?;
            let pipe = Source::new(pipe).map_err(Error::io("watch", "stdin pipe"))?;
            io.keep_open.replace(Some(keep_open));
            io.carry_input(async move { copy::splice_all(&fifo, &pipe).await });
        }
        let outputs = [
            (self.own.stdout.take(), self.target.of_stream(&self.stdio.stdout)),
            (self.own.stderr.take(), self.target.of_stream(&self.stdio.stderr)),
        ];
        let mut file = None;
        for (pipe, path) in outputs {
            let Some(pipe) = pipe else { continue };
            let sink = self.sink(path, &mut file).await?;
            io.unread.borrow_mut().extend(sink.reader.clone());
            let pipe = Source::new(pipe).map_err(Error::io("watch", "output pipe"))?;
            io.carry_output(async move {
                let result = copy::to_sink(&pipe, &sink).await;
                drop(pipe);
                sink.finish().await;
                result
            });
        }
        Ok(())
    }

    /// The end of a stream. For a `file://` it is not looked at from here, and both streams have one writer:
    /// `file`.
    async fn sink(&self, path: &Path, file: &mut Option<(OwnedFd, Rc<Appender>)>) -> Result<Sink, Error> {
        if !matches!(self.target, Target::File(_)) {
            return Sink::open(path).await;
        }
        let (pipe, appender) = match file.take() {
            Some(known) => known,
            None => Appender::start(path, true).await?,
        };
        let copy = pipe.try_clone().map_err(Error::io("copy", "pipe"))?;
        *file = Some((pipe, Rc::clone(&appender)));
        Sink::appending(copy, appender)
    }

    async fn attach_console(&mut self, io: &Io, socket: &ConsoleSocket) -> Result<(), Error> {
        let terminal = clock::within(ATTACH_LIMIT, socket.receive()).await;
        let step = "receive the terminal from";
        let terminal = terminal
            .ok_or(Error::TimedOut { step, name: "the runtime".into() })?
            .map_err(Error::io(step, "the runtime"))?;
        let terminal = Rc::new(Terminal::new(Source::new(terminal).map_err(Error::io("watch", "terminal"))?));
        io.terminal.replace(Some(Rc::clone(&terminal)));
        if !self.stdio.stdin.is_empty() {
            let (fifo, keep_open) = open_input(&self.stdio.stdin)?;
            io.keep_open.replace(Some(keep_open));
            let terminal = Rc::clone(&terminal);
            io.carry_input(async move {
                let result = copy::typed(&fifo, &terminal).await;
                // End of input on a terminal ends the terminal, as other shims of containerd have it.
                terminal.hang_up();
                result
            });
        }
        let sink = match &io.logger {
            Some(logger) => Sink::pipe(logger.stdout().map_err(Error::io("copy", "logger pipe"))?)?,
            None => match self.target.of_stream(&self.stdio.stdout) {
                // Somebody has to read a terminal, or the process waits for ever when it is full.
                path if path.as_os_str().is_empty() => Sink::open(Path::new("/dev/null")).await?,
                path => self.sink(path, &mut None).await?,
            },
        };
        io.unread.borrow_mut().extend(sink.reader.clone());
        io.carry_output(async move {
            let result = copy::terminal(&terminal, &sink).await;
            sink.finish().await;
            result
        });
        Ok(())
    }
}

/// Opens a FIFO that the process's input comes from, and its other side, without which the process would see
/// the end of its input as soon as one writer has gone.
fn open_input(path: &str) -> Result<(Source, OwnedFd), Error> {
    let failed = || Error::io("open the stdin FIFO", path);
    let open = |flags| {
        nix::fcntl::open(path, flags | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK, nix::sys::stat::Mode::empty())
    };
    let reader = open(OFlag::O_RDONLY).map_err(io::Error::from).and_then(Source::new).map_err(failed())?;
    let writer = open(OFlag::O_WRONLY).map_err(io::Error::from).map_err(failed())?;
    Ok((reader, writer))
}

/// A pipe that the container's user may open again by its name in /proc.
fn owned_pipe(owner: &Owner<'_>) -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    if owner.uid != 0 || owner.gid != 0 {
        // Both ends are one inode.
        fchown(reader.as_fd(), Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
    }
    Ok((reader, writer))
}

/// A terminal whose bytes are carried.
struct Terminal {
    /// Our side of it, until it is hung up.
    master: RefCell<Option<Rc<Source>>>,
    /// What nobody had read by then.
    rest: RefCell<Vec<u8>>,
    /// No more is to be expected of it.
    over: Cell<bool>,
    changed: Condition,
}

impl Terminal {
    /// No more than this is read of a terminal that is hung up: its process may write without end.
    const MAX_REST: usize = 64 << 10;

    fn new(master: Source) -> Self {
        Self {
            master: RefCell::new(Some(Rc::new(master))),
            rest: RefCell::default(),
            over: Cell::new(false),
            changed: Condition::new(),
        }
    }

    /// To be held no longer than for one operation: as long as somebody has it the terminal is not hung up.
    fn master(&self) -> Option<Rc<Source>> {
        self.master.borrow().clone()
    }

    /// Nobody writes to it any more: it is read to its end.
    fn end(&self) {
        self.over.set(true);
        self.changed.changed();
    }

    /// Hangs it up: its processes get a SIGHUP, and errors when they use it.
    fn hang_up(&self) {
        if let Some(master) = self.master.take() {
            let mut rest = self.rest.borrow_mut();
            let mut part = [0; 4096];
            while let Ok(count @ 1..) = nix::unistd::read(master.as_fd(), &mut part) {
                rest.extend_from_slice(&part[..count]);
                if rest.len() >= Self::MAX_REST {
                    break;
                }
            }
        }
        self.end();
    }
}

/// How many outputs have not ended.
#[derive(Default)]
struct Outputs {
    open: Cell<usize>,
    changed: Condition,
}

/// The streams of a process, connected.
pub struct Io {
    tasks: RefCell<Vec<TaskId>>,
    keep_open: RefCell<Option<OwnedFd>>,
    terminal: RefCell<Option<Rc<Terminal>>>,
    outputs: Rc<Outputs>,
    /// The reading ends of the FIFOs that output goes to.
    unread: RefCell<Vec<Rc<OwnedFd>>>,
    logger: Option<Logger>,
}

impl Io {
    fn new(logger: Option<Logger>) -> Self {
        Self {
            tasks: RefCell::default(),
            keep_open: RefCell::default(),
            terminal: RefCell::default(),
            outputs: Rc::default(),
            unread: RefCell::default(),
            logger,
        }
    }

    fn carry_input(&self, copy: impl Future<Output = io::Result<()>> + 'static) {
        let task = spawn(async move {
            // However it ended: the process does not read any more, or nobody writes any more.
            let _ended = copy.await;
        });
        self.tasks.borrow_mut().push(task);
    }

    fn carry_output(&self, copy: impl Future<Output = io::Result<()>> + 'static) {
        let outputs = Rc::clone(&self.outputs);
        outputs.open.set(outputs.open.get() + 1);
        let task = spawn(async move {
            if let Err(error) = copy.await {
                crate::log::warn(&format!("carry output of a process: {error}"));
            }
            outputs.open.set(outputs.open.get() - 1);
            outputs.changed.changed();
        });
        self.tasks.borrow_mut().push(task);
    }

    /// Lets the process see the end of its input once what has been written is read.
    pub fn close_stdin(&self) {
        self.keep_open.take();
    }

    /// Sets the size of the terminal; without one nothing happens.
    pub fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        match self.terminal.borrow().as_ref().and_then(|terminal| terminal.master()) {
            Some(master) => Ok(tty::set_size(master.as_fd(), rows, columns)?),
            None => Ok(()),
        }
    }

    /// The process has ended: a terminal is read to its end and closed. Pipes end by themselves.
    pub fn process_ended(&self) {
        if let Some(terminal) = self.terminal.borrow().as_ref() {
            terminal.end();
        }
    }

    /// Lets output that a process had written before it ended go before the news of its end, and be read:
    /// clients of containerd before 2.0 close their side when they hear of it. Waits for a reader that stands
    /// still no longer than `READER_PATIENCE` adds up to.
    pub async fn settle(&self) {
        if self.unread.borrow().is_empty() {
            return;
        }
        // One turn for the events that tell of the output, one for the tasks that carry it.
        yield_now().await;
        yield_now().await;
        for pause in READER_PATIENCE {
            if !self.unread.borrow().iter().any(|fifo| sys::has_input(fifo.as_fd())) {
                return;
            }
            clock::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// Waits until all output has been delivered, at most for `limit`: a process left behind in the
    /// background may keep its pipe open for ever.
    pub async fn drained(&self, limit: Duration) {
        let outputs = &self.outputs;
        let _late = clock::within(limit, outputs.changed.until(|| outputs.open.get() == 0)).await;
    }

    /// Ends everything, whatever is still under way; a logger gets time to finish.
    pub async fn close(&self) {
        for task in self.tasks.take() {
            task.abort();
        }
        self.keep_open.take();
        self.terminal.take();
        self.unread.take();
        if let Some(logger) = &self.logger {
            logger.close().await;
        }
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        for task in self.tasks.take() {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests;
