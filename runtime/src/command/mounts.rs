//! `mounts add` and `mounts remove`: mounts of a container that runs.

use super::{Command, CommandError, Context};
use crate::cli::{Parsed, UsageError};
use crate::parent::{Error, live_mounts};
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
    let change = match *verb {
        "add" => live_mounts::add,
        "remove" => live_mounts::remove,
        other => return Err(CommandError::other(format!("unknown verb {other:?}; expected add or remove"))),
    };
    let mounts: Vec<Mount> = load::mounts(std::path::Path::new(file)).map_err(Error::Load)?;
    change(&context.root, id, &mounts).map_err(|error| match error {
        Error::Plan(error) => Error::Other(format!("{file}: {error}")),
        error => error,
    })?;
    Ok(0)
}
