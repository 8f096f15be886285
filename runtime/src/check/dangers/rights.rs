//! Namespaces, capabilities, filters and limits that a container lacks or has too many of.

use super::{Dangers, Level};
use crate::command::features::UNSAFE_ANNOTATIONS;
use crate::lsm::Module;
use crate::plan::capabilities::NAMES;
use crate::plan::namespaces::TYPES;
use std::path::Path;

/// Namespaces, how bad it is when the host's is used, and what the container can do then.
const SHARED: [(&str, Level, &str); 7] = [
    (
        "pid",
        Level::Danger,
        "the container sees every process of the host, and as root can signal and read them",
    ),
    (
        "network",
        Level::Danger,
        "the container has the host's interfaces, loopback services and abstract sockets",
    ),
    ("mount", Level::Danger, "what is mounted or unmounted in the container is so on the host"),
    ("ipc", Level::Warning, "the container shares semaphores, queues and memory with the host's programs"),
    ("uts", Level::Note, "the container sees the host's name, and with CAP_SYS_ADMIN can change it"),
    ("cgroup", Level::Note, "the container sees where in the host's control groups it is"),
    (
        "user",
        Level::Note,
        "root in the container is root of the host, held back by capabilities and filters alone",
    ),
];

pub(super) fn namespaces(dangers: &mut Dangers<'_>) {
    let plan = &dangers.accepted.plan;
    for (kind, level, what) in SHARED {
        let Some((_, (flag, file))) = TYPES.into_iter().find(|(name, _)| *name == kind) else { continue };
        if !plan.namespaces.separate(flag) {
            let level = if kind == "user" && !dangers.is_root() { continue } else { level };
            let fix = format!("add {{\"type\": {kind:?}}} to linux.namespaces");
            dangers.add(level, "linux.namespaces", format!("no {kind} namespace: {what}"), &fix);
            continue;
        }
        let hosts = |path: &Path| {
            let own = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/{file}")).ok();
            let joined = std::fs::read_link(path).ok();
            joined.is_some() && (joined == own("1") || joined == own("self"))
        };
        if plan.namespaces.join.iter().any(|join| join.flag == flag && hosts(&join.path)) {
            let index = dangers.linux.namespaces.iter().position(|namespace| namespace.kind == kind);
            let path = format!("linux.namespaces[{}].path", index.unwrap_or(0));
            let fix = "remove the path for a namespace of its own";
            dangers.add(level, &path, format!("this is the host's {kind} namespace: {what}"), fix);
        }
    }
}

/// Capabilities that lead to the host, how bad they are there, and how.
const CAPABILITIES: [(&str, Level, &str); 21] = [
    ("CAP_SYS_ADMIN", Level::Danger, "mounts, changes namespaces and much more: nearly root of the host"),
    ("CAP_SYS_MODULE", Level::Danger, "loads code into the kernel"),
    ("CAP_SYS_RAWIO", Level::Danger, "reads and writes the machine's memory and ports"),
    ("CAP_SYS_PTRACE", Level::Danger, "takes over every process that it can see"),
    (
        "CAP_DAC_READ_SEARCH",
        Level::Danger,
        "opens any file of a file system by its number, outside of the root, too",
    ),
    ("CAP_SYS_BOOT", Level::Danger, "restarts the host or loads another kernel"),
    ("CAP_BPF", Level::Danger, "loads programs that look at the whole kernel"),
    ("CAP_PERFMON", Level::Danger, "observes the whole kernel"),
    ("CAP_MAC_ADMIN", Level::Danger, "changes the rules of the security module"),
    ("CAP_MAC_OVERRIDE", Level::Danger, "passes by the rules of the security module"),
    ("CAP_SYS_TIME", Level::Danger, "sets the host's clock"),
    ("CAP_SYS_RESOURCE", Level::Warning, "raises limits beyond those that were set"),
    ("CAP_SYS_NICE", Level::Warning, "takes the processors with real-time priorities"),
    ("CAP_SYSLOG", Level::Warning, "reads the kernel's log and addresses"),
    (
        "CAP_NET_ADMIN",
        Level::Warning,
        "configures its network namespace, and reaches much of the kernel by it",
    ),
    ("CAP_LINUX_IMMUTABLE", Level::Warning, "makes files of volumes unchangeable"),
    ("CAP_IPC_LOCK", Level::Warning, "locks memory without a limit"),
    ("CAP_CHECKPOINT_RESTORE", Level::Warning, "chooses process numbers and reads others' maps"),
    ("CAP_AUDIT_CONTROL", Level::Warning, "turns the audit off"),
    ("CAP_AUDIT_READ", Level::Warning, "reads the host's audit log"),
    ("CAP_WAKE_ALARM", Level::Note, "wakes the machine up"),
];

pub(super) fn capabilities(dangers: &mut Dangers<'_>) {
    let process = dangers.accepted.config.process.as_ref();
    let Some(written) = process.and_then(|process| process.capabilities.as_ref()) else {
        if dangers.is_root() {
            let what = "none are written, and the program has none";
            dangers.add(Level::Note, "process.capabilities", what, "write the capabilities that it needs");
        }
        return;
    };
    let sets = dangers.accepted.plan.process.identity.capabilities;
    let held = sets.bounding | sets.permitted;
    let network = dangers.accepted.plan.namespaces.separate(libc::CLONE_NEWNET);
    for (name, level, what) in CAPABILITIES {
        let bit = NAMES.iter().position(|known| *known == name).unwrap_or(0);
        if held & (1 << bit) == 0 {
            continue;
        }
        let place = [("bounding", &written.bounding), ("permitted", &written.permitted)]
            .into_iter()
            .find_map(|(set, names)| Some((set, names.iter().position(|other| other == name)?)));
        let Some((set, index)) = place else { continue };
        let (level, note) = match (level, dangers.mapped()) {
            (Level::Danger, true) => {
                (Level::Warning, " (in its own user namespace alone, as far as the kernel has no fault)")
            }
            (Level::Warning, true) => (Level::Note, " (in its own user namespace alone)"),
            (_, false) if name == "CAP_NET_ADMIN" && !network => (Level::Danger, " (the host's network)"),
            (level, _) => (level, ""),
        };
        let path = format!("process.capabilities.{set}[{index}]");
        dangers.add(level, &path, format!("{name}: {what}{note}"), "leave it out of every set");
    }
    if sets.inheritable != 0 && sets.ambient == 0 {
        let what = "inheritable capabilities come back with files that have them (CVE-2022-29162)";
        dangers.add(Level::Note, "process.capabilities.inheritable", what, "leave the set empty");
    }
}

pub(super) fn filters(dangers: &mut Dangers<'_>) {
    let accepted = dangers.accepted;
    match dangers.linux.seccomp.as_ref() {
        Some(profile) if !profile.is_disabled() => {
            if profile.default_action == "SCMP_ACT_ALLOW" && profile.syscalls.is_empty() {
                let what = "the profile allows every system call";
                dangers.add(
                    Level::Warning,
                    "linux.seccomp.defaultAction",
                    what,
                    "use the default profile of `corten seccomp`",
                );
            }
        }
        _ => {
            let what = "there is no system call filter: the whole kernel can be reached";
            let fix = "use a profile; `corten seccomp resolve default` prints one";
            dangers.add(Level::Warning, "linux.seccomp", what, fix);
        }
    }
    let labels = [
        (Module::AppArmor, "process.apparmorProfile", &accepted.plan.process.apparmor),
        (Module::Selinux, "process.selinuxLabel", &accepted.plan.process.selinux),
    ];
    for (module, path, label) in labels {
        let unconfined = label == "unconfined" || label.contains(":unconfined_t:");
        if unconfined || (label.is_empty() && module.enabled()) {
            let what = format!("{module:?} is enabled on this host, and the container runs unconfined by it");
            dangers.add(Level::Warning, path, what, "name a profile that is loaded");
        }
    }
    if !accepted.plan.process.identity.no_new_privileges {
        let what = "programs with the set-user-ID bit or file capabilities gain rights";
        dangers.add(
            Level::Warning,
            "process.noNewPrivileges",
            what,
            "set it to true, if no such program is needed",
        );
    }
    for key in UNSAFE_ANNOTATIONS {
        let has = accepted
            .config
            .annotations
            .keys()
            .find(|name| *name == key || (key.ends_with('.') && name.starts_with(key)));
        if let Some(name) = has {
            let what = "changes what the container may do: whoever can set annotations decides it";
            dangers.add(Level::Note, &format!("annotations[{name:?}]"), what, "make sure who wrote it");
        }
    }
}

pub(super) fn limits(dangers: &mut Dangers<'_>) {
    let resources = dangers.linux.resources.as_ref();
    let limited = |limit: Option<i64>| limit.is_some_and(|limit| limit > 0);
    let unified = |file: &str| resources.is_some_and(|resources| resources.unified.contains_key(file));
    let memory = resources.and_then(|resources| resources.memory.as_ref()).and_then(|memory| memory.limit);
    let pids = resources.and_then(|resources| resources.pids.as_ref()).and_then(|pids| pids.limit);
    if !limited(memory) && !unified("memory.max") {
        let what = "no limit: the container can use up the host's memory";
        dangers.add(Level::Note, "linux.resources.memory.limit", what, "set a number of bytes");
    }
    if !limited(pids) && !unified("pids.max") {
        let what = "no limit: the container can use up the host's process numbers";
        dangers.add(Level::Note, "linux.resources.pids.limit", what, "set a number, such as 1024");
    }
    if dangers.accepted.plan.process.oom_score_adj.is_some_and(|score| score <= -900) {
        let what = "the kernel kills everything else before this container";
        dangers.add(Level::Warning, "process.oomScoreAdj", what, "choose a score nearer to 0");
    }
}
