//! Who the program is: limits, scheduling, ids, capabilities. In the one order in which the kernel lets it happen.

use super::{OrFail, Step};
use crate::plan::identity::Identity;
use crate::plan::rlimits::{self, Rlimit};
use crate::plan::{ProcessPlan, capabilities};
use crate::seccomp::Filter;
use crate::sys::capability::{self, SYS_ADMIN};
use crate::sys::{Errno, process, sched};
use crate::{privilege, weak};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::Mode;

/// What programs take this machine for, and where their memory is.
///
/// # Errors
/// The kernel refuses: nodes that are not there.
pub fn surroundings(personality: Option<u32>, memory_policy: Option<&(u32, Vec<u64>)>) -> Step<()> {
    if let Some(persona) = personality {
        process::set_personality(persona).or_fail(|| "linux.personality".into())?;
    }
    match memory_policy {
        Some((mode, nodes)) => sched::set_memory_policy(*mode, nodes).or_fail(|| "linux.memoryPolicy".into()),
        None => Ok(()),
    }
}

/// Sets resource limits of a process; 0 is this one.
///
/// # Errors
/// The kernel refuses a value: `EPERM` for a hard limit that is raised without `CAP_SYS_RESOURCE`.
pub fn limits(plan: &ProcessPlan, pid: i32) -> Step<()> {
    plan.rlimits.iter().try_for_each(|limit| set_limit(limit, pid))
}

/// [`limits`] of this process, whose child becomes the program. The limit on a user's processes would count both: it is the
/// child's to set, and raised here, where there are the rights to do it. So is a limit on open files that leaves no room for
/// what is still to be opened: it comes last.
///
/// # Errors
/// As for [`limits`].
pub fn limits_of_child(plan: &ProcessPlan) -> Step<()> {
    let (processes, files) = (plan.limit_on_processes(), plan.few_open_files());
    let later = |limit: &Rlimit| [processes, files].into_iter().flatten().any(|other| other == limit);
    for limit in plan.rlimits.iter().filter(|limit| !later(limit)) {
        set_limit(limit, 0)?;
    }
    raise(processes, Resource::RLIMIT_NPROC)?;
    raise(files, Resource::RLIMIT_NOFILE)
}

/// Makes sure that a limit can be set later, by who has no right to raise it.
fn raise(limit: Option<&Rlimit>, resource: Resource) -> Step<()> {
    match limit {
        Some(limit) if getrlimit(resource).is_ok_and(|(_, hard)| hard < limit.hard) => {
            set_limit(&Rlimit { soft: limit.hard, ..*limit }, 0)
        }
        _ => Ok(()),
    }
}

/// The limit on open files, where it is a low one: of this process, which opens no more.
///
/// # Errors
/// As for [`limits`].
pub fn limit_open_files(plan: &ProcessPlan) -> Step<()> {
    plan.few_open_files().map_or(Ok(()), |limit| set_limit(limit, 0))
}

/// The limit on a user's processes, of this one, which is about to become that user.
///
/// # Errors
/// As for [`limits`].
pub fn limit_processes(plan: &ProcessPlan) -> Step<()> {
    plan.limit_on_processes().map_or(Ok(()), |limit| set_limit(limit, 0))
}

fn set_limit(limit: &Rlimit, pid: i32) -> Step<()> {
    process::set_rlimit(pid, limit.resource, limit.soft, limit.hard).or_fail(|| {
        format!("process.rlimits: set {} to {}:{}", rlimits::name(limit.resource), limit.soft, limit.hard)
    })
}

/// Scheduler and I/O priority.
///
/// # Errors
/// The kernel refuses a value.
pub fn scheduling(plan: &ProcessPlan) -> Step<()> {
    if let Some(scheduler) = &plan.scheduler {
        sched::set_attributes(scheduler).or_fail(|| "process.scheduler".into())?;
    }
    if let Some(priority) = plan.io_priority {
        sched::set_io_priority(priority).or_fail(|| "process.ioPriority".into())?;
    }
    Ok(())
}

/// Takes the identity on.
///
/// A filter that is loaded afterwards needs `CAP_SYS_ADMIN`, unless there is `no_new_privs`: with `filter` this process
/// keeps it up to execve(2), which computes the program's capabilities from the bounding, inheritable and ambient sets
/// alone (capabilities(7), "Transformation of capabilities during execve()"). So the filter can be the last step, and
/// no step has to be allowed by it.
///
/// `same_namespace`: this process is in the user namespace that it was executed in. Who is that user already need not become
/// it, and keeps what the parent has seen to: that it cannot be looked into.
///
/// # Errors
/// The kernel refuses an id or a capability.
pub fn become_user(identity: &Identity, filter: bool, same_namespace: bool) -> Step<()> {
    if identity.no_new_privileges && !weak::off("no-new-privileges") {
        process::set_no_new_privileges().or_fail(|| "process.noNewPrivileges".into())?;
    }
    let sets = &identity.capabilities;
    for number in 0..=process::last_capability(0) {
        if sets.bounding & (1 << number) == 0 {
            drop_bounding(number)?;
        }
    }
    nix::sys::stat::umask(Mode::from_bits_truncate(identity.umask));
    // Only who leaves root for another user loses them (capabilities(7)).
    if identity.uid != 0 {
        process::set_keep_capabilities(true).or_fail(|| "keep capabilities".into())?;
    }
    if !identity.keep_groups && !weak::off("groups") {
        groups(&identity.groups)?;
    }
    let is_already = privilege::over_the_host() && process::ids() == Some((identity.uid, identity.gid));
    if !(same_namespace && is_already) {
        process::set_gid(identity.gid).or_fail(|| format!("process.user.gid: set group {}", identity.gid))?;
        process::set_uid(identity.uid).or_fail(|| format!("process.user.uid: set user {}", identity.uid))?;
        // The kernel has made it what fs.suid_dumpable says. As long as it has its capabilities the new user can trace it
        // neither way, and execve(2) ends the keeping of them.
        if !weak::off("dumpable") {
            process::set_dumpable(false).or_fail(|| "make this process undumpable".into())?;
        }
    }
    let kept = if filter && !identity.no_new_privileges { SYS_ADMIN } else { 0 };
    set(sets, kept)?;
    ambient(sets)
}

/// Takes on the sets that were asked for, and `kept` for a while longer.
fn set(sets: &capabilities::Sets, kept: u64) -> Step<()> {
    let inheritable = if weak::off("inheritable") { sets.permitted } else { sets.inheritable };
    capability::set(sets.effective | kept, sets.permitted | kept, inheritable)
        .or_fail(|| "process.capabilities".into())
}

/// Gives up the capability that loading a filter took, as soon as it is loaded, where the filter lets that through: a
/// created container may wait for long, and others may see it. Elsewhere execve(2) does it.
///
/// # Errors
/// The kernel refuses.
pub fn after_filter(identity: &Identity, filter: &Filter) -> Step<()> {
    let sets = &identity.capabilities;
    if identity.no_new_privileges
        || sets.permitted & SYS_ADMIN != 0
        || !filter.allows("capset")
        || weak::off("after-filter")
    {
        return Ok(());
    }
    set(sets, 0)
}

fn drop_bounding(number: u32) -> Step<()> {
    match capability::drop_bounding(number) {
        Ok(()) => Ok(()),
        // Without CAP_SETPCAP nothing can be dropped, and root's next program is permitted whatever is in the set.
        Err(Errno::EPERM) if capability::in_bounding(number) == Ok(false) || weak::off("bounding") => Ok(()),
        Err(errno) => Err(errno).or_fail(|| {
            let name = capabilities::NAMES.get(number as usize).copied().unwrap_or("a capability");
            format!("process.capabilities.bounding: drop {name}")
        }),
    }
}

/// Always called, with an empty list too: the caller's groups must not reach the container.
fn groups(groups: &[u32]) -> Step<()> {
    match process::set_groups(groups) {
        // A user namespace made without privilege: setgroups(2) is denied, and no group is the host's to give.
        Err(Errno::EPERM) if groups.is_empty() => Ok(()),
        result => result.or_fail(|| format!("process.user.additionalGids: set groups {groups:?}")),
    }
}

/// What is not both permitted and inheritable has left the ambient set already (capabilities(7)); `SYS_ADMIN` may still be
/// permitted.
fn ambient(sets: &capabilities::Sets) -> Step<()> {
    let set = sets.ambient;
    if (sets.permitted | SYS_ADMIN) & sets.inheritable & !set != 0 || weak::off("inheritable") {
        capability::clear_ambient().or_fail(|| "process.capabilities.ambient".into())?;
    }
    for number in (0..64).filter(|number| set & (1 << number) != 0) {
        capability::raise_ambient(number).or_fail(|| "process.capabilities.ambient".into())?;
    }
    Ok(())
}
