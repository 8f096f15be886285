//! Limits: `linux.resources` as a list of file writes, and writing them so that either all hold or none.
//!
//! [`unified`] and [`legacy`] are the two tables, field → file and value, without side effects. This module writes what
//! they say. It must never guess: a limit that was asked for and cannot be set is an error that names it.

pub(super) mod convert;
pub(super) mod legacy;
pub(super) mod unified;

use super::dir::{Dir, absent};
use super::error::{Error, Result};
use crate::sys::Errno;
use std::borrow::Cow;

/// One value to write into one file of a cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// The field of config.json that asks for it.
    pub(super) field: Cow<'static, str>,
    /// What that field says.
    pub(super) asked: String,
    /// The controller that has the file.
    pub(super) controller: Cow<'static, str>,
    /// The file.
    pub(super) file: Cow<'static, str>,
    /// What to write.
    pub(super) value: String,
    /// What the file holds.
    pub(super) shape: Shape,
    /// What to do when there is no such file.
    pub(super) missing: Missing,
    /// Settings of the same group constrain one another: the kernel may accept them in one order only, which depends
    /// on the values before.
    pub(super) group: Option<&'static str>,
}

/// What a file holds, which decides how it is put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    /// One value. It reads as it is written.
    Flat,
    /// As [`Shape::Flat`], and the kernel silently clamps what it is given: read it back.
    Clamped,
    /// A line for each key; what is written changes the line of this key. `absent` is the value of a key without line.
    Keyed { key: String, absent: &'static str },
    /// Lines of a name and a value, of which the one of this name is written, without the name.
    Named(&'static str),
}

/// What to do when a file is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Missing {
    /// Refuse: the limit would not hold.
    Refuse,
    /// Go on: without the file the limit holds anyway, or was optional.
    Ignore,
    /// Write this one instead.
    Otherwise(Box<Setting>),
}

impl Setting {
    /// A flat value that must be written.
    pub(super) fn new(
        field: impl Into<Cow<'static, str>>,
        asked: impl ToString,
        controller: impl Into<Cow<'static, str>>,
        file: impl Into<Cow<'static, str>>,
        value: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            asked: asked.to_string(),
            controller: controller.into(),
            file: file.into(),
            value: value.into(),
            shape: Shape::Flat,
            missing: Missing::Refuse,
            group: None,
        }
    }

    pub(super) fn group(mut self, name: &'static str) -> Self {
        self.group = Some(name);
        self
    }

    pub(super) fn missing(mut self, missing: Missing) -> Self {
        self.missing = missing;
        self
    }

    pub(super) fn otherwise(self, setting: Setting) -> Self {
        self.missing(Missing::Otherwise(Box::new(setting)))
    }

    pub(super) fn shape(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    /// What the kernel refused, and what it knows about it.
    fn refused(&self, dir: &Dir, errno: Errno) -> Error {
        let hint = match (errno, self.file.as_ref()) {
            (Errno::EBUSY, "memory.limit_in_bytes") => usage_hint(dir),
            _ => String::new(),
        };
        Error::Limit {
            field: self.field.clone().into_owned(),
            value: self.asked.clone(),
            path: dir.file(&self.file),
            errno,
            hint,
        }
    }

    /// The error for a controller that the cgroup has not.
    pub(super) fn no_controller(&self, path: &str, why: String) -> Error {
        Error::NoController {
            field: self.field.clone().into_owned(),
            value: self.asked.clone(),
            controller: self.controller.clone().into_owned(),
            path: path.to_owned(),
            why,
        }
    }
}

fn usage_hint(dir: &Dir) -> String {
    match (dir.number("memory.usage_in_bytes"), dir.number("memory.max_usage_in_bytes")) {
        (Ok(usage), Ok(peak)) => format!(" (current usage: {usage}, peak usage: {peak})"),
        _ => String::new(),
    }
}

/// Where settings go.
pub(super) trait Place {
    /// The directory that has the files of the setting's controller.
    ///
    /// # Errors
    /// This host, or this cgroup, has no such controller.
    fn dir(&self, setting: &Setting) -> Result<&Dir>;

    /// Why the file of a setting is not there.
    fn missing(&self, setting: &Setting, dir: &Dir) -> Error;
}

/// A limit that means nothing here.
pub(super) fn invalid(field: impl Into<String>, value: impl ToString, why: impl Into<String>) -> Error {
    Error::Invalid { field: field.into(), value: value.to_string(), why: why.into() }
}

/// Writes settings, each into the directory of its controller, in the given order; those of one group in whatever
/// order the kernel accepts.
///
/// # Errors
/// The first setting that the kernel refuses. Those before it stay written: see [`Undo`].
pub(super) fn write_all(settings: &[Setting], place: &dyn Place) -> Result<()> {
    let mut pending: Vec<&Setting> = settings.iter().collect();
    loop {
        let mut refused: Vec<(&Setting, &Dir, Errno)> = Vec::new();
        let before = pending.len();
        for setting in pending {
            let dir = place.dir(setting)?;
            match write(setting, dir, place)? {
                Ok(()) => {}
                Err(errno) if may_depend(setting, settings, errno) => refused.push((setting, dir, errno)),
                Err(errno) => return Err(setting.refused(dir, errno)),
            }
        }
        match refused.first() {
            None => return Ok(()),
            Some((setting, dir, errno)) if refused.len() == before => {
                return Err(setting.refused(dir, *errno));
            }
            Some(_) => pending = refused.into_iter().map(|(setting, ..)| setting).collect(),
        }
    }
}

/// Whether a refusal may come from the other settings of the group.
fn may_depend(setting: &Setting, all: &[Setting], errno: Errno) -> bool {
    matches!(errno, Errno::EINVAL | Errno::EBUSY)
        && setting.group.is_some()
        && all.iter().filter(|other| other.group == setting.group).count() > 1
}

/// Writes one setting, or what stands for it where its file is missing.
fn write(setting: &Setting, dir: &Dir, place: &dyn Place) -> Result<std::result::Result<(), Errno>> {
    match dir.write(&setting.file, &setting.value) {
        Ok(()) if setting.shape == Shape::Clamped => check_clamped(setting, dir).map(Ok),
        Err(Errno::ENOENT) => match &setting.missing {
            Missing::Refuse => Err(place.missing(setting, dir)),
            Missing::Ignore => Ok(Ok(())),
            Missing::Otherwise(other) => write(other, dir, place),
        },
        result => Ok(result),
    }
}

/// cpu.shares takes any number and keeps the nearest it allows.
fn check_clamped(setting: &Setting, dir: &Dir) -> Result<()> {
    let kept = dir.read_value(&setting.file).map_err(|errno| dir.error("read", &setting.file, errno))?;
    let bound = match (setting.value.parse::<u64>(), kept.parse::<u64>()) {
        (Ok(wanted), Ok(kept)) if wanted > kept => "maximum",
        (Ok(wanted), Ok(kept)) if wanted < kept => "minimum",
        _ => return Ok(()),
    };
    Err(invalid(setting.field.clone(), &setting.asked, format!("the {bound} allowed value is {kept}")))
}

/// What some files held before they were written, to put it back.
#[derive(Debug, Default)]
pub(super) struct Undo {
    settings: Vec<Setting>,
}

impl Undo {
    /// Notes what the files of `settings` hold now.
    ///
    /// # Errors
    /// A file that cannot be read, so that nothing is written that could not be taken back.
    pub(super) fn note(settings: &[Setting], place: &dyn Place) -> Result<Self> {
        let mut undo = Self::default();
        for setting in settings {
            // To be idle takes the share away, and to be no longer so brings back the kernel's and not this one.
            if setting.file == "cpu.idle" {
                let share = |file| Setting::new(setting.field.clone(), &setting.asked, "cpu", file, "");
                let share = share("cpu.weight").otherwise(share("cpu.shares"));
                undo.note_one(&share, place.dir(setting)?)?;
            }
            undo.note_one(setting, place.dir(setting)?)?;
        }
        Ok(undo)
    }

    fn note_one(&mut self, setting: &Setting, dir: &Dir) -> Result<()> {
        let text = match dir.read(&setting.file) {
            Ok(text) => text,
            Err(errno) if absent(Some(errno)) => {
                return match &setting.missing {
                    Missing::Otherwise(other) => self.note_one(other, dir),
                    _ => Ok(()),
                };
            }
            // Write-only files of `unified`, such as cgroup.kill.
            Err(Errno::EACCES | Errno::EINVAL) if setting.field.starts_with(unified::FIELD) => return Ok(()),
            Err(errno) => return Err(dir.error("read", &setting.file, errno)),
        };
        if let Some(value) = previous(&setting.shape, &text) {
            let mut before = setting.clone();
            before.value = value;
            before.missing = Missing::Ignore;
            self.settings.push(before);
        }
        Ok(())
    }

    /// The writes that put things back.
    pub(super) fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// Puts back what can be put back, last written first.
    pub(super) fn restore(mut self, place: &dyn Place) {
        self.settings.reverse();
        // A value that the kernel held is one that it accepts; what fails all the same must not stop the others.
        for group in self.settings.chunk_by(|a, b| a.group.is_some() && a.group == b.group) {
            let _ = write_all(group, place);
        }
    }
}

/// What must be written so that a file that read as `text` reads so again.
fn previous(shape: &Shape, text: &str) -> Option<String> {
    match shape {
        // An empty cpuset is written as an empty line: a write of no bytes does nothing.
        Shape::Flat | Shape::Clamped => {
            Some(if text.trim_end().is_empty() { "\n".to_owned() } else { text.trim_end().to_owned() })
        }
        Shape::Named(name) => text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
            .map(|value| value.trim().to_owned()),
        Shape::Keyed { key, absent } => {
            let line = text.lines().find(|line| {
                line.strip_prefix(key.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
            });
            Some(line.map_or_else(|| format!("{key} {absent}"), str::to_owned))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previous_content_by_shape() {
        let keyed = |key: &str, absent| Shape::Keyed { key: key.to_owned(), absent };
        for (shape, text, want) in [
            (Shape::Flat, "max 100000\n", Some("max 100000")),
            (Shape::Flat, "\n", Some("\n")),
            (keyed("8:0", "rbps=max"), "8:0 rbps=1 wbps=max\n8:16 rbps=7\n", Some("8:0 rbps=1 wbps=max")),
            (keyed("8:1", "rbps=max"), "8:16 rbps=7\n", Some("8:1 rbps=max")),
            (Shape::Named("oom_kill_disable"), "oom_kill_disable 1\nunder_oom 0\n", Some("1")),
            (keyed("default", "100"), "default 50\n8:0 70\n", Some("default 50")),
        ] {
            assert_eq!(previous(&shape, text).as_deref(), want, "{shape:?}");
        }
    }
}
