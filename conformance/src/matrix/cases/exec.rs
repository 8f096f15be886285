//! `exec`: what a second process in a container gets.

use serde_json::{Value, json};

use crate::matrix::bundle::{Case, NAMESPACES, capabilities, namespaces};

/// Cases about `exec`.
pub(crate) fn cases() -> Vec<Case> {
    let user = json!({"process": {"user": {"uid": 1000, "gid": 1000, "additionalGids": [2000]}, "umask": 0o027,
        "oomScoreAdj": 300, "cwd": "/data", "env": ["PATH=/bin", "A=1"],
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 300, "hard": 400}]}});
    let few = json!({"process": {"capabilities": capabilities(&["CAP_CHOWN", "CAP_KILL"])}});
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let mut with_user_namespace = NAMESPACES.to_vec();
    with_user_namespace.extend(["user", "cgroup"]);
    let in_user_namespace = json!({"linux": {"namespaces": namespaces(&with_user_namespace), "uidMappings": map, "gidMappings": map,
        "resources": null}});
    let time = json!({"linux": {"namespaces": namespaces(&["pid", "network", "ipc", "uts", "mount", "time"]),
        "timeOffsets": {"monotonic": {"secs": 1000}}}});
    let filter = json!({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}}});
    vec![
        Case::new("exec", json!({})).exec(&["$ID", "/probe"]),
        Case::new("exec-in-changed", user.clone()).exec(&["$ID", "/probe"]),
        Case::new("exec-user", json!({})).exec(&["--user", "1000:2000", "$ID", "/probe"]),
        Case::new("exec-user-groups", json!({})).exec(&[
            "--user",
            "1000",
            "--additional-gids",
            "2000",
            "$ID",
            "/probe",
        ]),
        Case::new("exec-cwd-env", user)
            .exec(&["--cwd", "/tmp", "--env", "B=2", "--env", "A=3", "$ID", "probe"]),
        Case::new("exec-capability", few.clone()).exec(&["--cap", "CAP_NET_RAW", "$ID", "/probe"]),
        Case::new("exec-few-capabilities", few).exec(&["$ID", "/probe"]),
        Case::new("exec-no-new-privileges", json!({"process": {"noNewPrivileges": false}})).exec(&[
            "--no-new-privs",
            "$ID",
            "/probe",
        ]),
        Case::new("exec-process-file", json!({})).exec(&["--process", "$BUNDLE/process.json", "$ID"]),
        Case::new("exec-user-namespace", in_user_namespace).exec(&["$ID", "/probe"]),
        Case::new("exec-time-namespace", time).exec(&["$ID", "/probe"]),
        Case::new("exec-seccomp", filter).exec(&["$ID", "/probe", "mkdir:/tmp/x"]),
        Case::new(
            "exec-limited",
            json!({"linux": {"resources": {"memory": {"limit": 134_217_728}, "pids": {"limit": 100}}}}),
        )
        .exec(&["$ID", "/probe"]),
        Case::new("exec-not-found", json!({})).exec(&["$ID", "/nothing"]),
        Case::new("exec-cwd-missing", json!({})).exec(&["--cwd", "/none", "$ID", "/probe"]),
    ]
}

/// The file for `exec --process`.
pub(crate) fn process_file() -> Value {
    json!({"args": ["/probe"], "env": ["PATH=/bin", "FROM=file"], "cwd": "/tmp", "noNewPrivileges": false,
        "user": {"uid": 1000, "gid": 1000, "umask": 0o077, "additionalGids": [5]},
        "capabilities": capabilities(&["CAP_KILL"]), "oomScoreAdj": 700,
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]})
}
