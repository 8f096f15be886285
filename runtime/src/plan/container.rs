//! The plan of a whole container.

use super::devices::DeviceNode;
use super::mounts::{MountPlan, What};
use super::namespaces::Namespaces;
use super::process::ProcessPlan;
use super::sysctl::Sysctl;
use super::{
    Host, PlanError, Result, annotations, c_string, devices, hooks, identity, lookup, mounts, names,
    namespaces, process, scheduling, sysctl,
};
use crate::spec;
use crate::weak;
use std::collections::BTreeSet;
use std::ffi::{CString, OsString};
use std::path::{Path, PathBuf};

/// Everything that is done to make a container.
#[derive(Debug)]
pub struct Plan {
    /// Its namespaces.
    pub namespaces: Namespaces,
    /// Its root file system.
    pub root: RootPlan,
    /// What is mounted in it, in order.
    pub mounts: Vec<MountPlan>,
    /// Device nodes; empty where `/dev` is the caller's own.
    pub devices: Vec<DeviceNode>,
    /// Whether `/dev` is ours to fill: links, `ptmx`, `console`.
    pub own_dev: bool,
    /// Paths that are hidden.
    pub masked: Vec<OsString>,
    /// Paths that are made read-only.
    pub read_only: Vec<OsString>,
    /// The host name, if one is set.
    pub hostname: Option<CString>,
    /// The NIS domain name, if one is set.
    pub domainname: Option<CString>,
    /// Kernel settings of the container's namespaces.
    pub sysctl: Vec<Sysctl>,
    /// personality(2).
    pub personality: Option<u32>,
    /// set_mempolicy(2).
    pub memory_policy: Option<(u32, Vec<u64>)>,
    /// Interfaces that move into the container: name on the host, name inside.
    pub net_devices: Vec<(String, String)>,
    /// The first process.
    pub process: ProcessPlan,
    /// What is odd, but no error.
    pub warnings: Vec<String>,
}

/// The root file system.
#[derive(Debug, PartialEq, Eq)]
pub struct RootPlan {
    /// Its absolute path on the host.
    pub path: PathBuf,
    /// Mounted read-only at the end.
    pub read_only: bool,
    /// Propagation of the root mount, `MS_…` with `MS_REC`; `None`: slave, as runc.
    pub propagation: Option<u64>,
}

/// Propagation types as `linux.rootfsPropagation` names them.
pub const PROPAGATIONS: [(&str, u64); 8] = [
    ("private", libc::MS_PRIVATE),
    ("rprivate", libc::MS_PRIVATE | libc::MS_REC),
    ("rshared", libc::MS_SHARED | libc::MS_REC),
    ("rslave", libc::MS_SLAVE | libc::MS_REC),
    ("runbindable", libc::MS_UNBINDABLE | libc::MS_REC),
    ("shared", libc::MS_SHARED),
    ("slave", libc::MS_SLAVE),
    ("unbindable", libc::MS_UNBINDABLE),
];

/// Plans a container from its configuration. `bundle` is absolute.
///
/// # Errors
/// The first field that cannot be carried out.
pub fn plan(config: &spec::Config, bundle: &Path, host: &Host) -> Result<Plan> {
    let mut warnings = Vec::new();
    version(&config.oci_version)?;
    let none = spec::Linux::default();
    let linux = config.linux.as_ref().unwrap_or(&none);
    let process = config
        .process
        .as_ref()
        .ok_or_else(|| PlanError::at("process", "is missing; expected the process to run"))?;
    let namespaces = namespaces::plan(linux)?;
    // In a user namespace that was made or entered the container's init holds every capability.
    let host = &match namespaces.separate(libc::CLONE_NEWUSER) {
        true => Host { grantable: !0, ..*host },
        false => *host,
    };
    if let Some(hooks) = &config.hooks {
        hooks::check(hooks)?;
    }
    let separate_mounts = namespaces.separate(libc::CLONE_NEWNS);
    if !separate_mounts && !config.mounts.is_empty() {
        // As every runtime does: without a namespace for them the host's mounts would be changed.
        warnings.push("mounts: there is no mount namespace, and they are ignored".to_owned());
    }
    let userns = namespaces.separate(libc::CLONE_NEWUSER);
    if !linux.mount_label.is_empty() && !(host.selinux)() {
        warnings.push(
            "linux.mountLabel: SELinux is not enabled on this host, and the label is ignored".to_owned(),
        );
    }
    let label = annotations::mount_label(config, &linux.mount_label, host)?;
    warnings.extend(annotations::foreign(config));
    let mut mounts = mounts::plan(&config.mounts, bundle, &label, userns)?;
    if !separate_mounts {
        mounts.clear();
    }
    mounts.iter_mut().for_each(MountPlan::fill_first);
    for mount in mounts.iter().filter(|mount| !mount.ignored.is_empty()) {
        let options = mount.ignored.join(", ");
        warnings.push(format!(
            "mounts[{}].options: {options:?} means nothing for a {} mount and is ignored",
            mount.index,
            if matches!(mount.what, mounts::What::Bind { .. }) { "bind" } else { "cgroup" }
        ));
    }
    let own_dev = separate_mounts && !mounts.iter().any(is_bind_on_dev);
    Ok(Plan {
        root: root(config, linux, bundle, separate_mounts)?,
        devices: if own_dev {
            devices::plan(&linux.devices)?
        } else {
            devices::plan(&linux.devices).map(|_| Vec::new())?
        },
        own_dev,
        masked: paths("linux.maskedPaths", &linux.masked_paths, separate_mounts)?,
        read_only: paths("linux.readonlyPaths", &linux.readonly_paths, separate_mounts)?,
        hostname: name("hostname", &config.hostname, &namespaces)?,
        domainname: name("domainname", &config.domainname, &namespaces)?,
        sysctl: sysctl::plan(&linux.sysctl, &namespaces, !config.hostname.is_empty())?,
        personality: linux.personality.as_ref().map(scheduling::personality).transpose()?,
        memory_policy: linux.memory_policy.as_ref().map(scheduling::memory_policy).transpose()?,
        net_devices: net_devices(linux, &namespaces, host)?,
        process: mapped(with_groups(process::plan(process, host, &mut warnings)?, config)?, &namespaces)?,
        mounts,
        namespaces,
        warnings,
    })
}

/// The groups of the caller instead of none, where an annotation says so.
fn with_groups(mut planned: ProcessPlan, config: &spec::Config) -> Result<ProcessPlan> {
    let at = |problem: String| PlanError::at(format!("annotations[{:?}]", identity::KEEP_GROUPS), problem);
    match config.annotations.get(identity::KEEP_GROUPS).map(String::as_str) {
        None | Some("0" | "false") => {}
        Some("1" | "true") if planned.identity.groups.is_empty() => planned.identity.keep_groups = true,
        Some("1" | "true") => return Err(at("contradicts process.user.additionalGids".to_owned())),
        Some(other) => return Err(at(format!("{other:?} is neither 1 nor 0"))),
    }
    Ok(planned)
}

/// A user and groups that a new user namespace does not have cannot be become (setresuid(2), setgroups(2), `EINVAL`).
fn mapped(planned: ProcessPlan, namespaces: &Namespaces) -> Result<ProcessPlan> {
    if !namespaces.creates(libc::CLONE_NEWUSER) {
        return Ok(planned);
    }
    let identity = &planned.identity;
    let has = |map: &[spec::IdMapping], id: u32| {
        map.iter().any(|line| id >= line.container_id && id - line.container_id < line.size)
    };
    let missing = |field: String, id: u32, kind: &str| {
        Err(PlanError::at(field, format!("{id} is not mapped by linux.{kind}Mappings")))
    };
    if !has(&namespaces.uids, identity.uid) {
        return missing("process.user.uid".to_owned(), identity.uid, "uid");
    }
    if !has(&namespaces.gids, identity.gid) {
        return missing("process.user.gid".to_owned(), identity.gid, "gid");
    }
    match identity.groups.iter().enumerate().find(|(_, id)| !has(&namespaces.gids, **id)) {
        Some((index, id)) => missing(format!("process.user.additionalGids[{index}]"), *id, "gid"),
        None => Ok(planned),
    }
}

/// config.md: a runtime must refuse a version it does not support. All of 1.x is compatible.
fn version(version: &str) -> Result<()> {
    let wrong = |problem: String| Err(PlanError::at("ociVersion", problem));
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<Option<u32>> = core.split('.').map(|part| part.parse().ok()).collect();
    match numbers.as_slice() {
        [Some(1), Some(_), Some(_)] => Ok(()),
        [Some(major), Some(_), Some(_)] => {
            wrong(format!("{version:?} has major version {major}; expected 1.x.y"))
        }
        _ => wrong(format!("{version:?} is not a version; expected 1.x.y")),
    }
}

fn root(
    config: &spec::Config,
    linux: &spec::Linux,
    bundle: &Path,
    separate_mounts: bool,
) -> Result<RootPlan> {
    let root = config.root.as_ref().ok_or_else(|| PlanError::at("root", "is missing"))?;
    if root.path.is_empty() {
        return Err(PlanError::at("root.path", "is empty; expected a directory"));
    }
    c_string("root.path", &root.path)?;
    if root.readonly && !separate_mounts && !weak::off("root") {
        return Err(PlanError::at(
            "root.readonly",
            "needs a mount namespace: without one the host's mount would be changed",
        ));
    }
    let propagation = match linux.rootfs_propagation.as_str() {
        "" => None,
        text => Some(lookup(&PROPAGATIONS, text).ok_or_else(|| {
            let problem =
                format!("{text:?} is not a propagation type; expected one of {}", names(&PROPAGATIONS));
            PlanError::at("linux.rootfsPropagation", problem)
        })?),
    };
    Ok(RootPlan { path: bundle.join(&root.path), read_only: root.readonly, propagation })
}

fn is_bind_on_dev(mount: &MountPlan) -> bool {
    mount.destination == "/dev" && matches!(mount.what, What::Bind { .. })
}

fn paths(field: &str, paths: &[String], separate_mounts: bool) -> Result<Vec<OsString>> {
    if !paths.is_empty() && !separate_mounts {
        return Err(PlanError::at(
            field,
            "needs a mount namespace: without one the host's mounts would be changed",
        ));
    }
    let mut planned = Vec::with_capacity(paths.len());
    for (index, path) in paths.iter().enumerate() {
        let at = format_args!("{field}[{index}]");
        if !path.starts_with('/') {
            return Err(PlanError::at(at, format!("{path:?} is not an absolute path")));
        }
        c_string(at, path)?;
        planned.push(OsString::from(path));
    }
    Ok(planned)
}

fn name(field: &str, value: &str, namespaces: &Namespaces) -> Result<Option<CString>> {
    const MAX: usize = 64;
    if value.is_empty() {
        return Ok(None);
    }
    if !namespaces.separate(libc::CLONE_NEWUTS) {
        return Err(PlanError::at(
            field,
            "needs a uts namespace: without one the host's name would be changed",
        ));
    }
    if value.len() > MAX {
        return Err(PlanError::at(
            field,
            format!("has {} bytes; the kernel takes at most {MAX}", value.len()),
        ));
    }
    c_string(field, value).map(Some)
}

fn net_devices(linux: &spec::Linux, namespaces: &Namespaces, host: &Host) -> Result<Vec<(String, String)>> {
    if linux.net_devices.is_empty() {
        return Ok(Vec::new());
    }
    if !namespaces.separate(libc::CLONE_NEWNET) {
        return Err(PlanError::at("linux.netDevices", "needs a network namespace"));
    }
    if host.rootless {
        return Err(PlanError::at(
            "linux.netDevices",
            "needs privilege over the host: interfaces cannot be moved rootless",
        ));
    }
    let mut planned: Vec<(String, String)> = Vec::with_capacity(linux.net_devices.len());
    let mut taken = BTreeSet::new();
    for (outside, device) in &linux.net_devices {
        let at = |problem: String| PlanError::at(format!("linux.netDevices[{outside:?}]"), problem);
        let inside = if device.name.is_empty() { outside } else { &device.name };
        for name in [outside, inside] {
            let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
            if name.is_empty() || name.len() > 15 || name == "." || name == ".." || name.contains(bad) {
                return Err(at(format!("{name:?} is not the name of an interface")));
            }
        }
        if !taken.insert(inside) {
            return Err(at(format!("{inside:?} is the name of two interfaces")));
        }
        planned.push((outside.clone(), inside.clone()));
    }
    Ok(planned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Host = Host { grantable: !0, last_capability: 40, rootless: false, selinux: || false };

    fn config(change: impl FnOnce(&mut serde_json::Value)) -> spec::Config {
        let mut json = serde_json::json!({
            "ociVersion": "1.3.0",
            "process": {"args": ["sh"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
            "root": {"path": "rootfs"},
            "linux": {"namespaces": [{"type": "mount"}, {"type": "uts"}]}
        });
        change(&mut json);
        serde_json::from_value(json).expect("valid JSON")
    }

    #[test]
    fn a_small_container() {
        let planned = plan(&config(|_| ()), Path::new("/b"), &HOST).expect("valid");
        assert_eq!(planned.root.path, Path::new("/b/rootfs"));
        assert!(planned.own_dev && planned.warnings.is_empty());
        assert_eq!(planned.process.identity.umask, 0o022);
    }

    #[test]
    fn problems_name_their_place() {
        type Change = fn(&mut serde_json::Value);
        let cases: [(Change, &str); 9] = [
            (|c| c["ociVersion"] = "2.0.0".into(), "ociVersion: \"2.0.0\" has major version 2"),
            (|c| c["ociVersion"] = "".into(), "ociVersion: \"\" is not a version"),
            (|c| c["process"]["args"] = serde_json::json!([]), "process.args: is empty"),
            (|c| c["process"]["cwd"] = "tmp".into(), "process.cwd: \"tmp\" is not an absolute path"),
            (|c| c["process"]["oomScoreAdj"] = 1001.into(), "process.oomScoreAdj: 1001 is out of range"),
            (|c| c["linux"]["rootfsPropagation"] = "x".into(), "linux.rootfsPropagation: \"x\" is not"),
            (
                |c| c["linux"]["namespaces"] = serde_json::json!([{"type": "mount"}, {"type": "x"}]),
                "linux.namespaces[1].type",
            ),
            (|c| c["hostname"] = "h".repeat(65).into(), "hostname: has 65 bytes"),
            (
                |c| {
                    c.as_object_mut().map(|c| c.remove("root"));
                },
                "root: is missing",
            ),
        ];
        for (change, expected) in cases {
            let error = plan(&config(change), Path::new("/b"), &HOST).expect_err(expected).to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_user_must_be_mapped() {
        let with = |uid: u32, gid: u32| {
            config(|c| {
                c["process"]["user"] = serde_json::json!({"uid": uid, "gid": gid});
                c["linux"]["namespaces"] = serde_json::json!([{"type": "user"}, {"type": "mount"}]);
                c["linux"]["uidMappings"] = serde_json::json!([{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 5, "hostID": 2000, "size": 2}]);
                c["linux"]["gidMappings"] =
                    serde_json::json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
            })
        };
        for (uid, gid, refused) in [
            (0, 0, None),
            (6, 0, None),
            (7, 0, Some("process.user.uid: 7 is not mapped by linux.uidMappings")),
            (4, 0, Some("process.user.uid: 4 is not")),
            (0, 1, Some("process.user.gid: 1 is not mapped by linux.gidMappings")),
        ] {
            match (plan(&with(uid, gid), Path::new("/b"), &HOST), refused) {
                (Ok(_), None) => {}
                (Err(error), Some(expected)) => assert!(error.to_string().starts_with(expected), "{error}"),
                (other, _) => panic!("{uid}:{gid}: {other:?}"),
            }
        }
    }

    #[test]
    fn groups_must_be_mapped() {
        let map = serde_json::json!([{"containerID": 0, "hostID": 1000, "size": 3}]);
        let with = |groups: &[u32]| {
            config(|c| {
                c["process"]["user"]["additionalGids"] = serde_json::json!(groups);
                c["linux"]["namespaces"] = serde_json::json!([{"type": "user"}, {"type": "mount"}]);
                c["linux"]["uidMappings"] = map.clone();
                c["linux"]["gidMappings"] = map.clone();
            })
        };
        assert!(plan(&with(&[2, 0]), Path::new("/b"), &HOST).is_ok());
        let error = plan(&with(&[2, 3]), Path::new("/b"), &HOST).expect_err("refused").to_string();
        assert_eq!(error, "process.user.additionalGids[1]: 3 is not mapped by linux.gidMappings");
    }

    #[test]
    fn without_a_mount_namespace_the_host_is_left_alone() {
        let without = config(|c| {
            c["linux"]["namespaces"] = serde_json::json!([]);
            c["linux"]["maskedPaths"] = serde_json::json!(["/proc/kcore"]);
        });
        let error = plan(&without, Path::new("/b"), &HOST).expect_err("refused").to_string();
        assert!(error.starts_with("linux.maskedPaths: needs a mount namespace"), "{error}");
    }
}
