//! config-linux.md: namespaces, mappings, devices, sysctl, seccomp, personality, and hooks.

use serde_json::{Value, json};

use crate::matrix::bundle::{Case, NAMESPACES, namespaces};

fn linux(change: Value) -> Value {
    json!({"linux": change})
}

/// Cases about what a container shares with its host.
pub(crate) fn cases() -> Vec<Case> {
    let mut all = namespace_cases();
    all.extend(kernel_settings());
    all.extend(seccomp());
    all
}

/// The base set without one.
fn without(name: &str) -> Value {
    let kept: Vec<&str> = NAMESPACES.iter().copied().filter(|namespace| *namespace != name).collect();
    namespaces(&kept)
}

/// The base set, of which one is joined by path.
fn joined(name: &str, file: &str) -> Value {
    let entry = |namespace: &&str| match *namespace == name {
        true => json!({"type": namespace, "path": format!("/proc/$HOLDER/ns/{file}")}),
        false => json!({"type": namespace}),
    };
    NAMESPACES.iter().map(entry).collect()
}

fn and(more: &[&str]) -> Value {
    let mut all = NAMESPACES.to_vec();
    all.extend_from_slice(more);
    namespaces(&all)
}

fn namespace_cases() -> Vec<Case> {
    let map = |host: u32, size: u32| json!([{"containerID": 0, "hostID": host, "size": size}]);
    let user = |maps: &Value| {
        linux(json!({"namespaces": and(&["user"]), "uidMappings": maps, "gidMappings": maps,
        "resources": null}))
    };
    let twice = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}, {"containerID": 1000, "hostID": 300_000, "size": 1000}]);
    let with_user = |maps: &Value, id: u32| {
        let mut config = user(maps);
        super::super::bundle::merge(&mut config, &json!({"process": {"user": {"uid": id, "gid": id}}}));
        config
    };
    let time = json!({"monotonic": {"secs": 1000, "nanosecs": 5}, "boottime": {"secs": 2000}});
    vec![
        Case::new("host-network", linux(json!({"namespaces": without("network")}))),
        Case::new("new-network", json!({})).trying(&["loopback"]),
        Case::new("host-pid", linux(json!({"namespaces": without("pid")}))),
        Case::new("host-ipc", linux(json!({"namespaces": without("ipc")}))),
        Case::new("host-uts", json!({"hostname": null, "linux": {"namespaces": without("uts")}})),
        Case::new("hostname-on-the-host", linux(json!({"namespaces": without("uts")}))),
        Case::new("new-cgroup-namespace", linux(json!({"namespaces": and(&["cgroup"])}))),
        Case::new("new-time-namespace", linux(json!({"namespaces": and(&["time"]), "timeOffsets": time}))),
        Case::new("join-network", linux(json!({"namespaces": joined("network", "net")})))
            .trying(&["loopback"]),
        Case::new("join-ipc", linux(json!({"namespaces": joined("ipc", "ipc")}))),
        Case::new("join-uts", json!({"hostname": null, "linux": {"namespaces": joined("uts", "uts")}})),
        Case::new("join-pid", linux(json!({"namespaces": joined("pid", "pid")}))),
        Case::new("join-wrong-type", linux(json!({"namespaces": joined("ipc", "uts")}))),
        Case::new("join-nothing", linux(json!({"namespaces": joined("ipc", "nothing")}))),
        Case::new("namespace-twice", linux(json!({"namespaces": and(&["pid"])}))),
        Case::new("namespace-unknown", linux(json!({"namespaces": and(&["nonsense"])}))),
        Case::new("user-namespace", user(&map(100_000, 65536))).trying(&[
            "mkdir:/tmp/x",
            "chown:/tmp/x",
            "sethostname",
        ]),
        Case::new("user-namespace-identity", user(&map(0, 65536))),
        Case::new("user-namespace-two-ranges", with_user(&twice, 1000)),
        Case::new("user-namespace-unmapped", with_user(&map(100_000, 10), 1000)),
        Case::new("user-namespace-without-map", linux(json!({"namespaces": and(&["user"])}))),
        Case::new(
            "map-without-user-namespace",
            linux(json!({"uidMappings": map(100_000, 65536), "gidMappings": map(100_000, 65536)})),
        ),
    ]
}

fn kernel_settings() -> Vec<Case> {
    let sysctl = |settings: Value| linux(json!({"sysctl": settings}));
    let nodes = json!([
        {"type": "c", "path": "/dev/mine", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 1000, "gid": 2000},
        {"type": "c", "path": "/dev/deep/er/node", "major": 1, "minor": 3},
        {"type": "p", "path": "/dev/pipe", "fileMode": 0o600},
        {"type": "u", "path": "/dev/unbuffered", "major": 1, "minor": 9, "fileMode": 0o666},
        {"type": "b", "path": "/dev/block", "major": 7, "minor": 0, "fileMode": 0o660},
    ]);
    let hook = |line: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", line], "env": ["NAME=value"]}]);
    let note = |name: &str| {
        hook(&format!(
            "echo {name} $NAME $(pwd) $(env | wc -l) $(tr -d ' ' | grep -o '\"status\":\"[a-z]*\"') >> $BUNDLE/rootfs/data/hooks"
        ))
    };
    vec![
        Case::new(
            "sysctl",
            sysctl(
                json!({"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1", "kernel.msgmax": "9000",
            "fs.mqueue.msg_max": "20", "net.ipv4.ping_group_range": "0 100"}),
            ),
        ),
        Case::new("sysctl-slashes", sysctl(json!({"net/ipv4/ip_forward": "1"}))),
        Case::new("sysctl-hostname", sysctl(json!({"kernel.hostname": "other"}))),
        Case::new("sysctl-domainname", sysctl(json!({"kernel.domainname": "example.org"}))),
        Case::new("sysctl-not-namespaced", sysctl(json!({"vm.swappiness": "60"}))),
        Case::new(
            "sysctl-on-the-host",
            json!({"linux": {"namespaces": without("network"),
            "sysctl": {"net.ipv4.ip_forward": "1"}}}),
        ),
        Case::new("sysctl-missing", sysctl(json!({"net.nothing": "1"}))),
        Case::new("devices", linux(json!({"devices": nodes})))
            .trying(&["list:/dev", "stat:/dev/deep/er/node"]),
        Case::new(
            "device-is-default",
            linux(json!({"devices": [
            {"type": "c", "path": "/dev/null", "major": 1, "minor": 3, "fileMode": 0o600}]})),
        ),
        Case::new(
            "device-bad-type",
            linux(json!({"devices": [{"type": "x", "path": "/dev/x", "major": 1, "minor": 3}]})),
        ),
        Case::new("personality", linux(json!({"personality": {"domain": "LINUX32"}}))),
        Case::new("personality-unknown", linux(json!({"personality": {"domain": "NONSENSE"}}))),
        Case::new("intel-rdt", linux(json!({"intelRdt": {"closID": "x", "l3CacheSchema": "L3:0=f"}}))),
        Case::new(
            "hooks",
            json!({"hooks": {"createRuntime": note("create-runtime"), "prestart": note("prestart"),
            "createContainer": note("create-container"), "poststart": note("poststart"), "poststop": note("poststop")}}),
        ),
        Case::new("hook-fails", json!({"hooks": {"createRuntime": hook("exit 3")}})),
        Case::new("hook-missing", json!({"hooks": {"prestart": [{"path": "/does/not/exist"}]}})),
        Case::new(
            "hook-too-slow",
            json!({"hooks": {"createRuntime": [
            {"path": "/bin/sleep", "args": ["sleep", "20"], "timeout": 1}]}}),
        ),
    ]
}

fn seccomp() -> Vec<Case> {
    let filter = |filter: Value| linux(json!({"seccomp": filter}));
    let tries = ["mkdir:/tmp/made", "sethostname", "unshare", "getcwd", "chown:/data/file"];
    let mkdir = ["mkdir", "mkdirat"];
    vec![
        Case::new("seccomp-errno", filter(json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": mkdir, "action": "SCMP_ACT_ERRNO"}]}))).trying(&tries),
        Case::new("seccomp-errno-value", filter(json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": mkdir, "action": "SCMP_ACT_ERRNO", "errnoRet": 99}]}))).trying(&tries),
        Case::new("seccomp-argument", filter(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["unshare"], "action": "SCMP_ACT_ERRNO", "errnoRet": 33,
             "args": [{"index": 0, "value": 0x0400_0000, "valueTwo": 0x0400_0000, "op": "SCMP_CMP_MASKED_EQ"}]}]}))).trying(&tries),
        Case::new("seccomp-log", filter(json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [{"names": mkdir, "action": "SCMP_ACT_LOG"}]}))).trying(&tries),
        Case::new("seccomp-unknown-call", filter(json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["no_such_call", "getcwd"], "action": "SCMP_ACT_ERRNO"}]}))).trying(&tries),
        Case::new("seccomp-unknown-action", filter(json!({"defaultAction": "SCMP_ACT_NONSENSE"}))),
        Case::new("seccomp-unknown-architecture", filter(json!({"defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_NONSENSE"]}))),
        Case::new("seccomp-several-architectures", filter(json!({"defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [{"names": mkdir, "action": "SCMP_ACT_ERRNO"}]}))).trying(&tries),
        Case::new("seccomp-empty", filter(json!({"defaultAction": "SCMP_ACT_ALLOW"}))),
        Case::new("seccomp-new-privileges", json!({"process": {"noNewPrivileges": false}, "linux": {"seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": mkdir, "action": "SCMP_ACT_ERRNO"}]}}})).trying(&tries),
    ]
}
