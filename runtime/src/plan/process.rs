//! `process`: the program, and everything that is set before it runs. For init and for exec alike.

use super::identity::Identity;
use super::rlimits::Rlimit;
use super::{Host, PlanError, Result, c_string, cpuset, environment, identity, rlimits, scheduling};
use crate::{spec, sys};
use std::ffi::CString;

/// CPUs before and after; bit N of a mask is CPU N.
pub type Affinity = (Option<Vec<u64>>, Option<Vec<u64>>);

/// A process of the container.
#[derive(Debug)]
pub struct ProcessPlan {
    /// The program and its arguments; never empty.
    pub args: Vec<CString>,
    /// The environment, each name once. `HOME` is added in the container when it is missing.
    pub env: Vec<CString>,
    /// The working directory, absolute, in the container.
    pub cwd: CString,
    /// Ids, groups, capabilities.
    pub identity: Identity,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// The AppArmor profile to run under; empty: unchanged.
    pub apparmor: String,
    /// The SELinux label to run under; empty: unchanged.
    pub selinux: String,
    /// `oom_score_adj`, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// sched_setattr(2).
    pub scheduler: Option<sys::sched::Attributes>,
    /// ioprio_set(2).
    pub io_priority: Option<i32>,
    /// The CPUs of an exec process before and after it joined the container's control group.
    pub affinity: Affinity,
    /// Runs on a terminal of its own, of that many rows and columns.
    pub terminal: bool,
    /// Rows and columns; 0 leaves them.
    pub size: Option<(u16, u16)>,
}

impl ProcessPlan {
    /// How many processes its user may have, if that is limited.
    #[must_use]
    pub fn limit_on_processes(&self) -> Option<&Rlimit> {
        self.rlimits.iter().find(|limit| limit.resource == rlimits::PROCESSES)
    }

    /// How many files it may have open, if these are fewer than the runtime itself may need on its way.
    #[must_use]
    pub fn few_open_files(&self) -> Option<&Rlimit> {
        const ENOUGH: u64 = 256;
        self.rlimits.iter().find(|limit| limit.resource == rlimits::OPEN_FILES && limit.soft < ENOUGH)
    }
}

/// Plans a process.
///
/// # Errors
/// The first field that cannot be carried out.
pub fn plan(process: &spec::Process, host: &Host, warnings: &mut Vec<String>) -> Result<ProcessPlan> {
    let at = |field: &str, problem: String| PlanError::at(format!("process.{field}"), problem);
    match process.args.first().map(String::as_str) {
        None => return Err(at("args", "is empty; expected the program to run".to_owned())),
        // Callers look for these words.
        Some("") => return Err(at("args[0]", "\"\": executable file not found in $PATH".to_owned())),
        Some(_) => {}
    }
    let args = process
        .args
        .iter()
        .enumerate()
        .map(|(index, argument)| c_string(format_args!("process.args[{index}]"), argument))
        .collect::<Result<Vec<_>>>()?;
    if !process.cwd.starts_with('/') {
        let problem = format!("{:?} is not an absolute path", process.cwd);
        return Err(at(
            "cwd",
            if process.cwd.is_empty() { "Cwd property must not be empty".to_owned() } else { problem },
        ));
    }
    if let Some(score) = process.oom_score_adj.filter(|score| !(-1000..=1000).contains(score)) {
        return Err(at("oomScoreAdj", format!("{score} is out of range; expected -1000 to 1000")));
    }
    Ok(ProcessPlan {
        args,
        env: environment::plan("process.env", &process.env)?,
        cwd: c_string("process.cwd", &process.cwd)?,
        identity: identity::plan(process, host, warnings)?,
        rlimits: rlimits::plan(&process.rlimits)?,
        apparmor: label("process.apparmorProfile", &process.apparmor_profile)?,
        selinux: label("process.selinuxLabel", &process.selinux_label)?,
        oom_score_adj: process.oom_score_adj,
        scheduler: process.scheduler.as_ref().map(scheduling::scheduler).transpose()?,
        io_priority: process.io_priority.as_ref().map(scheduling::io_priority).transpose()?,
        affinity: affinity(process)?,
        terminal: process.terminal,
        size: size(process)?,
    })
}

fn label(path: &str, label: &str) -> Result<String> {
    if label.bytes().any(|byte| byte == 0 || byte == b'\n') {
        return Err(PlanError::at(path, format!("{label:?} contains a line break or a NUL character")));
    }
    Ok(label.to_owned())
}

fn affinity(process: &spec::Process) -> Result<Affinity> {
    let Some(affinity) = &process.exec_cpu_affinity else { return Ok((None, None)) };
    let list = |field: &str, text: &str| match text {
        "" => Ok(None),
        text => cpuset::mask(&format!("process.execCPUAffinity.{field}"), text).map(Some),
    };
    Ok((list("initial", &affinity.initial)?, list("final", &affinity.last)?))
}

fn size(process: &spec::Process) -> Result<Option<(u16, u16)>> {
    let Some(size) = process.console_size else { return Ok(None) };
    let number = |field: &str, value: u64| {
        u16::try_from(value).map_err(|_| {
            let problem = format!("{value} is out of range; expected 0 to 65535");
            PlanError::at(format!("process.consoleSize.{field}"), problem)
        })
    };
    Ok(Some((number("height", size.height)?, number("width", size.width)?)))
}
