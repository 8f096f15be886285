//! What is wrong with a bundle, and what is dangerous about it, without running it.
//!
//! Has no rules of its own about what is valid: it asks what `create` asks, in the same order ([`refusal`]), and where
//! that refuses, takes the fault out of a copy of the configuration and asks again ([`mend`]). So everything is found at
//! once, and nothing is accepted here that is refused there. What only the kernel or the file system can tell is looked
//! at as far as looking changes nothing ([`here`], [`program`]). What is allowed and yet unwise is in [`dangers`].
//!
//! Must never change anything on this machine.

pub mod advice;
pub mod dangers;
pub mod here;
pub mod mend;
pub mod place;
pub mod program;
pub mod refusal;
pub mod report;

use crate::cgroup::Driver;
use crate::spec::LoadError;
use crate::spec::load;
use place::Place;
use serde::Serialize;
use serde_json::Value;
use std::path::PathBuf;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// `create` refuses it.
    Error,
    /// The container, or who may write to the bundle, can take over the host.
    Danger,
    /// A protection is missing, or what was asked for will be ignored.
    Warning,
    /// Worth knowing.
    Note,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// Where: a path in config.json; `.` is the whole.
    pub path: String,
    /// What stands there; absent where nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// What is wrong with it.
    pub problem: String,
    /// What was expected.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub expected: String,
    /// What to do.
    pub fix: String,
}

/// What to look at.
#[derive(Debug)]
pub struct Request {
    /// The bundle.
    pub bundle: PathBuf,
    /// Another file than the bundle's config.json.
    pub config: Option<PathBuf>,
    /// Who would make control groups.
    pub driver: Driver,
}

/// Everything that was found, the worst first, then in the order of the file.
#[derive(Debug)]
pub struct Checked {
    /// The configuration that was read.
    pub file: PathBuf,
    /// The findings.
    pub findings: Vec<Finding>,
    /// Whether everything could be looked at; if not, there may be more once the errors are mended.
    pub complete: bool,
}

impl Checked {
    /// How many findings are of a level.
    #[must_use]
    pub fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }
}

/// Looks at a bundle.
///
/// # Errors
/// The working directory cannot be found, or this process's own capabilities cannot be read.
pub fn check(request: &Request) -> crate::parent::Result<Checked> {
    let bundle = std::path::absolute(&request.bundle)
        .map_err(crate::parent::error::file_error("find bundle", &request.bundle))?;
    let file = request.config.clone().unwrap_or_else(|| bundle.join("config.json"));
    let host = crate::parent::create::host()?;
    // As create reads it: a file that cannot be, or that is not JSON, is all that there is to say.
    let first = load::config(&file).err();
    let document = match (&first, load::json::<Value>(&file)) {
        (Some(error), Err(_)) => return Ok(unreadable(file, error)),
        (None | Some(_), Ok(document)) => document,
        (None, Err(error)) => return Ok(unreadable(file, &error)),
    };
    let asked = refusal::Asked { bundle: &bundle, host: &host, driver: request.driver };
    let mut mended = mend::all(&document, &asked);
    if let Some(error) = first.filter(|_| mended.findings.is_empty()) {
        // What only a reader of the text notices, such as a name that stands twice.
        mended.findings.push(unread(&error));
    }
    mended.findings.extend(program::look(&mended));
    mended.findings.extend(dangers::look(&mended, &bundle, &file, &host));
    let mut findings = mended.findings;
    findings.sort_by_key(|finding| (finding.level, Place::parse(&finding.path, &document)));
    Ok(Checked { file, findings, complete: mended.complete })
}

fn unreadable(file: PathBuf, error: &LoadError) -> Checked {
    Checked { findings: vec![unread(error)], complete: false, file }
}

/// A finding about the file as a whole.
fn unread(error: &LoadError) -> Finding {
    let (path, problem, expected, fix) = match error {
        LoadError::Json { field, source, .. } => {
            (field.clone(), source.to_string(), "JSON as config.md describes it", "correct the text there")
        }
        LoadError::NotText { at, .. } => (
            ".".to_owned(),
            format!("byte {at} is not of UTF-8 text"),
            "JSON as config.md describes it",
            "correct the text there",
        ),
        error => (
            ".".to_owned(),
            error.to_string(),
            "a regular file that can be read",
            "make it with `corten spec`, or name the directory that has it",
        ),
    };
    let (level, expected) = (Level::Error, expected.to_owned());
    Finding { level, path, value: None, problem, expected, fix: fix.to_owned() }
}
