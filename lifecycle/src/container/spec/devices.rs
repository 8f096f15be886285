//! Devices: the nodes a container gets, and the rules about them.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use bollard_stubs::models::HostConfig;
use serde_json::{Value, json};
use walkdir::{DirEntry, WalkDir};

use crate::error::{Result, bail, ensure, error};
use crate::said;

/// Names below /dev that are not devices of the host's, or not for others.
const LEFT_OUT: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".udev", "console"];

/// Devices and rules, in order.
pub(super) fn all(host: &HostConfig) -> Result<(Vec<Value>, Vec<Value>)> {
    if host.privileged == Some(true) {
        let devices = nodes(Path::new("/dev"), Path::new("/dev"));
        return Ok((devices, vec![json!({"allow": true, "access": "rwm"})]));
    }
    let mut devices = Vec::new();
    let mut rules = vec![json!({"allow": false, "access": "rwm"})];
    rules.extend(DEFAULTS.split(',').filter_map(parse_rule));
    for mapping in host.devices.iter().flatten() {
        let from = said::text(&mapping.path_on_host).unwrap_or_default();
        let to = Path::new(said::text(&mapping.path_in_container).unwrap_or(from));
        let from = Path::new(from);
        let access = said::text(&mapping.cgroup_permissions).unwrap_or("rwm");
        ensure!(access.chars().all(|c| "rwm".contains(c)), invalid, "invalid device mode: {access}");
        let found = nodes(from, to);
        if found.is_empty() {
            let why = if from.exists() { "not a device node" } else { "no such file or directory" };
            let from = from.display();
            bail!(invalid, "error gathering device information while adding custom device \"{from}\": {why}");
        }
        for device in &found {
            let (kind, major, minor) = (&device["type"], &device["major"], &device["minor"]);
            rules
                .push(json!({"allow": true, "type": kind, "major": major, "minor": minor, "access": access}));
        }
        devices.extend(found);
    }
    for rule in host.device_cgroup_rules.iter().flatten() {
        let bad = || error!(invalid, "invalid device cgroup rule format: '{rule}'");
        rules.push(parse_rule(rule).ok_or_else(bad)?);
    }
    Ok((devices, rules))
}

/// Docker's rules, beside those that the runtime gives every container.
const DEFAULTS: &str = "c 1:3 rwm,c 1:5 rwm,c 1:8 rwm,c 1:9 rwm,c 5:0 rwm,c 5:1 rwm";

fn parse_rule(text: &str) -> Option<Value> {
    let words: Vec<&str> = text.split(' ').collect();
    let [kind, numbers, access] = words[..] else { return None };
    let (major, minor) = numbers.split_once(':')?;
    let number = |text: &str| if text == "*" { Some(-1) } else { text.parse::<u32>().ok().map(i64::from) };
    let good =
        matches!(kind, "a" | "b" | "c") && !access.is_empty() && access.chars().all(|c| "rwm".contains(c));
    let (major, minor) = (number(major)?, number(minor)?);
    good.then(|| json!({"allow": true, "type": kind, "major": major, "minor": minor, "access": access}))
}

/// The device at a path, or all those below it, by name.
fn nodes(from: &Path, to: &Path) -> Vec<Value> {
    let is_own = |entry: &DirEntry| {
        let left_out = LEFT_OUT.iter().any(|name| entry.file_name() == *name);
        entry.depth() == 0 || !entry.path_is_symlink() && !left_out
    };
    let all = WalkDir::new(from).sort_by_file_name().into_iter().filter_entry(is_own).flatten();
    let place = |path: &Path| to.iter().chain(path.strip_prefix(from).unwrap_or(path)).collect::<PathBuf>();
    all.filter_map(|entry| node(entry.path(), &place(entry.path()))).collect()
}

fn node(from: &Path, to: &Path) -> Option<Value> {
    let meta = from.metadata().ok()?;
    let kind = match meta.file_type() {
        kind if kind.is_char_device() => "c",
        kind if kind.is_block_device() => "b",
        _ => return None,
    };
    let (major, minor) = (nix::sys::stat::major(meta.rdev()), nix::sys::stat::minor(meta.rdev()));
    Some(json!({
        "path": to, "type": kind, "major": major, "minor": minor,
        "fileMode": meta.mode() & 0o777, "uid": meta.uid(), "gid": meta.gid(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read() {
        assert_eq!(parse_rule("c 1:* rw").unwrap()["minor"], -1);
        assert!(
            ["c 1 rw", "x 1:2 r", "c 1:2 rx", "c 1:2", "c a:2 r"]
                .iter()
                .all(|text| parse_rule(text).is_none())
        );
    }
}
