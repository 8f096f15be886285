//! The runtimes under test: where their programs are, and how a case starts them.
//!
//! A case never calls a runtime directly but through a launcher script of its own, which adds a `--root` of
//! its own: what a case leaves behind is found and removed there, and nothing else is touched.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::error::{At as _, Error, Result};
use crate::host::Host;

/// One runtime program.
pub(crate) struct Runtime {
    /// `corten`, `runc` or `crun`.
    pub(crate) name: &'static str,
    /// First line of its `--version`.
    pub(crate) version: String,
    /// The launcher script of all cases.
    script: PathBuf,
    /// Shell commands that make the view of /sys/fs/cgroup it can work with, run in a private mount
    /// namespace.
    view: &'static str,
}

/// The subject. A case that a control passes and the subject fails makes the run fail.
pub(crate) const SUBJECT: &str = "corten";

impl Runtime {
    /// The subject and those controls that this machine has. A missing control is said and left out.
    /// Their launchers are in `folder`, written before anything runs side by side: a process that is started while a
    /// program is written keeps that from being executed.
    pub(crate) fn all(host: &Host, folder: &Path) -> Result<Vec<Runtime>> {
        let corten = subject()?;
        if !corten.exists() {
            let message = "not built: run cargo build -p runtime, or set CORTEN_BIN".into();
            return Err(Error::Program { program: corten.display().to_string(), message });
        }
        let mut all = vec![Runtime::new(SUBJECT, corten, host, folder)?];
        for (name, variable) in [("runc", "RUNC_BIN"), ("crun", "CRUN_BIN")] {
            match std::env::var_os(variable).map(PathBuf::from).or_else(|| in_path(name)) {
                Some(program) => all.push(Runtime::new(name, program, host, folder)?),
                None => println!("# skipped as a control: needs {name}"),
            }
        }
        Ok(all)
    }

    fn new(name: &'static str, program: PathBuf, host: &Host, folder: &Path) -> Result<Runtime> {
        let failed = |message: String| Error::Program { program: program.display().to_string(), message };
        let output =
            Command::new(&program).arg("--version").output().map_err(|error| failed(error.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text.lines().next().unwrap_or("?").to_owned();
        // crun refuses a hybrid hierarchy, and up to 1.14 every ociVersion above 1.0. What it makes where that was it never
        // removes: not in the host's /sys/fs/cgroup, which has room for few.
        let view = if name == "crun" && host.hybrid {
            "umount /sys/fs/cgroup/unified && mount -t tmpfs tmpfs /sys/fs/cgroup/unified &&"
        } else {
            ""
        };
        let lower_version = name == "crun" && text.lines().any(|line| line.trim() == "spec: 1.0.0");
        let lower_version = if lower_version { LOWER_VERSION } else { "" };
        // The folder of a case is that of the name by which it is called.
        let text = format!(
            "#!/bin/sh\n{lower_version}exec '{}' --root \"${{0%/*}}/root\" \"$@\"\n",
            program.display()
        );
        let script = folder.join(name);
        fs::write(&script, text).at("write", &script)?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).at("make executable", &script)?;
        Ok(Runtime { name, version, script, view })
    }

    /// The launcher of a case: a program that takes a runtime's arguments and keeps its state in `root` of that folder.
    pub(crate) fn launcher(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join("runtime");
        match symlink(&self.script, &path) {
            // Of an earlier attempt.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(path),
            made => made.at("link", &path).map(|()| path),
        }
    }

    /// A command that runs PROGRAM in a mount namespace of its own with the view this runtime needs;
    /// everything below `/` is shared there, as systemd leaves it on a usual machine.
    pub(crate) fn in_view(&self, program: &Path) -> Command {
        let script = format!("{} mount --make-rshared / && exec \"$@\"", self.view);
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]).arg(program);
        command.stdin(Stdio::null());
        command
    }

    /// Delete every container that a launcher's state folder still knows.
    pub(crate) fn sweep(&self, launcher: &Path, root: &Path) {
        for entry in fs::read_dir(root).into_iter().flatten().flatten() {
            let mut command = self.in_view(launcher);
            command.args(["delete", "--force"]).arg(entry.file_name());
            // Nothing more can be done about a container that resists; what it holds is in its own folder.
            let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}

/// A mount namespace that stays as long as this value: several commands see the same mounts, as on a real
/// machine.
pub(crate) struct View(Child);

impl View {
    /// Make the namespace with the view that a runtime needs.
    pub(crate) fn open(runtime: &Runtime) -> Result<View> {
        let mut command = runtime.in_view(Path::new("sh"));
        command.args(["-c", "echo && exec sleep 600"]).stdout(Stdio::piped());
        let mut child = command.spawn().at("start", Path::new("unshare"))?;
        let mut ready = [0];
        let told = child.stdout.take().map(|mut out| out.read_exact(&mut ready));
        let view = View(child);
        match told {
            Some(Ok(())) => Ok(view),
            _ => {
                Err(Error::Program { program: "unshare".into(), message: "no view of /sys/fs/cgroup".into() })
            }
        }
    }

    /// A command that runs PROGRAM there, in FOLDER.
    pub(crate) fn command(&self, folder: &Path, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.0.id()));
        command.args(["sh", "-c", "cd \"$0\" && exec \"$@\""]).args([folder, program]);
        command
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // It does nothing but sleep.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lowers the version in the bundle named by `--bundle`; "invalid" and the like stay as they are.
const LOWER_VERSION: &str = r#"previous=
for argument; do
    if [ "$1" = create ] && [ "$previous" = --bundle ]; then
        sed -i 's/"ociVersion": *"1\.[1-9][^"]*"/"ociVersion": "1.0.2"/' "$argument/config.json"
    fi
    previous=$argument
done
"#;

/// The program that is judged: `$CORTEN_BIN`, or the one beside this program.
pub(crate) fn subject() -> Result<PathBuf> {
    match std::env::var_os("CORTEN_BIN") {
        Some(path) => Ok(path.into()),
        None => beside_this_program(SUBJECT),
    }
}

/// A program that cargo put into the same folder as this one.
pub(crate) fn beside_this_program(name: &str) -> Result<PathBuf> {
    let this = std::env::current_exe().at("find", Path::new("/proc/self/exe"))?;
    Ok(this.parent().unwrap_or(Path::new("/")).join(name))
}

/// A program of `$PATH`.
pub(crate) fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
