//! Loop devices: a file as the source of a mount.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::sys;

/// Somebody else may take the free device first; so often is another one asked for.
const ATTEMPTS: u32 = 100;

/// Attaches `backing` to a free loop device and returns the device's path. The device detaches itself when
/// the mount is gone; keep the file open until it is mounted.
pub(super) fn attach(backing: &Path, read_only: bool) -> io::Result<(PathBuf, File)> {
    const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;
    let file = OpenOptions::new().read(true).write(!read_only).open(backing)?;
    let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
    for _ in 0..ATTEMPTS {
        let number = sys::ioctl_int(&control, LOOP_CTL_GET_FREE, 0)?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = OpenOptions::new().read(true).write(!read_only).open(&path)?;
        match sys::configure_loop(device.as_fd(), file.as_fd(), read_only) {
            Ok(()) => return Ok((path, device)),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::from_raw_os_error(libc::EBUSY))
}
