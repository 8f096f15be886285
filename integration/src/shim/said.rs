//! What a command that was run in an engine's namespaces said, and whether it is what was expected.

/// What a command said, and how it ended.
#[derive(Debug, Clone)]
pub struct Said {
    /// Its exit status; 128 plus a signal.
    pub status: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    /// Its output when it ended well.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.status, 0, "{} {}", self.out, self.err);
        self.out
    }

    /// What is not as expected: the status, and the parts that the output must have (see [`has`]).
    pub fn is_not(&self, status: i32, parts: &[&str]) -> Option<String> {
        let text = format!("{}{}", self.out, self.err);
        let good = self.status == status && parts.iter().all(|part| has(&text, part));
        (!good).then(|| format!("status {}, expected {status} and {parts:?}: {text}", self.status))
    }
}

/// Whether a text has this part; a number or a word is not found inside of another, as `0` is in `10` and in identifiers.
pub fn has(text: &str, part: &str) -> bool {
    if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return text.contains(part);
    }
    let inside = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let whole = |at: usize| {
        let before = text[..at].bytes().next_back();
        !inside(before) && !inside(text[at + part.len()..].bytes().next())
    };
    text.match_indices(part).any(|(at, _)| whole(at))
}

#[cfg(test)]
mod tests {
    use super::has;

    #[test]
    fn words_and_numbers_are_whole_ones() {
        for (text, part, is) in [
            ("0\n", "0", true),
            ("10\n", "0", false),
            ("sha256:0ab\n", "0", false),
            ("Seccomp:\t0\n", "0", true),
            ("unhealthy healthy", "healthy", true),
            ("unhealthy", "healthy", false),
            ("10\n", "0\n", true),
            ("any", "", true),
        ] {
            assert_eq!(has(text, part), is, "{part:?} in {text:?}");
        }
    }
}
