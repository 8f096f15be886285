//! A disk that does not answer: who writes to it waits in the kernel, and cannot be killed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A filesystem of its own, which is frozen (ioctl_fsfreeze(2)) until this is dropped.
pub struct Disk {
    directory: PathBuf,
}

impl Disk {
    /// One in a directory that does not exist yet. `None` without ext4, loop devices or the programs for them.
    pub fn stuck(directory: &Path) -> Option<Disk> {
        let (image, place) = (directory.join("image"), directory.join("disk"));
        std::fs::create_dir_all(&place).ok()?;
        std::fs::File::create(&image).and_then(|file| file.set_len(16 << 20)).ok()?;
        run(Command::new("mkfs.ext4").arg("-q").arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&place))?;
        let disk = Disk { directory: directory.to_owned() };
        run(Command::new("fsfreeze").arg("-f").arg(&place))?;
        Some(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.directory.join("disk")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run(Command::new("fsfreeze").arg("-u").arg(self.path()));
        if run(Command::new("umount").arg("-l").arg(self.path())).is_some() {
            crate::rootfs::remove(&self.directory);
        }
    }
}

fn run(command: &mut Command) -> Option<()> {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
    status.success().then_some(())
}
