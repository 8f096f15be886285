//! Root filesystems that the shim mounts: of many layers, of mapped owners, that fail, hang, or are cut off.

use integration::shim::pod::{self, deleted, until};
use integration::shim::wire::Writer;
use integration::shim::{Delay, Pod, Stdio};
use integration::{host, proc, skip};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn rootfs_mounts(pod: &Pod, mounts: &[Writer]) -> Writer {
    let container = pod.containers[0].clone();
    mounts
        .iter()
        .fold(pod.create_request(&container, &Stdio::default()), |request, mount| request.message(3, mount))
}

fn overlay(pod: &Pod, layers: usize) -> Writer {
    let base = pod.directory().join("snapshots");
    let dir = |name: &str| {
        let path = base.join(name);
        fs::create_dir_all(&path).unwrap();
        path.to_string_lossy().into_owned()
    };
    let mut lower = Vec::new();
    for layer in 0..layers {
        let path = dir(&format!("{layer}/fs"));
        fs::write(Path::new(&path).join(format!("layer-{layer}")), "").unwrap();
        lower.push(path);
    }
    // What the container runs is in the lowest layer.
    let bottom = PathBuf::from(lower.last().unwrap());
    let bundle = &pod.containers[0].bundle;
    integration::rootfs::populate(&bottom);
    fs::remove_dir_all(bundle.join("rootfs")).unwrap();
    let options = [
        "index=off".to_owned(),
        format!("workdir={}", dir("w")),
        format!("upperdir={}", dir("u")),
        format!("lowerdir={}", lower.join(":")),
    ];
    options
        .iter()
        .fold(Writer::new().text(1, "overlay").text(2, "overlay"), |mount, option| mount.text(4, option))
}

fn mounted_below(directory: &Path) -> usize {
    proc::mounts("self").iter().filter(|mount| Path::new(&mount.target).starts_with(directory)).count()
}

#[test]
fn root_filesystems_of_any_number_of_layers_are_mounted_and_unmounted() {
    for layers in [1, 3, 130, 400] {
        let mut pod = Pod::with(&["sh", "-c", "ls -d /layer-* | wc -l; exit 0"], |config| {
            config["root"]["readonly"] = false.into();
        });
        let mount = overlay(&pod, layers);
        let request = rootfs_mounts(&pod, &[mount]);
        pod.client.call("Create", &request).unwrap_or_else(|error| panic!("{layers} layers: {error:?}"));
        let bundle = pod.containers[0].bundle.clone();
        assert_eq!(mounted_below(&bundle), 1);
        let names = fs::read_dir(bundle.join("rootfs")).unwrap().flatten();
        let seen = names.filter(|entry| entry.file_name().to_string_lossy().starts_with("layer-")).count();
        assert_eq!(seen, layers);
        pod.start(0, "").unwrap();
        assert_eq!(pod.wait(0, ""), 0);
        pod.call("Delete", 0, "").unwrap();
        assert_eq!(mounted_below(&bundle), 0);
    }
}

#[test]
fn a_mount_that_fails_is_undone_and_explained() {
    let mut pod = Pod::new(&["true"]);
    let good = Writer::new().text(1, "tmpfs").text(2, "tmpfs").text(4, "size=1m");
    let bad = Writer::new().text(1, "nosuchfs").text(2, "x");
    let request = rootfs_mounts(&pod, &[good, bad]);
    let failed = pod.client.call("Create", &request).unwrap_err();
    assert!(failed.text.contains("failed to mount rootfs component"), "{failed:?}");
    assert_eq!(mounted_below(&pod.containers[0].bundle), 0);
    // A runtime that fails after the mounts.
    let good = Writer::new().text(1, "tmpfs").text(2, "tmpfs");
    let request = rootfs_mounts(&pod, &[good]);
    pod.client.call("Create", &request).unwrap_err();
    assert_eq!(mounted_below(&pod.containers[0].bundle), 0);
}

/// As [`overlay`], with owners that are mapped.
fn mapped_overlay(pod: &Pod, layers: usize) -> Writer {
    overlay(pod, layers).text(4, "uidmap=0:100000:65536").text(4, "gidmap=0:100000:65536")
}

#[test]
fn layers_with_mapped_owners_are_seen_through_the_map() {
    for layers in [1, 3, 400] {
        let mut pod = Pod::new(&["true"]);
        let mount = mapped_overlay(&pod, layers);
        let request = rootfs_mounts(&pod, &[mount]);
        pod.client.call("Create", &request).unwrap_or_else(|error| panic!("{layers} layers: {error:?}"));
        let bundle = pod.containers[0].bundle.clone();
        assert_eq!(mounted_below(&bundle), 1);
        for layer in [0, layers - 1] {
            let file = bundle.join(format!("rootfs/layer-{layer}"));
            assert_eq!(file.metadata().unwrap().uid(), 100_000);
        }
        pod.remove(0);
        assert_eq!(mounted_below(&bundle), 0);
    }
}

/// The layers of a root whose owners are mapped are mounted once more for a moment: also when one of them is
/// not there.
#[test]
fn layers_with_mapped_owners_leave_nothing_when_one_is_missing() {
    let mut pod = Pod::new(&["true"]);
    let mount = mapped_overlay(&pod, 2);
    fs::rename(pod.directory().join("snapshots/1"), pod.directory().join("snapshots/gone")).unwrap();
    let request = rootfs_mounts(&pod, &[mount]);
    let failed = pod.client.call("Create", &request).unwrap_err();
    assert!(failed.text.contains("failed to mount rootfs component"), "{failed:?}");
    let bundle = pod.containers[0].bundle.clone();
    assert_eq!(mounted_below(&bundle), 0);
    assert!(!bundle.join(".lower-0").exists());
}

/// Mounting that does not come to its end, by the request's deadline or because the shim is killed: whoever
/// removes the bundle then must not come upon the layers in it, which belong to every container of the image.
#[test]
fn layers_with_mapped_owners_are_not_left_in_the_bundle_when_mounting_is_cut_off() {
    for killed in [false, true] {
        let mut pod = Pod::new(&["true"]);
        let container = pod.containers[0].clone();
        let mount = mapped_overlay(&pod, 3);
        let request = rootfs_mounts(&pod, &[mount]);
        let shim = pod.shim_pid();
        // The last of the layers.
        let Some(delay) = Delay::from_the(3, &[shim], "move_mount", None) else { skip!("needs strace") };
        let helpers = || proc::children(shim);
        let stream = pod.client.send_within(Duration::from_secs(3), "Create", &request);
        if killed {
            let at = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
            let move_mount = format!("{} ", libc::SYS_move_mount);
            until("the last layer is being mounted", || {
                helpers().iter().any(|pid| at(pid).starts_with(&move_mount))
            });
            let helper = helpers();
            kill(Pid::from_raw(shim), Signal::SIGKILL).unwrap();
            drop(delay);
            until("shim and helper are dead", || !helper.iter().chain([&shim]).any(|pid| host::alive(*pid)));
        } else {
            assert_eq!(pod.client.answer(stream).unwrap_err().code, 4);
            drop(delay);
            until("the helper is dead", || helpers().is_empty());
        }
        let left = mounted_below(&container.bundle);
        deleted(&pod.delete_command(&container));
        assert_eq!((left, mounted_below(&container.bundle)), (0, 0));
        // As containerd does it.
        let removed = pod.directory().join("removed");
        fs::rename(&container.bundle, &removed).unwrap();
        fs::remove_dir_all(&removed).unwrap();
        for layer in 0..3 {
            let file = pod.directory().join(format!("snapshots/{layer}/fs/layer-{layer}"));
            assert!(file.exists(), "{}", file.display());
        }
    }
}

/// What a shim of an older version had mounted in its bundle: it is cleaned up by this one.
#[test]
fn layers_that_an_older_shim_left_in_the_bundle_are_unmounted() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: others have mounted none there");
    }
    for by_delete in [false, true] {
        let mut pod = Pod::new(&["true"]);
        let container = pod.containers[0].clone();
        let layers = pod.directory().join("layers");
        fs::create_dir_all(layers.join("folder")).unwrap();
        fs::write(layers.join("file"), "").unwrap();
        for place in [".lower-1", ".lower-1", ".lower-12"] {
            let place = container.bundle.join(place);
            fs::create_dir_all(&place).unwrap();
            let none = None::<&str>;
            nix::mount::mount(Some(&layers), &place, none, nix::mount::MsFlags::MS_BIND, none).unwrap();
        }
        fs::create_dir(container.bundle.join(".lower-0")).unwrap();
        // Not everything of such a name is a folder.
        fs::write(container.bundle.join(".lower-text"), "").unwrap();
        if by_delete {
            deleted(&pod.delete_command(&container));
        } else {
            let bad = Writer::new().text(1, "nosuchfs").text(2, "x");
            let request = rootfs_mounts(&pod, &[bad]);
            pod.client.call("Create", &request).unwrap_err();
        }
        assert_eq!(mounted_below(&container.bundle), 0);
        for place in [".lower-0", ".lower-1", ".lower-12"] {
            assert!(!container.bundle.join(place).exists());
        }
        assert!(layers.join("file").exists() && layers.join("folder").exists());
    }
}

#[test]
fn bind_mounts_can_be_read_only_and_loops_detach_themselves() {
    let mut pod = Pod::new(&["sh", "-c", "touch /x 2>/dev/null && exit 9; exit 0"]);
    let source = pod.directory().join("source");
    fs::create_dir_all(&source).unwrap();
    integration::rootfs::populate(&source);
    let bind =
        Writer::new().text(1, "bind").text(2, &source.to_string_lossy()).text(4, "rbind").text(4, "ro");
    let request = rootfs_mounts(&pod, &[bind]);
    pod.client.call("Create", &request).unwrap();
    let bundle = pod.containers[0].bundle.clone();
    let mount =
        proc::mounts("self").into_iter().find(|mount| Path::new(&mount.target).starts_with(&bundle)).unwrap();
    assert!(mount.has("ro"), "{mount:?}");
    pod.start(0, "").unwrap();
    assert_eq!(pod.wait(0, ""), 0);
    pod.call("Delete", 0, "").unwrap();
    assert_eq!(mounted_below(&bundle), 0);
}

/// As with containerd's state in /var/run, which is a link.
#[test]
fn a_bundle_that_is_named_through_a_link_is_unmounted_with_all_below() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: containerd's of version 1 leaves it");
    }
    for by_delete in [false, true] {
        let mut pod = Pod::new(&["true"]);
        let mount = overlay(&pod, 2);
        let bundle = pod.containers[0].bundle.clone();
        let link = pod.directory().with_extension("link");
        std::os::unix::fs::symlink(pod.directory(), &link).unwrap();
        pod.containers[0].bundle = link.join(bundle.file_name().unwrap());
        let request = rootfs_mounts(&pod, &[mount]);
        pod.client.call("Create", &request).unwrap();
        let none = None::<&str>;
        let below = bundle.join("rootfs/tmp");
        nix::mount::mount(Some("below"), &below, Some("tmpfs"), nix::mount::MsFlags::empty(), none).unwrap();
        assert_eq!(mounted_below(&bundle), 2);
        if by_delete {
            kill(Pid::from_raw(pod.shim_pid()), Signal::SIGKILL).unwrap();
            deleted(&pod.delete_command(&pod.containers[0].clone()));
        } else {
            pod.start(0, "").unwrap();
            pod.wait(0, "");
            pod.call("Delete", 0, "").unwrap();
        }
        let left = mounted_below(&bundle);
        pod.containers[0].bundle = bundle;
        fs::remove_file(link).unwrap();
        assert_eq!(left, 0);
    }
}

#[test]
fn an_unmount_that_hangs_stops_neither_delete_nor_anything_else() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: others wait for it");
    }
    let mut pod = Pod::with(&["true"], |config| config["root"]["readonly"] = false.into());
    let mount = overlay(&pod, 2);
    let request = rootfs_mounts(&pod, &[mount]);
    pod.client.call("Create", &request).unwrap();
    pod.start(0, "").unwrap();
    pod.wait(0, "");
    let other = pod.add(&["sleep", "600"], |_| {});
    pod.run(other);
    let shim = pod.shim_pid();
    let Some(delay) = Delay::of(&[shim], "umount2", None) else { skip!("needs strace") };
    let request = pod.named(0, "");
    let delete = pod.client.send("Delete", &request);
    for _ in 0..10 {
        assert_eq!(pod.state(0, ""), 3, "State of the container itself");
        assert_eq!(pod.state(other, ""), 2, "and of another one");
        pod.call("Stats", other, "").unwrap();
    }
    pod.kill(other, "", 9, false).unwrap();
    assert_eq!(pod.wait(other, ""), 137);
    let answer = pod.client.answer_within(delete, Duration::from_secs(9)).expect("below CRI's ten seconds");
    answer.unwrap();
    drop(delay);
}
