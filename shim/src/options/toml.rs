//! The part of TOML that runtime options need: `key = value` lines with texts, booleans and integers.
//!
//! Tables, arrays, dates and multi-line texts are refused: no option has such a value.

use super::Error;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// `"text"` or `'text'`.
    Text(String),
    /// `true` or `false`.
    Boolean(bool),
    /// A decimal number.
    Integer(i64),
}

/// Reads every line of `text`.
pub(super) fn parse(text: &str) -> Result<Vec<(String, Value)>, Error> {
    let mut pairs = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let pair = pair(line).map_err(|problem| Error::Toml { line: index + 1, problem: problem.into() })?;
        pairs.push(pair);
    }
    Ok(pairs)
}

fn pair(line: &str) -> Result<(String, Value), &'static str> {
    if line.starts_with('[') {
        return Err("tables are not understood here: write key = value");
    }
    let (key, rest) = line.split_once('=').ok_or("expected key = value")?;
    let key = key.trim().trim_matches(['"', '\'']);
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)) {
        return Err("expected a plain key before '='");
    }
    let (value, rest) = value(rest.trim_start())?;
    let rest = rest.trim_start();
    if !rest.is_empty() && !rest.starts_with('#') {
        return Err("unexpected text after the value");
    }
    Ok((key.to_owned(), value))
}

fn value(text: &str) -> Result<(Value, &str), &'static str> {
    if let Some(rest) = text.strip_prefix('\'') {
        let (value, rest) = rest.split_once('\'').ok_or("the text does not end")?;
        return Ok((Value::Text(value.to_owned()), rest));
    }
    if let Some(rest) = text.strip_prefix('"') {
        return basic_text(rest);
    }
    let end = text.find(|c: char| c.is_whitespace() || c == '#').unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let value = match word {
        "true" => Value::Boolean(true),
        "false" => Value::Boolean(false),
        number => Value::Integer(
            number
                .replace('_', "")
                .parse()
                .map_err(|_| "expected a text in quotes, true, false or a number")?,
        ),
    };
    Ok((value, rest))
}

/// The rest of a text in double quotes, with its escapes.
fn basic_text(text: &str) -> Result<(Value, &str), &'static str> {
    let mut value = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '"' => return Ok((Value::Text(value), rest.as_str())),
            '\\' => value.push(match rest.next() {
                Some('"') => '"',
                Some('\\') => '\\',
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some('b') => '\u{8}',
                Some('f') => '\u{c}',
                Some('u') => code_point(&mut rest, 4)?,
                Some('U') => code_point(&mut rest, 8)?,
                _ => return Err("unknown escape in the text"),
            }),
            other => value.push(other),
        }
    }
    Err("the text does not end")
}

fn code_point(rest: &mut std::str::Chars<'_>, digits: usize) -> Result<char, &'static str> {
    let hex = rest.as_str().get(..digits).ok_or("unknown escape in the text")?;
    *rest = rest.as_str()[digits..].chars();
    u32::from_str_radix(hex, 16).ok().and_then(char::from_u32).ok_or("unknown escape in the text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_forms_that_callers_write() {
        let text = "# from CRI\nSystemdCgroup = true # yes\n\n  IoUid=1_000\nRoot = \"/run/\\u0078\\\"y\\\"\"\n\"BinaryName\" = '/usr/bin/a\\b'\r\n";
        let pairs = parse(text).unwrap();
        assert_eq!(
            pairs,
            [
                ("SystemdCgroup".to_owned(), Value::Boolean(true)),
                ("IoUid".to_owned(), Value::Integer(1000)),
                ("Root".to_owned(), Value::Text("/run/x\"y\"".to_owned())),
                ("BinaryName".to_owned(), Value::Text("/usr/bin/a\\b".to_owned())),
            ]
        );
    }

    #[test]
    fn everything_else_names_its_line() {
        for bad in [
            "[options]",
            "Root",
            "= 1",
            "Root = ",
            "Root = \"x",
            "Root = \"\\q\"",
            "A = 1 2",
            "A = 1.5",
            "A = [1]",
        ] {
            match parse(&format!("\n{bad}")) {
                Err(Error::Toml { line: 2, .. }) => {}
                other => panic!("{bad}: {other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_fail_otherwise(text in any::<String>()) {
            let _either = parse(&text);
        }
    }
}
