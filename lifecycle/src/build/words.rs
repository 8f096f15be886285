//! Words of a Dockerfile: quotes, escapes and variables, as Docker's shell lexer has them.
//! Source: moby, `frontend/dockerfile/shell/lex.go`.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

use crate::error::{Error, Result, bail, ensure, error};

/// What is taken of one instruction, whoever wrote it.
const MOST_BRACES: usize = 200;
const MOST_CHARACTERS: usize = 1 << 20;

/// Puts variables into words.
pub(super) struct Words(pub BTreeMap<String, String>);

/// The character that takes the next one's meaning away.
const ESCAPE: char = '\\';

/// Where a character of a word is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// It stands there, and may mean something.
    Plain,
    /// It is quoted or escaped: a blank does not end a word.
    Quoted,
    /// It is from a variable.
    Inserted,
}

type Marked = Vec<(char, Mark)>;

impl Words {
    /// One word, whatever blanks are in it.
    ///
    /// # Errors
    /// When a quote or brace is not closed.
    pub(super) fn one(&self, text: &str) -> Result<String> {
        Ok(text_of(&self.marked(text)?))
    }

    /// As many words as there are after the variables are in.
    ///
    /// # Errors
    /// When a quote or brace is not closed.
    pub(super) fn many(&self, text: &str) -> Result<Vec<String>> {
        let marked = self.marked(text)?;
        let words = marked.split(|(c, mark)| c.is_whitespace() && *mark != Mark::Quoted);
        Ok(words.filter(|word| !word.is_empty()).map(text_of).collect())
    }

    /// What ARG declares: names, with values or without. A variable in a value ends no word.
    ///
    /// # Errors
    /// When a quote or brace is not closed.
    pub(super) fn assignments(&self, text: &str) -> Result<Vec<(String, Option<String>)>> {
        let marked = self.marked(text)?;
        let words = marked.split(|(c, mark)| c.is_whitespace() && *mark == Mark::Plain);
        let assignment = |word: &[(char, Mark)]| {
            let mut parts = word.splitn(2, |one| *one == ('=', Mark::Plain)).map(text_of);
            (parts.next().unwrap_or_default(), parts.next())
        };
        Ok(words.filter(|word| !word.is_empty()).map(assignment).collect())
    }

    /// The pairs of ENV and LABEL: `a=b c="d e"`, or the old `a b c`.
    ///
    /// # Errors
    /// When one has no value.
    pub(super) fn pairs(&self, text: &str) -> Result<Vec<(String, String)>> {
        let all = self.assignments(text)?;
        if let Some((_, None)) = all.first()
            && let Some((name, value)) = text.trim().split_once(char::is_whitespace)
        {
            return Ok(vec![(self.one(name)?, self.one(value.trim())?)]);
        }
        let pair = |(name, value): (String, Option<String>)| match value {
            Some(value) => Ok((name, value)),
            None => Err(error!(invalid, "can't find = in {name:?}. Must be of the form: name=value")),
        };
        all.into_iter().map(pair).collect()
    }

    fn marked(&self, text: &str) -> Result<Marked> {
        // They may be within one another, each of which takes some of the stack.
        ensure!(
            text.matches("${").count() <= MOST_BRACES,
            invalid,
            "more than {MOST_BRACES} variables in braces"
        );
        let mut marked = Vec::new();
        self.scan(&mut text.chars().peekable(), None, &mut marked)?;
        Ok(marked)
    }

    /// Reads up to `end`, or to the end of all; up to a double quote, everything is quoted.
    fn scan(&self, text: &mut Peekable<Chars<'_>>, end: Option<char>, into: &mut Marked) -> Result<()> {
        let quoted = end == Some('"');
        while let Some(c) = text.next() {
            match c {
                c if Some(c) == end => return Ok(()),
                '\'' if !quoted => loop {
                    match text.next() {
                        Some('\'') => break,
                        Some(c) => into.push((c, Mark::Quoted)),
                        None => return Err(unclosed("single-quote")),
                    }
                },
                '"' => self.scan(text, Some('"'), into)?,
                '$' => self.variable(text, if quoted { Mark::Quoted } else { Mark::Inserted }, into)?,
                ESCAPE => {
                    let next = text.next();
                    // Before what means nothing in quotes, it stands for itself there.
                    if quoted && !next.is_some_and(|c| ['"', '$', ESCAPE].contains(&c)) {
                        into.push((ESCAPE, Mark::Quoted));
                    }
                    into.extend(next.map(|c| (c, Mark::Quoted)));
                }
                c => into.push((c, if quoted { Mark::Quoted } else { Mark::Plain })),
            }
        }
        match end {
            None => Ok(()),
            Some('"') => Err(unclosed("double-quote")),
            Some(_) => Err(unclosed("brace")),
        }
    }

    /// What stands after a dollar sign.
    fn variable(&self, text: &mut Peekable<Chars<'_>>, mark: Mark, into: &mut Marked) -> Result<()> {
        let value = if text.next_if_eq(&'{').is_some() {
            self.braces(text)?
        } else {
            let name = name(text);
            if name.is_empty() {
                into.push(('$', mark));
                return Ok(());
            }
            self.0.get(&name).cloned().unwrap_or_default()
        };
        into.extend(value.chars().map(|c| (c, mark)));
        ensure!(
            into.len() <= MOST_CHARACTERS,
            invalid,
            "more than {MOST_CHARACTERS} characters by variables"
        );
        Ok(())
    }

    /// `${name}`, with `:-`, `:+`, `:?` and the same without the colon.
    fn braces(&self, text: &mut Peekable<Chars<'_>>) -> Result<String> {
        let name = name(text);
        ensure!(!name.is_empty(), invalid, "syntax error: bad substitution");
        let colon = text.next_if_eq(&':').is_some();
        let value = self.0.get(&name).filter(|value| !colon || !value.is_empty()).cloned();
        let operator = match text.next() {
            Some('}') if !colon => return Ok(value.unwrap_or_default()),
            Some(c @ ('-' | '+' | '?')) => c,
            Some(c) => return Err(error!(invalid, "unsupported modifier ({c}) in substitution")),
            None => return Err(unclosed("brace")),
        };
        let mut word = Vec::new();
        self.scan(text, Some('}'), &mut word)?;
        let word = text_of(&word);
        Ok(match (operator, value) {
            ('-', None) | ('+', Some(_)) => word,
            ('-' | '?', Some(value)) => value,
            ('?', None) => bail!(invalid, "{name}: {word}"),
            _ => String::new(),
        })
    }
}

fn unclosed(what: &str) -> Error {
    error!(invalid, "unexpected end of statement while looking for matching {what}")
}

fn name(text: &mut Peekable<Chars<'_>>) -> String {
    // What a shell has for itself, and there is none.
    if let Some(own) = text.next_if(|c| "@*#?-$!".contains(*c)) {
        return own.to_string();
    }
    let is_number = text.peek().is_some_and(char::is_ascii_digit);
    let goes_on = |c: &char| if is_number { c.is_ascii_digit() } else { c.is_alphanumeric() || *c == '_' };
    std::iter::from_fn(|| text.next_if(goes_on)).collect()
}

fn text_of(marked: &[(char, Mark)]) -> String {
    marked.iter().map(|(c, _)| *c).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Words {
        let variables =
            [("A", "one two"), ("E", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        Words(variables.into())
    }

    #[test]
    fn variables_are_put_in() {
        let words = words();
        for (text, expected) in [
            ("x$A", "xone two"),
            ("'$A'", "$A"),
            ("\"$A\"y", "one twoy"),
            (r"\$A", "$A"),
            ("${B:-x}${B-y}${E-z}${E:-w}", "xyw"),
            ("${A:+set}${B:+set}", "set"),
            ("${B:-${A}}", "one two"),
            ("$ $1a$12b$@$$$?$-.$\u{e4}", "$ ab."),
            ("${A:?no}${E?no}${12}", "one two"),
            (r#""a\"b\c""#, r#"a"b\c"#),
        ] {
            assert_eq!(words.one(text).unwrap(), expected, "{text}");
        }
        assert_eq!(words.many("a$A 'b c'").unwrap(), ["aone", "two", "b c"]);
        for text in ["${A", "'x", "\"x", "${B:?no}", "${E:?no}", "${A%x}", "${}"] {
            assert!(words.one(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pairs_have_two_forms() {
        let words = words();
        let pairs = |text| words.pairs(text).unwrap();
        let own = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(pairs("a=1 b=\"x y\" c=x\\ y"), own(&[("a", "1"), ("b", "x y"), ("c", "x y")]));
        assert_eq!(pairs("name some value"), own(&[("name", "some value")]));
        assert_eq!(pairs("a=$A \"b c\"=${B:-d e}"), own(&[("a", "one two"), ("b c", "d e")]));
        assert!(words.pairs("a=1 b").is_err() && words.pairs("a").is_err());
    }
}
