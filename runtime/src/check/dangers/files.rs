//! Files of the host that a container gets, and who may write to the bundle.

use super::{Dangers, Level};
use crate::plan::mounts::{MountPlan, What};
use nix::sys::stat::SFlag;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Sockets by which whoever can connect runs whatever he wants on the host.
const SOCKETS: [&str; 10] = [
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/crio/crio.sock",
    "/run/cri-dockerd.sock",
    "/run/corten/cortend.sock",
    "/run/buildkit/buildkitd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/systemd/private",
    "/run/dbus/system_bus_socket",
];

/// Directories of the host that decide what the host does.
const DIRECTORIES: [&str; 15] = [
    "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys", "/usr",
    "/bin", "/var/lib", "/var/run",
];

const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY;

fn is_read_only(mount: &MountPlan) -> bool {
    (mount.attributes.set | mount.attributes.recursive_set) & READ_ONLY != 0
}

pub(super) fn mounts(dangers: &mut Dangers<'_>) {
    let accepted = dangers.accepted;
    for mount in &accepted.plan.mounts {
        let path = format!("mounts[{}]", mount.index);
        match &mount.what {
            What::Bind { source, .. } => bind(dangers, mount, &path, source),
            What::FileSystem { kind, .. } => file_system(dangers, mount, &path, &kind.to_string_lossy()),
            What::Cgroup { .. } if !is_read_only(mount) && !dangers.mapped() => {
                let what = "the control groups are writable: the container can lift its own limits";
                dangers.add(Level::Warning, &path, what, "add the option \"ro\"");
            }
            _ => {}
        }
        if mount.attributes.propagation.iter().any(|(kind, _)| *kind == libc::MS_SHARED)
            && matches!(mount.what, What::Bind { .. })
        {
            let what = "what the container mounts below it appears on the host";
            dangers.add(Level::Warning, &format!("{path}.options"), what, "use \"rslave\" or \"rprivate\"");
        }
    }
    if accepted.plan.root.propagation.is_some_and(|kind| kind & libc::MS_SHARED != 0) {
        let what = "what the container mounts appears on the host";
        dangers.add(Level::Warning, "linux.rootfsPropagation", what, "use \"rslave\" or \"private\"");
    }
    if fs::canonicalize(&accepted.plan.root.path).is_ok_and(|root| root == Path::new("/")) {
        let what = "the root file system is the host's";
        dangers.add(Level::Danger, "root.path", what, "unpack an image into the bundle");
    }
}

fn bind(dangers: &mut Dangers<'_>, mount: &MountPlan, path: &str, source: &Path) {
    let found = fs::canonicalize(source).unwrap_or_else(|_| source.to_owned());
    let place = format!("{path}.source");
    let sockets = SOCKETS.iter().map(PathBuf::from).filter(|socket| {
        let resolved = fs::canonicalize(socket).unwrap_or_else(|_| socket.clone());
        resolved == found || (resolved.starts_with(&found) && fs::symlink_metadata(&resolved).is_ok())
    });
    let named = source.extension().is_some_and(|extension| extension == "sock").then(|| source.to_owned());
    let engine = named.filter(|name| {
        let name = name.file_name().unwrap_or_default();
        SOCKETS.iter().any(|socket| Path::new(socket).file_name() == Some(name))
    });
    if let Some(socket) = sockets.into_iter().next().or(engine) {
        let what = format!("{} gives the container the engine, and by it the host", socket.display());
        return dangers.add(Level::Danger, &place, what, "do not mount it; a read-only mount does not help");
    }
    let read_only = is_read_only(mount);
    let fix = "mount only the directory that is needed, with \"ro\"";
    if found == Path::new("/") {
        let what = if read_only { "the whole host can be read" } else { "the whole host can be changed" };
        return dangers.add(Level::Danger, &place, what, fix);
    }
    if let Ok(meta) = fs::metadata(&found)
        && (meta.file_type().is_block_device() || meta.file_type().is_char_device())
    {
        let kind = if meta.file_type().is_block_device() { SFlag::S_IFBLK } else { SFlag::S_IFCHR };
        let (major, minor) = (nix::sys::stat::major(meta.rdev()), nix::sys::stat::minor(meta.rdev()));
        return device(dangers, &place, kind, major, minor);
    }
    let shown = found.display();
    if found.starts_with("/proc") || found.starts_with("/sys") {
        let level = if read_only || dangers.mapped() { Level::Warning } else { Level::Danger };
        let what = match read_only {
            true => format!("{shown} tells of the host's kernel"),
            false => format!("{shown} is writable: settings of the host's kernel can be changed"),
        };
        return dangers.add(level, &place, what, "mount a file system of its own type instead");
    }
    let exact = DIRECTORIES.iter().any(|directory| found == Path::new(directory));
    if exact {
        let (level, what) = match read_only {
            true => (Level::Warning, "can be read, with the secrets in it"),
            false => (Level::Danger, "can be changed, and with it what the host does"),
        };
        dangers.add(level, &place, format!("{shown} of the host {what}"), fix);
    }
}

fn file_system(dangers: &mut Dangers<'_>, mount: &MountPlan, path: &str, kind: &str) {
    let mapped = dangers.mapped();
    match kind {
        "sysfs" if !is_read_only(mount) && !mapped => {
            let what = "/sys is writable: root in the container changes the host's devices and kernel";
            dangers.add(Level::Danger, path, what, "add the option \"ro\"");
        }
        "devtmpfs" => {
            let what = "every device of the host has a node in it";
            dangers.add(Level::Danger, path, what, "mount a tmpfs on /dev: the runtime fills it");
        }
        "debugfs" | "tracefs" | "securityfs" | "bpf" | "configfs" | "efivarfs" | "binfmt_misc" if !mapped => {
            let what = format!("{kind} is the host's, and leads into its kernel");
            dangers.add(Level::Danger, path, what, "leave the mount out");
        }
        _ => {}
    }
}

/// Files of procfs and sysfs that tell of the host or change it, and how bad it is when nothing covers them.
const EXPOSED: [(&str, &str); 9] = [
    ("/proc/kcore", "the machine's memory can be read"),
    ("/proc/keys", "the names of the host's keys can be read"),
    ("/proc/timer_list", "the kernel's addresses can be read"),
    ("/sys/firmware", "the firmware's tables can be read"),
    (
        "/proc/sys",
        "settings of the host can be written, such as kernel.core_pattern, which runs programs on the host",
    ),
    ("/proc/sysrq-trigger", "the host can be restarted"),
    ("/proc/irq", "interrupts of the host can be moved"),
    ("/proc/bus", "devices of the host can be reached"),
    ("/proc/fs", "file systems of the host can be changed"),
];

/// How many of [`EXPOSED`] only tell; the others change.
const TELL: usize = 4;

pub(super) fn masks(dangers: &mut Dangers<'_>) {
    let plan = &dangers.accepted.plan;
    let mounted = |at: &str| plan.mounts.iter().any(|mount| Path::new(&mount.destination) == Path::new(at));
    let covers = |covers: &[std::ffi::OsString], file: &str| {
        covers.iter().any(|path| Path::new(file).starts_with(path))
    };
    let mut found = Vec::new();
    for (index, (file, what)) in EXPOSED.into_iter().enumerate() {
        let top = if file.starts_with("/proc") { "/proc" } else { "/sys" };
        if !mounted(top) || covers(&plan.masked, file) || !Path::new(file).exists() {
            continue;
        }
        let writable = index >= TELL;
        if writable && (covers(&plan.read_only, file) || dangers.mapped() || !dangers.is_root()) {
            continue;
        }
        let level = match writable {
            true if file == "/proc/sys" || file == "/proc/sysrq-trigger" => Level::Danger,
            _ => Level::Warning,
        };
        let field = if writable { "linux.readonlyPaths" } else { "linux.maskedPaths" };
        found.push((level, field, format!("{file} is not in it: {what}"), format!("add {file:?}")));
    }
    for (level, field, what, fix) in found {
        dangers.add(level, field, what, &fix);
    }
}

/// Devices by which the host can be read, changed or stopped: type, major, minor (`None`: all), and how.
const DEVICES: [(SFlag, u64, Option<u64>, &str); 7] = [
    (SFlag::S_IFCHR, 1, Some(1), "/dev/mem: the machine's memory"),
    (SFlag::S_IFCHR, 1, Some(2), "/dev/kmem: the kernel's memory"),
    (SFlag::S_IFCHR, 1, Some(4), "/dev/port: the machine's ports"),
    (SFlag::S_IFCHR, 1, Some(11), "/dev/kmsg: the kernel's log"),
    (SFlag::S_IFCHR, 10, Some(237), "/dev/loop-control: makes block devices of the host"),
    (SFlag::S_IFCHR, 21, None, "a SCSI device: commands to the host's disks"),
    (SFlag::S_IFCHR, 202, None, "/dev/cpu/N/msr: the processor's registers"),
];

fn device(dangers: &mut Dangers<'_>, path: &str, kind: SFlag, major: u64, minor: u64) {
    let fix = "leave the device out";
    if kind == SFlag::S_IFBLK {
        let what = format!("block device {major}:{minor}: a disk of the host, with every file on it");
        return dangers.add(Level::Danger, path, what, fix);
    }
    let known = DEVICES.iter().find(|(theirs, first, second, _)| {
        *theirs == kind && *first == major && second.is_none_or(|second| second == minor)
    });
    if let Some((.., what)) = known {
        dangers.add(Level::Danger, path, *what, fix);
    }
}

pub(super) fn devices(dangers: &mut Dangers<'_>) {
    for index in 0..dangers.linux.devices.len() {
        let written = &dangers.linux.devices[index];
        let Some(node) =
            dangers.accepted.plan.devices.iter().find(|node| node.path.to_str() == Some(&written.path))
        else {
            continue;
        };
        let (kind, major, minor) = (node.kind, node.major, node.minor);
        device(dangers, &format!("linux.devices[{index}]"), kind, major, minor);
    }
    let Some(resources) = &dangers.linux.resources else { return };
    for (index, rule) in resources.devices.iter().enumerate() {
        // A later rule may take it back, and mostly the first one denies everything.
        let denied = resources.devices[index + 1..].iter().any(|later| {
            !later.allow
                && matches!(later.kind.as_str(), "" | "a")
                && later.major.is_none()
                && later.access == "rwm"
        });
        let any = |number: Option<i64>| matches!(number, None | Some(-1));
        if rule.allow && !denied && any(rule.major) && rule.access.contains(['r', 'w']) && rule.kind != "c" {
            let what = "every block device, and with it every disk of the host, can be used";
            let fix = "allow the devices that are needed by their numbers";
            dangers.add(Level::Danger, &format!("linux.resources.devices[{index}]"), what, fix);
        }
    }
}

/// Who may write to what decides about the container: the bundle, and programs that run as the caller.
pub(super) fn owners(dangers: &mut Dangers<'_>, bundle: &Path, file: &Path) {
    for path in [bundle, file] {
        let Ok(meta) = fs::metadata(path) else { continue };
        if meta.mode() & 0o002 != 0 && meta.mode() & 0o1000 == 0 {
            let what = format!("{} can be written by everybody, who so decides what runs", path.display());
            dangers.add(Level::Danger, ".", what, "take the right to write from others (chmod o-w)");
        }
    }
    let Some(hooks) = &dangers.accepted.config.hooks else { return };
    let kinds = [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("createContainer", &hooks.create_container),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ];
    let others = |path: &str| fs::metadata(path).is_ok_and(|meta| meta.mode() & 0o002 != 0);
    let mut found = Vec::new();
    for (kind, hooks) in kinds {
        let open = hooks.iter().enumerate().filter(|(_, hook)| others(&hook.path));
        found.extend(open.map(|(index, _)| format!("hooks.{kind}[{index}].path")));
    }
    for path in found {
        let what = "everybody may write to this program, which runs on the host with the runtime's rights";
        dangers.add(Level::Danger, &path, what, "take the right to write from others (chmod o-w)");
    }
}
