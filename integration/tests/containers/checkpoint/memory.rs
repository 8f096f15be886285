//! Where memory goes, and when: in steps, to a page server, later. Much of it needs what few machines have;
//! the guest does.

use super::*;
use crate::mount_options::supports_idmap;
use integration::{leaks, needs, since, skip, sys};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Child;

/// The script's numbers count, and its memory is checked all the time.
fn with_pages() -> Container {
    let mut c = container("");
    c.args(&["/probe", "pages", "/count"]);
    c
}

/// Whether criu finds a feature of the kernel.
fn has(feature: &str) -> bool {
    let mut check = Command::new(criu::program().unwrap());
    check.args(["check", "--feature", feature]).stdin(Stdio::null()).stdout(Stdio::null());
    check.stderr(Stdio::null()).status().unwrap().success()
}

/// What `corten doctor` says of memory is what a checkpoint of it finds.
#[test]
fn the_doctor_knows_what_can_be_done() {
    criu!();
    since!("doctor", "runc -", "crun -");
    let c = with_pages();
    let path = criu::path().unwrap();
    let doctor = c.call_with(&["doctor", "--json"], |command| {
        command.env("PATH", path);
    });
    let found: serde_json::Value = serde_json::from_str(&doctor.stdout).unwrap();
    let ok = |name: &str| {
        let entries = found["entries"].as_array().unwrap();
        entries.iter().find(|entry| entry["name"] == name).map(|entry| entry["state"] == "ok")
    };
    assert_eq!(ok("criu"), Some(true), "{found:#}");
    start(&c);
    until_it_counts(&c);
    let images = c.text_path("steps");
    let steps = call(&c, "steps", &["checkpoint", "--pre-dump", "--image-path", &images, &c.id]);
    assert_eq!(ok("criu: memory in steps"), Some(steps.status.success()), "{steps:#?}");
    for (flags, wanted) in [
        (&["--lazy-pages"][..], "--lazy-pages needs --page-server"),
        (&["--status-fd", "3"], "--status-fd needs --lazy-pages"),
    ] {
        let images = c.text_path("images");
        let args = [&["checkpoint", "--image-path", &images], flags, &[&c.id]].concat();
        let (_reader, writer) = std::io::pipe().unwrap();
        let refused = call_with(&c, "refused", &args, |command| sys::pass_fds(command, vec![writer.into()]));
        assert!(refused.error().contains(wanted), "{refused:#?}");
    }
    // What is refused is refused before anything waits for it.
    if ok("criu: memory later") == Some(false) {
        let later = checkpoint(&c, &["--lazy-pages", "--page-server", "127.0.0.1:1"]);
        assert!(later.error().contains("LazyPages"), "{later:#?}");
    }
}

/// What the images of pages in a directory hold, and what they take up on the disk, in bytes.
fn page_images(directory: &Path) -> (u64, u64) {
    let is_pages = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("pages-");
    let entries = fs::read_dir(directory).unwrap().flatten();
    let sizes = entries.filter(|entry| is_pages(&entry.file_name())).map(|entry| entry.metadata().unwrap());
    sizes.fold((0, 0), |(length, blocks), file| (length + file.len(), blocks + 512 * file.blocks()))
}

/// Memory is saved while the container runs, and then only what has changed since.
#[test]
fn memory_is_saved_in_steps() {
    criu!();
    saved_in_steps(&with_pages());
}

/// The images of each step are the host's root's alone, and the container's root has to read them all.
#[test]
fn memory_is_saved_in_steps_with_a_user_namespace() {
    criu!();
    since!("checkpoints of containers whose root is not the host's", "runc -", "crun -");
    needs!(supports_idmap(), "a filesystem below /tmp with id-mapped mounts");
    let mut c = with_pages();
    c.user_namespace(100_000, 65536).namespace("cgroup", None).give_rootfs_to(100_000);
    saved_in_steps(&c);
}

fn saved_in_steps(c: &Container) {
    start(c);
    until_it_counts(c);
    let save = |name: &str, flags: &[&str]| {
        let images = c.text_path(name);
        let mut args = vec!["checkpoint", "--image-path", &images];
        args.extend(flags);
        args.push(&c.id);
        call(c, name, &args)
    };
    if !has("mem_dirty_track") {
        for flags in [&["--pre-dump"][..], &["--parent-path", "../first"]] {
            fs::create_dir_all(c.path("first")).unwrap();
            let refused = save("refused", flags);
            assert!(refused.error().contains("criu is missing features: MemTrack"), "{refused:#?}");
        }
        until_it_counts(c);
        skip!("needs a kernel with CONFIG_MEM_SOFT_DIRTY");
    }
    save("first", &["--pre-dump"]).ok();
    assert_eq!(c.status(), "running");
    until_it_counts(c);
    save("second", &["--pre-dump", "--parent-path", "../first"]).ok();
    let saved = until_it_counts(c);
    save("images", &["--parent-path", "../second"]).ok();
    leaks::assert_none(c);
    assert_eq!(fs::read_link(c.path("images/parent")).unwrap(), Path::new("../second"));
    let [first, second, third] = ["first", "second", "images"].map(|name| page_images(&c.path(name)).0);
    assert!(first > 4 << 20 && second < first / 4 && third < first / 4, "{first} {second} {third}");
    restore(c, &["--parent-path", "../second"]).ok();
    assert!(until_it_counts(c) > saved);
}

/// What a later image has is cut out of the earlier one when it is saved, and what was restored out of its
/// image.
#[test]
fn what_is_not_needed_any_more_is_cut_out_of_images() {
    criu!();
    let c = with_pages();
    start(&c);
    until_it_counts(&c);
    let (images, first) = (c.path("images"), c.path("first"));
    let mut flags = vec!["--auto-dedup"];
    let tracked = has("mem_dirty_track");
    if tracked {
        let before = first.to_str().unwrap();
        call(&c, "first", &["checkpoint", "--pre-dump", "--image-path", before, &c.id]).ok();
        until_it_counts(&c);
        flags.extend(["--parent-path", "../first"]);
    }
    let before = tracked.then(|| page_images(&first));
    checkpoint(&c, &flags).ok();
    if let Some((_, before)) = before {
        assert!(page_images(&first).1 < before, "nothing was cut out of the first image");
    }
    let last = if tracked { &first } else { &images };
    let (length, before) = page_images(last);
    restore(&c, &flags).ok();
    until_it_counts(&c);
    assert_eq!(page_images(last).0, length);
    assert!(page_images(last).1 < before / 2, "{:?} of {before}", page_images(last));
}

/// A port that nobody has: of a listener that is gone.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A program of criu's own beside the container.
struct Server(Child);

impl Server {
    fn start(c: &Container, directory: &str, args: &[&str]) -> Server {
        let mut command = Command::new(criu::program().unwrap());
        command.args(args).args(["--address", "127.0.0.1", "--images-dir", &c.text_path(directory)]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Server(command.spawn().unwrap())
    }

    fn end(mut self) {
        assert!(outcome::wait(&mut self.0, "criu").success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn memory_can_go_to_a_page_server() {
    criu!();
    let c = with_pages();
    start(&c);
    until_it_counts(&c);
    let port = free_port();
    fs::create_dir(c.path("pages")).unwrap();
    let server = Server::start(&c, "pages", &["page-server", "--port", &port.to_string()]);
    let hexadecimal = format!("0100007F:{port:04X}");
    outcome::until("the page server to listen", || {
        fs::read_to_string("/proc/net/tcp").unwrap().contains(&hexadecimal)
    });
    checkpoint(&c, &["--page-server", &format!("127.0.0.1:{port}")]).ok();
    server.end();
    let (there, here) = (page_images(&c.path("pages")).0, page_images(&c.path("images")).0);
    assert!(there > 4 << 20 && here == 0, "{there} {here}");
    for entry in fs::read_dir(c.path("pages")).unwrap().flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with("page") {
            fs::copy(entry.path(), c.path("images").join(name)).unwrap();
        }
    }
    restore(&c, &[]).ok();
    until_it_counts(&c);
}

/// The container goes on at once, somewhere else and under another name, and gets its memory when it asks for
/// it: from the container that was saved, which stays until all is handed over.
#[test]
fn memory_can_follow_later() {
    criu!();
    let c = with_pages();
    start(&c);
    until_it_counts(&c);
    let (images, port) = (c.text_path("images"), free_port());
    let server = format!("127.0.0.1:{port}");
    let (mut ready, told) = std::io::pipe().unwrap();
    let told = OwnedFd::from(told);
    let args = ["checkpoint", "--lazy-pages", "--page-server", &server, "--status-fd", "3"];
    let mut save = c.command("lazy", &[&args[..], &["--image-path", &images, &c.id]].concat());
    save.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).env("PATH", criu::path().unwrap());
    sys::pass_fds(&mut save, vec![told]);
    let description = format!("{save:?}");
    let child = save.spawn().unwrap();
    drop(save);
    let mut byte = [7];
    if std::io::Read::read(&mut ready, &mut byte).unwrap() == 0 {
        let refused = outcome::finish(child, &description, c.bundle(), "lazy");
        assert!(refused.error().contains("criu is missing features: LazyPages"), "{refused:#?}");
        until_it_counts(&c);
        skip!("needs userfaultfd(2), and CAP_SYS_RESOURCE for criu's page server");
    }
    assert_eq!(byte, [0]);
    let saved = count(&c);
    assert!(page_images(&c.path("images")).0 < 4 << 20, "the memory is in the images");
    let lazy = ["lazy-pages", "--page-server", "--port", &port.to_string(), "--work-dir", &images];
    let pager = Server::start(&c, "images", &lazy);
    outcome::until("the pager's socket", || c.path("images/lazy-pages.socket").exists());
    // Of the same bundle.
    let other = format!("{}-later", c.id);
    let (bundle, pid) = (c.text_path(""), c.text_path("pid"));
    let args = ["restore", "--detach", "--lazy-pages", "--image-path", &images, "--work-path", &images];
    call(&c, "restore", &[&args[..], &["--bundle", &bundle, "--pid-file", &pid, &other]].concat()).ok();
    outcome::until("the container to go on", || count(&c) > saved + 3);
    outcome::finish(child, &description, c.bundle(), "lazy").ok();
    pager.end();
    until_it_counts(&c);
    let gone = c.call(&["state", &c.id]);
    assert!(gone.error().contains("does not exist"), "{gone:#?}");
    c.call(&["delete", "--force", &other]).ok();
}
