//! Annotations of crun's (crun(1)) that say how, not what: the option of a SELinux label, and those that nobody here acts
//! on. Others are with what they change.

use super::{Host, PlanError, Result};
use crate::spec::Config;

/// Which option of mount(8) carries `linux.mountLabel`; `context` if it is absent. Podman writes `rootcontext`.
pub const MOUNT_CONTEXT: &str = "run.oci.mount_context_type";

/// What is asked of crun alone, and what is lacking without it.
const CRUNS: [(&str, &str); 5] = [
    ("run.oci.delegate-cgroup", "the control group of the container has no part that is its own to change"),
    ("run.oci.systemd.subgroup", "the process is in the control group itself"),
    ("run.oci.systemd.force_cgroup_v1", "control groups are as the host has them"),
    ("run.oci.handler", "this is a container, not a virtual machine or WebAssembly"),
    ("run.oci.seccomp.plugins", "no plugin answers system calls"),
];

/// The option that gives each fresh file system its SELinux label: `context=LABEL`, or empty where there is none.
///
/// # Errors
/// The annotation names another option.
pub fn mount_label(config: &Config, label: &str, host: &Host) -> Result<String> {
    if label.is_empty() || !(host.selinux)() {
        return Ok(String::new());
    }
    match config.annotations.get(MOUNT_CONTEXT).map_or("context", String::as_str) {
        option @ ("context" | "fscontext" | "defcontext" | "rootcontext") => Ok(format!("{option}={label}")),
        other => Err(PlanError::at(
            format!("annotations[{MOUNT_CONTEXT:?}]"),
            format!("{other:?} is not an option; expected context, fscontext, defcontext or rootcontext"),
        )),
    }
}

/// A warning for each annotation that another runtime would have acted on.
pub fn foreign(config: &Config) -> impl Iterator<Item = String> {
    let asked =
        CRUNS.iter().filter(|(name, _)| config.annotations.get(*name).is_some_and(|it| !it.is_empty()));
    asked.map(|(name, lacking)| format!("annotations[{name:?}]: is not acted on: {lacking}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Host = Host { grantable: !0, last_capability: 40, rootless: false, selinux: || true };

    fn config(name: &str, value: &str) -> Config {
        serde_json::from_value(serde_json::json!({"ociVersion": "1.3.0", "annotations": { name: value }}))
            .expect("a configuration")
    }

    #[test]
    fn a_label_is_an_option_of_the_mount() {
        let label = |value: &str| mount_label(&config(MOUNT_CONTEXT, value), "u:r:t:s0:c1,c2", &HOST);
        assert_eq!(label("rootcontext").as_deref(), Ok("rootcontext=u:r:t:s0:c1,c2"));
        assert_eq!(mount_label(&config("x", "y"), "u:r:t", &HOST).as_deref(), Ok("context=u:r:t"));
        assert_eq!(mount_label(&config("x", "y"), "", &HOST).as_deref(), Ok(""));
        assert_eq!(
            mount_label(&config("x", "y"), "u", &Host { selinux: || false, ..HOST }).as_deref(),
            Ok("")
        );
        let error = label("seclabel").map_err(|error| error.to_string());
        assert!(error.is_err_and(|text| text.starts_with("annotations[\"run.oci.mount_context_type\"]: ")));
    }

    #[test]
    fn what_is_cruns_is_warned_of() {
        let warned = |name: &str, value: &str| foreign(&config(name, value)).count();
        assert_eq!(warned("run.oci.handler", "krun"), 1);
        assert_eq!((warned("run.oci.systemd.subgroup", ""), warned("org.example", "x")), (0, 0));
    }
}
