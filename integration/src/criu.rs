//! criu for tests: one that was fetched (`src/fetch-criu.sh`), or this machine's own where it works.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The value of `$PATH` with a criu in it that works on this kernel; nothing when there is none.
pub fn path() -> Option<&'static OsString> {
    static FOUND: OnceLock<Option<OsString>> = OnceLock::new();
    FOUND.get_or_init(find).as_ref()
}

/// The criu that [`path`] leads to.
pub fn program() -> Option<PathBuf> {
    std::env::split_paths(path()?).map(|directory| directory.join("criu")).find(|file| file.exists())
}

fn find() -> Option<OsString> {
    let usual = std::env::var_os("PATH").unwrap_or_default();
    let fetched = std::env::var_os("CORTEN_CRIU").unwrap_or_else(|| "/var/cache/corten-criu".into());
    let mut directories = vec![Path::new(&fetched).join("bin")];
    // iptables and the like, which criu calls, are not in every user's path.
    directories.extend(std::env::split_paths(&usual));
    directories.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let all = std::env::join_paths(directories).ok()?;
    let mut check = Command::new("criu");
    check.arg("check").env("PATH", &all).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // `Command` looks in the path that the child is to have.
    check.status().is_ok_and(|status| status.success()).then_some(all)
}
