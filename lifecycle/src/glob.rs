//! Patterns of paths, as Go's `path.Match` has them and `.dockerignore` besides: `*` and `?` do not cross a slash,
//! `**` does, `[a-z]` is one of several characters. The time is bounded by pattern times text, whoever wrote them.

/// The first and the last of some characters.
type Ranges = Vec<(u8, u8)>;

enum Token {
    One(u8),
    Any,
    Set(Ranges, bool),
    Star,
    /// `**`, and `**/`, which may also stand for nothing.
    Deep,
    Folders,
}

/// The parts of a pattern; `None` when it is malformed.
fn tokens(pattern: &[u8]) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = pattern;
    while let [first, tail @ ..] = rest {
        let (token, used) = match (first, tail) {
            (b'*', [b'*', b'/', ..]) => (Token::Folders, 3),
            (b'*', [b'*', ..]) => (Token::Deep, 2),
            (b'*', _) => (Token::Star, 1),
            (b'?', _) => (Token::Any, 1),
            (b'[', _) => {
                let (set, negated, used) = set(tail)?;
                (Token::Set(set, negated), 1 + used)
            }
            (b'\\', [next, ..]) => (Token::One(*next), 2),
            (b'\\', []) => return None,
            (byte, _) => (Token::One(*byte), 1),
        };
        tokens.push(token);
        rest = &rest[used..];
    }
    Some(tokens)
}

/// What is between brackets: ranges, whether they are what must not be, and how long it is with the closing bracket.
fn set(text: &[u8]) -> Option<(Ranges, bool, usize)> {
    let negated = text.first() == Some(&b'^');
    let (mut at, mut ranges) = (usize::from(negated), Vec::new());
    let byte = |at: &mut usize| {
        *at += usize::from(text.get(*at) == Some(&b'\\'));
        *at += 1;
        text.get(*at - 1).copied()
    };
    while text.get(at) != Some(&b']') || ranges.is_empty() {
        let low = byte(&mut at)?;
        let high = if text.get(at) == Some(&b'-') {
            at += 1;
            byte(&mut at)?
        } else {
            low
        };
        ranges.push((low, high));
    }
    Some((ranges, negated, at + 1))
}

/// Whether a pattern is that of a whole text; a malformed one is that of none.
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some(tokens) = tokens(pattern.as_bytes()) else { return false };
    let text = text.as_bytes();
    // Where in the text one can be after each token.
    let mut here = vec![false; text.len() + 1];
    here[0] = true;
    for token in &tokens {
        let mut next = vec![false; text.len() + 1];
        let mut before = false;
        for at in 0..=text.len() {
            let last = at.checked_sub(1).map(|at| text[at]);
            let step = at > 0 && here[at - 1];
            next[at] = match token {
                Token::One(byte) => step && last == Some(*byte),
                Token::Any => step && last != Some(b'/'),
                Token::Set(ranges, negated) => {
                    let inside = ranges
                        .iter()
                        .any(|(low, high)| last.is_some_and(|byte| (*low..=*high).contains(&byte)));
                    step && last != Some(b'/') && inside != *negated
                }
                Token::Star => here[at] || at > 0 && next[at - 1] && last != Some(b'/'),
                Token::Deep => here[at] || at > 0 && next[at - 1],
                Token::Folders => here[at] || before && last == Some(b'/'),
            };
            before |= here[at];
        }
        here = next;
    }
    here[text.len()]
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
