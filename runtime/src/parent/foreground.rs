//! A command that stays while its program runs: signals go to the program, its terminal comes here, and its exit
//! status becomes the command's.

use super::error::{OrError, Result};
use crate::sys::{Errno, fd, pidfd, tty};
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

/// How much of a terminal's output is copied in one go, in bytes: a pipe that can be written to takes as much without waiting
/// (`PIPE_BUF`).
const PART: usize = 4096;
/// More than the kernel keeps of what was written to a terminal and not read yet, in bytes (64 KiB, tty_buffer.c).
const HELD: usize = 256 << 10;

/// The container's terminal, shown on this process's.
#[derive(Debug)]
struct Terminal {
    master: OwnedFd,
    saved: Option<Termios>,
    /// Typed here, not taken by the container yet.
    typed: Vec<u8>,
    /// Written by the container, not shown here yet.
    written: Vec<u8>,
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
        let (typed, written) = (Vec::new(), Vec::new());
        let terminal = Self { master, saved, typed, written, input: true, output: true };
        terminal.resize();
        Ok(terminal)
    }

    /// The container's terminal gets the size of this one, if this is one.
    fn resize(&self) {
        fit(self.master.as_fd());
    }

    fn wanted<'fd>(&'fd self, fds: &mut Vec<PollFd<'fd>>) {
        let mut flags = PollFlags::empty();
        if self.written.is_empty() {
            flags |= PollFlags::POLLIN;
        } else {
            fds.push(PollFd::new(fd::stdout(), PollFlags::POLLOUT));
        }
        if !self.typed.is_empty() {
            flags |= PollFlags::POLLOUT;
        }
        // A terminal that is closed on the other side says so, whatever it is asked.
        if self.output && !flags.is_empty() {
            fds.push(PollFd::new(self.master.as_fd(), flags));
        }
        if self.input && self.typed.is_empty() {
            fds.push(PollFd::new(fd::stdin(), PollFlags::POLLIN));
        }
    }

    /// Copies what can be copied without waiting, a part at a time: neither a program that writes without end nor a reader
    /// who does not read must keep what is typed, or a signal, from reaching the program.
    fn copy(&mut self) {
        if self.written.is_empty() {
            self.take_output();
        }
        if !self.written.is_empty() && is_ready(fd::stdout(), PollFlags::POLLOUT) {
            self.show();
        }
        if self.input && self.typed.is_empty() && is_ready(fd::stdin(), PollFlags::POLLIN) {
            let mut buffer = [0; 4096];
            match read(fd::stdin(), &mut buffer) {
                Ok(0) => {
                    // The end of what is typed, as a terminal says it.
                    self.input = false;
                    self.typed.push(4);
                }
                Ok(length) => self.typed.extend_from_slice(&buffer[..length]),
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(_) => self.input = false,
            }
        }
        while !self.typed.is_empty() {
            match write(&self.master, &self.typed) {
                Ok(length) => drop(self.typed.drain(..length)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(_) => {
                    self.typed.clear();
                    self.input = false;
                }
            }
        }
    }

    /// Takes a part of what the container has written.
    fn take_output(&mut self) {
        let mut buffer = [0; PART];
        match read(&self.master, &mut buffer) {
            Ok(length) if length > 0 => self.written.extend_from_slice(&buffer[..length]),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // The last process has closed its end.
            _ => self.output = false,
        }
    }

    /// Shows what was taken, as much of it as standard output takes at once.
    fn show(&mut self) {
        match write(fd::stdout(), &self.written) {
            Ok(length) => drop(self.written.drain(..length)),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // Nobody looks any more.
            Err(_) => self.written.clear(),
        }
    }

    /// What the program wrote before it ended: no more than a terminal holds, as others may go on to write.
    fn drain(&mut self) {
        for _ in 0..HELD / PART {
            while !self.written.is_empty() {
                let mut fds = [PollFd::new(fd::stdout(), PollFlags::POLLOUT)];
                let _ = poll(&mut fds, PollTimeout::NONE);
                self.show();
            }
            self.take_output();
            if self.written.is_empty() {
                return;
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(saved) = &self.saved {
            let _ = tcsetattr(fd::stdin(), SetArg::TCSANOW, saved);
        }
    }
}

fn is_ready(fd: BorrowedFd<'_>, flags: PollFlags) -> bool {
    let mut fds = [PollFd::new(fd, flags)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}
