//! A command that stays while its program runs: signals go to the program, its terminal comes here, and its exit
//! status becomes the command's.

use super::error::{OrError, Result};
use crate::sys::{Errno, pidfd, tty};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, read, write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Signals that wait to be passed on.
#[derive(Debug)]
pub struct Signals(SignalFd);

/// Holds signals back from now on. To be called before the program runs: a signal that a caller sends once it sees the
/// program at work must not end this command.
///
/// # Errors
/// The kernel refuses.
pub fn hold_signals() -> Result<Signals> {
    let mut all = SigSet::all();
    // Faults of this program are its own.
    for fault in
        [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGTRAP, Signal::SIGSYS]
    {
        all.remove(fault);
    }
    all.thread_block().or_error(|| "block signals".into())?;
    SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map(Signals)
        .or_error(|| "watch signals".into())
}

/// Rows and columns of this process's terminal, if it has one that knows its size (a pipe's end, a test's does not).
#[must_use]
pub fn terminal_size() -> Option<(u16, u16)> {
    tty::size(std::io::stdin().as_fd()).ok().filter(|size| *size != (0, 0))
}

/// Gives the program's terminal the size of this process's: before the program runs, or it may see another one.
pub fn fit(console: BorrowedFd<'_>) {
    if let Some((rows, columns)) = terminal_size() {
        let _ = tty::set_size(console, rows, columns);
    }
}

/// Waits for the program, a child of this process, to end. Returns what this command exits with: the program's exit
/// status, or 128 and the signal that ended it.
///
/// # Errors
/// The kernel refuses to let this process watch the terminal.
pub fn wait(pid: i32, process: BorrowedFd<'_>, console: Option<OwnedFd>, signals: &Signals) -> Result<i32> {
    let signals = &signals.0;
    let mut terminal = console.map(Terminal::attach).transpose()?;
    loop {
        let mut fds =
            vec![PollFd::new(process, PollFlags::POLLIN), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        if let Some(terminal) = &terminal {
            terminal.wanted(&mut fds);
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            result => result.or_error(|| "wait for the container".into())?,
        };
        let ended = fds[0].any().unwrap_or(false);
        let signalled = fds[1].any().unwrap_or(false);
        drop(fds);
        if signalled {
            while let Ok(Some(info)) = signals.read_signal() {
                forward(i32::try_from(info.ssi_signo).unwrap_or(0), pid, process, terminal.as_ref());
            }
        }
        if let Some(terminal) = &mut terminal {
            terminal.copy();
        }
        if ended {
            break;
        }
    }
    if let Some(terminal) = &mut terminal {
        terminal.drain();
    }
    drop(terminal);
    status_of(pid)
}

/// Reaps the program and turns how it ended into an exit status.
///
/// # Errors
/// It is no child of this process.
pub fn status_of(pid: i32) -> Result<i32> {
    loop {
        match waitpid(Pid::from_raw(pid), None) {
            Err(Errno::EINTR) => {}
            Ok(WaitStatus::Exited(_, status)) => return Ok(status),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(128 + signal as i32),
            Ok(_) => {}
            Err(errno) => return Err(errno).or_error(|| "wait for the container's process".into()),
        }
    }
}

fn forward(signal: i32, pid: i32, process: BorrowedFd<'_>, terminal: Option<&Terminal>) {
    match signal {
        libc::SIGCHLD => reap_others(pid),
        libc::SIGWINCH => {
            if let Some(terminal) = terminal {
                terminal.resize();
            }
        }
        // Sent by the terminal driver to a background reader or writer: meant for this process.
        libc::SIGTTIN | libc::SIGTTOU => {}
        signal => {
            // A program that has ended needs no signal any more.
            let _ = pidfd::send_signal(process, signal);
        }
    }
}

/// Orphans of the container that became children of this process.
fn reap_others(pid: i32) {
    use nix::sys::wait::{Id, waitid};
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Ok(WaitStatus::Exited(other, _) | WaitStatus::Signaled(other, ..)) = waitid(Id::All, look) {
        if other.as_raw() == pid {
            return;
        }
        let _ = waitpid(other, Some(WaitPidFlag::WNOHANG));
    }
}

/// How much of a terminal's output is copied in one go, in bytes.
const PART: usize = 8192;
/// More than the kernel keeps of what was written to a terminal and not read yet, in bytes (64 KiB, tty_buffer.c).
const HELD: usize = 256 << 10;

/// The container's terminal, shown on this process's.
#[derive(Debug)]
struct Terminal {
    master: OwnedFd,
    saved: Option<Termios>,
    /// Typed here, not taken by the container yet.
    pending: Vec<u8>,
    input: bool,
    output: bool,
}

impl Terminal {
    fn attach(master: OwnedFd) -> Result<Self> {
        let stdin = std::io::stdin();
        let saved = tcgetattr(stdin.as_fd()).ok();
        if let Some(saved) = &saved {
            let mut raw = saved.clone();
            cfmakeraw(&mut raw);
            tcsetattr(stdin.as_fd(), SetArg::TCSANOW, &raw).or_error(|| "make the terminal raw".into())?;
        }
        let flags = fcntl(&master, FcntlArg::F_GETFL).or_error(|| "inspect the terminal".into())?;
        let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
        fcntl(&master, FcntlArg::F_SETFL(flags)).or_error(|| "make the terminal non-blocking".into())?;
        let terminal = Self { master, saved, pending: Vec::new(), input: true, output: true };
        terminal.resize();
        Ok(terminal)
    }

    /// The container's terminal gets the size of this one, if this is one.
    fn resize(&self) {
        fit(self.master.as_fd());
    }

    fn wanted<'fd>(&'fd self, fds: &mut Vec<PollFd<'fd>>) {
        let mut flags = PollFlags::empty();
        if self.output {
            flags |= PollFlags::POLLIN;
        }
        if !self.pending.is_empty() {
            flags |= PollFlags::POLLOUT;
        }
        if self.output {
            fds.push(PollFd::new(self.master.as_fd(), flags));
        }
        if self.input && self.pending.is_empty() {
            fds.push(PollFd::new(stdin_fd(), PollFlags::POLLIN));
        }
    }

    /// Copies what can be copied without waiting, a part at a time: a program that writes without end must not keep what
    /// is typed, or a signal, from reaching it.
    fn copy(&mut self) {
        self.copy_output(1);
        if self.input && self.pending.is_empty() && is_readable(stdin_fd()) {
            let mut buffer = [0; 4096];
            match read(stdin_fd(), &mut buffer) {
                Ok(0) => {
                    // The end of what is typed, as a terminal says it.
                    self.input = false;
                    self.pending.push(4);
                }
                Ok(length) => self.pending.extend_from_slice(&buffer[..length]),
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(_) => self.input = false,
            }
        }
        while !self.pending.is_empty() {
            match write(&self.master, &self.pending) {
                Ok(length) => drop(self.pending.drain(..length)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(_) => {
                    self.pending.clear();
                    self.input = false;
                }
            }
        }
    }

    fn copy_output(&mut self, parts: usize) {
        let mut buffer = [0; PART];
        for _ in 0..parts {
            match read(&self.master, &mut buffer) {
                Ok(length) if length > 0 => write_all(std::io::stdout().as_fd(), &buffer[..length]),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                // The last process has closed its end.
                _ => self.output = false,
            }
            if !self.output {
                return;
            }
        }
    }

    /// What the program wrote before it ended: no more than a terminal holds, as others may go on to write.
    fn drain(&mut self) {
        self.copy_output(HELD / PART);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(saved) = &self.saved {
            let _ = tcsetattr(stdin_fd(), SetArg::TCSANOW, saved);
        }
    }
}

fn stdin_fd() -> BorrowedFd<'static> {
    crate::sys::fd::stdin()
}

fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match write(fd, bytes) {
            Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
                let _ = poll(&mut fds, PollTimeout::NONE);
            }
            // Nobody looks any more.
            Err(_) => return,
        }
    }
}
