//! `features`: what this runtime implements, as JSON (features.md; features-linux.md).

use super::{Command, CommandError, print, version};
use crate::plan::{capabilities, namespaces, options, scheduling};
use serde_json::{Value, json};

/// `features`.
pub const FEATURES: Command = Command {
    name: "features",
    arguments: "",
    about: "print what is implemented as JSON",
    flags: &[],
    run: |_, parsed| {
        super::no_arguments("features", parsed)?;
        let text = serde_json::to_string_pretty(&document())
            .map_err(|error| CommandError::other(error.to_string()))?;
        print(&(text + "\n"))?;
        Ok(0)
    },
    enters: false,
};

/// Annotations that change what a container may do: whoever lets others write annotations should know them.
pub(crate) const UNSAFE_ANNOTATIONS: [&str; 11] = [
    crate::seccomp::NO_ENOSYS,
    crate::seccomp::RECEIVER,
    crate::seccomp::FAIL_UNKNOWN,
    crate::seccomp::RAW_PROGRAM,
    "org.systemd.property.",
    crate::checkpoint::CONFIG,
    crate::plan::identity::KEEP_GROUPS,
    crate::plan::annotations::MOUNT_CONTEXT,
    crate::hook::STDERR,
    crate::hook::STDOUT,
    crate::parent::create::PIDFD_RECEIVER,
];

fn document() -> Value {
    let (modes, flags) = scheduling::memory_policy_names();
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": version::SPEC,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": options::known(),
        "linux": {
            "namespaces": namespaces::TYPES.map(|(name, _)| name),
            "capabilities": capabilities::NAMES.as_slice(),
            "cgroup": {"v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true},
            "seccomp": seccomp(),
            "apparmor": {"enabled": true},
            "selinux": {"enabled": true},
            "intelRdt": {"enabled": true, "schemata": true, "monitoring": true},
            "memoryPolicy": {"modes": modes, "flags": flags},
            "mountExtensions": {"idmap": {"enabled": true}},
            "netDevices": {"enabled": true}
        },
        "annotations": {
            "org.corten.version": env!("CARGO_PKG_VERSION"),
            "org.corten.commit": version::COMMIT
        },
        "potentiallyUnsafeConfigAnnotations": UNSAFE_ANNOTATIONS
    })
}

fn seccomp() -> Value {
    const ACTIONS: [&str; 9] = [
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_KILL",
        "SCMP_ACT_KILL_PROCESS",
        "SCMP_ACT_KILL_THREAD",
        "SCMP_ACT_LOG",
        "SCMP_ACT_NOTIFY",
        "SCMP_ACT_TRACE",
        "SCMP_ACT_TRAP",
    ];
    const OPERATORS: [&str; 7] = [
        "SCMP_CMP_EQ",
        "SCMP_CMP_GE",
        "SCMP_CMP_GT",
        "SCMP_CMP_LE",
        "SCMP_CMP_LT",
        "SCMP_CMP_MASKED_EQ",
        "SCMP_CMP_NE",
    ];
    let flags = [
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    ];
    let mut architectures: Vec<String> =
        seccomp_profiles::Arch::all().map(seccomp_profiles::Arch::oci_name).collect();
    architectures.sort();
    json!({
        "enabled": true,
        "actions": ACTIONS,
        "operators": OPERATORS,
        "archs": architectures,
        "knownFlags": flags,
        "supportedFlags": flags
    })
}
