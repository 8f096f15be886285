//! The first thing that `create` would refuse, asked of the same code.

use super::here;
use crate::cgroup::{self, Driver};
use crate::parent::resctrl;
use crate::plan::{self, Host, Plan, PlanError};
use crate::seccomp;
use crate::spec::{Config, Linux, Objects, Resources};
use serde_json::Value;
use std::path::Path;

/// An id that a container of this bundle might have.
const ID: &str = "check";

/// For whom it is asked.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The bundle, absolute.
    pub bundle: &'a Path,
    /// What this process may do here.
    pub host: &'a Host,
    /// Who would make control groups.
    pub driver: Driver,
}

/// What is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Where in the configuration; empty when it is this host that cannot.
    pub path: String,
    /// What is wrong.
    pub problem: String,
}

impl Refusal {
    /// A refusal of what stands at a path.
    pub fn at(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { path: path.into(), problem: problem.into() }
    }
}

impl From<PlanError> for Refusal {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Field { path, problem } => Self { path, problem },
            PlanError::Seccomp(text) => {
                let (path, problem) = text.split_once(": ").unwrap_or(("linux.seccomp", &text));
                // A profile knows its own fields only.
                let path = match path.strip_prefix("linux.seccomp") {
                    Some(_) => path.to_owned(),
                    None => format!("linux.seccomp.{path}"),
                };
                Self::at(path, problem)
            }
        }
    }
}

/// What is accepted.
#[derive(Debug)]
pub struct Accepted {
    /// The configuration.
    pub config: Config,
    /// What would be done.
    pub plan: Plan,
    /// What would be logged.
    pub warnings: Vec<String>,
}

/// Asks everything that can be asked without making anything. `host_can` is false once it is known that this host
/// cannot make control groups at all.
///
/// # Errors
/// The first refusal.
pub fn first(document: &Value, asked: &Asked<'_>, host_can: bool) -> Result<Accepted, Refusal> {
    let mut config: Config = serde_path_to_error::deserialize(Objects(document))
        .map_err(|error| Refusal::at(error.path().to_string(), error.inner().to_string()))?;
    let plan = plan::container::plan(&config, asked.bundle, asked.host)?;
    let mut warnings = plan.warnings.clone();
    seccomp::plan(&mut config, None, &mut warnings)?;
    if host_can {
        warnings.extend(control_groups(&config, asked)?);
    }
    let rdt = config.linux.as_ref().and_then(|linux| linux.intel_rdt.as_ref());
    resctrl::check(rdt, ID).map_err(|error| {
        let text = error.to_string();
        let (path, problem) = text.split_once(": ").unwrap_or(("linux.intelRdt", &text));
        Refusal::at(path, problem)
    })?;
    here::first(&config, &plan, asked.host)?;
    Ok(Accepted { config, plan, warnings })
}

fn control_groups(config: &Config, asked: &Asked<'_>) -> Result<Vec<String>, Refusal> {
    let (no_linux, no_limits) = (Linux::default(), Resources::default());
    let linux = config.linux.as_ref().unwrap_or(&no_linux);
    let request = cgroup::Request {
        driver: asked.driver,
        id: ID,
        path: &linux.cgroups_path,
        resources: linux.resources.as_ref().unwrap_or(&no_limits),
        nodes: &linux.devices,
        annotations: &config.annotations,
        rootless: asked.host.rootless,
        owner: None,
        journal: None,
    };
    cgroup::check(&request).map_err(|error| Refusal::at(error.field().unwrap_or_default(), error.problem()))
}
