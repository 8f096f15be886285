//! `exec --process`: what the file says of the process, and what it leaves out.

use integration::container::{Container, parse_report};
use integration::report::capability_names;
use integration::since;
use serde_json::json;
use std::fs;

#[test]
fn a_process_file_says_everything() {
    let mut c = Container::new();
    c.sleeping();
    let file = c.text_path("process.json");
    let process = json!({
        "user": { "uid": 1000, "gid": 1000, "additionalGids": [9] },
        "args": ["/probe", "report"],
        "env": ["ONLY=this", "HOME=/x"],
        "cwd": "/etc",
        "capabilities": { "bounding": ["CAP_CHOWN"], "inheritable": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"],
                          "effective": ["CAP_CHOWN"], "ambient": ["CAP_CHOWN"] },
        "rlimits": [{ "type": "RLIMIT_CORE", "soft": 33, "hard": 44 }],
        "noNewPrivileges": true,
    });
    fs::write(&file, process.to_string()).unwrap();
    for flag in ["--process", "-p"] {
        let report = parse_report(&c.call(&["exec", flag, &file, &c.id]).ok());
        assert_eq!((report.uid[1], report.gid[1], report.groups.clone()), (1000, 1000, vec![9]));
        assert_eq!(report.cwd, "/etc");
        assert_eq!(report.env, ["ONLY=this", "HOME=/x"]);
        assert_eq!(report.limits["Max core file size"], (33, 44));
        let caps = report.caps;
        for set in [caps.bounding, caps.effective, caps.permitted, caps.inheritable, caps.ambient] {
            assert_eq!(capability_names(set), ["CAP_CHOWN"]);
        }
    }
}

#[test]
fn the_oom_score_of_a_process_file_counts() {
    since!("oomScoreAdj in exec", "runc -", "crun 1.0");
    let mut c = Container::new();
    c.sleeping();
    let file = c.text_path("process.json");
    let process = json!({ "user": { "uid": 0, "gid": 0 }, "args": ["/probe", "report"], "cwd": "/", "oomScoreAdj": 55 });
    fs::write(&file, process.to_string()).unwrap();
    assert_eq!(parse_report(&c.call(&["exec", "--process", &file, &c.id]).ok()).oom_score_adj, 55);
}

/// Not the caller's: an engine may be one that the kernel is to spare.
#[test]
fn what_a_process_file_leaves_out_is_the_containers() {
    since!("scheduler, ioPriority and umask that exec inherits", "runc 1.2", "crun -");
    let mut c = Container::new();
    c.put("/process/user/umask", json!(0o077)).put("/process/oomScoreAdj", json!(44));
    c.put("/process/scheduler", json!({ "policy": "SCHED_BATCH", "nice": 4 }));
    c.put("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_BE", "priority": 6 }));
    c.sleeping();
    let file = c.text_path("process.json");
    let process = json!({ "user": { "uid": 0, "gid": 0 }, "args": ["/probe", "report"], "cwd": "/" });
    fs::write(&file, process.to_string()).unwrap();
    let report = parse_report(&c.call(&["exec", "--process", &file, &c.id]).ok());
    assert_eq!((report.umask, report.oom_score_adj), (0o077, 44));
    assert_eq!((report.sched.policy, report.sched.nice, report.ioprio), (3, 4, (2, 6)));
}

#[test]
fn rlimits_are_the_containers() {
    let mut c = Container::new();
    c.put("/process/rlimits", json!([{ "type": "RLIMIT_CORE", "soft": 1, "hard": 2 }]));
    c.sleeping();
    assert_eq!(c.exec_report(&[]).limits["Max core file size"], (1, 2));
}

#[test]
fn scheduling_of_a_process_file_counts() {
    since!("scheduler and ioPriority in exec", "runc 1.2", "crun 1.9");
    let mut c = Container::new();
    c.sleeping();
    let file = c.text_path("process.json");
    let process = json!({
        "user": { "uid": 0, "gid": 0 }, "args": ["/probe", "report"], "env": [], "cwd": "/",
        "scheduler": { "policy": "SCHED_BATCH", "nice": 4 },
        "ioPriority": { "class": "IOPRIO_CLASS_BE", "priority": 6 },
    });
    fs::write(&file, process.to_string()).unwrap();
    let report = parse_report(&c.call(&["exec", "--process", &file, &c.id]).ok());
    assert_eq!((report.sched.policy, report.sched.nice), (3, 4));
    assert_eq!(report.ioprio, (2, 6));
}
