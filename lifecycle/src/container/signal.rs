//! Signals by name and number.

use crate::error::{Result, error};

/// Understands `KILL`, `SIGKILL`, `9` and `RTMIN+3`, as the runtime does; 0 is none here.
///
/// # Errors
/// When there is no such signal.
pub fn parse(text: &str) -> Result<u32> {
    let number = runtime::command::kill::signal(text).ok().and_then(|number| u32::try_from(number).ok());
    number.filter(|number| *number > 0).ok_or_else(|| error!(invalid, "invalid signal: {text}"))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn signals_have_names_and_numbers() {
        let numbers = ["9", "KILL", "sigkill", "SIGTERM", "RTMIN", "RTMIN+3", "SIGRTMAX-1"]
            .map(|text| parse(text).ok());
        assert_eq!(numbers, [9, 9, 9, 15, 34, 37, 63].map(Some));
        assert!(["0", "65", "NOPE", "RTMIN+99", ""].iter().all(|text| parse(text).is_err()));
    }
}
