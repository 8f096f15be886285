//! Patterns of paths, as in `.dockerignore`: `*` and `?` do not cross a slash, `**` between slashes does, `[a-z]` is one
//! of several characters. The time is bounded by pattern times text, whoever wrote them: they become regular expressions
//! of a kind that never goes back.

use globset::{GlobBuilder, GlobMatcher};

/// A pattern; `None` when it is malformed.
pub fn compile(pattern: &str) -> Option<GlobMatcher> {
    // Braces are nothing special to Docker.
    let pattern = pattern.replace('{', r"\{").replace('}', r"\}");
    let mut builder = GlobBuilder::new(&pattern);
    Some(builder.literal_separator(true).backslash_escape(true).build().ok()?.compile_matcher())
}

/// Whether a pattern is that of a whole text; a malformed one is that of none.
pub fn matches(pattern: &str, text: &str) -> bool {
    compile(pattern).is_some_and(|pattern| pattern.is_match(text))
}

/// Whether a text has any of the characters that make it a pattern: one that takes their meaning away alone is itself.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        for (pattern, text) in [
            ("busy*", "busybox"),
            ("*:latest", "busybox:latest"),
            ("b?sybox", "busybox"),
            ("*/*", "me/app"),
            ("**/a", "a"),
            ("**/a", "x/y/a"),
            ("a/**", "a/b/c"),
            ("a/**/c", "a/c"),
            ("{a,b}", "{a,b}"),
            ("[a-c]x[^0]", "bxy"),
            (r"\*", "*"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("*", "me/app"), ("busy", "busybox"), ("**/a", "ba"), ("[a", "a"), ("[^a]", "a"), ("a?c", "a/c")]
        {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
        assert!(!matches(&"*a".repeat(500), &"a".repeat(400)));
    }
}
