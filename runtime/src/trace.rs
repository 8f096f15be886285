//! `--trace`: a timeline of what a command does, the container's process included.
//!
//! Steps are noted in memory that both halves of a create share, with the clock that both have, and written when the
//! command ends, as Chrome trace events: `chrome://tracing`, Perfetto and the bench's `--picture` show them. Noting costs
//! one branch when nobody asked, and else two readings of the clock; it allocates nothing and makes no system call, so it
//! may stand between clone3(2) and execve(2). When the memory is full, steps are left out.

use crate::sys::shared;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The most steps of one command.
const STEPS: usize = 1024;
/// Begin, end, who and the length of the name; the name.
const WORDS: usize = 3 + NAME / 8;
/// Longer names are cut.
const NAME: usize = 64;

/// Where steps are noted, and the file that they go to; absent when nobody asked.
static RECORD: OnceLock<Record> = OnceLock::new();
/// In the container's process, which has a copy of its own: whose steps are noted here.
static IN_CHILD: AtomicBool = AtomicBool::new(false);
/// In the container's process: the clock must not be read any more.
static SILENT: AtomicBool = AtomicBool::new(false);

/// In the container's process: by how much its clock is ahead, in a time namespace of its own.
static AHEAD: AtomicU64 = AtomicU64::new(0);

struct Record {
    file: PathBuf,
    /// The number of steps, then the steps.
    words: &'static [AtomicU64],
    /// How far the clock is from the one that no namespace changes.
    distance: u64,
}

/// A step that is being done; dropping it ends it.
#[derive(Debug)]
#[must_use = "a step ends when this is dropped"]
pub struct Span(Option<&'static [AtomicU64]>);

/// Steps of which each begins where the one before ends.
#[derive(Debug)]
pub struct Steps(Span);

impl Steps {
    /// The first step begins.
    pub fn begin(name: &str) -> Self {
        Self(span(name))
    }

    /// The next step begins.
    pub fn then(&mut self, name: &str) {
        // The one before ends first.
        self.0 = Span(None);
        self.0 = span(name);
    }
}

/// A step begins.
pub fn span(name: &str) -> Span {
    span_of(name, b"")
}

/// A step begins, with what it is done to: `mount` and a path.
pub fn span_of(verb: &str, object: &[u8]) -> Span {
    match RECORD.get() {
        None => Span(None),
        Some(record) => Span(note(record.words, verb, object)),
    }
}

fn note(words: &'static [AtomicU64], verb: &str, object: &[u8]) -> Option<&'static [AtomicU64]> {
    if SILENT.load(Ordering::Relaxed) {
        return None;
    }
    let (count, steps) = words.split_first()?;
    let number = usize::try_from(count.fetch_add(1, Ordering::Relaxed)).ok()?;
    let slot = steps.get(number * WORDS..(number + 1) * WORDS)?;
    let mut name = [0; NAME];
    let space: &[u8] = if object.is_empty() { b"" } else { b" " };
    let bytes = verb.bytes().chain(space.iter().copied()).chain(object.iter().copied());
    let length = name.iter_mut().zip(bytes).map(|(place, byte)| *place = byte).count();
    for (word, bytes) in slot.iter().skip(3).zip(name.chunks_exact(8)) {
        word.store(u64::from_ne_bytes(bytes.try_into().unwrap_or_default()), Ordering::Relaxed);
    }
    let who = u64::from(IN_CHILD.load(Ordering::Relaxed));
    slot.get(2)?.store(who << 32 | length as u64, Ordering::Relaxed);
    // Last: a step without a beginning is none.
    slot.first()?.store(now(), Ordering::Release);
    Some(slot)
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(end) = self.0.and_then(|slot| slot.get(1))
            && !SILENT.load(Ordering::Relaxed)
        {
            end.store(now(), Ordering::Release);
        }
    }
}

/// From here on this is the container's process.
pub fn in_child() {
    let Some(record) = RECORD.get() else { return };
    IN_CHILD.store(true, Ordering::Relaxed);
    let ahead = shared::monotonic_less_real().wrapping_sub(record.distance);
    // The two clocks are read one after the other, and one of them is corrected now and then.
    if ahead.cast_signed().unsigned_abs() > 1_000_000 {
        AHEAD.store(ahead, Ordering::Relaxed);
    }
}

fn now() -> u64 {
    shared::monotonic().wrapping_sub(AHEAD.load(Ordering::Relaxed))
}

/// From here on nothing is noted in this process. Where the kernel has no clock that can be read without a system call,
/// the container's filter would judge the reading.
pub fn no_more() {
    SILENT.store(true, Ordering::Relaxed);
}

/// What the container's process is still doing ends now: it has said that it is ready, or it has become its program.
pub fn child_is_done() {
    let Some(record) = RECORD.get() else { return };
    let now = now();
    for slot in slots(record.words) {
        if slot[2].load(Ordering::Relaxed) >> 32 == 1 {
            let _ = slot[1].compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

fn slots(words: &[AtomicU64]) -> impl Iterator<Item = &[AtomicU64]> {
    let count = words.first().map_or(0, |count| count.load(Ordering::Acquire));
    let steps = words.get(1..).unwrap_or_default().chunks_exact(WORDS);
    steps.take(usize::try_from(count).unwrap_or(STEPS)).filter(|slot| slot[0].load(Ordering::Acquire) != 0)
}

/// What the file begins with, by which the same process knows it again after it has executed itself.
fn head() -> String {
    let pid = std::process::id();
    format!(
        "[\n{{\"ph\":\"M\",\"pid\":{pid},\"tid\":1,\"name\":\"thread_name\",\"args\":{{\"name\":\"corten\"}}}},\n\
         {{\"ph\":\"M\",\"pid\":{pid},\"tid\":2,\"name\":\"thread_name\",\"args\":{{\"name\":\"the container's process\"}}}}"
    )
}

/// The step that the first execution of this program ends with, and the second begins with.
const AGAIN: &str = "execute again from a sealed file";

/// Begins to note, into a file that is written at the end. A file that this very process began before it executed itself
/// again is continued; any other is replaced.
///
/// # Errors
/// The file cannot be written, or there is no memory.
pub fn begin(file: &Path) -> io::Result<()> {
    let mut text = String::new();
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut open = options.open(file)?;
    // Something else that lies there is not worth reading.
    let _ = Read::by_ref(&mut open).take(1 << 16).read_to_string(&mut text);
    let head = head();
    if text.starts_with(&head) && !text.ends_with("]\n") {
        let end = event('E', AGAIN, 1, now(), None);
        write!(open, "{end}")?;
    } else {
        open.set_len(0)?;
        io::Seek::rewind(&mut open)?;
        write!(open, "{head}")?;
    }
    let words =
        shared::words(1 + STEPS * WORDS).map_err(|errno| io::Error::from_raw_os_error(errno as i32))?;
    // Only one command line is read in a process.
    let distance = shared::monotonic_less_real();
    let _ = RECORD.set(Record { file: file.to_owned(), words, distance });
    Ok(())
}

/// Writes what was noted, before this process executes itself again.
///
/// # Errors
/// The file cannot be written.
pub fn hand_over() -> io::Result<()> {
    append(&event('B', AGAIN, 1, now(), None))
}

/// Writes what was noted. The file is whole now.
///
/// # Errors
/// The file cannot be written.
pub fn finish() -> io::Result<()> {
    append("\n]\n")
}

fn append(last: &str) -> io::Result<()> {
    let Some(record) = RECORD.get() else { return Ok(()) };
    let mut text = String::new();
    for slot in slots(record.words) {
        let [begin, end, who] = [0, 1, 2].map(|at| slot[at].load(Ordering::Acquire));
        let bytes: Vec<u8> =
            slot[3..].iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect();
        let length = usize::try_from(who & 0xffff_ffff).unwrap_or(0).min(bytes.len());
        let name = String::from_utf8_lossy(&bytes[..length]);
        let end = if end == 0 { now() } else { end };
        text.push_str(&event('X', &name, 1 + (who >> 32), begin, Some(end.saturating_sub(begin))));
    }
    // What was written once is not written again.
    if let Some(count) = record.words.first() {
        count.store(0, Ordering::Relaxed);
    }
    text.push_str(last);
    let mut file: File = OpenOptions::new().append(true).open(&record.file)?;
    file.write_all(text.as_bytes())
}

/// One event, after the comma that parts it from the one before. Times are in microseconds.
fn event(kind: char, name: &str, who: u64, at: u64, lasts: Option<u64>) -> String {
    let micros = |nanos: u64| format!("{}.{:03}", nanos / 1000, nanos % 1000);
    let name = serde_json::Value::from(name);
    let mut text = format!(
        ",\n{{\"ph\":\"{kind}\",\"pid\":{},\"tid\":{who},\"ts\":{},\"name\":{name}",
        std::process::id(),
        micros(at)
    );
    if let Some(lasts) = lasts {
        let _ = write!(text, ",\"dur\":{}", micros(lasts));
    }
    text + "}"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(steps: usize) -> &'static [AtomicU64] {
        shared::words(1 + steps * WORDS).expect("memory")
    }

    fn name(slot: &[AtomicU64]) -> String {
        let bytes: Vec<u8> =
            slot[3..].iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect();
        let length = slot[2].load(Ordering::Relaxed) & 0xffff_ffff;
        String::from_utf8_lossy(&bytes[..usize::try_from(length).expect("small")]).into_owned()
    }

    #[test]
    fn steps_are_noted_until_the_memory_is_full_and_long_names_are_cut() {
        let words = memory(2);
        let long = "x".repeat(2 * NAME);
        for object in [b"/proc".as_slice(), long.as_bytes(), b"one too many"] {
            drop(Span(note(words, "mount", object)));
        }
        let found: Vec<String> = slots(words).map(name).collect();
        assert_eq!(found, ["mount /proc".to_owned(), format!("mount {}", &long[..NAME - 6])]);
        for slot in slots(words) {
            assert!(slot[0].load(Ordering::Relaxed) <= slot[1].load(Ordering::Relaxed));
        }
    }

    #[test]
    fn without_the_flag_nothing_is_noted() {
        assert!(span("anything").0.is_none());
        Steps::begin("one").then("another");
        assert!(finish().is_ok());
    }

    #[test]
    fn events_are_json_whatever_they_are_called() {
        let text = event('X', "mount \"/a\\b\"\n", 2, 1_234_567, Some(89));
        let json: serde_json::Value = serde_json::from_str(text.trim_start_matches(",\n")).expect("valid");
        assert_eq!(json["name"], "mount \"/a\\b\"\n");
        assert_eq!((&json["ts"], &json["dur"]), (&serde_json::json!(1234.567), &serde_json::json!(0.089)));
    }
}
