//! What is written down of a container while it is made: its record, step by step, and what `exec` starts from.

use super::error::{Error, Result};
use crate::plan::{self, Host, Plan};
use crate::seccomp::Filter;
use crate::spec::Config;
use crate::state::{self, Journal, ProcessDefaults, Record, StateDir};
use std::path::Path;

/// The record of a container that is about to be made.
pub(crate) fn first(config: &Config, plan: &Plan, id: &str, bundle: &Path, host: &Host) -> Record {
    let mut record = Record::new(id, &config.oci_version, bundle, &plan.root.path);
    record.annotations.clone_from(&config.annotations);
    if let Some(hooks) = &config.hooks {
        record.hooks.poststart.clone_from(&hooks.poststart);
        record.hooks.poststop.clone_from(&hooks.poststop);
    }
    record.rootless = host.rootless;
    record.namespaces = plan::namespaces::TYPES
        .iter()
        .map(|(_, (flag, _))| *flag)
        .filter(|flag| plan.namespaces.separate(*flag))
        .sum();
    record
}

/// Has the process on record before hooks run, which may take as long as they like, for whoever deletes the container by force
/// meanwhile.
///
/// # Errors
/// Somebody has done so already.
pub(crate) fn before_hooks(dir: &StateDir, record: &Record, journal: &Journal) -> Result<()> {
    let mut so_far = record.clone();
    so_far.in_the_making = true;
    journal.note(&so_far)?;
    match dir.is_dismissed() {
        true => Err(Error::Other("the container was deleted while it was made".into())),
        false => Ok(()),
    }
}

/// Notes which process the container's is.
pub(crate) fn process(record: &mut Record, pid: i32) -> Result<()> {
    let (start_time, _) = state::process_times(pid)
        .map_err(|_| Error::Other("the container's process ended at once".into()))?;
    (record.pid, record.start_time) = (pid, start_time);
    Ok(())
}

/// What an `exec` will want to know, so that it need not read config.json again.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn for_exec(dir: &StateDir, config: &Config, plan: &Plan, filter: Option<&Filter>) -> Result<()> {
    let mut process = config.process.clone().unwrap_or_default();
    process.args = Vec::new();
    let linux = config.linux.as_ref();
    let seccomp = linux.and_then(|linux| linux.seccomp.as_ref());
    let listener = seccomp.filter(|_| filter.is_some_and(Filter::has_listener));
    let defaults = ProcessDefaults {
        process,
        personality: plan.personality,
        memory_policy: plan.memory_policy.clone(),
        uids: plan.namespaces.uids.clone(),
        gids: plan.namespaces.gids.clone(),
        seccomp_flags: filter.map(|filter| filter.flags),
        seccomp_droppable: filter.map_or(0, |filter| filter.droppable),
        listener: listener.map(|seccomp| (seccomp.listener_path.clone(), seccomp.listener_metadata.clone())),
    };
    Ok(dir.write_process(&defaults, filter.map_or(&[], |filter| &filter.program))?)
}
