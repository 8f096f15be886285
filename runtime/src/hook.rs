//! Hooks: programs that run at points of a container's life, told its state on standard input.

use crate::spec::Hook;
use crate::sys::process::keep_ended_children;
use crate::sys::{pidfd, reason};
use crate::trace;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{AccessFlags, access};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

/// The state that a hook reads (runtime.md, "State").
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HookState {
    /// `ociVersion`.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// `creating`, `created`, `running` or `stopped`.
    pub status: &'static str,
    /// The container's first process, as the hook's namespace numbers it; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// The bundle.
    pub bundle: PathBuf,
    /// The container's annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Where the output of hooks goes.
    #[serde(skip)]
    pub output: Output,
}

/// Files that take the standard output and error of hooks; without one, what a failed hook wrote is quoted.
#[derive(Debug, Clone, Default)]
pub struct Output {
    stdout: Option<Rc<File>>,
    stderr: Option<Rc<File>>,
}

impl Output {
    /// Opens the files that the annotations `run.oci.hooks.stdout` and `run.oci.hooks.stderr` name (crun(1)).
    ///
    /// # Errors
    /// One cannot be opened.
    pub fn open(annotations: &BTreeMap<String, String>) -> Result<Self, String> {
        let open = |key: &str| match annotations.get(key) {
            None => Ok(None),
            Some(path) => {
                File::options().append(true).create(true).open(path).map(|file| Some(Rc::new(file))).map_err(
                    |error| {
                        format!("annotations[{key:?}]: open {path}: {}", reason(crate::sys::errno_of(&error)))
                    },
                )
            }
        };
        Ok(Self { stdout: open(STDOUT)?, stderr: open(STDERR)? })
    }

    /// Whether [`Output::open`] could make or open the files, without doing so.
    ///
    /// # Errors
    /// The annotation whose file cannot be, and why.
    pub fn check(annotations: &BTreeMap<String, String>) -> Result<(), (&'static str, String)> {
        for key in [STDOUT, STDERR] {
            let Some(path) = annotations.get(key).map(Path::new) else { continue };
            let directory = path.parent().unwrap_or(path);
            let found = match std::fs::metadata(path) {
                Ok(meta) if meta.is_dir() => Err(crate::sys::Errno::EISDIR),
                Ok(_) => access(path, AccessFlags::W_OK),
                Err(_) => access(directory, AccessFlags::W_OK | AccessFlags::X_OK),
            };
            found.map_err(|errno| (key, format!("open {}: {}", path.display(), reason(errno))))?;
        }
        Ok(())
    }
}

/// The annotations that name files for the output of hooks.
pub const STDOUT: &str = "run.oci.hooks.stdout";
/// See [`STDOUT`].
pub const STDERR: &str = "run.oci.hooks.stderr";

impl HookState {
    /// The state at another point of the container's life.
    #[must_use]
    pub fn at(&self, status: &'static str, pid: Option<i32>) -> Self {
        Self { status, pid, ..self.clone() }
    }

    /// The state as told by the container's first process itself.
    #[must_use]
    pub fn of_this_process(&self, status: &'static str) -> Self {
        self.at(status, i32::try_from(std::process::id()).ok())
    }
}

/// How much of a hook's output is quoted in an error.
const MAX_OUTPUT: u64 = 4096;

/// Runs hooks one after the other: the host's in the bundle, as runc does, where there still is one; the container's in the
/// directory that its process is in. With a pidfd of the container's process, which is waiting for them, its end is theirs.
///
/// # Errors
/// The first one that cannot be run, fails, or takes longer than its timeout.
pub fn run(
    kind: &str,
    hooks: &[Hook],
    state: &HookState,
    waiting: Option<BorrowedFd<'_>>,
) -> Result<(), String> {
    if hooks.is_empty() {
        return Ok(());
    }
    let text = serde_json::to_vec(state).map_err(|error| error.to_string())?;
    let host = !matches!(kind, "createContainer" | "startContainer");
    let directory = Some(state.bundle.as_path()).filter(|bundle| host && bundle.is_dir());
    for (index, hook) in hooks.iter().enumerate() {
        let _step = trace::span_of(kind, hook.path.as_bytes());
        one(hook, &text, &state.output, directory, waiting)
            .map_err(|problem| format!("error running {kind} hook #{index}: {problem}"))?;
    }
    Ok(())
}

/// Runs hooks one after the other, all of them: for those whose failure is only logged.
#[must_use]
pub fn run_all(kind: &str, hooks: &[Hook], state: &HookState) -> Vec<String> {
    hooks.iter().filter_map(|hook| run(kind, std::slice::from_ref(hook), state, None).err()).collect()
}

fn one(
    hook: &Hook,
    state: &[u8],
    given: &Output,
    directory: Option<&Path>,
    waiting: Option<BorrowedFd<'_>>,
) -> Result<(), String> {
    keep_ended_children();
    // Memory files, not pipes: a hook that does not read, or leaves a child behind, blocks nobody.
    let memory = || memfd_create("hook", MFdFlags::MFD_CLOEXEC).map(File::from).map_err(reason);
    let (mut input, mut output) = (memory()?, memory()?);
    let prepared = input.write_all(state).and_then(|()| input.rewind());
    prepared.map_err(|error| format!("prepare its input: {error}"))?;
    let mut errors = memory()?;
    let handle = |file: &File| file.try_clone().map(Stdio::from).map_err(|error| error.to_string());
    let mut command = Command::new(&hook.path);
    if let Some((name, arguments)) = hook.args.split_first() {
        command.arg0(name).args(arguments);
    }
    if let Some(directory) = directory {
        command.current_dir(directory);
    }
    command.env_clear();
    for entry in &hook.env {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        command.env(name, value);
    }
    command.stdin(Stdio::from(input));
    command.stdout(handle(given.stdout.as_deref().unwrap_or(&output))?);
    command.stderr(handle(given.stderr.as_deref().unwrap_or(&errors))?);
    let mut child = command
        .spawn()
        .map_err(|error| format!("fork/exec {}: {}", hook.path, reason(crate::sys::errno_of(&error))))?;
    if let Err(problem) = wait(i32::try_from(child.id()).unwrap_or(0), hook.timeout, waiting) {
        let _ = child.kill();
        let _ = child.wait();
        return Err(problem);
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if status.success() {
        return Ok(());
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, signal) => format!("signal {}", signal.unwrap_or(0)),
    };
    Err(format!("{how}, stdout: {}, stderr: {}", quote(&mut output), quote(&mut errors)))
}

/// Waits for the end of a hook, unless something else comes first.
fn wait(hook: i32, timeout: Option<i64>, waiting: Option<BorrowedFd<'_>>) -> Result<(), String> {
    if timeout.is_none() && waiting.is_none() {
        return Ok(());
    }
    let limit = |seconds: i64| i32::try_from(seconds.saturating_mul(1000)).unwrap_or(i32::MAX);
    let first = pidfd::open(hook).and_then(|hook| {
        let both = [Some(hook.as_fd()), waiting];
        pidfd::first_to_exit(both.into_iter().flatten(), timeout.map_or(-1, limit))
    });
    match first {
        Ok(Some(0)) | Err(_) => Ok(()),
        Ok(Some(_)) => Err("the container's process was killed meanwhile".to_owned()),
        Ok(None) => Err(format!("hook ran past specified timeout of {}s", timeout.unwrap_or_default())),
    }
}

fn quote(file: &mut File) -> String {
    let mut bytes = Vec::new();
    let _ = file.rewind().and_then(|()| file.take(MAX_OUTPUT).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).trim_end().to_owned()
}
