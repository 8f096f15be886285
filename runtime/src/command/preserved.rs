//! Descriptors that the caller hands on to a container: `--preserve-fds` and the sockets of a service manager.

use super::CommandError;
use crate::cli::Parsed;
use crate::sys::fd;

/// How many there are, from the first one after standard error on: first those of the service manager.
#[derive(Debug, Clone, Copy, Default)]
pub struct Preserved {
    /// `LISTEN_FDS` (sd_listen_fds(3)).
    pub listen: u32,
    /// `--preserve-fds`.
    pub asked: u32,
}

/// More descriptors than any process can have: keeps sums in range.
const MAX: u32 = 1 << 30;

impl Preserved {
    /// What the command line and the environment say. Each descriptor must have been passed by the caller: one that this
    /// program has opened itself, under a number that was free, is nobody's to have.
    ///
    /// # Errors
    /// The flag is no number, or a descriptor is not open.
    pub fn find(parsed: &Parsed) -> Result<Self, CommandError> {
        let wanted: u32 = parsed.number("preserve-fds")?.unwrap_or(0);
        let asked = wanted.min(MAX);
        let listen = listen_fds();
        match (3..3 + asked + listen).find(|number| !fd::was_passed(i32::try_from(*number).unwrap_or(-1))) {
            None => Ok(Self { listen, asked }),
            Some(number) if number < 3 + listen => {
                Err(CommandError::other(format!("LISTEN_FDS={listen}: descriptor {number} is not open")))
            }
            Some(number) => Err(CommandError::other(format!(
                "--preserve-fds {wanted}: descriptor {number} is not open; expected the number of open descriptors after \
                 standard error"
            ))),
        }
    }
}

/// The sockets that a service manager opened for this process, if they are for this very one (sd_listen_fds(3)).
fn listen_fds() -> u32 {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    match (number("LISTEN_PID"), number("LISTEN_FDS")) {
        (Some(pid), Some(count)) if pid == std::process::id() => count.min(MAX),
        _ => 0,
    }
}
