//! What lies in a container and belongs to the host: bind mounts, masks, devices, control groups.
//!
//! criu neither saves nor makes these: it is told a key for each when it saves, and a path for each key when it restores.
//! The keys are ours, a letter and a number; which mount of config.json a number stands for is noted beside the images by
//! the destination that is written there, so that a config.json with another order of mounts gets each mount where it
//! belongs. A restored key leads to a place of our own making ([`super::staging`]), never to a path that is spelled in a
//! message.

use super::message::Message;
use super::{Error, Result};
use crate::child::rootfs::unescape;
use crate::parent::error::{OrError, file_error};
use crate::path::{self, Missing};
use crate::plan::Plan;
use crate::plan::mounts::What;
use crate::sys::{Errno, fd};
use crate::weak;
use nix::sys::stat::{SFlag, fstat, makedev};
use serde::{Deserialize, Serialize};
use std::ffi::{CString, OsStr};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// `externals.json`: what the keys of an image stand for.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Externals {
    /// `mN`: a bind mount, by its destination in config.json.
    #[serde(default)]
    pub(super) mounts: Vec<(u32, String)>,
    /// `dN`: a device node of the host, by its path in config.json (or the specification's default).
    #[serde(default)]
    pub(super) devices: Vec<(u32, String)>,
    /// `gN`: a control group hierarchy of version 1, by the name of its directory.
    #[serde(default)]
    pub(super) hierarchies: Vec<(u32, String)>,
}

/// The key of a mask over a file: the host's `/dev/null`.
pub(super) const MASK: &str = "mask";

/// A line of mountinfo (proc_pid_mountinfo(5)).
#[derive(Debug, PartialEq, Eq)]
struct Line {
    id: u64,
    device: String,
    root: Vec<u8>,
    place: Vec<u8>,
    kind: String,
}

fn parse(text: &[u8]) -> Vec<Line> {
    let line = |line: &[u8]| {
        let line = std::str::from_utf8(line).ok()?;
        let (left, right) = line.split_once(" - ")?;
        let mut fields = left.split(' ');
        Some(Line {
            id: fields.next()?.parse().ok()?,
            device: fields.nth(1)?.to_owned(),
            root: unescape(fields.next()?),
            place: unescape(fields.next()?),
            kind: right.split(' ').next()?.to_owned(),
        })
    };
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// A running container's mounts.
pub(super) struct Table {
    lines: Vec<Line>,
    root: OwnedFd,
    /// Keys by the place of the mount, as criu sees it.
    found: Vec<(Vec<u8>, String)>,
}

impl Table {
    /// Looks at the mounts of the process `pid`.
    ///
    /// # Errors
    /// It is gone.
    pub(super) fn of(pid: i32) -> Result<Self> {
        let file = format!("/proc/{pid}/mountinfo");
        let text = fs::read(&file).map_err(file_error("read", file))?;
        let root = CString::new(format!("/proc/{pid}/root")).unwrap_or_default();
        let root = fd::openat2(fd::cwd(), &root, libc::O_PATH | libc::O_DIRECTORY, 0, 0)
            .or_error(|| "open the container's root".into())?;
        Ok(Self { lines: parse(&text), root, found: Vec::new() })
    }

    /// Finds what belongs to the host, and gives it keys.
    ///
    /// # Errors
    /// Two mounts that criu would mistake for each other.
    pub(super) fn externals(&mut self, plan: &Plan) -> Result<Externals> {
        let mut externals = Externals::default();
        for mount in &plan.mounts {
            let link =
                matches!(&mount.what, What::Bind { copy_symlink: true, source, .. } if source.is_symlink());
            if !matches!(mount.what, What::Bind { .. }) || link {
                continue;
            }
            let (number, name) = (index(mount.index)?, mount.destination.to_string_lossy().into_owned());
            if self.claim(&mount.destination, format!("m{number}")) {
                externals.mounts.push((number, name));
            }
        }
        for (number, device) in plan.devices.iter().enumerate() {
            let (number, name) = (index(number)?, device.path.to_string_lossy().into_owned());
            if self.claim(&device.path, format!("d{number}")) {
                externals.devices.push((number, name));
            }
        }
        if !plan.namespaces.separate(libc::CLONE_NEWCGROUP) {
            self.hierarchies(plan, &mut externals)?;
        }
        self.masks();
        self.refuse_confusion()?;
        Ok(externals)
    }

    /// Gives a key to the mount at a path of config.json, if there is one that has none.
    fn claim(&mut self, destination: &OsStr, key: String) -> bool {
        let Some(place) = self.mount_at(destination) else { return false };
        let taken = self.found.iter().any(|(other, _)| *other == place);
        if !taken {
            self.found.push((place, key));
        }
        !taken
    }

    /// The place of the mount that a path in the container leads to the root of.
    fn mount_at(&self, destination: &OsStr) -> Option<Vec<u8>> {
        let file = path::resolve(self.root.as_fd(), destination, Missing::Fail).ok()?;
        let (id, name) = identity(file.as_fd()).ok()?;
        let line = self.lines.iter().rfind(|line| line.id == id && line.place == name)?;
        (line.place != b"/").then(|| line.place.clone())
    }

    /// Control groups of version 1 as they are shown without a namespace of their own: a bind mount each.
    fn hierarchies(&mut self, plan: &Plan, externals: &mut Externals) -> Result<()> {
        for mount in plan.mounts.iter().filter(|mount| matches!(mount.what, What::Cgroup { .. })) {
            let mut below = mount.destination.clone().into_vec();
            below.push(b'/');
            let shown = self.lines.iter().filter(|line| line.kind == "cgroup");
            let names: Vec<Vec<u8>> =
                shown.filter_map(|line| line.place.strip_prefix(&below[..]).map(<[u8]>::to_vec)).collect();
            for name in names {
                let Ok(name) = String::from_utf8(name) else { continue };
                let number = index(externals.hierarchies.len())?;
                self.found.push(([&below[..], name.as_bytes()].concat(), format!("g{number}")));
                externals.hierarchies.push((number, name));
            }
        }
        Ok(())
    }

    /// Masks over files are the host's `/dev/null`: mounts of that very device whose file system is not the container's.
    fn masks(&mut self) {
        let masked = self.lines.iter().filter(|line| {
            line.root.ends_with(b"/null")
                && !self.found.iter().any(|(place, _)| *place == line.place)
                && !self.lines.iter().any(|other| other.device == line.device && other.root == b"/")
                && is_null(self.root.as_fd(), &line.place)
        });
        let masked: Vec<Vec<u8>> = masked.map(|line| line.place.clone()).collect();
        self.found.extend(masked.into_iter().map(|place| (place, MASK.to_owned())));
    }

    /// criu looks for `mnt[PLACE]:` at the beginning of `mnt[PLACE]:KEY`: it takes a place with `]:` in its name for
    /// another one with a shorter name.
    fn refuse_confusion(&self) -> Result<()> {
        for (place, _) in self.found.iter().filter(|(place, _)| contains(place, b"]:")) {
            let mistaken = self
                .lines
                .iter()
                .find(|line| place.strip_prefix(&line.place[..]).is_some_and(|rest| rest.starts_with(b"]:")));
            if let Some(line) = mistaken.filter(|_| !weak::off("names")) {
                return Err(Error::Other(format!(
                    "criu cannot tell the mount on {} from the one on {}: rename it, or take it out",
                    String::from_utf8_lossy(place),
                    String::from_utf8_lossy(&line.place)
                )));
            }
        }
        Ok(())
    }

    /// Tells criu the keys.
    pub(super) fn tell(&self, mut message: Message) -> Message {
        for (place, key) in &self.found {
            message = external(message, place, key.as_bytes());
        }
        message
    }
}

/// One external mount for criu: `ext_mount_map`.
pub(super) fn external(message: Message, key: &[u8], value: &[u8]) -> Message {
    message.nested(23, &Message::default().bytes(1, key).bytes(2, value))
}

fn index(number: usize) -> Result<u32> {
    u32::try_from(number).map_err(|_| Error::Other("too many mounts".into()))
}

/// The id of the mount that a descriptor lies on, and the path that the kernel has for it.
fn identity(file: BorrowedFd<'_>) -> std::result::Result<(u64, Vec<u8>), Errno> {
    let errno = |error: std::io::Error| crate::sys::errno_of(&error);
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).map_err(errno)?;
    let id = text.lines().find_map(|line| line.strip_prefix("mnt_id:")).and_then(|id| id.trim().parse().ok());
    let name = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(errno)?;
    Ok((id.ok_or(Errno::EINVAL)?, name.into_os_string().into_vec()))
}

fn is_null(root: BorrowedFd<'_>, place: &[u8]) -> bool {
    let Ok(place) = CString::new(place) else { return false };
    let file = path::open_in_root(root, &place, libc::O_PATH | libc::O_NOFOLLOW);
    let stat = file.and_then(|file| fstat(&file));
    stat.is_ok_and(|stat| path::file_type(&stat) == SFlag::S_IFCHR && stat.st_rdev == makedev(1, 3))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The name of a key in the staging directory, for a number that came from an image.
pub(super) fn key(letter: char, number: u32) -> String {
    format!("{letter}{number}")
}

/// Whether a name of an image's list is that of a mount of config.json.
pub(super) fn is_named(destination: &OsStr, name: &str) -> bool {
    destination.as_bytes() == name.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_tables_are_read() {
        let text = b"21 1 0:5 /null /proc/ke\\040ys ro,nosuid - devtmpfs none rw\nrubbish\n";
        let wanted = Line {
            id: 21,
            device: "0:5".into(),
            root: b"/null".to_vec(),
            place: b"/proc/ke ys".to_vec(),
            kind: "devtmpfs".into(),
        };
        assert_eq!(parse(text), [wanted]);
    }

    #[test]
    fn a_name_that_criu_would_take_for_another_is_refused() {
        let table = |places: &[&str], found: &[&str]| Table {
            lines: places
                .iter()
                .map(|place| Line {
                    id: 1,
                    device: "0:1".into(),
                    root: b"/".to_vec(),
                    place: place.as_bytes().to_vec(),
                    kind: "ext4".into(),
                })
                .collect(),
            root: std::fs::File::open("/").expect("root").into(),
            found: found.iter().map(|place| (place.as_bytes().to_vec(), "m0".to_owned())).collect(),
        };
        assert!(table(&["/a", "/a]:b"], &["/a]:b"]).refuse_confusion().is_err());
        assert!(table(&["/", "/a]:b", "/x"], &["/a]:b"]).refuse_confusion().is_ok());
        assert!(table(&["/a]", "/a]x", "/a"], &["/a]", "/a]x"]).refuse_confusion().is_ok());
    }
}
