//! What a process holds besides its memory: locks, sockets, terminals, control groups; and where its memory goes.

use super::*;
use integration::console::Console;
use integration::{leaks, since, sys};
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;

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
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).parse::<u64>().unwrap()
    };
    start(&c);
    let first = receive();
    assert_criu_says_why(&checkpoint(&c, &[]));
    checkpoint(&c, &["--ext-unix-sk"]).ok();
    restore(&c, &["--ext-unix-sk"]).ok();
    outcome::until("more of the same", || receive() > first);
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
    start(&c);
    until_it_counts(&c);
    checkpoint(&c, &[]).ok();
    leaks::assert_none(&c);
    restore(&c, &[]).ok();
    until_it_counts(&c);
    c.delete_force().ok();
    leaks::assert_none(&c);
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

/// Without the kernel's help a checkpoint cannot tell what has changed since another; with it the second is small.
#[test]
fn a_checkpoint_in_two_steps_works_or_is_refused_whole() {
    criu!();
    let c = container(COUNTER);
    start(&c);
    until_it_counts(&c);
    let first = c.text_path("first");
    let before = call(&c, "before", &["checkpoint", "--pre-dump", "--image-path", &first, &c.id]);
    until_it_counts(&c);
    if !before.status.success() {
        assert!(before.error().contains("criu is missing features"), "{before:#?}");
        assert!(before.error().contains("MemTrack"), "{before:#?}");
        return;
    }
    checkpoint(&c, &["--parent-path", "../first"]).ok();
    restore(&c, &["--parent-path", "../first"]).ok();
    until_it_counts(&c);
}

/// A port that nobody has: of a listener that is gone.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn memory_can_go_to_a_page_server() {
    criu!();
    let c = container(COUNTER);
    start(&c);
    until_it_counts(&c);
    let port = free_port();
    fs::create_dir(c.path("pages")).unwrap();
    let server = |name: &str| {
        let mut command = Command::new(criu::program().unwrap());
        command.args(["page-server", "--images-dir", &c.text_path(name), "--port", &port.to_string()]);
        command
            .args(["--address", "127.0.0.1"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let mut serving = server("pages");
    let hexadecimal = format!("0100007F:{port:04X}");
    outcome::until("the page server to listen", || {
        fs::read_to_string("/proc/net/tcp").unwrap().contains(&hexadecimal)
    });
    checkpoint(&c, &["--page-server", &format!("127.0.0.1:{port}")]).ok();
    assert!(outcome::wait(&mut serving, "page server").success());
    let has_pages = |name: &str| {
        let names = fs::read_dir(c.path(name)).unwrap().flatten().map(|entry| entry.file_name());
        names.filter(|name| name.to_string_lossy().starts_with("pages-")).count()
    };
    assert!(
        has_pages("pages") > 0 && has_pages("images") == 0,
        "{} {}",
        has_pages("pages"),
        has_pages("images")
    );
    for entry in fs::read_dir(c.path("pages")).unwrap().flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with("page") {
            fs::copy(entry.path(), c.path("images").join(name)).unwrap();
        }
    }
    restore(&c, &[]).ok();
    until_it_counts(&c);
}

/// A checkpoint that criu could not restore is none.
#[test]
fn a_container_with_a_user_namespace_is_left_alone() {
    criu!();
    since!("this refusal", "runc -", "crun -");
    let mut c = container(COUNTER);
    c.user_namespace(100_000, 65536).give_rootfs_to(100_000);
    start(&c);
    until_it_counts(&c);
    let refused = checkpoint(&c, &[]);
    assert!(refused.error().contains("user namespace cannot be checkpointed"), "{refused:#?}");
    until_it_counts(&c);
}
