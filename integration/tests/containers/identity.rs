//! Who the process is: ids, groups, umask, host name, keyring, labels.

use integration::container::Container;
use integration::runtime::runtime;
use integration::since;
use serde_json::json;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;

#[test]
fn uid_and_gid_are_set_in_all_four_places() {
    let mut c = Container::new();
    c.put("/process/user", json!({ "uid": 1000, "gid": 2000 }));
    let report = c.report();
    assert_eq!(report.uid, [1000; 4]);
    assert_eq!(report.gid, [2000; 4]);
    assert_eq!(report.groups, Vec::<u32>::new());
}

/// Runtimes give the standard streams to the user so that `/dev/stdout` can be opened. The host's null device
/// is not theirs to give.
#[test]
fn the_hosts_null_device_keeps_its_owner() {
    let owner = || {
        let meta = fs::metadata("/dev/null").unwrap();
        (meta.uid(), meta.gid(), meta.mode() & 0o7777)
    };
    let before = owner();
    let mut c = Container::new();
    c.put("/process/user", json!({ "uid": 1000, "gid": 1000 })).args(&["/bin/true"]);
    c.run_with(&[], |command| {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    })
    .ok();
    let after = owner();
    if after != before {
        std::os::unix::fs::chown("/dev/null", Some(before.0), Some(before.1)).unwrap();
    }
    assert_eq!(after, before);
}

/// A program that reopens its output through `/dev/stdout` may do so as any user.
#[test]
fn the_standard_streams_belong_to_the_user() {
    let mut c = Container::new();
    c.put("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    assert_eq!(c.script("echo through the device > /dev/stdout"), "through the device\n");
}

#[test]
fn the_largest_ids_are_ids() {
    since!("ids above 2147483647", "runc -", "crun 1.0");
    let mut c = Container::new();
    c.put("/process/user", json!({ "uid": 4_294_967_294u32, "gid": 4_294_967_294u32 }));
    assert_eq!(c.report().uid, [4_294_967_294; 4]);
}

#[test]
fn additional_gids_are_the_supplementary_groups() {
    let mut c = Container::new();
    c.put("/process/user", json!({ "uid": 0, "gid": 0, "additionalGids": [7, 70, 70_000] }));
    assert_eq!(c.report().groups, [7, 70, 70_000]);
}

/// The caller's groups would open the host's files to the container.
#[test]
fn groups_of_the_caller_never_reach_the_container() {
    for user in [json!({ "uid": 0, "gid": 0 }), json!({ "uid": 5, "gid": 6, "additionalGids": [] })] {
        let mut c = Container::new();
        c.via.extend(["setpriv", "--groups", "41,42"].map(Into::into));
        c.put("/process/user", user);
        assert_eq!(c.report().groups, Vec::<u32>::new());
    }
}

#[test]
fn umask_is_set_and_is_022_by_default() {
    let mut c = Container::new();
    c.via.extend(["sh", "-c", "umask 0; exec \"$0\" \"$@\""].map(Into::into));
    assert_eq!(c.report().umask, 0o022);
    c.put("/process/user/umask", json!(0o077));
    assert_eq!(c.report().umask, 0o077);
    c.put("/process/user/umask", json!(0));
    assert_eq!(c.report().umask, 0);
}

#[test]
fn hostname_is_set_and_the_hosts_is_left() {
    let before = nix::unistd::gethostname().unwrap();
    let mut c = Container::new();
    c.put("/hostname", json!("thing.example"));
    assert_eq!(c.report().hostname, "thing.example");
    assert_eq!(nix::unistd::gethostname().unwrap(), before);
}

#[test]
fn domainname_is_set() {
    since!("domainname", "runc 1.2", "crun 1.8.1");
    let mut c = Container::new();
    c.put("/domainname", json!("example.org"));
    let report = c.report();
    assert_eq!((report.hostname.as_str(), report.domainname.as_str()), ("test", "example.org"));
}

#[test]
fn names_without_a_uts_namespace_are_refused() {
    let mut c = Container::new();
    c.without_namespace("uts");
    assert!(c.run(&[]).error().to_lowercase().contains("uts"));
    c.config.as_object_mut().unwrap().remove("hostname");
    c.run(&[]).ok();
    since!("domainname", "runc 1.2", "crun 1.8.1");
    c.put("/domainname", json!("example.org"));
    assert!(c.run(&[]).error().to_lowercase().contains("uts"));
}

#[test]
fn init_has_a_session_keyring_of_its_own() {
    let mut c = Container::new();
    let keyring = c.report().keyring;
    assert!(keyring.starts_with("keyring;0;0;"), "{keyring}");
    assert!(keyring.ends_with(&format!(";_ses.{}", c.id)), "{keyring}");
}

#[test]
fn no_new_keyring_leaves_the_callers() {
    let mut c = Container::new();
    let keyring = c.report_with(&["--no-new-keyring"]).keyring;
    assert!(keyring.starts_with("keyring;") && !keyring.contains(&c.id), "{keyring}");
}

/// A label that cannot be applied must stop the container: it would run unconfined otherwise.
#[test]
fn an_apparmor_profile_is_applied_or_refused() {
    let mut c = Container::new();
    c.put("/process/apparmorProfile", json!("corten-no-such-profile"));
    let run = c.run(&[]);
    assert!(run.error().to_lowercase().contains("apparmor"), "{run:#?}");
    assert_eq!(run.code(), 1);
}

#[test]
fn a_selinux_label_is_applied_or_refused() {
    let mut c = Container::new();
    c.put("/process/selinuxLabel", json!("system_u:system_r:container_t:s0:c1,c2"));
    if Path::new("/sys/fs/selinux/enforce").exists() {
        assert_eq!(c.report().attr_current, "system_u:system_r:container_t:s0:c1,c2");
        return;
    }
    let run = c.run(&[]);
    let said = run.error();
    assert!(said.to_lowercase().contains("selinux"), "{run:#?}");
    assert!(!runtime().is_ours() || said.contains("SELinux is not enabled"), "{run:#?}");
}

#[test]
fn a_mount_label_is_applied_or_ignored_with_a_warning() {
    let mut c = Container::new();
    c.put("/linux/mountLabel", json!("system_u:object_r:container_file_t:s0:c1,c2"));
    if Path::new("/sys/fs/selinux/enforce").exists() {
        assert!(
            c.report().mount("/dev").super_options.iter().any(|option| option.contains("container_file_t"))
        );
        return;
    }
    since!("a warning for a mount label without SELinux", "runc -", "crun -");
    c.args(&["/probe", "report"]);
    let run = c.run(&[]).ok();
    assert!(run.logged("warning").iter().any(|line| line.contains("linux.mountLabel")), "{run:#?}");
}
