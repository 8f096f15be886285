//! Docker's `json-file` format: one JSON object for each line of output, and rotation by size.
//!
//! Older files have numbers (`log.1`, `log.2`…), and those that are compressed end in `.gz`. A name of these is given to
//! complete files only: while one is compressed there is `log.1`, then both for a moment, which are the same, and then
//! `log.1.gz`. Whoever gives names or wants to find each file once holds a [`lock()`].

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::{files, time};

/// Longer lines are cut, as dockerd does.
const LONGEST_LINE: usize = 16 << 10;

/// What a file that is being compressed ends in.
const UNFINISHED: &str = ".unfinished";

/// How long the end of a log waits for what is being compressed: less than a shim waits for its logger.
const LAST_FILE: Duration = Duration::from_secs(1);

/// How a log is written: when it is rotated, how much is kept, and what is said with each line.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Bytes of one file; without a limit it is not rotated.
    pub max_size: Option<u64>,
    /// How many files there are, the current one included.
    pub max_file: u32,
    /// Whether those that are not current are compressed.
    pub compress: bool,
    /// What is written with each line.
    pub attributes: BTreeMap<String, String>,
}

/// A log that is written.
#[derive(Debug)]
pub struct JsonFile {
    path: PathBuf,
    file: File,
    size: u64,
    options: Options,
    /// The attributes, as they are in each line.
    attributes: String,
    /// It ends when the file that was rotated last is compressed.
    compressing: Option<Receiver<()>>,
    /// What came after the last line's end, for each stream.
    rest: [Vec<u8>; 2],
}

impl JsonFile {
    /// Opens a log to append to.
    ///
    /// # Errors
    /// With the path.
    pub fn open(path: &Path, options: Options) -> Result<Self> {
        remove_left(path);
        let file = append(path)?;
        // A logger that was killed may have left the beginning of a line, which would take the next one along.
        let (size, _) = find_last(&file, 0).map_err(Error::at("read", path))?;
        if file.metadata().is_ok_and(|meta| meta.len() > size) {
            file.set_len(size).map_err(Error::at("write", path))?;
        }
        let attributes = match options.attributes.is_empty() {
            true => String::new(),
            false => format!("\"attrs\":{},", json(&options.attributes)),
        };
        let path = path.to_owned();
        Ok(Self { path, file, size, options, attributes, compressing: None, rest: Default::default() })
    }

    /// Takes output of stream 1 or 2 and writes the lines that are complete.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add(&mut self, stream: u8, bytes: &[u8]) -> Result<()> {
        self.take(stream, bytes, false)
    }

    /// Writes what has no line's end.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(&mut self) -> Result<()> {
        [1, 2].into_iter().try_for_each(|stream| self.take(stream, &[], true))
    }

    /// Writes the lines of a stream that are complete, and with the `last` bytes the one that is not.
    fn take(&mut self, stream: u8, bytes: &[u8], last: bool) -> Result<()> {
        let mut rest = std::mem::take(&mut self.rest[usize::from(stream == 2)]);
        rest.extend_from_slice(bytes);
        let lines = rest.split_inclusive(|byte| *byte == b'\n').flat_map(|line| line.chunks(LONGEST_LINE));
        let is_whole = |line: &&[u8]| last || line.ends_with(b"\n") || line.len() == LONGEST_LINE;
        let (mut taken, mut text, time, mut written) = (0, String::new(), time::now(), Ok(()));
        for line in lines.take_while(is_whole) {
            push_line(&mut text, stream, line, &self.attributes, &time);
            taken += line.len();
            // Rotated between lines, so that one file may be a little larger by what is written at once.
            if self.options.max_size.is_some() {
                written = written.and(self.write(&std::mem::take(&mut text)));
            }
        }
        self.rest[usize::from(stream == 2)] = rest.split_off(taken);
        written.and(self.write(&text))
    }

    fn write(&mut self, lines: &str) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let size = lines.len() as u64;
        if self.options.max_size.is_some_and(|most| self.size > 0 && self.size + size > most) {
            self.rotate()?;
        }
        let written = self.file.write_all(lines.as_bytes());
        match &written {
            Ok(()) => self.size += size,
            // On a full disk, of a line there is all or nothing.
            Err(_) => drop(self.file.set_len(self.size)),
        }
        written.map_err(Error::at("write", &self.path))
    }

    fn rotate(&mut self) -> Result<()> {
        if let Some(compressing) = self.compressing.take() {
            let _ended = compressing.recv();
        }
        let alone = lock(&self.path, File::lock);
        // No two have the same, by which readers know what they have read when it is compressed: the kernel's clock
        // for files is slower than that.
        self.file.set_modified(SystemTime::now()).map_err(Error::at("rotate", &self.path))?;
        let mut all = older(&self.path);
        match self.path.exists() {
            true => drop(all.insert(0, self.path.clone())),
            // One before has failed of its last step alone.
            false => all.clear(),
        }
        for (number, old) in all.into_iter().rev() {
            let end = if is_compressed(&old) { ".gz" } else { "" };
            let moved = match number + 1 < self.options.max_file {
                true => fs::rename(&old, self.path.with_added_extension(format!("{}{end}", number + 1))),
                false => fs::remove_file(&old),
            };
            moved.map_err(Error::at("rotate", &old))?;
        }
        self.file = append(&self.path)?;
        self.size = 0;
        drop(alone);
        if self.options.compress {
            let (ended, compressing) = mpsc::channel();
            let path = self.path.with_added_extension("1");
            // When it fails the file stays as it is, which is as good.
            let compressed = move || drop((compress(&path), ended));
            self.compressing = thread::Builder::new().spawn(compressed).ok().map(|_| compressing);
        }
        Ok(())
    }
}

impl Drop for JsonFile {
    fn drop(&mut self) {
        if let Some(compressing) = &self.compressing {
            let _late = compressing.recv_timeout(LAST_FILE);
        }
    }
}

/// Puts a compressed file in the place of one that was rotated.
fn compress(path: &Path) -> io::Result<()> {
    let mut plain = File::open(path)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mode = Permissions::from_mode(0o640);
    let file = tempfile::Builder::new().suffix(UNFINISHED).permissions(mode).tempfile_in(folder)?;
    let mut encoder = GzEncoder::new(file, Compression::default());
    io::copy(&mut plain, &mut encoder)?;
    let file = encoder.finish()?;
    file.as_file().set_modified(plain.metadata()?.modified()?)?;
    file.as_file().sync_all()?;
    let _alone = lock(path, File::lock);
    // The logger of the container's next run may have begun, and rotated it.
    if fs::metadata(path)?.ino() == plain.metadata()?.ino() {
        file.persist(path.with_added_extension("gz"))?;
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Removes what a logger that was killed has left: files that are not complete, and those that are there compressed.
fn remove_left(path: &Path) {
    let all = path.parent().map(files::entries).unwrap_or_default();
    let unfinished = all.into_iter().filter(|path| files::name_of(path).ends_with(UNFINISHED));
    let compressed = older(path).into_values().filter(|path| is_compressed(path));
    for left in unfinished.chain(compressed.map(|path| path.with_extension(""))) {
        let _none = fs::remove_file(left);
    }
}

/// Adds a line of output to what is to be written.
fn push_line(out: &mut String, stream: u8, line: &[u8], attributes: &str, time: &str) {
    let text = json(&String::from_utf8_lossy(line));
    let stream = if stream == 2 { "stderr" } else { "stdout" };
    out.push_str(&format!("{{\"log\":{text},\"stream\":\"{stream}\",{attributes}\"time\":\"{time}\"}}\n"));
}

/// JSON as Go's encoder has it.
fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// The older files of a log by their number; the higher, the older. One that is there twice is the compressed one.
pub(crate) fn older(path: &Path) -> BTreeMap<u32, PathBuf> {
    let log = files::name_of(path) + ".";
    let number = |path: &Path| {
        let name = files::name_of(path);
        let end = name.strip_prefix(&log)?;
        end.strip_suffix(".gz").unwrap_or(end).parse().ok()
    };
    let mut all = path.parent().map(files::entries).unwrap_or_default();
    all.sort();
    all.into_iter().filter_map(|path| Some((number(&path)?, path))).collect()
}

/// Whether a file of a log is compressed.
pub(crate) fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "gz")
}

/// Locks the names of a log's files, alone or with others, until it is dropped.
pub(crate) fn lock(path: &Path, way: fn(&File) -> io::Result<()>) -> Option<File> {
    let folder = File::open(path.parent()?).ok()?;
    // A log is better than its order, where a file system has no locks.
    way(&folder).ok().map(|()| folder)
}

/// Where the last lines of a file begin, at most so many, and how many that are. The beginning of one more does not count.
pub(crate) fn find_last(file: &File, most: usize) -> io::Result<(u64, usize)> {
    let mut buffer = vec![0; 64 << 10];
    let (mut end, mut found) = (file.metadata()?.len(), 0);
    while end > 0 {
        let length = usize::try_from(end).map_or(buffer.len(), |end| end.min(buffer.len()));
        let (start, part) = (end - length as u64, &mut buffer[..length]);
        file.read_exact_at(part, start)?;
        for (at, _) in part.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            if found == most {
                return Ok((start + at as u64 + 1, found));
            }
            found += 1;
        }
        end = start;
    }
    Ok((0, found))
}

fn append(path: &Path) -> Result<File> {
    fs::OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
        .map_err(Error::at("open", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &Path, max_size: Option<u64>, max_file: u32) -> JsonFile {
        JsonFile::open(&folder.join("log"), Options { max_size, max_file, ..Options::default() }).unwrap()
    }

    #[test]
    fn lines_are_written_when_they_are_complete() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = open(folder.path(), None, 1);
        log.add(1, b"a<b\nhalf").unwrap();
        log.add(2, b"err\n").unwrap();
        let text = || fs::read_to_string(folder.path().join("log")).unwrap();
        assert_eq!(text().lines().count(), 2);
        assert!(text().starts_with("{\"log\":\"a\\u003cb\\n\",\"stream\":\"stdout\",\"time\":\"2"));
        log.add(1, b" whole\n").unwrap();
        assert!(text().contains("half whole\\n"));
        log.add(1, b"end").unwrap();
        log.finish().unwrap();
        assert!(text().contains("\"end\""));
        log.add(1, &vec![b'x'; 40_000]).unwrap();
        assert_eq!(text().lines().count(), 6);
    }

    #[test]
    fn the_beginning_of_a_line_takes_none_along() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        for left in ["", "{\"log\":\"cut o"] {
            open(folder.path(), None, 1).add(1, b"whole\n").unwrap();
            let whole = fs::read_to_string(&path).unwrap();
            fs::write(&path, format!("{whole}{left}")).unwrap();
            open(folder.path(), None, 1).add(1, b"next\n").unwrap();
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.strip_prefix(&whole).unwrap().starts_with("{\"log\":\"next\\n\""), "{text}");
        }
    }

    #[test]
    fn the_last_lines_are_found_from_the_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let long = "x".repeat(200_000);
        std::fs::write(&file, format!("1\n{long}\n3\nunfinished")).unwrap();
        let find = |most| find_last(file.as_file(), most).unwrap();
        assert_eq!([0, 1, 2, 3, 4].map(find), [(200_005, 0), (200_003, 1), (2, 2), (0, 3), (0, 3)]);
    }

    #[test]
    fn a_log_is_rotated() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = open(folder.path(), Some(200), 3);
        for number in 0..20 {
            log.add(1, format!("line {number}\n").as_bytes()).unwrap();
        }
        let mut names: Vec<_> = files(folder.path());
        names.sort();
        assert_eq!(names, ["log", "log.1", "log.2"]);
        assert!(fs::read_to_string(folder.path().join("log")).unwrap().contains("line 19"));
        let mut log = open(folder.path(), Some(100), 1);
        log.add(1, b"one\ntwo\nthree\n").unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("log")).unwrap().lines().count(), 1);
    }

    #[test]
    fn what_a_killed_logger_has_left_is_not_read_twice() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["log.1", "log.1.gz", "log.2", "log.3.gz", "log.x.unfinished", "log.1.y"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let names =
            |log: &Path| older(log).values().map(|path| crate::files::name_of(path)).collect::<Vec<_>>();
        assert_eq!(names(&folder.path().join("log")), ["log.1.gz", "log.2", "log.3.gz"]);
        let options = Options { max_size: Some(1), max_file: 4, compress: true, ..Options::default() };
        let mut log = JsonFile::open(&folder.path().join("log"), options).unwrap();
        let mut left = files(folder.path());
        left.sort();
        assert_eq!(left, ["log", "log.1.gz", "log.1.y", "log.2", "log.3.gz"]);
        log.add(1, b"one\ntwo\n").unwrap();
        drop(log);
        assert_eq!(names(&folder.path().join("log")), ["log.1.gz", "log.2.gz", "log.3"]);
        let mut text = String::new();
        let packed = File::open(folder.path().join("log.1.gz")).unwrap();
        io::Read::read_to_string(&mut flate2::read::GzDecoder::new(packed), &mut text).unwrap();
        assert!(text.contains("one\\n"), "{text}");
    }

    #[test]
    fn options_of_before_are_read() {
        let old: Options = serde_json::from_str(r#"{"max_size":1024,"max_file":2}"#).unwrap();
        assert!(!old.compress && old.attributes.is_empty());
    }

    fn files(folder: &Path) -> Vec<String> {
        crate::files::entries(folder).iter().map(|path| crate::files::name_of(path)).collect()
    }
}
