//! Patterns for ids (`kill --regex`, `delete --regex`): POSIX extended regular expressions, by the C library, as in crun.

use crate::sys::regex;

/// A compiled pattern.
#[derive(Debug)]
pub struct Pattern(regex::Regex);

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// The C library's reason.
    pub fn new(pattern: &str) -> Result<Self, String> {
        regex::Regex::new(pattern).map(Self).map_err(|reason| format!("--regex: {pattern:?}: {reason}"))
    }

    /// Whether the pattern is found anywhere in `id`.
    #[must_use]
    pub fn matches(&self, id: &str) -> bool {
        self.0.matches(id)
    }
}
