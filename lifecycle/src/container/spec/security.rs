//! Capabilities, seccomp, and what is hidden of /proc and /sys.

use std::path::Path;
use std::sync::LazyLock;

use bollard_stubs::models::HostConfig;
use runtime::plan::capabilities::NAMES;
use runtime::spec::Capabilities;
use seccomp_profiles::docker::{Host, KernelVersion};
use seccomp_profiles::{Arch, DockerProfile};
use serde_json::Value;

use crate::error::{Error, Result, error};
use crate::files;

/// What a container may do when nobody says anything.
const DEFAULT: &str = "\
    CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT \
    KILL AUDIT_WRITE";

/// What stands for all capabilities.
const ALL: &str = "CAP_ALL";

const MASKED: &str = "\
    /proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug \
    /proc/scsi /proc/timer_list /proc/timer_stats /sys/devices/virtual/powercap /sys/firmware";

const READ_ONLY: &str = "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger";

/// Where the temperatures of processors are, which tell of what others compute (GHSA-6fw5-f8r9-fgfm): looked for once, and
/// not at every start.
static HEAT: LazyLock<Vec<String>> = LazyLock::new(|| {
    let processors = files::entries(Path::new("/sys/devices/system/cpu")).into_iter();
    let heat = processors.map(|processor| processor.join("thermal_throttle")).filter(|path| path.exists());
    heat.map(|path| files::lossy(&path)).collect()
});

/// The paths that a container sees nothing of.
pub fn masked(host: &HostConfig) -> Vec<String> {
    let all = MASKED.split_whitespace().map(str::to_owned).chain(HEAT.iter().cloned());
    paths(host, host.masked_paths.as_ref(), all)
}

/// The paths that it may not write to.
pub fn read_only(host: &HostConfig) -> Vec<String> {
    paths(host, host.readonly_paths.as_ref(), READ_ONLY.split_whitespace().map(str::to_owned))
}

fn paths(host: &HostConfig, own: Option<&Vec<String>>, default: impl Iterator<Item = String>) -> Vec<String> {
    match own {
        Some(own) => own.clone(),
        None if host.privileged == Some(true) => Vec::new(),
        None => default.collect(),
    }
}

/// The names of the capabilities that a container has.
fn capability_names(host: &HostConfig) -> Result<Vec<String>> {
    if host.privileged == Some(true) {
        return Ok(NAMES.map(str::to_owned).to_vec());
    }
    let known = |name: &String| -> Result<String> {
        let upper = name.to_ascii_uppercase();
        let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        let is_known = full == ALL || NAMES.contains(&full.as_str());
        is_known.then_some(full).ok_or_else(|| error!(invalid, "invalid capability: {name:?}"))
    };
    let add = host.cap_add.iter().flatten().map(known).collect::<Result<Vec<_>>>()?;
    let drop = host.cap_drop.iter().flatten().map(known).collect::<Result<Vec<_>>>()?;
    let is_in = |list: &[String], name: &str| list.iter().any(|other| other == name);
    let is_default = |name: &str| DEFAULT.split_whitespace().any(|short| name == format!("CAP_{short}"));
    let in_base = |name: &str| is_in(&add, ALL) || !is_in(&drop, ALL) && is_default(name);
    let has = |name: &&str| is_in(&add, name) || in_base(name) && !is_in(&drop, name);
    Ok(NAMES.into_iter().filter(has).map(str::to_owned).collect())
}

/// The capabilities that a container has, in the sets that they are in: another user than root gets them by files alone.
pub fn capabilities(host: &HostConfig, is_root: bool) -> Result<Capabilities> {
    let names = || capability_names(host);
    let own = || if is_root { names() } else { Ok(Vec::new()) };
    Ok(Capabilities { bounding: names()?, effective: own()?, permitted: own()?, ..Default::default() })
}

/// What is said with `--security-opt`, as `key=value` or `key:value`.
#[derive(Default)]
pub(super) struct Options<'a> {
    pub(super) no_new_privileges: bool,
    pub(super) apparmor: Option<&'a str>,
    pub(super) writable_cgroups: Option<bool>,
    seccomp: Option<&'a str>,
}

/// The security options of a container.
///
/// # Errors
/// With one that is not known.
pub(super) fn options(host: &HostConfig) -> Result<Options<'_>> {
    let mut all = Options::default();
    for text in host.security_opt.iter().flatten() {
        let number = if text.contains(['=', ':']) { 2 } else { 1 };
        let bad = || error!(invalid, "invalid --security-opt {number}: {text:?}");
        match text.split_once(['=', ':']).unwrap_or((text, "")) {
            ("no-new-privileges", "") => all.no_new_privileges = true,
            ("no-new-privileges", value) => all.no_new_privileges = value.parse().map_err(|_| bad())?,
            ("apparmor", profile) => all.apparmor = Some(profile),
            ("seccomp", profile) => all.seccomp = Some(profile),
            ("writable-cgroups", "") => all.writable_cgroups = Some(true),
            ("writable-cgroups", value) => all.writable_cgroups = Some(value.parse().map_err(|_| bad())?),
            ("label", "disable") | ("disable", "") => {}
            // What means nothing where there is no SELinux.
            ("label", _) if !Path::new("/sys/fs/selinux/enforce").exists() => {}
            _ => return Err(bad()),
        }
    }
    Ok(all)
}

/// The seccomp profile, resolved for this host; `None` when there is to be none.
///
/// # Errors
/// With a `--security-opt` that is not known, or what is wrong with a profile.
pub fn seccomp(host: &HostConfig) -> Result<Option<Value>> {
    let profile = match options(host)?.seccomp {
        Some("unconfined") => return Ok(None),
        None if host.privileged == Some(true) => return Ok(None),
        None | Some("builtin") => seccomp_profiles::profile("default").unwrap_or_default(),
        Some(text) if text.trim_start().starts_with('{') => text,
        Some(name) => seccomp_profiles::profile(name).ok_or_else(|| {
            let known = seccomp_profiles::PROFILES.join(", ");
            error!(
                invalid,
                "opening seccomp profile ({name}) failed: expected JSON, unconfined, or one of {known}"
            )
        })?,
    };
    let bad = |error: &dyn std::fmt::Display| error!(invalid, "decoding seccomp profile failed: {error}");
    let profile = DockerProfile::from_json(profile).map_err(|error| bad(&error))?;
    let caps = capability_names(host)?;
    let release = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
    let kernel = KernelVersion::from_release(&release).unwrap_or(KernelVersion { version: 5, revision: 12 });
    let unknown = || Error::not_implemented("seccomp profiles are not offered on this machine");
    let arch = Arch::from_docker(&crate::image::config::architecture()).ok_or_else(unknown)?;
    let resolved = profile.resolve(&Host { arch, caps: &caps, kernel }).map_err(|error| bad(&error))?;
    Ok(Some(serde_json::to_value(resolved)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(add: &[&str], drop: &[&str]) -> HostConfig {
        let list = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        HostConfig { cap_add: list(add), cap_drop: list(drop), ..Default::default() }
    }

    #[test]
    fn capabilities_are_added_and_dropped() {
        let count = |add: &[&str], drop: &[&str]| capability_names(&host(add, drop)).map(|names| names.len());
        assert_eq!(count(&[], &[]).unwrap(), 14);
        assert_eq!(count(&["NET_ADMIN"], &["CAP_CHOWN", "kill"]).unwrap(), 13);
        assert_eq!(count(&["chown"], &["ALL"]).unwrap(), 1);
        assert_eq!(count(&["ALL"], &["SYS_ADMIN"]).unwrap(), 40);
        assert!(count(&["FLY"], &[]).is_err());
    }

    #[test]
    fn the_default_profile_is_resolved() {
        let profile = seccomp(&HostConfig::default()).unwrap().unwrap();
        assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
        let off = HostConfig { security_opt: Some(vec!["seccomp=unconfined".into()]), ..Default::default() };
        assert_eq!(seccomp(&off).unwrap(), None);
        let bad = HostConfig { security_opt: Some(vec!["colour=red".into()]), ..Default::default() };
        assert!(options(&bad).is_err());
    }
}
