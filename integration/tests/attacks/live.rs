//! A container that runs and knows what will be done to it next: mounts that are added and removed, and
//! `exec`.

use integration::container::Container;
use integration::since;
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Stdio;

/// Asks for mounts of a running container, by a file.
fn mounts(c: &Container, verb: &str, mounts: &serde_json::Value) -> integration::outcome::Outcome {
    let path = c.text_path("mounts.json");
    fs::write(&path, mounts.to_string()).unwrap();
    c.call(&["mounts", verb, &c.id, &path])
}

/// The directory above a mount gets another name, and in its place there is a link to what hides something:
/// that is not what is unmounted.
#[test]
fn a_mask_is_never_what_is_unmounted() {
    since!("mounts", "runc -", "crun 1.18");
    for hidden in ["directory", "file"] {
        let mut c = Container::new();
        c.put("/root/readonly", json!(false))
            .put("/linux/maskedPaths", json!(["/hidden/file", "/hidden/directory"]));
        fs::create_dir_all(c.rootfs("hidden/directory")).unwrap();
        fs::write(c.rootfs("hidden/file"), "secret").unwrap();
        fs::write(c.rootfs("hidden/directory/file"), "secret").unwrap();
        fs::create_dir_all(c.rootfs("volume")).unwrap();
        c.sleeping();
        let mount = match hidden {
            "file" => {
                json!([{ "destination": "/volume/file", "type": "bind", "source": "/etc/hostname", "options": ["bind"] }])
            }
            _ => json!([{ "destination": "/volume/directory", "type": "tmpfs", "source": "tmpfs" }]),
        };
        mounts(&c, "add", &mount).ok();
        let swap = "mv /volume /other && ln -s /hidden /volume";
        c.exec(&[], &["/bin/sh", "-c", swap]).ok();
        let _ = mounts(&c, "remove", &mount);
        let read = c
            .exec(&[], &["/bin/sh", "-c", "cat /hidden/file /hidden/directory/file 2> /dev/null; true"])
            .ok();
        assert!(!read.stdout.contains("secret"), "a {hidden} is not hidden any more");
    }
}

/// A source is the host's: where the host has a link to be copied, a directory of the container under the
/// same path is not what is mounted.
#[test]
fn a_source_is_never_looked_for_in_the_container() {
    since!("mounts", "runc -", "crun 1.18");
    let mut c = Container::new();
    c.put("/root/readonly", json!(false));
    let source = c.text_path("link");
    symlink("where/it/leads", &source).unwrap();
    c.sleeping();
    c.exec(&[], &["/bin/mkdir", "-p", &source]).ok();
    let mount = json!([{ "destination": "/copied", "type": "bind", "source": source, "options": ["bind", "copy-symlink"] }]);
    let added = mounts(&c, "add", &mount);
    let found = c.exec(&[], &["/bin/sh", "-c", "readlink /copied; true"]).ok().stdout;
    assert!(!added.status.success() || found.trim() == "where/it/leads", "{added:#?}, {found:?}");
}

/// A container that has the host's mounts has a root of its own all the same, and so has what is executed in
/// it.
#[test]
fn an_executed_program_has_the_containers_root_without_a_mount_namespace() {
    let mut c = Container::new();
    c.without_namespace("mount").put("/mounts", json!([])).put("/root/readonly", json!(false));
    c.put("/linux/maskedPaths", json!([])).put("/linux/readonlyPaths", json!([]));
    fs::write(c.rootfs("etc/which"), "the container's").unwrap();
    c.args(&["/probe", "sleep"]);
    c.run_detached();
    for flags in [&[][..], &["--user", "1000:1000"], &["--cwd", "/etc"]] {
        let exec = c.exec(flags, &["/bin/cat", "/etc/which"]);
        assert!(!exec.status.success() || exec.stdout == "the container's", "{flags:?}: {exec:#?}");
        let host = c.exec(flags, &["/bin/cat", c.path("config.json").to_str().unwrap()]);
        assert!(!host.status.success(), "{flags:?}: a file of the host can be read: {host:#?}");
    }
}

/// The caller's standard streams are the host's `/dev/null`, as engines have it: root in the container could
/// change the mode of that node, or its owner.
#[test]
fn an_executed_program_never_has_the_hosts_null_device() {
    let meta = fs::metadata("/dev/null").unwrap();
    let hosts = format!("{}:{}", meta.dev(), meta.ino());
    let mut c = Container::new();
    c.sleeping();
    let look = "for n in 0 1 2; do stat -L -c %d:%i /proc/$$/fd/$n; done >&3";
    for change in ["true", "rm /dev/null", "ln -s /etc/passwd /dev/null", "rm /dev/null; echo > /dev/null"] {
        c.exec(&[], &["/bin/sh", "-c", change]).ok();
        let (read, write) = nix::unistd::pipe().unwrap();
        let exec = c.call_with(&["exec", "--preserve-fds", "1", &c.id, "/bin/sh", "-c", look], |command| {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            integration::sys::pass_fds(command, vec![write]);
        });
        let seen = std::io::read_to_string(fs::File::from(read)).unwrap();
        assert!(!exec.status.success() || seen.lines().count() == 3, "after {change:?}: {seen:?}, {exec:#?}");
        assert!(
            !seen.lines().any(|line| line == hosts),
            "after {change:?} the program has the host's /dev/null"
        );
    }
}
