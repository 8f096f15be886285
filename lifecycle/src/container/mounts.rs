//! What is mounted into a container: `-v`, `--mount`, `--tmpfs`, `--volumes-from` and the image's volumes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bollard_stubs::models::{HostConfig, Mount, MountType, Volume, VolumeCreateRequest};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use runtime::child::rootfs::unescape;
use serde_json::json;
use tree::Root;

use super::record::MountPoint;
use crate::error::{Error, Result, bail, ensure, error};
use crate::image::Image;
use crate::said;
use crate::volume::Volumes;

/// Propagations that a bind mount may have.
const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// What the mode of a volume is said to be when nothing else is: that it may be labelled for all.
const RELABELLED: &str = "z";

/// What a container is to have mounted; `mounts_of` knows what another container has, `image_of` an image by name.
/// Volumes that do not exist are made.
///
/// # Errors
/// When a mount makes no sense, or a volume cannot be made.
pub fn resolve(
    host: &HostConfig,
    image_volumes: &[String],
    volumes: &Volumes,
    mounts_of: impl Fn(&str) -> Result<Vec<MountPoint>>,
    image_of: impl Fn(&str) -> Result<Arc<Image>>,
    points: &mut BTreeMap<String, MountPoint>,
) -> Result<()> {
    let mut add = |point: MountPoint, replace: bool| match points.insert(point.destination.clone(), point) {
        Some(same) if !replace => Err(error!(invalid, "Duplicate mount point: {}", same.destination)),
        _ => Ok(()),
    };
    let others = said::list(&host.volumes_from);
    for other in others {
        let (name, mode) = other.split_once(':').unwrap_or((other, ""));
        let read_only = match mode {
            "" | "rw" | "z" | "Z" => false,
            "ro" => true,
            _ => bail!(invalid, "invalid mode: {mode}"),
        };
        for mount in mounts_of(name)?.into_iter().filter(|mount| mount.kind != "tmpfs") {
            let writable = mount.writable && !read_only;
            add(MountPoint { writable, no_copy: true, ..mount }, true)?;
        }
    }
    for bind in host.binds.iter().flatten() {
        add(from_bind(bind, volumes)?, !others.is_empty())?;
    }
    for mount in host.mounts.iter().flatten() {
        check_options(mount)?;
        let point = match mount.typ {
            Some(MountType::IMAGE) => from_image(mount, &image_of)?,
            _ => from_mount(mount, volumes)?,
        };
        add(point, !others.is_empty())?;
    }
    for (destination, options) in host.tmpfs.iter().flatten() {
        let options = options.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect();
        add(MountPoint { kind: "tmpfs".into(), options, ..point_at(destination)? }, false)?;
    }
    for path in image_volumes {
        let point = point_at(path)?;
        if !points.contains_key(&point.destination) {
            points.insert(point.destination.clone(), of_volume(Default::default(), point, volumes)?);
        }
    }
    Ok(())
}

/// A mount of nothing yet, that may be written to, at an absolute path in the container.
fn point_at(text: &str) -> Result<MountPoint> {
    let path = Path::new(text);
    ensure!(!text.is_empty(), invalid, "invalid mount config: field Target must not be empty");
    ensure!(path.is_absolute(), invalid, "invalid mount config: mount path must be absolute: {text:?}");
    let clean = Path::new("/").join(tree::clean(path));
    ensure!(clean != Path::new("/"), invalid, "invalid specification: destination can't be '/'");
    Ok(MountPoint {
        destination: clean.to_string_lossy().into_owned(),
        writable: true,
        ..MountPoint::default()
    })
}

/// `[source:]destination[:options]`.
fn from_bind(text: &str, volumes: &Volumes) -> Result<MountPoint> {
    let bad = || error!(invalid, "invalid volume specification: '{text}'");
    let (source, destination, mode) = match text.split(':').collect::<Vec<_>>()[..] {
        [destination] => return of_volume(Default::default(), point_at(destination)?, volumes),
        [source, destination] => (source, destination, ""),
        [source, destination, mode] => (source, destination, mode),
        _ => return Err(bad()),
    };
    let mut point = MountPoint { mode: mode.to_owned(), ..point_at(destination)? };
    let words: Vec<&str> = mode.split(',').filter(|option| !option.is_empty()).collect();
    ensure!(!words.contains(&"ro") || !words.contains(&"rw"), invalid, "invalid mode: {mode}");
    for option in words {
        match option {
            "ro" => point.writable = false,
            // Labels mean nothing where SELinux is not in use, and the consistency is a wish of another system.
            "rw" | "z" | "Z" | "cached" | "delegated" | "consistent" => {}
            "nocopy" => point.no_copy = true,
            other if PROPAGATIONS.contains(&other) => point.propagation = other.to_owned(),
            _ => bail!(invalid, "invalid mode: {mode}"),
        }
    }
    if source.starts_with('/') {
        ensure!(!point.no_copy, invalid, "invalid mode: {mode}");
        // As it has always been with -v; --mount refuses.
        return of_folder(source, true, point, volumes);
    }
    if source.is_empty() {
        return Err(bad());
    }
    refuse("volume", [(!point.propagation.is_empty(), "propagation is for bind mounts")])?;
    if mode.is_empty() {
        RELABELLED.clone_into(&mut point.mode);
    }
    let name = Some(source.to_owned());
    of_volume(VolumeCreateRequest { name, ..Default::default() }, point, volumes)
}

/// Refuses the options of another kind of mount.
fn check_options(mount: &Mount) -> Result<()> {
    let kind = mount.typ.map(|kind| kind.to_string()).unwrap_or_default();
    refuse(
        &kind,
        [
            (mount.bind_options.is_some() && kind != "bind", "field BindOptions must not be specified"),
            (mount.volume_options.is_some() && kind != "volume", "field VolumeOptions must not be specified"),
            (mount.tmpfs_options.is_some() && kind != "tmpfs", "field TmpfsOptions must not be specified"),
            (mount.image_options.is_some() && kind != "image", "field ImageOptions must not be specified"),
        ],
    )
}

fn from_mount(mount: &Mount, volumes: &Volumes) -> Result<MountPoint> {
    let point = point_at(said::text(&mount.target).unwrap_or_default())?;
    let point = MountPoint { writable: mount.read_only != Some(true), ..point };
    let source = said::text(&mount.source);
    match mount.typ {
        Some(MountType::BIND) => {
            let options = mount.bind_options.clone().unwrap_or_default();
            let source = source.unwrap_or_default();
            let [alone, shallow, deep] =
                [options.non_recursive, options.read_only_non_recursive, options.read_only_force_recursive]
                    .map(|option| option == Some(true));
            let propagation = options.propagation.map(|p| p.to_string()).unwrap_or_default();
            let rules = [
                (source.is_empty(), "field Source must not be empty"),
                (!source.starts_with('/'), "mount path must be absolute"),
                (shallow && deep, "ReadOnlyForceRecursive conflicts with ReadOnlyNonRecursive"),
                (deep && alone, "ReadOnlyForceRecursive conflicts with NonRecursive"),
                (deep && point.writable, "mount must be set to ReadOnly"),
                (deep && propagation != "rprivate", "ReadOnlyForceRecursive needs the propagation rprivate"),
            ];
            refuse("bind", rules)?;
            let words = [(alone, "bind"), (shallow, "ro")];
            let options_of = words.into_iter().filter(|(is, _)| *is).map(|(_, word)| word.to_owned());
            let point = MountPoint { propagation, options: options_of.collect(), ..point };
            of_folder(source, options.create_mountpoint == Some(true), point, volumes)
        }
        Some(MountType::VOLUME) => {
            let options = mount.volume_options.clone().unwrap_or_default();
            let subpath = checked_part("volume", options.subpath)?;
            let driver = options.driver_config.unwrap_or_default();
            if let Some(name) = said::text(&driver.name).filter(|name| *name != "local") {
                bail!(not_found, "error looking up volume plugin {name}: plugin \"{name}\" not found");
            }
            let closed = mount.read_only == Some(true) && source.is_none();
            refuse("volume", [(closed, "must not set ReadOnly mode when using anonymous volumes")])?;
            let (no_copy, mode) = (options.no_copy == Some(true), RELABELLED.to_owned());
            let point = MountPoint { no_copy, mode, subpath, ..point };
            let (name, labels, driver_opts) = (source.map(str::to_owned), options.labels, driver.options);
            of_volume(VolumeCreateRequest { name, labels, driver_opts, ..Default::default() }, point, volumes)
        }
        Some(MountType::TMPFS) => {
            refuse("tmpfs", [(source.is_some(), "Source must not be specified")])?;
            let wish = mount.tmpfs_options.clone().unwrap_or_default();
            let mut options: Vec<_> = wish.options.into_iter().flatten().map(|pair| pair.join("=")).collect();
            options.extend(said::number(wish.size_bytes).map(|size| format!("size={size}")));
            options.extend(said::number(wish.mode).map(|mode| format!("mode={mode:o}")));
            Ok(MountPoint { kind: "tmpfs".into(), options, ..point })
        }
        other => {
            bail!(
                invalid,
                "mount type {} is not offered: expected bind, volume, image or tmpfs",
                json!(other)
            )
        }
    }
}

/// The files of an image, which stay as long as the container.
fn from_image(mount: &Mount, image_of: impl Fn(&str) -> Result<Arc<Image>>) -> Result<MountPoint> {
    let subpath = checked_part("image", mount.image_options.clone().and_then(|options| options.subpath))?;
    let image = image_of(said::text(&mount.source).unwrap_or_default())?;
    let (source, options) = (image.id.clone(), image.config.rootfs.diff_ids.clone());
    let point = point_at(said::text(&mount.target).unwrap_or_default())?;
    Ok(MountPoint { kind: "image".into(), source, options, subpath, writable: false, ..point })
}

/// What of something is to be mounted.
fn checked_part(kind: &str, subpath: Option<String>) -> Result<String> {
    let subpath = subpath.unwrap_or_default();
    let is_plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    let is_below = Path::new(&subpath).components().all(is_plain);
    refuse(kind, [(!is_below, "subpath must be a relative path within the volume")])?;
    Ok(subpath)
}

/// Refuses a mount of a kind by the first of these rules that holds.
fn refuse<const N: usize>(kind: &str, rules: [(bool, &str); N]) -> Result<()> {
    said::refuse(rules).map_err(|error| error.context(format!("invalid mount config for type \"{kind}\"")))
}

/// A mount of what is on the host, which may be made when it is not there.
fn of_folder(source: &str, make: bool, point: MountPoint, volumes: &Volumes) -> Result<MountPoint> {
    if !Path::new(source).exists() {
        refuse("bind", [(!make, &format!("bind source path does not exist: {source}"))])?;
        crate::files::make_dir(Path::new(source), 0o755)?;
    }
    let mut point = MountPoint { kind: "bind".into(), source: source.to_owned(), ..point };
    let root = volumes.root();
    if is_about(root, &point) {
        // A container that holds the engine's mounts as its own would keep them from going.
        let propagation = &point.propagation;
        let modest = matches!(propagation.as_str(), "" | "rslave" | "rshared");
        let text = "must use either propagation mode \"rslave\" or \"rshared\" when mount source is within the daemon root";
        let root = root.display();
        ensure!(
            modest,
            invalid,
            "invalid mount config: {text}, daemon root: {root:?}, bind mount source: {source:?}, propagation: {propagation:?}"
        );
        if point.propagation.is_empty() {
            point.propagation = "rslave".into();
        }
    }
    Ok(point)
}

/// Whether a mount has something of the engine's own in it.
pub fn is_about(root: &Path, point: &MountPoint) -> bool {
    root.starts_with(&point.source) || Path::new(&point.source).starts_with(root)
}

/// Refuses to mount as shared or following what is not so on the host: nothing would come of it.
///
/// # Errors
/// With the mount that it is in.
pub fn check_propagation(point: &MountPoint) -> Result<()> {
    let (words, kind): (&[&str], _) = match point.propagation.trim_start_matches('r') {
        "shared" => (&["shared:"], "shared"),
        "slave" => (&["shared:", "master:"], "shared or slave"),
        _ => return Ok(()),
    };
    let source = std::fs::canonicalize(&point.source).map_err(Error::at("find", &point.source))?;
    let table = std::fs::read("/proc/self/mountinfo")?;
    // proc_pid_mountinfo(5): the mount point is the fifth word, and optional ones end with a dash.
    let row = |line: &[u8]| {
        let mut line = line.split(|byte| *byte == b' ');
        let at = PathBuf::from(OsString::from_vec(unescape(line.nth(4)?)));
        let mut optional = line.take_while(|word| *word != b"-");
        Some((at, optional.any(|word| words.iter().any(|own| word.starts_with(own.as_bytes())))))
    };
    let rows = table.split(|byte| *byte == b'\n').filter_map(row);
    let found = rows.filter(|(at, _)| source.starts_with(at)).max_by_key(|(at, _)| at.as_os_str().len());
    let (at, such) = found.unwrap_or_default();
    let (at, source) = (at.display(), &point.source);
    ensure!(such, invalid, "path {source} is mounted on {at} but it is not a {kind} mount");
    Ok(())
}

/// A mount of a volume, which is made when it is not there.
fn of_volume(wish: VolumeCreateRequest, point: MountPoint, volumes: &Volumes) -> Result<MountPoint> {
    let anonymous = wish.name.is_none();
    let Volume { name, mountpoint: source, .. } = volumes.create(wish)?;
    Ok(MountPoint { kind: "volume".into(), source, volume: Some(name), anonymous, ..point })
}

/// What of a volume or image is mounted. A link in it that leads out of it is not followed.
///
/// # Errors
/// When there is no such thing in it.
pub fn part(root: &Root, point: &MountPoint) -> Result<OwnedFd> {
    let (beneath, subpath) =
        (ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS, &point.subpath);
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(beneath);
    let path = if subpath.is_empty() { "." } else { subpath };
    openat2(root, path, how).map_err(|errno| match errno {
        Errno::EXDEV => error!(invalid, "path concatenation escapes the base directory, subpath: {subpath}"),
        _ => {
            error!(internal, "cannot access path {}/{subpath}: {}", point.source, errno.desc().to_lowercase())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_understood_and_ordered() {
        let folder = tempfile::tempdir().unwrap();
        let volumes = Volumes::open(folder.path(), Default::default()).unwrap();
        let binds = |list: &[&str]| HostConfig {
            binds: Some(list.iter().map(|b| (*b).to_owned()).collect()),
            ..Default::default()
        };
        let points = |host: &HostConfig| {
            let (none, no_image) = (|_: &str| Ok(Vec::new()), |_: &str| Err(Error::not_found("none")));
            let mut found = BTreeMap::new();
            resolve(host, &["/data/".into()], &volumes, none, no_image, &mut found)?;
            Ok::<_, Error>(found.into_values().collect::<Vec<_>>())
        };
        let found = points(&binds(&["/etc:/a/b:ro,rslave", "named:/a"])).unwrap();
        let short: Vec<_> =
            found.iter().map(|p| (p.kind.as_str(), p.destination.as_str(), p.writable)).collect();
        assert_eq!(short, [("volume", "/a", true), ("bind", "/a/b", false), ("volume", "/data", true)]);
        assert!(found[2].anonymous && !found[0].anonymous);
        for bad in ["/etc:relative", "/etc:/", "/etc:/x:odd", "a:b:c:d", "../x:/y", "/etc:/data/../.."] {
            assert!(points(&binds(&[bad])).is_err(), "{bad}");
        }
        assert!(points(&binds(&["/etc:/x", "/usr:/x/"])).is_err());
    }
}
