//! Saved, restored, and everything that can be wrong with that.

use super::*;
use integration::console::Console;
use integration::container::End;
use integration::sockets::Receiver;
use integration::{host, leaks, proc, since};
use std::fs::File;
use std::path::Path;

#[test]
fn a_counter_goes_on_where_it_was() {
    criu!();
    let mut c = container(COUNTER);
    c.namespace("cgroup", None);
    start(&c);
    until_it_counts(&c);
    checkpoint(&c, &[]).ok();
    leaks::assert_none(&c);
    let saved = count(&c);
    assert!(c.path("images/dump.log").exists() && c.path("images/descriptors.json").exists());
    restore(&c, &[]).ok();
    assert!(until_it_counts(&c) > saved);
    assert_eq!(c.status(), "running");
    assert_eq!(c.state()["pid"], c.pid());
    assert!(c.path("images/restore.log").exists());
    c.call(&["pause", &c.id]).ok();
    assert_eq!(c.status(), "paused");
    c.call(&["resume", &c.id]).ok();
    c.kill("KILL").ok();
    assert_eq!(c.wait(), End::Killed(9));
    assert_eq!(c.status(), "stopped");
    c.delete().ok();
    leaks::assert_none(&c);
}

/// The walls of a restored container are those of the one before.
#[test]
fn a_restored_container_is_as_closed_as_before() {
    criu!();
    let mut c = container(COUNTER);
    let source = c.path("data");
    fs::create_dir(&source).unwrap();
    c.mount(json!({ "destination": "/data", "source": source, "options": ["bind", "ro", "nosuid"] }));
    start(&c);
    until_it_counts(&c);
    let seen = |c: &Container| {
        let status = proc::Status::of(&c.pid().to_string());
        let mut mounts: Vec<(String, Vec<String>)> = proc::mounts(&c.pid().to_string())
            .iter()
            .map(|mount| (mount.target.clone(), mount.options.clone()))
            .collect();
        mounts.sort();
        let walls =
            ["CapEff", "CapBnd", "NoNewPrivs", "Seccomp", "Uid"].map(|key| status.get(key).to_owned());
        (walls, mounts)
    };
    let before = seen(&c);
    checkpoint(&c, &[]).ok();
    restore(&c, &[]).ok();
    let after = seen(&c);
    assert_eq!(after.0, before.0);
    since!("read-only masks after a restore", "runc -", "crun -");
    assert_eq!(after.1, before.1);
}

#[test]
fn a_container_can_be_left_running() {
    criu!();
    let c = container(COUNTER);
    start(&c);
    until_it_counts(&c);
    let pid = c.pid();
    checkpoint(&c, &["--leave-running"]).ok();
    assert_eq!((c.status().as_str(), c.state()["pid"].as_i64()), ("running", Some(pid.into())));
    until_it_counts(&c);
    // A second one, over the first.
    checkpoint(&c, &["--leave-running"]).ok();
    until_it_counts(&c);
}

#[test]
fn a_checkpoint_can_be_restored_as_another_container() {
    criu!();
    let c = container(COUNTER);
    start(&c);
    until_it_counts(&c);
    checkpoint(&c, &["--work-path", &c.text_path("work")]).ok();
    assert!(c.path("work/dump.log").exists() && !c.path("images/dump.log").exists());
    let other = container(COUNTER);
    other.write_config();
    fs::rename(c.path("images"), other.path("images")).unwrap();
    // What it had open is looked for in the other root.
    for name in ["count", "count.new"] {
        if c.rootfs(name).exists() {
            fs::copy(c.rootfs(name), other.rootfs(name)).unwrap();
        }
    }
    restore(&other, &["--work-path", &other.text_path("work")]).ok();
    outcome::until("the other to go on", || count(&other) > count(&c) + 3);
    assert!(other.path("work/restore.log").exists() && !other.path("images/restore.log").exists());
    let gone = c.call(&["state", &c.id]);
    assert!(gone.error().contains("does not exist"), "{gone:#?}");
}

#[test]
fn restore_in_the_foreground_ends_with_the_container() {
    criu!();
    let c = container("while [ ! -e /go ]; do sleep 0.01; done; echo said; exit 7");
    c.write_config();
    let bundle = c.text_path("");
    let piped = |command: &mut Command| {
        // A pipe, kept open by a process that outlives the test's command.
        command.stdout(Stdio::piped());
    };
    call_with(
        &c,
        "run",
        &["run", "--detach", "--bundle", &bundle, "--pid-file", &c.text_path("pid"), &c.id],
        piped,
    )
    .ok();
    checkpoint(&c, &[]).ok();
    let mut command = c
        .command("restore", &["restore", "--image-path", &c.text_path("images"), "--bundle", &bundle, &c.id]);
    command.env("PATH", criu::path().unwrap());
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    outcome::until("the container to run", || {
        c.call(&["state", &c.id]).status.success() && c.status() == "running"
    });
    fs::write(c.rootfs("go"), "").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "said\n");
    assert_eq!(output.status.code(), Some(7));
    leaks::assert_none(&c);
}

#[test]
fn a_terminal_comes_with_the_container() {
    criu!();
    let mut c = container("stty -echo; echo ready; while read line; do echo \"got $line\"; done");
    c.put("/process/terminal", json!(true));
    c.write_config();
    let socket = c.path("console.sock");
    let receiver = Receiver::at(&socket);
    let (bundle, socket) = (c.text_path(""), socket.to_str().unwrap().to_owned());
    call(&c, "run", &["run", "--detach", "--bundle", &bundle, "--console-socket", &socket, &c.id]).ok();
    let mut console = Console::new(receiver.receive().fds.remove(0));
    console.expect("ready");
    console.write("one\n");
    console.expect("got one");
    checkpoint(&c, &[]).ok();
    let refused = restore(&c, &[]);
    assert!(refused.error().contains("console socket"), "{refused:#?}");
    restore(&c, &["--console-socket", &socket]).ok();
    let mut console = Console::new(receiver.receive().fds.remove(0));
    console.write("two\n");
    console.expect("got two");
}

/// CVE-2026-119101: names of mount points that criu takes for something else led one mount to another's
/// place.
#[test]
fn mounts_are_told_apart_whatever_they_are_called() {
    criu!();
    since!("mount points with any name in checkpoints", "runc 1.3", "crun 1.31");
    let names = ["/a]:m3", "/b,c", "/[f", "/mnt[]:/", "/g h", "/m1", "/link/inside"];
    let mut c = container(COUNTER);
    fs::create_dir(c.rootfs("elsewhere")).unwrap();
    std::os::unix::fs::symlink("/elsewhere", c.rootfs("link")).unwrap();
    for (number, name) in names.iter().enumerate() {
        let source = c.path(&format!("source{number}"));
        fs::create_dir(&source).unwrap();
        fs::write(source.join("name"), number.to_string()).unwrap();
        c.mount(json!({ "destination": name, "source": source, "options": ["rbind"] }));
    }
    fs::write(c.path("file"), "a file").unwrap();
    let file = c.text_path("file");
    c.mount(json!({ "destination": "/etc/file", "source": file, "options": ["bind", "ro"] }));
    start(&c);
    until_it_counts(&c);
    checkpoint(&c, &[]).ok();
    // In another order they are still the same mounts.
    c.config["mounts"].as_array_mut().unwrap()[7..].reverse();
    c.write_config();
    restore(&c, &[]).ok();
    until_it_counts(&c);
    for (number, name) in names.iter().enumerate() {
        assert_eq!(
            c.exec(&[], &["/bin/cat", &format!("{name}/name")]).ok().stdout,
            number.to_string(),
            "{name:?}"
        );
    }
    assert_eq!(inside(&c, "cat /etc/file; echo x > /etc/file || echo refused"), "a filerefused\n");
    assert_eq!(inside(&c, "echo written > '/b,c/new'"), "");
    assert_eq!(fs::read_to_string(c.path("source1/new")).unwrap(), "written\n");
}

#[test]
fn mounts_that_criu_would_confuse_are_refused() {
    criu!();
    since!("this refusal", "runc -", "crun -");
    let mut c = container(COUNTER);
    for (name, source) in [("/a", "one"), ("/a]:m0", "two")] {
        fs::create_dir(c.path(source)).unwrap();
        let source = c.text_path(source);
        c.mount(json!({ "destination": name, "source": source, "options": ["bind"] }));
    }
    start(&c);
    let refused = checkpoint(&c, &[]);
    assert!(
        refused.error().contains("criu cannot tell the mount on /a]:m0 from the one on /a"),
        "{refused:#?}"
    );
    until_it_counts(&c);
}

#[test]
fn a_mount_that_is_gone_is_missed() {
    criu!();
    since!("this check", "runc -", "crun -");
    let mut c = container(COUNTER);
    fs::create_dir(c.path("data")).unwrap();
    let source = c.text_path("data");
    c.mount(json!({ "destination": "/data", "source": source, "options": ["bind"] }));
    start(&c);
    checkpoint(&c, &[]).ok();
    c.unmount("/data").write_config();
    let refused = restore(&c, &[]);
    assert!(refused.error().contains("config.json: mounts: the checkpoint has \"/data\""), "{refused:#?}");
    leaks::assert_none(&c);
}

/// Who makes a checkpoint directory may not choose which files of the host are written.
#[test]
fn a_link_in_the_image_directory_is_not_followed() {
    criu!();
    since!("this refusal", "runc -", "crun -");
    let c = container(COUNTER);
    start(&c);
    let precious = c.path("precious");
    fs::write(&precious, "precious").unwrap();
    fs::create_dir(c.path("images")).unwrap();
    std::os::unix::fs::symlink(&precious, c.path("images/pages-1.img")).unwrap();
    let refused = checkpoint(&c, &[]);
    assert!(refused.error().contains("is a link"), "{refused:#?}");
    fs::remove_file(c.path("images/pages-1.img")).unwrap();
    for name in ["dump.log", "descriptors.json", "externals.json"] {
        fs::hard_link(&precious, c.path("images").join(name)).unwrap();
    }
    checkpoint(&c, &[]).ok();
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
}

#[test]
fn what_cannot_be_saved_or_restored_is_said() {
    criu!();
    let c = container(COUNTER);
    let missing = call(&c, "none", &["checkpoint", &c.id]);
    assert!(missing.error().contains("does not exist"), "{missing:#?}");
    c.write_config();
    let missing = restore(&c, &[]);
    assert!(!missing.error().is_empty());
    leaks::assert_none(&c);
    fs::create_dir_all(c.path("images")).unwrap();
    assert!(restore(&c, &[]).error().contains("descriptors.json"));
    leaks::assert_none(&c);

    call(&c, "create", &["create", "--bundle", &c.text_path(""), &c.id]).ok();
    let refused = checkpoint(&c, &[]);
    assert!(refused.error().contains("cannot be checkpointed in created state"), "{refused:#?}");
    c.start();
    for (flags, wanted) in [
        (&["--manage-cgroups-mode", "hard"][..], "nvalid manage-cgroups-mode value"),
        (&["--empty-ns", "pid"], "namespace \"pid\" is not supported"),
        (&["--parent-path", "/images"], "--parent-path must be relative"),
        (&["--parent-path", "../none"], "invalid --parent-path"),
        (&["--status-fd", "0"], "invalid --status-fd argument 0"),
        (&["--page-server", "127.0.0.1"], "Use --page-server ADDRESS:PORT"),
        (&["--page-server", "127.0.0.1:x"], "Invalid port number"),
    ] {
        let refused = checkpoint(&c, flags);
        assert!(refused.error().contains(wanted), "{flags:?}: {refused:#?}");
    }
    checkpoint(&c, &["--leave-running"]).ok();
    let taken = restore(&c, &[]);
    assert!(taken.error().contains("container with given ID already exists"), "{taken:#?}");
    until_it_counts(&c);
    c.kill("KILL").ok();
    outcome::until("its end", || c.status() == "stopped");
    let refused = checkpoint(&c, &[]);
    assert!(refused.error().contains("cannot be checkpointed in stopped state"), "{refused:#?}");
}

/// Whether this machine has one or not.
#[test]
fn without_criu_one_line_says_so() {
    let mut c = container("");
    c.sleeping();
    let images = c.text_path("images");
    let refused = c.call_with(&["checkpoint", "--image-path", &images, &c.id], |command| {
        command.env("PATH", "/nowhere");
    });
    assert!(refused.error().contains("\"criu\": executable file not found in $PATH"), "{refused:#?}");
    assert_eq!(c.status(), "running");
}

/// As containerd's option `CriuPath` has it.
#[test]
fn criu_can_be_named() {
    criu!();
    let mut c = container(COUNTER);
    let images = c.text_path("images");
    let plain = |command: &mut Command| {
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    };
    c.globals.extend(["--criu".into(), criu::program().unwrap().into_os_string().into_string().unwrap()]);
    start(&c);
    until_it_counts(&c);
    call_with(&c, "checkpoint", &["checkpoint", "--image-path", &images, &c.id], plain).ok();
    c.globals = vec!["--criu=/no/such/criu".into()];
    let refused = restore(&c, &[]);
    assert!(refused.error().contains("/no/such/criu"), "{refused:#?}");
}

/// criu's own reason, and where to read more.
#[test]
fn a_failure_quotes_criu() {
    criu!();
    since!("criu's reason in the message", "runc -", "crun -");
    let c = container(COUNTER);
    c.write_config();
    let bundle = c.text_path("");
    let to_a_file = |command: &mut Command| {
        // A file of the host has no place in the container.
        command.stdout(File::create(c.path("out")).unwrap());
    };
    call_with(&c, "run", &["run", "--detach", "--bundle", &bundle, &c.id], to_a_file).ok();
    let refused = checkpoint(&c, &[]);
    let log = c.text_path("images/dump.log");
    for part in ["criu failed: type DUMP errno ", "its log says ", "Error (", &log] {
        assert!(refused.error().contains(part), "{part}: {refused:#?}");
    }
    assert!(!refused.error().contains('\n'), "{refused:#?}");
    until_it_counts(&c);
}

/// Hooks of a restored container: those that set it up from outside, as in a create.
#[test]
fn hooks_run_on_restore() {
    criu!();
    let mut c = container(COUNTER);
    let log = c.text_path("hooks");
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        let script = format!("echo {kind} >> {log} 2>/dev/null || true");
        c.put(&format!("/hooks/{kind}"), json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]));
    }
    start(&c);
    until_it_counts(&c);
    checkpoint(&c, &[]).ok();
    fs::write(c.path("hooks"), "").unwrap();
    restore(&c, &[]).ok();
    let ran = fs::read_to_string(c.path("hooks")).unwrap();
    assert_eq!(ran.lines().collect::<Vec<_>>(), ["prestart", "createRuntime"]);
    c.delete_force().ok();
    assert!(fs::read_to_string(c.path("hooks")).unwrap().ends_with("poststop\n"));
}

#[test]
fn a_restore_that_hangs_in_a_hook_can_be_deleted_by_force() {
    criu!();
    since!("clean-up of a container that is being created", "runc -", "crun -");
    let mut c = container(COUNTER);
    start(&c);
    until_it_counts(&c);
    checkpoint(&c, &[]).ok();
    let script = format!("echo hangs >> {}; exec sleep 600", c.text_path("hooks"));
    c.put("/hooks/createRuntime", json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]));
    c.write_config();
    let (images, bundle) = (c.text_path("images"), c.bundle().to_str().unwrap().to_owned());
    let args = ["restore", "--detach", "--image-path", &images, "--bundle", &bundle, &c.id];
    let restore = c.launch_with(&args, |command| {
        command.env("PATH", criu::path().unwrap());
    });
    outcome::until("the hook", || c.path("hooks").exists());
    assert_eq!(c.status(), "creating");
    c.delete_force().ok();
    assert!(!restore.finish().error().is_empty());
    leaks::assert_none(&c);
}

/// A runtime that is killed while criu works leaves what `delete --force` removes.
#[test]
fn what_a_killed_restore_leaves_can_be_deleted() {
    let c = container(COUNTER);
    c.write_config();
    fs::create_dir_all(c.path("images")).unwrap();
    fs::write(c.path("images/descriptors.json"), "[]").unwrap();
    fs::create_dir(c.path("bin")).unwrap();
    let slow = "#!/bin/sh\nexec /bin/sleep 600\n";
    fs::write(c.path("bin/criu"), slow).unwrap();
    fs::set_permissions(c.path("bin/criu"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    since!("this state", "runc -", "crun -");
    let (images, bundle) = (c.text_path("images"), c.text_path(""));
    let mut command =
        c.command("killed", &["restore", "--detach", "--image-path", &images, "--bundle", &bundle, &c.id]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).env("PATH", c.path("bin"));
    let mut child = command.spawn().unwrap();
    let asleep = || {
        let named =
            |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == "sleep\n");
        leaks::processes(&c.id).iter().any(named)
    };
    outcome::until("criu to be at work", asleep);
    child.kill().unwrap();
    child.wait().unwrap();
    let mounted = |mount: &proc::Mount| Path::new(&mount.target).starts_with(&c.root);
    assert!(!proc::mounts("self").iter().any(mounted), "nothing of it is mounted on the host");
    assert_eq!(c.status(), "creating");
    c.delete_force().ok();
    leaks::assert_none(&c);
    assert!(!host::alive(i32::try_from(child.id()).unwrap()));
}
