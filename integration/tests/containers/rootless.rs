//! Containers of an unprivileged user.

use integration::console::Console;
use integration::container::{Container, End, cgroup2_view};
use integration::report::capability_names;
use integration::runtime::{Kind, runtime};
use integration::sockets::Receiver;
use integration::user::{SUBORDINATE, User, user};
use integration::{config, host, leaks, needs, outcome, proc, since};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;

fn single(user: &User) -> Container {
    user.container(config::rootless(user.uid, user.gid))
}

/// With the subordinate ids behind the user's own.
fn ranged(user: &User) -> Container {
    let mut c = single(user);
    let map = |own: u32, first: u32| json!([{ "containerID": 0, "hostID": own, "size": 1 }, { "containerID": 1, "hostID": first, "size": SUBORDINATE }]);
    c.put("/linux/uidMappings", map(user.uid, user.first_subuid));
    c.put("/linux/gidMappings", map(user.gid, user.first_subgid));
    c
}

#[test]
fn one_id_needs_no_helper() {
    let user = needs!(user(), "root and useradd");
    let mut c = single(user);
    let report = c.report();
    assert_eq!(report.uid_map, [[0, u64::from(user.uid), 1]]);
    assert_eq!(report.gid_map, [[0, u64::from(user.gid), 1]]);
    assert_eq!(report.setgroups, "deny");
    assert_eq!((report.uid, report.gid), (vec![0; 4], vec![0; 4]));
    assert_eq!(report.hostname, "test");
    leaks::assert_none(&c);
}

#[test]
fn subordinate_ids_are_mapped() {
    let user = needs!(user(), "root and useradd");
    let mut c = ranged(user);
    c.put("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let report = c.report();
    assert_eq!(report.uid_map[1], [1, u64::from(user.first_subuid), u64::from(SUBORDINATE)]);
    assert_eq!(report.uid, [1000; 4]);
    leaks::assert_none(&c);
    since!("additional groups in rootless containers", "runc -", "crun 1.0");
    c.put("/process/user/additionalGids", json!([5]));
    assert_eq!(c.report().groups, [5]);
}

#[test]
fn the_processes_on_the_host_are_the_users() {
    let user = needs!(user(), "root and useradd");
    let mut c = ranged(user);
    c.put("/process/user", json!({ "uid": 7, "gid": 7 }));
    c.args(&["/probe", "ready-then-sleep"]);
    c.run_detached();
    c.await_line("ready");
    let status = proc::Status::of(&c.pid().to_string());
    assert_eq!(status.numbers("Uid"), [user.first_subuid + 6; 4]);
    assert_eq!(status.numbers("Gid"), [user.first_subgid + 6; 4]);
}

#[test]
fn files_belong_to_the_mapped_ids() {
    let user = needs!(user(), "root and useradd");
    let mut c = ranged(user);
    c.put("/root/readonly", json!(false)).capabilities(&["CAP_CHOWN"]);
    c.script("touch /mine /theirs && chown 33:44 /theirs");
    assert_eq!(fs::metadata(c.rootfs("mine")).unwrap().uid(), user.uid);
    let theirs = fs::metadata(c.rootfs("theirs")).unwrap();
    assert_eq!((theirs.uid(), theirs.gid()), (user.first_subuid + 32, user.first_subgid + 43));
}

#[test]
fn ids_that_are_not_the_users_are_refused() {
    let user = needs!(user(), "root and useradd");
    for first in [0, user.first_subuid + SUBORDINATE] {
        let mut c = single(user);
        let map = json!([{ "containerID": 0, "hostID": user.uid, "size": 1 }, { "containerID": 1, "hostID": first, "size": 10 }]);
        c.put("/linux/uidMappings", map.clone()).put("/linux/gidMappings", map);
        assert!(!c.run(&[]).error().is_empty(), "{first}");
        leaks::assert_none(&c);
    }
    let mut c = single(user);
    c.put("/linux/uidMappings", json!([{ "containerID": 0, "hostID": 0, "size": 1 }]));
    assert!(!c.run(&[]).error().is_empty());
    leaks::assert_none(&c);
}

#[test]
fn spec_rootless_writes_a_configuration_that_runs() {
    let user = needs!(user(), "root and useradd");
    let mut c = single(user);
    let made = c.text_path("made");
    fs::create_dir(&made).unwrap();
    std::os::unix::fs::chown(&made, Some(user.uid), Some(user.gid)).unwrap();
    c.call(&["spec", "--rootless", "--bundle", &made]).ok();
    let text = fs::read_to_string(c.path("made/config.json")).unwrap();
    assert!(!text.contains("null"), "config-schema.json has no such value: {text}");
    c.config = serde_json::from_str(&text).unwrap();
    assert_eq!(c.config["linux"]["uidMappings"][0]["hostID"], user.uid);
    let mark = format!("{}={}", integration::container::MARK, c.id);
    c.put("/process/env/-", json!(mark)).put("/process/terminal", json!(false));
    assert_eq!(c.script("id -u; id -g; hostname | grep -c ."), "0\n0\n1\n");
    leaks::assert_none(&c);
}

#[test]
fn the_whole_life_works() {
    let user = needs!(user(), "root and useradd");
    let mut c = ranged(user);
    c.args(&["/probe", "signals"]);
    c.create();
    assert_eq!(c.status(), "created");
    c.start();
    c.await_line("ready");
    assert_eq!(c.exec(&[], &["/bin/id", "-u"]).ok().stdout, "0\n");
    assert_eq!(c.exec(&["--user", "5:6"], &["/bin/id", "-u"]).ok().stdout, "5\n");
    let list = c.call(&["list", "--format", "json"]).ok().json();
    assert_eq!(list[0]["id"], c.id);
    c.kill("USR1").ok();
    c.await_line("SIGUSR1");
    c.kill("TERM").ok();
    assert_eq!(c.wait(), End::Exited(0));
    c.delete().ok();
    leaks::assert_none(&c);
}

/// Whoever has entered a user namespace has every capability there, as its maker has.
#[test]
fn a_joined_user_namespace_gives_its_capabilities() {
    let user = needs!(user(), "root and useradd");
    let mut first = single(user);
    let pid = first.sleeping();
    let mut second = single(user);
    second.namespace("user", Some(&format!("/proc/{pid}/ns/user")));
    let report = second.report();
    assert_eq!(report.namespaces["user"], host::namespace(pid, "user"));
    let expected = ["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_AUDIT_WRITE"];
    assert_eq!(capability_names(report.caps.effective), expected);
    assert_eq!(capability_names(report.caps.permitted), expected);
}

#[test]
fn the_clocks_can_be_moved() {
    let user = needs!(user(), "root and useradd");
    since!("time namespaces", "runc 1.2", "crun 1.9");
    for mut c in [single(user), ranged(user)] {
        c.namespace("time", None).put("/linux/timeOffsets", json!({ "boottime": { "secs": 9_000_000 } }));
        assert!(c.report().boottime > 9_000_000);
    }
}

/// Each error says what of the configuration it is about.
#[test]
fn what_the_host_refuses_is_named() {
    let user = needs!(user(), "root and useradd");
    since!("its messages", "runc -", "crun -");
    let mut first = single(user);
    let others = format!("/proc/{}/ns/uts", first.sleeping());
    let mut c = single(user);
    c.namespace("uts", Some(&others));
    assert!(c.run(&[]).error().contains(&format!("join the uts namespace {others}: ")));
    let mut c = single(user);
    c.put("/linux/devices", json!([{ "path": "/dev/no-such", "type": "c", "major": 1, "minor": 5 }]));
    assert!(c.run(&[]).error().contains("bind the host's device /dev/no-such: no such file"));
    let mut c = ranged(user);
    c.put("/linux/gidMappings/1/hostID", json!(1));
    assert!(c.run(&[]).error().contains("linux.gidMappings: newgidmap: "));
}

/// Without `--root`, the state is below XDG_RUNTIME_DIR.
#[test]
fn the_default_root_is_the_users() {
    let user = needs!(user(), "root and useradd");
    let mut c = single(user);
    c.args(&["/probe", "sleep"]).write_config();
    let name = runtime().title.split(' ').next().unwrap();
    let mut words = c.via.clone();
    let binary = runtime().path.display();
    let id = &c.id;
    words.extend(
        [
            "sh",
            "-c",
            &format!("{binary} create {id} && ls $XDG_RUNTIME_DIR/{name}; {binary} delete --force {id}"),
        ]
        .map(Into::into),
    );
    let output = std::process::Command::new(&words[0])
        .args(&words[1..])
        .current_dir(c.bundle())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).lines().any(|line| line == id), "{output:?}");
    leaks::assert_none(&c);
}

#[test]
fn a_network_of_its_own_is_possible() {
    let user = needs!(user(), "root and useradd");
    let mut c = single(user);
    c.namespace("network", None);
    c.unmount("/sys").mount(json!({ "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] }));
    assert_eq!(c.report().interfaces, ["lo"]);
}

#[test]
fn a_terminal_works() {
    let user = needs!(user(), "root and useradd");
    let mut c = single(user);
    c.put("/process/terminal", json!(true)).shell("test -t 0 && echo terminal");
    let path = c.path("console.sock");
    let receiver = Receiver::at(&path);
    std::os::unix::fs::chown(&path, Some(user.uid), Some(user.gid)).unwrap();
    c.try_create(&["--console-socket", path.to_str().unwrap()]).ok();
    let mut console = Console::new(receiver.receive().fds.remove(0));
    c.start();
    console.expect("terminal\r\n");
}

/// Without delegation there is no cgroup to set limits in: to ask for one is an error, not to ask is none.
#[test]
fn limits_that_cannot_be_set_are_refused() {
    let user = needs!(user(), "root and useradd");
    let mut c = single(user);
    c.put("/linux/resources/memory", json!({ "limit": 50_000_000 }));
    let run = c.run(&[]);
    assert!(run.error().to_lowercase().contains("cgroup"), "{run:#?}");
    assert!(!runtime().is_ours() || run.error().contains("linux.resources.memory.limit"), "{run:#?}");
    leaks::assert_none(&c);
    c.config["linux"].as_object_mut().unwrap().remove("resources");
    c.report();
}

#[test]
fn an_id_mapped_mount_is_refused_in_one_line() {
    let user = needs!(user(), "root and useradd");
    since!("its messages", "runc -", "crun -");
    let mut c = single(user);
    let map = |host: u32| json!([{ "containerID": 0, "hostID": host, "size": 1 }]);
    c.mount(json!({ "destination": "/mnt", "type": "none", "source": "/tmp", "options": ["bind"],
        "uidMappings": map(user.uid), "gidMappings": map(user.gid) }));
    let run = c.run(&[]);
    assert!(run.error().contains("need privilege over the host"), "{run:#?}");
    leaks::assert_none(&c);
}

/// The filter is loaded with the user's own rights over the container, and its listener goes to a recorder of
/// the user.
#[test]
fn a_user_can_record_a_profile_and_run_under_it() {
    let user = needs!(user(), "root and useradd");
    since!("a recorder", "runc -", "crun -");
    for no_new_privileges in [true, false] {
        let mut c = single(user);
        c.put("/process/noNewPrivileges", json!(no_new_privileges));
        c.args(&["/probe", "try", "read", "/etc/passwd"]).write_config();
        let (bundle, profile) = (c.text_path(""), c.text_path("profile.json"));
        let run = c.call(&["seccomp", "record", "--bundle", &bundle, "--output", &profile, &c.id]);
        assert_eq!(run.ok().stdout, "ok\n");
        let recorded = serde_json::from_slice(&fs::read(&profile).unwrap()).unwrap();
        c.put("/linux/seccomp", recorded);
        assert_eq!(c.attempt(&["read", "/etc/passwd"]), "ok");
        assert_eq!(c.attempt(&["syscall", "140", "0", "0"]), "EPERM");
    }
}

/// `--privileged --pid=host` in rootless engines: proc of the host cannot be mounted, and the words are
/// known.
#[test]
fn the_hosts_pid_namespace_and_proc_do_not_go_together() {
    let user = needs!(user(), "root and useradd");
    let mut c = single(user);
    c.without_namespace("pid");
    let run = c.run(&[]);
    if runtime().kind != Kind::Crun {
        assert!(run.error().contains("mounting \"proc\""), "{run:#?}");
    }
    let words = ["operation not permitted", "permission denied"];
    assert!(words.iter().any(|words| run.error().to_lowercase().contains(words)), "{run:#?}");
    leaks::assert_none(&c);
}

#[test]
fn devices_are_bound_from_the_host() {
    let user = needs!(user(), "root and useradd");
    let mut c = single(user);
    let dev = c.report().dev;
    for (path, minor) in [("/dev/null", 3), ("/dev/zero", 5), ("/dev/urandom", 9)] {
        assert_eq!((dev[path].kind.as_str(), dev[path].major, dev[path].minor), ("c", 1, minor), "{path}");
    }
}

#[test]
fn without_a_user_namespace_it_is_refused() {
    let user = needs!(user(), "root and useradd");
    since!("refusal without a user namespace", "runc 1.0", "crun -");
    let mut c = single(user);
    c.without_namespace("user");
    for key in ["uidMappings", "gidMappings"] {
        c.config["linux"].as_object_mut().unwrap().remove(key);
    }
    let run = c.run(&[]);
    assert!(run.error().contains("user namespace") || run.error().contains("permitted"), "{run:#?}");
    leaks::assert_none(&c);
    since!("a message that says what is missing", "runc -", "crun -");
    let problem =
        "linux.namespaces: needs a user namespace: without privilege over the host there can be no others";
    assert!(run.error().ends_with(&format!("config.json: {problem}")), "{run:#?}");
    let bundle = c.bundle().to_str().unwrap().to_owned();
    let restored = c.call(&["restore", "--bundle", &bundle, "--image-path", &bundle, &c.id]);
    assert!(restored.error().ends_with(problem), "{restored:#?}");
    let check = c.call(&["check", &bundle]);
    assert!(check.stdout.contains(&format!("error: {problem};")), "{check:#?}");
}

/// Privilege over the host is not the number of a user.
#[test]
fn with_capabilities_alone_no_user_namespace_is_needed() {
    let user = needs!(user(), "root and useradd");
    let mut c = user.container(config::plain());
    c.via.retain(|word| word != "--inh-caps=-all");
    let at = c.via.iter().position(|word| word == "setpriv").unwrap() + 1;
    let some = "+sys_admin,+setuid,+setgid,+setpcap,+dac_override,+chown,+fowner,+mknod,+kill,+net_admin";
    c.via.splice(at..at, [format!("--inh-caps={some}").into(), format!("--ambient-caps={some}").into()]);
    c.put("/process/capabilities", json!({})).put("/linux/resources", json!({}));
    assert_eq!(c.script("echo works"), "works\n");
    leaks::assert_none(&c);
}

/// Rootless engines call the runtime inside of their own user namespace: it is root there, and still may not
/// write to the host's /run.
#[test]
fn a_runtime_inside_of_a_user_namespace() {
    let user = needs!(user(), "root and useradd");
    let mut c = single(user);
    c.without_namespace("user");
    for key in ["uidMappings", "gidMappings"] {
        c.config["linux"].as_object_mut().unwrap().remove(key);
    }
    c.args(&["/bin/echo", "ran"]).write_config();
    let mut words = c.via.clone();
    words.extend(["unshare", "--user", "--map-root-user", "--mount"].map(Into::into));
    words.push(runtime().path.clone().into());
    let name = runtime().title.split(' ').next().unwrap();
    let output = std::process::Command::new(&words[0])
        .args(&words[1..])
        .args(["run", "--bundle", c.bundle().to_str().unwrap(), &c.id])
        .current_dir(c.bundle())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ran\n", "{output:?}");
    assert!(c.path(name).is_dir(), "the state was not below XDG_RUNTIME_DIR");
    leaks::assert_none(&c);
}

/// A user namespace in which each id is itself gives no right over the host either: neither devices nor limits are to be had.
#[test]
fn a_runtime_inside_of_a_user_namespace_with_all_ids() {
    since!("user namespaces with all ids", "runc -", "crun -");
    let mut c = Container::new();
    c.args(&["/bin/echo", "ran"]).write_config();
    let mut inside = std::process::Command::new("unshare")
        .args(["--user", "--mount", "sh", "-c", "read go && exec \"$@\"", "sh"])
        .arg(&runtime().path)
        .arg("--root")
        .arg(c.path("state"))
        .args(["run", "--bundle", c.bundle().to_str().unwrap(), &c.id])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
    outcome::until("its user namespace", || of(&inside.id().to_string()) != of("self"));
    for map in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{}/{map}", inside.id()), "0 0 4294967295").unwrap();
    }
    inside.stdin.take().unwrap().write_all(b"\n").unwrap();
    let output = inside.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ran\n", "{output:?}");
    leaks::assert_none(&c);
}

/// CVE-2023-25809: without a cgroup namespace, `/sys` bound from the host brings the host's cgroup tree with
/// it, and a part of that may be delegated to the user: it must not be writable from inside.
#[test]
fn a_delegated_cgroup_of_the_host_is_not_writable() {
    let user = needs!(user(), "root and useradd");
    let unified = needs!(host::unified(), "cgroup version 2");
    let mut c = Container::with(config::rootless(user.uid, user.gid));
    let delegated = unified.join(format!("{}-delegated", c.id));
    fs::create_dir(&delegated).unwrap();
    std::os::unix::fs::chown(&delegated, Some(user.uid), Some(user.gid)).unwrap();
    for file in ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
        std::os::unix::fs::chown(delegated.join(file), Some(user.uid), Some(user.gid)).unwrap();
    }
    std::os::unix::fs::chown(c.bundle(), Some(user.uid), Some(user.gid)).unwrap();
    c.give_rootfs_to(user.uid);
    let enter = format!("echo $$ > {}/cgroup.procs && exec \"$0\" \"$@\"", delegated.display());
    c.via = cgroup2_view();
    c.via.extend(["sh", "-c", &enter.replace(unified.to_str().unwrap(), "/sys/fs/cgroup")].map(Into::into));
    let home = c.bundle().to_str().unwrap().to_owned();
    c.via.extend(user.prefix(&home));
    c.mount(json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] }));
    let script = "for d in $(find /sys/fs/cgroup -type d 2>/dev/null); do \
                  mkdir $d/made 2>/dev/null && echo $d; \
                  echo 1 2>/dev/null > $d/cgroup.procs && echo $d/cgroup.procs; done; true";
    let text = c.shell(script).run(&[]).ok().stdout;
    leaks::sweep(&c.id);
    assert_eq!(text, "", "written from inside");
}
