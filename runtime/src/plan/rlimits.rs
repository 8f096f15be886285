//! `process.rlimits` (getrlimit(2)).

use super::{PlanError, Result, lookup, names};
use crate::spec;

/// A limit to set. Values are in the resource's own unit; `u64::MAX` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    /// The `RLIMIT_…` number.
    pub resource: u32,
    /// The soft limit.
    pub soft: u64,
    /// The hard limit.
    pub hard: u64,
}

#[allow(clippy::unnecessary_cast, clippy::cast_sign_loss, reason = "of another type in each C library")]
const RESOURCES: [(&str, u32); 16] = [
    ("RLIMIT_AS", libc::RLIMIT_AS as u32),
    ("RLIMIT_CORE", libc::RLIMIT_CORE as u32),
    ("RLIMIT_CPU", libc::RLIMIT_CPU as u32),
    ("RLIMIT_DATA", libc::RLIMIT_DATA as u32),
    ("RLIMIT_FSIZE", libc::RLIMIT_FSIZE as u32),
    ("RLIMIT_LOCKS", libc::RLIMIT_LOCKS as u32),
    ("RLIMIT_MEMLOCK", libc::RLIMIT_MEMLOCK as u32),
    ("RLIMIT_MSGQUEUE", libc::RLIMIT_MSGQUEUE as u32),
    ("RLIMIT_NICE", libc::RLIMIT_NICE as u32),
    ("RLIMIT_NOFILE", OPEN_FILES),
    ("RLIMIT_NPROC", PROCESSES),
    ("RLIMIT_RSS", libc::RLIMIT_RSS as u32),
    ("RLIMIT_RTPRIO", libc::RLIMIT_RTPRIO as u32),
    ("RLIMIT_RTTIME", libc::RLIMIT_RTTIME as u32),
    ("RLIMIT_SIGPENDING", libc::RLIMIT_SIGPENDING as u32),
    ("RLIMIT_STACK", libc::RLIMIT_STACK as u32),
];

/// How many processes the user of a process may have (getrlimit(2), `RLIMIT_NPROC`).
#[allow(clippy::unnecessary_cast, clippy::cast_sign_loss, reason = "of another type in each C library")]
pub const PROCESSES: u32 = libc::RLIMIT_NPROC as u32;

/// How many files a process may have open (getrlimit(2), `RLIMIT_NOFILE`).
#[allow(clippy::unnecessary_cast, clippy::cast_sign_loss, reason = "of another type in each C library")]
pub const OPEN_FILES: u32 = libc::RLIMIT_NOFILE as u32;

/// The name of a resource number, for messages.
#[must_use]
pub fn name(resource: u32) -> &'static str {
    RESOURCES.iter().find(|(_, number)| *number == resource).map_or("rlimit", |(name, _)| name)
}

/// Turns names into numbers. config.md: a type may stand once, and what cannot be mapped is an error.
///
/// # Errors
/// An unknown type, one that stands twice, or a soft limit above the hard one.
pub fn plan(rlimits: &[spec::Rlimit]) -> Result<Vec<Rlimit>> {
    let mut planned: Vec<Rlimit> = Vec::with_capacity(rlimits.len());
    for (index, limit) in rlimits.iter().enumerate() {
        let at =
            |field: &str, problem: String| PlanError::at(format!("process.rlimits[{index}]{field}"), problem);
        let resource = lookup(&RESOURCES, &limit.kind).ok_or_else(|| {
            at(".type", format!("{:?} is not an rlimit; expected one of {}", limit.kind, names(&RESOURCES)))
        })?;
        if planned.iter().any(|other| other.resource == resource) {
            return Err(at(".type", format!("{:?} stands twice", limit.kind)));
        }
        if limit.soft > limit.hard {
            let problem = format!("{} is above the hard limit {}", limit.soft, limit.hard);
            return Err(at(".soft", problem));
        }
        planned.push(Rlimit { resource, soft: limit.soft, hard: limit.hard });
    }
    Ok(planned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(kind: &str, soft: u64, hard: u64) -> spec::Rlimit {
        spec::Rlimit { kind: kind.to_owned(), hard, soft }
    }

    #[test]
    fn every_bad_limit_names_its_place() {
        for (limits, expected) in [
            (vec![limit("RLIMIT_FOO", 1, 1)], "process.rlimits[0].type: \"RLIMIT_FOO\" is not an rlimit"),
            (
                vec![limit("RLIMIT_CPU", 1, 1), limit("RLIMIT_CPU", 1, 1)],
                "process.rlimits[1].type: \"RLIMIT_CPU\" stands twice",
            ),
            (vec![limit("RLIMIT_CPU", 2, 1)], "process.rlimits[0].soft: 2 is above the hard limit 1"),
        ] {
            let error = plan(&limits).expect_err("refused").to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn all_sixteen_are_known() {
        for (name, number) in RESOURCES {
            assert_eq!(plan(&[limit(name, 1, 2)]), Ok(vec![Rlimit { resource: number, soft: 1, hard: 2 }]));
        }
    }
}
