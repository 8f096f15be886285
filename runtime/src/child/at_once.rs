//! A fresh file system in two calls, where nothing is to be done between making it and attaching it.
//!
//! mount(2) knows no descriptors, but the directory that a process is in needs no path: it is as certain as a descriptor.
//! What is not done in this way is left to the mount API of Linux 5.2, a call for each option and four more, which can
//! also say what was wrong with which one. Never mounts what somebody else could take the place of before it is used.

use crate::plan::mounts::Attributes;
use nix::mount::{MsFlags, mount};
use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;

/// File systems that take their options from one text as they do one by one.
const KINDS: [&CStr; 3] = [c"devpts", c"mqueue", c"tmpfs"];

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

/// Mounts a new file system on a directory, which this process enters for that. `false`: it has not, and the other way is
/// to be gone.
#[must_use]
pub fn mounted(
    kind: &CStr,
    source: Option<&CStr>,
    options: &[Setting<'_>],
    attributes: &Attributes,
    place: BorrowedFd<'_>,
) -> bool {
    let (Some(flags), Some(text)) = (flags(attributes), text(options)) else { return false };
    KINDS.contains(&kind)
        && nix::unistd::fchdir(place).is_ok()
        && mount(source, ".", Some(kind), flags, Some(text.as_c_str())).is_ok()
}

/// The attributes as flags of mount(2); `None` where they say more than a new mount can have. A read-only one is left out:
/// to mount(2) that is a property of the file system, too.
fn flags(attributes: &Attributes) -> Option<MsFlags> {
    let known = FLAGS.iter().filter(|(attribute, _)| attributes.set & attribute == *attribute);
    let (known, flags) = known
        .fold((0, MsFlags::empty()), |(known, flags), (attribute, flag)| (known | attribute, flags | *flag));
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
        let found = flags(&set(libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_STRICTATIME));
        assert_eq!(found, Some(MsFlags::MS_NOSUID | MsFlags::MS_STRICTATIME));
        assert_eq!(flags(&Attributes { clear: libc::MOUNT_ATTR_NOEXEC, ..set(0) }), Some(MsFlags::empty()));
        for other in [
            set(libc::MOUNT_ATTR_RDONLY),
            set(libc::MOUNT_ATTR_NOSYMFOLLOW | libc::MOUNT_ATTR_NODEV),
            Attributes { recursive_set: libc::MOUNT_ATTR_NODEV, ..set(0) },
            Attributes { propagation: vec![(libc::MS_SHARED, false)], ..set(0) },
        ] {
            assert_eq!(flags(&other), None, "{other:?}");
        }
    }

    #[test]
    fn options_are_one_text_that_says_the_same() {
        let options = [(c"newinstance", None), (c"mode", Some(c"0620"))];
        assert_eq!(text(&options), Some(c"newinstance,mode=0620".to_owned()));
        assert_eq!(text(&[]), Some(c"".to_owned()));
        assert_eq!(text(&[(c"mpol", Some(c"bind:0,1"))]), None);
    }
}
