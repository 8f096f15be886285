//! `linux.maskedPaths` and `linux.readonlyPaths`.

use integration::container::Container;
use integration::{leaks, since};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn a_masked_file_reads_empty_and_a_masked_directory_is_empty() {
    let mut c = Container::new();
    fs::write(c.rootfs("secret"), "text").unwrap();
    fs::create_dir(c.rootfs("private")).unwrap();
    fs::write(c.rootfs("private/file"), "text").unwrap();
    c.put("/linux/maskedPaths", json!(["/secret", "/private"])).put("/root/readonly", json!(false));
    assert_eq!(c.script("cat /secret; ls -A /private; stat -c %F /secret"), "character special file\n");
    assert_eq!(c.attempt(&["create", "/private/new"]), "EROFS");
    assert_eq!(fs::read_to_string(c.rootfs("secret")).unwrap(), "text");
    leaks::assert_none(&c);
}

#[test]
fn the_usual_masks_hide_what_they_should() {
    let mut c = Container::docker_like();
    for path in ["/proc/keys", "/proc/timer_list", "/proc/kcore"] {
        let text = c.script(&format!("test -e {path} && head -c 10 {path} | wc -c || echo 0"));
        assert_eq!(text.trim(), "0", "{path}");
    }
    assert_eq!(
        c.script("ls -A /sys/firmware /proc/scsi 2>/dev/null | grep -v : | grep -c . ; true").trim(),
        "0"
    );
}

/// What does not exist needs no mask; the path may be there on other machines.
#[test]
fn a_missing_path_is_no_error() {
    let mut c = Container::new();
    c.put("/linux/maskedPaths", json!(["/no/such/path"]));
    c.put("/linux/readonlyPaths", json!(["/no/such/path"]));
    let report = c.report();
    assert!(!report.is_mounted("/no/such/path"));
    assert!(!c.rootfs("no").exists());
}

#[test]
fn a_masked_path_that_is_a_link_stays_in_the_root() {
    let mut c = Container::new();
    let outside = c.path("outside");
    fs::write(&outside, "precious").unwrap();
    symlink(&outside, c.rootfs("link")).unwrap();
    c.put("/linux/maskedPaths", json!(["/link"]));
    let _ = c.run(&[]);
    assert_eq!(fs::read_to_string(&outside).unwrap(), "precious");
    leaks::assert_none(&c);
}

/// CVE-2025-31133: the mask for files is `/dev/null`; an image that puts a link in its place would get the
/// link's target mounted writable instead.
#[test]
fn the_mask_is_the_true_null_device() {
    since!("check of the null device", "runc 1.3", "crun 1.30");
    let mut c = Container::new();
    fs::write(c.rootfs("secret"), "text").unwrap();
    fs::write(c.rootfs("target"), "target").unwrap();
    // A /dev of the image's own, with a null that is a link.
    c.unmount_below("/dev");
    symlink("/target", c.rootfs("dev/null")).unwrap();
    c.put("/linux/maskedPaths", json!(["/secret"])).put("/root/readonly", json!(false));
    let run = c.shell("cat /secret; echo written > /secret; true").run(&[]);
    assert!(!run.stdout.contains("text") && !run.stdout.contains("target"), "{run:#?}");
    let target = fs::read_to_string(c.rootfs("target")).unwrap_or_default();
    assert!(!target.contains("written"), "{target}");
    leaks::assert_none(&c);
}

#[test]
fn read_only_paths_are_read_only() {
    let mut c = Container::new();
    fs::create_dir_all(c.rootfs("data/inner")).unwrap();
    fs::write(c.rootfs("data/file"), "text").unwrap();
    c.put("/linux/readonlyPaths", json!(["/data"])).put("/root/readonly", json!(false));
    assert_eq!(c.attempt(&["write", "/data/file"]), "EROFS");
    assert_eq!(c.attempt(&["create", "/data/inner/new"]), "EROFS");
    assert_eq!(c.attempt(&["create", "/new"]), "ok");
}

#[test]
fn the_usual_read_only_paths_are_read_only() {
    let mut c = Container::docker_like();
    let report = c.report();
    for path in ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"] {
        assert!(report.mount(path).has("ro"), "{path}");
    }
    assert_eq!(c.attempt(&["write-text", "/proc/sys/kernel/domainname", "x"]), "EROFS");
}

/// The other flags of the mount stay: a read-only remount that forgets them would open what was closed.
#[test]
fn a_read_only_path_keeps_the_flags_of_its_mount() {
    let mut c = Container::new();
    c.unmount("/proc");
    c.mount(json!({ "destination": "/proc", "type": "proc", "source": "proc",
        "options": ["nosuid", "nodev", "noexec"] }));
    c.mount(json!({ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs",
        "options": ["nosuid", "nodev", "noexec", "noatime"] }));
    c.put("/linux/readonlyPaths", json!(["/proc/sys", "/mnt"]));
    let report = c.report();
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(report.mount("/proc/sys").has(option), "/proc/sys {option}");
        assert!(report.mount("/mnt").has(option), "/mnt {option}");
    }
    assert!(report.mount("/mnt").has("noatime"));
}

/// Several masked directories each are empty and cannot be written, however they share what covers them.
#[test]
fn masked_directories_do_not_leak_into_each_other() {
    let mut c = Container::new();
    for name in ["one", "two"] {
        fs::create_dir(c.rootfs(name)).unwrap();
        fs::write(c.rootfs(name).join("file"), name).unwrap();
    }
    c.put("/linux/maskedPaths", json!(["/one", "/two"])).capabilities(&["CAP_DAC_OVERRIDE"]);
    assert_eq!(c.script("touch /one/x 2>/dev/null; mkdir /two/y 2>/dev/null; ls -A /one /two | grep -v : | grep -c .; true").trim(), "0");
}

/// Whatever a container has of others decides how its masks are made, not what they hide.
#[test]
fn masks_are_the_same_in_whatever_way_they_are_made() {
    // The names of files and directories, of the kernel and of an image, in an order in which none is a good guess.
    let hidden = json!([
        "/sys/firmware",
        "/sys/none",
        "/sys/power",
        "/proc/none",
        "/proc/acpi",
        "/proc/scsi",
        "/proc/keys",
        "/image/file",
        "/image/directory",
        "/proc/timer_list",
        "/proc/uptime",
        "/proc/tty",
        "/sys/kernel/notes",
        "/sys/module"
    ]);
    type Change = fn(&mut Container);
    let ways: [(&str, Change); 6] = [
        ("all of its own", |_| {}),
        ("a hook in between", |c| {
            c.put("/hooks/createContainer", json!([{ "path": "/bin/true" }]));
        }),
        ("peers of the host's mounts", |c| {
            c.put("/linux/rootfsPropagation", json!("rshared"));
        }),
        ("the image's /dev", |c| {
            for place in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
                c.unmount(place);
            }
        }),
        ("a read-only /proc", |c| {
            c.unmount("/proc");
            c.mount(json!({ "destination": "/proc", "type": "proc", "source": "proc", "options": ["ro"] }));
        }),
        ("a mount namespace of others", |_| {}),
    ];
    for (way, change) in ways {
        let mut c = Container::docker_like();
        fs::create_dir_all(c.rootfs("image/directory/full")).unwrap();
        fs::write(c.rootfs("image/file"), "text").unwrap();
        c.put("/linux/maskedPaths", hidden.clone());
        change(&mut c);
        let mut others = None;
        if way.ends_with("of others") {
            let others = others.insert(Holder::new());
            c.namespace("mount", Some(&format!("/proc/{}/ns/mnt", others.0.id())));
        }
        let script = "for path in /proc/keys /proc/timer_list /proc/uptime /image/file; do test ! -e $path || cat $path; done; \
            for path in /sys/firmware /sys/power /sys/module /proc/acpi /proc/scsi /proc/tty /image/directory; do \
            test ! -e $path || ls -A $path; done; stat -c %F /image/file; test ! -e /sys/kernel/notes || wc -c < /sys/kernel/notes; \
            awk '$5 == \"/proc\" || $5 == \"/proc/sys\" { print $5, substr($6, 1, 2) }' /proc/self/mountinfo";
        let proc = if way == "a read-only /proc" { "ro" } else { "rw" };
        let notes = if std::path::Path::new("/sys/kernel/notes").exists() { "0\n" } else { "" };
        let expected = format!("character special file\n{notes}/proc {proc}\n/proc/sys ro\n");
        assert_eq!(c.script(script), expected, "{way}");
    }
}

/// A mount namespace with the host's mounts, for as long as this lives.
struct Holder(std::process::Child);

impl Holder {
    fn new() -> Holder {
        use std::io::BufRead;
        let mut command = std::process::Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", "echo ready && exec sleep 600"])
            .stdout(std::process::Stdio::piped());
        let mut holder = command.spawn().unwrap();
        let mut line = String::new();
        std::io::BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Holder(holder)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What is hidden in a mount stays hidden when that becomes read-only, be it by another name that the image gives it.
#[test]
fn a_mask_in_a_read_only_mount_stays() {
    for path in ["/proc", "/way", "/"] {
        let mut c = Container::new();
        symlink("/proc", c.rootfs("way")).unwrap();
        c.put("/linux/maskedPaths", json!(["/proc/keys", "/proc/sys/kernel"]));
        c.put("/linux/readonlyPaths", json!([path, "/proc/sys"])).put("/root/readonly", json!(false));
        assert_eq!(c.script("stat -c %F /proc/keys; ls -A /proc/sys/kernel"), "character special file\n");
        assert_eq!(c.attempt(&["create", "/proc/sys/fs/file-max"]), "EROFS", "{path}");
        leaks::assert_none(&c);
    }
}

#[test]
fn mounts_and_the_root_can_be_read_only_paths() {
    let mut c = Container::new();
    let shared = c.path("shared");
    fs::create_dir_all(shared.join("sub")).unwrap();
    for destination in ["/data", "/data/sub"] {
        c.mount(json!({ "destination": destination, "type": "bind", "source": shared, "options": ["bind"] }));
    }
    c.put("/linux/readonlyPaths", json!(["/", "/data", "/data/sub"])).put("/root/readonly", json!(false));
    for file in ["/file", "/data/file", "/data/sub/file"] {
        assert_eq!(c.attempt(&["create", file]), "EROFS", "{file}");
    }
    leaks::assert_none(&c);
}
