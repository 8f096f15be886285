//! Records, journals and locks, on a temporary directory.
#![allow(clippy::disallowed_methods, reason = "two wait for one another")]

use super::*;

#[test]
fn ids_are_names_not_paths() {
    for id in ["a", "A_b.c+d-e", "...", ".hidden", "0"] {
        assert!(check_id(id).is_ok(), "{id}");
    }
    let long = "x".repeat(1025);
    for id in ["", ".", "..", "a/b", "../x", "/", "a b", "a\n", "ä", "a\0", &long] {
        assert!(check_id(id).is_err(), "{id:?}");
    }
}

#[test]
fn a_record_is_replaced_whole_and_an_id_is_taken_once() {
    let root = tempfile::tempdir().expect("temporary directory");
    let (dir, lock) = StateDir::create(root.path(), "one").expect("created");
    assert!(matches!(StateDir::create(root.path(), "one"), Err(StateError::Exists(_))));
    assert!(matches!(dir.record(), Err(StateError::Missing)));
    let mut record = Record::new("one", "1.3.0", Path::new("/b"), Path::new("/b/r"));
    dir.write_record(&record).expect("written");
    record.pid = 7;
    dir.write_record(&record).expect("written");
    assert_eq!(dir.record().expect("read").pid, 7);
    drop(lock);
    dir.remove().expect("removed");
    assert!(matches!(StateDir::open(root.path(), "one"), Err(StateError::Missing)));
}

/// Whoever waits while a container is deleted must not take the next one of that name for it.
#[test]
fn a_lock_is_on_the_container_that_was_meant() {
    let root = tempfile::tempdir().expect("temporary directory");
    let (dir, lock) = StateDir::create(root.path(), "one").expect("created");
    let same = StateDir::open(root.path(), "one").expect("there");
    let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(dir.path()).expect("there"));
    let waiting = std::thread::spawn(move || same.lock().map(drop));
    let waits = || {
        let locks = fs::read_to_string("/proc/locks").expect("locks");
        locks.lines().any(|line| line.contains("->") && line.contains(&format!(":{inode} ")))
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !waits() {
        assert!(std::time::Instant::now() < deadline, "nobody waits");
        std::thread::yield_now();
    }
    dir.remove().expect("removed");
    let (_next, _lock) = StateDir::create(root.path(), "one").expect("created");
    drop(lock);
    assert!(matches!(waiting.join().expect("it ends"), Err(StateError::Missing)));
}

/// What has a record has one at every moment.
#[test]
fn a_record_is_found_while_it_is_replaced() {
    let root = tempfile::tempdir().expect("temporary directory");
    let (dir, lock) = StateDir::create(root.path(), "one").expect("created");
    let record = Record::new("one", "1.3.0", Path::new("/b"), Path::new("/b/r"));
    let same = StateDir::open(root.path(), "one").expect("there");
    for _ in 0..500 {
        let journal = dir.begin(&lock, &record).expect("made");
        journal.flush().expect("written");
        let written = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                while !written.load(std::sync::atomic::Ordering::Relaxed) {
                    same.record().expect("one or the other");
                }
            });
            std::thread::sleep(std::time::Duration::from_micros(100));
            journal.note(&record).expect("written");
            written.store(true, std::sync::atomic::Ordering::Relaxed);
            reader.join().expect("found");
        });
        fs::remove_file(dir.path().join(RECORD)).expect("removed");
    }
}

#[test]
fn what_is_noted_while_it_is_made_is_found_in_any_order() {
    use crate::cgroup::Journal as _;
    let root = tempfile::tempdir().expect("temporary directory");
    let (dir, lock) = StateDir::create(root.path(), "one").expect("created");
    let mut record = Record::new("one", "1.3.0", Path::new("/b\n/c"), Path::new("/b/r"));
    let journal = dir.begin(&lock, &record).expect("made");
    // Nothing else was made as yet.
    assert!(matches!(dir.record(), Err(StateError::Missing)));
    let note = |text: &str| journal.append(text.as_bytes()).expect("written");
    note("/sys/fs/cgroup/a\n");
    assert_eq!(dir.record().expect("read").bundle, Path::new("/b\n/c"));
    record.pid = 7;
    journal.note(&record).expect("written");
    note("/user-unit:x.scope\n/sys/fs/cgroup/b\n/sys/fs/cg");
    assert_eq!(dir.record().expect("read").pid, 7);
    assert_eq!(dir.journal(), "/sys/fs/cgroup/a\n/user-unit:x.scope\n/sys/fs/cgroup/b\n/sys/fs/cg");
    // What is whole at last has the record behind all that.
    note("roup/c\n");
    record.pid = 8;
    journal.note(&record).expect("written");
    assert_eq!(dir.record().expect("read").pid, 8);
    // Cut off in the last record, and in the first: there is the one before, or nothing yet.
    let whole = fs::read(dir.path().join(RECORD)).expect("read");
    fs::write(dir.path().join(RECORD), &whole[..whole.len() - 5]).expect("written");
    assert_eq!(dir.record().expect("read").pid, 7);
    fs::write(dir.path().join(RECORD), "{\"format\":1,\"id\"").expect("written");
    assert!(matches!(dir.record(), Err(StateError::Missing)));
    assert_eq!(dir.journal(), "");
    // One that was replaced has none of that, and need not end with a line's end.
    dir.write_record(&record).expect("written");
    assert_eq!((dir.record().expect("read").pid, dir.journal().as_str()), (8, ""));
}

/// Whoever deletes a container that is just beginning does not have the next one of that name written to.
#[test]
fn a_record_is_begun_in_the_directory_that_is_locked() {
    let root = tempfile::tempdir().expect("temporary directory");
    let (dir, lock) = StateDir::create(root.path(), "one").expect("created");
    fs::remove_dir(dir.path()).expect("removed");
    let (next, _lock) = StateDir::create(root.path(), "one").expect("created");
    let record = Record::new("one", "1.3.0", Path::new("/b"), Path::new("/b/r"));
    assert!(matches!(dir.begin(&lock, &record), Err(StateError::Missing)));
    assert!(matches!(next.record(), Err(StateError::Missing)));
    assert_eq!(fs::read_dir(next.path()).expect("there").count(), 0);
}

#[test]
fn a_filter_is_kept_behind_what_exec_starts_from() {
    let root = tempfile::tempdir().expect("temporary directory");
    let (dir, _lock) = StateDir::create(root.path(), "one").expect("created");
    assert!(matches!(dir.process(), Err(StateError::Io { .. })));
    let mut defaults = ProcessDefaults::default();
    defaults.process.cwd = "/a\nb".to_owned();
    for filter in [b"".as_slice(), b"\n\n\0\xff"] {
        dir.write_process(&defaults, filter).expect("written");
        let (read, kept) = dir.process().expect("read");
        assert_eq!((read.process.cwd.as_str(), kept.as_slice()), ("/a\nb", filter));
    }
    fs::write(dir.path().join(EXEC), "").expect("written");
    assert!(matches!(dir.process(), Err(StateError::Damaged { .. })));
}

#[test]
fn a_foreign_record_is_refused() {
    let root = tempfile::tempdir().expect("temporary directory");
    let (dir, _lock) = StateDir::create(root.path(), "one").expect("created");
    for text in ["{", "[]", "{\"format\":9}"] {
        fs::write(dir.path().join(RECORD), text).expect("written");
        assert!(matches!(dir.record(), Err(StateError::Damaged { .. })), "{text}");
    }
}
