//! Limits as properties of a unit (systemd.resource-control(5), org.freedesktop.systemd1(5)).
//!
//! The table goes from the files of a cgroup to properties, not from config.json: so fields, `unified` and the values
//! that an update puts back take one way.

use super::Error;
use super::value::Value;
use crate::cgroup::devices::{Access, Devices, Kind, Rule, legacy::Policy};
use crate::cgroup::error::Result as CgroupResult;
use crate::cgroup::limits::{Setting, invalid};
use std::collections::BTreeMap;

/// One property of a unit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Property {
    pub(super) name: String,
    pub(super) value: Value,
    /// A systemd that does not know it may go without: the cgroup's file says the same.
    pub(super) optional: bool,
}

impl Property {
    pub(super) fn new(name: impl Into<String>, value: impl Into<Value>) -> Self {
        Self { name: name.into(), value: value.into(), optional: false }
    }

    pub(super) fn optional(mut self) -> Self {
        self.optional = true;
        self
    }
}

/// The quota of processor time that holds, in microseconds; a negative one is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cgroup) struct Quota {
    pub(in crate::cgroup) quota: i64,
    pub(in crate::cgroup) period: u64,
}

impl Quota {
    /// That of a new cgroup.
    pub(in crate::cgroup) const NEW: Self = Self { quota: -1, period: 100_000 };

    /// Reads the value of `cpu.max`, `MAX [PERIOD]`; what it does not say stays.
    pub(in crate::cgroup) fn read(self, value: &str) -> Self {
        let mut words = value.split_whitespace();
        let quota = words.next().map_or(self.quota, |word| word.parse().unwrap_or(-1));
        Self { quota, period: words.next().and_then(|word| word.parse().ok()).unwrap_or(self.period) }
    }

    /// Microseconds a second, rounded up to whole percents as systemd keeps them; `None` without limit.
    fn per_second(self) -> Option<u64> {
        let quota = u64::try_from(self.quota).ok().filter(|quota| *quota > 0)?;
        let second = u128::from(quota) * 1_000_000 / u128::from(self.period.max(1));
        u64::try_from(second.next_multiple_of(10_000)).ok()
    }

    /// The quota that systemd makes of this one. The file must have the same, or a reload would change it.
    fn rounded(self) -> i64 {
        let rounded =
            self.per_second().map(|second| u128::from(second) * u128::from(self.period) / 1_000_000);
        rounded.and_then(|quota| i64::try_from(quota).ok()).unwrap_or(self.quota)
    }
}

/// Rounds the quota in some writes to what systemd can keep. `held` is the one that holds before.
pub(in crate::cgroup) fn round_quota(settings: &mut [Setting], held: Quota) {
    let period = settings.iter().find(|setting| setting.file == "cpu.cfs_period_us");
    let held =
        Quota { period: period.and_then(|period| period.value.parse().ok()).unwrap_or(held.period), ..held };
    for setting in settings {
        match setting.file.as_ref() {
            "cpu.max" => {
                let quota = held.read(&setting.value);
                if quota.quota > 0 {
                    setting.value = format!("{} {}", quota.rounded(), quota.period);
                }
            }
            "cpu.cfs_quota_us" => {
                if let Ok(quota) = setting.value.parse() {
                    setting.value = Quota { quota, ..held }.rounded().to_string();
                }
            }
            _ => {}
        }
    }
}

/// The properties for some writes, where `held` is the quota before. `new` says that the unit is being made: some
/// properties can be set only then.
pub(super) fn from_settings(
    settings: &[Setting],
    v2: bool,
    new: bool,
    held: Quota,
) -> CgroupResult<Vec<Property>> {
    let mut properties: Vec<Property> = Vec::new();
    let mut quota = held;
    let mut limits_time = false;
    for setting in settings {
        let found = match (v2, setting.file.as_ref()) {
            (true, "cpu.max") => {
                quota = quota.read(&setting.value);
                limits_time = true;
                None
            }
            (true, "memory.oom.group") => new.then(|| oom_policy(setting)).flatten(),
            (true, "io.max") => {
                properties.extend(io_limits(setting));
                None
            }
            (true, _) => property_v2(setting)?,
            (false, "cpu.cfs_quota_us") => {
                quota.quota = setting.value.parse().unwrap_or(-1);
                limits_time = true;
                None
            }
            (false, "cpu.cfs_period_us") => {
                quota.period = setting.value.parse().unwrap_or(quota.period);
                limits_time = true;
                None
            }
            (false, _) => property_v1(setting)?,
        };
        if let Some(found) = found {
            // The last word counts, except that a weight cannot go with idleness, and that its end is no weight.
            let before =
                properties.iter().find(|other| other.name == "CPUWeight" && found.name == other.name);
            let (idle, none) = (Value::U64(0), Value::U64(u64::MAX));
            let stays = before.is_some_and(|before| before.value == idle || found.value == none);
            if !found.name.starts_with("IO") || found.name == "IOWeight" {
                properties.retain(|other| stays || other.name != found.name);
            }
            if !stays {
                properties.push(found);
            }
        }
    }
    if limits_time {
        properties.push(Property::new("CPUQuotaPeriodUSec", quota.period).optional());
        properties.push(Property::new("CPUQuotaPerSecUSec", quota.per_second().unwrap_or(u64::MAX)));
    }
    Ok(properties)
}

fn property_v2(setting: &Setting) -> CgroupResult<Option<Property>> {
    let value = setting.value.trim();
    let number = |name: &str| Ok(Some(Property::new(name, limit(setting, value)?)));
    match setting.file.as_ref() {
        "memory.max" => number("MemoryMax"),
        "memory.high" => number("MemoryHigh"),
        "memory.low" => number("MemoryLow"),
        "memory.min" => number("MemoryMin"),
        "memory.swap.max" => number("MemorySwapMax"),
        "memory.zswap.max" => Ok(number("MemoryZSwapMax")?.map(Property::optional)),
        "pids.max" => Ok(Some(tasks_max(limit(setting, value)?))),
        "cpu.weight" => number("CPUWeight"),
        // The idle weight since systemd 252.
        "cpu.idle" => {
            let weight = if value == "1" { 0 } else { u64::MAX };
            Ok(Some(Property::new("CPUWeight", weight).optional()))
        }
        "cpuset.cpus" => cpu_set("AllowedCPUs", setting),
        "cpuset.mems" => cpu_set("AllowedMemoryNodes", setting),
        // systemd knows one weight, in the range of io.weight.
        "io.weight" if !value.contains(':') => {
            let value = value.trim_start_matches("default").trim();
            Ok(Some(Property::new("IOWeight", limit(setting, value)?)))
        }
        "io.bfq.weight" if !value.contains(':') => {
            let value = value.trim_start_matches("default").trim();
            let weight = u16::try_from(limit(setting, value)?).unwrap_or(u16::MAX);
            Ok(Some(Property::new("IOWeight", crate::cgroup::limits::convert::io_weight(weight))))
        }
        "io.weight" | "io.bfq.weight" => Ok(io_device_weight(setting)),
        _ => Ok(None),
    }
}

fn property_v1(setting: &Setting) -> CgroupResult<Option<Property>> {
    let value = setting.value.trim();
    let number = |name: &str| Ok(Some(Property::new(name, limit(setting, value)?)));
    match setting.file.as_ref() {
        "memory.limit_in_bytes" => number("MemoryLimit"),
        "cpu.shares" => number("CPUShares"),
        "blkio.weight" => number("BlockIOWeight"),
        "pids.max" => Ok(Some(tasks_max(limit(setting, value)?))),
        "cpuset.cpus" => cpu_set("AllowedCPUs", setting),
        "cpuset.mems" => cpu_set("AllowedMemoryNodes", setting),
        _ => Ok(None),
    }
}

/// A number; `max` and `-1` are infinity.
fn limit(setting: &Setting, value: &str) -> CgroupResult<u64> {
    crate::cgroup::dir::parse_number(value)
        .ok_or_else(|| invalid(setting.field.clone(), &setting.asked, "expected a number or \"max\""))
}

/// systemd takes no 0 here. The file gets it all the same.
fn tasks_max(limit: u64) -> Property {
    Property::new("TasksMax", limit.max(1))
}

fn oom_policy(setting: &Setting) -> Option<Property> {
    let policy = match setting.value.trim() {
        "0" => "continue",
        "1" => "kill",
        _ => return None,
    };
    // Known for scopes since systemd 253.
    Some(Property::new("OOMPolicy", policy).optional())
}

/// Lines of `MAJOR:MINOR rbps=N wiops=N` as limits on the device's node; without a node systemd cannot be told.
fn io_limits(setting: &Setting) -> Vec<Property> {
    let mut limits = Vec::new();
    for line in setting.value.lines() {
        let mut words = line.split_whitespace();
        let device = words.next().unwrap_or_default();
        limits.extend(words.filter_map(|limit| io_limit(device, limit)));
    }
    limits
}

fn io_limit(device: &str, limit: &str) -> Option<Property> {
    let (key, value) = limit.split_once('=')?;
    let name = match key {
        "rbps" => "IOReadBandwidthMax",
        "wbps" => "IOWriteBandwidthMax",
        "riops" => "IOReadIOPSMax",
        "wiops" => "IOWriteIOPSMax",
        _ => return None,
    };
    device_property(name, device, crate::cgroup::dir::parse_number(value)?)
}

fn io_device_weight(setting: &Setting) -> Option<Property> {
    let (device, weight) = setting.value.split_once(' ')?;
    let weight: u64 = weight.parse().ok()?;
    let weight = match setting.file.as_ref() {
        "io.bfq.weight" => crate::cgroup::limits::convert::io_weight(u16::try_from(weight).ok()?),
        _ => weight,
    };
    device_property("IODeviceWeight", device, weight)
}

fn device_property(name: &str, device: &str, value: u64) -> Option<Property> {
    let path = format!("/dev/block/{device}");
    std::path::Path::new(&path).exists().then(|| {
        let entry = Value::Struct(vec![Value::String(path), Value::U64(value)]);
        Property::new(name, Value::Array("(st)", vec![entry])).optional()
    })
}

/// A list of processors or memory nodes as a mask, lowest byte first. Since systemd 244.
fn cpu_set(name: &str, setting: &Setting) -> CgroupResult<Option<Property>> {
    let text = setting.value.trim();
    let wrong = || invalid(setting.field.clone(), &setting.asked, "expected a list such as 0-3,7");
    let mut mask: Vec<u8> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) =
            (first.trim().parse().map_err(|_| wrong())?, last.trim().parse().map_err(|_| wrong())?);
        // More than any kernel has (CONFIG_NR_CPUS is at most 8192).
        if first > last || last >= 65_536 {
            return Err(wrong());
        }
        if mask.len() <= last / 8 {
            mask.resize(last / 8 + 1, 0);
        }
        (first..=last).for_each(|cpu| mask[cpu / 8] |= 1 << (cpu % 8));
    }
    let bytes = mask.into_iter().map(Value::Byte).collect();
    Ok(Some(Property::new(name, Value::Array("y", bytes)).optional()))
}

/// Device rules for systemd on v1, which keeps a list of what is allowed. What its words cannot say is left to the
/// files.
pub(super) fn from_devices(rules: &[Rule]) -> CgroupResult<Vec<Property>> {
    let none = || Property::new("DeviceAllow", Value::Array("(ss)", Vec::new()));
    let policy = Policy::new(rules)?;
    let Some(allowed) = policy.allowed() else {
        return Ok(vec![none(), Property::new("DevicePolicy", "auto")]);
    };
    let entries = allowed.filter_map(|(devices, access)| device_entry(devices, access)).collect();
    Ok(vec![
        // An empty list first: those that follow are added.
        none(),
        Property::new("DevicePolicy", "strict"),
        Property::new("DeviceAllow", Value::Array("(ss)", entries)),
    ])
}

fn device_entry(devices: &Devices, access: Access) -> Option<Value> {
    let kind = if devices.kind == Some(Kind::Block) { "block" } else { "char" };
    let path = match (devices.major, devices.minor) {
        (None, None) => format!("{kind}-*"),
        (Some(major), None) => format!("{kind}-{major}"),
        (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
        (None, Some(_)) => return None,
    };
    Some(Value::Struct(vec![Value::String(path), Value::String(access.to_string())]))
}

/// Annotations `org.systemd.property.NAME` with values in GVariant's text format. A name that ends in `Sec` is systemd's
/// word in unit files; on the bus it is `USec`, in microseconds.
pub(super) fn from_annotations(annotations: &BTreeMap<String, String>) -> Result<Vec<Property>, Error> {
    let mut properties = Vec::new();
    for (annotation, text) in annotations {
        let Some(name) = annotation.strip_prefix("org.systemd.property.") else { continue };
        let wrong = |why: String| Error::Annotation { name: annotation.clone(), value: text.clone(), why };
        if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(wrong("expected the name of a property: three letters or more".to_owned()));
        }
        let value = Value::parse(text).map_err(wrong)?;
        let property =
            match name.strip_suffix("Sec").filter(|rest| rest.ends_with(|c: char| c.is_ascii_lowercase())) {
                Some(rest) => {
                    let time = value.seconds_to_microseconds();
                    let time = time.ok_or_else(|| wrong("expected a number of seconds".to_owned()))?;
                    Property::new(format!("{rest}USec"), time)
                }
                None => Property::new(name, value),
            };
        properties.push(property);
    }
    Ok(properties)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::limits::unified::{Now, table};
    use crate::spec::Resources;

    fn of(json: &str) -> Vec<(String, Value)> {
        let resources: Resources = serde_json::from_str(json).unwrap();
        let settings = table(&resources, &Now::default(), &|_| true).unwrap().settings;
        let properties = from_settings(&settings, true, true, Quota::NEW).unwrap();
        properties.into_iter().map(|property| (property.name, property.value)).collect()
    }

    fn named(name: &str, value: impl Into<Value>) -> (String, Value) {
        (name.to_owned(), value.into())
    }

    #[test]
    fn the_end_of_idleness_is_told_where_no_weight_is() {
        let of_file = |name: &str, value: &str| of(&format!(r#"{{"unified": {{"{name}": "{value}"}}}}"#));
        assert_eq!(of_file("cpu.idle", "1"), [named("CPUWeight", 0u64)]);
        assert_eq!(of_file("cpu.idle", "0"), [named("CPUWeight", u64::MAX)]);
        let weight = [named("CPUWeight", 50u64)];
        assert_eq!(of(r#"{"unified": {"cpu.idle": "0", "cpu.weight": "50"}}"#), weight);
        assert_eq!(of(r#"{"unified": {"cpu.weight": "50", "cpu.idle": "0"}}"#), weight);
    }

    #[test]
    fn fields_and_files_become_properties() {
        assert_eq!(
            of(r#"{"memory": {"limit": 100, "swap": 300, "reservation": 50}, "pids": {"limit": 0},
                   "cpu": {"shares": 1024, "cpus": "0,9-10"}}"#),
            [
                named("TasksMax", 1u64),
                named("MemorySwapMax", 200u64),
                named("MemoryMax", 100u64),
                named("MemoryLow", 50u64),
                named("CPUWeight", 100u64),
                named("AllowedCPUs", Value::Array("y", vec![Value::Byte(1), Value::Byte(6)])),
            ]
        );
        assert_eq!(
            of(
                r#"{"memory": {"limit": 100}, "unified": {"memory.max": "max", "memory.high": "7", "cpu.idle": "1",
                   "cpu.weight": "50", "memory.oom.group": "1", "hugetlb.2MB.max": "5"}}"#
            ),
            [
                named("CPUWeight", 0u64),
                named("MemoryHigh", 7u64),
                named("MemoryMax", u64::MAX),
                named("OOMPolicy", "kill"),
            ]
        );
    }

    #[test]
    fn quotas_are_whole_percents() {
        assert_eq!(
            of(r#"{"cpu": {"quota": 25000, "period": 100000}}"#),
            [named("CPUQuotaPeriodUSec", 100_000u64), named("CPUQuotaPerSecUSec", 250_000u64)]
        );
        let default = named("CPUQuotaPeriodUSec", 100_000u64);
        assert_eq!(
            of(r#"{"cpu": {"quota": 12345}}"#),
            [default.clone(), named("CPUQuotaPerSecUSec", 130_000u64)]
        );
        assert_eq!(of(r#"{"cpu": {"quota": -1}}"#), [default, named("CPUQuotaPerSecUSec", u64::MAX)]);
        let rounded = |quota, period| Quota { quota, period }.rounded();
        assert_eq!(rounded(12_345, 100_000), 13_000);
        assert_eq!(rounded(25_000, 100_000), 25_000);
        assert_eq!(rounded(-1, 100_000), -1);
        let mut settings = [Setting::new("f", "", "cpu", "cpu.max", "12345")];
        round_quota(&mut settings, Quota { quota: -1, period: 50_000 });
        assert_eq!(settings[0].value, "12500 50000");
    }

    #[test]
    fn annotations_become_properties() {
        let annotations = |pairs: &[(&str, &str)]| -> Result<Vec<(String, Value)>, Error> {
            let map = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Ok(from_annotations(&map)?.into_iter().map(|property| (property.name, property.value)).collect())
        };
        assert_eq!(
            annotations(&[
                ("org.systemd.property.TimeoutStopSec", "uint64 5"),
                ("org.systemd.property.RuntimeMaxUSec", "uint64 7"),
                ("org.systemd.property.After", "['x.service']"),
                ("org.systemd.other", "x"),
            ])
            .unwrap(),
            [
                named("After", Value::strings(["x.service"])),
                named("RuntimeMaxUSec", 7u64),
                named("TimeoutStopUSec", 5_000_000u64),
            ]
        );
        for (name, value, why) in [
            ("org.systemd.property.Ab", "1", "three letters"),
            ("org.systemd.property.A_b", "1", "three letters"),
            ("org.systemd.property.TimeoutStopSec", "'x'", "expected a number of seconds"),
            ("org.systemd.property.After", "nonsense", "expected a value"),
        ] {
            let error = annotations(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(why), "{error}");
        }
    }

    #[test]
    fn device_rules_become_a_list() {
        let rules = crate::cgroup::devices::always(&[]);
        let properties = from_devices(&rules).unwrap();
        let Value::Array(_, entries) = &properties[2].value else { panic!("{properties:?}") };
        let entry = |path: &str, access: &str| Value::Struct(vec![path.into(), access.into()]);
        for want in [entry("char-*", "m"), entry("/dev/char/1:3", "rwm"), entry("char-136", "rwm")] {
            assert!(entries.contains(&want), "{entries:?}");
        }
    }
}
