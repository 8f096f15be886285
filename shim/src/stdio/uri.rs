//! Where output goes: the forms that containerd's clients write.

use std::path::{Path, PathBuf};

use super::{Error, Stdio};

/// What the `stdout` of a request means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Paths, one for each stream; usually FIFOs.
    Paths,
    /// `file:///path`: both streams are appended to one file.
    File(PathBuf),
    /// `binary:///path?key=value`: a program reads both streams.
    Logger(LoggerUri),
}

/// A logging program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoggerUri {
    /// The program.
    pub(super) program: PathBuf,
    /// Its arguments: the keys and values of the query, in order.
    pub(super) arguments: Vec<String>,
    /// `binary-v2`: being ready is said by one byte, and ending without it is a failure.
    pub(super) must_say_ready: bool,
}

impl Target {
    /// Understands the `stdout` of a request.
    pub(super) fn parse(stdio: &Stdio) -> Result<Self, Error> {
        let Some((scheme, rest)) = stdio.stdout.split_once("://") else { return Ok(Self::Paths) };
        match scheme {
            // A path that happens to contain the separator.
            _ if scheme.starts_with('/') => Ok(Self::Paths),
            "fifo" => Ok(Self::Paths),
            "file" => {
                let (path, _) = split_uri(&stdio.stdout, rest)?;
                Ok(Self::File(path))
            }
            "binary" | "binary-v2" => {
                let (program, query) = split_uri(&stdio.stdout, rest)?;
                let mut arguments = Vec::new();
                for pair in query.split('&').filter(|pair| !pair.is_empty()) {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    for part in [key, value] {
                        let text = decode(&part.replace('+', " "));
                        arguments.push(text.ok_or_else(|| malformed(&stdio.stdout))?);
                    }
                }
                Ok(Self::Logger(LoggerUri { program, arguments, must_say_ready: scheme == "binary-v2" }))
            }
            other => Err(Error::Scheme(other.to_owned())),
        }
    }

    /// Where a stream goes for which the request names `named`.
    pub(super) fn of_stream<'a>(&'a self, named: &'a str) -> &'a Path {
        match self {
            Self::File(path) => path,
            _ => Path::new(named.strip_prefix("fifo://").unwrap_or(named)),
        }
    }
}

fn malformed(uri: &str) -> Error {
    Error::Malformed(uri.to_owned(), "expected scheme:///absolute/path with %XX escapes only")
}

/// The path, decoded, and the query, not decoded.
fn split_uri<'a>(uri: &str, rest: &'a str) -> Result<(PathBuf, &'a str), Error> {
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    // Between the slashes would stand a host.
    let path = decode(path).filter(|path| path.starts_with('/')).ok_or_else(|| malformed(uri))?;
    Ok((PathBuf::from(path), query))
}

/// Undoes percent-encoding; `None` for an escape that is none or bytes that are no text.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let digits = tail.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
            let digits = std::str::from_utf8(digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}
