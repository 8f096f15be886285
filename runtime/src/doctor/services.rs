//! Services beside the runtime: systemd, the host's and the user's.

use super::{Entry, State};
use crate::cgroup::systemd;
use nix::unistd::geteuid;

pub(super) fn look() -> Vec<Entry> {
    vec![the_systemd(false), the_systemd(true)]
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
