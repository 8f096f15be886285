//! `linux.namespaces`, `linux.uidMappings`, `linux.gidMappings` and `linux.timeOffsets`.

use super::{PlanError, Result, lookup, names};
use crate::spec;
use std::fmt::{Display, Write as _};
use std::path::PathBuf;

/// `CLONE_NEWTIME` as an `int`, beside the others.
pub const NEWTIME: libc::c_int = libc::CLONE_NEWTIME;

/// The names of the namespaces with their flags, and with their files in `/proc/PID/ns`.
pub const TYPES: [(&str, (libc::c_int, &str)); 8] = [
    ("cgroup", (libc::CLONE_NEWCGROUP, "cgroup")),
    ("ipc", (libc::CLONE_NEWIPC, "ipc")),
    ("mount", (libc::CLONE_NEWNS, "mnt")),
    ("network", (libc::CLONE_NEWNET, "net")),
    ("pid", (libc::CLONE_NEWPID, "pid")),
    ("time", (NEWTIME, "time")),
    ("user", (libc::CLONE_NEWUSER, "user")),
    ("uts", (libc::CLONE_NEWUTS, "uts")),
];

/// Which namespaces are new, which are joined, and which stay the host's (in neither).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// `CLONE_NEW…` flags of new namespaces.
    pub create: libc::c_int,
    /// Namespaces to join, by flag and path.
    pub join: Vec<Join>,
    /// The map of a new user namespace.
    pub uids: Vec<spec::IdMapping>,
    /// The same for groups.
    pub gids: Vec<spec::IdMapping>,
    /// What is written to `/proc/self/timens_offsets`; empty for none.
    pub time_offsets: String,
}

/// A namespace to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// Its `CLONE_NEW…` flag.
    pub flag: libc::c_int,
    /// Its name in config.json.
    pub name: &'static str,
    /// A file that stands for it, such as `/proc/1/ns/net`.
    pub path: PathBuf,
}

impl Namespaces {
    /// Whether the container has a namespace of that type that is not the runtime's own.
    #[must_use]
    pub fn separate(&self, flag: libc::c_int) -> bool {
        self.create & flag != 0 || self.join.iter().any(|join| join.flag == flag)
    }

    /// Whether a namespace of that type is made for the container.
    #[must_use]
    pub fn creates(&self, flag: libc::c_int) -> bool {
        self.create & flag != 0
    }

    /// What is done when the namespace of that type is joined, for errors.
    #[must_use]
    pub fn joining(&self, flag: libc::c_int) -> String {
        let joins = self.join.iter().filter(|join| join.flag == flag);
        joins.map(|join| format!("join the {} namespace {}", join.name, join.path.display())).collect()
    }
}

/// Plans the namespaces.
///
/// # Errors
/// An unknown type, one that stands twice, a relative path, maps without a new user namespace or the reverse.
pub fn plan(linux: &spec::Linux) -> Result<Namespaces> {
    let mut planned = Namespaces::default();
    for (index, namespace) in linux.namespaces.iter().enumerate() {
        let at = |field: &str, problem: String| {
            PlanError::at(format!("linux.namespaces[{index}].{field}"), problem)
        };
        let (flag, _) = lookup(&TYPES, &namespace.kind).ok_or_else(|| {
            at("type", format!("{:?} is not a namespace; expected one of {}", namespace.kind, names(&TYPES)))
        })?;
        if planned.separate(flag) {
            return Err(at("type", format!("{:?} stands twice", namespace.kind)));
        }
        if namespace.path.is_empty() {
            planned.create |= flag;
        } else if namespace.path.starts_with('/') {
            let name = TYPES.iter().find(|(_, (other, _))| *other == flag).map_or("", |(name, _)| name);
            planned.join.push(Join { flag, name, path: PathBuf::from(&namespace.path) });
        } else {
            return Err(at("path", format!("{:?} is not absolute", namespace.path)));
        }
    }
    maps(linux, &mut planned)?;
    time(linux, &mut planned)?;
    Ok(planned)
}

fn maps(linux: &spec::Linux, planned: &mut Namespaces) -> Result<()> {
    let mapped = !linux.uid_mappings.is_empty() || !linux.gid_mappings.is_empty();
    if mapped && !planned.separate(libc::CLONE_NEWUSER) {
        return Err(PlanError::at("linux.uidMappings", "needs a user namespace in linux.namespaces"));
    }
    if planned.creates(libc::CLONE_NEWUSER) {
        for (name, map) in [("uidMappings", &linux.uid_mappings), ("gidMappings", &linux.gid_mappings)] {
            if map.is_empty() {
                let problem = "is empty; a new user namespace needs at least one line";
                return Err(PlanError::at(format!("linux.{name}"), problem));
            }
            check_map(format_args!("linux.{name}"), map)?;
        }
    }
    planned.uids.clone_from(&linux.uid_mappings);
    planned.gids.clone_from(&linux.gid_mappings);
    Ok(())
}

/// Checks one id map: sizes above zero, no overflow, no id twice on the container's side, and no more than the 340
/// lines that the kernel takes (user_namespaces(7)).
///
/// # Errors
/// The first line that breaks a rule.
pub fn check_map(path: impl Display, map: &[spec::IdMapping]) -> Result<()> {
    const MAX_LINES: usize = 340;
    if map.len() > MAX_LINES {
        return Err(PlanError::at(
            path,
            format!("has {} lines; the kernel takes at most {MAX_LINES}", map.len()),
        ));
    }
    for (index, line) in map.iter().enumerate() {
        let at = |problem: &str| PlanError::at(format!("{path}[{index}]"), problem);
        if line.size == 0 {
            return Err(at("size is 0; expected at least 1"));
        }
        let ends = (line.container_id.checked_add(line.size - 1), line.host_id.checked_add(line.size - 1));
        let (Some(last), Some(_)) = ends else { return Err(at("ends above the largest id")) };
        let overlap = |other: &spec::IdMapping| {
            other.container_id <= last
                && line.container_id <= other.container_id.saturating_add(other.size - 1)
        };
        if map[..index].iter().any(overlap) {
            return Err(at("overlaps with a line before it"));
        }
    }
    Ok(())
}

/// A map in the format of `/proc/PID/uid_map`.
#[must_use]
pub fn map_text(map: &[spec::IdMapping]) -> String {
    let mut text = String::with_capacity(map.len() * 24);
    for line in map {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} {} {}", line.container_id, line.host_id, line.size);
    }
    text
}

fn time(linux: &spec::Linux, planned: &mut Namespaces) -> Result<()> {
    if linux.time_offsets.is_empty() {
        return Ok(());
    }
    if !planned.creates(NEWTIME) {
        return Err(PlanError::at("linux.timeOffsets", "needs a new time namespace in linux.namespaces"));
    }
    for (clock, offset) in &linux.time_offsets {
        let at = |problem: String| PlanError::at(format!("linux.timeOffsets[{clock:?}]"), problem);
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(at("is not a clock; expected monotonic or boottime".to_owned()));
        }
        if offset.nanosecs >= 1_000_000_000 {
            return Err(at(format!("nanosecs {} is not below 1000000000", offset.nanosecs)));
        }
        // Writing to a String cannot fail.
        let _ = writeln!(planned.time_offsets, "{clock} {} {}", offset.secs, offset.nanosecs);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linux(json: &str) -> spec::Linux {
        serde_json::from_str(json).expect("valid JSON")
    }

    #[test]
    fn problems_name_their_place() {
        for (json, expected) in [
            (r#"{"namespaces":[{"type":"net"}]}"#, "linux.namespaces[0].type: \"net\" is not a namespace"),
            (
                r#"{"namespaces":[{"type":"pid"},{"type":"pid","path":"/x"}]}"#,
                "linux.namespaces[1].type: \"pid\" stands twice",
            ),
            (
                r#"{"namespaces":[{"type":"pid","path":"x"}]}"#,
                "linux.namespaces[0].path: \"x\" is not absolute",
            ),
            (r#"{"namespaces":[{"type":"user"}]}"#, "linux.uidMappings: is empty"),
            (
                r#"{"uidMappings":[{"containerID":0,"hostID":1,"size":1}]}"#,
                "linux.uidMappings: needs a user namespace",
            ),
            (r#"{"timeOffsets":{"monotonic":{"secs":1}}}"#, "linux.timeOffsets: needs a new time namespace"),
            (
                r#"{"namespaces":[{"type":"time"}],"timeOffsets":{"x":{"secs":1}}}"#,
                "linux.timeOffsets[\"x\"]: is not a clock",
            ),
        ] {
            let error = plan(&linux(json)).expect_err(json).to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn maps_are_checked() {
        let line = |container_id, host_id, size| spec::IdMapping { container_id, host_id, size };
        assert!(check_map("m", &[line(0, 1000, 1), line(1, 2000, u32::MAX - 2000)]).is_ok());
        for bad in [vec![line(0, 0, 0)], vec![line(0, u32::MAX, 2)], vec![line(0, 5, 10), line(9, 50, 1)]] {
            assert!(check_map("m", &bad).is_err(), "{bad:?}");
        }
        assert_eq!(map_text(&[line(0, 1000, 1), line(1, 2000, 5)]), "0 1000 1\n1 2000 5\n");
    }
}
