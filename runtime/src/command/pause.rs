//! `pause` and `resume`.

use super::{Command, CommandError, Context, only_id};
use crate::cgroup::Cgroup;
use crate::cli::Parsed;
use crate::state::{self, StateDir, Status};

/// `pause`.
pub const PAUSE: Command = Command {
    name: "pause",
    arguments: "ID",
    about: "freeze all processes of a container",
    flags: &[],
    run: |context, parsed| {
        let (_, cgroup) = find("pause", context, parsed, |status| match status {
            Status::Created | Status::Running => Ok(()),
            _ => Err(format!("container not running or created: {}", status.name())),
        })?;
        cgroup.freeze()?;
        Ok(0)
    },
    enters: false,
};

/// `resume`.
pub const RESUME: Command = Command {
    name: "resume",
    arguments: "ID",
    about: "let the processes of a paused container go on",
    flags: &[],
    run: |context, parsed| {
        let (_, cgroup) = find("resume", context, parsed, |status| match status {
            Status::Paused => Ok(()),
            _ => Err("container not paused".to_owned()),
        })?;
        cgroup.thaw()?;
        Ok(0)
    },
    enters: false,
};

fn find(
    command: &'static str,
    context: &Context,
    parsed: &Parsed,
    allowed: fn(Status) -> Result<(), String>,
) -> Result<(StateDir, Cgroup), CommandError> {
    let dir = StateDir::open(&context.root, only_id(command, parsed)?)?;
    let record = dir.record()?;
    allowed(state::status(&dir, &record)?).map_err(CommandError::other)?;
    let cgroup =
        record.cgroup.as_ref().ok_or_else(|| CommandError::other("the container has no control group"))?;
    let cgroup = Cgroup::open(cgroup)?;
    Ok((dir, cgroup))
}
