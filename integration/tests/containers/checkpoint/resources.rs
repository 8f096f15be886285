//! What a process holds besides its memory: files, locks, sockets, pipes, terminals, control groups.

use super::*;
use integration::console::Console;
use integration::container::shell_view;
use integration::{leaks, since, sys};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, PipeReader};
use std::os::unix::net::UnixDatagram;
use std::process::Child;

/// An error that criu gave the reason of.
#[track_caller]
fn assert_criu_says_why(refused: &Outcome) {
    assert!(refused.error().contains("criu failed: type DUMP"), "{refused:#?}");
}

#[test]
fn file_locks_are_kept_if_asked_for() {
    criu!();
    let c = container("exec /probe lock /lock");
    start(&c);
    outcome::until("the lock", || fs::read_to_string(c.rootfs("lock")).is_ok_and(|text| text == "locked"));
    assert_criu_says_why(&checkpoint(&c, &[]));
    checkpoint(&c, &["--file-locks"]).ok();
    restore(&c, &["--file-locks"]).ok();
    assert_eq!(inside(&c, "/probe lock /lock"), "taken\n");
}

#[test]
fn open_connections_are_kept_if_asked_for() {
    criu!();
    let mut c = container("exec /probe stream /got");
    c.namespace("cgroup", None);
    start(&c);
    let got = || fs::read_to_string(c.rootfs("got")).unwrap_or_default().lines().count();
    outcome::until("data to arrive", || got() > 3);
    assert_criu_says_why(&checkpoint(&c, &[]));
    let flags = ["--tcp-established", "--network-lock", "nftables"];
    checkpoint(&c, &flags).ok();
    let before = got();
    since!("a network that works after a restore", "runc -", "crun -");
    restore(&c, &flags).ok();
    outcome::until("data to arrive again", || got() > before + 3);
    let lines = fs::read_to_string(c.rootfs("got")).unwrap();
    assert!(lines.lines().enumerate().all(|(number, line)| line == (number + 1).to_string()), "{lines}");
}

#[test]
fn open_connections_can_be_closed() {
    criu!();
    let c = container("exec /probe stream /got");
    start(&c);
    outcome::until("data to arrive", || fs::metadata(c.rootfs("got")).is_ok_and(|meta| meta.len() > 0));
    checkpoint(&c, &["--tcp-established", "--network-lock", "skip"]).ok();
    since!("--tcp-close", "runc -", "crun 1.9");
    restore(&c, &["--tcp-close"]).ok();
    let ended = || fs::read_to_string(c.rootfs("got")).is_ok_and(|text| text.ends_with("closed\n"));
    outcome::until("the end of the connection", ended);
}

/// A socket of the host that the container has open is the host's still.
#[test]
fn sockets_of_the_host_are_kept_if_asked_for() {
    criu!();
    let mut c = container("");
    let run = c.text_path("run");
    fs::create_dir(&run).unwrap();
    // criu looks for the socket by its name on the host, and only in the container's own network namespace.
    c.args(&["/probe", "datagrams", &format!("{run}/socket")]).without_namespace("network");
    c.mount(json!({ "destination": run, "source": run, "options": ["bind"] }));
    let socket = UnixDatagram::bind(c.path("run/socket")).unwrap();
    socket.set_read_timeout(Some(outcome::BOUND)).unwrap();
    let receive = || {
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).parse::<u64>().unwrap())
    };
    start(&c);
    let mut last = receive().unwrap();
    assert_criu_says_why(&checkpoint(&c, &[]));
    checkpoint(&c, &["--ext-unix-sk"]).ok();
    // All that was sent before.
    socket.set_nonblocking(true).unwrap();
    while let Some(number) = receive() {
        last = number;
    }
    socket.set_nonblocking(false).unwrap();
    restore(&c, &["--ext-unix-sk"]).ok();
    assert!(receive().unwrap() > last);
    c.delete_force().ok();
}

/// A terminal that is the caller's own.
#[test]
fn a_terminal_of_the_caller_is_kept_if_asked_for() {
    criu!();
    let c = container("echo ready; while read line; do echo \"got $line\"; done");
    c.write_config();
    let under = |console: &std::os::fd::OwnedFd, name: &str, args: &[&str]| {
        let mut command = c.command(name, args);
        let copy = || Stdio::from(console.try_clone().unwrap());
        command.env("PATH", criu::path().unwrap()).stdin(copy()).stdout(copy()).stderr(copy());
        sys::control_terminal(&mut command);
        command.spawn().unwrap()
    };
    let (mut console, side) = Console::pair();
    let bundle = c.text_path("");
    let mut run = under(&side, "run", &["run", "--detach", "--bundle", &bundle, &c.id]);
    drop(side);
    console.expect("ready");
    assert!(outcome::wait(&mut run, "run").success());
    assert_criu_says_why(&checkpoint(&c, &[]));
    checkpoint(&c, &["--shell-job"]).ok();
    leaks::assert_none(&c);
    // It cannot have one that nobody brings along.
    for flags in [&[][..], &["--shell-job"]] {
        let refused = restore(&c, flags);
        assert!(refused.error().contains("restore it with --shell-job, on a terminal"), "{refused:#?}");
        leaks::assert_none(&c);
    }
    since!("restores on the caller's terminal", "runc -", "crun -");
    let (mut console, side) = Console::pair();
    let (images, restore) = (c.text_path("images"), ["restore", "--detach", "--shell-job", "--image-path"]);
    let mut restored =
        under(&side, "restore", &[&restore[..], &[&images, "--bundle", &bundle, &c.id]].concat());
    drop(side);
    assert!(outcome::wait(&mut restored, "restore").success());
    console.write("more\n");
    console.expect("got more");
    c.delete_force().ok();
}

/// A connection that nobody has accepted yet can be left out; the one who asked for it learns that.
#[test]
fn connections_that_wait_can_be_left_out() {
    criu!();
    since!("--tcp-skip-in-flight", "runc 1.2", "crun -");
    let mut c = container("");
    c.args(&["/probe", "backlog", "/got"]);
    start(&c);
    let got = || fs::read_to_string(c.rootfs("got")).unwrap_or_default();
    outcome::until("a connection to wait", || got() == "waiting\n");
    assert_criu_says_why(&checkpoint(&c, &["--tcp-established"]));
    checkpoint(&c, &["--tcp-established", "--tcp-skip-in-flight"]).ok();
    restore(&c, &["--tcp-established"]).ok();
    fs::write(c.rootfs("got-go"), "").unwrap();
    outcome::until("a later connection", || got().ends_with("late\n"));
    assert_eq!(got(), "waiting\nearly: ConnectionReset\nlate\n");
}

/// Each way to keep the network quiet works, and is the one that was asked for.
#[test]
fn the_network_is_locked_as_asked_for() {
    criu!();
    since!("--network-lock", "runc -", "crun 1.9");
    for (number, method) in [(0, "iptables"), (1, "nftables"), (2, "skip")] {
        let c = container("exec /probe stream /got");
        start(&c);
        let got = || fs::read_to_string(c.rootfs("got")).unwrap_or_default().lines().count();
        outcome::until("data to arrive", || got() > 3);
        // Of iptables criu runs the program; and in each image it notes the method, field 11 of its
        // inventory.
        fs::create_dir(c.path("bin")).unwrap();
        let (called, script) = (c.text_path("called"), c.path("bin/iptables-restore"));
        let text = format!("#!/bin/sh\necho \"$@\" >> {called}\nexec /usr/sbin/iptables-restore \"$@\"\n");
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", c.text_path("bin"), criu::path().unwrap().display());
        let flags = ["--tcp-established", "--network-lock", method];
        let (images, run) = (c.text_path("images"), ["checkpoint", "--image-path"]);
        let with_path = |command: &mut Command| {
            command.env("PATH", &path);
        };
        call_with(&c, "checkpoint", &[&run[..], &[&images], &flags, &[&c.id]].concat(), with_path).ok();
        let inventory = fs::read(c.path("images/inventory.img")).unwrap();
        let noted = [0, 1, 2].map(|method| inventory.windows(2).any(|bytes| bytes == [11 << 3, method]));
        assert_eq!(noted, [0, 1, 2].map(|method| method == number), "{method}: {inventory:?}");
        let rules = fs::read_to_string(&called).is_ok();
        assert_eq!(rules, method == "iptables", "rules of iptables");
        let before = got();
        restore(&c, &flags).ok();
        outcome::until("data to arrive again", || got() > before + 3);
        c.delete_force().ok();
    }
}

/// A file that is open and has lost the name it was opened by, but not its other one.
#[test]
fn files_under_another_name_are_kept_if_asked_for() {
    criu!();
    since!("--link-remap", "runc 1.2", "crun -");
    let c = container(
        "exec 3> /data/first; ln /data/first /data/second; rm /data/first; i=0; \
         while :; do i=$((i+1)); echo $i >&3; sleep 0.01; done",
    );
    fs::create_dir(c.rootfs("data")).unwrap();
    start(&c);
    let written = || fs::read_to_string(c.rootfs("data/second")).unwrap_or_default().lines().count();
    outcome::until("the file to grow", || written() > 3);
    let refused = checkpoint(&c, &[]);
    assert!(refused.error().contains("Can't create link remap for /data/first"), "{refused:#?}");
    checkpoint(&c, &["--link-remap"]).ok();
    let before = written();
    restore(&c, &["--link-remap"]).ok();
    outcome::until("the file to grow again", || written() > before + 3);
    let lines = fs::read_to_string(c.rootfs("data/second")).unwrap();
    assert!(lines.lines().enumerate().all(|(number, line)| line == (number + 1).to_string()), "{lines}");
    let names: Vec<_> =
        fs::read_dir(c.rootfs("data")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["second"], "names that criu gave it");
}

/// A pipe that the caller handed on is another one after a restore: the new caller's.
#[test]
fn descriptors_of_the_caller_take_the_place_of_the_old_ones() {
    criu!();
    let c = container("i=0; while :; do i=$((i+1)); echo $i >&3; sleep 0.01; done");
    c.write_config();
    let (bundle, images) = (c.text_path(""), c.text_path("images"));
    let with_pipe = |name: &str, args: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        call_with(&c, name, args, |command| sys::pass_fds(command, vec![writer.into()])).ok();
        BufReader::new(reader)
    };
    let number = |reader: &mut BufReader<PipeReader>| {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.trim().parse::<u64>().unwrap()
    };
    let run = ["run", "--detach", "--preserve-fds", "1", "--bundle", &bundle, &c.id];
    let mut before = with_pipe("run", &run);
    assert_eq!(number(&mut before), 1);
    checkpoint(&c, &[]).ok();
    let last = before.lines().map_while(Result::ok).last().unwrap().parse::<u64>().unwrap();
    let restore =
        ["restore", "--detach", "--preserve-fds", "1", "--image-path", &images, "--bundle", &bundle, &c.id];
    let mut after = with_pipe("restore", &restore);
    assert_eq!(number(&mut after), last + 1);
    c.delete_force().ok();
}

#[test]
fn control_groups_are_managed_as_asked_for() {
    criu!();
    for mode in ["soft", "full", "ignore"] {
        let mut c = container(COUNTER);
        c.put("/linux/resources/memory", json!({ "limit": 64 << 20 }));
        start(&c);
        until_it_counts(&c);
        checkpoint(&c, &["--manage-cgroups-mode", mode]).ok();
        leaks::assert_none(&c);
        restore(&c, &["--manage-cgroups-mode", mode]).ok();
        until_it_counts(&c);
        let pid = c.pid();
        let limit = integration::host::cgroup_text(pid, "memory", "memory.limit_in_bytes", "memory.max");
        assert_eq!(limit.as_deref(), Some("67108864"), "{mode}");
        let own = integration::proc::cgroups(&pid.to_string());
        assert!(own.values().any(|path| path.contains(&c.id)), "{mode}: {own:?}");
        c.delete_force().ok();
        leaks::assert_none(&c);
    }
}

/// On a host with version 2 alone.
#[test]
fn a_counter_goes_on_in_a_unified_hierarchy() {
    criu!();
    since!("cgroups of version 2 with none of the usual controllers", "runc -", "crun -");
    let mut c = container(COUNTER);
    c.namespace("cgroup", None)
        .prepared("{ [ -e /sys/fs/cgroup/cgroup.controllers ] || mount -t cgroup2 none /sys/fs/cgroup; }");
    // Where version 1 is only hidden, the container is at its root: criu would save the control groups of
    // everybody there, and miss at the restore what others have removed meanwhile.
    let flags = match fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap() {
        true => &[][..],
        false => &["--manage-cgroups-mode", "ignore"],
    };
    start(&c);
    until_it_counts(&c);
    checkpoint(&c, flags).ok();
    leaks::assert_none(&c);
    restore(&c, flags).ok();
    until_it_counts(&c);
    let own = integration::proc::cgroups(&c.pid().to_string());
    assert!(own.values().any(|path| path.contains(&c.id)), "{own:?}");
    c.delete_force().ok();
    leaks::assert_none(&c);
}

/// Another host, as far as its mounts go.
struct Host(Child);

impl Host {
    fn after(preparation: &str) -> Host {
        let mut words = shell_view(preparation);
        words.extend(["sh", "-c", "echo; exec sleep 600"].map(Into::into));
        let mut child = Command::new(&words[0]).args(&words[1..]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Host(child)
    }

    /// A prefix for a program that is to run there.
    fn prefix(&self) -> Vec<OsString> {
        ["nsenter", "-m", "-t", &self.0.id().to_string(), "--"].iter().map(OsString::from).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// systemd shares its mounts: what the container has of the hierarchy must not be bound to them.
#[test]
fn images_pass_between_hosts_that_share_their_unified_hierarchy_and_others() {
    criu!();
    since!("cgroups of version 2 with none of the usual controllers", "runc -", "crun -");
    let own = fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap();
    let unified = if own { "true" } else { "mount -t cgroup2 none /sys/fs/cgroup" };
    let host =
        |propagation: &str| Host::after(&format!("{unified} && mount --make-{propagation} /sys/fs/cgroup"));
    let (shared, private) = (host("shared"), host("private"));
    // As above.
    let flags = if own { &[][..] } else { &["--manage-cgroups-mode", "ignore"] };
    for namespaced in [true, false] {
        let mut c = container(COUNTER);
        if namespaced {
            c.namespace("cgroup", None);
        }
        let here = if own { Vec::new() } else { shared.prefix() };
        c.via = shared.prefix();
        start(&c);
        for next in [private.prefix(), shared.prefix(), here.clone(), here] {
            until_it_counts(&c);
            checkpoint(&c, flags).ok();
            leaks::assert_none(&c);
            c.via = next;
            restore(&c, flags).ok();
        }
        until_it_counts(&c);
        let shown = integration::proc::mounts(&c.pid().to_string());
        let shown = shown.iter().find(|mount| mount.target == "/sys/fs/cgroup").unwrap();
        assert_eq!((shown.fstype.as_str(), shown.propagation.len()), ("cgroup2", 0), "{shown:?}");
        c.delete_force().ok();
        leaks::assert_none(&c);
    }
}

#[test]
fn hierarchies_that_the_host_shares_are_no_obstacle() {
    criu!();
    since!("a cgroup namespace that is restored", "runc -", "crun -");
    let host = Host::after("mount --make-rshared /sys/fs/cgroup");
    for namespaced in [true, false] {
        let mut c = container(COUNTER);
        if namespaced {
            c.namespace("cgroup", None);
        }
        c.via = host.prefix();
        start(&c);
        for _ in 0..2 {
            until_it_counts(&c);
            checkpoint(&c, &[]).ok();
            restore(&c, &[]).ok();
        }
        until_it_counts(&c);
        c.delete_force().ok();
        leaks::assert_none(&c);
    }
}

#[test]
fn a_paused_container_can_be_saved() {
    criu!();
    let c = container(COUNTER);
    start(&c);
    until_it_counts(&c);
    c.call(&["pause", &c.id]).ok();
    checkpoint(&c, &[]).ok();
    restore(&c, &[]).ok();
    until_it_counts(&c);
}

#[test]
fn a_network_namespace_by_its_path_is_joined_again() {
    criu!();
    let mut holder = Command::new("unshare").args(["-n", "sleep", "600"]).spawn().unwrap();
    let pid = i32::try_from(holder.id()).unwrap();
    let own = integration::host::namespace(std::process::id().cast_signed(), "net");
    outcome::until("the namespace", || integration::host::namespace(pid, "net") != own);
    let path = format!("/proc/{pid}/ns/net");
    let mut c = container(COUNTER);
    c.namespace("network", Some(&path));
    start(&c);
    until_it_counts(&c);
    let net = integration::host::namespace(c.pid(), "net");
    checkpoint(&c, &[]).ok();
    restore(&c, &[]).ok();
    until_it_counts(&c);
    assert_eq!(integration::host::namespace(c.pid(), "net"), net);
    c.delete_force().ok();
    holder.kill().unwrap();
    holder.wait().unwrap();
}
