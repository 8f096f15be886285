//! Signals by name and number.

use nix::sys::signal::Signal;

use crate::error::{Result, error};

/// Understands `KILL`, `SIGKILL`, `9` and `RTMIN+3`.
///
/// # Errors
/// When there is no such signal.
pub fn parse(text: &str) -> Result<u32> {
    let bad = || error!(invalid, "invalid signal: {text}");
    if let Ok(number) = text.parse::<u32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(bad()) };
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let offset = |rest: &str| if rest.is_empty() { Some(0) } else { rest[1..].parse::<u32>().ok() };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return offset(rest).map(|more| 34 + more).filter(|number| *number <= 64).ok_or_else(bad);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return offset(rest)
            .and_then(|less| 64u32.checked_sub(less))
            .filter(|number| *number >= 34)
            .ok_or_else(bad);
    }
    let signal: Signal = format!("SIG{name}").parse().map_err(|_| bad())?;
    u32::try_from(signal as i32).map_err(|_| bad())
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
