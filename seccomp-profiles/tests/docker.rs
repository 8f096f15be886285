//! Docker's profile format, resolved for a host and a container.
#![expect(clippy::expect_used)]

use seccomp_profiles::docker::{DockerError, Host, KernelVersion};
use seccomp_profiles::{Arch, DockerProfile, Seccomp};
use serde_json::{Value, json};

const KERNEL: KernelVersion = KernelVersion { version: 6, revision: 18 };

fn resolve(text: &Value, host: &Host<'_>) -> Result<Seccomp, DockerError> {
    DockerProfile::from_json(&text.to_string()).and_then(|profile| profile.resolve(host))
}

fn names(text: &Value, host: &Host<'_>) -> Vec<String> {
    let profile = resolve(text, host).expect("a valid profile");
    profile.syscalls.into_iter().flat_map(|rule| rule.names).map(|name| name.to_string()).collect()
}

#[test]
fn the_machine_chooses_its_architectures() {
    let text = json!({ "defaultAction": "SCMP_ACT_ERRNO", "archMap": [
        { "architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"] },
        { "architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"] },
        { "architecture": "SCMP_ARCH_RISCV64", "subArchitectures": null }] });
    let of = |arch| resolve(&text, &Host { arch, caps: &[], kernel: KERNEL }).expect("valid").architectures;
    assert_eq!(of(Arch::X86_64), ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
    assert_eq!(of(Arch::Aarch64), ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]);
    assert_eq!(of(Arch::Riscv64), ["SCMP_ARCH_RISCV64"]);
    assert!(of(Arch::Ppc64le).is_empty());
}

#[test]
fn conditions_are_about_capabilities_architecture_and_kernel() {
    let text = json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        { "names": ["always"], "action": "SCMP_ACT_ALLOW", "comment": "", "includes": {}, "excludes": {} },
        { "name": "old_style", "action": "SCMP_ACT_ALLOW", "args": null },
        { "names": ["admin"], "action": "SCMP_ACT_ALLOW", "includes": { "caps": ["CAP_SYS_ADMIN"] } },
        { "names": ["both"], "action": "SCMP_ACT_ALLOW", "includes": { "caps": ["CAP_SYS_ADMIN", "CAP_BPF"] } },
        { "names": ["not_admin"], "action": "SCMP_ACT_ALLOW", "excludes": { "caps": ["CAP_BPF", "CAP_SYS_ADMIN"] } },
        { "names": ["amd64"], "action": "SCMP_ACT_ALLOW", "includes": { "arches": ["x32", "amd64"] } },
        { "names": ["not_s390"], "action": "SCMP_ACT_ALLOW", "excludes": { "arches": ["s390", "s390x"] } },
        { "names": ["from_4_8"], "action": "SCMP_ACT_ALLOW", "includes": { "minKernel": "4.8" } },
        { "names": ["from_6_19"], "action": "SCMP_ACT_ALLOW", "includes": { "minKernel": "6.19" } },
        { "names": ["before_5_0"], "action": "SCMP_ACT_ALLOW", "excludes": { "minKernel": "5.0" } },
        { "names": ["neither"], "action": "SCMP_ACT_ALLOW",
          "includes": { "arches": ["amd64"] }, "excludes": { "caps": ["CAP_SYS_ADMIN"], "arches": ["amd64"] } }] });
    let caps = ["CAP_SYS_ADMIN".to_owned(), "CAP_CHOWN".to_owned()];
    let amd64 = Host { arch: Arch::X86_64, caps: &caps, kernel: KERNEL };
    assert_eq!(names(&text, &amd64), ["always", "old_style", "admin", "amd64", "not_s390", "from_4_8"]);
    let s390 = Host { arch: Arch::S390x, caps: &[], kernel: KernelVersion { version: 4, revision: 7 } };
    assert_eq!(names(&text, &s390), ["always", "old_style", "not_admin", "before_5_0"]);
}

#[test]
fn what_does_not_depend_on_the_host_is_passed_on() {
    let text = json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures": ["SCMP_ARCH_X86"],
        "flags": [], "listenerPath": "/run/agent", "listenerMetadata": "m", "unknownField": 1,
        "syscalls": [{ "names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 2, "args": [
            { "index": 1, "value": 9, "valueTwo": 3, "op": "SCMP_CMP_MASKED_EQ" }] }] });
    let host = Host { arch: Arch::X86_64, caps: &[], kernel: KERNEL };
    let resolved = resolve(&text, &host).expect("a valid profile");
    let plain: Seccomp = serde_json::from_value(text).expect("an OCI profile");
    assert_eq!(resolved, plain);
    let nothing = resolve(&json!({}), &host).expect("a valid profile");
    assert!(nothing.is_disabled());
}

#[test]
fn refusals_name_the_json_path() {
    let cases = [
        (
            json!({ "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"], "archMap": [{ "architecture": "SCMP_ARCH_X86_64" }] }),
            "architectures: cannot be used together with archMap",
        ),
        (
            json!({ "syscalls": [{ "names": ["read"] }, { "name": "read", "names": ["write"] }] }),
            "syscalls[1].name: cannot be used together with names",
        ),
        (
            json!({ "syscalls": [{ "names": ["read"], "includes": { "minKernel": "4.8.1" } }] }),
            "syscalls[0].includes.minKernel: \"4.8.1\" is not a kernel version; expected two numbers such as \"4.8\"",
        ),
        (
            json!({ "syscalls": [{ "names": ["read"], "excludes": { "minKernel": "0.0" } }] }),
            "syscalls[0].excludes.minKernel: \"0.0\" is not a kernel version",
        ),
        (json!({ "syscalls": 5 }), "the seccomp profile is not valid: "),
    ];
    let host = Host { arch: Arch::X86_64, caps: &[], kernel: KERNEL };
    for (text, expected) in cases {
        let message = resolve(&text, &host).expect_err("a bad profile").to_string();
        assert!(message.starts_with(expected), "{message:?} does not begin with {expected:?}");
    }
}

#[test]
fn releases_are_versions_with_anything_after() {
    let version = |version, revision| Some(KernelVersion { version, revision });
    for (release, expected) in [
        ("6.18.44-fc-v595", version(6, 18)),
        ("3.12-1-amd64", version(3, 12)),
        ("4.8", version(4, 8)),
        ("3.12-rc5", version(3, 12)),
        ("6", None),
        ("a.b", None),
        ("6.", None),
        ("", None),
    ] {
        assert_eq!(KernelVersion::from_release(release), expected, "{release:?}");
    }
}
