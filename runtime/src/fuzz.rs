//! What the fuzz targets of this crate check: everything that is read from a file, an image or a peer is understood or
//! refused, in bounded time, and what is understood keeps the promises that later steps rely on.
//!
//! Compiled for fuzzers (`runtime/fuzz`) and for this crate's own tests, which run the same checks on the corpora and on
//! a bounded number of changed inputs.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a check fails by a panic")]

use crate::plan::mounts::{MountPlan, What};
use crate::plan::{self, Host, Plan, PlanError, ProcessPlan};
use crate::spec::{Config, IdMapping, Mount, Objects, Process};
use crate::state::{ProcessDefaults, Record, check_id};
use crate::{cgroup, child, command, seccomp, wire};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::Path;

const BUNDLE: &str = "/bundle";

/// As root, and without privilege and with few capabilities.
const HOSTS: [Host; 2] = [
    Host { grantable: !0, last_capability: 40, rootless: false, selinux: || true },
    Host { grantable: 0xff, last_capability: 40, rootless: true, selinux: || false },
];

/// Reads JSON as the files of a bundle are read.
fn read<T: DeserializeOwned>(input: &[u8]) -> Option<T> {
    T::deserialize(Objects(&mut serde_json::Deserializer::from_slice(input))).ok()
}

/// config.json: read, planned, its filter compiled, its resources turned into writes.
pub fn config(input: &[u8]) {
    let Some(config) = read::<Config>(input) else { return };
    survives(&config);
    for host in &HOSTS {
        match plan::container::plan(&config, Path::new(BUNDLE), host) {
            Ok(plan) => assert_plan(&plan, host),
            Err(error) => assert_says(&error),
        }
    }
    let mut warnings = Vec::new();
    match seccomp::plan(&mut config.clone(), None, &mut warnings) {
        Ok(filter) => {
            let whole = |filter: &seccomp::Filter| filter.program.len().is_multiple_of(8);
            assert!(filter.as_ref().is_none_or(whole));
        }
        Err(error) => assert_says(&error),
    }
    let linux = config.linux.unwrap_or_default();
    cgroup::fuzz::resources(&linux.resources.unwrap_or_default(), &linux.devices);
    cgroup::fuzz::place(&linux.cgroups_path);
}

/// The process of an `exec --process`.
pub fn process(input: &[u8]) {
    let Some(process) = read::<Process>(input) else { return };
    survives(&process);
    for host in &HOSTS {
        match plan::process::plan(&process, host, &mut Vec::new()) {
            Ok(plan) => assert_process(&plan, host.grantable),
            Err(error) => assert_says(&error),
        }
    }
}

/// What is kept of a container between two commands.
pub fn record(input: &[u8]) {
    if let Ok(record) = serde_json::from_slice::<Record>(input) {
        survives(&record);
        cgroup::fuzz::record(record.cgroup.as_ref());
    }
    if let Ok(defaults) = serde_json::from_slice::<ProcessDefaults>(input) {
        survives(&defaults);
    }
    if let Ok(text) = std::str::from_utf8(input) {
        cgroup::fuzz::journal(text);
    }
}

/// Mounts: the type, the source and the destination in a line each, then an option in each line.
pub fn mounts(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut lines = text.split('\n').map(str::to_owned);
    let mut line = || lines.next().unwrap_or_default();
    let (kind, source, destination) = (line(), line(), line());
    let mount = Mount { kind, source, destination, options: lines.collect(), ..Mount::default() };
    for (label, userns) in [("", false), ("context=system_u:object_r:t", true)] {
        match plan::mounts::one(7, &mount, Path::new(BUNDLE), label, userns) {
            Ok(plan) => assert_mount(&plan),
            Err(error) => assert_says(&error),
        }
    }
    // Read twice, it means the same.
    let read = |options: &[String]| plan::options::plan("options", options);
    assert_eq!(read(&mount.options), read(&mount.options));
}

/// Names and numbers of a command line, a line each: ids, users, paths of control groups, lists of CPUs.
pub fn names(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    for line in text.split('\n') {
        if check_id(line).is_ok() {
            let below = Path::new(BUNDLE).join(line);
            assert_eq!(below.parent(), Some(Path::new(BUNDLE)), "{line:?}");
            assert_eq!(below.components().count(), 3, "{line:?}");
        }
        command::exec::fuzz_user(line);
        cgroup::fuzz::place(line);
        if let Ok(mask) = plan::cpuset::mask("cpus", line) {
            assert!(mask.len() <= 128 && mask.last().is_some_and(|word| *word != 0), "{line:?}");
        }
        if let Some(number) = plan::capabilities::number(line) {
            assert!(number < 64);
        }
    }
}

/// Id maps: as JSON, and as an option of a mount.
pub fn idmaps(input: &[u8]) {
    if let Ok(map) = serde_json::from_slice::<Vec<IdMapping>>(input) {
        assert_map(&map);
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    let options = vec!["bind".to_owned(), format!("idmap={text}")];
    let mount = Mount { destination: "/x".into(), source: "/y".into(), options, ..Mount::default() };
    let Ok(plan) = plan::mounts::one(0, &mount, Path::new(BUNDLE), "", true) else { return };
    let map = plan.idmap.expect("a map was given");
    assert!(!map.uids.is_empty() && !map.gids.is_empty());
    assert_map(&map.uids);
    assert_map(&map.gids);
}

/// Annotations that change what is done.
pub fn annotations(input: &[u8]) {
    let Ok(annotations) = serde_json::from_slice::<BTreeMap<String, String>>(input) else { return };
    cgroup::fuzz::annotations(&annotations);
    let text = include_bytes!("../fuzz/corpus/config/plain.json");
    let mut config: Config = serde_json::from_slice(text).expect("a corpus");
    config.annotations = annotations;
    if let Err(error) = plan::container::plan(&config, Path::new(BUNDLE), &HOSTS[0]) {
        assert_says(&error);
    }
    if let Err(error) = seccomp::plan(&mut config, None, &mut Vec::new()) {
        assert_says(&error);
    }
}

/// What the kernel tells in text: control groups and their statistics, mount tables.
pub fn tables(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    cgroup::fuzz::tables(text);
    for line in text.lines() {
        assert!(child::rootfs::unescape(line).len() <= line.len());
    }
}

/// Messages of systemd's bus.
pub fn bus(input: &[u8]) {
    cgroup::fuzz::bus(input);
}

/// What a process that enters a container tells the runtime: a neighbour may have taken its socket.
pub fn wire(input: &[u8]) {
    let null = || std::fs::File::open("/dev/null").map(Into::into);
    let (flag, bytes) = input.split_first().unwrap_or((&0, &[]));
    let fd = if flag & 1 == 0 { None } else { null().ok() };
    if let Ok(wire::FromChild::Failure(failure)) = wire::understand(bytes, fd) {
        assert!(failure.text.len() <= 3 * bytes.len());
    }
}

/// What was read is written and read again: it is the same.
fn survives<T: Serialize + DeserializeOwned>(value: &T) {
    let text = serde_json::to_string(value).expect("what was read can be written");
    let again: T = serde_json::from_str(&text).expect("what was written can be read");
    assert_eq!(serde_json::to_string(&again).expect("and again"), text);
}

/// An error is one line of a bearable length that begins with the place it is about.
fn assert_says(error: &PlanError) {
    let text = error.to_string();
    let place = text.split(':').next().unwrap_or_default();
    assert!(!place.is_empty() && place.len() < text.len(), "{text}");
    assert!(!text.contains('\0') && !text.contains('\n'), "{text}");
}

fn assert_plan(plan: &Plan, host: &Host) {
    let grantable = if plan.namespaces.separate(libc::CLONE_NEWUSER) { !0 } else { host.grantable };
    assert_process(&plan.process, grantable);
    plan.mounts.iter().for_each(assert_mount);
    assert_eq!(plan.namespaces.create & plan.namespaces.join.iter().map(|join| join.flag).sum::<i32>(), 0);
    for path in plan.masked.iter().chain(&plan.read_only) {
        assert!(Path::new(path).is_absolute() && !path.as_encoded_bytes().contains(&0));
    }
    for sysctl in &plan.sysctl {
        let file = sysctl.file.to_str().expect("text");
        assert!(file.starts_with("sys/") && !file.split('/').any(|part| matches!(part, "" | "." | "..")));
    }
    for device in &plan.devices {
        assert!(Path::new(&device.path).is_absolute() && device.mode <= 0o7777);
        assert!(device.major < 1 << 12 && device.minor < 1 << 20);
    }
    for name in [&plan.hostname, &plan.domainname].into_iter().flatten() {
        assert!(name.as_bytes().len() <= 64 && plan.namespaces.separate(libc::CLONE_NEWUTS));
    }
    if plan.namespaces.creates(libc::CLONE_NEWUSER) {
        assert!(!plan.namespaces.uids.is_empty() && !plan.namespaces.gids.is_empty());
    }
    assert!(plan.root.path.is_absolute());
    if !plan.namespaces.separate(libc::CLONE_NEWNS) {
        assert!(plan.mounts.is_empty() && plan.masked.is_empty() && plan.read_only.is_empty());
    }
}

fn assert_process(plan: &ProcessPlan, grantable: u64) {
    assert!(plan.args.first().is_some_and(|program| !program.is_empty()));
    assert!(plan.cwd.as_bytes().starts_with(b"/"));
    let (identity, sets) = (&plan.identity, &plan.identity.capabilities);
    assert!(identity.uid != u32::MAX && identity.gid != u32::MAX && !identity.groups.contains(&u32::MAX));
    assert!(identity.umask <= 0o777);
    assert_eq!((sets.permitted | sets.inheritable) & !grantable, 0);
    assert_eq!(sets.effective & !sets.permitted, 0);
    assert_eq!(sets.ambient & !(sets.permitted & sets.inheritable), 0);
    assert!(plan.rlimits.len() <= 16 && plan.rlimits.iter().all(|limit| limit.soft <= limit.hard));
    assert!(![&plan.apparmor, &plan.selinux].iter().any(|label| label.contains(['\0', '\n'])));
    for entry in &plan.env {
        assert!(entry.as_bytes().iter().position(|byte| *byte == b'=').is_some_and(|at| at > 0));
    }
}

fn assert_mount(plan: &MountPlan) {
    let destination = plan.destination.as_encoded_bytes();
    assert!(!destination.contains(&0) && destination.starts_with(b"/"));
    assert!(destination[1..].split(|byte| *byte == b'/').all(|name| !matches!(name, b"" | b"." | b"..")));
    if let What::Bind { source, .. } = &plan.what {
        assert!(source.is_absolute());
    }
    let attributes = &plan.attributes;
    assert_eq!(attributes.set & attributes.clear, 0);
    assert_eq!(attributes.recursive_set & attributes.recursive_clear, 0);
}

/// A map that was accepted has as many lines in the kernel's form, none of which overlaps or overflows.
fn assert_map(map: &[IdMapping]) {
    if let Err(error) = plan::namespaces::check_map("linux.uidMappings", map) {
        return assert_says(&error);
    }
    let text = plan::namespaces::map_text(map);
    assert_eq!(text.lines().count(), map.len());
    let mut ends: Vec<(u64, u64)> = map
        .iter()
        .map(|line| (u64::from(line.container_id), u64::from(line.container_id) + u64::from(line.size)))
        .collect();
    ends.sort_unstable();
    assert!(ends.windows(2).all(|pair| pair[0].1 <= pair[1].0) && ends.iter().all(|end| end.1 <= 1 << 32));
}

#[cfg(test)]
#[path = "../../seccomp-profiles/fuzz/rounds.rs"]
mod rounds;

#[cfg(test)]
mod tests {
    fn run(target: &str, count: usize, check: fn(&[u8])) {
        super::rounds::run(env!("CARGO_MANIFEST_DIR"), target, count, check);
    }

    #[test]
    fn configurations() {
        run("config", 4000, super::config);
    }

    #[test]
    fn processes() {
        run("process", 8000, super::process);
    }

    #[test]
    fn records() {
        run("record", 8000, super::record);
    }

    #[test]
    fn mounts_and_options() {
        run("mounts", 20_000, super::mounts);
    }

    #[test]
    fn names_of_the_command_line() {
        run("names", 10_000, super::names);
    }

    #[test]
    fn maps_of_ids() {
        run("idmaps", 20_000, super::idmaps);
    }

    #[test]
    fn annotations_that_mean_something() {
        run("annotations", 2000, super::annotations);
    }

    #[test]
    fn tables_of_the_kernel() {
        run("tables", 10_000, super::tables);
    }

    #[test]
    fn messages_of_the_bus() {
        run("bus", 20_000, super::bus);
    }

    #[test]
    fn messages_of_a_child() {
        run("wire", 5000, super::wire);
    }
}
