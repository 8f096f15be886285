//! From a record to an OCI config.json, as Docker makes it.

pub mod apparmor;
mod devices;
mod mount;
mod resources;
mod security;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bollard_stubs::models::HostConfigCgroupnsModeEnum;
use runtime::spec::{Config, User};
use serde_json::{Value, json};

use super::{Record, environment};
use crate::error::{Result, bail, ensure, error};
use crate::said;

pub use mount::shown;
pub use resources::{update as updated_resources, update_devices as updated_devices};
pub use security::{capabilities, masked, read_only, seccomp};

/// The variable of those that have a terminal.
pub const TERM: &str = "TERM=xterm";

/// What the configuration needs and the record does not have.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Who the process is.
    pub user: Option<User>,
    /// The network namespace: of the host when empty.
    pub network: Option<PathBuf>,
    /// The PID namespace of another container.
    pub pid: Option<PathBuf>,
    /// The IPC namespace of another container.
    pub ipc: Option<PathBuf>,
    /// Its /dev/shm, or the container's own that it shares.
    pub shm: Option<PathBuf>,
    /// The numbers of interfaces in networks that have no IPv6.
    pub without_ipv6: Vec<usize>,
    /// Parts of volumes that are mounted, by where.
    pub parts: BTreeMap<String, PathBuf>,
    /// The folder of hostname, hosts and resolv.conf.
    pub files: PathBuf,
    /// The control group below which all containers are.
    pub cgroup_parent: String,
    /// The program for `--init`.
    pub init: Option<PathBuf>,
}

/// Whether the host has only the second version of control groups.
pub fn is_unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// The control group that a container is to be below.
fn parent<'a>(record: &'a Record, usual: &'a str) -> &'a str {
    said::text(&record.host.cgroup_parent).unwrap_or(usual)
}

/// The slice that a control group is, by its name, where systemd runs: then it is to make what is below.
pub fn slice(parent: &str) -> Option<&str> {
    let name = parent.rsplit('/').next()?;
    Some(name).filter(|name| name.ends_with(".slice") && Path::new("/run/systemd/system").exists())
}

/// Whether systemd makes a container's control group.
pub fn is_in_slice(record: &Record, usual: &str) -> bool {
    slice(parent(record, usual)).is_some()
}

/// The configuration.
///
/// # Errors
/// When an option of the record cannot be used here.
pub fn build(record: &Record, around: &Surroundings) -> Result<Config> {
    let host = &record.host;
    let own_cgroup = match host.cgroupns_mode {
        Some(HostConfigCgroupnsModeEnum::HOST) => false,
        Some(HostConfigCgroupnsModeEnum::PRIVATE) => true,
        _ => is_unified(),
    };
    let own_names = host.uts_mode.as_deref() != Some("host");
    let (devices, rules) = devices::all(host)?;
    let mut resources = resources::all(host)?;
    resources["devices"] = json!(rules);
    let config = json!({
        "ociVersion": "1.0.2",
        "process": process(record, around)?,
        "root": {"path": "rootfs", "readonly": host.readonly_rootfs.unwrap_or(false)},
        "hostname": said::text(&record.config.hostname).filter(|_| own_names),
        "domainname": said::text(&record.config.domainname).filter(|_| own_names),
        "mounts": mount::all(record, around, own_cgroup)?,
        "annotations": host.annotations.clone().unwrap_or_default(),
        "linux": {
            "rootfsPropagation": mount::propagation(record),
            "namespaces": namespaces(record, around, own_cgroup),
            "cgroupsPath": cgroups_path(record, around)?,
            "resources": resources,
            "devices": devices,
            "sysctl": sysctls(record, around)?,
            "seccomp": seccomp(host)?,
            "maskedPaths": masked(host),
            "readonlyPaths": read_only(host),
        },
    });
    serde_json::from_value(config).map_err(|error| error!(invalid, "this makes no container: {error}"))
}

fn process(record: &Record, around: &Surroundings) -> Result<Value> {
    let (config, host) = (&record.config, &record.host);
    let (terminal, security) = (record.has_terminal(), security::options(host)?);
    let mut args = record.command.clone();
    if around.init.is_some() {
        args.splice(0..0, ["/sbin/docker-init".to_owned(), "--".to_owned()]);
    }
    let cwd = said::text(&config.working_dir).unwrap_or("/");
    if !cwd.starts_with('/') {
        bail!(invalid, "the working directory '{cwd}' is invalid, it needs to be an absolute path");
    }
    let size = match said::list(&host.console_size) {
        [0, 0] => Value::Null,
        [height, width] if terminal => json!({"height": height, "width": width}),
        _ => Value::Null,
    };
    Ok(json!({
        "terminal": terminal,
        "consoleSize": size,
        "user": around.user,
        "args": args,
        "env": variables(record, terminal),
        "cwd": cwd,
        "capabilities": capabilities(host, around.user.as_ref().is_none_or(|user| user.uid == 0))?,
        "noNewPrivileges": security.no_new_privileges,
        "apparmorProfile": apparmor::profile(host)?,
        "rlimits": resources::rlimits(host)?,
        "oomScoreAdj": host.oom_score_adj.unwrap_or(0),
    }))
}

/// The environment: defaults, then what image and user say.
fn variables(record: &Record, terminal: bool) -> Vec<String> {
    let mut all = vec![environment::PATH.to_owned()];
    all.extend(record.config.hostname.iter().map(|name| format!("HOSTNAME={name}")));
    if terminal {
        all.push(TERM.into());
    }
    environment::set(&mut all, record.config.env.iter().flatten());
    all
}

fn namespaces(record: &Record, around: &Surroundings, own_cgroup: bool) -> Vec<Value> {
    let of_host = |mode: &Option<String>| mode.as_deref() == Some("host");
    let host = &record.host;
    let all = [
        ("mount", true, None),
        ("network", record.network_mode() != "host", around.network.as_ref()),
        ("uts", !of_host(&host.uts_mode), None),
        ("pid", !of_host(&host.pid_mode), around.pid.as_ref()),
        ("ipc", !of_host(&host.ipc_mode), around.ipc.as_ref()),
        ("cgroup", own_cgroup, None),
    ];
    let own = all.iter().filter(|(_, own, _)| *own);
    own.map(|(kind, _, path)| json!({"type": kind, "path": path})).collect()
}

/// `None` without privilege, when nobody names a place that the user may write to: it then runs without limits.
fn cgroups_path(record: &Record, around: &Surroundings) -> Result<Option<String>> {
    let parent = parent(record, &around.cgroup_parent);
    let climbs = Path::new(parent).components().any(|part| part == std::path::Component::ParentDir);
    ensure!(!climbs, invalid, "cgroup-parent {parent:?} must not contain \"..\"");
    if let Some(slice) = slice(parent) {
        return Ok(Some(format!("{slice}:docker:{}", record.id)));
    }
    if parent.is_empty() && crate::rootless::is() {
        return Ok(None);
    }
    Ok(Some(format!("/{}/{}", parent.trim_matches('/'), record.id)))
}

fn sysctls(record: &Record, around: &Surroundings) -> Result<Value> {
    let mut all = serde_json::Map::new();
    let own_network = record.network_mode() != "host" && !record.network_mode().starts_with("container:");
    if own_network {
        all.insert("net.ipv4.ip_unprivileged_port_start".into(), json!("0"));
        // All groups there are: a user namespace has not all of them.
        if !crate::rootless::is() {
            all.insert("net.ipv4.ping_group_range".into(), json!("0 2147483647"));
        }
    }
    let has_ipv6 = Path::new("/proc/sys/net/ipv6").exists();
    for number in around.without_ipv6.iter().filter(|_| has_ipv6) {
        all.insert(format!("net.ipv6.conf.eth{number}.disable_ipv6"), json!("1"));
    }
    for (name, value) in record.host.sysctls.iter().flatten() {
        let is_others = name.starts_with("net.") && !own_network;
        ensure!(!is_others, invalid, "sysctl '{name}' not allowed in this network mode");
        all.insert(name.clone(), json!(value));
    }
    Ok(Value::Object(all))
}
