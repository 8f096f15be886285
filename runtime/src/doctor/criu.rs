//! criu: whether there is one, whether it works on this kernel, and what of a checkpoint the two can do.

use super::{Entry, State};
use crate::checkpoint::dump::can_serve_pages;
use crate::search;
use nix::unistd::geteuid;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The first that gives `no_new_privs` back (checkpoint-restore/criu#2228).
const KEEPS_NO_NEW_PRIVS: (u32, u32) = (3, 19);

pub(super) fn look() -> Vec<Entry> {
    let entry = |state, detail| {
        Entry::new("services", "criu", state, detail).otherwise(
            "no checkpoint and restore, or not of all containers",
            "apt-get install criu, or a newer one where the distribution's does not work on this kernel",
        )
    };
    let Some(program) = search::program(Path::new("criu")) else {
        return vec![entry(State::Missing, "not found".to_owned())];
    };
    let named = |text: &str| format!("{} {text}", program.display());
    let version = match run(&program, &["--version"]) {
        Ok(output) if output.status.success() => version(&String::from_utf8_lossy(&output.stdout)).to_owned(),
        Ok(output) => {
            return vec![entry(State::Degraded, named(&format!("does not run: {}", output.status)))];
        }
        Err(error) => return vec![entry(State::Degraded, named(&format!("does not run: {error}")))],
    };
    if !geteuid().is_root() {
        return vec![entry(State::Ok, named(&version))];
    }
    if let Err(reason) = check(&program, &[]) {
        return vec![entry(State::Degraded, named(&format!("{version} does not work here: {reason}")))];
    }
    let first = match numbers(&version).is_some_and(|version| version < KEEPS_NO_NEW_PRIVS) {
        true => entry(State::Degraded, named(&format!("{version} loses no_new_privs"))),
        false => entry(State::Ok, named(&version)),
    };
    vec![first, changed_memory(&program), later_memory(&program)]
}

/// Which memory was written to since it was saved.
fn changed_memory(program: &Path) -> Entry {
    let (state, detail) = of(check(program, &["--feature", "mem_dirty_track"]));
    Entry::new("services", "criu: memory in steps", state, detail).otherwise(
        "checkpoint --pre-dump and --parent-path are refused",
        "boot a kernel with CONFIG_MEM_SOFT_DIRTY",
    )
}

/// Memory that follows a container that runs again already.
fn later_memory(program: &Path) -> Entry {
    let served = check(program, &["--feature", "uffd-noncoop"]).and_then(|()| match can_serve_pages() {
        Ok(true) => Ok(()),
        Ok(false) => Err("a pipe of 4 MiB is more than /proc/sys/fs/pipe-max-size allows".to_owned()),
        Err(error) => Err(error.to_string()),
    });
    let (state, detail) = of(served);
    Entry::new("services", "criu: memory later", state, detail).otherwise(
        "checkpoint --lazy-pages is refused",
        "boot a kernel with CONFIG_USERFAULTFD, and run with CAP_SYS_RESOURCE",
    )
}

fn of(found: Result<(), String>) -> (State, String) {
    match found {
        Ok(()) => (State::Ok, String::new()),
        Err(reason) => (State::Missing, reason),
    }
}

/// `criu check`: the reason that it gives last where it says no.
fn check(program: &Path, arguments: &[&str]) -> Result<(), String> {
    let output = run(program, &[&["check"], arguments].concat()).map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    Err(line.rsplit_once("): ").map_or(line, |(_, reason)| reason).trim().to_owned())
}

fn run(program: &Path, arguments: &[&str]) -> std::io::Result<Output> {
    Command::new(program).args(arguments).stdin(Stdio::null()).output()
}

fn version(text: &str) -> &str {
    text.lines().find_map(|line| line.strip_prefix("Version: ")).unwrap_or("unknown").trim()
}

fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next().unwrap_or(Some(0))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(version("Version: 4.2.1\nGitID: 0\n"), "4.2.1");
        for (text, wanted) in
            [("3.17.1", Some((3, 17))), ("4", Some((4, 0))), ("3.19", Some((3, 19))), ("unknown", None)]
        {
            assert_eq!(numbers(text), wanted, "{text}");
        }
    }
}
