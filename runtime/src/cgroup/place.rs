//! Which limits go to which hierarchy of a container's cgroup, and why one cannot.

use super::dir::Dir;
use super::error::{Error, Result};
use super::limits::unified::Now;
use super::limits::{Place, Setting, invalid, legacy, unified};
use super::tree::{self, controllers};
use super::{Cgroup, Member};
use crate::spec::Resources;
use crate::sys::reason;

/// v1's name for what v2 calls `io`, and the same the other way round.
fn v1_name(controller: &str) -> &str {
    if controller == "io" { "blkio" } else { controller }
}

fn v2_name(controller: &str) -> &str {
    if controller == "blkio" { "io" } else { controller }
}

impl Cgroup {
    /// The writes for `resources`, and the fields that they leave out. Enables controllers of a second hierarchy.
    pub(super) fn settings(&mut self, resources: &Resources, update: Option<&Now>) -> Result<Vec<Setting>> {
        let (settings, second) = self.wanted(resources, update)?;
        if second {
            self.enable(&settings)?;
        }
        Ok(settings)
    }

    /// The writes for `resources`, and whether some may be for a second hierarchy. Changes nothing.
    pub(super) fn wanted(
        &mut self,
        resources: &Resources,
        update: Option<&Now>,
    ) -> Result<(Vec<Setting>, bool)> {
        let none = Now::default();
        if self.is_v2() {
            let table = unified::table(resources, update.unwrap_or(&none), &|_| true)?;
            self.warnings.extend(table.ignored);
            return Ok((table.settings, false));
        }
        let second = self.second_hierarchy(resources)?;
        let on_v1 = |name: &str| self.legacy(name).is_some();
        let on_v2 = |name: &str| !on_v1(v1_name(name)) && second.iter().any(|other| other == name);
        let mut settings = legacy::table(resources, update.is_some(), &|name| !on_v2(v2_name(name)))?;
        if let Some(file) = resources.unified.keys().find(|file| {
            let controller = file.split('.').next().unwrap_or_default();
            !(on_v2(controller) || controller == "cgroup" && self.unified().is_some())
        }) {
            return Err(invalid(
                format!("{}[{file:?}]", unified::FIELD),
                format!("{:?}", resources.unified[file]),
                "this host has cgroup v1, where the controller has no such file",
            ));
        }
        if !second.is_empty() || !resources.unified.is_empty() {
            settings.extend(unified::table(resources, update.unwrap_or(&none), &on_v2)?.settings);
        }
        Ok((settings, !second.is_empty()))
    }

    /// The writes for `resources` where the cgroup is still to be made: what they will be, on a host like this.
    pub(super) fn settings_before(v2: bool, resources: &Resources) -> Result<Vec<Setting>> {
        if v2 {
            let table = unified::table(resources, &Now::default(), &|_| true)?;
            return Ok(table.settings);
        }
        legacy::table(resources, false, &|_| true)
    }

    /// The controllers that v2 has beside v1, when a limit may need one of them.
    fn second_hierarchy(&self, resources: &Resources) -> Result<Vec<String>> {
        let Some(member) = self.unified() else { return Ok(Vec::new()) };
        let missing = |name: &str| self.legacy(name).is_none();
        let needed = !resources.unified.is_empty()
            || resources.memory.is_some() && missing("memory")
            || resources.cpu.is_some() && (missing("cpu") || missing("cpuset"))
            || resources.pids.is_some() && missing("pids")
            || resources.block_io.is_some() && missing("blkio")
            || !resources.hugepage_limits.is_empty() && missing("hugetlb")
            || !resources.rdma.is_empty() && missing("rdma");
        if needed { controllers(&Dir::new(member.mount(false))) } else { Ok(Vec::new()) }
    }

    /// Enables controllers on the way to the v2 directory.
    pub(super) fn enable(&mut self, settings: &[Setting]) -> Result<()> {
        let v2_alone = self.is_v2();
        let Some(member) = self.unified() else { return Ok(()) };
        let needed: Vec<&str> = settings.iter().map(|setting| setting.controller.as_ref()).collect();
        let failures = tree::enable(member.mount(v2_alone), &member.dir, &needed)?;
        self.failures.extend(failures);
        Ok(())
    }

    fn member_of(&self, setting: &Setting) -> Option<&Member> {
        if self.is_v2() {
            return self.unified();
        }
        self.legacy(&setting.controller).or_else(|| self.unified())
    }
}

impl Place for Cgroup {
    fn dir(&self, setting: &Setting) -> Result<&Dir> {
        match self.member_of(setting) {
            Some(member) => Ok(&member.dir),
            None => Err(setting.no_controller("this host", String::new())),
        }
    }

    fn missing(&self, setting: &Setting, dir: &Dir) -> Error {
        if let Some(failure) = self.failures.iter().find(|failure| failure.controller == setting.controller) {
            let why = format!(
                ": enabling it in {}/cgroup.subtree_control: {}",
                failure.path,
                reason(failure.errno)
            );
            return setting.no_controller(dir.path(), why);
        }
        let has = match controllers(dir) {
            Ok(names) => {
                names.iter().any(|name| *name == setting.controller) || setting.controller == "cgroup"
            }
            // v1 has no list of controllers: what is mounted is there.
            Err(_) => self.legacy(&setting.controller).is_some(),
        };
        if has {
            let why = format!("this kernel has no {}", setting.file);
            return invalid(setting.field.clone(), &setting.asked, why);
        }
        setting.no_controller(dir.path(), String::new())
    }
}
