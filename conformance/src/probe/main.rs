//! `conformance-probe [OPERATION...]`: the only program in a matrix container. Prints one JSON object with
//! what a process can see of itself, then tries the operations and reports how each ended. Needs nothing in
//! its root file system.
//!
//! Operations: `read:PATH`, `write:PATH` (open only), `list:PATH`, `stat:PATH`, `mknod:PATH:MAJOR:MINOR`,
//! `exec:PATH`, `mkdir:PATH`, `chown:PATH`, `sethostname`, `unshare`, `mount`, `getcwd`, `loopback`,
//! `terminal`. `wait` sleeps until it is killed; `exit:STATUS` is how it ends, `exit:signal` by SIGABRT.

mod sys;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use nix::errno::Errno;
use serde_json::{Value, json};

fn main() {
    let operations: Vec<String> = std::env::args().skip(1).collect();
    if operations.iter().any(|operation| operation == "wait") {
        loop {
            std::thread::sleep(std::time::Duration::from_secs(3600));
        }
    }
    let mut report = BTreeMap::from([
        ("status", status()),
        ("limits", table("/proc/self/limits")),
        ("mounts", mounts()),
        ("cgroup", lines("/proc/self/cgroup")),
        ("attr", folder_of_values("/proc/self/attr")),
        ("fds", descriptors()),
        (
            "env",
            json!(
                std::env::vars_os()
                    .map(|(k, v)| format!("{}={}", k.display(), v.display()))
                    .collect::<Vec<_>>()
            ),
        ),
        ("args0", json!(std::env::args().next())),
        ("cwd", json!(text_or_error(std::env::current_dir().map(|path| path.display().to_string())))),
        ("exe", json!(text_or_error(fs::read_link("/proc/self/exe").map(|path| path.display().to_string())))),
        ("namespaces", namespaces()),
        ("sysctls", sysctls()),
        ("devices", devices(Path::new("/dev"))),
        ("root", devices(Path::new("/"))),
        ("process", process()),
    ]);
    let end = operations.iter().find_map(|operation| operation.strip_prefix("exit:"));
    let tried: BTreeMap<&String, Value> = operations.iter().map(|name| (name, attempt(name))).collect();
    report.insert("tried", json!(tried));
    println!("{}", json!(report));
    match end {
        // As process 1 it cannot kill itself by SIGKILL, but the kernel ends it for a fault.
        Some("signal") => std::process::abort(),
        Some(status) => std::process::exit(status.parse().unwrap_or(1)),
        None => {}
    }
}

/// The lines of /proc/self/status that a runtime decides about.
fn status() -> Value {
    const KEYS: [&str; 17] = [
        "Umask",
        "Uid",
        "Gid",
        "Groups",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "SigBlk",
        "SigIgn",
        "Speculation_Store_Bypass",
        "Cpus_allowed_list",
        "Mems_allowed_list",
        "THP_enabled",
    ];
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    let kept = pairs.filter(|(key, _)| KEYS.contains(key)).map(|(key, value)| (key, words(value)));
    json!(kept.collect::<BTreeMap<_, _>>())
}

/// Single facts that have a file or a system call of their own.
fn process() -> Value {
    let mut facts = BTreeMap::new();
    for name in [
        "personality",
        "oom_score_adj",
        "uid_map",
        "gid_map",
        "setgroups",
        "timens_offsets",
        "coredump_filter",
        "loginuid",
    ] {
        facts.insert(name, read_value(&format!("/proc/self/{name}")));
    }
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    // Numbers of proc_pid_stat(5), of which the first two are cut off.
    for (name, number) in [("ppid", 4), ("tty", 7), ("nice", 19), ("rt_priority", 40), ("policy", 41)] {
        facts.insert(name, fields.get(number - 3).map_or_else(|| "?".into(), |field| (*field).to_owned()));
    }
    // Process ids are taken in the order of creation: only how they relate can be compared.
    let pid = std::process::id().to_string();
    let relation = |number: usize| match fields.get(number - 3) {
        Some(id) if *id == pid => "own".to_owned(),
        Some(&"0") => "0".to_owned(),
        _ => "another's".to_owned(),
    };
    facts.insert("group", relation(5));
    facts.insert("session", relation(6));
    facts.insert("is process 1", (pid == "1").to_string());
    facts.insert("io_priority", sys::io_priority());
    facts.insert("session_keyring", sys::session_keyring());
    facts.insert("securebits", sys::securebits());
    facts.insert("dumpable", sys::dumpable());
    facts.insert("controlling_terminal", text_or_error(fs::File::open("/dev/tty").map(|_| "yes".into())));
    json!(facts)
}

/// Mount point → what is there; a mount that hides another gets `#2` and so on.
fn mounts() -> Value {
    let mut all = BTreeMap::new();
    for line in fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines() {
        let mut fields = line.split(' ').skip(3);
        let (root, point, options) = (fields.next(), fields.next(), fields.next());
        let optional: Vec<&str> = fields.by_ref().take_while(|field| *field != "-").collect();
        let peers: Vec<&str> = optional.iter().filter_map(|field| field.split(':').next()).collect();
        let rest: Vec<&str> = fields.collect();
        let point = point.unwrap_or_default();
        let name = (1..).map(|n| if n == 1 { point.to_owned() } else { format!("{point}#{n}") });
        let name = name.into_iter().find(|name| !all.contains_key(name)).unwrap_or_default();
        let option_list = sorted(options.unwrap_or_default());
        all.insert(name, json!({
            "root": root, "options": option_list, "peers": peers.join(" "),
            "type": rest.first(), "source": rest.get(1), "data": sorted(rest.get(2).copied().unwrap_or_default()),
        }));
    }
    json!(all)
}

fn sorted(options: &str) -> String {
    let mut list: Vec<&str> = options.split(',').collect();
    list.sort_unstable();
    list.join(",")
}

/// Open files: what kind each is, and whether it would survive an exec.
fn descriptors() -> Value {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let target = fs::read_link(entry.path())
            .map_or_else(|error| error.to_string(), |path| path.display().to_string());
        if !target.starts_with("/proc/") {
            all.insert(
                entry.file_name().display().to_string(),
                target.split(":[").next().unwrap_or_default().to_owned(),
            );
        }
    }
    json!(all)
}

fn namespaces() -> Value {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/ns").into_iter().flatten().flatten() {
        let target = text_or_error(fs::read_link(entry.path()).map(|path| path.display().to_string()));
        all.insert(entry.file_name().display().to_string(), target);
    }
    json!(all)
}

fn sysctls() -> Value {
    const NAMES: [&str; 12] = [
        "kernel/hostname",
        "kernel/domainname",
        "kernel/msgmax",
        "kernel/shmmax",
        "kernel/shm_rmid_forced",
        "kernel/sem",
        "fs/mqueue/msg_max",
        "net/ipv4/ip_forward",
        "net/ipv4/ip_unprivileged_port_start",
        "net/ipv4/ping_group_range",
        "net/core/somaxconn",
        "net/ipv4/conf/all/rp_filter",
    ];
    json!(
        NAMES
            .iter()
            .map(|name| (*name, read_value(&format!("/proc/sys/{name}"))))
            .collect::<BTreeMap<_, _>>()
    )
}

/// What a folder holds: kind, owner, mode, device number or link target.
fn devices(folder: &Path) -> Value {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        all.insert(entry.file_name().display().to_string(), describe(&entry.path()));
    }
    json!(all)
}

fn describe(path: &Path) -> String {
    let about = match fs::symlink_metadata(path) {
        Ok(about) => about,
        Err(error) => return failure(&error),
    };
    let kind = about.file_type();
    let owner = format!("{}:{} {:04o}", about.uid(), about.gid(), about.permissions().mode() & 0o7777);
    let number =
        || format!("{}:{}", nix::sys::stat::major(about.rdev()), nix::sys::stat::minor(about.rdev()));
    if kind.is_symlink() {
        return text_or_error(fs::read_link(path).map(|target| format!("-> {}", target.display())));
    }
    match () {
        () if kind.is_char_device() => format!("c {} {owner}", number()),
        () if kind.is_block_device() => format!("b {} {owner}", number()),
        () if kind.is_fifo() => format!("p {owner}"),
        () if kind.is_dir() => format!("d {owner}"),
        () if kind.is_file() => format!("- {owner}"),
        () => format!("? {owner}"),
    }
}

/// Try one operation.
fn attempt(operation: &str) -> Value {
    let (verb, rest) = operation.split_once(':').unwrap_or((operation, ""));
    let path = Path::new(rest);
    let done = |result: std::io::Result<()>| text_or_error(result.map(|()| "done".to_owned()));
    let errno =
        |result: nix::Result<()>| result.map_or_else(|error| format!("{error:?}"), |()| "done".to_owned());
    json!(match verb {
        "read" => text_or_error(first_bytes(path)),
        "write" => done(fs::OpenOptions::new().write(true).open(path).map(|_| ())),
        "list" => return devices(path),
        "stat" => describe(path),
        "mkdir" => done(fs::create_dir(path)),
        "chown" => done(std::os::unix::fs::chown(path, Some(1), Some(1))),
        "exec" => text_or_error(std::process::Command::new(path).status().map(|status| status.to_string())),
        "mknod" => errno(make_device(rest)),
        "sethostname" => errno(nix::unistd::sethostname("changed")),
        "unshare" => errno(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUTS)),
        "mount" => {
            let (none, flags) = (None::<&str>, nix::mount::MsFlags::empty());
            errno(nix::mount::mount(Some("tmpfs"), "/tmp", Some("tmpfs"), flags, none))
        }
        "getcwd" => errno(nix::unistd::getcwd().map(|_| ())),
        "terminal" => sys::window(),
        "exit" => "later".to_owned(),
        "loopback" =>
            done(std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.connect("127.0.0.1:9"))),
        _ => "unknown operation".to_owned(),
    })
}

fn first_bytes(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(64).read_to_end(&mut bytes)?;
    Ok(format!("{:?}", String::from_utf8_lossy(&bytes)))
}

/// `PATH:MAJOR:MINOR`: make the character device, then open it: the device controller decides about both.
fn make_device(text: &str) -> nix::Result<()> {
    let mut parts = text.split(':');
    let path = parts.next().unwrap_or_default();
    let mut number = || parts.next().and_then(|part| part.parse().ok()).ok_or(Errno::EINVAL);
    let device = nix::sys::stat::makedev(number()?, number()?);
    nix::sys::stat::mknod(path, nix::sys::stat::SFlag::S_IFCHR, nix::sys::stat::Mode::S_IRWXU, device)?;
    fs::File::open(path).map(|_| ()).map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}

fn folder_of_values(path: &str) -> Value {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(path).into_iter().flatten().flatten().filter(|entry| entry.path().is_file()) {
        all.insert(entry.file_name().display().to_string(), read_value(&entry.path().display().to_string()));
    }
    json!(all)
}

/// Lines `NAME  VALUE...`: columns are two or more spaces apart.
fn table(path: &str) -> Value {
    let text = fs::read_to_string(path).unwrap_or_default();
    json!(
        text.lines()
            .filter_map(|line| line.split_once("  "))
            .map(|(k, v)| (k, words(v)))
            .collect::<BTreeMap<_, _>>()
    )
}

/// Lines `N:CONTROLLERS:PATH` without the number, which says nothing.
fn lines(path: &str) -> Value {
    let text = text_or_error(fs::read_to_string(path));
    json!(text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':')).collect::<BTreeMap<_, _>>())
}

fn read_value(path: &str) -> String {
    text_or_error(fs::read(path).map(|bytes| words(String::from_utf8_lossy(&bytes).trim_end_matches('\0'))))
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn text_or_error(result: std::io::Result<String>) -> String {
    result.unwrap_or_else(|error| failure(&error))
}

/// `ENOENT` instead of a sentence.
fn failure(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |number| format!("{:?}", Errno::from_raw(number)))
}
