//! Security labels, and what keeps a process from getting more rights, over a restore.

use super::*;
use integration::{leaks, since};
use std::io::Write;
use std::path::Path;

/// Loads two profiles that allow all; nothing when the host has no AppArmor.
fn profiles() -> Option<[&'static str; 2]> {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled").ok()?;
    let names = ["corten-test-saved", "corten-test-restored"];
    let mut parser = Command::new("apparmor_parser").arg("-r").stdin(Stdio::piped()).spawn().ok()?;
    let mut text = parser.stdin.take()?;
    for name in names {
        let rules = "file, capability, network, mount, umount, signal, ptrace, pivot_root, unix,";
        writeln!(text, "profile {name} flags=(attach_disconnected,mediate_deleted) {{ {rules} }}").ok()?;
    }
    drop(text);
    (parser.wait().ok()?.success() && enabled.starts_with('Y')).then_some(names)
}

#[test]
fn a_restored_container_can_have_another_profile() {
    criu!();
    // It is restored twice from the same images: no file of it may change meanwhile.
    let mut c = container("");
    c.args(&["/probe", "sleep"]);
    let Some([saved, other]) = profiles() else {
        start(&c);
        checkpoint(&c, &[]).ok();
        let refused = restore(&c, &["--lsm-profile", "apparmor:corten-test-restored"]);
        assert!(
            refused.error().contains("apparmor LSM specified but apparmor not supported"),
            "{refused:#?}"
        );
        leaks::assert_none(&c);
        integration::skip!("needs AppArmor");
    };
    c.put("/process/apparmorProfile", json!(saved));
    start(&c);
    let label = |c: &Container| fs::read_to_string(format!("/proc/{}/attr/current", c.pid())).unwrap();
    outcome::until("the program to run", || label(&c) == format!("{saved} (enforce)\n"));
    checkpoint(&c, &["--leave-running"]).ok();
    c.delete_force().ok();
    restore(&c, &[]).ok();
    assert_eq!(label(&c), format!("{saved} (enforce)\n"));
    c.delete_force().ok();
    restore(&c, &["--lsm-profile", &format!("apparmor:{other}")]).ok();
    assert_eq!(label(&c), format!("{other} (enforce)\n"));
}

/// criu would say nothing, and mount without it.
#[test]
fn a_context_of_mounts_needs_selinux() {
    criu!();
    if Path::new("/sys/fs/selinux/enforce").exists() {
        integration::skip!("needs a host without SELinux");
    }
    since!("this refusal", "runc -", "crun -");
    let c = container(COUNTER);
    start(&c);
    until_it_counts(&c);
    checkpoint(&c, &[]).ok();
    let refused = restore(&c, &["--lsm-mount-context", "system_u:object_r:container_file_t:s0"]);
    assert!(refused.error().contains("--lsm-mount-context: SELinux is not enabled"), "{refused:#?}");
    leaks::assert_none(&c);
    restore(&c, &[]).ok();
    until_it_counts(&c);
}

/// A container that must not gain privileges does not go on when its images would let it.
#[test]
fn images_cannot_take_back_no_new_privileges() {
    criu!();
    since!("this check", "runc -", "crun -");
    let mut c = container(COUNTER);
    c.put("/process/noNewPrivileges", json!(false));
    start(&c);
    until_it_counts(&c);
    checkpoint(&c, &[]).ok();
    c.put("/process/noNewPrivileges", json!(true)).write_config();
    let refused = restore(&c, &[]);
    assert!(refused.error().contains("process.noNewPrivileges: "), "{refused:#?}");
    leaks::assert_none(&c);
    c.put("/process/noNewPrivileges", json!(false)).write_config();
    restore(&c, &[]).ok();
    until_it_counts(&c);
}
