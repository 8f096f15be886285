//! The log that callers of a runtime read: `--log`, `--log-format`, `--log-level`.
//!
//! Lines are byte for byte what logrus writes for runc: text `time="…" level=error msg="…"`, or JSON with the three
//! keys that containerd and podman decode. One line a message, never a partial one.

use crate::time;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// How bad it is; in the order of `--log-level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Only wanted when looking for a fault of the runtime.
    Debug,
    /// Worth knowing.
    Info,
    /// Odd, but it goes on.
    Warning,
    /// The command failed.
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `time="…" level=… msg="…"`.
    #[default]
    Text,
    /// `{"level":"…","msg":"…","time":"…"}`.
    Json,
}

/// Where messages go.
#[derive(Debug)]
pub struct Log {
    file: Option<File>,
    format: Format,
    level: Level,
}

impl Log {
    /// A log on standard error.
    #[must_use]
    pub fn stderr(format: Format, level: Level) -> Self {
        Self { file: None, format, level }
    }

    /// A log that is appended to `path`, which is made if missing.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn file(path: &Path, format: Format, level: Level) -> std::io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = File::options().append(true).create(true).mode(0o644).open(path)?;
        Ok(Self { file: Some(file), format, level })
    }

    /// The same log once more.
    #[must_use]
    pub fn again(&self) -> Self {
        Self { file: self.file.as_ref().and_then(|file| file.try_clone().ok()), ..*self }
    }

    /// Writes one message.
    pub fn write(&self, level: Level, message: &str) {
        if level < self.level {
            return;
        }
        let line = match self.format {
            Format::Text => {
                format!("time=\"{}\" level={} msg={}\n", time::stamp(), level.name(), quoted(message))
            }
            Format::Json => format!(
                "{{\"level\":\"{}\",\"msg\":{},\"time\":\"{}\"}}\n",
                level.name(),
                serde_json::Value::from(message),
                time::stamp()
            ),
        };
        // There is nobody left to tell when the log itself cannot be written.
        let _ = match &self.file {
            Some(file) => { file }.write_all(line.as_bytes()),
            None => std::io::stderr().write_all(line.as_bytes()),
        };
    }

    /// Writes the error that ends the command. With a log file it goes to standard error too, as it does in runc, so
    /// that a person at a terminal sees it.
    pub fn fatal(&self, message: &str) {
        // A path or a value of the configuration is quoted in it, however long that is.
        const LONGEST: usize = 4096;
        let message = message.get(..message.floor_char_boundary(LONGEST)).unwrap_or(message);
        self.write(Level::Error, message);
        if self.file.is_some() {
            let _ = writeln!(std::io::stderr(), "{message}");
        }
    }

    /// Writes a warning.
    pub fn warn(&self, message: &str) {
        self.write(Level::Warning, message);
    }

    /// Writes a debug message.
    pub fn debug(&self, message: &str) {
        self.write(Level::Debug, message);
    }
}

/// A text in Go's `%q`, as far as messages need it.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_quoted_as_go_does() {
        assert_eq!(quoted("exec: \"x\"\n\u{1b}"), "\"exec: \\\"x\\\"\\n\\x1b\"");
    }
}
