//! `process.user` and what goes with it: ids, groups, umask, capabilities.

use super::capabilities::Sets;
use super::{Host, PlanError, Result, capabilities};
use crate::spec;

/// The annotation with which a container keeps the supplementary groups of the runtime's caller (crun(1)).
pub const KEEP_GROUPS: &str = "run.oci.keep_original_groups";

/// Who a process is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// User id in the container.
    pub uid: u32,
    /// Group id in the container.
    pub gid: u32,
    /// Supplementary groups; an empty list clears what the caller had.
    pub groups: Vec<u32>,
    /// Leave the caller's groups instead.
    pub keep_groups: bool,
    /// File mode creation mask; 0022 when absent, as runc.
    pub umask: u32,
    /// Capabilities: none that were not asked for.
    pub capabilities: Sets,
    /// `no_new_privs`.
    pub no_new_privileges: bool,
}

/// `NGROUPS_MAX` of `linux/limits.h`.
const MOST_GROUPS: usize = 65_536;

/// Plans the identity of a process.
///
/// # Errors
/// Ids that mean "no id" to the kernel, more groups than it takes, a umask with bits outside of 0777.
pub fn plan(process: &spec::Process, host: &Host, warnings: &mut Vec<String>) -> Result<Identity> {
    let user = &process.user;
    for (field, id) in [("uid", user.uid), ("gid", user.gid)] {
        check_id(&format!("process.user.{field}"), id)?;
    }
    if user.additional_gids.len() > MOST_GROUPS {
        let problem =
            format!("has {} groups; the kernel takes at most {MOST_GROUPS}", user.additional_gids.len());
        return Err(PlanError::at("process.user.additionalGids", problem));
    }
    for (index, id) in user.additional_gids.iter().enumerate() {
        check_id(&format!("process.user.additionalGids[{index}]"), *id)?;
    }
    let umask = user.umask.unwrap_or(0o022);
    if umask > 0o777 {
        return Err(PlanError::at("process.user.umask", format!("{umask} is above 511 (octal 777)")));
    }
    // None asked for is none given, as in crun. (runc leaves the process all that it has itself.)
    let none = spec::Capabilities::default();
    let wanted = process.capabilities.as_ref().unwrap_or(&none);
    Ok(Identity {
        uid: user.uid,
        gid: user.gid,
        groups: user.additional_gids.clone(),
        keep_groups: false,
        umask,
        capabilities: capabilities::plan(wanted, host, warnings),
        no_new_privileges: process.no_new_privileges,
    })
}

/// -1 is the kernel's "leave it as it is" (setresuid(2)): as an id it would keep the caller's.
fn check_id(path: &str, id: u32) -> Result<()> {
    if id == u32::MAX {
        return Err(PlanError::at(path, format!("{id} is not an id")));
    }
    Ok(())
}
