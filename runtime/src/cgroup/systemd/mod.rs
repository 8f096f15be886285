//! The systemd driver: a transient scope around the container's process, and systemd's knowledge of its limits.
//!
//! systemd owns the cgroup's place and life and rewrites the limits that it has words for whenever it likes (a
//! `daemon-reload` is enough), so each limit goes to it as a property where there is one, and into the file in any case.
//! Device rules are a program that hangs on the scope's cgroup beside systemd's own: a reload leaves it alone, and so it
//! does with what a GPU hook adds. On v1, where there is one list only, systemd gets the list, too.
//!
//! Must never: start a thread, wait without limit, or leave a scope behind when a container could not be made.

mod bus;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod message;
mod properties;
mod value;

use super::devices;
use super::error::Result as CgroupResult;
use super::host::{self, Host, ROOT, UNIFIED};
use super::limits::Setting;
use super::make::{self, Late};
use super::mounts::Mounts;
use super::path::{self, Location, join};
use super::tree::Created;
use super::{Cgroup, Error as CgroupError, Journal, Member, Request};
use crate::spec::Resources;
use bus::Bus;
use properties::Property;
pub(super) use properties::{Quota, round_quota};
use serde::{Deserialize, Serialize};
use std::path::Path;
use value::Value;

/// Why systemd, or the bus to it, did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This host was not booted with systemd.
    #[error("systemd cgroup driver: systemd not running on this host (no /run/systemd/system)")]
    NotRunning,
    /// `linux.cgroupsPath` is not of the form that this driver wants.
    #[error(
        "linux.cgroupsPath: expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {0:?} \
         instead"
    )]
    Path(String),
    /// The name of a slice that systemd would not accept.
    #[error("linux.cgroupsPath: invalid slice name: {0}")]
    Slice(String),
    /// An annotation `org.systemd.property.NAME` that cannot be understood.
    #[error("annotation {name}={value}: {why}")]
    Annotation {
        /// The annotation's name.
        name: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// No bus could be reached.
    #[error("systemd cgroup driver: connect to {address}: {source}")]
    Connect {
        /// The last address tried.
        address: String,
        /// The reason.
        source: std::io::Error,
    },
    /// There is no address to try: a user without a session.
    #[error(
        "systemd cgroup driver: could not detect DBUS_SESSION_BUS_ADDRESS from the environment, and XDG_RUNTIME_DIR \
         is not set; a login session is needed"
    )]
    NoSession,
    /// The connection failed, or what came over it is not D-Bus.
    #[error("systemd cgroup driver: {call}: {source}")]
    Io {
        /// What was asked.
        call: &'static str,
        /// The reason.
        source: std::io::Error,
    },
    /// systemd refused.
    #[error("systemd cgroup driver: {call} {unit}: {message} ({name})")]
    Refused {
        /// What was asked.
        call: &'static str,
        /// For which unit.
        unit: String,
        /// The name of the D-Bus error.
        name: String,
        /// systemd's words.
        message: String,
    },
    /// systemd took the job and did not do it.
    #[error("systemd cgroup driver: {call} {unit}: the job ended as {result:?}")]
    Job {
        /// What was asked.
        call: &'static str,
        /// For which unit.
        unit: String,
        /// systemd's word for it.
        result: String,
    },
}

impl Error {
    /// The field of config.json that it is about, where it is about one.
    pub(super) fn field(&self) -> Option<&str> {
        match self {
            Self::Path(_) | Self::Slice(_) => Some("linux.cgroupsPath"),
            Self::Annotation { .. } => Some("annotations"),
            _ => None,
        }
    }
}

/// A unit that holds a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// It is one of the user's own systemd.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub user: bool,
}

/// What to ask systemd for, and what to write afterwards.
#[derive(Debug)]
pub(super) struct Scope {
    bus: Bus,
    unit: Unit,
    /// Where it will be, from the root of each hierarchy.
    place: String,
    /// The root of the hierarchy that systemd has its processes in.
    root: String,
    properties: Vec<Property>,
    resources: Resources,
    replaced: Vec<String>,
    rootless: bool,
    owner: Option<u32>,
}

/// Whether the system's systemd answers, or the user's.
///
/// # Errors
/// Why not.
pub fn reach(user: bool) -> Result<(), Error> {
    if !Path::new("/run/systemd/system").is_dir() {
        return Err(Error::NotRunning);
    }
    Bus::connect(user).map(drop)
}

/// Decides everything about the scope. It is made by [`adopt`], for systemd makes none without a process.
pub(super) fn prepare(request: &Request<'_>) -> CgroupResult<Cgroup> {
    if !Path::new("/run/systemd/system").is_dir() {
        return Err(Error::NotRunning.into());
    }
    let (slice, name) = unit_name(request.path, request.id, request.rootless)?;
    let mut properties = vec![Property::new("Description", format!("Corten container {}", request.id))];
    if name.ends_with(".slice") {
        properties.push(Property::new("Wants", Value::strings([slice.as_str()])));
    } else {
        properties.push(Property::new("Slice", slice.as_str()));
        properties.push(Property::new("Delegate", true));
    }
    let v2 = matches!(Host::detect()?, Host::Unified);
    let accounting = if v2 { "IOAccounting" } else { "BlockIOAccounting" };
    for name in ["MemoryAccounting", "CPUAccounting", "TasksAccounting", accounting] {
        properties.push(Property::new(name, true));
    }
    properties.push(Property::new("DefaultDependencies", false));
    // A scope whose processes were killed must not stay as "failed" and keep its name.
    properties.push(Property::new("CollectMode", "inactive-or-failed").optional());
    properties.extend(properties::from_annotations(request.annotations)?);
    let mut plan = Cgroup::default();
    let mut settings = Cgroup::settings_before(v2, request.resources)?;
    round_quota(&mut settings, Quota::NEW);
    properties.extend(properties::from_settings(&settings, v2, true, Quota::NEW)?);
    let replaced = devices::replaced(request.nodes);
    if !v2 && !request.rootless {
        let mut rules = devices::parse(&request.resources.devices)?;
        rules.extend(devices::always(&replaced));
        properties.extend(properties::from_devices(&rules)?);
    }
    // Now, so that a host without systemd's ear is told before there is a process.
    let mut bus = Bus::connect(request.rootless)?;
    let manager = if request.rootless { bus.control_group()? } else { system_manager(v2)? };
    let scope = Scope {
        bus,
        place: join(&manager, &place_of(&slice, &name)),
        root: if v2 { ROOT.to_owned() } else { join(ROOT, "/systemd") },
        unit: Unit { name, user: request.rootless },
        properties,
        resources: request.resources.clone(),
        replaced,
        rootless: request.rootless,
        owner: request.owner,
    };
    scope.note(request.journal)?;
    plan.late = Some(Late { settings: Vec::new(), scope: Some(scope) });
    Ok(plan)
}

impl Scope {
    /// Where systemd has its processes.
    fn dir(&self) -> String {
        join(&self.root, &self.place)
    }

    /// Tells the journal of what is about to be asked for, unless the name belongs to somebody.
    fn note(&self, journal: Option<&dyn Journal>) -> CgroupResult<()> {
        let Some(journal) = journal.filter(|_| self.unit.is_scope() && !self.is_in_use()) else {
            return Ok(());
        };
        let line = format!("{}{}\n{}\n", self.unit.mark(), self.unit.name, self.dir());
        journal.append(line.as_bytes()).map_err(|errno| CgroupError::Apply {
            operation: "note",
            path: self.unit.name.clone(),
            errno,
            hint: String::new(),
        })
    }

    /// Whether there is such a scope with processes in it. What version 1 says of that is not enough.
    fn is_in_use(&self) -> bool {
        match std::fs::read_to_string(join(&self.dir(), "/cgroup.events")) {
            Ok(events) => !is_empty(&events),
            Err(_) => Path::new(&self.dir()).exists(),
        }
    }

    /// Whether there is such a scope without any process: of a create that was killed, whose process was gone before systemd
    /// came to it. systemd keeps it for ever.
    fn is_left(&self) -> bool {
        let events = std::fs::read_to_string(join(&self.dir(), "/cgroup.events"));
        self.unit.is_scope() && events.is_ok_and(|events| is_empty(&events))
    }

    /// Has systemd make it.
    fn start(&mut self) -> Result<(), Error> {
        match self.bus.start(&self.unit.name, &self.properties) {
            Err(Error::Refused { name, .. }) if name.ends_with(".UnitExists") && self.is_left() => {
                self.bus.stop(&self.unit.name)?;
                self.bus.start(&self.unit.name, &self.properties)
            }
            result => result,
        }
    }
}

fn is_empty(events: &str) -> bool {
    events.lines().any(|line| line == "populated 0")
}

/// Marks a line of a journal that names a unit of the system's systemd. All lines but records begin with a slash.
const NOTED: &str = "/unit:";
/// The same for the user's own.
const NOTED_OF_USER: &str = "/user-unit:";

impl Unit {
    fn is_scope(&self) -> bool {
        self.name.ends_with(".scope")
    }

    fn mark(&self) -> &'static str {
        if self.user { NOTED_OF_USER } else { NOTED }
    }

    /// The scope that a whole line of a journal names.
    pub(super) fn from_journal(line: &str) -> Option<Self> {
        let line = line.strip_suffix('\n')?;
        let (user, name) = match line.strip_prefix(NOTED) {
            Some(name) => (false, name),
            None => (true, line.strip_prefix(NOTED_OF_USER)?),
        };
        Some(Self { name: name.to_owned(), user }).filter(Self::is_scope)
    }
}

/// Asks for the scope around a process, waits until the process is in it, and writes the limits. Where that fails, the scope is
/// removed with all else, once the process has ended: systemd asks it to, which who is the first in a PID namespace does not hear.
pub(super) fn adopt(cgroup: &mut Cgroup, mut scope: Scope, pid: i32) -> CgroupResult<()> {
    scope.properties.push(Property::new("PIDs", Value::Array("u", vec![Value::U32(pid.unsigned_abs())])));
    scope.start()?;
    cgroup.unit = Some(scope.unit.clone());
    settle(cgroup, &scope, pid)
}

fn settle(cgroup: &mut Cgroup, scope: &Scope, pid: i32) -> CgroupResult<()> {
    locate(cgroup, scope, pid)?;
    cgroup.limit(&scope.resources, &scope.replaced, scope.rootless)?;
    cgroup.own(scope.owner)?;
    match cgroup.late.take() {
        // The process that these wait for is there.
        Some(late) => super::limits::write_all(&late.settings, cgroup),
        None => Ok(()),
    }
}

/// What a cgroup mount in the container will show; see [`Cgroup::mounts`]. It is laid out when the scope is there.
pub(super) fn mounts(scope: &Scope) -> CgroupResult<Mounts> {
    Ok(match Host::detect()? {
        Host::Absent => Mounts::Nothing,
        Host::Unified => Mounts::Unified(join(ROOT, &scope.place)),
        Host::Legacy(hierarchies) => super::mounts::legacy(&hierarchies, |_| scope.place.clone()),
    })
}

/// The cgroup of the system's systemd, below which all its units are: that of PID 1, which is in a scope of its own.
fn system_manager(v2: bool) -> CgroupResult<String> {
    let wanted = if v2 { UNIFIED } else { "name=systemd" };
    let own = host::of_process("1")?.into_iter().find(|hierarchy| hierarchy.controllers == wanted);
    let own = own.map_or_else(|| "/".to_owned(), |hierarchy| hierarchy.own);
    Ok(own.strip_suffix("/init.scope").map_or(own.as_str(), |parent| parent).to_owned())
}

/// Where a unit is below its manager: `a-b.slice` is in `a.slice`, a scope in its slice.
fn place_of(slice: &str, unit: &str) -> String {
    let innermost = if unit.ends_with(".slice") { unit } else { slice };
    let mut place = String::new();
    let name = innermost.strip_suffix(".slice").unwrap_or(innermost);
    if name != "-" {
        for (end, _) in name.match_indices('-').chain([(name.len(), "")]) {
            place = format!("{place}/{}.slice", &name[..end]);
        }
    }
    if unit.ends_with(".slice") { place } else { format!("{place}/{unit}") }
}

/// Finds where systemd put the process, and on v1 makes the cgroups in the hierarchies that systemd does not use.
fn locate(cgroup: &mut Cgroup, scope: &Scope, pid: i32) -> CgroupResult<()> {
    let hierarchies = host::of_process(&pid.to_string())?;
    let v2 = matches!(Host::detect()?, Host::Unified);
    let wanted = if v2 { UNIFIED } else { "name=systemd" };
    let own =
        hierarchies.iter().find(|hierarchy| hierarchy.controllers == wanted).map(|hierarchy| &hierarchy.own);
    // Where the container's mounts will look for it.
    let Some(own) = own.filter(|own| path::clean(own) == path::clean(&scope.place)) else {
        return Err(CgroupError::Content {
            path: format!("/proc/{pid}/cgroup (expected {})", scope.place),
            content: own.cloned().unwrap_or_default(),
        });
    };
    if v2 {
        cgroup.members =
            vec![Member { controllers: UNIFIED.to_owned(), dir: make::pinned(join(ROOT, own))? }];
        return Ok(());
    }
    let place = Location::Absolute(own.clone());
    let mut created = Created::default();
    for hierarchy in &hierarchies {
        if let Some((member, made, _)) = make::make_member(hierarchy, &place, &mut created)? {
            make::fill_cpuset(&member, made, &scope.resources)?;
            cgroup.members.push(member);
        }
    }
    cgroup.attach(pid)?;
    created.keep();
    Ok(())
}

/// Tells systemd of new limits. Device rules concern it on v1 only.
pub(super) fn update(
    cgroup: &Cgroup,
    settings: &[Setting],
    held: Quota,
    rules: Option<&[devices::Rule]>,
) -> CgroupResult<()> {
    let Some(unit) = &cgroup.unit else { return Ok(()) };
    let mut properties = properties::from_settings(settings, cgroup.is_v2(), false, held)?;
    if let Some(rules) = rules.filter(|_| !cgroup.is_v2()) {
        properties.extend(properties::from_devices(rules)?);
    }
    if properties.is_empty() {
        return Ok(());
    }
    let mut bus = Bus::connect(unit.user)?;
    Ok(bus.set_properties(&unit.name, &properties)?)
}

/// Moves a process into the unit, where the caller itself may not.
pub(super) fn attach(unit: &Unit, below: &str, pid: i32) -> Result<(), Error> {
    Bus::connect(unit.user)?.attach(&unit.name, below, pid)
}

/// Stops the unit, which ends what still runs in it, and forgets it. One that is gone is removed.
pub(super) fn remove(unit: &Unit) -> Result<(), Error> {
    Bus::connect(unit.user)?.stop(&unit.name)
}

/// The slice and the unit for `slice:prefix:name`, or for no path at all.
fn unit_name(path: &str, id: &str, rootless: bool) -> Result<(String, String), Error> {
    let parts: Vec<&str> = if path.is_empty() { vec!["", "corten", id] } else { path.split(':').collect() };
    let [slice, prefix, name] = parts[..] else { return Err(Error::Path(path.to_owned())) };
    let slice = match (slice, rootless) {
        ("", true) => "user.slice",
        ("", false) => "system.slice",
        (slice, _) => slice,
    };
    check_slice(slice)?;
    if name.is_empty() || [prefix, name].iter().any(|part| part.contains(['/', '\0', '\n'])) {
        return Err(Error::Path(path.to_owned()));
    }
    let unit = if name.ends_with(".slice") { name.to_owned() } else { format!("{prefix}-{name}.scope") };
    Ok((slice.to_owned(), unit))
}

/// `a-b.slice` is below `a.slice`; each part must have a name. `-.slice` is the root.
fn check_slice(slice: &str) -> Result<(), Error> {
    let valid = match slice.strip_suffix(".slice") {
        Some("-") => true,
        Some(name) => !slice.contains('/') && name.split('-').all(|part| !part.is_empty()),
        None => false,
    };
    if valid { Ok(()) } else { Err(Error::Slice(slice.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_units() {
        for (slice, unit, want) in [
            ("system.slice", "x.scope", "/system.slice/x.scope"),
            ("a-b-c.slice", "x.scope", "/a.slice/a-b.slice/a-b-c.slice/x.scope"),
            ("-.slice", "x.scope", "/x.scope"),
            ("system.slice", "a-b.slice", "/a.slice/a-b.slice"),
        ] {
            assert_eq!(place_of(slice, unit), want);
        }
    }

    #[test]
    fn names_of_units() {
        for (path, rootless, want) in [
            ("system.slice:docker:1234", false, ("system.slice", "docker-1234.scope")),
            ("", false, ("system.slice", "corten-id.scope")),
            ("", true, ("user.slice", "corten-id.scope")),
            (":cri:x", false, ("system.slice", "cri-x.scope")),
            ("a-b.slice:p:c.slice", false, ("a-b.slice", "c.slice")),
            ("-.slice:p:n", false, ("-.slice", "p-n.scope")),
        ] {
            let (slice, unit) = unit_name(path, "id", rootless).unwrap();
            assert_eq!((slice.as_str(), unit.as_str()), want, "{path}");
        }
        for path in ["/docker/x", "a:b", "a.slice:b:c:d", "a.slice:b:", "a.slice:b:../c"] {
            assert!(
                unit_name(path, "id", false).unwrap_err().to_string().contains("slice:prefix:name"),
                "{path}"
            );
        }
        for slice in ["a", ".slice", "a--b.slice", "-a.slice", "a-.slice", "a/b.slice"] {
            assert!(
                matches!(unit_name(&format!("{slice}:p:n"), "id", false), Err(Error::Slice(_))),
                "{slice}"
            );
        }
    }
}
