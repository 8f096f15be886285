//! What was expected, and what to do about it.
//!
//! Knows no rules: what a refusal says is taken apart, and where it says nothing of that kind, a table of places knows
//! what belongs there.

use super::place::Place;
use serde_json::Value;

/// A refusal, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Advice {
    /// What is wrong.
    pub problem: String,
    /// What was expected.
    pub expected: String,
    /// What to do.
    pub fix: String,
}

/// What belongs at a place, and what to do where it is not: a longer place wins over one that holds it.
const PLACES: &[(&str, &str, &str)] = &[
    ("", "an object as config.md describes it", "write one, as `corten spec` does"),
    (
        "ociVersion",
        "1.x.y",
        "write the version of the specification that the file was written for, such as \"1.2.0\"",
    ),
    (
        "process",
        "the process to run",
        "describe it as config.md, \"Process\", says; `corten spec` writes one",
    ),
    ("process.args", "a program and its arguments", "write them as a list, such as [\"sh\"]"),
    ("process.args[]", "the program, or an argument without a NUL character", "correct it"),
    ("process.env[]", "NAME=VALUE", "give the variable a name and a value, or remove it"),
    ("process.cwd", "an absolute path in the container", "write \"/\", or a directory of the image"),
    ("process.user", "ids as numbers", "write numbers; names are resolved by whoever writes config.json"),
    ("process.rlimits[]", "a type, a soft and a hard limit", "correct the limit or remove it"),
    (
        "process.apparmorProfile",
        "a profile that is loaded on this host",
        "load it, enable AppArmor, or remove the field",
    ),
    ("process.selinuxLabel", "a label that this host knows", "enable SELinux, or remove the field"),
    ("process.oomScoreAdj", "-1000 to 1000", "choose a number in that range"),
    ("root", "the root file system", "write {\"path\": \"rootfs\"} and unpack the image there"),
    ("root.path", "a directory", "unpack the image's root file system there, or correct the path"),
    (
        "hostname",
        "a name of at most 64 bytes in a uts namespace",
        "shorten it, or add {\"type\": \"uts\"} to linux.namespaces",
    ),
    ("mounts[]", "a destination, a type or a bind, a source", "correct the mount or remove it"),
    ("mounts[].source", "a file or directory of this host", "make it, or correct the path"),
    ("mounts[].destination", "an absolute path in the container", "name where it is mounted"),
    (
        "mounts[].options",
        "options of mount(8), as `corten features` lists them",
        "correct the option or remove it",
    ),
    ("hooks", "an absolute path to a program of this host", "correct the hook or remove it"),
    ("annotations", "a value that the annotation knows", "correct the annotation or remove it"),
    (
        "linux.namespaces[]",
        "a type, with an absolute path where one is joined",
        "correct the namespace or remove it",
    ),
    (
        "linux.uidMappings",
        "lines that map ids of the container to ids of the host",
        "write {\"containerID\": 0, \"hostID\": ID, \"size\": COUNT}, and add {\"type\": \"user\"} to linux.namespaces",
    ),
    (
        "linux.gidMappings",
        "lines that map ids of the container to ids of the host",
        "write {\"containerID\": 0, \"hostID\": ID, \"size\": COUNT}, and add {\"type\": \"user\"} to linux.namespaces",
    ),
    (
        "linux.timeOffsets",
        "seconds and nanoseconds of the clocks monotonic and boottime, in a new time namespace",
        "correct the offset, or add {\"type\": \"time\"} to linux.namespaces",
    ),
    (
        "linux.sysctl",
        "a setting that belongs to a namespace of the container",
        "add the namespace to linux.namespaces, or set it on the host",
    ),
    (
        "linux.maskedPaths",
        "absolute paths, in a mount namespace",
        "add {\"type\": \"mount\"} to linux.namespaces, or correct the path",
    ),
    (
        "linux.readonlyPaths",
        "absolute paths, in a mount namespace",
        "add {\"type\": \"mount\"} to linux.namespaces, or correct the path",
    ),
    (
        "linux.devices[]",
        "an absolute path, a type and the device's numbers",
        "correct the device or remove it",
    ),
    (
        "linux.netDevices",
        "names of interfaces of this host, in a network namespace",
        "correct the name, or add {\"type\": \"network\"} to linux.namespaces",
    ),
    (
        "linux.cgroupsPath",
        "a path below the root of the hierarchy, or slice:prefix:name for systemd",
        "correct the path, or remove it and let the runtime choose",
    ),
    (
        "linux.resources",
        "a limit that this host's control groups have",
        "correct the limit or remove it; `corten doctor` lists the controllers",
    ),
    (
        "linux.intelRdt",
        "a host with resctrl, and the name of a class",
        "mount resctrl at /sys/fs/resctrl, or remove the field",
    ),
    (
        "linux.seccomp",
        "a profile as config-linux.md, \"Seccomp\", describes it",
        "correct it; `corten seccomp compile` checks a profile alone",
    ),
    (
        "linux.seccomp.listenerPath",
        "the socket of an agent that listens",
        "start the agent, or correct the path",
    ),
];

/// The same for this host, which nothing in the file can mend.
const HOST: (&str, &str) =
    ("a host with control groups", "run `corten doctor`, which says what is missing and how to get it");

/// What is wrong where a refusal only says what was expected.
const OTHER: &str = "is something else";

/// Takes a refusal apart; one without a place is of this host.
#[must_use]
pub fn of(place: Option<&Place>, value: Option<&Value>, problem: &str) -> Advice {
    let (expected, fix) = place.map_or(HOST, known);
    let split =
        ["; expected ", ", expected ", ": expected "].iter().find_map(|mark| problem.split_once(mark));
    let (problem, expected) =
        match split.or_else(|| problem.strip_prefix("expected ").map(|right| (OTHER, right))) {
            // Where serde stopped in a text is of no use for a value.
            Some((wrong, right)) => (wrong, right.split(" at line ").next().unwrap_or(right)),
            None => match (problem.split_once(" needs "), problem.strip_prefix("needs ")) {
                (_, Some(right)) => (problem, right.split(": ").next().unwrap_or(right)),
                (Some((_, right)), None) => (problem, right),
                _ => (problem, expected),
            },
        };
    let problem = problem.trim_end_matches([':', ' ']);
    let fix = match meant(value, &format!("; expected {expected}")) {
        Some(meant) => format!("write {meant:?}"),
        None if problem.contains("stands twice") => "remove one of the two".to_owned(),
        None if problem.contains("NUL character") => "remove the NUL character".to_owned(),
        None if problem.contains("not an absolute path") || problem.contains("not absolute") => {
            "write the whole path, from /".to_owned()
        }
        None => match namespace(problem) {
            Some(kind) => format!("add {{\"type\": {kind:?}}} to linux.namespaces, or remove it here"),
            None => fix.to_owned(),
        },
    };
    Advice { problem: problem.to_owned(), expected: expected.to_owned(), fix }
}

/// The namespace that a refusal misses.
#[must_use]
pub fn namespace(problem: &str) -> Option<&'static str> {
    let words = problem.split_once("needs ").map(|(_, rest)| rest)?;
    let kinds = crate::plan::namespaces::TYPES.iter().map(|(kind, _)| *kind);
    kinds.into_iter().find(|kind| words.contains(&format!("{kind} namespace")))
}

/// What the tables know of a place.
fn known(place: &Place) -> (&'static str, &'static str) {
    let pattern = place.pattern();
    let holds = |known: &str| {
        pattern.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let found = PLACES.iter().filter(|(known, ..)| holds(known)).max_by_key(|(known, ..)| known.len());
    match found {
        Some((known, expected, fix)) if !known.is_empty() || pattern.is_empty() => (expected, fix),
        _ => ("what config.md and config-linux.md describe", "correct the value or remove it"),
    }
}

/// What was probably meant by a text of which a refusal says what it could have been: `expected one of a, b`.
#[must_use]
pub fn meant(value: Option<&Value>, problem: &str) -> Option<String> {
    let written = value?.as_str()?;
    let (_, list) = problem.split_once("expected one of ")?;
    let near = |candidate: &&str| {
        let (one, other) = (candidate.to_ascii_lowercase(), written.to_ascii_lowercase());
        other.len() >= 2
            && (one.starts_with(&other) || other.starts_with(&one) || distance(&one, &other) <= 2)
    };
    let best = list.split(", ").filter(near).min_by_key(|candidate| distance(candidate, written))?;
    Some(best.to_owned())
}

/// How many letters have to be put in, taken out or changed (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, theirs) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *theirs);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn advice(path: &str, value: &Value, problem: &str) -> Advice {
        of(Some(&Place::parse(path, &Value::Null)), Some(value), problem)
    }

    #[test]
    fn what_is_said_is_taken_apart() {
        let found = advice(
            "linux.namespaces[1].type",
            &json!("net"),
            "\"net\" is not a namespace; expected one of cgroup, mount, network",
        );
        assert_eq!(found.problem, "\"net\" is not a namespace");
        assert_eq!(found.expected, "one of cgroup, mount, network");
        assert_eq!(found.fix, "write \"network\"");
        let found = advice(
            "hostname",
            &json!("x"),
            "needs a uts namespace: without one the host's name would be changed",
        );
        assert_eq!(found.expected, "a uts namespace");
        assert_eq!(found.fix, "add {\"type\": \"uts\"} to linux.namespaces, or remove it here");
        let found = advice("process.args", &json!("sh"), "invalid type: string \"sh\", expected a sequence");
        assert_eq!(
            (found.expected.as_str(), found.fix.as_str()),
            ("a sequence", "write them as a list, such as [\"sh\"]")
        );
    }

    #[test]
    fn every_place_has_an_answer() {
        for path in ["", "x.y", "linux.resources.memory.swap", "mounts[3].source", "linux.personality.domain"]
        {
            let found = advice(path, &Value::Null, "is odd");
            assert!(!found.expected.is_empty() && !found.fix.is_empty(), "{path}");
        }
        assert!(PLACES.iter().all(|(_, expected, fix)| !expected.is_empty() && !fix.is_empty()));
    }

    #[test]
    fn distances() {
        for (one, other, expected) in
            [("", "abc", 3), ("net", "network", 4), ("mnt", "mount", 2), ("a", "b", 1)]
        {
            assert_eq!(distance(one, other), expected);
        }
    }
}
