//! Programs beside the runtime: systemd, criu.

use super::users::find;
use super::{Entry, State};
use crate::cgroup::systemd;
use nix::unistd::geteuid;
use std::process::{Command, Stdio};

pub(super) fn look() -> Vec<Entry> {
    vec![the_systemd(false), the_systemd(true), criu()]
}

/// The system's systemd, or the user's: whether it runs, and can be asked.
fn the_systemd(user: bool) -> Entry {
    let name = if user { "systemd of the user" } else { "systemd" };
    if user && geteuid().is_root() {
        return Entry::new("services", name, State::Ok, "root uses the system's");
    }
    let (state, detail) = match systemd::reach(user) {
        Ok(()) => (State::Ok, "answers on its bus".to_owned()),
        Err(systemd::Error::NotRunning) => (State::Missing, "this host was not booted with it".to_owned()),
        Err(error) => (State::Degraded, error.to_string()),
    };
    let fix = match user {
        true => "loginctl enable-linger USER, and a session that sets XDG_RUNTIME_DIR",
        false => "start dbus, or use --cgroup-manager cgroupfs",
    };
    Entry::new("services", name, state, detail)
        .otherwise("--systemd-cgroup is refused; control groups are made by files", fix)
}

fn criu() -> Entry {
    let (state, detail) = match find("criu") {
        None => (State::Missing, "not found".to_owned()),
        Some(program) => {
            let output = Command::new(&program).arg("--version").stdin(Stdio::null()).output();
            match output {
                Ok(output) if output.status.success() => {
                    let text = String::from_utf8_lossy(&output.stdout);
                    let version =
                        text.lines().find_map(|line| line.strip_prefix("Version: ")).unwrap_or("unknown");
                    (State::Ok, format!("{} {version}", program.display()))
                }
                Ok(output) => {
                    (State::Degraded, format!("{} does not run: {}", program.display(), output.status))
                }
                Err(error) => (State::Degraded, format!("{} does not run: {error}", program.display())),
            }
        }
    };
    Entry::new("services", "criu", state, detail).otherwise(
        "no checkpoint and restore",
        "apt-get install criu, or a newer one where the distribution's is broken",
    )
}
