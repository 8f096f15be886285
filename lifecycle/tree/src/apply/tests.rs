//! Hostile streams, unpacked.

use super::*;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use tar::{Builder, Header};

fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size);
    header.set_uid(nix::unistd::geteuid().as_raw().into());
    header.set_gid(nix::unistd::getegid().as_raw().into());
    header
}

/// Writes a name as it is: the builder would refuse the ones these tests are about.
fn raw(header: &mut Header, name: &str, link: &str) {
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name.as_bytes());
    old.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
}

fn archive(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, name, rest) in entries {
        let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
        let content = if is_link { "" } else { rest };
        let mut header = header(*kind, content.len() as u64);
        if *kind == EntryType::Directory {
            header.set_mode(0o755);
        }
        raw(&mut header, name, if is_link { rest } else { "" });
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn apply(root: &Path, whiteouts: Whiteouts, entries: &[(EntryType, &str, &str)]) -> Result<u64> {
    let apply = Apply { whiteouts, ..Apply::default() };
    apply.run(&Root::open(root).unwrap(), &archive(entries)[..])
}

#[test]
fn nothing_leaves_the_tree() {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(outer.path().join("victim"), "safe").unwrap();
    symlink("..", root.join("up")).unwrap();
    symlink(outer.path(), root.join("absolute")).unwrap();
    let file = EntryType::Regular;
    for name in ["../victim", "up/victim", "absolute/victim", "/victim", "a/../../victim"] {
        let _any = apply(&root, Whiteouts::Plain, &[(file, name, "bad")]);
    }
    let _any = apply(&root, Whiteouts::Plain, &[(EntryType::Symlink, "l", "../victim"), (file, "l", "bad")]);
    let links = [(EntryType::Link, "h", "../victim"), (file, "h", "bad")];
    let _any = apply(&root, Whiteouts::Plain, &links);
    let _any = apply(&root, Whiteouts::Overlay, &[(file, "up/.wh.victim", "")]);
    let swap = [(EntryType::Directory, "d", ""), (EntryType::Symlink, "d", ".."), (file, "d/victim", "bad")];
    let _any = apply(&root, Whiteouts::Plain, &swap);
    assert_eq!(fs::read_to_string(outer.path().join("victim")).unwrap(), "safe");
    assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 2);
}

#[test]
fn what_is_said_of_all_entries_is_none() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("own"), "kept").unwrap();
    let said = |name| (EntryType::XGlobalHeader, name, "20 comment=of an all\n");
    apply(root.path(), Whiteouts::Plain, &[said("tmp/GlobalHead.1"), said("own")]).unwrap();
    let names = fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["own"]);
}

#[test]
fn blank_numbers_are_zero_and_other_text_is_none() {
    if !nix::unistd::geteuid().is_root() {
        let line = b"skipped: needs root [blank_numbers_are_zero_and_other_text_is_none]\n";
        let _said = std::io::Write::write_all(&mut std::io::stderr(), line);
        return;
    }
    for (field, is_good) in [(*b"\0\0\0\0\0\0\0\0", true), (*b"       \0", true), (*b"xyz     ", false)] {
        let root = tempfile::tempdir().unwrap();
        let mut header = header(EntryType::Regular, 0);
        let old = header.as_old_mut();
        (old.uid, old.gid, old.mode) = (field, field, field);
        raw(&mut header, "f", "");
        let mut builder = Builder::new(Vec::new());
        builder.append(&header, std::io::empty()).unwrap();
        let stream = builder.into_inner().unwrap();
        let applied = Apply::default().run(&Root::open(root.path()).unwrap(), &stream[..]);
        assert_eq!(applied.is_ok(), is_good, "{field:?}: {applied:?}");
        if is_good {
            let stat = root.path().join("f").metadata().unwrap();
            assert_eq!((stat.uid(), stat.gid(), stat.mode() & 0o7777), (0, 0, 0), "{field:?}");
        }
    }
}

#[test]
fn whiteouts_become_those_of_overlayfs() {
    let root = tempfile::tempdir().unwrap();
    let file = EntryType::Regular;
    if !nix::unistd::geteuid().is_root() {
        // Past libtest's capture, where skipped tests are counted.
        let line = b"skipped: needs root [whiteouts_become_those_of_overlayfs]\n";
        let _said = std::io::Write::write_all(&mut std::io::stderr(), line);
        return;
    }
    let entries = [(file, "d/.wh.gone", ""), (file, "o/.wh..wh..opq", ""), (file, ".wh..wh.aufs", "")];
    apply(root.path(), Whiteouts::Overlay, &entries).unwrap();
    let gone = fs::symlink_metadata(root.path().join("d/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2);
    let opaque = Root::open(&root.path().join("o")).unwrap();
    assert!(crate::overlay::is_opaque(&opaque));
}

#[test]
fn a_later_entry_replaces_an_earlier_one() {
    let root = tempfile::tempdir().unwrap();
    let file = EntryType::Regular;
    let entries = [
        (EntryType::Directory, "x", ""),
        (file, "x/inside", "1"),
        (file, "x", "file now"),
        (file, "y", "old"),
        (EntryType::Link, "z", "y"),
        (file, "y", "new"),
    ];
    let bytes = apply(root.path(), Whiteouts::Plain, &entries).unwrap();
    let text = |name: &str| fs::read_to_string(root.path().join(name)).unwrap();
    assert_eq!((text("x"), text("y"), text("z")), ("file now".into(), "new".into(), "old".into()));
    assert_eq!(bytes, 1 + 8 + 3 + 3);
}

#[test]
fn modes_and_times_are_those_of_the_stream() {
    let root = tempfile::tempdir().unwrap();
    symlink("/nowhere", root.path().join("victim")).unwrap();
    let kinds = [EntryType::Regular, EntryType::Directory, EntryType::Symlink, EntryType::Fifo];
    let mut builder = Builder::new(Vec::new());
    for (number, kind) in kinds.iter().enumerate() {
        let mut header = header(*kind, 0);
        header.set_mode(0o2640);
        header.set_mtime(1000);
        raw(&mut header, &number.to_string(), if *kind == EntryType::Symlink { "victim" } else { "" });
        builder.append(&header, &[][..]).unwrap();
    }
    let stream = builder.into_inner().unwrap();
    Apply::default().run(&Root::open(root.path()).unwrap(), &stream[..]).unwrap();
    for (number, kind) in kinds.iter().enumerate() {
        let meta = fs::symlink_metadata(root.path().join(number.to_string())).unwrap();
        assert_eq!(meta.mtime(), 1000, "{kind:?}");
        let mode = meta.mode() & 0o7777;
        assert!(*kind == EntryType::Symlink || mode == 0o2640, "{kind:?} {mode:o}");
    }
    assert_ne!(fs::symlink_metadata(root.path().join("victim")).unwrap().mtime(), 1000);
}

/// An archive of `tar`, with a file `file` of so many bytes whose last is no zero.
fn sparse(format: &str, size: u64) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let file = File::create(folder.path().join("file")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"start", 0).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b".", size - 1).unwrap();
    let mut tar = std::process::Command::new("tar");
    let tar = tar.arg(format!("--format={format}")).args(["-S", "-c", "file"]).current_dir(folder.path());
    let made = tar.output().unwrap();
    assert!(made.status.success() && made.stdout.len() < 1 << 16, "{made:?}");
    made.stdout
}

#[test]
fn sparse_files_stay_so() {
    let root = tempfile::tempdir().unwrap();
    let run = |stream: &[u8]| Apply::default().run(&Root::open(root.path()).unwrap(), stream);
    let size = 1 << 28;
    assert_eq!(run(&sparse("gnu", size)).unwrap(), size);
    let meta = fs::metadata(root.path().join("file")).unwrap();
    assert!(meta.len() == size && meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
    let mut start = [0; 6];
    std::os::unix::fs::FileExt::read_exact_at(
        &fs::File::open(root.path().join("file")).unwrap(),
        &mut start,
        0,
    )
    .unwrap();
    assert_eq!(&start, b"start\0");
    // What is not understood is not taken for content, and a short archive is not a long work.
    let refused = run(&sparse("pax", size)).unwrap_err().to_string();
    assert!(refused.contains("pax"), "{refused}");
    let refused = run(&sparse("gnu", 2 << 40)).unwrap_err().to_string();
    assert!(refused.contains("1 TiB"), "{refused}");
}

#[test]
fn what_is_said_of_an_entry_does_not_fill_the_memory() {
    let root = tempfile::tempdir().unwrap();
    let run = |stream: &mut dyn Read| Apply::default().run(&Root::open(root.path()).unwrap(), stream);
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
        let mut header = header(kind, 1 << 40);
        raw(&mut header, "long", "");
        let mut stream = header.as_bytes().chain(io::repeat(b'a'));
        let refused = run(&mut stream).unwrap_err().to_string();
        assert!(refused.contains("more than 8 MiB"), "{refused}");
        assert!(size_of(header.as_bytes().chain(io::repeat(b'a'))).is_err());
        assert!(!is_archive(header.as_bytes().chain(io::repeat(b'a'))));
    }
    // What is between headers, be it read or not, may be more.
    let large = "x".repeat(9 << 20);
    let file = EntryType::Regular;
    let stream = archive(&[(file, "a", &*large), (EntryType::Directory, "b", &large), (file, "c", "c")]);
    assert_eq!(run(&mut &stream[..]).unwrap(), (9 << 20) + 1);
}

#[test]
fn an_archive_may_end_behind_the_last_byte_of_its_last_file() {
    let whole = archive(&[(EntryType::Regular, "file", "four")]);
    let folder = tempfile::tempdir().unwrap();
    let root = Root::open(folder.path()).unwrap();
    let run = |length: usize| Apply::default().run(&root, &whole[..length]);
    for length in [512 + 4, 512 + 5, 1024, 1024 + 1, 1024 + 512] {
        assert_eq!(run(length).unwrap(), 4, "{length}");
    }
    for length in [1, 511, 512, 512 + 1, 512 + 3] {
        assert!(run(length).is_err(), "{length}");
    }
}

#[test]
fn the_folder_of_an_archive_counts_in_layers_only() {
    let entries = [(EntryType::Directory, "./", "")];
    for (whiteouts, mode) in [(Whiteouts::Plain, 0o700), (Whiteouts::Remove, 0o755)] {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(&root, Permissions::from_mode(0o700)).unwrap();
        apply(root.path(), whiteouts, &entries).unwrap();
        assert_eq!(root.path().metadata().unwrap().mode() & 0o777, mode, "{whiteouts:?}");
    }
}
