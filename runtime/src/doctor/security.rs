//! Seccomp, security modules, capabilities, keyrings.

use super::{Entry, State, number, state};
use crate::lsm::Module;
use crate::plan::capabilities::NAMES;
use crate::sys::{capability, probe, process, reason};
use nix::unistd::geteuid;

/// Actions by the names that `/proc/sys/kernel/seccomp/actions_avail` has, and in what profiles call them.
const ACTIONS: [(&str, u32, &str); 8] = [
    (
        "kill_process",
        libc::SECCOMP_RET_KILL_PROCESS,
        "profiles with SCMP_ACT_KILL_PROCESS end one thread instead",
    ),
    ("kill_thread", libc::SECCOMP_RET_KILL_THREAD, "profiles with SCMP_ACT_KILL cannot be loaded"),
    ("trap", libc::SECCOMP_RET_TRAP, "profiles with SCMP_ACT_TRAP cannot be loaded"),
    ("errno", libc::SECCOMP_RET_ERRNO, "no profile can be loaded"),
    (
        "user_notif",
        libc::SECCOMP_RET_USER_NOTIF,
        "no agents (SCMP_ACT_NOTIFY), and `corten seccomp record` cannot watch",
    ),
    ("trace", libc::SECCOMP_RET_TRACE, "profiles with SCMP_ACT_TRACE cannot be loaded"),
    ("log", libc::SECCOMP_RET_LOG, "profiles with SCMP_ACT_LOG cannot be loaded"),
    ("allow", libc::SECCOMP_RET_ALLOW, "no profile can be loaded"),
];

/// Flags of filters, with what has to stand beside one, and what is lost without.
const FLAGS: [(&str, u64, &str); 5] = [
    ("TSYNC", libc::SECCOMP_FILTER_FLAG_TSYNC, "profiles that ask for it are refused"),
    ("LOG", libc::SECCOMP_FILTER_FLAG_LOG, "profiles that ask for it are refused"),
    ("SPEC_ALLOW", libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW, "processes under a filter are slower"),
    ("NEW_LISTENER", libc::SECCOMP_FILTER_FLAG_NEW_LISTENER, "no agents, no recorder"),
    (
        "WAIT_KILLABLE_RECV",
        libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
        "a call that an agent works on can be interrupted and asked again",
    ),
];

const KERNEL: &str = "use a newer kernel, with CONFIG_SECCOMP_FILTER";

pub(super) fn look() -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for (name, action, without) in ACTIONS {
        entries.push(
            Entry::new("seccomp", name, state(probe::seccomp_action(action)), "").otherwise(without, KERNEL),
        );
    }
    for (name, flag, without) in FLAGS {
        entries.push(
            Entry::new("seccomp", name, state(probe::seccomp_flag(flag)), "").otherwise(without, KERNEL),
        );
    }
    entries.extend(modules());
    entries.push(capabilities());
    entries.push(keyrings());
    entries
}

/// Security modules: those that can confine a container. None is needed; one that is there is better used.
fn modules() -> Vec<Entry> {
    let list = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    let listed = |name: &str| list.trim().split(',').any(|other| other == name);
    let unknown = list.trim().is_empty();
    let of = |module: Module, name: &'static str, fix: &'static str| {
        let (state, detail) = match (module.enabled(), listed(name)) {
            (true, _) => (State::Ok, "enabled"),
            (false, true) => (State::Degraded, "built in, but not enabled"),
            (false, false) if unknown => {
                (State::Missing, "not enabled, as far as can be seen without /sys/kernel/security")
            }
            (false, false) => (State::Missing, "not enabled"),
        };
        let means = "containers that ask for its label are refused; others run without it";
        Entry::new("security modules", name, state, detail).otherwise(means, fix)
    };
    let landlock = probe::landlock();
    let (there, detail) = match landlock {
        Ok(version) => (true, format!("interface {version}")),
        Err(errno) => (false, reason(errno)),
    };
    vec![
        of(Module::AppArmor, "apparmor", "boot with apparmor=1 security=apparmor, on a kernel that has it"),
        of(Module::Selinux, "selinux", "boot with selinux=1 security=selinux, on a kernel that has it"),
        Entry::new("security modules", "landlock", state(there), detail).otherwise(
            "programs in containers cannot confine themselves with it",
            "boot with lsm=landlock,… in front",
        ),
    ]
}

/// What this process, and so every container that it makes, may have at most.
fn capabilities() -> Entry {
    let last = process::last_capability(0);
    let bounding = |number: u32| capability::in_bounding(number).unwrap_or(false);
    let missing: Vec<&str> = NAMES
        .iter()
        .enumerate()
        .filter_map(|(number, name)| Some((u32::try_from(number).ok()?, *name)))
        .filter(|(number, _)| *number <= last && !bounding(*number))
        .map(|(_, name)| name)
        .collect();
    let (state, detail) = match missing.as_slice() {
        [] => (State::Ok, format!("all {}", last + 1)),
        missing => (State::Degraded, format!("without {}", missing.join(", "))),
    };
    let detail = if geteuid().is_root() { detail } else { format!("{detail}, in a user namespace") };
    Entry::new("capabilities", "bounding set", state, detail).otherwise(
        "containers do not get these, whatever they ask for, and a warning says so",
        "start the engine without the limits of the sandbox it is in (CapabilityBoundingSet= of its unit)",
    )
}

fn keyrings() -> Entry {
    let most = number("/proc/sys/kernel/keys/maxkeys");
    let (state, detail) = match (probe::keyring(), most) {
        (Ok(()), Some(most)) => (State::Ok, format!("at most {most} keys of a user; a container needs one")),
        (Ok(()), None) => (State::Ok, String::new()),
        (Err(errno), _) => (State::Missing, reason(errno)),
    };
    Entry::new("capabilities", "keyrings", state, detail).otherwise(
        "containers have no session keyring of their own, and none of the caller's either",
        "a kernel with CONFIG_KEYS",
    )
}
