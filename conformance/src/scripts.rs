//! Suites that need daemons or the guest: scripts in `suites/`, which leave one TAP file for each runtime.
//!
//! A script gets a folder in `$SUITE_RESULTS` and writes `RUNTIME.tap` there, and `with`: the programs it ran
//! with, one a line. A failure whose reason the script knows is `not ok CASE # TODO REASON`. A script that
//! cannot run here says "skipped: needs X" and leaves nothing. One whose run broke off ends with another status
//! than 0 and 1.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::error::{At as _, Error, Result};
use crate::gaps::{Gaps, matches};
use crate::host::Host;
use crate::runtime;
use crate::work::{Work, text_of};

/// A suite: its name, which is that of its script, and what its section is called.
pub(crate) struct Suite {
    /// As on the command line.
    pub(crate) name: &'static str,
    /// The heading in RESULTS.md.
    pub(crate) title: &'static str,
    /// The script's arguments: the subjects. The control comes first in every script.
    subjects: &'static [&'static str],
    /// The controls that the script runs too.
    controls: &'static [&'static str],
}

/// All of them, in the order of RESULTS.md.
pub(crate) const SUITES: [Suite; 7] = [
    Suite {
        name: "guest-cgroups",
        title: "The cgroup programs of runtime-tools, in the guest",
        subjects: &["corten"],
        controls: &["runc", "crun"],
    },
    Suite {
        name: "critest",
        title: "critest: the validation suite of Kubernetes' CRI",
        subjects: &["corten", "corten-shim"],
        controls: &["runc"],
    },
    Suite {
        name: "critest-2",
        title: "critest, with containerd 2",
        subjects: &["corten", "corten-shim", "corten-typed"],
        controls: &["runc"],
    },
    Suite {
        name: "containerd",
        title: "containerd's task API",
        subjects: &["corten", "corten-shim"],
        controls: &["runc"],
    },
    Suite {
        name: "containerd-client",
        title: "The tests of containerd's client",
        subjects: &["corten-shim", "corten-typed"],
        controls: &["runc"],
    },
    Suite {
        name: "docker",
        title: "The docker command",
        subjects: &["corten", "corten-shim"],
        controls: &["runc"],
    },
    Suite { name: "podman", title: "Podman's system tests", subjects: &["corten"], controls: &["runc"] },
];

/// What became of a suite.
pub(crate) struct Report {
    /// The suite.
    pub(crate) suite: &'static Suite,
    /// What it ran with.
    pub(crate) with: Vec<String>,
    /// The runtimes, subjects first.
    pub(crate) runtimes: Vec<&'static str>,
    /// Case → for each runtime whether it passes; nothing where it was not run.
    pub(crate) cases: Cases,
    /// Case → why it does not pass everywhere.
    pub(crate) reasons: BTreeMap<String, String>,
    /// What should not be.
    pub(crate) unexpected: Vec<String>,
}

/// Run a suite; `None` when this machine cannot (said on standard output).
pub(crate) fn run(
    suite: &'static Suite,
    folder: &Path,
    gaps: &Gaps,
    host: &Host,
    work: &Work,
) -> Result<Option<Report>> {
    let script = folder.join("suites").join(suite.name).with_extension("sh");
    let kept = std::env::var_os("CONFORMANCE_KEPT").map(|kept| Path::new(&kept).join(suite.name));
    let results = match &kept {
        Some(kept) => kept.clone(),
        None => work.folder(&["suites", suite.name])?,
    };
    let mut good = true;
    if kept.is_none() {
        let mut command = Command::new(&script);
        command.args(suite.subjects).env("SUITE_RESULTS", &results);
        // All suites judge the same program, wherever others have been built.
        let subject = runtime::subject()?;
        if subject.exists() {
            command.env("CORTEN_BIN", subject);
        }
        let status = command.status().at("start", &script)?;
        good = status.success();
        // 1 is for a case that is worse than the control's; anything else is no end of a run.
        if !matches!(status.code(), Some(0 | 1)) {
            let message = format!("broke off: {status}");
            return Err(Error::Program { program: script.display().to_string(), message });
        }
    }
    let runtimes: Vec<&'static str> = suite.subjects.iter().chain(suite.controls).copied().collect();
    let (cases, reasons) = read(&results, &runtimes);
    if cases.is_empty() {
        if good && kept.is_none() {
            return Ok(None);
        }
        let message = format!("no result in {}", results.display());
        return Err(Error::Program { program: script.display().to_string(), message });
    }
    let with = text_of(&results.join("with")).lines().map(str::to_owned).collect();
    let mut report = Report { suite, with, runtimes, cases, reasons, unexpected: Vec::new() };
    report.judge(gaps, host);
    for line in &report.unexpected {
        println!("# unexpected: {}: {line}", suite.name);
    }
    Ok(Some(report))
}

/// Case → for each runtime whether it passes.
type Cases = BTreeMap<String, Vec<Option<bool>>>;

/// The TAP files of a folder, and the reasons they give.
fn read(results: &Path, runtimes: &[&str]) -> (Cases, BTreeMap<String, String>) {
    let (mut cases, mut reasons) = (Cases::new(), BTreeMap::new());
    for (column, runtime) in runtimes.iter().enumerate() {
        for line in text_of(&results.join(runtime).with_extension("tap")).lines() {
            let (passed, name) = match (line.strip_prefix("ok "), line.strip_prefix("not ok ")) {
                (Some(name), _) => (true, name),
                (_, Some(name)) => (false, name),
                _ => continue,
            };
            let (name, reason) = name.split_once(" # TODO ").unwrap_or((name, ""));
            if !reason.is_empty() {
                reasons.insert(name.trim().to_owned(), reason.to_owned());
            }
            let row = cases.entry(name.trim().to_owned()).or_insert_with(|| vec![None; runtimes.len()]);
            if let Some(cell) = row.get_mut(column) {
                // A name that comes twice passes when all of them do.
                *cell = Some(cell.unwrap_or(true) && passed);
            }
        }
    }
    (cases, reasons)
}

impl Report {
    /// A subject must pass what a control passes, and each failure, of a control too, must have its reason.
    fn judge(&mut self, gaps: &Gaps, host: &Host) {
        let listed = |case: &str| {
            gaps.suites.iter().find(|gap| {
                gap.suites.iter().any(|name| name == self.suite.name)
                    && gap.cases.iter().any(|pattern| matches(pattern, case))
                    && host.all(&gap.when)
            })
        };
        let subjects = self.suite.subjects.len();
        for (case, row) in &self.cases {
            let gap = listed(case);
            let (ours, controls) = row.split_at(subjects);
            // A case that a runtime was not asked is as good as failed.
            let good = row.iter().all(|cell| *cell == Some(true));
            if let (false, Some(gap)) = (good, gap) {
                self.reasons.insert(case.clone(), gap.reason.clone());
            }
            let problem = if ours.contains(&Some(false)) && controls.contains(&Some(true)) {
                "a control passes"
            } else if !good && !self.reasons.contains_key(case) {
                "no reason is listed"
            } else if good && gap.is_some() {
                "it passes: take it out of gaps.toml"
            } else {
                continue;
            };
            if !gap.is_some_and(|gap| gap.sometimes) {
                self.unexpected.push(format!("{case}: {problem}"));
            }
        }
    }

    /// Nothing unexpected.
    pub(crate) fn good(&self) -> bool {
        self.unexpected.is_empty()
    }

    /// One line.
    pub(crate) fn summary(&self) -> String {
        let passed = self.runtimes.iter().enumerate().map(|(column, runtime)| {
            let of = |state| self.cases.values().filter(|row| row.get(column) == Some(&Some(state))).count();
            format!("{runtime} passes {} of {}", of(true), of(true) + of(false))
        });
        let passed: Vec<String> = passed.collect();
        format!("{}: {}; {} unexpected", self.suite.name, passed.join(", "), self.unexpected.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is unexpected of rows of `corten`, `corten-shim` and `runc`, with a list of reasons.
    fn unexpected(rows: &[(&str, [Option<bool>; 3])], reasons: &str) -> Vec<String> {
        let suite = SUITES.iter().find(|suite| suite.name == "critest").unwrap();
        let cases = rows.iter().map(|(case, row)| ((*case).to_owned(), row.to_vec())).collect();
        let runtimes = vec!["corten", "corten-shim", "runc"];
        let (with, none, unexpected) = (Vec::new(), BTreeMap::new(), Vec::new());
        let mut report = Report { suite, with, runtimes, cases, reasons: none, unexpected };
        report.judge(&toml::from_str(reasons).unwrap(), &Host::look());
        report.unexpected
    }

    #[test]
    fn what_a_control_passes_and_corten_does_not_is_unexpected() {
        let (yes, no) = (Some(true), Some(false));
        let listed = "[[suites]]\nsuites = ['critest']\ncases = ['a']\nreason = 'r'\n";
        assert!(unexpected(&[("a", [yes, yes, yes])], "").is_empty());
        // Whatever is listed.
        assert_eq!(unexpected(&[("a", [yes, no, yes])], listed), ["a: a control passes"]);
        assert_eq!(unexpected(&[("a", [no, yes, yes])], ""), ["a: a control passes"]);
        assert_eq!(unexpected(&[("a", [no, no, no])], ""), ["a: no reason is listed"]);
        assert_eq!(unexpected(&[("a", [yes, yes, no])], ""), ["a: no reason is listed"]);
        assert!(unexpected(&[("a", [no, no, no])], listed).is_empty());
        assert_eq!(unexpected(&[("a", [yes, yes, yes])], listed), ["a: it passes: take it out of gaps.toml"]);
        assert_eq!(unexpected(&[("a", [yes, None, yes])], ""), ["a: no reason is listed"]);
    }

    #[test]
    fn a_case_that_comes_twice_passes_when_both_do() {
        let folder = tempfile::tempdir().unwrap();
        let text = "ok a\nnot ok a # TODO the moon\n# said\nok b\n";
        std::fs::write(folder.path().join("runc.tap"), text).unwrap();
        let (cases, reasons) = read(folder.path(), &["corten", "runc"]);
        assert_eq!(cases["a"], [None, Some(false)]);
        assert_eq!(cases["b"], [None, Some(true)]);
        assert_eq!(reasons["a"], "the moon");
    }
}
