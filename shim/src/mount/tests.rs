//! The parts that need no mount.

use super::options::Options;
use super::*;

#[test]
fn options_are_sorted() {
    let list = [
        "rbind",
        "ro",
        "nosuid",
        "suid",
        "rprivate",
        "X-containerd.x=1",
        "size=1m",
        "loop",
        "uidmap=0:1:2",
        "defaults",
    ];
    let options = Options::parse(&list.map(str::to_owned));
    let expected = MsFlags::MS_BIND | MsFlags::MS_REC | MsFlags::MS_RDONLY | MsFlags::MS_PRIVATE;
    assert_eq!(options.flags, expected);
    assert_eq!(options.data, ["size=1m"]);
    assert!(options.loop_device);
    assert_eq!(options.uid_map.as_deref(), Some("0:1:2"));
    assert_eq!(options.gid_map, None);
}

#[test]
fn mount_points_are_read_with_their_escapes() {
    let table =
        b"29 1 8:1 / / rw - ext4 /dev/sda1 rw\n40 29 0:5 / /a\\040b\\134c rw shared:1 - tmpfs tmpfs rw\n";
    assert_eq!(mount_points(table), [PathBuf::from("/"), PathBuf::from("/a b\\c")]);
}

#[test]
fn a_target_stays_below_the_root() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::os::unix::fs::symlink("/etc", root.join("link")).unwrap();
    assert_eq!(target(root, "").unwrap(), root);
    assert_eq!(target(root, "/a/./b").unwrap(), root.join("a/b"));
    assert!(target(root, "../x").is_err());
    assert!(target(root, "link/x").unwrap_err().to_string().contains("symbolic link"));
}
