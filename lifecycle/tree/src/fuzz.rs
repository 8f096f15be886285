//! What the fuzz targets of this crate check: whatever an archive says, nothing outside of the tree changes, and what it has
//! made is a tree like any other, which can be packed, compared and removed.
//!
//! Compiled for fuzzers (`lifecycle/tree/fuzz`) and for this crate's own tests, which run the same checks on the corpora and
//! on a bounded number of changed inputs.

#![expect(clippy::expect_used, reason = "a check fails by a panic")]

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use crate::{Apply, Lower, Pack, Root, Source, Whiteouts, changes, remove};

/// Names that lead out of a tree, or would if somebody followed them; and some that meet.
const NAMES: [&str; 16] = [
    "a",
    "b",
    "a/b",
    "a/b/c",
    "./a",
    "../victim",
    "/victim",
    "up/victim",
    "away/victim",
    "a/../../victim",
    ".wh.a",
    ".wh.victim",
    "a/.wh..wh..opq",
    ".wh...",
    "up",
    "away",
];

/// What an entry can be; the last one does not exist.
const KINDS: [u8; 12] = [b'0', b'0', b'1', b'2', b'2', b'3', b'4', b'5', b'5', b'6', b'S', b'!'];

/// Three bytes for each entry: what it is, its name, and where it leads to.
pub fn entries(input: &[u8]) {
    let mut builder = Builder::new(Vec::new());
    for bytes in input.chunks_exact(3).take(64) {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::new(KINDS[usize::from(bytes[0]) % KINDS.len()]));
        header.set_mode(0o6755);
        header.set_uid(nix::unistd::geteuid().as_raw().into());
        header.set_gid(nix::unistd::getegid().as_raw().into());
        header.set_size(0);
        // Null devices alone: what is made while this runs is not to be of use to anybody.
        let _device = header.set_device_major(1).and_then(|()| header.set_device_minor(3));
        let name = |byte: u8| NAMES[usize::from(byte) % NAMES.len()].as_bytes();
        let old = header.as_old_mut();
        for (field, text) in [(&mut old.name, name(bytes[1])), (&mut old.linkname, name(bytes[2]))] {
            field[..text.len()].copy_from_slice(text);
        }
        header.set_cksum();
        builder.append(&header, &[][..]).expect("memory to write to");
    }
    archive(&builder.into_inner().expect("memory to write to"));
}

/// An archive as it arrives.
pub fn archive(input: &[u8]) {
    for whiteouts in [Whiteouts::Plain, Whiteouts::Remove, Whiteouts::Overlay] {
        unpack(input, whiteouts);
    }
}

fn unpack(input: &[u8], whiteouts: Whiteouts) {
    let outer = tempfile::tempdir().expect("a folder");
    let path = |name: &str| outer.path().join(name);
    for name in ["root", "copy"] {
        fs::create_dir(path(name)).expect("a folder");
    }
    fs::write(path("victim"), "safe").expect("a file");
    symlink("..", path("root/up")).expect("a link");
    symlink(outer.path(), path("root/away")).expect("a link");
    let before = state(outer.path());
    let apply = Apply { whiteouts, ..Apply::default() };
    let root = Root::open(&path("root")).expect("a folder");
    let _refused = apply.run(&root, input);
    assert_eq!(state(outer.path()), before, "{whiteouts:?}");
    let mut pack = Pack::new(Vec::new(), Source::Tree);
    // Marks of an overlay mean something else in a copy.
    if whiteouts != Whiteouts::Overlay && pack.add(&root, Path::new(""), Path::new("")).is_ok() {
        let packed = pack.finish().expect("memory to write to");
        let again = Root::open(&path("copy")).expect("a folder");
        Apply::default().run(&again, &packed[..]).expect("an archive of our own");
        let files =
            Lower { lower: vec![path("root")], upper: Some((path("copy"), PathBuf::new())), copied: true };
        assert_eq!(changes(&files).expect("a comparison"), [], "{whiteouts:?}");
    }
    let folder = fs::File::open(outer.path()).expect("a folder");
    for name in ["root", "copy"] {
        remove(&folder, Path::new(name)).expect("removed");
    }
    assert_eq!(state(outer.path()).0, ["victim"]);
}

/// The names beside the tree, and what the file among them is.
fn state(outer: &Path) -> (Vec<String>, String, u32, u64) {
    let names = fs::read_dir(outer).expect("a folder").flatten();
    let mut names: Vec<_> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    let victim = outer.join("victim");
    let meta = fs::symlink_metadata(&victim).expect("a file");
    (names, fs::read_to_string(victim).expect("a file"), meta.mode(), meta.nlink())
}

#[cfg(test)]
#[path = "../../../seccomp-profiles/fuzz/rounds.rs"]
mod rounds;

#[cfg(test)]
mod tests {
    fn run(target: &str, count: usize, check: fn(&[u8])) {
        super::rounds::run(env!("CARGO_MANIFEST_DIR"), target, count, check);
    }

    #[test]
    fn entries_of_archives() {
        run("entries", 500, super::entries);
    }

    #[test]
    fn archives_as_they_arrive() {
        run("archive", 500, super::archive);
    }
}
