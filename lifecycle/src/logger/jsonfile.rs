//! Docker's `json-file` format: one JSON object for each line of output, and rotation by size.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::time;

/// Longer lines are cut, as dockerd does.
const LONGEST_LINE: usize = 16 << 10;

/// When a log is rotated and how much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// Bytes of one file; without a limit it is not rotated.
    pub max_size: Option<u64>,
    /// How many files there are, the current one included.
    pub max_file: u32,
}

/// A log that is written.
#[derive(Debug)]
pub struct JsonFile {
    path: PathBuf,
    file: File,
    size: u64,
    rotation: Rotation,
    /// What came after the last line's end, for each stream.
    rest: [Vec<u8>; 2],
}

impl JsonFile {
    /// Opens a log to append to.
    ///
    /// # Errors
    /// With the path.
    pub fn open(path: &Path, rotation: Rotation) -> Result<Self> {
        let file = append(path)?;
        let size = file.metadata().map_or(0, |meta| meta.len());
        Ok(Self { path: path.to_owned(), file, size, rotation, rest: Default::default() })
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
        let (mut taken, mut text, time) = (0, String::new(), time::now());
        for line in lines.take_while(is_whole) {
            push_line(&mut text, stream, line, &time);
            taken += line.len();
            // Rotated between lines, so that one file may be a little larger by what is written at once.
            if self.rotation.max_size.is_some() {
                self.write(&std::mem::take(&mut text))?;
            }
        }
        self.rest[usize::from(stream == 2)] = rest.split_off(taken);
        self.write(&text)
    }

    fn write(&mut self, lines: &str) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let size = lines.len() as u64;
        if self.rotation.max_size.is_some_and(|most| self.size > 0 && self.size + size > most) {
            self.rotate()?;
        }
        self.size += size;
        self.file.write_all(lines.as_bytes()).map_err(Error::at("write", &self.path))
    }

    fn rotate(&mut self) -> Result<()> {
        let last = self.rotation.max_file.max(1) - 1;
        for number in (1..last).rev() {
            // The first rotations find fewer files.
            let _missing = fs::rename(rotated(&self.path, number), rotated(&self.path, number + 1));
        }
        if last == 0 {
            self.file.set_len(0).map_err(Error::at("shorten", &self.path))?;
        } else {
            fs::rename(&self.path, rotated(&self.path, 1)).map_err(Error::at("rotate", &self.path))?;
            self.file = append(&self.path)?;
        }
        self.size = 0;
        Ok(())
    }
}

/// Adds a line of output to what is to be written.
fn push_line(out: &mut String, stream: u8, line: &[u8], time: &str) {
    let text = serde_json::to_string(&String::from_utf8_lossy(line)).unwrap_or_default();
    // As Go's encoder has it.
    let text = text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    let stream = if stream == 2 { "stderr" } else { "stdout" };
    out.push_str(&format!("{{\"log\":{text},\"stream\":\"{stream}\",\"time\":\"{time}\"}}\n"));
}

/// The path of an older file of a log; the higher the number, the older.
pub(crate) fn rotated(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn append(path: &Path) -> Result<File> {
    fs::OpenOptions::new().append(true).create(true).mode(0o640).open(path).map_err(Error::at("open", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &Path, max_size: Option<u64>, max_file: u32) -> JsonFile {
        JsonFile::open(&folder.join("log"), Rotation { max_size, max_file }).unwrap()
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

    fn files(folder: &Path) -> Vec<String> {
        crate::files::entries(folder).iter().map(|path| crate::files::name_of(path)).collect()
    }
}
