//! Looks into every process that appears, for what a runtime must not bring along.

use integration::proc;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Says once what each new process has open and where its root, directory and program are; says `host` when a
/// file of the host can be reached through it, and `overwritten` when the program of a runtime (`name`) can
/// be opened for writing. Ends after a minute: a container that a test could not remove must not look for
/// ever.
pub(crate) fn spy(sentinel: &str, name: &str) {
    let own: BTreeSet<i32> = proc::pids().into_iter().collect();
    let mut said = BTreeSet::new();
    let mut programs: BTreeMap<i32, OwnedFd> = BTreeMap::new();
    crate::say("ready");
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        for pid in proc::pids().into_iter().filter(|pid| !own.contains(pid)) {
            for finding in look(pid, sentinel) {
                if said.insert(finding.clone()) {
                    crate::say(&finding);
                }
            }
            let exe = format!("/proc/{pid}/exe");
            let link = fs::read_link(&exe).unwrap_or_default();
            if link.file_name().is_some_and(|file| file == name)
                && let Ok(held) = open(exe.as_str(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
            {
                programs.entry(pid).or_insert(held);
            }
        }
        for held in programs.values() {
            let path = format!("/proc/self/fd/{}", held.as_raw_fd());
            if fs::File::options().write(true).open(path).is_ok() && said.insert("overwritten".into()) {
                crate::say("overwritten");
            }
        }
    }
}

/// A variable of the caller's, which the spy's own container does not have.
const SECRET: &str = "SECRET_OF_THE_CALLER=";

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn look(pid: i32, sentinel: &str) -> Vec<String> {
    let mut found = Vec::new();
    for name in proc::entries(format!("/proc/{pid}/fd")) {
        if let Ok(target) = fs::read_link(format!("/proc/{pid}/fd/{name}")) {
            found.push(format!("{pid} fd {name} {}", target.display()));
            if fs::read(format!("/proc/{pid}/fd/{name}/{sentinel}")).is_ok() {
                found.push(format!("host through descriptor {name} of {pid}"));
            }
        }
    }
    // What the runtime was told by its caller is none of the container's business.
    if fs::read(format!("/proc/{pid}/environ")).is_ok_and(|text| contains(&text, SECRET.as_bytes())) {
        found.push(format!("host through environ of {pid}"));
    }
    for place in ["root", "cwd"] {
        if fs::read(format!("/proc/{pid}/{place}/{sentinel}")).is_ok() {
            found.push(format!("host through {place} of {pid}"));
        }
    }
    found
}
