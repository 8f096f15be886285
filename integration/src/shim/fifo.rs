//! The FIFOs of a process, as containerd's clients make them.

use super::client::patience;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

/// Where a process's streams lead.
#[derive(Debug, Clone, Default)]
pub struct Stdio {
    /// Path of a FIFO, or empty.
    pub stdin: String,
    /// Path of a FIFO, a URI, or empty.
    pub stdout: String,
    /// Path of a FIFO, or empty.
    pub stderr: String,
    /// A terminal is wanted.
    pub terminal: bool,
}

impl Stdio {
    /// All three FIFOs, made in a directory.
    ///
    /// # Panics
    /// When they cannot be made.
    pub fn fifos(directory: &Path, name: &str) -> Stdio {
        let make = |stream: &str| {
            let path = directory.join(format!("{name}-{stream}"));
            mkfifo(&path, Mode::from_bits_truncate(0o600)).unwrap();
            path.to_string_lossy().into_owned()
        };
        Stdio { stdin: make("stdin"), stdout: make("stdout"), stderr: make("stderr"), terminal: false }
    }

    /// As [`Stdio::fifos`], for a terminal.
    pub fn terminal(directory: &Path, name: &str) -> Stdio {
        Stdio { stderr: String::new(), terminal: true, ..Stdio::fifos(directory, name) }
    }
}

#[derive(Default)]
struct Taken {
    bytes: Vec<u8>,
    ended: bool,
}

/// What comes out of a FIFO.
#[derive(Clone)]
pub struct Output(Arc<(Mutex<Taken>, Condvar)>);

impl Output {
    /// Reads a FIFO to its end in the background.
    pub fn of(path: &str) -> Output {
        let output = Output(Arc::default());
        let (shared, path) = (Arc::clone(&output.0), PathBuf::from(path));
        std::thread::spawn(move || {
            let mut fifo = File::open(path).unwrap();
            let mut part = [0; 4096];
            loop {
                let count = fifo.read(&mut part).unwrap_or(0);
                let mut taken = shared.0.lock().unwrap();
                taken.bytes.extend_from_slice(&part[..count]);
                taken.ended = count == 0;
                shared.1.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        output
    }

    fn until(&self, what: &str, done: impl Fn(&Taken) -> bool) -> String {
        let deadline = Instant::now() + patience();
        let mut taken = self.0.0.lock().unwrap();
        while !done(&taken) {
            let left = deadline.saturating_duration_since(Instant::now());
            let text = String::from_utf8_lossy(&taken.bytes);
            assert!(!left.is_zero(), "waited for {what}, got {text:?}");
            taken = self.0.1.wait_timeout(taken, left).unwrap().0;
        }
        String::from_utf8_lossy(&taken.bytes).into_owned()
    }

    /// Waits for the end of the output and returns all of it.
    ///
    /// # Panics
    /// When it does not end.
    pub fn end(&self) -> String {
        self.until("the end", |taken| taken.ended)
    }

    /// Waits until a text has come out, and returns all so far.
    ///
    /// # Panics
    /// When it does not come.
    pub fn expect(&self, text: &str) -> String {
        let holds = |taken: &Taken| String::from_utf8_lossy(&taken.bytes).contains(text);
        self.until(text, holds)
    }

    /// What has come out so far.
    ///
    /// # Panics
    /// Never, unless a reader panicked.
    pub fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.0.0.lock().unwrap().bytes).into_owned()
    }
}

/// Opens a FIFO for writing; waits until somebody reads it.
///
/// # Panics
/// When it cannot be opened.
pub fn writer(path: &str) -> File {
    OpenOptions::new().write(true).open(path).unwrap()
}

/// Writes a text into a FIFO and closes it.
///
/// # Panics
/// When it cannot be written.
pub fn write(path: &str, text: &str) {
    writer(path).write_all(text.as_bytes()).unwrap();
}
