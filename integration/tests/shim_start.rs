//! `start`, `delete`, `-info` and `-v`: the program as containerd's versions call it.

use integration::shim::pod::{self, address_of, deleted, output_with_input, until};
use integration::shim::wire::{Message, Writer};
use integration::shim::{Client, Output, Pod, Stdio};
use integration::{host, proc, skip};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio as Redirect};

fn runc_options(options: &Writer) -> Vec<u8> {
    Writer::any("containerd.runc.v1.Options", &options.clone().done()).done()
}

#[test]
fn the_answer_is_in_the_dialect_of_the_question() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: others know fewer dialects");
    }
    let pod = Pod::new(&["true"]);
    let first = pod.containers[0].clone();
    let plain = format!("unix://{}", pod.socket.display());

    // Until 2.2: the runtime options or nothing; the plain address, and no newline.
    for input in [runc_options(&Writer::new().number(9, 1)), Vec::new()] {
        let output = output_with_input(pod.start_command(&first, &[]), &input);
        assert_eq!(String::from_utf8(output.stdout).unwrap(), plain);
        assert!(output.stderr.is_empty());
    }
    // From 2.3 on: parameters in, a result out.
    let params = Writer::new().text(1, &first.id).text(2, pod.namespace()).text(4, "v2.3.0");
    let extension = Writer::new().bytes(1, &runc_options(&Writer::new().number(9, 1)));
    let params = params.message(8, &extension);
    let bundle = first.bundle.to_string_lossy().into_owned();
    let output = output_with_input(pod.start_command(&first, &["-bundle", &bundle]), &params.done());
    let result = Message::read(&output.stdout).unwrap();
    assert_eq!((result.number(1), result.text(2), result.text(3)), (3, plain.clone(), "ttrpc".to_owned()));
    // Asked for by the operator, for 2.0 to 2.2.
    let mut command = pod.start_command(&first, &[]);
    command.env("CORTEN_TASK_API", "3");
    let json: serde_json::Value = serde_json::from_slice(&output_with_input(command, b"").stdout).unwrap();
    assert_eq!(json, json!({ "version": 3, "address": plain, "protocol": "ttrpc" }));
}

#[test]
fn one_shim_serves_a_pod_and_another_one_the_next() {
    let mut pod = Pod::new(&["sleep", "60"]);
    let second = pod.add(&["sleep", "60"], |_| {});
    let address = fs::read_to_string(pod.containers[second].bundle.join("address")).unwrap();
    assert!(address.ends_with(&*pod.socket.to_string_lossy()), "{address}");
    let mut other = Pod::new(&["sleep", "60"]);
    assert_ne!(pod.shim_pid(), other.shim_pid());
    pod.run(0);
    pod.run(second);
    assert_eq!(pod.state(second, ""), 2);
    other.run(0);
}

#[test]
fn the_same_id_in_two_namespaces_is_two_containers() {
    let pod = Pod::new(&["true"]);
    let first = pod.containers[0].clone();
    let mut command = Command::new(pod::program());
    let address = pod.directory().join("containerd.sock");
    command.current_dir(&first.bundle).env("TTRPC_ADDRESS", "").stdin(Redirect::null());
    command.args(["-namespace", &format!("{}x", pod.namespace()), "-id", &first.id]);
    command.args(["-address", &address.to_string_lossy(), "start"]);
    if !pod::is_ours() {
        skip!("needs Corten's shim: others do not start with an empty TTRPC_ADDRESS");
    }
    let socket = address_of(&command.output().unwrap());
    assert_ne!(socket, pod.socket);
    let mut client = Client::connect(&socket).unwrap();
    let connect = client.call("Connect", &Writer::new().text(1, "nobody")).unwrap();
    client.call("Shutdown", &Writer::new().text(1, "nobody")).unwrap();
    let pid = i32::try_from(connect.number(1)).unwrap();
    until("the second shim ends", || !host::alive(pid));
}

#[test]
fn sockets_and_notes_are_for_their_owner_alone() {
    let mut pod = Pod::new(&["sleep", "60"]);
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&pod.socket), 0o600);
    assert_eq!(mode(pod.socket.parent().unwrap()) & 0o077, 0, "the folder of the sockets");
    assert!(pod.socket.as_os_str().len() <= 106);
    pod.create(0, &Stdio::default());
    let bundle = &pod.containers[0].bundle;
    for file in ["options.json", "runtime"] {
        assert_eq!(mode(&bundle.join(file)), 0o600, "{file}");
    }
    let options: serde_json::Value =
        serde_json::from_slice(&fs::read(bundle.join("options.json")).unwrap()).unwrap();
    assert_eq!(options["root"], json!(pod.directory().join("state")));
}

#[test]
fn a_dead_socket_is_replaced() {
    let mut pod = Pod::new(&["true"]);
    let pid = pod.shim_pid();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    until("the shim is dead", || !host::alive(pid));
    assert!(pod.socket.exists());
    let output = pod.start_command(&pod.containers[0].clone(), &[]).output().unwrap();
    assert_eq!(address_of(&output), pod.socket);
    pod.client = Client::connect(&pod.socket).unwrap();
    assert_ne!(pod.shim_pid(), pid);
}

#[test]
fn many_starts_at_once_make_one_shim() {
    let pod = Pod::new(&["true"]);
    let container = pod.containers[0].clone();
    // First dead, so that every one of them finds a socket that it may want to replace.
    let mut client = Client::connect(&pod.socket).unwrap();
    let pid = client.call("Connect", &Writer::new()).unwrap().number(1);
    let pid = i32::try_from(pid).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    until("the shim is dead", || !host::alive(pid));
    if !pod::is_ours() {
        skip!("needs Corten's shim: others race here");
    }
    let mut children = Vec::new();
    for _ in 0..12 {
        let mut command = pod.start_command(&container, &[]);
        children.push(command.stdout(Redirect::piped()).stderr(Redirect::piped()).spawn().unwrap());
    }
    for child in children {
        assert_eq!(address_of(&child.wait_with_output().unwrap()), pod.socket);
    }
    let shims = proc::pids().into_iter().filter(|pid| {
        let words = proc::nul_separated(&format!("/proc/{pid}/cmdline"));
        host::alive(*pid)
            && words.contains(&pod.namespace().to_owned())
            && !words.contains(&"start".to_owned())
    });
    assert_eq!(shims.count(), 1);
}

/// In lists of processes, and in what the kernel says when it kills one.
#[test]
fn the_shim_is_called_one() {
    let mut pod = Pod::new(&["true"]);
    let shim = pod.shim_pid();
    assert_eq!(fs::read_to_string(format!("/proc/{shim}/comm")).unwrap(), "containerd-shim\n");
}

#[test]
fn the_shim_is_killed_before_containerd_and_after_containers() {
    let mut pod = Pod::new(&["true"]);
    let score = |pid: &str| {
        fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim().parse::<i32>().unwrap()
    };
    let own = score("self");
    let shim = pod.shim_pid().to_string();
    assert_eq!(score(&shim), own + 1);
}

/// Runs `start` for a shim of its own, through `view`, with the runtime option `ShimCgroup`; its answer.
fn start_in_cgroup(pod: &Pod, view: &[&str], cgroup: &str) -> std::process::Output {
    // A group of its own, so that a new shim is started.
    let config = pod.containers[0].bundle.join("config.json");
    let mut document: serde_json::Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    document["annotations"] = json!({ "io.containerd.runc.v2.group": format!("{}-g", pod.namespace()) });
    fs::write(&config, document.to_string()).unwrap();
    let start = pod.start_command(&pod.containers[0].clone(), &[]);
    let mut command = match view {
        [] => Command::new(start.get_program()),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(start.get_program());
            command
        }
    };
    command
        .args(start.get_args())
        .current_dir(&pod.containers[0].bundle)
        .env("TTRPC_ADDRESS", "/nonexistent");
    output_with_input(command, &runc_options(&Writer::new().text(3, cgroup)))
}

/// Ends the shim that `start` told of, and says which control groups it was in.
fn cgroups_of_shim(started: &std::process::Output) -> BTreeMap<String, String> {
    let mut client = Client::connect(&address_of(started)).unwrap();
    let pid = i32::try_from(client.call("Connect", &Writer::new()).unwrap().number(1)).unwrap();
    let groups = proc::cgroups(&pid.to_string());
    client.call("Shutdown", &Writer::new()).unwrap();
    until("the shim ends", || !host::alive(pid));
    groups
}

#[test]
fn the_shim_goes_into_its_cgroup() {
    let pod = Pod::new(&["true"]);
    let name = format!("/{0}-pod/{0}-shim", pod.namespace());
    let made: Vec<PathBuf> = host::hierarchies().iter().map(|top| top.join(&name[1..])).collect();
    for directory in &made {
        fs::create_dir_all(directory).unwrap();
        // A cpuset takes no process before it has processors.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            for level in [directory.parent().unwrap(), directory] {
                let top = level.parent().unwrap().join(file);
                if let Ok(text) = fs::read_to_string(top) {
                    let _ = fs::write(level.join(file), text);
                }
            }
        }
    }
    let groups = cgroups_of_shim(&start_in_cgroup(&pod, &[], &name));
    assert_eq!(
        groups.values().filter(|path| **path == name).count(),
        made.len(),
        "in each of them: {groups:?}"
    );
    for directory in made {
        until("its cgroup can be removed", || fs::remove_dir(&directory).is_ok() || !directory.exists());
    }
}

/// As above, where /sys/fs/cgroup is the hierarchy of version 2 and nothing else.
#[test]
fn the_shim_goes_into_its_cgroup_of_version_2() {
    let Some(unified) = host::unified() else { skip!("needs a cgroup2 hierarchy") };
    let pod = Pod::new(&["true"]);
    let name = format!("/{0}-pod/{0}-shim2", pod.namespace());
    let directory = unified.join(&name[1..]);
    fs::create_dir_all(&directory).unwrap();
    let script = "mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"";
    let view = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"];
    let groups = cgroups_of_shim(&start_in_cgroup(&pod, &view, &name));
    assert_eq!(groups[""], name, "{groups:?}");
    let elsewhere = groups.iter().filter(|(controllers, path)| !controllers.is_empty() && **path == name);
    assert_eq!(elsewhere.count(), 0, "{groups:?}");
    until("its cgroup can be removed", || fs::remove_dir(&directory).is_ok());
    // One that is not there is named, and no shim stays.
    for (view, part) in [(&view[..], "cgroup.procs"), (&[], "ShimCgroup")] {
        let refused = start_in_cgroup(&pod, view, &name);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(1) && said.contains(&name) && said.contains(part), "{said}");
    }
    let shims = proc::pids().into_iter().filter(|pid| {
        let words = proc::nul_separated(&format!("/proc/{pid}/cmdline"));
        host::alive(*pid) && words.contains(&pod.namespace().to_owned())
    });
    assert_eq!(shims.count(), 1, "that of the pod");
}

/// Each option of a runtime arrives at it, whether it is another program or built in.
#[test]
fn every_option_reaches_the_runtime() {
    let mut pod = Pod::new(&["true"]);
    let told = pod.directory().join("told");
    let script = pod.script_runtime(&format!("echo \"$@\" >> {}", told.display()));
    let root = pod.directory().join("state");
    let options = Writer::new().number(1, 1).number(2, 1).text(6, &script.to_string_lossy());
    let options = options.text(7, &root.to_string_lossy()).text(8, "/opt/criu");
    let called = |pod: &mut Pod, options: &Writer| {
        pod.options = Writer::any("containerd.runc.v1.Options", &options.clone().done());
        let stream = pod.send_create(0, &Stdio::default());
        let answer = pod.client.answer(stream);
        let text = fs::read_to_string(&told).unwrap();
        (answer, text.lines().find(|line| line.contains(" create ")).unwrap().to_owned())
    };
    let (answer, line) = called(&mut pod, &options);
    answer.unwrap();
    let before = format!("--root {}/{} --criu /opt/criu --log ", root.display(), pod.namespace());
    assert!(line.starts_with(&before), "{line}");
    assert!(line.contains(" --no-pivot ") && line.contains(" --no-new-keyring "), "{line}");
    pod.call("Delete", 0, "").unwrap();
    // It has no systemd to ask here, or none for this cgroup: what is asked for is what counts.
    fs::remove_file(&told).unwrap();
    let (refused, line) = called(&mut pod, &options.number(9, 1));
    assert!(line.contains(" --systemd-cgroup "), "{line}");
    if refused.is_ok() {
        pod.remove(0);
    }

    // The one that is built in: the name of a keyring of its own, and a root that was not pivoted to.
    let shows = ["sh", "-c", "grep ' _ses' /proc/keys; stat -c %i / /.."];
    for (number, options) in [(0, Writer::new()), (1, Writer::new().number(1, 1).number(2, 1))] {
        let mut pod = Pod::with(&shows, |config| config["linux"]["maskedPaths"] = json!([]));
        let root = pod.directory().join("state").to_string_lossy().into_owned();
        pod.options = Writer::any("containerd.runc.v1.Options", &options.text(7, &root).done());
        let stdio = Stdio { stdin: String::new(), ..Stdio::fifos(pod.directory(), "init") };
        let (out, _err) = (Output::of(&stdio.stdout), Output::of(&stdio.stderr));
        pod.create(0, &stdio);
        pod.start(0, "").unwrap();
        assert_eq!(pod.wait(0, ""), 0);
        pod.call("Delete", 0, "").unwrap();
        let text = out.end();
        assert_eq!(text.contains(&format!("_ses.{}", pod.id())), number == 0, "{text}");
        let top = text.lines().rev().take(2).collect::<BTreeSet<_>>();
        assert_eq!(top.len(), 1, "nothing is above the root: {text}");
    }
}

#[test]
fn errors_are_one_line_and_status_1() {
    let pod = Pod::new(&["true"]);
    let container = pod.containers[0].clone();
    let run = |args: &[&str]| {
        let output = Command::new(pod::program()).args(args).current_dir(&container.bundle).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(run(&["-id", "x", "start"]).contains("shim namespace cannot be empty"));
    if pod::is_ours() {
        assert!(run(&["-namespace", "n", "-id", "../x", "start"]).contains("cannot be used"));
        assert!(run(&["-namespace", "n", "-id", "x", "stop"]).contains("unknown action \"stop\""));
        fs::write(container.bundle.join("config.json"), "{").unwrap();
        assert!(run(&["-namespace", "n", "-id", "x", "start"]).contains("config.json"));
        fs::remove_file(container.bundle.join("config.json")).unwrap();
        assert!(run(&["-namespace", "n", "-id", "x", "start"]).contains("No such file"));
    }
}

#[test]
fn delete_cleans_up_after_a_killed_shim_and_may_be_repeated() {
    let mut pod = Pod::new(&["sleep", "60"]);
    let container = pod.containers[0].clone();
    let pid = pod.run(0);
    let shim = pod.shim_pid();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim), nix::sys::signal::Signal::SIGKILL).unwrap();
    for _ in 0..3 {
        let response = deleted(&pod.delete_command(&container));
        assert_eq!((response.number(1), response.number(2)), (pid as u64, 137));
        assert!(response.message(3).number(1) > 1_600_000_000);
        until("the container is dead", || !host::alive(pid));
    }
    assert!(integration::leaks::cgroups(&container.id).is_empty());
    assert_eq!(proc::entries(pod.directory().join("state").join(pod.namespace())), Vec::<String>::new());
}

/// containerd calls what has taken the place of its own shim, whose containers are runc's.
#[test]
fn delete_cleans_up_after_a_shim_that_was_another_one() {
    if pod::real_runtime() != "runc" {
        skip!("needs runc, which containerd's shim calls");
    }
    let mut pod = Pod::new(&["sleep", "60"]);
    pod.script_runtime("");
    let container = pod.containers[0].clone();
    let pid = pod.run(0);
    let shim = pod.shim_pid();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim), nix::sys::signal::Signal::SIGKILL).unwrap();
    let options = json!({ "root": pod.directory().join("state") });
    fs::write(container.bundle.join("options.json"), options.to_string()).unwrap();
    deleted(&pod.delete_command(&container));
    until("the container is dead", || !host::alive(pid));
    assert!(integration::leaks::cgroups(&container.id).is_empty());
}

#[test]
fn delete_needs_nothing_to_be_there() {
    let pod = Pod::new(&["true"]);
    let container = pod.containers[0].clone();
    // Nothing has been created yet.
    assert_eq!(deleted(&pod.delete_command(&container)).number(2), 137);
    for file in ["config.json", "address", "log"] {
        fs::remove_file(container.bundle.join(file)).unwrap();
    }
    assert_eq!(deleted(&pod.delete_command(&container)).number(1), 0);
}

#[test]
fn info_is_what_containerd_decodes() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: containerd 1.6's has no -info");
    }
    let mut command = Command::new(pod::program());
    command.arg("-info");
    let options = runc_options(&Writer::new().text(6, &pod::real_runtime()).number(9, 1));
    let output = output_with_input(command, &options);
    assert!(output.status.success());
    let info = Message::read(&output.stdout).unwrap();
    assert_eq!(info.text(1), "io.containerd.corten.v2");
    assert!(!info.message(2).text(1).is_empty(), "a version");
    assert_eq!(info.message(3).text(1), "containerd.runc.v1.Options");
    let features = info.message(4);
    assert_eq!(features.text(1), "types.containerd.io/opencontainers/runtime-spec/1/features/Features");
    let json: serde_json::Value = serde_json::from_slice(&features.bytes(2)).unwrap();
    assert!(json["ociVersionMax"].is_string(), "{json}");

    let version = Command::new(pod::program()).arg("-v").output().unwrap();
    assert!(String::from_utf8_lossy(&version.stdout).contains("Version:"));
}
