//! `mounts[].options`: names to flags, propagation and file system data.

use super::{PlanError, Result, lookup};
use std::fmt::Display;

/// What a list of options asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `MOUNT_ATTR_…` to set on the mount.
    pub set: u64,
    /// `MOUNT_ATTR_…` to clear on the mount.
    pub clear: u64,
    /// `MOUNT_ATTR_…` to set on the whole tree.
    pub recursive_set: u64,
    /// `MOUNT_ATTR_…` to clear on the whole tree.
    pub recursive_clear: u64,
    /// `MS_SHARED` and its like with whether the whole tree is meant, in order.
    pub propagation: Vec<(u64, bool)>,
    /// A bind mount: of the mount alone or of the tree.
    pub bind: Option<Bind>,
    /// `remount`.
    pub remount: bool,
    /// Flags of the file system itself, by the names fsconfig(2) takes: `sync`, `dirsync`, `lazytime`, `mand`…
    pub superblock: Vec<&'static str>,
    /// Everything else: passed to the file system as it is.
    pub data: Vec<String>,
    /// What is below the mount point is copied into the fresh tmpfs.
    pub copy_up: bool,
    /// Ids are mapped: with `Some(true)` on the whole tree.
    pub idmap: Option<bool>,
    /// The map of an `idmap=…` option, as written.
    pub idmap_text: Option<String>,
    /// A source that is a link is made again at the destination instead of being mounted.
    pub copy_symlink: bool,
    /// The last part of the source is not followed when it is a link.
    pub source_nofollow: bool,
    /// The last part of the destination is not followed when it is a link.
    pub destination_nofollow: bool,
}

/// How much of the source a bind mount shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bind {
    /// The mount alone.
    One,
    /// The mount with all mounts below it.
    Tree,
}

#[derive(Clone, Copy)]
enum Effect {
    Set(u64),
    Clear(u64),
    Propagation(u64),
    Superblock(&'static str),
    Without(&'static str),
    Bind(Bind),
    Remount,
    CopyUp,
    Idmap(bool),
    CopySymlink,
    SourceNofollow,
    DestinationNofollow,
    Nothing,
}

use Effect::{Clear, Propagation, Set, Superblock};

/// Every option that is not passed on to the file system, in the order `features` lists them (sorted).
const OPTIONS: &[(&str, Effect)] = &[
    ("acl", Effect::Nothing),
    ("async", Effect::Without("sync")),
    ("atime", Clear(libc::MOUNT_ATTR_NOATIME)),
    ("bind", Effect::Bind(Bind::One)),
    ("copy-symlink", Effect::CopySymlink),
    ("defaults", Effect::Nothing),
    ("dest-nofollow", Effect::DestinationNofollow),
    ("dev", Clear(libc::MOUNT_ATTR_NODEV)),
    ("diratime", Clear(libc::MOUNT_ATTR_NODIRATIME)),
    ("dirsync", Superblock("dirsync")),
    ("exec", Clear(libc::MOUNT_ATTR_NOEXEC)),
    ("idmap", Effect::Idmap(false)),
    ("iversion", Effect::Nothing),
    ("lazytime", Superblock("lazytime")),
    ("loud", Effect::Nothing),
    ("mand", Superblock("mand")),
    ("noacl", Effect::Nothing),
    ("noatime", Set(libc::MOUNT_ATTR_NOATIME)),
    ("nodev", Set(libc::MOUNT_ATTR_NODEV)),
    ("nodiratime", Set(libc::MOUNT_ATTR_NODIRATIME)),
    ("noexec", Set(libc::MOUNT_ATTR_NOEXEC)),
    ("noiversion", Effect::Nothing),
    ("nolazytime", Effect::Without("lazytime")),
    ("nomand", Effect::Without("mand")),
    ("norelatime", Set(libc::MOUNT_ATTR_STRICTATIME)),
    ("nostrictatime", Clear(libc::MOUNT_ATTR_STRICTATIME)),
    ("nosuid", Set(libc::MOUNT_ATTR_NOSUID)),
    ("nosymfollow", Set(libc::MOUNT_ATTR_NOSYMFOLLOW)),
    ("private", Propagation(libc::MS_PRIVATE)),
    ("rbind", Effect::Bind(Bind::Tree)),
    // Relative is the absence of the other two.
    ("relatime", Clear(libc::MOUNT_ATTR__ATIME)),
    ("remount", Effect::Remount),
    ("ridmap", Effect::Idmap(true)),
    ("ro", Set(libc::MOUNT_ATTR_RDONLY)),
    ("rw", Clear(libc::MOUNT_ATTR_RDONLY)),
    ("shared", Propagation(libc::MS_SHARED)),
    ("silent", Effect::Nothing),
    ("slave", Propagation(libc::MS_SLAVE)),
    ("src-nofollow", Effect::SourceNofollow),
    ("strictatime", Set(libc::MOUNT_ATTR_STRICTATIME)),
    ("suid", Clear(libc::MOUNT_ATTR_NOSUID)),
    ("symfollow", Clear(libc::MOUNT_ATTR_NOSYMFOLLOW)),
    ("sync", Superblock("sync")),
    ("tmpcopyup", Effect::CopyUp),
    ("unbindable", Propagation(libc::MS_UNBINDABLE)),
];

/// Attributes that exist with an `r` before them: for the whole tree (mount_setattr(2), `AT_RECURSIVE`).
const RECURSIVE: &[&str] = &[
    "ro",
    "rw",
    "nosuid",
    "suid",
    "nodev",
    "dev",
    "noexec",
    "exec",
    "noatime",
    "atime",
    "nodiratime",
    "diratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "nosymfollow",
    "symfollow",
];

/// Every option that has a meaning here, for `features`.
#[must_use]
pub fn known() -> Vec<String> {
    let mut names: Vec<String> = OPTIONS.iter().map(|(name, _)| (*name).to_owned()).collect();
    names.extend(RECURSIVE.iter().map(|name| format!("r{name}")));
    names.extend(["rprivate", "rshared", "rslave", "runbindable"].map(str::to_owned));
    names.sort();
    names
}

/// Reads a list of options. Later ones win over earlier ones that they contradict.
///
/// # Errors
/// A malformed `idmap=`; everything unknown is the file system's to judge.
pub fn plan(path: impl Display, options: &[String]) -> Result<Options> {
    let mut planned = Options::default();
    for option in options {
        if let Some(effect) = lookup(OPTIONS, option) {
            planned.apply(effect);
        } else if let Some(effect) = option.strip_prefix('r').and_then(recursive) {
            planned.apply_recursively(effect);
        } else if let Some((kind, map)) =
            option.split_once('=').filter(|(key, _)| matches!(*key, "idmap" | "ridmap"))
        {
            if map.is_empty() {
                return Err(PlanError::at(path, format!("{option:?} has no map")));
            }
            planned.idmap = Some(kind == "ridmap");
            planned.idmap_text = Some(map.to_owned());
        } else if !option.is_empty() {
            planned.data.push(option.clone());
        }
    }
    Ok(planned)
}

/// The effect of `name` after an `r`: an attribute for the whole tree, or a propagation type.
fn recursive(name: &str) -> Option<Effect> {
    let effect = lookup(OPTIONS, name)?;
    (RECURSIVE.contains(&name) || matches!(effect, Propagation(_))).then_some(effect)
}

impl Options {
    fn apply(&mut self, effect: Effect) {
        match effect {
            Set(bits) => change(&mut self.set, &mut self.clear, bits),
            Clear(bits) => change(&mut self.clear, &mut self.set, bits),
            Propagation(kind) => self.propagation.push((kind, false)),
            Superblock(name) => self.superblock.push(name),
            Effect::Without(name) => self.superblock.retain(|other| *other != name),
            // In either order the tree, as flags of mount(2) add up.
            Effect::Bind(bind) => self.bind = self.bind.max(Some(bind)),
            Effect::Remount => self.remount = true,
            Effect::CopyUp => self.copy_up = true,
            Effect::Idmap(tree) => self.idmap = Some(tree),
            Effect::CopySymlink => self.copy_symlink = true,
            Effect::SourceNofollow => self.source_nofollow = true,
            Effect::DestinationNofollow => self.destination_nofollow = true,
            Effect::Nothing => {}
        }
    }

    fn apply_recursively(&mut self, effect: Effect) {
        match effect {
            Set(bits) => change(&mut self.recursive_set, &mut self.recursive_clear, bits),
            Clear(bits) => change(&mut self.recursive_clear, &mut self.recursive_set, bits),
            Propagation(kind) => self.propagation.push((kind, true)),
            _ => {}
        }
    }
}

/// Adds `bits` to one set and takes them from the other. The three access time modes exclude each other.
fn change(to: &mut u64, from: &mut u64, bits: u64) {
    if bits & libc::MOUNT_ATTR__ATIME != 0 {
        *to &= !libc::MOUNT_ATTR__ATIME;
    }
    *to |= bits;
    *from &= !bits;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(list: &[&str]) -> Options {
        let list: Vec<String> = list.iter().map(|option| (*option).to_owned()).collect();
        plan("mounts[0].options", &list).expect("valid")
    }

    #[test]
    fn later_options_win() {
        let planned = options(&["ro", "nosuid", "rw", "suid", "nodev"]);
        assert_eq!(planned.set, libc::MOUNT_ATTR_NODEV);
        assert_eq!(planned.clear, libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID);
        assert_eq!(options(&["noatime", "strictatime"]).set, libc::MOUNT_ATTR_STRICTATIME);
    }

    #[test]
    fn trees_and_propagation() {
        let planned = options(&["rbind", "rro", "rslave", "private"]);
        assert_eq!(planned.bind, Some(Bind::Tree));
        assert_eq!((planned.set, planned.recursive_set), (0, libc::MOUNT_ATTR_RDONLY));
        assert_eq!(planned.propagation, [(libc::MS_SLAVE, true), (libc::MS_PRIVATE, false)]);
    }

    #[test]
    fn the_rest_is_data() {
        let planned = options(&["size=64k", "mode=755", "rootcontext=x", "r", "", "rnothing"]);
        assert_eq!(planned.data, ["size=64k", "mode=755", "rootcontext=x", "r", "rnothing"]);
    }

    #[test]
    fn every_known_option_is_not_data() {
        for name in known() {
            assert!(options(&[&name]).data.is_empty(), "{name}");
        }
        assert!(OPTIONS.is_sorted_by_key(|(name, _)| *name));
    }
}
