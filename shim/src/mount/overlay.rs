//! Overlay mounts. Their difficulties: a list of many lower directories is longer than mount(2) takes, and
//! directories whose owners are mapped have to be mounted before.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;
use nix::sched::{CloneFlags, setns, unshare};
use runtime::sys::fd::cwd;
use runtime::sys::mount::{
    Attributes, fsconfig_create, fsconfig_flag, fsconfig_string, fsmount, fsopen, mount_setattr, open_tree,
};

use super::options::Options;
use super::{Error, MAX_DATA, attach, c_path, idmap, plain};

const LOWER: &str = "lowerdir=";

/// Mounts an overlay on `target`; with a user namespace, its lower directories are mapped through it.
pub(super) fn mount(options: Options, mapping: Option<&OwnedFd>, target: &Path) -> Result<(), Error> {
    let Some(user_namespace) = mapping else { return mount_on(&options, target) };
    let layers = mapped_layers(&options, user_namespace)?;
    let step = || Error::step("make a mount namespace for", target);
    let host = File::open("/proc/self/ns/mnt").map_err(step())?;
    unshare(CloneFlags::CLONE_NEWNS).map_err(io::Error::from).map_err(step())?;
    let overlay = mount_unseen(options, layers, target);
    setns(host, CloneFlags::CLONE_NEWNS).map_err(io::Error::from).map_err(step())?;
    attach(overlay?, target).map_err(Error::step("mount on", target))
}

fn mount_on(options: &Options, target: &Path) -> Result<(), Error> {
    let data = options.data.join(",");
    if data.len() < MAX_DATA {
        return plain(Path::new("overlay"), target, "overlay", options.flags, &data);
    }
    if let Some((folder, shorter)) = shorten(&options.data).filter(|(_, data)| data.len() < MAX_DATA) {
        std::env::set_current_dir(&folder).map_err(Error::step("change to", &folder))?;
        return plain(Path::new("overlay"), target, "overlay", options.flags, &shorter);
    }
    one_by_one(options, target).map_err(Error::step("mount an overlay of many layers on", target))
}

/// Writes the lower directories relative to the folder that they have in common.
pub(super) fn shorten(data: &[String]) -> Option<(PathBuf, String)> {
    let lower: Vec<&Path> =
        data.iter().find_map(|option| option.strip_prefix(LOWER))?.split(':').map(Path::new).collect();
    let mut folder = lower.first()?.parent()?;
    while !lower.iter().all(|path| path.starts_with(folder) && *path != folder) {
        folder = folder.parent()?;
    }
    let mut relative = Vec::new();
    for path in &lower {
        relative.push(path.strip_prefix(folder).ok()?.to_str()?);
    }
    let options = data.iter().map(|option| match option.starts_with(LOWER) {
        true => format!("{LOWER}{}", relative.join(":")),
        false => option.clone(),
    });
    Some((folder.to_owned(), options.collect::<Vec<_>>().join(",")))
}

/// Gives the kernel every layer by itself (`lowerdir+`, Linux 6.5): the number of layers is not limited by a
/// page.
fn one_by_one(options: &Options, target: &Path) -> io::Result<()> {
    let context = fsopen(c"overlay")?;
    let context = context.as_fd();
    let text = |text: &str| CString::new(text).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    for option in &options.data {
        match option.split_once('=') {
            Some(("lowerdir", layers)) => {
                for layer in layers.split(':') {
                    fsconfig_string(context, c"lowerdir+", &text(layer)?)?;
                }
            }
            Some((key, value)) => fsconfig_string(context, &text(key)?, &text(value)?)?,
            None => fsconfig_flag(context, &text(option)?)?,
        }
    }
    fsconfig_create(context)?;
    attach(fsmount(context, attributes(options.flags))?, target)
}

/// The flags of mount(2) as those of fsmount(2).
fn attributes(flags: MsFlags) -> u64 {
    let table = [
        (MsFlags::MS_RDONLY, libc::MOUNT_ATTR_RDONLY),
        (MsFlags::MS_NOSUID, libc::MOUNT_ATTR_NOSUID),
        (MsFlags::MS_NODEV, libc::MOUNT_ATTR_NODEV),
        (MsFlags::MS_NOEXEC, libc::MOUNT_ATTR_NOEXEC),
        (MsFlags::MS_NOATIME, libc::MOUNT_ATTR_NOATIME),
        (MsFlags::MS_STRICTATIME, libc::MOUNT_ATTR_STRICTATIME),
        (MsFlags::MS_NODIRATIME, libc::MOUNT_ATTR_NODIRATIME),
    ];
    table.iter().filter(|(flag, _)| flags.contains(*flag)).fold(0, |all, (_, attribute)| all | attribute)
}

/// A mount of every lower directory whose owners are mapped.
fn mapped_layers(options: &Options, user_namespace: &OwnedFd) -> Result<Vec<OwnedFd>, Error> {
    let lists = options.data.iter().filter_map(|option| option.strip_prefix(LOWER));
    let copy = |layer: &str| {
        let layer = Path::new(layer);
        let copy = idmap::mapped_copy(layer, user_namespace.as_fd())
            .map_err(Error::step("map the owners of", layer))?;
        let read_only = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
        mount_setattr(copy.as_fd(), false, read_only).map_err(Error::errno("make read-only", layer))?;
        Ok(copy)
    };
    lists.flat_map(|layers| layers.split(':')).map(copy).collect()
}

/// Makes an overlay of `layers` in a mount namespace that nobody else has, and returns a copy of it that is
/// mounted nowhere.
///
/// An overlay takes its layers by their paths. On the host, those would outlive a helper that is killed
/// meanwhile, in a bundle that is about to be removed with all that is in it.
fn mount_unseen(mut options: Options, layers: Vec<OwnedFd>, target: &Path) -> Result<OwnedFd, Error> {
    // What the host unmounts goes here too.
    let (root, none) = (Path::new("/"), None::<&str>);
    nix::mount::mount(none, root, none, MsFlags::MS_SLAVE | MsFlags::MS_REC, none)
        .map_err(Error::errno("set the propagation of", root))?;
    plain(Path::new("tmpfs"), target, "tmpfs", MsFlags::empty(), "mode=0700")?;
    std::env::set_current_dir(target).map_err(Error::step("change to", target))?;
    let mut names = Vec::new();
    for (number, layer) in layers.into_iter().enumerate() {
        let name = number.to_string();
        let place = Path::new(&name);
        std::fs::create_dir(place).map_err(Error::step("make", place))?;
        attach(layer, place).map_err(Error::step("mount on", place))?;
        names.push(name);
    }
    options.data.retain(|option| !option.starts_with(LOWER));
    options.data.push(format!("{LOWER}{}", names.join(":")));
    mount_on(&options, target)?;
    let path = c_path(target).map_err(Error::step("mount on", target))?;
    open_tree(cwd(), &path, libc::OPEN_TREE_CLONE).map_err(Error::errno("copy the mount of", target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_layers_become_short() {
        let base = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots";
        let lower: Vec<_> = (1..=300).map(|n| format!("{base}/{n}/fs")).collect();
        let data =
            ["index=off".to_owned(), format!("upperdir={base}/0/fs"), format!("{LOWER}{}", lower.join(":"))];
        let (folder, shorter) = shorten(&data).unwrap();
        assert_eq!(folder, Path::new(base));
        assert!(
            shorter.starts_with(&format!("index=off,upperdir={base}/0/fs,lowerdir=1/fs:2/fs:")),
            "{shorter}"
        );
        assert!(shorter.len() < MAX_DATA, "{}", shorter.len());
    }

    #[test]
    fn a_layer_is_never_its_own_folder() {
        let data = |lower: &str| [format!("{LOWER}{lower}")];
        assert_eq!(shorten(&data("/a/b:/a")), Some(("/".into(), "lowerdir=a/b:a".into())));
        assert_eq!(shorten(&data("/a/b:/a/b/c")), Some(("/a".into(), "lowerdir=b:b/c".into())));
        assert_eq!(shorten(&data("/")), None);
        assert_eq!(shorten(&["index=off".to_owned()]), None);
    }
}
