//! `process.scheduler`, `process.ioPriority` and `linux.memoryPolicy`: names to numbers.

use super::{PlanError, Result, cpuset, lookup, names};
use crate::{spec, sys};

const POLICIES: [(&str, u32); 7] = [
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", 1),
    ("SCHED_RR", 2),
    ("SCHED_BATCH", 3),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", 6),
];
const FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];
const IO_CLASSES: [(&str, i32); 3] =
    [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];
const MEMORY_MODES: [(&str, u32); 7] = [
    ("MPOL_DEFAULT", 0),
    ("MPOL_PREFERRED", 1),
    ("MPOL_BIND", 2),
    ("MPOL_INTERLEAVE", 3),
    ("MPOL_LOCAL", 4),
    ("MPOL_PREFERRED_MANY", 5),
    ("MPOL_WEIGHTED_INTERLEAVE", 6),
];
const MEMORY_FLAGS: [(&str, u32); 3] = [
    ("MPOL_F_STATIC_NODES", 1 << 15),
    ("MPOL_F_RELATIVE_NODES", 1 << 14),
    ("MPOL_F_NUMA_BALANCING", 1 << 13),
];

/// The names of the memory policy modes and flags, for `features`.
#[must_use]
pub fn memory_policy_names() -> (Vec<&'static str>, Vec<&'static str>) {
    (MEMORY_MODES.map(|(name, _)| name).to_vec(), MEMORY_FLAGS.map(|(name, _)| name).to_vec())
}

/// `process.scheduler` as sched_setattr(2) takes it.
///
/// # Errors
/// An unknown policy or flag, and parameters that the policy does not have.
pub fn scheduler(scheduler: &spec::Scheduler) -> Result<sys::sched::Attributes> {
    let at = |field: &str, problem: String| PlanError::at(format!("process.scheduler.{field}"), problem);
    let policy = lookup(&POLICIES, &scheduler.policy).ok_or_else(|| {
        at("policy", format!("{:?} is not a policy; expected one of {}", scheduler.policy, names(&POLICIES)))
    })?;
    let mut flags = 0;
    for (index, name) in scheduler.flags.iter().enumerate() {
        flags |= lookup(&FLAGS, name).ok_or_else(|| {
            at(
                &format!("flags[{index}]"),
                format!("{name:?} is not a flag; expected one of {}", names(&FLAGS)),
            )
        })?;
    }
    if !(-20..=19).contains(&scheduler.nice) {
        return Err(at("nice", format!("{} is not a nice value; expected -20 to 19", scheduler.nice)));
    }
    let realtime = matches!(policy, 1 | 2);
    if scheduler.priority != 0 && !realtime {
        return Err(at("priority", format!("{} needs SCHED_FIFO or SCHED_RR", scheduler.priority)));
    }
    let priority = u32::try_from(scheduler.priority)
        .map_err(|_| at("priority", format!("{} is negative", scheduler.priority)))?;
    let timed = scheduler.runtime != 0 || scheduler.deadline != 0 || scheduler.period != 0;
    if timed && policy != 6 {
        return Err(at("runtime", "runtime, deadline and period need SCHED_DEADLINE".to_owned()));
    }
    Ok(sys::sched::Attributes {
        policy,
        flags,
        nice: scheduler.nice,
        priority,
        runtime: scheduler.runtime,
        deadline: scheduler.deadline,
        period: scheduler.period,
    })
}

/// `process.ioPriority` as ioprio_set(2) takes it: class << 13 | level.
///
/// # Errors
/// An unknown class, or a level outside of 0 to 7.
pub fn io_priority(priority: &spec::IoPriority) -> Result<i32> {
    let class = lookup(&IO_CLASSES, &priority.class).ok_or_else(|| {
        let problem = format!("{:?} is not a class; expected one of {}", priority.class, names(&IO_CLASSES));
        PlanError::at("process.ioPriority.class", problem)
    })?;
    let level =
        i32::try_from(priority.priority).ok().filter(|level| (0..=7).contains(level)).ok_or_else(|| {
            let problem = format!("{} is not a priority; expected 0 to 7", priority.priority);
            PlanError::at("process.ioPriority.priority", problem)
        })?;
    Ok((class << 13) | level)
}

/// `linux.memoryPolicy` as set_mempolicy(2) takes it: the mode with its flags, and nodes, of which bit N of the whole is node N.
///
/// # Errors
/// An unknown mode or flag, a malformed node list.
pub fn memory_policy(policy: &spec::MemoryPolicy) -> Result<(u32, Vec<u64>)> {
    let mut mode = lookup(&MEMORY_MODES, &policy.mode).ok_or_else(|| {
        let problem = format!("{:?} is not a mode; expected one of {}", policy.mode, names(&MEMORY_MODES));
        PlanError::at("linux.memoryPolicy.mode", problem)
    })?;
    for (index, name) in policy.flags.iter().enumerate() {
        mode |= lookup(&MEMORY_FLAGS, name).ok_or_else(|| {
            let problem = format!("{name:?} is not a flag; expected one of {}", names(&MEMORY_FLAGS));
            PlanError::at(format!("linux.memoryPolicy.flags[{index}]"), problem)
        })?;
    }
    let nodes = match policy.nodes.trim() {
        "" => Vec::new(),
        nodes => cpuset::mask("linux.memoryPolicy.nodes", nodes)?,
    };
    Ok((mode, nodes))
}

/// `linux.personality` as personality(2) takes it.
///
/// # Errors
/// A domain other than `LINUX` and `LINUX32`, or any flag (the specification defines none).
pub fn personality(personality: &spec::Personality) -> Result<u32> {
    const DOMAINS: [(&str, u32); 2] = [("LINUX", 0), ("LINUX32", 8)];
    if let Some(flag) = personality.flags.first() {
        let problem = format!("{flag:?} is not a flag; the specification defines none");
        return Err(PlanError::at("linux.personality.flags[0]", problem));
    }
    lookup(&DOMAINS, &personality.domain).ok_or_else(|| {
        let problem =
            format!("{:?} is not a domain; expected one of {}", personality.domain, names(&DOMAINS));
        PlanError::at("linux.personality.domain", problem)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_priorities() {
        let priority = |class: &str, priority| spec::IoPriority { class: class.to_owned(), priority };
        assert_eq!(io_priority(&priority("IOPRIO_CLASS_BE", 4)), Ok((2 << 13) | 4));
        assert!(io_priority(&priority("IOPRIO_CLASS_BE", 8)).is_err());
        assert!(io_priority(&priority("BE", 1)).is_err());
    }

    #[test]
    fn schedulers() {
        let fifo = spec::Scheduler { policy: "SCHED_FIFO".to_owned(), priority: 5, ..Default::default() };
        assert_eq!(scheduler(&fifo).map(|attributes| (attributes.policy, attributes.priority)), Ok((1, 5)));
        for bad in [
            spec::Scheduler { policy: "FIFO".to_owned(), ..Default::default() },
            spec::Scheduler { policy: "SCHED_OTHER".to_owned(), priority: 1, ..Default::default() },
            spec::Scheduler { policy: "SCHED_OTHER".to_owned(), nice: 20, ..Default::default() },
            spec::Scheduler { policy: "SCHED_OTHER".to_owned(), runtime: 1, ..Default::default() },
            spec::Scheduler {
                policy: "SCHED_RR".to_owned(),
                flags: vec!["X".to_owned()],
                ..Default::default()
            },
        ] {
            assert!(scheduler(&bad).is_err(), "{bad:?}");
        }
    }
}
