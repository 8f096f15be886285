//! Lookups in a root made by hand, on the real file system.

use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

fn root() -> (tempfile::TempDir, OwnedFd) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let fd = fs::File::open(dir.path()).expect("open").into();
    (dir, fd)
}

/// Where a descriptor points, seen from the root.
fn place(root: &tempfile::TempDir, fd: &OwnedFd) -> PathBuf {
    use std::os::fd::AsRawFd;
    let real = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).expect("readlink");
    let inside = real.strip_prefix(root.path()).expect("inside the root");
    PathBuf::from("/").join(inside)
}

fn both(root: &OwnedFd, path: &str, missing: Missing) -> [Result<OwnedFd>; 2] {
    [resolve(root.as_fd(), OsStr::new(path), missing), walk(root.as_fd(), OsStr::new(path), missing)]
}

#[test]
fn links_stay_inside() {
    let (dir, fd) = root();
    fs::create_dir_all(dir.path().join("etc/x")).expect("mkdir");
    symlink("/etc", dir.path().join("absolute")).expect("symlink");
    symlink("../../../../../etc/x", dir.path().join("etc/up")).expect("symlink");
    for (path, expected) in [
        ("/absolute/x", "/etc/x"),
        ("etc/up", "/etc/x"),
        ("/../../etc", "/etc"),
        ("/etc/./x/../x", "/etc/x"),
        ("/", "/"),
    ] {
        for found in both(&fd, path, Missing::Fail) {
            assert_eq!(place(&dir, &found.expect(path)), PathBuf::from(expected), "{path}");
        }
    }
}

#[test]
fn a_link_to_nowhere_gets_its_file_inside_the_root() {
    let (dir, fd) = root();
    fs::create_dir(dir.path().join("etc")).expect("mkdir");
    symlink("../run/systemd/resolv.conf", dir.path().join("etc/resolv.conf")).expect("symlink");
    let made = resolve(fd.as_fd(), OsStr::new("/etc/resolv.conf"), Missing::File).expect("made");
    assert_eq!(place(&dir, &made), PathBuf::from("/run/systemd/resolv.conf"));
    assert!(dir.path().join("run/systemd/resolv.conf").is_file());
}

#[test]
fn directories_are_made_and_a_loop_ends() {
    let (dir, fd) = root();
    resolve(fd.as_fd(), OsStr::new("/a/b/c"), Missing::Directory).expect("made");
    assert!(dir.path().join("a/b/c").is_dir());
    symlink("loop", dir.path().join("loop")).expect("symlink");
    for found in both(&fd, "/loop/x", Missing::Directory) {
        assert_eq!(found.expect_err("a loop"), Errno::ELOOP);
    }
    for found in both(&fd, "/nothing", Missing::Fail) {
        assert_eq!(found.expect_err("nothing there"), Errno::ENOENT);
    }
}

#[test]
fn a_file_in_the_way_is_an_error() {
    let (dir, fd) = root();
    fs::write(dir.path().join("file"), "").expect("write");
    for found in both(&fd, "/file/x", Missing::Directory) {
        assert_eq!(found.expect_err("a file in the way"), Errno::ENOTDIR);
    }
}

#[test]
fn magic_links_are_refused() {
    let (_dir, _) = root();
    let proc = verified_proc().expect("a procfs");
    let link = CString::new(format!("{}/root", std::process::id())).expect("no NUL");
    assert_eq!(open_in_root(proc.as_fd(), &link, libc::O_PATH).expect_err("magic"), Errno::ELOOP);
    let found = walk(proc.as_fd(), OsStr::from_bytes(link.to_bytes()), Missing::Fail);
    assert_eq!(found.expect_err("magic"), Errno::ELOOP);
}

#[test]
fn proc_files_by_parts_are_the_same_files() {
    let proc = verified_proc().expect("a procfs");
    for path in [c"self/status", c"sys/kernel/hostname"] {
        let path: &CStr = path;
        let one = open_beneath_by_parts(proc.as_fd(), path, libc::O_RDONLY).expect("opened");
        assert!(fstat(&one).is_ok());
        open_in_proc(proc.as_fd(), path, libc::O_RDONLY).expect("opened");
    }
    assert_eq!(open_in_proc(proc.as_fd(), c"self/root/etc", libc::O_PATH).expect_err("magic"), Errno::ELOOP);
}

#[test]
fn what_is_reached_without_links_is_so_without_openat2() {
    let (dir, fd) = root();
    fs::create_dir_all(dir.path().join("real/below")).expect("mkdir");
    fs::write(dir.path().join("real/file"), "").expect("write");
    symlink("real", dir.path().join("link")).expect("symlink");
    let directory = libc::O_PATH | libc::O_DIRECTORY;
    for (path, flags, expected) in [
        ("/real/below", directory, Ok("/real/below")),
        ("//real/./below/", directory, Ok("/real/below")),
        ("/", directory, Ok("/")),
        ("/real/file", libc::O_PATH, Ok("/real/file")),
        ("/real/file", directory, Err(Errno::ENOTDIR)),
        ("/link", directory, Err(Errno::ELOOP)),
        ("/link/below", directory, Err(Errno::ELOOP)),
        ("/link", libc::O_PATH, Err(Errno::ELOOP)),
        ("/real/missing", directory, Err(Errno::ENOENT)),
    ] {
        let path = OsStr::new(path);
        let expected = expected.map(PathBuf::from);
        for find in [open_without_links, walk_without_links] {
            let found = find(fd.as_fd(), path, flags).map(|found| place(&dir, &found));
            assert_eq!(found, expected, "{}", path.display());
        }
    }
    // Above the root: where openat2(2) stays in it, this refuses.
    let outside = walk_without_links(fd.as_fd(), OsStr::new("/real/../../.."), directory);
    assert_eq!(outside.map(drop), Err(Errno::EINVAL));
}
