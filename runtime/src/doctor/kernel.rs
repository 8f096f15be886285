//! The kernel: its version, namespaces, and the system calls that a container is made with.

use super::{Entry, State, number, state};
use crate::path;
use crate::plan::namespaces::TYPES;
use crate::sys::{Errno, clone, probe, reason};
use nix::sys::utsname::uname;

/// The oldest release that this program is made for.
const OLDEST: (u32, u32) = (5, 12);

/// System calls, the release that brought them, whether a container needs it, what is done without it.
const CALLS: [(&str, libc::c_long, &str, &str); 17] = [
    (
        "openat2",
        libc::SYS_openat2,
        "5.6",
        "paths in a root file system are walked part by part, which is slower",
    ),
    ("fsopen", libc::SYS_fsopen, "5.2", "no file system can be mounted in a container"),
    ("fsconfig", libc::SYS_fsconfig, "5.2", "no file system can be mounted in a container"),
    ("fsmount", libc::SYS_fsmount, "5.2", "no file system can be mounted in a container"),
    ("open_tree", libc::SYS_open_tree, "5.2", "nothing of the host can be mounted in a container"),
    ("move_mount", libc::SYS_move_mount, "5.2", "nothing can be mounted in a container"),
    (
        "mount_setattr",
        libc::SYS_mount_setattr,
        "5.12",
        "mounts cannot be made read-only as a tree, nor mapped",
    ),
    ("statmount", 457, "6.8", "nothing: mounts are not listed on the way of a container"),
    ("listmount", 458, "6.8", "nothing: mounts are not listed on the way of a container"),
    ("open_tree_attr", 467, "6.15", "a mount that is mapped already cannot be mapped again"),
    ("clone3", libc::SYS_clone3, "5.3", "no process can be made for a container"),
    ("pidfd_open", libc::SYS_pidfd_open, "5.3", "a process cannot be told from another one with its number"),
    ("pidfd_send_signal", libc::SYS_pidfd_send_signal, "5.1", "a signal could reach another process"),
    ("pidfd_getfd", libc::SYS_pidfd_getfd, "5.6", "seccomp agents cannot take descriptors over"),
    ("faccessat2", libc::SYS_faccessat2, "5.8", "whether a program may be executed is guessed from its mode"),
    (
        "memfd_create",
        libc::SYS_memfd_create,
        "3.17",
        "the runtime cannot be sealed on kernels without its overlay",
    ),
    ("execveat", libc::SYS_execveat, "3.19", "the sealed runtime cannot be executed"),
];

/// Those without which there is no container.
const NEEDED: [&str; 8] =
    ["fsopen", "fsconfig", "fsmount", "open_tree", "move_mount", "mount_setattr", "clone3", "pidfd_open"];

const NEWER: &str = "use a newer kernel; in a container or a sandbox, let its filter allow the call";

pub(super) fn look() -> Vec<Entry> {
    let mut entries = vec![version(), procfs()];
    entries.extend(TYPES.map(|(name, (flag, file))| namespace(name, flag, file)));
    for (name, call, release, without) in CALLS {
        let detail = format!("since Linux {release}");
        let mut entry =
            Entry::new("system calls", name, state(probe::knows(call)), detail).otherwise(without, NEWER);
        entry.needed = NEEDED.contains(&name);
        entries.push(entry);
    }
    entries.extend(flags());
    entries
}

fn version() -> Entry {
    let release = uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let detail = format!("{release}; {}.{} or later is expected", OLDEST.0, OLDEST.1);
    let state = if found >= OLDEST { State::Ok } else { State::Degraded };
    Entry::new("kernel", "version", state, detail)
        .otherwise("what older kernels lack is done in another way, or refused", "use a newer kernel")
}

fn procfs() -> Entry {
    let (there, detail) = match path::verified_proc() {
        Ok(_) => (true, String::new()),
        Err(errno) => (false, reason(errno)),
    };
    Entry::new("kernel", "procfs", state(there), detail)
        .otherwise("no container can be made: labels and maps are written there", "mount -t proc proc /proc")
        .needed()
}

/// Makes a namespace in a child; where this process may not, within a user namespace.
fn namespace(name: &'static str, flag: libc::c_int, file: &str) -> Entry {
    let alone = probe::in_child(|| clone::unshare(flag));
    let within = || probe::in_child(|| clone::unshare(flag | libc::CLONE_NEWUSER));
    let known = std::fs::symlink_metadata(format!("/proc/self/ns/{file}")).is_ok();
    let limit = number(&format!("/proc/sys/user/max_{file}_namespaces"));
    let shown = limit.map(|limit| format!("at most {limit} of a user")).unwrap_or_default();
    let (state, detail) = match alone {
        Ok(()) => (State::Ok, shown),
        Err(Errno::EPERM) if within().is_ok() => (
            State::Ok,
            [shown, "with a user namespace".to_owned()].join(", ").trim_start_matches(", ").to_owned(),
        ),
        Err(Errno::ENOSPC) => {
            (State::Missing, "the limit of the user or of a namespace above is reached".to_owned())
        }
        Err(errno) if known => (State::Degraded, format!("the kernel has them, but: {}", reason(errno))),
        Err(errno) => (State::Missing, reason(errno)),
    };
    let entry = Entry::new("namespaces", name, state, detail);
    let entry = match name {
        "user" => entry.otherwise(
            "no rootless containers, and root of a container is root of the host",
            "sysctl -w user.max_user_namespaces=15000 kernel.unprivileged_userns_clone=1, or a kernel with CONFIG_USER_NS",
        ),
        "time" => entry.otherwise("linux.timeOffsets is refused", "a kernel with CONFIG_TIME_NS (Linux 5.6)"),
        _ => entry.otherwise(
            "containers that ask for one are refused",
            "raise /proc/sys/user/max_*_namespaces, or let this process have CAP_SYS_ADMIN",
        ),
    };
    if name == "mount" { entry.needed() } else { entry }
}

/// Flags of calls that came later than the calls.
fn flags() -> Vec<Entry> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    let into = matches!(probe::clone_into_nothing(), Ok(()) | Err(Errno::EBADF));
    let listed = probe::close_range(CLOSE_RANGE_CLOEXEC).is_ok();
    vec![
        Entry::new(
            "system calls",
            "close_range",
            state(listed),
            "with CLOSE_RANGE_CLOEXEC, since Linux 5.11",
        )
        .otherwise("descriptors are closed one by one, which is slower", NEWER),
        Entry::new("system calls", "CLONE_INTO_CGROUP", state(into), "since Linux 5.7")
            .otherwise("processes are moved into their control group, which takes 10 ms more", NEWER),
    ]
}
