//! The fuzz targets without a fuzzer: each corpus as it is, and a bounded number of changed inputs, the same
//! in every run.
//!
//! Part of the unit tests of each crate that has targets. `FUZZ_ROUNDS=N` makes N times as many changes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a check fails by a panic")]

use serde_json::Value;
use std::fs;
use std::path::Path;

/// Pieces that parsers stumble over: ends of ranges, separators, words of the formats.
const PIECES: [&str; 40] = [
    "0",
    "-1",
    "1",
    "255",
    "256",
    "65535",
    "65536",
    "2147483647",
    "4294967295",
    "4294967296",
    "-9223372036854775808",
    "9223372036854775807",
    "18446744073709551615",
    "1e308",
    "0x10",
    "+1",
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "\\u0000",
    "\0",
    "\n",
    "\t",
    " ",
    ",",
    ":",
    ";",
    "=",
    "/",
    "..",
    "/../",
    "%00",
    "\\",
    "\\040",
    "max",
    "rbind,ro",
    "\u{fffd}",
    "a",
];

/// Numbers in the order of a fixed generator (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 16).unwrap_or(0) % end.max(1)
    }
}

/// Says which input it was, when the check of it panics.
struct Saying<'a>(&'a str, &'a [u8]);

impl Drop for Saying<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("target {}, input b\"{}\"", self.0, self.1.escape_ascii());
        }
    }
}

/// Checks `count` inputs made of the corpus of `target`, which is below the crate at `root`, and the corpus
/// itself.
pub(crate) fn run(root: &str, target: &str, count: usize, check: impl Fn(&[u8])) {
    let folder = Path::new(root).join("fuzz/corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let corpus: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(!corpus.is_empty(), "{} is empty", folder.display());
    let checked = |input: &[u8]| {
        let saying = Saying(target, input);
        check(input);
        drop(saying);
    };
    corpus.iter().for_each(|input| checked(input));
    let times = std::env::var("FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut numbers = Numbers(
        target
            .bytes()
            .fold(0x9e37_79b9_7f4a_7c15, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)),
    );
    for _ in 0..count * times {
        let mut input = corpus[numbers.below(corpus.len())].clone();
        for _ in 0..=numbers.below(4) {
            input = match numbers.below(3) {
                0 => change_json(&input, &mut numbers).unwrap_or(input),
                _ => change(input, &corpus, &mut numbers),
            };
        }
        checked(&input);
    }
}

/// One change of bytes.
fn change(mut input: Vec<u8>, corpus: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    let at = numbers.below(input.len() + 1);
    let end = (at + 1 + numbers.below(16)).min(input.len());
    match numbers.below(6) {
        0 if at < input.len() => input[at] ^= 1 << numbers.below(8),
        1 => drop(input.drain(at.min(end)..end)),
        2 => {
            let piece = PIECES[numbers.below(PIECES.len())].bytes();
            drop(input.splice(at..at, piece));
        }
        3 => {
            let piece = PIECES[numbers.below(PIECES.len())].bytes();
            drop(input.splice(at.min(end)..end, piece));
        }
        4 => {
            let part = input[at.min(end)..end].repeat(1 + numbers.below(8));
            drop(input.splice(at..at, part));
        }
        _ => {
            let other = &corpus[numbers.below(corpus.len())];
            input.truncate(at);
            input.extend_from_slice(&other[numbers.below(other.len() + 1)..]);
        }
    }
    input
}

/// One change of a value somewhere in a JSON text; nothing when it is none.
fn change_json(input: &[u8], numbers: &mut Numbers) -> Option<Vec<u8>> {
    let mut document: Value = serde_json::from_slice(input).ok()?;
    let mut place = &mut document;
    loop {
        let size = match place {
            Value::Array(list) => list.len(),
            Value::Object(map) => map.len(),
            _ => 0,
        };
        if size == 0 || numbers.below(6) == 0 {
            break;
        }
        let index = numbers.below(size);
        place = match place {
            Value::Array(list) => &mut list[index],
            Value::Object(map) => map.values_mut().nth(index)?,
            _ => break,
        };
    }
    match numbers.below(5) {
        0 => {
            if let Value::Array(list) = place {
                let again = list.get(numbers.below(list.len()))?.clone();
                list.extend(std::iter::repeat_n(again, 1 + numbers.below(40)));
            }
        }
        1 => {
            if let Value::String(text) = place {
                let at = (0..=numbers.below(text.len() + 1)).rev().find(|at| text.is_char_boundary(*at))?;
                text.insert_str(at, PIECES[numbers.below(PIECES.len())]);
            }
        }
        2 => *place = Value::String(PIECES[numbers.below(PIECES.len())].to_owned()),
        _ => *place = serde_json::from_str(PIECES[numbers.below(PIECES.len())]).ok()?,
    }
    serde_json::to_vec(&document).ok()
}
