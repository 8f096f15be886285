//! Reading logs: from their beginning or the last lines, and on as they grow.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::task::block_in_place;

use super::{Container, Output, received, streams};
use crate::error::Result;
use crate::logger::{NOTIFY, rotated};
use crate::time::{self, Time};

/// What of a log is wanted.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Only so many lines at the end.
    pub tail: Option<usize>,
    /// Nothing before.
    pub since: Option<Time>,
    /// Nothing after.
    pub until: Option<Time>,
    /// With the time before each line.
    pub timestamps: bool,
    /// Go on as the log grows.
    pub follow: bool,
}

#[derive(Deserialize)]
struct Line {
    log: String,
    stream: String,
    time: String,
}

impl Query {
    /// Whether the line is wanted, and as what: the stream and the bytes.
    fn take(&self, line: &[u8]) -> Option<(u8, Bytes)> {
        // A line that is damaged is left out, the others are not.
        let line: Line = serde_json::from_slice(line).ok()?;
        let number = if line.stream == "stderr" { 2 } else { 1 };
        if number == 1 && !self.stdout || number == 2 && !self.stderr {
            return None;
        }
        if self.since.is_some() || self.until.is_some() {
            let time = time::parse(&line.time)?;
            if self.since.is_some_and(|since| time < since) || self.until.is_some_and(|until| time > until) {
                return None;
            }
        }
        let text = if self.timestamps { format!("{} {}", line.time, line.log) } else { line.log };
        Some((number, Bytes::from(text)))
    }
}

/// Sends what is wanted of a container's log.
pub fn read(container: &Arc<Container>, query: Query) -> Output {
    let (sender, receiver) = mpsc::channel(64);
    let container = Arc::clone(container);
    tokio::spawn(async move { container.report(send(&container, query, sender).await) });
    received(receiver).boxed()
}

async fn send(container: &Arc<Container>, query: Query, sender: mpsc::Sender<(u8, Bytes)>) -> Result<()> {
    let follow = query.follow && container.record().state.status.is_up();
    // Before anything is read, so that nothing is missed between.
    let news = if follow { streams::subscribe(&container.log_socket(), NOTIFY).await.ok() } else { None };
    let mut log = Log::new(&container.log());
    block_in_place(|| past(&mut log, &query, &sender))?;
    let Some(mut news) = news else { return Ok(()) };
    loop {
        let ended = !matches!(news.read(&mut [0; 64]).await, Ok(1..));
        block_in_place(|| log.each(&query, |item| sender.blocking_send(item).is_ok()))?;
        if ended || sender.is_closed() || query.until.is_some_and(|until| Time::now() > until) {
            return Ok(());
        }
    }
}

/// Sends what is there: all, or the last of it.
fn past(log: &mut Log, query: &Query, sender: &mpsc::Sender<(u8, Bytes)>) -> Result<()> {
    let mut last = VecDeque::new();
    log.each(query, |item| {
        let Some(most) = query.tail else { return sender.blocking_send(item).is_ok() };
        last.push_back(item);
        last.drain(..last.len().saturating_sub(most));
        true
    })?;
    // When one is not wanted any more, none is.
    let _all = last.into_iter().try_for_each(|item| sender.blocking_send(item));
    Ok(())
}

/// A log that is read from its beginning, and on as it grows.
struct Log {
    path: PathBuf,
    /// What was rotated away before, the oldest last.
    older: Vec<PathBuf>,
    file: Option<BufReader<File>>,
    /// The beginning of a line that is not complete.
    rest: Vec<u8>,
}

impl Log {
    fn new(path: &Path) -> Self {
        let older = (1..).map(|number| rotated(path, number)).take_while(|path| path.exists());
        Self { path: path.to_owned(), older: older.collect(), file: None, rest: Vec::new() }
    }

    /// Takes the lines up to the end, as long as `emit` wants them.
    fn each(&mut self, query: &Query, mut emit: impl FnMut((u8, Bytes)) -> bool) -> Result<()> {
        while let Some(line) = self.line()? {
            if query.take(&line).is_some_and(|item| !emit(item)) {
                break;
            }
        }
        Ok(())
    }

    /// The next line that is complete, from the next file where one ends.
    fn line(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some(file) = &mut self.file
                && file.read_until(b'\n', &mut self.rest)? > 0
                && self.rest.ends_with(b"\n")
            {
                return Ok(Some(std::mem::take(&mut self.rest)));
            }
            let older = self.older.pop();
            let inode = |file: &File| file.metadata().map(|meta| meta.ino()).unwrap_or(0);
            let current = self.file.as_ref().map(|file| inode(file.get_ref()));
            match File::open(older.as_ref().unwrap_or(&self.path)) {
                Ok(next) if current != Some(inode(&next)) => {
                    self.file = Some(BufReader::with_capacity(64 << 10, next));
                    self.rest.clear();
                }
                // There is no other (yet).
                _ if older.is_none() => return Ok(None),
                _ => {}
            }
        }
    }
}
