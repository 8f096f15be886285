//! `mounts`: what is mounted where, and how.

use super::namespaces::check_map;
use super::options::{self, Bind, Options};
use super::{PlanError, Result, c_string};
use crate::{spec, weak};
use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::fmt::{Display, Formatter};
use std::path::{Component, Path, PathBuf};

/// One entry of `mounts`.
#[derive(Debug, PartialEq, Eq)]
pub struct MountPlan {
    /// Its position in `mounts`, for messages.
    pub index: usize,
    /// The mount point, from the root of the container, without `.`, `..` or a slash too many.
    pub destination: OsString,
    /// What is mounted.
    pub what: What,
    /// `MOUNT_ATTR_…` and propagation.
    pub attributes: Attributes,
    /// The last part of the destination is not followed when it is a link.
    pub destination_nofollow: bool,
    /// The destination is right below a tmpfs that was mounted before: as a rule there is nothing yet.
    pub in_fresh: bool,
    /// It is such a tmpfs, and file systems are mounted right below it.
    pub is_filled: bool,
    /// It becomes read-only when all else is in its place.
    pub read_only_last: bool,
    /// The map through which ids are shown.
    pub idmap: Option<Idmap>,
    /// Options that mean nothing for what is no fresh file system, which engines pass through all the same.
    pub ignored: Vec<String>,
}

/// What is mounted.
#[derive(Debug, PartialEq, Eq)]
pub enum What {
    /// A file or directory of the host.
    Bind {
        /// The absolute source path.
        source: PathBuf,
        /// With all mounts below it.
        tree: bool,
        /// The last part of the source is not followed when it is a link.
        nofollow: bool,
        /// A source that is a link is made again at the destination.
        copy_symlink: bool,
    },
    /// A new instance of a file system.
    FileSystem {
        /// The type, e.g. `tmpfs`.
        kind: CString,
        /// The source, shown in the mount table.
        source: Option<CString>,
        /// Keys and values for the file system, in order.
        data: Vec<(CString, Option<CString>)>,
        /// What is below the mount point is copied into it.
        copy_up: bool,
    },
    /// The container's own view of the control groups, whatever the host's layout is.
    Cgroup {
        /// It is `cgroup2`: the unified hierarchy, also where the host has others beside it.
        unified: bool,
    },
    /// Attributes of what is already mounted at the destination are changed.
    Remount,
}

/// `MOUNT_ATTR_…` bits to set and clear, on the mount and on its tree, then propagation types in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Set on the mount.
    pub set: u64,
    /// Cleared on the mount.
    pub clear: u64,
    /// Set on the tree.
    pub recursive_set: u64,
    /// Cleared on the tree.
    pub recursive_clear: u64,
    /// `MS_SHARED` and its like with whether the whole tree is meant.
    pub propagation: Vec<(u64, bool)>,
}

/// The ids of an id-mapped mount (mount_setattr(2), `MOUNT_ATTR_IDMAP`).
#[derive(Debug, PartialEq, Eq)]
pub struct Idmap {
    /// The whole tree, not the mount alone.
    pub tree: bool,
    /// Ids on disk to ids seen; empty: the container's own user namespace.
    pub uids: Vec<spec::IdMapping>,
    /// The same for groups.
    pub gids: Vec<spec::IdMapping>,
}

/// Where a field of a mount is in config.json.
struct Field {
    index: usize,
    name: &'static str,
}

impl Display for Field {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        write!(out, "mounts[{}].{}", self.index, self.name)
    }
}

/// Plans all mounts. `bundle` is the directory that relative sources start from; `label` the option that gives a file system
/// its SELinux label (`context=...`, mount(8)), or empty.
///
/// # Errors
/// A destination or source that is missing, an option that does not fit.
pub fn plan(mounts: &[spec::Mount], bundle: &Path, label: &str, userns: bool) -> Result<Vec<MountPlan>> {
    let mut fresh = BTreeMap::new();
    let mut all: Vec<MountPlan> = Vec::with_capacity(mounts.len());
    for (index, mount) in mounts.iter().enumerate() {
        let mut planned = one(index, mount, bundle, label, userns)?;
        let above = Path::new(&planned.destination).parent();
        if let Some(above) = above.and_then(|above| fresh.get(above.as_os_str())) {
            planned.in_fresh = true;
            let above: Option<&mut MountPlan> = all.get_mut(*above);
            if let (Some(above), What::FileSystem { .. }) = (above, &planned.what) {
                above.is_filled = true;
            }
        }
        if planned.is_empty_tmpfs() {
            fresh.insert(planned.destination.clone(), index);
        }
        all.push(planned);
    }
    Ok(all)
}

impl MountPlan {
    /// Whether it is a tmpfs into which nothing is copied.
    #[must_use]
    pub fn is_empty_tmpfs(&self) -> bool {
        matches!(&self.what, What::FileSystem { kind, copy_up: false, .. } if kind.as_c_str() == c"tmpfs")
    }

    /// Lets a tmpfs be written to until all else is in its place: it has nothing at first, not even what is mounted or made in
    /// it by other entries.
    pub fn fill_first(&mut self) {
        let is_tmpfs = matches!(&self.what, What::FileSystem { kind, .. } if kind.as_c_str() == c"tmpfs");
        let Attributes { set, recursive_set, .. } = &mut self.attributes;
        if is_tmpfs && (*set | *recursive_set) & libc::MOUNT_ATTR_RDONLY != 0 {
            *set &= !libc::MOUNT_ATTR_RDONLY;
            *recursive_set &= !libc::MOUNT_ATTR_RDONLY;
            self.read_only_last = true;
        }
    }
}

/// `nosuid`, `nodev`, `noexec`.
const HARMLESS: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;

/// Plans one mount.
///
/// # Errors
/// As [`plan`].
pub fn one(index: usize, mount: &spec::Mount, bundle: &Path, label: &str, userns: bool) -> Result<MountPlan> {
    let path = |name| Field { index, name };
    let at = |field, problem: String| PlanError::at(path(field), problem);
    if mount.destination.is_empty() {
        return Err(at("destination", "is empty; expected a path in the container".to_owned()));
    }
    let destination = clean(&mount.destination);
    if destination == "/" {
        let problem =
            format!("{:?} is the root file system itself; expected a path in it", mount.destination);
        return Err(at("destination", problem));
    }
    c_string(path("destination"), &mount.destination)?;
    c_string(path("source"), &mount.source)?;
    let mut options = options::plan(path("options"), &mount.options)?;
    if options.bind.is_none() && mount.kind == "bind" {
        options.bind = Some(Bind::One);
    }
    let idmap = idmap(mount, &options, &path, userns)?;
    let what = what(mount, &options, bundle, label, &path)?;
    let bind = matches!(what, What::Bind { .. });
    let ignored = if bind || matches!(what, What::Cgroup { .. }) { options.data } else { Vec::new() };
    if options.copy_up && !matches!(&what, What::FileSystem { kind, .. } if kind.as_c_str() == c"tmpfs") {
        return Err(at("options", "\"tmpcopyup\" is only for tmpfs".to_owned()));
    }
    if !bind && (options.copy_symlink || options.source_nofollow) {
        return Err(at(
            "options",
            "\"copy-symlink\" and \"src-nofollow\" are only for bind mounts".to_owned(),
        ));
    }
    // Nothing is to be run from there, and no device to be meant, whether somebody has thought of writing it or not.
    let never = match what {
        What::Cgroup { unified: false } => HARMLESS & !options.clear,
        _ => 0,
    };
    Ok(MountPlan {
        index,
        destination,
        what,
        attributes: Attributes {
            set: options.set | never,
            clear: options.clear,
            recursive_set: options.recursive_set,
            recursive_clear: options.recursive_clear,
            propagation: options.propagation,
        },
        destination_nofollow: options.destination_nofollow,
        in_fresh: false,
        is_filled: false,
        read_only_last: false,
        idmap,
        ignored,
    })
}

/// A destination as a path from the root that has one spelling: what is compared with it must not miss it. `..` takes the name
/// before it away, be that a link or not, as runc does.
fn clean(destination: &str) -> OsString {
    let mut clean = PathBuf::from("/");
    for part in Path::new(destination).components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir if weak::off("dots") => clean.push(".."),
            Component::ParentDir => {
                clean.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    clean.into_os_string()
}

fn what(
    mount: &spec::Mount,
    options: &Options,
    bundle: &Path,
    label: &str,
    path: &dyn Fn(&'static str) -> Field,
) -> Result<What> {
    if options.remount {
        return Ok(What::Remount);
    }
    if let Some(bind) = options.bind {
        if mount.source.is_empty() {
            return Err(PlanError::at(path("source"), "is empty; expected the path to bind"));
        }
        return Ok(What::Bind {
            source: bundle.join(&mount.source),
            tree: bind == Bind::Tree,
            nofollow: options.source_nofollow,
            copy_symlink: options.copy_symlink,
        });
    }
    match mount.kind.as_str() {
        "" => Err(PlanError::at(
            path("type"),
            "is empty; expected a file system, or \"bind\" among the options",
        )),
        kind @ ("cgroup" | "cgroup2") => Ok(What::Cgroup { unified: kind == "cgroup2" }),
        kind => file_system(mount, kind, options, label, path),
    }
}

fn file_system(
    mount: &spec::Mount,
    kind: &str,
    options: &Options,
    label: &str,
    path: &dyn Fn(&'static str) -> Field,
) -> Result<What> {
    let mut data = Vec::with_capacity(options.data.len() + options.superblock.len() + 1);
    for name in &options.superblock {
        data.push((c_string(path("options"), name)?, None));
    }
    // With mount(2), "ro" is a property of the file system as well as of the mount. A tmpfs has to be filled first.
    if options.set & libc::MOUNT_ATTR_RDONLY != 0 && kind != "tmpfs" {
        data.push((c"ro".to_owned(), None));
    }
    for option in &options.data {
        let (key, value) = match option.split_once('=') {
            Some((key, value)) => (key, Some(c_string(path("options"), value)?)),
            None => (option.as_str(), None),
        };
        data.push((c_string(path("options"), key)?, value));
    }
    // These three have no labels of their own.
    if let Some((option, label)) =
        label.split_once('=').filter(|_| !matches!(kind, "proc" | "sysfs" | "mqueue"))
    {
        let key = c_string("linux.mountLabel", option)?;
        data.push((key, Some(c_string("linux.mountLabel", label)?)));
    }
    let source = (!mount.source.is_empty()).then(|| c_string(path("source"), &mount.source)).transpose()?;
    Ok(What::FileSystem { kind: c_string(path("type"), kind)?, source, data, copy_up: options.copy_up })
}

fn idmap(
    mount: &spec::Mount,
    options: &Options,
    path: &dyn Fn(&'static str) -> Field,
    userns: bool,
) -> Result<Option<Idmap>> {
    let mapped = !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty();
    if options.idmap.is_none() && !mapped {
        return Ok(None);
    }
    let tree = options.idmap.unwrap_or(false);
    if mapped {
        if mount.uid_mappings.is_empty() || mount.gid_mappings.is_empty() {
            let problem = "uidMappings and gidMappings must both be there";
            return Err(PlanError::at(path("uidMappings"), problem));
        }
        check_map(path("uidMappings"), &mount.uid_mappings)?;
        check_map(path("gidMappings"), &mount.gid_mappings)?;
        return Ok(Some(Idmap { tree, uids: mount.uid_mappings.clone(), gids: mount.gid_mappings.clone() }));
    }
    if let Some(text) = &options.idmap_text {
        let (uids, gids) = parse_idmap(text).ok_or_else(|| {
            let problem = format!(
                "{:?} is not a map; expected uids=CONTAINER-HOST-SIZE#…;gids=…",
                format!("idmap={text}")
            );
            PlanError::at(path("options"), problem)
        })?;
        for map in [&uids, &gids] {
            check_map("idmap", map).map_err(|error| PlanError::at(path("options"), error.to_string()))?;
        }
        return Ok(Some(Idmap { tree, uids, gids }));
    }
    if !userns {
        let problem = "\"idmap\" without mappings needs a user namespace";
        return Err(PlanError::at(path("options"), problem));
    }
    Ok(Some(Idmap { tree, uids: Vec::new(), gids: Vec::new() }))
}

/// crun's `idmap=uids=0-1000-10#10-2000-5;gids=0-1000-10`.
fn parse_idmap(text: &str) -> Option<(Vec<spec::IdMapping>, Vec<spec::IdMapping>)> {
    let list = |text: &str| -> Option<Vec<spec::IdMapping>> {
        text.split('#')
            .map(|entry| {
                let mut numbers = entry.split('-').map(|number| number.parse().ok());
                let mapping = spec::IdMapping {
                    container_id: numbers.next()??,
                    host_id: numbers.next()??,
                    size: numbers.next()??,
                };
                numbers.next().is_none().then_some(mapping)
            })
            .collect()
    };
    let (mut uids, mut gids) = (Vec::new(), Vec::new());
    for part in text.split(';') {
        match part.split_once('=')? {
            ("uids", entries) => uids = list(entries)?,
            ("gids", entries) => gids = list(entries)?,
            _ => return None,
        }
    }
    (!uids.is_empty() && !gids.is_empty()).then_some((uids, gids))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, source: &str, options: &[&str]) -> spec::Mount {
        spec::Mount {
            destination: "/x".to_owned(),
            kind: kind.to_owned(),
            source: source.to_owned(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            ..Default::default()
        }
    }

    fn planned(mount: &spec::Mount) -> Result<MountPlan> {
        one(3, mount, Path::new("/bundle"), "", false)
    }

    #[test]
    fn what_is_right_below_a_tmpfs_is_known() {
        let at = |destination: &str, kind: &str, options: &[&str]| spec::Mount {
            destination: destination.to_owned(),
            ..mount(kind, kind, options)
        };
        let mounts = [
            at("/dev/pts", "devpts", &[]),
            at("/dev", "tmpfs", &[]),
            at("/dev/shm", "tmpfs", &[]),
            at("/dev/shm/a/b", "tmpfs", &[]),
            at("/filled", "tmpfs", &["tmpcopyup"]),
            at("/filled/a", "tmpfs", &[]),
        ];
        let planned = plan(&mounts, Path::new("/bundle"), "", false).expect("valid");
        let filled: Vec<bool> = planned.iter().map(|mount| mount.is_filled).collect();
        assert_eq!(filled, [false, true, false, false, false, false]);
        let fresh: Vec<bool> = planned.iter().map(|mount| mount.in_fresh).collect();
        assert_eq!(fresh, [false, false, true, false, false, false]);
    }

    #[test]
    fn destinations_have_one_spelling() {
        let at = |destination: &str| spec::Mount {
            destination: destination.to_owned(),
            ..mount("tmpfs", "tmpfs", &[])
        };
        for (given, expected) in [
            ("/a", "/a"),
            ("a/b", "/a/b"),
            ("//a/./b//", "/a/b"),
            ("/a/../b", "/b"),
            ("../../a", "/a"),
            ("/sys/../link/sub", "/link/sub"),
            ("/a..b/...", "/a..b/..."),
        ] {
            assert_eq!(planned(&at(given)).expect("valid").destination, expected);
        }
        for root in ["/", "..", "/a/..", "//./"] {
            let error = planned(&at(root)).expect_err(root).to_string();
            assert!(error.contains("is the root file system itself"), "{error}");
        }
    }

    #[test]
    fn relative_sources_start_from_the_bundle() {
        let plan = planned(&mount("none", "data", &["bind"])).expect("valid");
        assert!(
            matches!(plan.what, What::Bind { source, tree: false, .. } if source == Path::new("/bundle/data"))
        );
    }

    #[test]
    fn read_only_is_a_property_of_the_file_system_too_except_for_tmpfs() {
        for (kind, expected) in [("sysfs", true), ("tmpfs", false)] {
            let plan = planned(&mount(kind, kind, &["ro"])).expect("valid");
            let What::FileSystem { data, .. } = plan.what else { panic!("a file system") };
            assert_eq!(data.contains(&(c"ro".to_owned(), None)), expected, "{kind}");
            assert_eq!(plan.attributes.set, libc::MOUNT_ATTR_RDONLY);
        }
    }

    #[test]
    fn problems_name_their_place() {
        for (mount, expected) in [
            (mount("", "", &[]), "mounts[3].type: is empty"),
            (mount("bind", "", &[]), "mounts[3].source: is empty"),
            (mount("proc", "proc", &["tmpcopyup"]), "mounts[3].options: \"tmpcopyup\" is only for tmpfs"),
            (
                mount("bind", "/a", &["idmap"]),
                "mounts[3].options: \"idmap\" without mappings needs a user namespace",
            ),
            (mount("bind", "/a", &["idmap=uids=1"]), "mounts[3].options: \"idmap=uids=1\" is not a map"),
            (mount("tmpfs", "a\0b", &[]), "mounts[3].source: "),
            (mount("bind", "/a", &["idmap=uids=0-1-0;gids=0-1-1"]), "mounts[3].options: idmap[0]: size is 0"),
            (
                spec::Mount {
                    uid_mappings: vec![spec::IdMapping { size: 1, ..Default::default() }],
                    gid_mappings: vec![spec::IdMapping { size: 1, ..Default::default() }; 2],
                    ..mount("bind", "/a", &[])
                },
                "mounts[3].gidMappings[1]: overlaps",
            ),
        ] {
            let error = planned(&mount).expect_err(expected).to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn maps_in_options() {
        let map = |container_id, host_id, size| spec::IdMapping { container_id, host_id, size };
        assert_eq!(
            parse_idmap("uids=0-1000-10#10-2000-5;gids=0-3-4"),
            Some((vec![map(0, 1000, 10), map(10, 2000, 5)], vec![map(0, 3, 4)]))
        );
    }
}
