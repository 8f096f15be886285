//! `mounts add` and `mounts remove`: mounts of a container that runs.

use super::{Command, CommandError, Context};
use crate::cli::{Parsed, UsageError};
use crate::parent::live_mounts;
use crate::spec::Mount;
use crate::spec::load;

/// `mounts`.
pub const MOUNTS: Command = Command {
    name: "mounts",
    arguments: "add|remove ID FILE",
    about: "mount in, or unmount from, a running container what FILE (a JSON array of mounts) lists",
    flags: &[],
    run,
    enters: true,
};

fn run(context: &Context, parsed: &Parsed) -> Result<i32, CommandError> {
    let words = parsed.words()?;
    let [verb, id, file] = words.as_slice() else {
        return Err(UsageError::Arguments { command: "mounts", expected: "exactly 3" }.into());
    };
    let mounts: Vec<Mount> = load::mounts(std::path::Path::new(file)).map_err(crate::parent::Error::Load)?;
    match *verb {
        "add" => live_mounts::add(&context.root, id, &mounts)?,
        "remove" => live_mounts::remove(&context.root, id, &mounts)?,
        other => return Err(CommandError::other(format!("unknown verb {other:?}; expected add or remove"))),
    }
    Ok(0)
}
