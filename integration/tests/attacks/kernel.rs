//! Kernels that refuse: each newer system call answered with ENOSYS, as older kernels do, and with EPERM, as
//! the filters of engines do in which a runtime may find itself.
//!
//! What is asked for is then done in another way, or refused; never left out.

use integration::container::Container;
use integration::{leaks, sys, trace};
use serde_json::json;
use std::fs;

/// A container whose every guarantee can be looked at.
fn confined() -> Container {
    let mut c = Container::docker_like();
    c.put("/process/noNewPrivileges", json!(true)).put("/root/readonly", json!(true));
    c.put("/linux/maskedPaths", json!(["/etc/masked", "/proc/keys"]));
    fs::write(c.rootfs("etc/masked"), "secret").unwrap();
    c.args(&["/probe", "report"]);
    c
}

/// Everything that was asked for is there.
#[track_caller]
fn assert_guarantees(report: &integration::report::Report, at: &str) {
    assert_eq!(report.seccomp, 2, "{at}: no filter");
    assert!(report.no_new_privs, "{at}: no_new_privs");
    assert_eq!(report.fds.keys().collect::<Vec<_>>(), [&0, &1, &2], "{at}: {:?}", report.fds);
    assert!(report.caps.inheritable == 0, "{at}: {:?}", report.caps);
    assert!(report.mount("/").has("ro"), "{at}: the root can be written to");
    assert!(report.is_mounted("/etc/masked") && report.is_mounted("/proc/keys"), "{at}: not masked");
    assert!(report.mounts.iter().all(|mount| mount.target.starts_with('/')), "{at}: {:?}", report.mounts);
    assert!(report.pids.len() <= 3, "{at}: sees the host's processes");
}

fn refuse_each(error: i32, word: &str) {
    let mut done = 0;
    for call in trace::NEWER {
        let at = format!("{} with {word}", trace::name(call));
        let c = confined();
        let bundle = c.bundle().to_str().unwrap().to_owned();
        c.write_config();
        let filtered = |args: &[&str]| c.call_with(args, |command| sys::refuse(command, call, error));
        let run = filtered(&["run", "--bundle", &bundle, &c.id]);
        if run.status.success() {
            assert_guarantees(&integration::container::parse_report(&run), &at);
            done += 1;
        } else {
            assert!(!run.error().is_empty(), "{at}: {run:#?}");
        }
        let left = leaks::left(&c);
        assert!(left.is_empty(), "{at}: left behind: {left:#?}");
        // The other commands, on a container that was made without hindrance.
        let mut c = confined();
        c.sleeping();
        let filtered = |args: &[&str]| c.call_with(args, |command| sys::refuse(command, call, error));
        let exec = filtered(&["exec", &c.id, "/probe", "report"]);
        if exec.status.success() {
            let report = integration::container::parse_report(&exec);
            assert_eq!((report.seccomp, report.no_new_privs), (2, true), "exec, {at}");
            assert_eq!(report.fds.keys().collect::<Vec<_>>(), [&0, &1, &2], "exec, {at}");
        } else {
            assert!(!exec.error().is_empty(), "exec, {at}: {exec:#?}");
        }
        let state = filtered(&["state", &c.id]);
        assert!(state.status.success() || !state.error().is_empty(), "state, {at}");
        let delete = filtered(&["delete", "--force", &c.id]);
        assert!(delete.status.success() || !delete.error().is_empty(), "delete, {at}");
        c.delete_force().ok();
        leaks::assert_none(&c);
    }
    // Most of them have another way.
    assert!(
        done * 2 > trace::NEWER.len() || word == "EPERM",
        "only {done} of {} calls can be done without",
        trace::NEWER.len()
    );
    println!("{word}: {done} of {} calls can be done without", trace::NEWER.len());
}

#[test]
fn a_kernel_that_does_not_know_a_call_weakens_nothing() {
    refuse_each(libc::ENOSYS, "ENOSYS");
}

#[test]
fn a_filter_that_refuses_a_call_weakens_nothing() {
    refuse_each(libc::EPERM, "EPERM");
}
