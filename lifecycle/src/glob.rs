//! Patterns of paths, as Go's `path.Match` has them and `.dockerignore` besides: `*` and `?` do not cross a slash,
//! `**` does, `[a-z]` is one of several characters. The time is bounded by pattern times text, whoever wrote them: they
//! become regular expressions, as in moby's `patternmatcher`, of a kind that never goes back.

use std::iter::Peekable;
use std::str::Chars;

use regex::Regex;

/// A pattern; `None` when it is malformed.
pub fn compile(pattern: &str) -> Option<Regex> {
    let mut chars = pattern.chars().peekable();
    let mut text = String::from("(?s)^");
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_none() => text += "[^/]*",
            // It may also stand for nothing.
            '*' if chars.next_if_eq(&'/').is_some() => text += "(.*/)?",
            '*' => text += ".*",
            '?' => text += "[^/]",
            '[' => text += &class(&mut chars)?,
            '\\' => text += &literal(chars.next()?),
            c => text += &literal(c),
        }
    }
    Regex::new(&(text + "$")).ok()
}

fn literal(c: char) -> String {
    regex::escape(c.encode_utf8(&mut [0; 4]))
}

/// What is between brackets, of which the first one is read: characters and ranges of them.
fn class(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    let negated = chars.next_if_eq(&'^').is_some();
    let one = |chars: &mut Peekable<Chars<'_>>| {
        let escaped = chars.next_if_eq(&'\\').is_some();
        chars.next_if(|c| escaped || *c != ']').map(literal)
    };
    let mut ranges = one(chars)?;
    loop {
        if chars.next_if_eq(&'-').is_some() {
            ranges = ranges + "-" + &one(chars)?;
        }
        match one(chars) {
            Some(more) => ranges += &more,
            None => break,
        }
    }
    chars.next()?;
    Some(if negated { format!("[^/{ranges}]") } else { format!("[{ranges}&&[^/]]") })
}

/// Whether a pattern is that of a whole text; a malformed one is that of none.
pub fn matches(pattern: &str, text: &str) -> bool {
    compile(pattern).is_some_and(|pattern| pattern.is_match(text))
}

/// Whether a text has any of the characters that make it a pattern.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
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
            ("a**c", "a/b/c"),
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
