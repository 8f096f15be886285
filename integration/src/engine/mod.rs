//! Real engines, each with its own roots and sockets, in namespaces of their own, gone when the test program
//! ends.
//!
//! Nothing of the machine's own engines is touched: a daemon runs below [`crate::rootfs::base`], its mounts
//! and network are in namespaces that end with it, and its cgroups are below one of its own.

mod containerd;
mod docker;
mod guard;
mod podman;

pub use containerd::{Containerd, containerd};
pub use docker::{Docker, docker};
pub use podman::{Podman, podman, rootless_podman};

use crate::outcome::{self, Outcome};
use crate::{rootfs, sys};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where a program is, if the machine has it.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file())
}

/// A directory of this test program, made on first use.
///
/// # Panics
/// When it cannot be made.
fn directory(name: &str) -> PathBuf {
    let path = rootfs::base().join(name);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// The root filesystem that becomes the image of every engine: busybox and the probe.
fn image_rootfs() -> &'static Path {
    static ROOTFS: OnceLock<PathBuf> = OnceLock::new();
    ROOTFS.get_or_init(|| {
        let path = directory("image/rootfs");
        rootfs::populate(&path);
        path
    })
}

/// The root filesystem as a tar archive.
fn image_tar() -> &'static Path {
    static TAR: OnceLock<PathBuf> = OnceLock::new();
    TAR.get_or_init(|| {
        let path = directory("image").join("rootfs.tar");
        let status = Command::new("timeout")
            .args(["60", "tar"])
            .args(["-C".as_ref(), image_rootfs().as_os_str(), "-cf".as_ref(), path.as_os_str(), ".".as_ref()])
            .status();
        assert!(status.unwrap().success());
        path
    })
}

/// The image as an OCI archive under a name, made without any registry.
fn image_archive(name: &str) -> PathBuf {
    let directory = directory("image");
    let archive = directory.join("image.tar");
    let layout = directory.join("oci");
    let script = "set -e; umoci init --layout \"$1\"; umoci new --image \"$1:latest\"; \
                  umoci unpack --image \"$1:latest\" \"$1-bundle\" >/dev/null; cp -a \"$2\"/. \"$1-bundle/rootfs\"; \
                  umoci repack --image \"$1:latest\" \"$1-bundle\" >/dev/null; \
                  umoci config --image \"$1:latest\" --config.cmd /bin/sh; \
                  skopeo copy --insecure-policy -q \"oci:$1:latest\" \"oci-archive:$3:$4\"";
    let words = [layout.as_os_str(), image_rootfs().as_os_str(), archive.as_os_str(), name.as_ref()];
    let output = Command::new("timeout").args(["60", "sh", "-c", script, "sh"]).args(words).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    archive
}

/// A command line client of an engine, ready to take its arguments.
#[derive(Debug, Clone)]
pub struct Client {
    words: Vec<std::ffi::OsString>,
    variables: Vec<(String, String)>,
    directory: PathBuf,
}

impl Client {
    fn new<W: AsRef<OsStr>>(words: &[W], directory: &Path) -> Client {
        let words = words.iter().map(|word| word.as_ref().to_owned()).collect();
        Client { words, variables: Vec::new(), directory: directory.to_owned() }
    }

    /// The client with a variable in its environment, and in that of all it starts.
    ///
    /// # Panics
    /// When the value is not text.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &Path) -> Client {
        self.variables.push((name.to_owned(), value.to_str().unwrap().to_owned()));
        self
    }

    /// The client with these arguments.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).args(args).current_dir(&self.directory);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it to its end.
    pub fn call(&self, args: &[&str]) -> Outcome {
        outcome::run(&mut self.command(args), &self.directory, &next())
    }

    /// Runs it to its end with a change to the command before.
    pub fn call_with(&self, args: &[&str], change: impl FnOnce(&mut Command)) -> Outcome {
        let mut command = self.command(args);
        command.stdin(std::process::Stdio::null());
        change(&mut command);
        let name = next();
        let child = outcome::start(&mut command, &self.directory, &name);
        outcome::finish(child, &format!("{command:?}"), &self.directory, &name)
    }

    /// Runs it, demands success, and returns its standard output without the last newline.
    #[track_caller]
    pub fn text(&self, args: &[&str]) -> String {
        let outcome = self.call(args);
        assert!(outcome.status.success(), "should succeed: {outcome:#?}");
        outcome.stdout.trim_end().to_owned()
    }

    /// Runs it under a terminal.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn on_terminal(&self, args: &[&str]) -> (crate::console::Console, Child) {
        let (console, side) = crate::console::Console::pair();
        console.resize(24, 80);
        let mut command = self.command(args);
        let copy = || std::process::Stdio::from(side.try_clone().unwrap());
        command.stdin(copy()).stdout(copy()).stderr(copy()).env("TERM", "xterm");
        sys::control_terminal(&mut command);
        let child = command.spawn().unwrap();
        (console, child)
    }
}

/// A name for files that no other command has.
fn next() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("engine{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A name that no other container of any engine has.
pub fn unique(what: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}
