//! The process that holds an engine's namespaces and ends the engine.
//!
//! It is a shell that waits on a pipe from the test program: whatever way that program ends, the pipe closes,
//! and the shell stops the daemon, kills what still is in the engine's namespaces and cgroups, and removes
//! those and the directory. Each step has a limit of time.

use crate::outcome;
use crate::sys;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;

/// A running guard.
#[derive(Debug)]
pub(super) struct Guard {
    /// The shell: its namespaces are the engine's.
    pub(super) pid: u32,
}

/// All guards of this program, ended in order when it ends.
static GUARDS: Mutex<Vec<(Child, Option<ChildStdin>)>> = Mutex::new(Vec::new());

/// `$1` directory, `$2` name of the cgroup; `start` and `stop` are put in. `start` leaves the pid of a daemon
/// in `$daemon`.
const SCRIPT: &str = r#"
set -m
daemon=
ip link set lo up 2>/dev/null
START
echo ready
cat > /dev/null
STOP
gone() { [ ! -e "/proc/$1" ] || grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }
[ -z "$daemon" ] || kill "$daemon"
for round in $(seq 100); do
    [ -z "$daemon" ] && break
    gone "$daemon" && break
    sleep 0.1
done
same() { [ "$(readlink "/proc/$1/ns/$2")" = "$(readlink "/proc/$$/ns/$2")" ]; }
for process in /proc/[0-9]*; do
    pid=${process#/proc/}
    if [ "$pid" != $$ ] && { same "$pid" mnt || same "$pid" net; }; then kill -KILL "$pid"; fi
done 2>/dev/null
groups() { find /sys/fs/cgroup -depth -type d -path "*/$1*" 2>/dev/null; }
for round in $(seq 50); do
    for group in $(groups "$2"); do
        echo THAWED 2>/dev/null > "$group/freezer.state"
        for pid in $(cat "$group/cgroup.procs" 2>/dev/null); do kill -KILL "$pid" 2>/dev/null; done
        rmdir "$group" 2>/dev/null
    done
    [ -z "$(groups "$2")" ] && break
    sleep 0.1
done
for mount in $(awk '{print $5}' /proc/self/mountinfo | grep "^$1" | sort -r); do umount -l "$mount"; done
rm -rf --one-file-system "$1"
"#;

impl Guard {
    /// Starts a guard in new mount and network namespaces whose shell runs `start`, and `stop` at the end.
    ///
    /// # Panics
    /// When it does not come up.
    pub(super) fn start(directory: &Path, cgroup: &str, start: &str, stop: &str) -> Guard {
        let script = SCRIPT.replace("START", start).replace("STOP", stop);
        let mut command = Command::new("unshare");
        command.args(["-m", "-n", "sh", "-c", &script, "guard"]).arg(directory).arg(cgroup);
        let log = std::fs::File::create(directory.with_extension("log")).unwrap();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .current_dir("/")
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the engine did not come up: {}", log_of(directory));
        let pid = child.id();
        let input = child.stdin.take();
        let mut guards = GUARDS.lock().unwrap();
        if guards.is_empty() {
            sys::at_exit(end_all);
        }
        guards.push((child, input));
        Guard { pid }
    }

    /// What goes before a program so that it runs in the engine's namespaces.
    pub(super) fn enter(&self) -> Vec<String> {
        vec![
            "nsenter".into(),
            format!("--mount=/proc/{}/ns/mnt", self.pid),
            format!("--net=/proc/{}/ns/net", self.pid),
        ]
    }
}

/// What the guard and its daemon have written.
pub(super) fn log_of(directory: &Path) -> String {
    let path: PathBuf = directory.with_extension("log");
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Closes the pipes and waits for the guards.
extern "C" fn end_all() {
    let Ok(mut guards) = GUARDS.lock() else { return };
    for (_, input) in guards.iter_mut() {
        drop(input.take());
    }
    for (child, _) in guards.iter_mut() {
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            outcome::wait(child, "an engine's guard")
        }));
    }
}
