//! Labels of Linux security modules: asked for, written to a procfs that is one, and read back.
//!
//! A label that was asked for and cannot be set is an error: a container must never run unconfined by accident
//! (CVE-2019-16884, CVE-2023-28642, CVE-2025-52881).

use crate::path;
use crate::sys::Errno;
use nix::unistd::{read, write};
use std::ffi::CStr;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A security module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Module {
    /// AppArmor.
    AppArmor,
    /// SELinux.
    Selinux,
}

impl fmt::Display for Module {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::AppArmor => "AppArmor",
            Self::Selinux => "SELinux",
        })
    }
}

impl Module {
    /// Whether the kernel of this host enforces it.
    #[must_use]
    pub fn enabled(self) -> bool {
        match self {
            Self::AppArmor => std::fs::read("/sys/module/apparmor/parameters/enabled")
                .is_ok_and(|text| text.first() == Some(&b'Y')),
            Self::Selinux => std::path::Path::new("/sys/fs/selinux/enforce").exists(),
        }
    }

    /// Its file for the label of the next execve(2), newest place first.
    fn files(self) -> &'static [&'static CStr] {
        match self {
            Self::AppArmor => &[c"thread-self/attr/apparmor/exec", c"thread-self/attr/exec"],
            Self::Selinux => &[c"thread-self/attr/exec"],
        }
    }
}

/// A label that takes effect at the next execve(2) of this process.
#[derive(Debug)]
pub struct ExecLabel {
    file: OwnedFd,
    text: String,
    label: String,
}

impl ExecLabel {
    /// Opens the file for it, while the host's procfs is still at hand. `proc` must be a verified procfs.
    ///
    /// # Errors
    /// The errno of the lookup; `EXDEV` when something is mounted over it.
    pub fn prepare(module: Module, proc: BorrowedFd<'_>, label: &str) -> Result<Self, Errno> {
        let text = match module {
            Module::AppArmor => format!("exec {label}"),
            Module::Selinux => label.to_owned(),
        };
        let mut last = Errno::ENOENT;
        for name in module.files() {
            match path::open_in_proc(proc, name, libc::O_RDWR) {
                Ok(file) => return Ok(Self { file, text, label: label.to_owned() }),
                Err(errno) => last = errno,
            }
        }
        Err(last)
    }

    /// The label in words, for messages.
    #[must_use]
    pub fn describe(&self) -> String {
        let kind = if self.text == self.label { "SELinux label" } else { "AppArmor profile" };
        format!("{kind} {:?}", self.label)
    }

    /// Writes the label and reads it back.
    ///
    /// # Errors
    /// The errno of write(2): `ENOENT` for a profile that is not loaded. `EPROTO` when another label is read back.
    pub fn apply(&self) -> Result<(), Errno> {
        write(self.file.as_fd(), self.text.as_bytes())?;
        let mut buffer = [0; 4096];
        let length =
            nix::sys::uio::pread(self.file.as_fd(), &mut buffer, 0).or_else(|errno| match errno {
                Errno::ESPIPE => read(self.file.as_fd(), &mut buffer),
                errno => Err(errno),
            })?;
        let found = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
        let found = found.trim_end_matches(['\0', '\n']);
        // AppArmor adds the mode: `docker-default (enforce)`.
        let bare = found.rsplit_once(" (").map_or(found, |(name, _)| name);
        if bare == self.label || found == self.label { Ok(()) } else { Err(Errno::EPROTO) }
    }
}
