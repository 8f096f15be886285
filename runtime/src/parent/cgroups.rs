//! A container's control groups as it sees them itself, and who owns them.

use super::error::Result;
use crate::cgroup::{self, Cgroup};
use crate::child::cgroups::{CgroupView, Hierarchy};
use crate::plan::Plan;
use crate::plan::mounts::What;
use crate::spec::Config;

/// The host's id of the container's root, where it may own its control group (runtime-spec, "Cgroup ownership").
pub(crate) fn owner(plan: &Plan, config: &Config) -> Option<u32> {
    let namespaces = &plan.namespaces;
    if !namespaces.creates(libc::CLONE_NEWUSER) || !namespaces.separate(libc::CLONE_NEWCGROUP) {
        return None;
    }
    let writable = config.mounts.iter().any(|mount| {
        mount.destination == "/sys/fs/cgroup" && !mount.options.iter().any(|option| option == "ro")
    });
    let root = namespaces.uids.iter().find(|line| line.container_id == 0)?;
    writable.then_some(root.host_id)
}

/// How the container sees its control groups, if it asks for them.
///
/// # Errors
/// Those of the caller cannot be read.
pub(crate) fn view(cgroup: &Cgroup, plan: &Plan) -> Result<CgroupView> {
    if !plan.mounts.iter().any(|mount| matches!(mount.what, What::Cgroup { .. })) {
        return Ok(CgroupView::None);
    }
    Ok(match cgroup.mounts()? {
        cgroup::Mounts::Nothing => CgroupView::None,
        // Without a cgroup namespace /proc/self/cgroup is a path from the root: the whole tree is shown.
        cgroup::Mounts::Unified(source) if !plan.namespaces.separate(libc::CLONE_NEWCGROUP) => {
            CgroupView::Unified(cgroup::unified_root(&source).into())
        }
        cgroup::Mounts::Unified(source) => CgroupView::Unified(source.into()),
        cgroup::Mounts::Legacy(mounts) => CgroupView::Hierarchies(
            mounts
                .into_iter()
                .map(|mount| Hierarchy { name: mount.name, source: mount.source.into(), links: mount.links })
                .collect(),
        ),
    })
}
