//! The parts of [`crate::fuzz`] that look inside of this module.

use super::limits::{legacy, unified};
use super::path::{self, Location};
use super::{Cgroup, Record, devices, host, stats, systemd};
use crate::spec::{Device, Resources};
use std::collections::BTreeMap;

/// Limits as writes for both versions, device rules as a program and as v1's lists, all as properties of a unit.
pub(crate) fn resources(resources: &Resources, nodes: &[Device]) {
    let all = |_: &str| true;
    let mut writes = Vec::new();
    for (v2, settings) in [
        (true, unified::table(resources, &unified::Now::default(), &all).map(|table| table.settings)),
        (false, legacy::table(resources, false, &all)),
    ] {
        match settings {
            Ok(settings) => writes.push((v2, settings)),
            Err(error) => assert!(!error.to_string().contains('\0')),
        }
    }
    for (v2, settings) in &writes {
        for setting in settings {
            assert!(!setting.file.is_empty() && !setting.file.contains('/'), "{setting:?}");
        }
        systemd::fuzz::settings(settings, *v2);
    }
    let Ok(mut rules) = devices::parse(&resources.devices) else { return };
    rules.extend(devices::always(&devices::replaced(nodes)));
    let program = devices::filter::compile(&rules);
    assert!(program.len() <= 8 + 16 * rules.len());
    if let Ok(policy) = devices::legacy::Policy::new(&rules) {
        let _ = policy.allowed().map(Iterator::count);
    }
    if let Ok(simple) = devices::simplify(resources.devices.clone()) {
        assert!(simple.len() <= resources.devices.len());
        // What is simple already stays.
        assert_eq!(devices::simplify(simple.clone()).ok(), Some(simple));
    }
}

/// Paths of control groups: none leads out of its hierarchy, and none is two lines of a journal.
pub(crate) fn place(text: &str) {
    if let Ok(Location::Absolute(place) | Location::Relative(place)) = Location::parse(text, "id") {
        assert!(place.starts_with('/') && place.len() > 1, "{place:?}");
        assert!(!place.split('/').any(|part| matches!(part, "." | "..")), "{place:?}");
        assert!(!place.contains('\n'), "{place:?} is more than one line of the journal");
        assert!(host::holds(&path::join(host::ROOT, &place)));
    }
    if let Some(below) = path::below(text) {
        assert!(!below.starts_with('/') && !below.split('/').any(|part| matches!(part, "." | "..")));
    }
    systemd::fuzz::unit(text);
}

/// A record points to control groups or is refused.
pub(crate) fn record(record: Option<&Record>) {
    let Some(record) = record else { return };
    if let Ok(cgroup) = Cgroup::open(record) {
        assert!(cgroup.members.iter().all(|member| host::holds(member.dir.path())));
        let again = cgroup.record();
        assert_eq!((&again.dirs, &again.unit), (&record.dirs, &record.unit));
    }
}

/// Whatever a journal says, nothing but control groups is removed after it.
pub(crate) fn journal(text: &str) {
    let cgroup = Cgroup::from_journal(text);
    assert!(cgroup.members.iter().all(|member| host::holds(member.dir.path())), "{text:?}");
}

/// `org.systemd.property.…`, to the bytes that are sent.
pub(crate) fn annotations(annotations: &BTreeMap<String, String>) {
    systemd::fuzz::annotations(annotations);
}

/// Tables of the kernel.
pub(crate) fn tables(text: &str) {
    for hierarchy in host::parse(text) {
        assert!(hierarchy.own.starts_with('/') && !hierarchy.own.split('/').any(|part| part == ".."));
        let _ = hierarchy.mounts();
    }
    stats::fuzz(text);
}

/// A message of the bus.
pub(crate) fn bus(bytes: &[u8]) {
    systemd::fuzz::message(bytes);
}
