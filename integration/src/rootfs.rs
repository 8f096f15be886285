//! The root filesystem of the test containers: a static busybox, the probe and a few directories.
//!
//! Files are made once per test program and linked into each bundle; directories are made anew, so that mount
//! points which a runtime makes stay in the bundle they were made for.

use crate::{proc, runtime, sys};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The applets that tests use, as links to busybox.
const APPLETS: [&str; 52] = [
    "sh", "ash", "awk", "basename", "cat", "chgrp", "chmod", "chown", "cp", "cut", "date", "dd", "echo",
    "env", "false", "find", "grep", "head", "hostname", "id", "ifconfig", "ip", "kill", "ln", "ls", "mkdir",
    "mkfifo", "mknod", "mount", "mv", "nc", "nproc", "ps", "pwd", "readlink", "rm", "sed", "setsid", "sleep",
    "stat", "stty", "tail", "test", "top", "touch", "tr", "true", "tty", "umount", "uname", "wc", "wget",
];

const DIRECTORIES: [&str; 11] =
    ["bin", "dev", "etc", "home/tester", "mnt", "proc", "root", "run", "sys", "tmp", "var"];

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\ntester:x:1000:1000:tester:/home/tester:/bin/sh\n";
const GROUP: &str = "root:x:0:\ntty:x:5:\ntester:x:1000:\n";

/// The directory of this test program: all its bundles lie in it. Removed when the program ends.
///
/// # Panics
/// When it cannot be made.
pub fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    extern "C" fn clean() {
        if let Some(base) = BASE.get() {
            remove(base);
        }
    }
    BASE.get_or_init(|| {
        let path = tempfile::Builder::new().prefix("corten-it-").tempdir().unwrap().keep();
        // An unprivileged user of the rootless tests has to get through.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        sys::at_exit(clean);
        path
    })
}

/// Removes a directory of ours, but never through a mount that something left in it.
pub fn remove(directory: &Path) {
    let inside = |mount: &proc::Mount| Path::new(&mount.target).starts_with(directory);
    for mount in proc::mounts("self").iter().rev().filter(|mount| inside(mount)) {
        let _ = nix::mount::umount2(mount.target.as_str(), nix::mount::MntFlags::MNT_DETACH);
    }
    if !proc::mounts("self").iter().any(inside) {
        let _ = fs::remove_dir_all(directory);
    }
}

/// The two files that every root filesystem shares.
fn programs() -> &'static (PathBuf, PathBuf) {
    static PROGRAMS: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let busybox = base().join("busybox");
        let probe = base().join("probe");
        fs::copy("/bin/busybox", &busybox).expect("/bin/busybox: install busybox-static");
        fs::copy(runtime::built("probe"), &probe).unwrap();
        (busybox, probe)
    })
}

/// Copies a program of the host into a root filesystem, at the same path, with the libraries that ldd(1)
/// names. Whether the host has it.
///
/// # Panics
/// When something cannot be copied.
pub fn bring(rootfs: &Path, program: &str) -> bool {
    let copy = |path: &str| {
        let target = rootfs.join(path.trim_start_matches('/'));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        // A link of ours, such as one to busybox, must not be written through.
        let _ = fs::remove_file(&target);
        fs::copy(path, target).unwrap();
    };
    if !Path::new(program).exists() {
        return false;
    }
    copy(program);
    let libraries = std::process::Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8_lossy(&libraries.stdout).into_owned();
    let paths = text.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    paths.for_each(copy);
    true
}

/// Fills an existing directory.
///
/// # Panics
/// When that fails.
pub fn populate(rootfs: &Path) {
    let (busybox, probe) = programs();
    for directory in DIRECTORIES {
        fs::create_dir_all(rootfs.join(directory)).unwrap();
    }
    fs::set_permissions(rootfs.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::hard_link(busybox, rootfs.join("bin/busybox")).unwrap();
    fs::hard_link(probe, rootfs.join("probe")).unwrap();
    for applet in APPLETS {
        symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
    }
    fs::write(rootfs.join("etc/passwd"), PASSWD).unwrap();
    fs::write(rootfs.join("etc/group"), GROUP).unwrap();
}
