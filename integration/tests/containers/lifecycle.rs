//! create, start, run, delete and the states between them.

use integration::container::{Container, End};
use integration::disk::Disk;
use integration::runtime::{Kind, runtime};
use integration::{host, leaks, needs, outcome, proc, since};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::fs;
use std::os::unix::ffi::OsStringExt;

#[test]
fn create_prepares_and_start_runs() {
    let mut c = Container::new();
    c.args(&["/probe", "signals"]);
    c.create();
    let pid = c.pid();
    assert_eq!(c.status(), "created");
    assert!(host::alive(pid));
    let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert!(!exe.ends_with("probe"), "the program already runs: {}", exe.display());

    c.start();
    c.await_line("ready");
    assert_eq!(c.status(), "running");
    assert_eq!(c.pid(), pid, "start must not make another process");
    let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert!(exe.ends_with("probe"), "{}", exe.display());

    c.kill("TERM").ok();
    assert_eq!(c.wait(), End::Exited(0));
    assert_eq!(c.status(), "stopped");
    assert!(!leaks::left(&c).is_empty(), "a stopped container still has its state");
    c.delete().ok();
    leaks::assert_none(&c);
    assert!(c.call(&["state", &c.id]).error().contains("does not exist"));
}

/// It waits for a disk that does not answer, and outlives the first process, as it has the host's process ids.
#[test]
fn a_process_that_cannot_be_killed_keeps_its_cgroup_and_nothing_else() {
    since!("deletion of all but the cgroup", "runc 1.0", "crun -");
    let mut c = Container::new();
    let disk = needs!(Disk::stuck(&c.path("parts")), "ext4 on a loop device, and fsfreeze");
    let (place, hooked) = (disk.path(), c.path("hooked"));
    c.without_namespace("pid");
    c.mount(json!({ "destination": "/disk", "type": "bind", "source": place, "options": ["bind", "rw"] }));
    c.put(
        "/hooks/poststop/-",
        json!({ "path": "/bin/sh", "args": ["sh", "-c", format!("echo > {}", hooked.display())] }),
    );
    c.shell("echo > /disk/file & exec sleep 600");
    c.run_detached();
    let init = c.pid();
    let stuck = || leaks::processes(&c.id).into_iter().find(|pid| *pid != init);
    let state = |pid: i32| proc::Status::of(&pid.to_string()).get("State").to_owned();
    outcome::until("it is stuck", || stuck().is_some_and(|pid| state(pid).starts_with('D')));
    let stuck = stuck().unwrap();
    c.kill("KILL").ok();
    outcome::until("the first process has ended", || c.status() == "stopped");
    let deleted = c.delete();
    if runtime().kind == Kind::Corten {
        let words = format!("still in use after 3 s: processes [{stuck}]");
        assert!(deleted.error().contains(&words), "{deleted:#?}");
    }
    assert!(c.call(&["state", &c.id]).error().contains("does not exist"));
    assert!(hooked.exists(), "the poststop hook");
    assert!(host::alive(stuck));
    drop(disk);
    outcome::until("it is dead", || !host::alive(stuck));
}

#[test]
fn run_passes_the_exit_status_through_and_cleans_up() {
    for code in [0, 1, 42, 126, 127, 137, 255] {
        let mut c = Container::new();
        c.args(&["/probe", "exit", &code.to_string()]);
        assert_eq!(c.run(&[]).code(), code);
        leaks::assert_none(&c);
    }
}

#[test]
fn run_reports_a_death_by_signal_as_128_and_the_signal() {
    let mut c = Container::new();
    c.args(&["/probe", "ready-then-sleep"]);
    let run = c.launch_run(&[]);
    run.await_line("ready");
    // The only signal that ends a container's init which has no handler for it.
    c.kill("KILL").ok();
    assert_eq!(run.finish().status.code(), Some(137));
    leaks::assert_none(&c);
}

/// Without a pid namespace init is a process like any other, and any signal ends it.
#[test]
fn run_reports_other_deaths_as_well() {
    for (name, number) in [("TERM", 15), ("HUP", 1), ("USR1", 10)] {
        let mut c = Container::new();
        c.without_namespace("pid").args(&["/probe", "ready-then-sleep"]);
        let run = c.launch_run(&[]);
        run.await_line("ready");
        c.kill(name).ok();
        assert_eq!(run.finish().status.code(), Some(128 + number), "{name}");
        leaks::assert_none(&c);
    }
}

#[test]
fn run_keep_leaves_a_stopped_container() {
    let mut c = Container::new();
    c.args(&["/bin/true"]);
    c.run(&["--keep"]).ok();
    assert_eq!(c.status(), "stopped");
    assert_eq!(c.state()["pid"], 0);
    c.delete().ok();
    leaks::assert_none(&c);
}

#[test]
fn run_detached_returns_while_the_container_runs() {
    let mut c = Container::new();
    let pid = c.sleeping();
    assert_eq!(c.status(), "running");
    assert_eq!(c.state()["pid"], pid);
    assert!(host::alive(pid));
    c.delete_force().ok();
    assert!(!host::alive(pid));
    leaks::assert_none(&c);
}

#[test]
fn the_pid_file_has_the_pid_and_nothing_else() {
    let mut c = Container::new();
    c.args(&["/probe", "sleep"]);
    c.create();
    let text = fs::read_to_string(c.path("pid")).unwrap();
    assert_eq!(text, c.state()["pid"].to_string());
}

#[test]
fn start_refuses_what_is_not_created() {
    let mut c = Container::new();
    assert!(c.call(&["start", &c.id]).error().contains("does not exist"));
    c.sleeping();
    let again = c.call(&["start", &c.id]);
    assert!(again.error().contains("running container"), "{again:#?}");
    assert_eq!(again.code(), 1);
    c.kill("KILL").ok();
    c.wait();
    assert!(c.call(&["start", &c.id]).error().contains("stopped"));
}

/// Its files are closed before it has ended, which takes the longer the more mounts there are.
#[test]
fn a_created_container_that_is_killed_never_runs() {
    let mut c = Container::new();
    for number in 0..200 {
        let destination = format!("/tmp/{number}");
        c.mount(json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs" }));
    }
    c.mount(json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs" }));
    c.config["mounts"].as_array_mut().unwrap().rotate_right(1);
    for _ in 0..10 {
        c.create();
        c.kill("KILL").ok();
        let mut seen = c.status();
        while seen != "stopped" {
            assert_eq!(seen, "created");
            seen = c.status();
        }
        assert!(c.call(&["start", &c.id]).error().contains("stopped"));
        c.delete().ok();
    }
}

#[test]
fn an_id_in_use_is_refused_and_its_container_left_alone() {
    let mut c = Container::new();
    let pid = c.sleeping();
    let again = c.try_create(&[]);
    assert!(again.error().contains("exist"), "{again:#?}");
    assert_eq!(again.code(), 1);
    let again = c.run(&[]);
    assert!(again.error().contains("exist"), "{again:#?}");
    assert_eq!(c.state()["pid"], pid);
    assert!(host::alive(pid));
}

#[test]
fn delete_refuses_a_running_container() {
    let mut c = Container::new();
    let pid = c.sleeping();
    let refused = c.delete();
    assert!(refused.error().contains("not stopped"), "{refused:#?}");
    assert_eq!(refused.code(), 1);
    assert!(host::alive(pid));
    assert_eq!(c.status(), "running");
}

#[test]
fn delete_refuses_a_created_container() {
    // runtime.md, "Delete": "Attempting to delete a container that is not stopped MUST have no effect on the
    // container and MUST generate an error". No engine depends on runc's deviation.
    since!("refusal to delete a created container", "runc -", "crun -");
    let mut c = Container::new();
    c.args(&["/probe", "sleep"]);
    c.create();
    let pid = c.pid();
    let run = c.delete();
    assert!(run.error().contains("not stopped: created"), "{run:#?}");
    assert!(host::alive(pid));
    c.delete_force().ok();
    assert!(!host::alive(pid));
    leaks::assert_none(&c);
}

#[test]
fn delete_of_nothing_fails_unless_forced() {
    let c = Container::new();
    let missing = c.delete();
    assert!(missing.error().contains("does not exist"), "{missing:#?}");
    c.delete_force().ok();
}

#[test]
fn delete_force_ends_a_paused_container() {
    let mut c = Container::new();
    let pid = c.sleeping();
    c.call(&["pause", &c.id]).ok();
    c.delete_force().ok();
    assert!(!host::alive(pid));
    leaks::assert_none(&c);
}

#[test]
fn delete_force_ends_everything_in_the_container() {
    let mut c = Container::new();
    c.args(&["/probe", "orphans", "5"]);
    c.run_detached();
    c.await_line("ready");
    let before = leaks::processes(&c.id);
    assert!(before.len() >= 6, "{before:?}");
    c.delete_force().ok();
    leaks::assert_none(&c);
}

#[test]
fn delete_force_ends_everything_without_a_pid_namespace() {
    let mut c = Container::new();
    c.without_namespace("pid").args(&["/probe", "orphans", "5"]);
    c.run_detached();
    c.await_line("ready");
    assert!(leaks::processes(&c.id).len() >= 6);
    c.delete_force().ok();
    leaks::assert_none(&c);
}

/// Its process has the lock then, with all the descriptors that it was born with, and is on no record.
#[test]
fn what_a_create_that_was_killed_has_left_is_ended_by_force() {
    since!("clean-up after a runtime that was killed", "runc -", "crun -");
    let mut c = Container::new();
    // They take a while, in which it talks to nobody.
    let tmpfs = |at: &str| json!({ "destination": at, "type": "tmpfs", "source": "tmpfs" });
    c.mount(tmpfs("/tmp"));
    for number in 0..2000 {
        c.mount(tmpfs(&format!("/tmp/{number}")));
    }
    c.args(&["/probe", "sleep"]).write_config();
    let bundle = c.bundle().to_str().unwrap().to_owned();
    let create = c.launch(&["create", "--bundle", &bundle, &c.id]);
    outcome::until("its process", || !proc::children(create.pid()).is_empty());
    kill(Pid::from_raw(proc::children(create.pid())[0]), Signal::SIGSTOP).unwrap();
    kill(Pid::from_raw(create.pid()), Signal::SIGKILL).unwrap();
    create.finish();
    c.delete_force().ok();
    leaks::assert_none(&c);
}

/// Without a pid namespace children live on when init ends; `delete` must not leave them.
#[test]
fn delete_ends_processes_that_outlived_init() {
    let mut c = Container::new();
    c.without_namespace("pid").args(&["/probe", "orphans", "3"]);
    c.run_detached();
    c.await_line("ready");
    kill(Pid::from_raw(c.pid()), Signal::SIGKILL).unwrap();
    assert_eq!(c.wait(), End::Killed(9));
    assert_eq!(leaks::processes(&c.id).len(), 3);
    since!("end of processes that outlived init in delete", "runc 1.3", "crun 1.0");
    c.delete().ok();
    leaks::assert_none(&c);
}

#[test]
fn run_without_a_pid_namespace_leaves_no_process() {
    let mut c = Container::new();
    c.without_namespace("pid").shell("setsid /probe sleep & setsid /probe sleep & exit 3");
    assert_eq!(c.run(&[]).code(), 3);
    leaks::assert_none(&c);
}

/// An init that ends at once must neither hang the runtime nor lose its status.
#[test]
fn an_init_that_exits_at_once_is_never_missed() {
    let mut c = Container::new();
    c.args(&["/probe", "exit", "7"]);
    for round in 0..200 {
        assert_eq!(c.run(&[]).code(), 7, "round {round}");
    }
    leaks::assert_none(&c);
}

#[test]
fn an_init_that_exits_at_once_is_seen_as_stopped() {
    let mut c = Container::new();
    c.args(&["/probe", "exit", "9"]);
    for _ in 0..20 {
        c.create();
        c.start();
        assert_eq!(c.wait(), End::Exited(9));
        assert_eq!(c.status(), "stopped");
        c.delete().ok();
    }
    leaks::assert_none(&c);
}

/// A zombie has ended, though its pid still exists.
#[test]
fn an_init_that_nobody_reaped_is_stopped() {
    let mut c = Container::new();
    let pid = c.sleeping();
    c.kill("KILL").ok();
    outcome::until("the end of init", || !host::alive(pid));
    assert_eq!(c.status(), "stopped");
    assert!(c.kill("TERM").error().contains("not running"));
    c.delete().ok();
    leaks::assert_none(&c);
}

#[test]
fn a_container_killed_before_start_is_stopped() {
    let mut c = Container::new();
    c.args(&["/probe", "sleep"]);
    c.create();
    c.kill("KILL").ok();
    assert_eq!(c.wait(), End::Killed(9));
    assert_eq!(c.status(), "stopped");
    assert!(!c.call(&["start", &c.id]).error().is_empty());
    c.delete().ok();
    leaks::assert_none(&c);
}

#[test]
fn the_bundle_is_the_working_directory_by_default() {
    let mut c = Container::new();
    c.args(&["/bin/echo", "here"]);
    c.write_config();
    assert_eq!(c.call(&["run", &c.id]).ok().stdout, "here\n");
}

#[test]
fn the_bundle_may_be_relative() {
    let mut c = Container::new();
    c.args(&["/bin/echo", "here"]);
    c.write_config();
    let name = c.bundle().file_name().unwrap().to_str().unwrap();
    let parent = c.bundle().parent().unwrap();
    let run = c.call_with(&["run", "-b", name, &c.id], |command| {
        command.current_dir(parent);
    });
    assert_eq!(run.ok().stdout, "here\n");
}

#[test]
fn another_configuration_file_may_be_named() {
    since!("run --config", "runc -", "crun 1.0");
    let mut c = Container::new();
    c.args(&["/bin/echo", "other"]);
    let config = c.text_path("other.json");
    fs::write(&config, serde_json::to_vec(&c.config).unwrap()).unwrap();
    let bundle = c.bundle().to_str().unwrap();
    assert_eq!(c.call(&["run", "--bundle", bundle, "--config", &config, &c.id]).ok().stdout, "other\n");
    c.call(&["create", "--bundle", bundle, "-f", &config, &c.id]).ok();
    assert_eq!(c.status(), "created");
}

/// Without `--root` the state of root's containers is in a directory named after the runtime below /run.
#[test]
fn the_default_root_is_below_run() {
    let mut c = Container::new();
    c.args(&["/probe", "sleep"]);
    c.write_config();
    c.prepared("mount -t tmpfs none /run");
    let name = runtime().title.split(' ').next().unwrap();
    let binary = runtime().path.display();
    let script = format!("{binary} create {0} && ls /run/{name} && {binary} delete --force {0}", c.id);
    let mut words = c.via.clone();
    words.extend(["sh", "-c", &script].map(Into::into));
    let output = std::process::Command::new(&words[0])
        .args(&words[1..])
        .env_remove("XDG_RUNTIME_DIR")
        .current_dir(c.bundle())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).lines().any(|line| line == c.id), "{output:?}");
    leaks::assert_none(&c);
}

#[test]
fn no_pivot_jails_as_well() {
    let mut c = Container::new();
    let report = c.report_with(&["--no-pivot"]);
    assert_eq!(report.mount("/").fstype, report.mounts[0].fstype);
    assert_eq!(
        c.shell("ls /").run(&["--no-pivot"]).ok().stdout.lines().filter(|name| *name == "probe").count(),
        1
    );
    leaks::assert_none(&c);
}

/// A name on the host need not be text.
#[test]
fn no_pivot_beside_a_mount_of_any_name() {
    let mut c = Container::new();
    let odd = c.bundle().join(std::ffi::OsString::from_vec(b"odd \xff".to_vec()));
    std::fs::create_dir(&odd).unwrap();
    let script = "mount -t tmpfs none \"$1\" && shift && exec \"$@\"";
    c.via.extend(["unshare", "-m", "sh", "-c", script, "sh"].map(Into::into));
    c.via.push(odd.into());
    let report = c.report_with(&["--no-pivot"]);
    assert_eq!(report.mount("/proc").fstype, "proc");
    leaks::assert_none(&c);
}

#[test]
fn a_subreaper_is_not_needed() {
    let mut c = Container::new();
    c.args(&["/probe", "exit", "4"]);
    assert_eq!(c.run(&["--no-subreaper"]).code(), 4);
    leaks::assert_none(&c);
}
