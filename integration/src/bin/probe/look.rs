//! Gathers the report.

use integration::proc::{self, Status};
use integration::report::{Caps, Fd, Node, Report, Sched, Signals, Tty};
use integration::sys;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Everything; `words` are pairs of `--sysctl` and a name.
pub(crate) fn report(words: &[&str]) -> Report {
    // First, before anything else is opened.
    let fds = fds();
    let status = Status::of("self");
    let uname = nix::sys::utsname::uname().unwrap();
    Report {
        pid: nix::unistd::getpid().as_raw(),
        ppid: nix::unistd::getppid().as_raw(),
        sid: nix::unistd::getsid(None).map_or(-1, nix::unistd::Pid::as_raw),
        pgid: nix::unistd::getpgrp().as_raw(),
        uid: status.numbers("Uid"),
        gid: status.numbers("Gid"),
        groups: status.numbers("Groups"),
        caps: caps(&status),
        no_new_privs: sys::prctl_get(libc::PR_GET_NO_NEW_PRIVS).unwrap() == 1,
        seccomp: status.number("Seccomp"),
        seccomp_filters: status.number("Seccomp_filters"),
        securebits: sys::prctl_get(libc::PR_GET_SECUREBITS).unwrap(),
        dumpable: sys::prctl_get(libc::PR_GET_DUMPABLE).unwrap(),
        keepcaps: sys::prctl_get(libc::PR_GET_KEEPCAPS).unwrap(),
        umask: u32::from_str_radix(status.get("Umask"), 8).unwrap_or(u32::MAX),
        signals: Signals { blocked: status.mask("SigBlk"), ignored: status.mask("SigIgn") },
        limits: proc::limits("self"),
        args: std::env::args().collect(),
        env: proc::nul_separated("/proc/self/environ"),
        cwd: nix::unistd::getcwd().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
        exe: fs::read_link("/proc/self/exe")
            .map(|path| path.to_string_lossy().into_owned())
            .unwrap_or_default(),
        fds,
        mounts: proc::mounts("self"),
        namespaces: proc::namespaces("self"),
        uid_map: numbers("/proc/self/uid_map"),
        gid_map: numbers("/proc/self/gid_map"),
        setgroups: text("/proc/self/setgroups"),
        cgroup: proc::cgroups("self"),
        hostname: uname.nodename().to_string_lossy().into_owned(),
        domainname: uname.domainname().to_string_lossy().into_owned(),
        machine: uname.machine().to_string_lossy().into_owned(),
        oom_score_adj: text("/proc/self/oom_score_adj").parse().unwrap_or(i64::MIN),
        sched: sched(),
        ioprio: sys::ioprio_get().map_or((-1, -1), |value| (value >> 13, value & 0x1fff)),
        cpus: status.get("Cpus_allowed_list").to_owned(),
        personality: sys::personality().unwrap(),
        mempolicy: sys::get_mempolicy().ok(),
        sysctls: sysctls(words),
        dev: dev(),
        tty: tty(),
        timens_offsets: text("/proc/self/timens_offsets"),
        monotonic: clock(nix::time::ClockId::CLOCK_MONOTONIC),
        boottime: clock(nix::time::ClockId::CLOCK_BOOTTIME),
        keyring: sys::session_keyring().unwrap_or_else(|error| error.to_string()),
        attr_current: text("/proc/self/attr/current"),
        pids: proc::pids(),
        interfaces: proc::entries("/sys/class/net"),
        parent_death_signal: sys::parent_death_signal().unwrap(),
    }
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim_end_matches(['\n', '\0']).to_owned()
}

fn numbers(path: &str) -> Vec<Vec<u64>> {
    let line = |line: &str| line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    text(path).lines().map(line).collect()
}

fn caps(status: &Status) -> Caps {
    Caps {
        bounding: status.mask("CapBnd"),
        effective: status.mask("CapEff"),
        inheritable: status.mask("CapInh"),
        permitted: status.mask("CapPrm"),
        ambient: status.mask("CapAmb"),
    }
}

/// The descriptors that were open when the probe was started: not the one that reads this directory.
fn fds() -> BTreeMap<i32, Fd> {
    let describe = |name: &String| {
        let number: i32 = name.parse().ok()?;
        let target = fs::read_link(format!("/proc/self/fd/{name}")).ok()?.to_string_lossy().into_owned();
        let info = text(&format!("/proc/self/fdinfo/{name}"));
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?.trim();
        Some((number, Fd { target, flags: u32::from_str_radix(flags, 8).ok()? }))
    };
    proc::entries("/proc/self/fd").iter().filter_map(describe).collect()
}

fn sched() -> Sched {
    let attr = sys::sched_getattr().unwrap();
    Sched {
        policy: attr.policy,
        flags: attr.flags,
        nice: attr.nice,
        priority: attr.priority,
        runtime: attr.runtime,
        deadline: attr.deadline,
        period: attr.period,
    }
}

fn sysctls(words: &[&str]) -> BTreeMap<String, String> {
    let read = |name: &str| (name.to_owned(), text(&format!("/proc/sys/{}", name.replace('.', "/"))));
    words.chunks(2).filter(|pair| pair[0] == "--sysctl").map(|pair| read(pair[1])).collect()
}

/// All of `/dev`, not entering other filesystems or `/dev/pts`.
fn dev() -> BTreeMap<String, Node> {
    let mut nodes = BTreeMap::new();
    let Ok(top) = fs::symlink_metadata("/dev") else { return nodes };
    let mut todo = vec!["/dev".to_owned()];
    while let Some(directory) = todo.pop() {
        for name in proc::entries(&directory) {
            let path = format!("{directory}/{name}");
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            if meta.is_dir() && meta.dev() == top.dev() {
                todo.push(path.clone());
            }
            nodes.insert(path.clone(), node(&path, &meta));
        }
    }
    nodes
}

fn node(path: &str, meta: &fs::Metadata) -> Node {
    let file_type = meta.file_type();
    let kinds = [
        (file_type.is_char_device(), "c"),
        (file_type.is_block_device(), "b"),
        (file_type.is_fifo(), "p"),
        (file_type.is_socket(), "s"),
        (file_type.is_symlink(), "l"),
        (file_type.is_dir(), "d"),
    ];
    let kind = kinds.iter().find(|(is, _)| *is).map_or("-", |(_, kind)| *kind);
    Node {
        kind: kind.to_owned(),
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        major: libc::major(meta.rdev()).into(),
        minor: libc::minor(meta.rdev()).into(),
        link: fs::read_link(Path::new(path))
            .map_or(String::new(), |link| link.to_string_lossy().into_owned()),
    }
}

fn tty() -> Tty {
    let stdin = io::stdin();
    let owner = nix::sys::stat::fstat(stdin.as_fd()).map_or((0, 0), |stat| (stat.st_uid, stat.st_gid));
    let stat = text("/proc/self/stat");
    // The fields after the command's name: state, ppid, pgrp, session, tty_nr.
    let controlling = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(4)?.parse().ok());
    Tty {
        is_tty: [stdin.is_terminal(), io::stdout().is_terminal(), io::stderr().is_terminal()],
        size: sys::window_size(stdin.as_fd()).ok(),
        controlling: controlling.unwrap_or(-1),
        owner,
    }
}

fn clock(id: nix::time::ClockId) -> i64 {
    nix::time::clock_gettime(id).unwrap().tv_sec()
}
