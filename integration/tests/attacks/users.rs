//! What a user of the host without privileges can prepare, or read, beside the containers of root.

use crate::Sentinel;
use integration::container::Container;
use integration::user::user;
use integration::{needs, sys};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// A pid file in a directory that others may write to, where links wait under the names that a runtime may
/// use.
#[test]
fn a_pid_file_is_never_written_through_a_link() {
    let mut c = Container::new();
    let host = Sentinel::beside(&c);
    let directory = c.path("shared");
    fs::create_dir_all(&directory).unwrap();
    let plant = || {
        for name in ["pid", ".pid", "pid.tmp", ".pid.tmp"] {
            let _ = fs::remove_file(directory.join(name));
            symlink(host.path("file"), directory.join(name)).unwrap();
        }
    };
    plant();
    let pid_file = directory.join("pid").to_str().unwrap().to_owned();
    c.args(&["/probe", "sleep"]).write_config();
    let bundle = c.text_path("");
    let run = c.call(&["run", "--detach", "--pid-file", &pid_file, "--bundle", &bundle, &c.id]);
    host.assert_unchanged("a pid file");
    if run.status.success() {
        plant();
        let _ = c.exec(&["--detach", "--pid-file", &pid_file], &["/bin/true"]);
        host.assert_unchanged("a pid file of an exec");
    }
}

fn files_below(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.symlink_metadata().unwrap() {
            meta if meta.is_dir() => files_below(&path, found),
            meta if meta.is_file() => found.push(path),
            _ => {}
        }
    }
}

/// What a runtime keeps of a container: the variables of its program are nobody else's, whoever made the
/// directory above.
#[test]
fn what_is_kept_of_a_container_is_for_nobody_else() {
    let secret = "the-password-of-the-container";
    let mut c = Container::new();
    c.put("/process/env/-", json!(format!("PASSWORD={secret}"))).args(&["/probe", "sleep"]);
    // As that of an engine may be.
    fs::create_dir_all(&c.root).unwrap();
    fs::set_permissions(&c.root, fs::Permissions::from_mode(0o755)).unwrap();
    c.create();
    let mut files = Vec::new();
    files_below(&c.root, &mut files);
    assert!(!files.is_empty(), "no state below {}", c.root.display());
    for file in files {
        let holds = fs::read(&file).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(secret));
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert!(!holds || mode & 0o044 == 0, "{} can be read by everybody ({mode:o})", file.display());
    }
}

/// Ends a process with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Keyrings are found by their names: one that somebody else has made under the name of a container is not
/// the container's, or whatever that puts there is somebody else's.
#[test]
fn a_keyring_of_somebody_else_is_not_joined() {
    let user = needs!(user(), "root and useradd");
    let mut c = Container::new();
    let mut command = Command::new("sleep");
    command.arg("60");
    sys::become_with_keyring(&mut command, (user.uid, user.gid), &format!("_ses.{}", c.id));
    let _waiting = Ended(command.spawn().unwrap());
    let owner = |keyring: &str| keyring.split(';').nth(1).map(str::to_owned);
    let other = Some(user.uid.to_string());
    let keyring = c.report().keyring;
    assert_ne!(owner(&keyring), other, "{keyring}");
    let mut c = Container::new();
    let mut command = Command::new("sleep");
    command.arg("60");
    sys::become_with_keyring(&mut command, (user.uid, user.gid), &format!("_ses.{}", c.id));
    let _waiting = Ended(command.spawn().unwrap());
    c.sleeping();
    let keyring = c.exec_report(&[]).keyring;
    assert_ne!(owner(&keyring), other, "exec: {keyring}");
}
