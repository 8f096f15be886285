//! `process.capabilities`: the five sets, and what happens to names that cannot be had.

use integration::container::Container;
use integration::report::capability_names;
use integration::since;
use serde_json::json;

#[test]
fn every_set_is_as_asked() {
    let mut c = Container::new();
    c.put(
        "/process/capabilities",
        json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_NET_RAW"],
            "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"],
            "effective": ["CAP_CHOWN", "CAP_KILL"],
            "inheritable": ["CAP_KILL"],
            "ambient": ["CAP_KILL"],
        }),
    );
    // As a user other than root the sets come through execve untouched: permitted and effective are the
    // ambient set.
    c.put("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let caps = c.report().caps;
    assert_eq!(capability_names(caps.bounding), ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_NET_RAW"]);
    assert_eq!(capability_names(caps.inheritable), ["CAP_KILL"]);
    assert_eq!(capability_names(caps.ambient), ["CAP_KILL"]);
    assert_eq!(capability_names(caps.permitted), ["CAP_KILL"]);
    assert_eq!(capability_names(caps.effective), ["CAP_KILL"]);
}

#[test]
fn root_has_its_bounding_set() {
    let mut c = Container::new();
    c.capabilities(&["CAP_CHOWN", "CAP_MKNOD"]);
    let caps = c.report().caps;
    for set in [caps.bounding, caps.permitted, caps.effective] {
        assert_eq!(capability_names(set), ["CAP_CHOWN", "CAP_MKNOD"]);
    }
    assert_eq!((caps.inheritable, caps.ambient), (0, 0));
}

/// CVE-2022-29162, CVE-2022-27650: inheritable capabilities appear only when they are asked for.
#[test]
fn nothing_is_inheritable_by_default() {
    let mut c = Container::docker_like();
    assert_eq!(c.report().caps.inheritable, 0);
}

#[test]
fn without_capabilities_there_are_none() {
    let mut c = Container::new();
    c.put("/process/capabilities", json!({}));
    assert_eq!(c.report().caps, integration::report::Caps::default());
}

#[test]
fn another_user_has_only_the_bounding_set() {
    let mut c = Container::new();
    c.put("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let caps = c.report().caps;
    assert_eq!((caps.effective, caps.permitted, caps.inheritable, caps.ambient), (0, 0, 0, 0));
    assert_eq!(capability_names(caps.bounding), ["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_AUDIT_WRITE"]);
}

#[test]
fn keepcaps_and_securebits_are_back_to_normal() {
    let mut c = Container::new();
    c.put("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let report = c.report();
    assert_eq!((report.keepcaps, report.securebits), (0, 0));
}

#[test]
fn an_unknown_name_is_a_warning() {
    let mut c = Container::new();
    c.capabilities(&["CAP_CHOWN", "CAP_OF_THE_FUTURE"]);
    let run = c.run(&[]).ok();
    assert_eq!(capability_names(super::parse(&run).caps.effective), ["CAP_CHOWN"]);
    let warnings = run.logged("warning");
    assert!(warnings.iter().any(|warning| warning.contains("CAP_OF_THE_FUTURE")), "{warnings:?}");
}

/// The specification: a capability that cannot be granted is to be reported, and is no failure.
#[test]
fn a_capability_that_cannot_be_granted_is_a_warning() {
    since!("start without a capability that the caller lacks", "runc -", "crun -");
    let mut c = Container::new();
    c.via.extend(["setpriv", "--bounding-set", "-sys_boot"].map(Into::into));
    c.capabilities(&["CAP_CHOWN", "CAP_SYS_BOOT"]);
    let run = c.run(&[]).ok();
    assert_eq!(capability_names(super::parse(&run).caps.bounding), ["CAP_CHOWN"]);
    let warnings = run.logged("warning");
    assert!(warnings.iter().any(|warning| warning.contains("CAP_SYS_BOOT")), "{warnings:?}");
}

#[test]
fn capabilities_decide_what_root_may_do() {
    let attempts: [(&[&str], &str, &[&str], &str); 5] = [
        (&["chown", "/tmp", "5"], "EPERM", &["CAP_CHOWN"], "ok"),
        (&["mount-tmpfs", "/mnt"], "EPERM", &["CAP_SYS_ADMIN"], "ok"),
        (&["mknod", "/tmp/node", "c", "1", "3"], "EPERM", &["CAP_MKNOD"], "ok"),
        (&["sethostname", "new"], "EPERM", &["CAP_SYS_ADMIN"], "ok"),
        (&["unshare", "0x20000000"], "EPERM", &["CAP_SYS_ADMIN"], "ok"),
    ];
    for (words, without, names, with) in attempts {
        let mut c = Container::new();
        c.put("/root/readonly", json!(false));
        assert_eq!(c.attempt(words), without, "{words:?} without");
        c.capabilities(names);
        assert_eq!(c.attempt(words), with, "{words:?} with {names:?}");
    }
}
