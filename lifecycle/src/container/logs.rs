//! Reading logs: from their beginning or the last lines, and on as they grow.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::iter;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use flate2::read::GzDecoder;
use futures_util::StreamExt;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::{Container, Output, received, streams};
use crate::error::Result;
use crate::logger::{NOTIFY, find_last, is_compressed, lock, older};
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
    /// With the attributes before each line.
    pub details: bool,
    /// Go on as the log grows.
    pub follow: bool,
}

#[derive(Deserialize)]
struct Line {
    log: String,
    stream: String,
    time: String,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
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
        let mut text = if self.timestamps { line.time + " " } else { String::new() };
        if self.details {
            let pairs =
                line.attrs.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
            text += &(pairs.collect::<Vec<_>>().join(",") + " ");
        }
        Some((number, Bytes::from(text + &line.log)))
    }
}

/// Text as Go has it in a query.
fn escaped(text: &str) -> String {
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    utf8_percent_encode(text, ESCAPED).to_string().replace("%20", "+")
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
    let exits = container.record().exits;
    // Before anything is read, so that nothing is missed between.
    let news = if follow { streams::subscribe(&container.log_socket(), NOTIFY).await.ok() } else { None };
    let mut log = Log::new(&container.log());
    let query = Arc::new(query);
    // A thread at a time for each reader, however often there is something new.
    let send = async |mut log: Log, most: Option<usize>| {
        let (query, sender) = (Arc::clone(&query), sender.clone());
        let sent = spawn_blocking(move || {
            most.map_or(Ok(()), |most| log.skip_to_last(most))?;
            log.each(&query, |item| sender.blocking_send(item).is_ok()).map(|()| log)
        });
        sent.await?
    };
    log = send(log, query.tail).await?;
    let Some(mut news) = news else { return Ok(()) };
    loop {
        let mut told = [0; 64];
        let ended = tokio::select! {
            count = news.read(&mut told) => !matches!(count, Ok(1..)),
            () = sender.closed() => return Ok(()),
        };
        log = send(log, None).await?;
        if ended {
            // Whoever has read all of it finds that the container has ended.
            container.end_known(exits).await;
        }
        if ended || query.until.is_some_and(|until| Time::now() > until) {
            return Ok(());
        }
    }
}

/// A log that is read from its beginning, and on as it grows.
struct Log {
    path: PathBuf,
    /// What is to be read after the file, the next one last.
    next: Vec<(PathBuf, File)>,
    file: Option<(File, Box<dyn BufRead + Send>)>,
    /// The beginning of a line that is not complete.
    rest: Vec<u8>,
    /// How many lines come before those that are wanted.
    skipped: usize,
}

impl Log {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), next: files(path), file: None, rest: Vec::new(), skipped: 0 }
    }

    /// Goes to where the last so many lines begin.
    fn skip_to_last(&mut self, most: usize) -> io::Result<()> {
        let mut found = 0;
        for at in 0..self.next.len() {
            let (path, file) = &mut self.next[at];
            let wanted = most - found;
            if is_compressed(path) {
                let lines = BufReader::new(GzDecoder::new(&*file)).split(b'\n');
                let count = lines.map_while(Result::ok).count();
                file.rewind()?;
                (self.skipped, found) = (count.saturating_sub(wanted), found + count.min(wanted));
            } else {
                let (start, count) = find_last(file, wanted)?;
                file.seek(SeekFrom::Start(start))?;
                found += count;
            }
            if found == most {
                self.next.truncate(at + 1);
                break;
            }
        }
        Ok(())
    }

    /// Takes the lines up to the end, as long as `emit` wants them.
    fn each(&mut self, query: &Query, mut emit: impl FnMut((u8, Bytes)) -> bool) -> Result<()> {
        while let Some(line) = self.line(query.follow)? {
            if self.skipped > 0 {
                self.skipped -= 1;
            } else if query.take(&line).is_some_and(|item| !emit(item)) {
                break;
            }
        }
        Ok(())
    }

    /// The next line that is complete, from the next file where one ends; whoever follows finds those that come.
    fn line(&mut self, follow: bool) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some((_, file)) = &mut self.file
                && file.read_until(b'\n', &mut self.rest)? > 0
                && self.rest.ends_with(b"\n")
            {
                return Ok(Some(std::mem::take(&mut self.rest)));
            }
            if let Some((path, file)) = self.next.pop() {
                let own = file.try_clone()?;
                let reader: Box<dyn BufRead + Send> = match is_compressed(&path) {
                    true => Box::new(BufReader::new(GzDecoder::new(file))),
                    false => Box::new(BufReader::with_capacity(64 << 10, file)),
                };
                (self.file, self.rest) = (Some((own, reader)), Vec::new());
            } else if !follow || !self.find_newer() {
                return Ok(None);
            }
        }
    }

    /// Whether there are newer files. What the one before got until it was rotated is read before them.
    fn find_newer(&mut self) -> bool {
        let is_own = |path: &Path, file: &File| {
            let own = self.file.as_ref().and_then(|(own, _)| own.metadata().ok());
            let (Some(own), Ok(meta)) = (own, file.metadata()) else { return false };
            // It may have been compressed meanwhile.
            meta.ino() == own.ino() || is_compressed(path) && meta.modified().ok() == own.modified().ok()
        };
        if File::open(&self.path).is_ok_and(|log| !is_own(&self.path, &log)) {
            self.next =
                files(&self.path).into_iter().take_while(|(path, file)| !is_own(path, file)).collect();
        }
        !self.next.is_empty()
    }
}

/// The files of a log, the newest first.
fn files(path: &Path) -> Vec<(PathBuf, File)> {
    // Between two rotations, so that each is found, and none twice.
    let _still = lock(path, File::lock_shared);
    let paths = iter::once(path.to_owned()).chain(older(path).into_values());
    paths.filter_map(|path| File::open(&path).ok().map(|file| (path, file))).collect()
}

#[cfg(test)]
mod tests {
    use crate::logger::{JsonFile, Options};

    use super::*;

    #[test]
    fn nothing_is_missing_or_twice_while_a_log_is_rotated() {
        const LINES: usize = 3000;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let options = Options { max_size: Some(1000), max_file: 1000, compress: true, ..Options::default() };
        let mut log = JsonFile::open(&path, options).unwrap();
        std::thread::spawn(move || {
            (0..LINES).for_each(|number| log.add(1, format!("{number}\n").as_bytes()).unwrap());
        });
        let count = |log: &mut Log, seen: &mut usize, follow| {
            let query = Query { stdout: true, follow, ..Query::default() };
            let each = |(_, line): (u8, Bytes)| {
                assert_eq!(line, format!("{seen}\n"), "follow: {follow}");
                *seen += 1;
                true
            };
            log.each(&query, each).unwrap();
        };
        let (mut followed, mut seen) = (Log::new(&path), 0);
        while seen < LINES {
            count(&mut followed, &mut seen, true);
            let mut all = 0;
            count(&mut Log::new(&path), &mut all, false);
            assert!(all >= seen);
        }
        // The last of them, in the last file and in those before it.
        for wanted in [0, 1, 20, LINES - 1, LINES, LINES + 1] {
            let mut log = Log::new(&path);
            log.skip_to_last(wanted).unwrap();
            let mut next = LINES.saturating_sub(wanted);
            count(&mut log, &mut next, false);
            assert_eq!(next, LINES);
        }
    }
}
