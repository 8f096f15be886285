//! Reading logs: from their beginning or the last lines, and on as they grow.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::task::block_in_place;

use super::{Container, Output, streams};
use crate::error::Result;
use crate::logger::rotated;
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
    receiver
}

async fn send(container: &Arc<Container>, query: Query, sender: mpsc::Sender<(u8, Bytes)>) -> Result<()> {
    let follow = query.follow && container.record().state.status.is_up();
    // Before anything is read, so that nothing is missed between.
    let news = match follow {
        true => streams::notify(&container.log_socket()).await.ok(),
        false => None,
    };
    let mut tail = block_in_place(|| past(&container.log(), &query, &sender))?;
    let Some(mut news) = news else { return Ok(()) };
    loop {
        let ended = !matches!(news.read(&mut [0; 64]).await, Ok(1..));
        block_in_place(|| tail.more(&query, &sender))?;
        if ended || sender.is_closed() || query.until.is_some_and(|until| Time::now() > until) {
            return Ok(());
        }
    }
}

/// The end of a log that grows.
struct Tail {
    path: PathBuf,
    file: Option<BufReader<File>>,
    /// The beginning of a line that is not complete.
    rest: Vec<u8>,
}

impl Tail {
    /// Takes the lines to the end of the file, as long as `emit` wants them; whether it still does.
    fn lines(&mut self, query: &Query, emit: &mut dyn FnMut((u8, Bytes)) -> bool) -> Result<bool> {
        let Some(file) = &mut self.file else { return Ok(true) };
        while file.read_until(b'\n', &mut self.rest)? > 0 && self.rest.ends_with(b"\n") {
            let item = query.take(&self.rest);
            self.rest.clear();
            if item.is_some_and(|item| !emit(item)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn open(&mut self, file: File) {
        self.file = Some(BufReader::with_capacity(64 << 10, file));
        self.rest.clear();
    }

    /// Reads on to the end, into the next file when the log was rotated.
    fn more(&mut self, query: &Query, sender: &mpsc::Sender<(u8, Bytes)>) -> Result<()> {
        while self.lines(query, &mut |item| sender.blocking_send(item).is_ok())? {
            let Ok(now) = File::open(&self.path) else { break };
            let inode = |file: &File| file.metadata().map(|meta| meta.ino()).unwrap_or(0);
            if self.file.as_ref().is_some_and(|file| inode(file.get_ref()) == inode(&now)) {
                break;
            }
            self.open(now);
        }
        Ok(())
    }
}

/// Sends what is there, and returns where to go on.
fn past(path: &Path, query: &Query, sender: &mpsc::Sender<(u8, Bytes)>) -> Result<Tail> {
    let older = (1..).map(|number| rotated(path, number)).take_while(|path| path.exists());
    let mut paths: Vec<PathBuf> = older.collect();
    paths.reverse();
    paths.push(path.to_owned());
    let mut last = VecDeque::new();
    let mut emit = |item: (u8, Bytes)| match query.tail {
        None => sender.blocking_send(item).is_ok(),
        Some(most) => {
            last.push_back(item);
            if last.len() > most {
                last.pop_front();
            }
            true
        }
    };
    let mut tail = Tail { path: path.to_owned(), file: None, rest: Vec::new() };
    for path in &paths {
        let Ok(file) = File::open(path) else { continue };
        tail.open(file);
        if !tail.lines(query, &mut emit)? {
            return Ok(tail);
        }
    }
    // When one is not wanted any more, none is.
    let _all = last.into_iter().try_for_each(|item| sender.blocking_send(item));
    Ok(tail)
}
