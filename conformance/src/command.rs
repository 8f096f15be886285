//! Commands that may hang: waited for so long and no longer.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::error::{At as _, Error, Result};

/// Runs a command to its end. Nothing when it takes longer than `limit`: then it is killed, with all that it
/// has started and that has not left its process group.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<Option<ExitStatus>> {
    let program = command.get_program().to_owned();
    let mut child = command.process_group(0).spawn().at("start", Path::new(&program))?;
    let failed = |error: std::io::Error| Error::Program {
        program: program.display().to_string(),
        message: error.to_string(),
    };
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok(Some(status));
        }
        if start.elapsed() > limit {
            if let Ok(pid) = i32::try_from(child.id()) {
                // It may have ended meanwhile.
                let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
            }
            child.wait().map_err(failed)?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}
