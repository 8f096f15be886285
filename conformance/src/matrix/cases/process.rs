//! config.md, `process`: who runs, with what rights, limits and surroundings.

use serde_json::{Value, json};

use crate::matrix::bundle::{CAPABILITIES, Case, capabilities};

fn process(change: Value) -> Value {
    json!({"process": change})
}

/// Cases about `process` and the host name.
pub(crate) fn cases() -> Vec<Case> {
    let mut all = identity();
    all.extend(rights());
    all.extend(limits());
    all.extend(surroundings());
    all.extend(foreground());
    all
}

fn foreground() -> Vec<Case> {
    let size = json!({"terminal": true, "consoleSize": {"height": 20, "width": 70}});
    vec![
        Case::new("run", json!({})).run(),
        Case::new("run-exit-status", json!({})).trying(&["exit:7"]).run(),
        Case::new("run-killed", json!({})).trying(&["exit:signal"]).run(),
        Case::new("run-terminal", process(json!({"terminal": true})))
            .trying(&["list:/dev/pts", "terminal"])
            .run(),
        Case::new("run-terminal-size", process(size)).trying(&["terminal"]).run(),
        Case::new(
            "run-terminal-user",
            process(json!({"terminal": true, "user": {"uid": 1000, "gid": 1000}})),
        )
        .trying(&["list:/dev/pts", "terminal"])
        .run(),
    ]
}

fn identity() -> Vec<Case> {
    let user = |user: Value| process(json!({"user": user}));
    vec![
        Case::new("default", json!({})),
        Case::new("user", user(json!({"uid": 1000, "gid": 1000}))),
        Case::new("user-groups", user(json!({"uid": 1000, "gid": 1000, "additionalGids": [5, 2000, 0]}))),
        Case::new("user-unknown", user(json!({"uid": 4242, "gid": 4343}))),
        Case::new("user-large", user(json!({"uid": 4_294_967_294_u32, "gid": 4_294_967_294_u32}))),
        Case::new("umask", user(json!({"umask": 0o077}))).trying(&["mkdir:/tmp/made", "stat:/tmp/made"]),
        Case::new(
            "home-from-passwd",
            process(json!({"user": {"uid": 1000, "gid": 1000}, "env": ["PATH=/bin"]})),
        ),
        Case::new("home-kept", process(json!({"user": {"uid": 1000, "gid": 1000}, "env": ["HOME=/tmp"]}))),
    ]
}

fn rights() -> Vec<Case> {
    let sets = |sets: Value| process(json!({"capabilities": sets}));
    let all: Vec<String> = CAPABILITY_NAMES.iter().map(|name| format!("CAP_{name}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let without_resource: Vec<&str> =
        all.iter().copied().filter(|name| *name != "CAP_SYS_RESOURCE").collect();
    let mut unknown = CAPABILITIES.to_vec();
    unknown.push("CAP_TEST");
    let net = ["CAP_NET_BIND_SERVICE"];
    vec![
        Case::new("capabilities-none", sets(capabilities(&[]))).trying(&[
            "chown:/data/file",
            "sethostname",
            "unshare",
        ]),
        Case::new("capabilities-absent", sets(Value::Null)),
        Case::new("capabilities-most", sets(capabilities(&without_resource))).trying(&[
            "mount",
            "sethostname",
            "unshare",
        ]),
        Case::new("capabilities-all", sets(capabilities(&all))),
        Case::new("capability-unknown", sets(capabilities(&unknown))),
        Case::new(
            "capabilities-user",
            process(json!({
            "user": {"uid": 1000, "gid": 1000}, "capabilities": capabilities(&net)})),
        ),
        Case::new(
            "capabilities-ambient",
            process(json!({"user": {"uid": 1000, "gid": 1000}, "capabilities": {
            "bounding": net, "effective": net, "permitted": net, "inheritable": net, "ambient": net}})),
        ),
        Case::new(
            "capabilities-not-effective",
            sets(json!({
            "bounding": CAPABILITIES, "effective": [], "permitted": CAPABILITIES})),
        )
        .trying(&["chown:/data/file"]),
        Case::new(
            "capabilities-bounding-only",
            sets(json!({
            "bounding": CAPABILITIES, "effective": null, "permitted": null})),
        ),
        Case::new("new-privileges", process(json!({"noNewPrivileges": false}))),
        Case::new("apparmor-missing", process(json!({"apparmorProfile": "no-such-profile"}))),
        Case::new(
            "selinux-label",
            process(json!({"selinuxLabel": "system_u:system_r:container_t:s0:c1,c2"})),
        ),
    ]
}

fn limits() -> Vec<Case> {
    let all: Vec<Value> =
        RLIMITS.iter().map(|(name, soft)| json!({"type": name, "soft": soft, "hard": soft})).collect();
    let rlimits = |list: Value| process(json!({"rlimits": list}));
    vec![
        Case::new("rlimits-none", rlimits(json!([]))),
        Case::new("rlimits-all", rlimits(json!(all))),
        Case::new(
            "rlimit-soft-below-hard",
            rlimits(json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}])),
        ),
        Case::new(
            "rlimit-soft-above-hard",
            rlimits(json!([{"type": "RLIMIT_NOFILE", "soft": 200, "hard": 100}])),
        ),
        Case::new(
            "rlimit-twice",
            rlimits(json!([
            {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}, {"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60}])),
        ),
        Case::new("rlimit-unknown", rlimits(json!([{"type": "RLIMIT_FOO", "soft": 1, "hard": 1}]))),
        Case::new("oom-score-adj", process(json!({"oomScoreAdj": 500}))),
        Case::new("oom-score-adj-zero", process(json!({"oomScoreAdj": 0}))),
        Case::new("scheduler", process(json!({"scheduler": {"policy": "SCHED_BATCH", "nice": 5}}))),
        Case::new("io-priority", process(json!({"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 6}}))),
    ]
}

fn surroundings() -> Vec<Case> {
    vec![
        Case::new("cwd", process(json!({"cwd": "/data/inner"}))),
        Case::new("cwd-missing", process(json!({"cwd": "/new/folder"})))
            .trying(&["stat:/new", "stat:/new/folder"]),
        Case::new(
            "cwd-missing-user",
            process(json!({"cwd": "/new/folder", "user": {"uid": 1000, "gid": 1000}})),
        )
        .trying(&["stat:/new", "stat:/new/folder"]),
        Case::new("cwd-of-user", process(json!({"cwd": "/home/user", "user": {"uid": 1000, "gid": 1000}}))),
        Case::new(
            "cwd-forbidden",
            process(json!({
            "cwd": "/root", "user": {"uid": 1000, "gid": 1000}, "capabilities": capabilities(&[])})),
        ),
        Case::new("cwd-relative", process(json!({"cwd": "data"}))),
        Case::new("cwd-link", process(json!({"cwd": "/link/inner"}))),
        Case::new(
            "env-order-and-twice",
            process(json!({"env": ["B=1", "A=2", "B=3", "EMPTY=", "PATH=/bin"]})),
        ),
        Case::new("env-none", process(json!({"env": []}))),
        Case::new("env-without-value", process(json!({"env": ["PATH=/bin", "NOVALUE"]}))),
        Case::new("args-by-path", process(json!({"args": ["probe"], "env": ["PATH=/none:/bin"]}))),
        Case::new("args-by-default-path", process(json!({"args": ["probe"], "env": []}))),
        Case::new("args-relative", process(json!({"args": ["./probe"], "cwd": "/bin"}))),
        Case::new("args-not-found", process(json!({"args": ["/nothing"]}))),
        Case::new("args-not-executable", process(json!({"args": ["/etc/passwd"]}))),
        Case::new("args-folder", process(json!({"args": ["/etc"]}))),
        Case::new("args-empty", process(json!({"args": []}))),
        Case::new(
            "hostname-long",
            json!({"hostname": "a-name-that-is-quite-long-but-still-shorter-than-64-bytes"}),
        ),
        Case::new("hostname-none", json!({"hostname": null})),
        Case::new("domainname", json!({"domainname": "example.org"})),
        Case::new("annotations", json!({"annotations": {"org.example.key": "value", "empty": ""}})),
        Case::new(
            "unknown-properties",
            json!({"unknown": {"a": 1}, "process": {"unknown": true}, "linux": {"unknown": []}}),
        ),
    ]
}

/// linux/capability.h, in order.
const CAPABILITY_NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// getrlimit(2), each with a value below what a process usually has.
const RLIMITS: [(&str, u64); 16] = [
    ("RLIMIT_AS", 1 << 40),
    ("RLIMIT_CORE", 0),
    ("RLIMIT_CPU", 3600),
    ("RLIMIT_DATA", 1 << 40),
    ("RLIMIT_FSIZE", 1 << 40),
    ("RLIMIT_LOCKS", 1000),
    ("RLIMIT_MEMLOCK", 65536),
    ("RLIMIT_MSGQUEUE", 100_000),
    ("RLIMIT_NICE", 0),
    ("RLIMIT_NOFILE", 512),
    ("RLIMIT_NPROC", 1000),
    ("RLIMIT_RSS", 1 << 40),
    ("RLIMIT_RTPRIO", 0),
    ("RLIMIT_RTTIME", 1_000_000),
    ("RLIMIT_SIGPENDING", 1000),
    ("RLIMIT_STACK", 8 << 20),
];
