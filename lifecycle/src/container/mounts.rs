//! What is mounted into a container: `-v`, `--mount`, `--tmpfs`, `--volumes-from` and the image's volumes.

use std::path::{Component, Path, PathBuf};

use bollard_stubs::models::{HostConfig, Mount, MountType};

use super::record::MountPoint;
use crate::error::{Result, bail, error};
use crate::volume::Volumes;

/// Propagations that a bind mount may have.
const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// What a container is to have mounted; `others` are the mounts of the containers in `VolumesFrom`, in order. Volumes
/// that do not exist are made.
///
/// # Errors
/// When a mount makes no sense, or a volume cannot be made.
pub fn resolve(
    host: &HostConfig,
    image_volumes: &[String],
    others: &[(Vec<MountPoint>, String)],
    volumes: &Volumes,
) -> Result<Vec<MountPoint>> {
    let mut points: Vec<MountPoint> = Vec::new();
    let mut add = |point: MountPoint, replace: bool| {
        let same = points.iter().position(|other| other.destination == point.destination);
        match same {
            Some(at) if replace => points[at] = point,
            Some(_) => bail!(invalid, "Duplicate mount point: {}", point.destination),
            None => points.push(point),
        }
        Ok(())
    };
    for (mounts, mode) in others {
        let read_only = match mode.as_str() {
            "" | "rw" | "z" | "Z" => false,
            "ro" => true,
            other => bail!(invalid, "invalid mode for volumes-from: {other}"),
        };
        for mount in mounts.iter().filter(|mount| mount.kind != "tmpfs") {
            let writable = mount.writable && !read_only;
            add(MountPoint { writable, anonymous: false, no_copy: true, ..mount.clone() }, true)?;
        }
    }
    let inherited = others.iter().map(|(mounts, _)| mounts.len()).sum::<usize>();
    for bind in host.binds.iter().flatten() {
        add(from_bind(bind, volumes)?, inherited > 0)?;
    }
    for mount in host.mounts.iter().flatten() {
        add(from_mount(mount, volumes)?, inherited > 0)?;
    }
    for (destination, options) in host.tmpfs.iter().flatten() {
        let options = options.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect();
        let destination = destination_of(destination)?;
        add(
            MountPoint { kind: "tmpfs".into(), destination, writable: true, options, ..Default::default() },
            false,
        )?;
    }
    let missing: Vec<String> = image_volumes
        .iter()
        .map(|path| destination_of(path))
        .filter(|path| {
            path.as_ref().map_or(true, |path| !points.iter().any(|point| point.destination == *path))
        })
        .collect::<Result<_>>()?;
    for destination in missing {
        points.push(volume_point(None, destination, "", true, volumes)?);
    }
    // What is mounted below another mount has to come after it.
    points.sort_by_key(|point| Path::new(&point.destination).components().count());
    Ok(points)
}

/// An absolute path in the container, tidied up.
fn destination_of(text: &str) -> Result<String> {
    let path = Path::new(text);
    if !path.is_absolute() {
        bail!(invalid, "invalid mount config: mount path must be absolute: {text:?}");
    }
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    if clean == Path::new("/") {
        bail!(invalid, "invalid specification: destination can't be '/'");
    }
    Ok(clean.to_string_lossy().into_owned())
}

/// `source:destination[:options]`.
fn from_bind(text: &str, volumes: &Volumes) -> Result<MountPoint> {
    let bad = || error!(invalid, "invalid volume specification: '{text}'");
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, mode) = match parts[..] {
        [destination] => return volume_point(None, destination_of(destination)?, "", true, volumes),
        [source, destination] => (source, destination, ""),
        [source, destination, mode] => (source, destination, mode),
        _ => return Err(bad()),
    };
    let (mut writable, mut propagation, mut no_copy) = (true, String::new(), false);
    let words: Vec<&str> = mode.split(',').filter(|option| !option.is_empty()).collect();
    if words.contains(&"ro") && words.contains(&"rw") {
        bail!(invalid, "invalid mode: {mode}");
    }
    for option in words {
        match option {
            "ro" => writable = false,
            // Labels mean nothing where SELinux is not in use, and the consistency is a wish of another system.
            "rw" | "z" | "Z" | "cached" | "delegated" | "consistent" => {}
            "nocopy" => no_copy = true,
            other if PROPAGATIONS.contains(&other) => propagation = other.to_owned(),
            _ => bail!(invalid, "invalid mode: {mode}"),
        }
    }
    let destination = destination_of(destination)?;
    if !source.starts_with('/') {
        if source.is_empty() || !propagation.is_empty() {
            return Err(bad());
        }
        let point = volume_point(Some(source), destination, mode, writable, volumes)?;
        return Ok(MountPoint { no_copy, ..point });
    }
    if !Path::new(source).exists() {
        // As it has always been with -v; --mount refuses.
        crate::files::make_dir(Path::new(source), 0o755)?;
    }
    Ok(MountPoint {
        kind: "bind".into(),
        source: source.to_owned(),
        destination,
        mode: mode.to_owned(),
        writable,
        propagation,
        ..Default::default()
    })
}

fn from_mount(mount: &Mount, volumes: &Volumes) -> Result<MountPoint> {
    let destination = destination_of(mount.target.as_deref().unwrap_or_default())?;
    let writable = !mount.read_only.unwrap_or(false);
    let source = mount.source.as_deref().unwrap_or_default();
    let bad = |kind: &str, why: String| error!(invalid, "invalid mount config for type \"{kind}\": {why}");
    match mount.typ {
        Some(MountType::BIND) => {
            let options = mount.bind_options.clone().unwrap_or_default();
            if !source.starts_with('/') {
                return Err(bad(
                    "bind",
                    format!("invalid mount path: '{source}' mount path must be absolute"),
                ));
            }
            if !Path::new(source).exists() {
                if options.create_mountpoint != Some(true) {
                    return Err(bad("bind", format!("bind source path does not exist: {source}")));
                }
                crate::files::make_dir(Path::new(source), 0o755)?;
            }
            let alone = options.read_only_non_recursive == Some(true);
            if writable && (alone || options.read_only_force_recursive == Some(true)) {
                return Err(bad("bind", "mount must be set to ReadOnly".into()));
            }
            Ok(MountPoint {
                kind: "bind".into(),
                source: source.to_owned(),
                destination,
                writable,
                propagation: options.propagation.map(|p| p.to_string()).unwrap_or_default(),
                shallow: options.non_recursive.unwrap_or(false),
                read_only_alone: alone,
                ..Default::default()
            })
        }
        Some(MountType::VOLUME) => {
            let options = mount.volume_options.clone().unwrap_or_default();
            if options.subpath.is_some_and(|path| !path.is_empty()) {
                return Err(bad("volume", "Subpath is not offered".into()));
            }
            let driver = options.driver_config.unwrap_or_default();
            if !matches!(driver.name.as_deref(), None | Some("" | "local")) {
                return Err(bad(
                    "volume",
                    format!("volume driver {:?} not found", driver.name.unwrap_or_default()),
                ));
            }
            let name = Some(source).filter(|name| !name.is_empty());
            if let Some(name) = name {
                volumes.create(
                    Some(name),
                    options.labels.unwrap_or_default(),
                    driver.options.unwrap_or_default(),
                )?;
            }
            let point = volume_point(name, destination, "", writable, volumes)?;
            Ok(MountPoint { no_copy: options.no_copy.unwrap_or(false), ..point })
        }
        Some(MountType::TMPFS) => {
            let options = mount.tmpfs_options.clone().unwrap_or_default();
            let mut words = Vec::new();
            words.extend(options.size_bytes.filter(|size| *size > 0).map(|size| format!("size={size}")));
            words.extend(options.mode.filter(|mode| *mode > 0).map(|mode| format!("mode={mode:o}")));
            words.extend(options.options.into_iter().flatten().map(|pair| pair.join("=")));
            if !source.is_empty() {
                return Err(bad("tmpfs", "Source must not be specified".into()));
            }
            Ok(MountPoint {
                kind: "tmpfs".into(),
                destination,
                writable,
                options: words,
                ..Default::default()
            })
        }
        other => Err(error!(invalid, "mount type {other:?} is not offered: expected bind, volume or tmpfs")),
    }
}

fn volume_point(
    name: Option<&str>,
    destination: String,
    mode: &str,
    writable: bool,
    volumes: &Volumes,
) -> Result<MountPoint> {
    let volume = volumes.create(name, Default::default(), Default::default())?;
    Ok(MountPoint {
        kind: "volume".into(),
        source: volumes.data(&volume.name).to_string_lossy().into_owned(),
        volume: Some(volume.name),
        anonymous: name.is_none(),
        destination,
        mode: mode.to_owned(),
        writable,
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_understood_and_ordered() {
        let folder = tempfile::tempdir().unwrap();
        let volumes = Volumes::open(folder.path()).unwrap();
        let binds = |list: &[&str]| HostConfig {
            binds: Some(list.iter().map(|b| (*b).to_owned()).collect()),
            ..Default::default()
        };
        let points = |host: &HostConfig| resolve(host, &["/data/".into()], &[], &volumes);
        let found = points(&binds(&["/etc:/a/b:ro,rslave", "named:/a"])).unwrap();
        let short: Vec<_> =
            found.iter().map(|p| (p.kind.as_str(), p.destination.as_str(), p.writable)).collect();
        assert_eq!(short, [("volume", "/a", true), ("volume", "/data", true), ("bind", "/a/b", false)]);
        assert!(found[1].anonymous && !found[0].anonymous);
        for bad in ["/etc:relative", "/etc:/", "/etc:/x:odd", "a:b:c:d", "../x:/y", "/etc:/data/../.."] {
            assert!(points(&binds(&[bad])).is_err(), "{bad}");
        }
        assert!(points(&binds(&["/etc:/x", "/usr:/x/"])).is_err());
    }
}
