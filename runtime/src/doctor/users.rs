//! What an ordinary user can do: namespaces, ranges of ids, the programs that map them.

use super::{Entry, State, number, words};
use crate::sys::{clone, probe, reason};
use crate::{search, subordinate};
use nix::unistd::geteuid;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The least range that images need: files of every user that a distribution has.
const RANGE: u32 = 65_536;

pub(super) fn look() -> Vec<Entry> {
    let mut entries = vec![namespaces()];
    for (name, file, helper) in [
        ("subordinate uids", subordinate::UIDS, "newuidmap"),
        ("subordinate gids", subordinate::GIDS, "newgidmap"),
    ] {
        entries.push(ranges(name, file));
        entries.push(mapper(helper));
    }
    entries.push(run_directory());
    let worst = entries.iter().map(|entry| entry.state).max().unwrap_or(State::Ok);
    let lacking: Vec<&str> =
        entries.iter().filter(|entry| entry.state != State::Ok).map(|entry| entry.name.as_str()).collect();
    let detail = match lacking.as_slice() {
        [] => "an ordinary user can run containers with all ids".to_owned(),
        lacking => format!("see {}", lacking.join(", ")),
    };
    let ready = Entry::new("rootless", "ready", worst, detail)
        .otherwise("an ordinary user runs containers of one id at most, or none", "mend what is named");
    entries.insert(0, ready);
    entries
}

/// Whether a user without privilege may make a user namespace.
fn namespaces() -> Entry {
    let forbidden = [
        ("/proc/sys/kernel/unprivileged_userns_clone", "0"),
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
    ];
    let by =
        forbidden.into_iter().find(|(file, value)| words(file).first().is_some_and(|found| found == value));
    let limit = number("/proc/sys/user/max_user_namespaces");
    let (state, detail) = match (by, limit, probe::in_child(|| clone::unshare(libc::CLONE_NEWUSER))) {
        (Some((file, value)), ..) => (State::Missing, format!("{file} is {value}")),
        (None, Some(0), _) => (State::Missing, "/proc/sys/user/max_user_namespaces is 0".to_owned()),
        (None, _, Err(errno)) => (State::Missing, reason(errno)),
        (None, ..) => (State::Ok, String::new()),
    };
    Entry::new("rootless", "user namespaces", state, detail).otherwise(
        "no rootless containers",
        "sysctl -w kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0 user.max_user_namespaces=15000",
    )
}

fn ranges(name: &'static str, file: &str) -> Entry {
    let text = fs::read_to_string(file);
    let (state, detail) = match &text {
        Err(error) => (State::Missing, format!("{file}: {}", reason(crate::sys::errno_of(error)))),
        Ok(text) if geteuid().is_root() => {
            let users = text.lines().filter(|line| line.split(':').count() == 3).count();
            match users {
                0 => (State::Missing, format!("{file} gives nobody any")),
                users => (State::Ok, format!("{file} has {users} ranges")),
            }
        }
        Ok(_) => {
            let user = geteuid().as_raw();
            let found = subordinate::of(file, user);
            match found.iter().map(|(_, count)| *count).max() {
                None => (State::Missing, format!("{file} has none for user {user}")),
                Some(count) if count < RANGE => {
                    (State::Degraded, format!("{count} ids; images use up to {RANGE}"))
                }
                Some(count) => (State::Ok, format!("{count} ids")),
            }
        }
    };
    Entry::new("rootless", name, state, detail).otherwise(
        "rootless containers have one id, root, and images with other owners cannot be unpacked",
        "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER",
    )
}

fn mapper(name: &'static str) -> Entry {
    let (state, detail) = match search::program(Path::new(name)) {
        None => (State::Missing, "not found".to_owned()),
        Some(file) => {
            let shown = file.display().to_string();
            match privileged(&file) {
                Some(how) => (State::Ok, format!("{shown}, {how}")),
                None => {
                    (State::Degraded, format!("{shown} has neither the set-user-ID bit nor capabilities"))
                }
            }
        }
    };
    Entry::new("rootless", name, state, detail).otherwise(
        "rootless containers have one id, root",
        "apt-get install uidmap; chmod u+s /usr/bin/newuidmap /usr/bin/newgidmap",
    )
}

/// How a program gets the right to write maps.
fn privileged(file: &Path) -> Option<&'static str> {
    let meta = fs::metadata(file).ok()?;
    if meta.mode() & 0o4000 != 0 && meta.uid() == 0 {
        return Some("set-user-ID");
    }
    let name = CString::new(file.as_os_str().as_bytes()).ok()?;
    probe::has_file_capabilities(&name).then_some("file capabilities")
}

fn run_directory() -> Entry {
    if geteuid().is_root() {
        return Entry::new("rootless", "run directory", State::Ok, "root has /run");
    }
    let (state, detail) = match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        None => (State::Missing, "XDG_RUNTIME_DIR is not set".to_owned()),
        Some(directory) if directory.is_dir() => (State::Ok, directory.display().to_string()),
        Some(directory) => (State::Missing, format!("{} is no directory", directory.display())),
    };
    Entry::new("rootless", "run directory", state, detail).otherwise(
        "every command needs --root",
        "log in with a session, or set XDG_RUNTIME_DIR to a directory of your own",
    )
}
