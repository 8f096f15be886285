//! Switches that take one protection away, so that a test of an attack can show that it would notice.
//!
//! Compiled into builds with debug assertions only, where `CORTEN_WEAKEN` names the protections that are off, separated
//! by commas. In a release every question is answered by a constant, and the variable's name is not in the program.

/// Whether a protection is off.
#[cfg(debug_assertions)]
#[must_use]
pub fn off(protection: &str) -> bool {
    let named = |list: String| list.split(',').any(|name| name == protection);
    std::env::var("CORTEN_WEAKEN").is_ok_and(named)
}

/// Whether a protection is off: never.
#[cfg(not(debug_assertions))]
#[inline(always)]
#[must_use]
pub const fn off(_protection: &str) -> bool {
    false
}

/// What a runtime does that joins strings: `path` below `root`, with links followed to wherever they lead.
#[cfg(debug_assertions)]
pub fn resolve_by_name(
    root: std::os::fd::BorrowedFd<'_>,
    path: &std::ffi::OsStr,
    missing: crate::path::Missing,
) -> crate::sys::Result<std::os::fd::OwnedFd> {
    use crate::path::Missing;
    use nix::fcntl::OFlag;
    use std::os::fd::AsRawFd;
    let below = path.to_string_lossy();
    let name = format!("/proc/self/fd/{}/{}", root.as_raw_fd(), below.trim_start_matches('/'));
    let name = std::path::Path::new(&name);
    match missing {
        Missing::Directory => drop(std::fs::create_dir_all(name)),
        Missing::File => {
            let _ = name.parent().map(std::fs::create_dir_all);
            let _ = std::fs::File::options().create(true).append(true).open(name);
        }
        Missing::Fail => {}
    }
    nix::fcntl::open(name, OFlag::O_PATH | OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty())
}
