//! A terminal for tests: the master side of a pseudo-terminal, read as it comes.

use crate::{outcome, sys};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::{OpenptyResult, openpty};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// The master side.
#[derive(Debug)]
pub struct Console {
    master: File,
    seen: Vec<u8>,
}

impl Console {
    /// Takes over a master that a runtime has handed over.
    ///
    /// # Panics
    /// When it is no descriptor that can be read.
    pub fn new(master: OwnedFd) -> Console {
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK | OFlag::O_RDWR)).unwrap();
        Console { master: File::from(master), seen: Vec::new() }
    }

    /// A new terminal: the master, and the other side for a program to run under.
    ///
    /// # Panics
    /// When there is no more.
    pub fn pair() -> (Console, OwnedFd) {
        let OpenptyResult { master, slave } = openpty(None, None).unwrap();
        (Console::new(master), slave)
    }

    /// Types.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn write(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Changes its size.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn resize(&self, rows: u16, columns: u16) {
        sys::set_window_size(self.master.as_fd(), rows, columns).unwrap();
    }

    /// Its size, as (rows, columns).
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn size(&self) -> (u16, u16) {
        sys::window_size(self.master.as_fd()).unwrap()
    }

    /// Its modes.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn modes(&self) -> Termios {
        tcgetattr(&self.master).unwrap()
    }

    /// Whether it echoes and works by lines.
    pub fn is_cooked(&self) -> bool {
        self.modes().local_flags.contains(LocalFlags::ECHO | LocalFlags::ICANON)
    }

    /// All output so far. False when the other side is closed and everything is read.
    fn read_more(&mut self) -> bool {
        let mut bytes = [0u8; 4096];
        loop {
            match self.master.read(&mut bytes) {
                Ok(0) => return false,
                Ok(length) => self.seen.extend(&bytes[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                // EIO: the last process closed the other side.
                Err(_) => return false,
            }
        }
    }

    /// What has come so far, as text.
    pub fn text(&mut self) -> String {
        self.read_more();
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Waits until the output has some text.
    pub fn expect(&mut self, text: &str) {
        let deadline = Instant::now() + outcome::BOUND;
        loop {
            let open = self.read_more();
            let seen = self.text();
            if seen.contains(text) {
                return;
            }
            assert!(open, "the terminal closed without {text:?}: {seen:?}");
            assert!(Instant::now() < deadline, "{text:?} did not come: {seen:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until the other side is closed, and returns all output.
    pub fn rest(&mut self) -> String {
        outcome::until("the end of the terminal", || !self.read_more());
        self.text()
    }
}
