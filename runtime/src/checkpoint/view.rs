//! The images as the root of a container's user namespace is to see them.
//!
//! It is as that root that criu opens images, and it may not read what is the host's root's alone. So each directory of
//! images, the checkpoint's and those of the saves before it, becomes one of links that everybody may walk through, to a
//! mount of the real one where what is the host's root's is that root's. Nothing of the real ones is changed.

use super::staging::put;
use crate::child::{OrFail, Step, failure};
use crate::sys::{Errno, mount};
use nix::dir::Dir;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, mkdirat};
use nix::unistd::symlinkat;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// How many saves may stand one on the other.
const MOST: usize = 256;
/// criu's link to the directory of the save before.
const PARENT: &str = "parent";
/// The image that criu opens while it is the host's root still: before the ids of the new namespace are mapped.
const EARLY: &[u8] = b"timens-";

/// Lays the view out in the directory `here`, with the ids of the user namespace `user`. Nothing where the file system of
/// the images cannot be id-mapped: that root can read them then only if everybody can.
///
/// # Errors
/// A directory of images cannot be read.
pub(super) fn lay_out(
    images: BorrowedFd<'_>,
    here: BorrowedFd<'_>,
    user: BorrowedFd<'_>,
) -> Step<Option<OwnedFd>> {
    let mut next = Some(open(images, ".")?);
    for number in 0..MOST {
        let Some(directory) = next else { return open(here, &name("images", 0)).map(Some) };
        let what = || "map the ids of the images".to_owned();
        let mapped = mount::clone_mount(directory.as_fd(), false).or_fail(what)?;
        match mount::idmap(mapped.as_fd(), false, user) {
            Err(Errno::EINVAL | Errno::ENOSYS | Errno::EPERM) => return Ok(None),
            result => result.or_fail(what)?,
        }
        put(here, &name("mapped", number), mapped)?;
        let plain = mount::clone_mount(directory.as_fd(), false).or_fail(what)?;
        put(here, &name("plain", number), plain)?;
        next = link(&directory, here, number)?;
    }
    Err(failure(format!("--image-path: more than {MOST} saves stand one on the other")))
}

/// Makes the directory of links to the images in `directory`. Returns that of the save before, if there was one.
fn link(directory: &OwnedFd, here: BorrowedFd<'_>, number: usize) -> Step<Option<OwnedFd>> {
    let what = || "link the images".to_owned();
    let place = name("images", number);
    mkdirat(here, place.as_str(), Mode::from_bits_truncate(0o755)).or_fail(what)?;
    // Whatever the umask says.
    fchmodat(here, place.as_str(), Mode::from_bits_truncate(0o755), FchmodatFlags::FollowSymlink)
        .or_fail(what)?;
    let place = open(here, &place)?;
    let mut entries = Dir::from_fd(open(directory.as_fd(), ".")?).or_fail(what)?;
    for entry in entries.iter() {
        let entry = entry.or_fail(what)?;
        let file = OsStr::from_bytes(entry.file_name().to_bytes());
        if file == "." || file == ".." || file == PARENT {
            continue;
        }
        let mount = if file.as_bytes().starts_with(EARLY) { "plain" } else { "mapped" };
        let mut target = OsString::from(format!("../{}/", name(mount, number)));
        target.push(file);
        symlinkat(target.as_os_str(), &place, file).or_fail(what)?;
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    match openat(directory, PARENT, flags, Mode::empty()) {
        Err(Errno::ENOENT) => Ok(None),
        result => {
            let before = result.or_fail(|| "--image-path: open the save before".into())?;
            symlinkat(format!("../{}", name("images", number + 1)).as_str(), &place, PARENT).or_fail(what)?;
            Ok(Some(before))
        }
    }
}

fn name(kind: &str, number: usize) -> String {
    format!("{kind}{number}")
}

fn open(directory: BorrowedFd<'_>, name: &str) -> Step<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    openat(directory, name, flags, Mode::empty()).or_fail(|| "open a directory of images".into())
}
