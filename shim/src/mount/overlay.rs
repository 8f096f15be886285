//! Overlay mounts. Their one difficulty: a list of many lower directories is longer than mount(2) takes.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, umount2};
use runtime::sys::mount::{fsconfig_create, fsconfig_flag, fsconfig_string, fsmount, fsopen};

use super::options::Options;
use super::{Error, MAX_DATA, attach, idmap, plain};

const LOWER: &str = "lowerdir=";

/// Mounts an overlay on `target`; with a user namespace, its lower directories are mapped through it.
pub(super) fn mount(mut options: Options, mapping: Option<&OwnedFd>, target: &Path) -> Result<(), Error> {
    let mut temporary = Vec::new();
    let mapped = match mapping {
        Some(namespace) => map_lower(&mut options, namespace, target, &mut temporary),
        None => Ok(()),
    };
    let result = mapped.and_then(|()| mount_mapped(&options, target));
    // The overlay holds what it needs of them, if there is one; they themselves are needed no longer.
    for path in temporary {
        let _unmounted = umount2(&path, MntFlags::MNT_DETACH);
        let _removed = std::fs::remove_dir(&path);
    }
    result
}

fn mount_mapped(options: &Options, target: &Path) -> Result<(), Error> {
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

/// Replaces every lower directory by a mount of it whose owners are mapped, beside `target`. Their
/// directories are in `temporary` however this ends.
fn map_lower(
    options: &mut Options,
    namespace: &OwnedFd,
    target: &Path,
    temporary: &mut Vec<PathBuf>,
) -> Result<(), Error> {
    for option in &mut options.data {
        let Some(layers) = option.strip_prefix(LOWER) else { continue };
        let mut mapped = Vec::new();
        for (index, layer) in layers.split(':').enumerate() {
            let path = target.with_file_name(format!(".lower-{index}"));
            match std::fs::create_dir(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Error::step("make", &path)(error));
                }
                _ => {}
            }
            temporary.push(path.clone());
            let mount = idmap::mapped_copy(Path::new(layer), namespace.as_fd())
                .map_err(Error::step("map the owners of", Path::new(layer)))?;
            attach(mount, &path).map_err(Error::step("mount on", &path))?;
            mapped.push(path.to_string_lossy().into_owned());
        }
        *option = format!("{LOWER}{}", mapped.join(":"));
    }
    Ok(())
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
