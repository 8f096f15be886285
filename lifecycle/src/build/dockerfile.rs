//! Dockerfiles: from text to instructions, as Docker's own parser cuts it up.
//!
//! The parsers on crates.io undo quotes and escapes before variables are put in, which is the wrong order, and leave
//! the pairs of ENV, ARG and LABEL to the caller. Source: moby, `frontend/dockerfile/parser`.

use serde_json::Value;

use super::words::Words;
use crate::error::{Error, Result, ensure, error};

/// The instructions there are.
const WORDS: &str = "ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL \
     STOPSIGNAL USER VOLUME WORKDIR";

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// The line it begins in.
    pub line: usize,
    /// Which one, in capitals.
    pub word: String,
    /// `--name=value`.
    pub flags: Vec<(String, String)>,
    /// What follows.
    pub rest: String,
    /// All of it in one line.
    pub original: String,
}

/// Understands a Dockerfile.
///
/// # Errors
/// With the line.
pub fn parse(text: &str) -> Result<Vec<Instruction>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let directive = |line: &str| line.to_ascii_lowercase().replace([' ', '\t'], "");
    // They end at the first comment that is none.
    let is_one = |line: &&str| line.starts_with('#') && line.contains('=');
    let mut directives = text.lines().take_while(is_one).map(directive);
    let usual = directives.all(|line| !line.starts_with("#escape=") || line == "#escape=\\");
    ensure!(usual, invalid, "the directive escape is not offered: lines are continued with \\");
    ensure!(!text.is_empty(), invalid, "the Dockerfile cannot be empty");
    let mut instructions = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        // Comments and empty lines do not end an instruction that goes on.
        if line.trim_start().starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let (start, before) = open.take().unwrap_or((index + 1, String::new()));
        let line = if before.is_empty() { line.trim_start() } else { line };
        // Two of them are one that is escaped.
        match line.trim_end_matches([' ', '\t']).strip_suffix('\\').filter(|part| !part.ends_with('\\')) {
            Some(part) => open = Some((start, before + part)),
            None => instructions.push(Instruction::parse(start, &(before + line))?),
        }
    }
    if let Some((start, line)) = open {
        instructions.push(Instruction::parse(start, &line)?);
    }
    ensure!(!instructions.is_empty(), invalid, "dockerfile parse error: file with no instructions");
    Ok(instructions)
}

impl Instruction {
    /// Understands one line.
    ///
    /// # Errors
    /// When it is no instruction.
    pub fn parse(line: usize, text: &str) -> Result<Self> {
        let text = text.trim();
        let bad = |why: String| error!(invalid, "dockerfile parse error on line {line}: {why}");
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let word = word.to_ascii_uppercase();
        if !WORDS.split(' ').any(|known| known == word) {
            return Err(bad(format!("unknown instruction: {word}")));
        }
        let (mut flags, mut rest) = (Vec::new(), rest.trim());
        while let Some(tail) = rest.strip_prefix("--") {
            let (flag, after) = tail.split_once(char::is_whitespace).unwrap_or((tail, ""));
            rest = after.trim_start();
            if flag.is_empty() {
                break;
            }
            let pair = flag.split_once('=').or((flag == "link").then_some((flag, "")));
            let (name, value) = pair.ok_or_else(|| bad(format!("missing a value on flag: --{flag}")))?;
            flags.push((name.to_owned(), value.to_owned()));
        }
        if rest.is_empty() && !matches!(word.as_str(), "CMD" | "ENTRYPOINT") {
            return Err(bad(format!("{word} requires at least one argument")));
        }
        // Text that follows in lines of its own: `<<EOF`, `<<-"EOF"`, but not `<<<` of a shell.
        let is_first = |c: char| c.is_alphabetic() || "-'\"_".contains(c);
        let begins = |word: &str| word.strip_prefix("<<").is_some_and(|name| name.starts_with(is_first));
        if matches!(word.as_str(), "RUN" | "COPY" | "ADD") && rest.split_whitespace().any(begins) {
            return Err(bad("here-documents require BuildKit, which is not part of this engine".into()));
        }
        // Not for the shell: somebody has forgotten the quotes.
        let list: Vec<Value> =
            if rest.starts_with('[') { serde_json::from_str(rest).unwrap_or_default() } else { Vec::new() };
        if !list.iter().all(Value::is_string) {
            return Err(bad("when using JSON array syntax, arrays must be comprised of strings only".into()));
        }
        Ok(Self { line, word, flags, rest: rest.to_owned(), original: text.to_owned() })
    }

    /// The instruction that follows ONBUILD.
    ///
    /// # Errors
    /// When it is none, or one that cannot follow.
    pub(super) fn trigger(&self, text: &str) -> Result<Self> {
        check_trigger(text)?;
        Self::parse(self.line, text)
    }

    /// The arguments with variables put in, whether they are written as JSON or as words: each stays one.
    ///
    /// # Errors
    /// When a quote or brace is not closed.
    pub(super) fn words(&self, words: &Words) -> Result<Vec<String>> {
        let words_of = || self.rest.split_whitespace().map(str::to_owned).collect();
        self.json().unwrap_or_else(words_of).iter().map(|word| words.one(word)).collect()
    }

    /// The arguments as a list, if they are written as JSON.
    pub(super) fn json(&self) -> Option<Vec<String>> {
        if self.rest.starts_with('[') { serde_json::from_str(&self.rest).ok() } else { None }
    }

    /// The value of a flag.
    pub(super) fn flag(&self, name: &str) -> Option<&str> {
        self.flags.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Refuses flags that are not among the known ones.
    ///
    /// # Errors
    /// With the flag.
    pub(super) fn check_flags(&self, known: &[&str]) -> Result<()> {
        let Some((name, _)) = self.flags.iter().find(|(name, _)| !known.contains(&name.as_str())) else {
            return Ok(());
        };
        Err(Error::invalid(match name.as_str() {
            "chmod" | "mount" | "network" | "parents" | "security" => {
                format!("the --{name} option requires BuildKit, which is not part of this engine")
            }
            _ => format!("dockerfile parse error on line {}: unknown flag: {name}", self.line),
        }))
    }
}

/// Refuses what cannot follow ONBUILD; what is no instruction at all fails where it is triggered.
///
/// # Errors
/// With the word.
pub(super) fn check_trigger(text: &str) -> Result<()> {
    let word = text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    let may_wait = !matches!(word.as_str(), "ONBUILD" | "FROM" | "MAINTAINER");
    ensure!(may_wait, invalid, "{word} isn't allowed as an ONBUILD trigger");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_instructions() {
        let escaped = parse("RUN one\\\\\nRUN two").unwrap();
        assert_eq!((escaped.len(), escaped[0].rest.as_str()), (2, "one\\\\"));
        let text = "# syntax=x\n# escape=\\\n\nfrom --platform=linux/amd64 a AS b\n  # note\nRUN one \\\n  # inside\n\n  two\nCMD [\"x\"]\n";
        let instructions = parse(text).unwrap();
        let [from, run, cmd] = &instructions[..] else { panic!("three instructions") };
        assert_eq!((from.word.as_str(), from.rest.as_str(), from.line), ("FROM", "a AS b", 4));
        assert_eq!(from.flag("platform"), Some("linux/amd64"));
        assert_eq!((run.rest.as_str(), run.line), ("one   two", 6));
        assert_eq!(cmd.json(), Some(vec!["x".to_owned()]));
    }

    #[test]
    fn what_is_no_dockerfile_is_refused() {
        for (text, part) in [
            ("", "cannot be empty"),
            ("# nothing\n", "no instructions"),
            ("FLY away", "line 1: unknown instruction: FLY"),
            ("\nFROM", "line 2: FROM requires"),
            ("FROM a\nCMD [\"sleep\", 10]", "line 2: when using JSON array syntax"),
            ("# escape=`\nFROM a", "escape is not offered"),
        ] {
            assert!(parse(text).is_err_and(|error| error.message.contains(part)), "{text}");
        }
        let run = Instruction::parse(1, "RUN --mount=type=cache true").unwrap();
        assert!(run.check_flags(&[]).is_err_and(|error| error.message.contains("BuildKit")));
    }
}
