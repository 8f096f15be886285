//! Parsers of `/proc` files, used by the probe inside the container and by the tests outside.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// One line of `/proc/PID/mountinfo` (proc_pid_mountinfo(5)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Mount id.
    pub id: u64,
    /// Parent mount id.
    pub parent: u64,
    /// The directory of the filesystem that is mounted.
    pub root: String,
    /// Where it is mounted.
    pub target: String,
    /// Options of the mount.
    pub options: Vec<String>,
    /// `shared:N`, `master:N`, `unbindable`; empty for a private mount.
    pub propagation: Vec<String>,
    /// Filesystem type.
    pub fstype: String,
    /// Source, as given at mount time.
    pub source: String,
    /// Options of the filesystem.
    pub super_options: Vec<String>,
}

impl Mount {
    /// Whether the mount has this option.
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|have| have == option)
    }

    /// Whether the filesystem has this option.
    pub fn super_has(&self, option: &str) -> bool {
        self.super_options.iter().any(|have| have == option)
    }

    /// Whether the mount is in a peer group.
    pub fn is_shared(&self) -> bool {
        self.propagation.iter().any(|field| field.starts_with("shared:"))
    }

    /// Whether the mount receives from a peer group.
    pub fn is_slave(&self) -> bool {
        self.propagation.iter().any(|field| field.starts_with("master:"))
    }
}

/// Undoes the octal escapes of mountinfo.
fn unescape(field: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(field.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

/// Parses the text of a mountinfo file, leaving out lines that are not of its form.
pub fn parse_mountinfo(text: &str) -> Vec<Mount> {
    text.lines().filter_map(parse_mount).collect()
}

fn parse_mount(line: &str) -> Option<Mount> {
    let list = |field: &str| field.split(',').map(str::to_owned).collect::<Vec<_>>();
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ');
    let mut right = right.splitn(3, ' ');
    let id = left.next()?.parse().ok()?;
    let parent = left.next()?.parse().ok()?;
    left.next()?;
    Some(Mount {
        id,
        parent,
        root: unescape(left.next()?),
        target: unescape(left.next()?),
        options: list(left.next()?),
        propagation: left.map(str::to_owned).collect(),
        fstype: right.next()?.to_owned(),
        source: unescape(right.next()?),
        super_options: list(right.next()?),
    })
}

/// The mounts of a process; empty when it is gone or `/proc` is not there.
pub fn mounts(pid: &str) -> Vec<Mount> {
    parse_mountinfo(&fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default())
}

/// The fields of `/proc/PID/status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status(pub BTreeMap<String, String>);

impl Status {
    /// Reads the file of a process; empty when it is gone.
    pub fn of(pid: &str) -> Status {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        Status(text.lines().filter_map(|line| line.split_once(":\t")).map(own).collect())
    }

    /// The text of a field, or nothing.
    pub fn get(&self, field: &str) -> &str {
        self.0.get(field).map_or("", String::as_str)
    }

    /// A field of decimal numbers.
    pub fn numbers(&self, field: &str) -> Vec<u32> {
        self.get(field).split_whitespace().filter_map(|number| number.parse().ok()).collect()
    }

    /// A field of one decimal number; zero when it is absent.
    pub fn number(&self, field: &str) -> u32 {
        self.numbers(field).first().copied().unwrap_or(0)
    }

    /// A field of one hexadecimal mask; zero when it is absent.
    pub fn mask(&self, field: &str) -> u64 {
        u64::from_str_radix(self.get(field), 16).unwrap_or(0)
    }
}

fn own((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.trim().to_owned())
}

/// `/proc/PID/limits`: resource to (soft, hard), with `unlimited` as the largest number.
pub fn limits(pid: &str) -> BTreeMap<String, (u64, u64)> {
    let number = |text: &str| if text == "unlimited" { Some(u64::MAX) } else { text.parse().ok() };
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    let parse = |line: &str| {
        let (name, rest) = line.split_at_checked(26)?;
        let mut fields = rest.split_whitespace();
        Some((name.trim().to_owned(), (number(fields.next()?)?, number(fields.next()?)?)))
    };
    text.lines().skip(1).filter_map(parse).collect()
}

/// The links of `/proc/PID/ns`: kind to `kind:[inode]`.
pub fn namespaces(pid: &str) -> BTreeMap<String, String> {
    let link = |name: &str| {
        let target = fs::read_link(format!("/proc/{pid}/ns/{name}")).ok()?;
        Some((name.to_owned(), target.to_string_lossy().into_owned()))
    };
    entries(format!("/proc/{pid}/ns")).iter().filter_map(|name| link(name)).collect()
}

/// The names in a directory, sorted; empty when it cannot be read.
pub fn entries(path: impl AsRef<Path>) -> Vec<String> {
    let Ok(directory) = fs::read_dir(path) else { return Vec::new() };
    let mut names: Vec<_> =
        directory.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The pids that `/proc` shows.
pub fn pids() -> Vec<i32> {
    entries("/proc").iter().filter_map(|name| name.parse().ok()).collect()
}

/// The resident memory of a process, in kB.
///
/// # Panics
/// When it is gone.
#[track_caller]
pub fn resident(pid: i32) -> u32 {
    let status = Status::of(&pid.to_string());
    *status.numbers("VmRSS").first().expect("a process with memory")
}

/// What standard input, output and error of a process are.
///
/// # Panics
/// When it is gone, or has closed one.
pub fn streams(pid: i32) -> [String; 3] {
    let link = |fd: i32| fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap();
    [0, 1, 2].map(|fd| link(fd).to_string_lossy().into_owned())
}

/// The children of a process's first thread.
///
/// # Panics
/// When the process is gone, or the kernel does not tell (`CONFIG_PROC_CHILDREN`).
#[track_caller]
pub fn children(pid: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// A file of strings that each end in NUL, such as `environ` and `cmdline`.
pub fn nul_separated(path: &str) -> Vec<String> {
    let bytes = fs::read(path).unwrap_or_default();
    let text = bytes.strip_suffix(&[0]).unwrap_or(&bytes);
    if text.is_empty() {
        return Vec::new();
    }
    text.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

/// `/proc/PID/cgroup`: the names of the controllers to the path; the unified hierarchy under an empty name.
pub fn cgroups(pid: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let parse = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
    };
    text.lines().filter_map(parse).collect()
}
