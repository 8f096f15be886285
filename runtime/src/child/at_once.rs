//! A fresh file system in one call, and one to get to its place.
//!
//! mount(2) knows no descriptors, but three places are as certain as one: the directory that a process is in needs no path, a
//! name in a file system that was made here and that nobody else can reach leads where it was made to lead, and in a mount
//! namespace that nobody else is in, `/proc` is the host's. What is not done in this way is left to the mount API of Linux
//! 5.2, a call for each option and four more, which can also say what was wrong with which one. Never mounts what somebody
//! else could take the place of before it is used.

use crate::plan::mounts::Attributes;
use crate::sys::fd::{self, LazyFd};
use nix::fcntl::{OFlag, openat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;

/// File systems that take their options from one text as they do one by one.
const KINDS: [&CStr; 5] = [c"devpts", c"mqueue", c"proc", c"sysfs", c"tmpfs"];

/// An option of a file system, and its value.
pub type Setting<'a> = (&'a CStr, Option<&'a CStr>);

/// What both ways have a word for.
const FLAGS: [(u64, MsFlags); 6] = [
    (libc::MOUNT_ATTR_NOSUID, MsFlags::MS_NOSUID),
    (libc::MOUNT_ATTR_NODEV, MsFlags::MS_NODEV),
    (libc::MOUNT_ATTR_NOEXEC, MsFlags::MS_NOEXEC),
    (libc::MOUNT_ATTR_NOATIME, MsFlags::MS_NOATIME),
    (libc::MOUNT_ATTR_STRICTATIME, MsFlags::MS_STRICTATIME),
    (libc::MOUNT_ATTR_NODIRATIME, MsFlags::MS_NODIRATIME),
];

/// A file system that is to be made.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Its type.
    pub kind: &'a CStr,
    /// What is shown as its source.
    pub source: Option<&'a CStr>,
    /// Its options.
    pub options: &'a [Setting<'a>],
    /// The attributes of its mount.
    pub attributes: &'a Attributes,
}

impl Wanted<'_> {
    /// Mounts it on a directory, which this process enters for that. `false`: it has not, and the other way is to be gone.
    #[must_use]
    pub fn on(&self, place: BorrowedFd<'_>) -> bool {
        nix::unistd::fchdir(place).is_ok() && self.at(c".")
    }

    /// Mounts it on a certain name in the directory that this process is in. `false`: it has not, and the other way is to be
    /// gone.
    #[must_use]
    pub fn at(&self, name: &CStr) -> bool {
        let (Some(flags), Some(text)) = (flags(self.attributes, self.options), text(self.options)) else {
            return false;
        };
        KINDS.contains(&self.kind)
            && mount(self.source, name, Some(self.kind), flags, Some(text.as_c_str())).is_ok()
    }

    /// Mounts it over the host's `/proc`, to be moved to its place: in a mount namespace that nobody else is in, and of which
    /// nothing shows elsewhere. `None`: it is not mounted, and the other way is to be gone.
    #[must_use]
    pub fn in_hand(&self) -> Option<LazyFd> {
        const STAGE: &CStr = c"/proc";
        if !self.at(STAGE) {
            return None;
        }
        match openat(fd::cwd(), STAGE, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
            Ok(mount) => Some(mount.into()),
            Err(_) => {
                let _ = umount2(STAGE, MntFlags::MNT_DETACH);
                None
            }
        }
    }
}

/// The attributes as flags of mount(2); `None` where they say more than a new mount can have. To mount(2) a read-only one is
/// a read-only file system, too: it is left out where the options do not say the same.
fn flags(attributes: &Attributes, options: &[Setting<'_>]) -> Option<MsFlags> {
    let read_only = options.contains(&(c"ro", None)).then_some((libc::MOUNT_ATTR_RDONLY, MsFlags::MS_RDONLY));
    let known =
        FLAGS.into_iter().chain(read_only).filter(|(attribute, _)| attributes.set & attribute == *attribute);
    let (known, flags) = known
        .fold((0, MsFlags::empty()), |(known, flags), (attribute, flag)| (known | attribute, flags | flag));
    let set = Attributes { set: known, ..Attributes::default() };
    (*attributes == Attributes { clear: attributes.clear, ..set }).then_some(flags)
}

/// The options as one text; `None` where one has what would end it.
fn text(options: &[Setting<'_>]) -> Option<CString> {
    let mut text = Vec::new();
    for (key, value) in options {
        if !text.is_empty() {
            text.push(b',');
        }
        text.extend_from_slice(key.to_bytes());
        if let Some(value) = value {
            text.push(b'=');
            text.extend_from_slice(value.to_bytes());
        }
        if [Some(*key), *value].iter().flatten().any(|part| part.to_bytes().contains(&b',')) {
            return None;
        }
    }
    CString::new(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_new_mount_cannot_have_is_left_to_the_other_way() {
        let set = |set| Attributes { set, ..Attributes::default() };
        let found = flags(&set(libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_STRICTATIME), &[]);
        assert_eq!(found, Some(MsFlags::MS_NOSUID | MsFlags::MS_STRICTATIME));
        let cleared = Attributes { clear: libc::MOUNT_ATTR_NOEXEC, ..set(0) };
        assert_eq!(flags(&cleared, &[]), Some(MsFlags::empty()));
        for other in [
            set(libc::MOUNT_ATTR_RDONLY),
            set(libc::MOUNT_ATTR_NOSYMFOLLOW | libc::MOUNT_ATTR_NODEV),
            Attributes { recursive_set: libc::MOUNT_ATTR_NODEV, ..set(0) },
            Attributes { propagation: vec![(libc::MS_SHARED, false)], ..set(0) },
        ] {
            assert_eq!(flags(&other, &[]), None, "{other:?}");
        }
    }

    #[test]
    fn a_mount_is_read_only_where_its_file_system_is_to_be_so_too() {
        let set = |set| Attributes { set, ..Attributes::default() };
        let (both, one) =
            (set(libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV), set(libc::MOUNT_ATTR_NODEV));
        assert_eq!(flags(&both, &[(c"ro", None)]), Some(MsFlags::MS_RDONLY | MsFlags::MS_NODEV));
        assert_eq!(flags(&one, &[(c"ro", None)]), Some(MsFlags::MS_NODEV));
        assert_eq!(flags(&both, &[(c"ro", Some(c"1"))]), None);
    }

    #[test]
    fn options_are_one_text_that_says_the_same() {
        let options = [(c"newinstance", None), (c"mode", Some(c"0620"))];
        assert_eq!(text(&options), Some(c"newinstance,mode=0620".to_owned()));
        assert_eq!(text(&[]), Some(c"".to_owned()));
        assert_eq!(text(&[(c"mpol", Some(c"bind:0,1"))]), None);
    }
}
