//! Changing the limits of a container that runs, all or nothing; the device rules among them.

use super::devices::{self, legacy};
use super::dir::Dir;
use super::error::{Error, Result};
use super::limits::unified::Now;
use super::limits::{Setting, Undo, write_all};
use super::make::{attach_filter, filter_error, load_filter, target};
use super::{Cgroup, systemd};
use crate::spec::{DeviceRule, Memory, Resources};
use crate::sys::{Errno, bpf};
use std::os::fd::{AsFd, OwnedFd};

impl Cgroup {
    /// Sets the limits that `resources` names and leaves the others. When one is refused, those set before it are put
    /// back.
    ///
    /// Device rules are added to those that hold: the last word counts, so a list that begins by denying everything
    /// takes the place of the old one. The basic devices that every container has stay allowed. On v2 the filter is
    /// replaced in one step; at no time is there none, or a wrong one.
    ///
    /// # Errors
    /// One line that names the limit, the file and the kernel's reason; then nothing has changed.
    pub fn update(&mut self, resources: &Resources) -> Result<()> {
        if self.is_none() {
            if *resources == Resources::default() {
                return Ok(());
            }
            return Err(Error::Unsupported {
                what: "set limits",
                why: "the container has no cgroup of its own",
            });
        }
        let now = self.now(resources)?;
        let held = self.held_quota();
        let mut settings = self.settings(resources, Some(&now))?;
        if self.unit.is_some() {
            systemd::round_quota(&mut settings, held);
        }
        self.check_usage(resources)?;
        let rules = self.new_rules(resources)?;
        let undo = Undo::note(&settings, self)?;
        match self.change(&settings, held, rules.as_deref()) {
            Ok(()) => {
                if let Some(rules) = rules {
                    self.devices = Some(rules);
                }
                Ok(())
            }
            Err(error) => {
                let before = rules.and(self.devices.as_deref()).and_then(|rules| self.complete(rules).ok());
                let _ = systemd::update(self, undo.settings(), held, before.as_deref());
                undo.restore(self);
                Err(error)
            }
        }
    }

    fn change(&self, settings: &[Setting], held: systemd::Quota, rules: Option<&[DeviceRule]>) -> Result<()> {
        let rules = rules.map(|rules| self.complete(rules)).transpose()?;
        write_all(settings, self)?;
        systemd::update(self, settings, held, rules.as_deref())?;
        rules.map_or(Ok(()), |rules| self.change_devices(&rules))
    }

    /// The quota that holds, for systemd, which wants quota and period together.
    fn held_quota(&self) -> systemd::Quota {
        let new = systemd::Quota::NEW;
        if self.unit.is_none() {
            return new;
        }
        if let (true, Some(member)) = (self.is_v2(), self.unified()) {
            return new.read(&member.dir.read_value("cpu.max").unwrap_or_default());
        }
        let number = |name| {
            self.legacy("cpu").and_then(|member| member.dir.read_value(name).ok()?.parse::<i64>().ok())
        };
        systemd::Quota {
            quota: number("cpu.cfs_quota_us").unwrap_or(new.quota),
            period: number("cpu.cfs_period_us")
                .and_then(|period| u64::try_from(period).ok())
                .unwrap_or(new.period),
        }
    }

    /// What holds now, as far as new limits are computed from it.
    fn now(&self, resources: &Resources) -> Result<Now> {
        let mut now = Now::default();
        let (true, Some(member)) = (self.is_v2(), self.unified()) else { return Ok(now) };
        let signed = |value: Option<u64>| match value {
            None => 0,
            Some(value) => i64::try_from(value).unwrap_or(-1),
        };
        if resources.memory.is_some() {
            now.memory = signed(member.dir.optional_number("memory.max")?);
            let swap = signed(member.dir.optional_number("memory.swap.max")?);
            if now.memory > 0 && swap > 0 {
                now.memory_swap = now.memory.saturating_add(swap);
            }
        }
        if resources.cpu.as_ref().is_some_and(|cpu| cpu.period.is_some() && cpu.quota.is_none()) {
            let max = member.dir.read_value("cpu.max").unwrap_or_default();
            now.quota = max.split_whitespace().next().and_then(|quota| quota.parse().ok());
        }
        Ok(now)
    }

    /// `memory.checkBeforeUpdate`: v1 refuses a limit below what is in use, v2 kills until it holds.
    fn check_usage(&self, resources: &Resources) -> Result<()> {
        let (true, Some(member)) = (self.is_v2(), self.unified()) else { return Ok(()) };
        let Some(Memory { check_before_update: Some(true), limit, swap, .. }) = &resources.memory else {
            return Ok(());
        };
        let Some(usage) = member.dir.optional_number("memory.current")? else { return Ok(()) };
        for (field, name, value) in [("swap", "memory+swap limit", swap), ("limit", "memory limit", limit)] {
            let value = value.unwrap_or(0);
            if value > 0 && u64::try_from(value).is_ok_and(|value| value <= usage) {
                return Err(Error::Invalid {
                    field: format!("linux.resources.memory.{field}"),
                    value: value.to_string(),
                    why: format!("rejecting {name} {value} <= usage {usage}"),
                });
            }
        }
        Ok(())
    }

    /// The device rules after an update; `None` when it changes none. Someone else may have changed the filter since
    /// (a hook for GPUs does), so one that asks for nothing new must not put it back.
    fn new_rules(&self, resources: &Resources) -> Result<Option<Vec<DeviceRule>>> {
        if resources.devices.is_empty() {
            return Ok(None);
        }
        let Some(held) = &self.devices else {
            return Err(Error::Unsupported {
                what: "change device rules",
                why: "the container was created without the right to set them",
            });
        };
        let all = held.iter().chain(&resources.devices).cloned().collect();
        let rules = devices::simplify(all)?;
        Ok((rules != *held).then_some(rules))
    }

    /// Rules of the configuration with those of every container.
    fn complete(&self, rules: &[DeviceRule]) -> Result<Vec<devices::Rule>> {
        let mut parsed = devices::parse(rules)?;
        parsed.extend(devices::always(&self.replaced));
        Ok(parsed)
    }

    fn change_devices(&self, rules: &[devices::Rule]) -> Result<()> {
        if let Some(member) = self.legacy("devices") {
            let held = legacy::Policy::new(&self.complete(self.devices.as_deref().unwrap_or_default())?)?;
            return legacy::change(&member.dir, &held, &legacy::Policy::new(rules)?);
        }
        let Some(member) = self.unified() else { return Ok(()) };
        let mut dir = Dir::new(member.dir.path());
        dir.pin().map_err(|errno| filter_error("open", &dir, errno))?;
        replace_filter(&dir, rules)
    }
}

/// Puts a new filter in the place of this program's old one. Others that hang there (systemd's, a hook's) stay.
pub(super) fn replace_filter(dir: &Dir, rules: &[devices::Rule]) -> Result<()> {
    let Some(old) = own_filter(dir)? else { return attach_filter(dir, rules) };
    let program = load_filter(dir, rules)?;
    let (cgroup, program, old) = (target(dir)?, program.as_fd(), old.as_fd());
    bpf::replace_device_filter(cgroup, program, old).map_err(|errno| filter_error("replace", dir, errno))
}

/// The filter that this program attached, by its name; a single one without that name is of an older version.
fn own_filter(dir: &Dir) -> Result<Option<OwnedFd>> {
    let ids = bpf::device_filters(target(dir)?).map_err(|errno| filter_error("query", dir, errno))?;
    let single = ids.len() == 1;
    for id in ids {
        match bpf::program(id) {
            Ok(program) => {
                let name = bpf::program_name(program.as_fd());
                if name.map_err(|errno| filter_error("query", dir, errno))? == bpf::DEVICE_FILTER_NAME
                    || single
                {
                    return Ok(Some(program));
                }
            }
            // Gone meanwhile, or hidden by a security module: not ours.
            Err(Errno::ENOENT | Errno::EPERM | Errno::EACCES) => {}
            Err(errno) => return Err(filter_error("query", dir, errno)),
        }
    }
    Ok(None)
}
