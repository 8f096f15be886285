//! The unprivileged user of the rootless tests.
//!
//! The user `corten-test` is made when it is missing, with `useradd`, without a home and a shell; ranges of
//! 65536 subordinate ids are added with `usermod` when it has none. Nothing else of the machine is changed,
//! and the user stays for the next run.

use crate::container::Container;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

const NAME: &str = "corten-test";

/// An unprivileged user with subordinate ids.
#[derive(Debug)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// First subordinate user id.
    pub first_subuid: u32,
    /// First subordinate group id.
    pub first_subgid: u32,
}

/// How many subordinate ids the user has at least.
pub const SUBORDINATE: u32 = 65_536;

/// The user, made if need be. Nothing when this program is not root or the machine has no tools for it.
pub fn user() -> Option<&'static User> {
    static USER: OnceLock<Option<User>> = OnceLock::new();
    USER.get_or_init(make).as_ref()
}

fn make() -> Option<User> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    if entry("/etc/passwd").is_none() {
        let args = ["--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", NAME];
        run("useradd", &args)?;
    }
    let account = entry("/etc/passwd")?;
    let fields: Vec<&str> = account.split(':').collect();
    let (uid, gid) = (fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
    Some(User {
        uid,
        gid,
        first_subuid: subordinate("/etc/subuid", "--add-subuids")?,
        first_subgid: subordinate("/etc/subgid", "--add-subgids")?,
    })
}

/// The user's line in a file whose first field is a name.
fn entry(file: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find(|line| line.split(':').next() == Some(NAME)).map(str::to_owned)
}

/// The first of the user's subordinate ids, taken behind everybody else's if it has none.
fn subordinate(file: &str, flag: &str) -> Option<u32> {
    if entry(file).is_none() {
        let text = fs::read_to_string(file).unwrap_or_default();
        let end = |line: &str| {
            let mut fields = line.split(':').skip(1).filter_map(|field| field.parse::<u32>().ok());
            Some(fields.next()? + fields.next()?)
        };
        let free = text.lines().filter_map(end).max().unwrap_or(0).max(300_000);
        run("usermod", &[flag, &format!("{free}-{}", free + SUBORDINATE - 1), NAME])?;
    }
    entry(file)?.split(':').nth(1)?.parse().ok()
}

fn run(program: &str, args: &[&str]) -> Option<()> {
    Command::new(program).args(args).output().ok()?.status.success().then_some(())
}

impl User {
    /// What goes before a program so that this user runs it, with nothing of root's environment that matters.
    pub fn prefix(&self, runtime_directory: &str) -> Vec<OsString> {
        let words = [
            "setpriv".to_owned(),
            format!("--reuid={}", self.uid),
            format!("--regid={}", self.gid),
            "--clear-groups".to_owned(),
            "--inh-caps=-all".to_owned(),
            "env".to_owned(),
            "-u".to_owned(),
            "SUDO_UID".to_owned(),
            format!("USER={NAME}"),
            format!("HOME={runtime_directory}"),
            format!("XDG_RUNTIME_DIR={runtime_directory}"),
        ];
        words.map(OsString::from).into()
    }

    /// A container of this user: it owns the bundle, and its commands run as it.
    ///
    /// # Panics
    /// When the bundle cannot be handed over.
    pub fn container(&self, config: serde_json::Value) -> Container {
        let mut container = Container::with(config);
        let directory: PathBuf = container.bundle().to_owned();
        std::os::unix::fs::chown(&directory, Some(self.uid), Some(self.gid)).unwrap();
        container.give_rootfs_to(self.uid);
        container.via.extend(self.prefix(directory.to_str().unwrap()));
        container
    }
}
