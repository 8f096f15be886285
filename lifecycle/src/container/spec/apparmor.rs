//! AppArmor: the profile that confines containers where the kernel has it and `apparmor_parser` is there to load it.

use std::path::Path;

use bollard_stubs::models::HostConfig;
use tokio::process::Command;

use super::security;
use crate::error::Result;
use crate::program;

/// The profile of containers that ask for none, and its text.
const DEFAULT: &str = "corten-default";
const TEXT: &str = include_str!("corten-default.apparmor");

/// Docker's name for its own, by which clients may ask for the default.
const DOCKERS: &str = "docker-default";

const PARSER: &str = "/sbin/apparmor_parser";

/// Whether profiles can be used here.
pub fn is_here() -> bool {
    let enabled = std::fs::read("/sys/module/apparmor/parameters/enabled");
    enabled.is_ok_and(|text| text == b"Y\n") && Path::new(PARSER).exists() && !crate::rootless::is()
}

/// The profile of a container, if it has one.
///
/// # Errors
/// With a `--security-opt` that is not known.
pub fn profile(host: &HostConfig) -> Result<Option<&str>> {
    Ok(match security::options(host)?.apparmor {
        Some("unconfined") => None,
        None if host.privileged == Some(true) => None,
        None | Some("" | DEFAULT | DOCKERS) => is_here().then_some(DEFAULT),
        other => other,
    })
}

/// Sees that the default profile is loaded, if the container has it: aa-remove-unknown(8) takes it for a leftover.
///
/// # Errors
/// With what `apparmor_parser` says.
pub async fn load(host: &HostConfig) -> Result<()> {
    let loaded = std::fs::read_to_string("/sys/kernel/security/apparmor/profiles").unwrap_or_default();
    let is_default = |line: &str| line.split(' ').next() == Some(DEFAULT);
    if profile(host)? != Some(DEFAULT) || loaded.lines().any(is_default) {
        return Ok(());
    }
    let mut command = Command::new(PARSER);
    command.args(["--skip-cache", "--replace"]);
    program::told("load the AppArmor profile of containers", command, TEXT.as_bytes()).await.map(drop)
}
