//! `start`.

use super::{Command, only_id};
use crate::parent::start;
use crate::state::StateDir;

/// `start`.
pub const START: Command = Command {
    name: "start",
    arguments: "ID",
    about: "run the program of a created container",
    flags: &[],
    run: |context, parsed| {
        let dir = StateDir::open(&context.root, only_id("start", parsed)?)?;
        start::start(&dir, &context.log)?;
        Ok(0)
    },
    enters: false,
};
