//! The OCI runtime-tools validation programs, each run against every runtime.
//!
//! A program gets the runtime in `$RUNTIME` and prints TAP. Known failures are listed in `gaps.toml` and
//! marked `# TODO` in our own TAP, as TAP itself calls them.

mod programs;
mod tap;

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::error::{At as _, Result};
use crate::gaps::Gaps;
use crate::host::Host;
use crate::runtime::{Runtime, SUBJECT};
use crate::work::{Work, in_parallel, text_of};
use crate::{cgroups, command};
use tap::Verdict;

/// A program may take this long; the slowest waits four times ten seconds for a state that does not come.
const LIMIT: Duration = Duration::from_secs(120);

/// The cgroups the programs use; a runtime leaves the parents of a relative path behind.
const CGROUPS: [&str; 2] = ["cgrouptest", "testdir"];

/// Programs with a race of their own (a signal sent before the shell has set its trap, two shells writing to
/// one file) get more attempts, alone, for this long.
const AGAIN: Duration = Duration::from_secs(40);

/// One program on one runtime.
pub(crate) struct Outcome {
    /// The program.
    pub(crate) case: String,
    /// The runtime.
    pub(crate) runtime: &'static str,
    /// How it ended: nothing, or what the program said.
    pub(crate) failure: Option<String>,
    /// The reason listed for it in `gaps.toml`.
    pub(crate) reason: Option<String>,
    /// It passes or fails by luck: it counts as a failure.
    pub(crate) sometimes: bool,
    /// Why this outcome is not what it should be.
    pub(crate) unexpected: Option<&'static str>,
}

/// All of them.
pub(crate) struct Report {
    /// In the order of programs, then runtimes.
    pub(crate) outcomes: Vec<Outcome>,
    /// The pinned version of runtime-tools.
    pub(crate) version: String,
}

/// Run the suite; `None` when this machine cannot (said on standard output).
pub(crate) fn run(
    runtimes: &[Runtime],
    host: &Host,
    gaps: &Gaps,
    folder: &Path,
    work: &Work,
    filter: Option<&str>,
    jobs: usize,
) -> Result<Option<Report>> {
    let programs = match programs::get(&folder.join("runtime-tools"))? {
        Ok(programs) => programs,
        Err(missing) => {
            println!("runtime-tools: skipped: needs {missing}");
            return Ok(None);
        }
    };
    let names = programs.names.iter().filter(|name| filter.is_none_or(|text| name.contains(text)));
    let tasks: Vec<_> = names.flat_map(|name| runtimes.iter().map(move |runtime| (name, runtime))).collect();
    let one_cgroup = Mutex::new(());
    let mut verdicts = in_parallel(jobs, &tasks, |(name, runtime)| {
        // These use one fixed cgroup path.
        let shared = name.starts_with("linux_cgroups") || *name == "delete_resources";
        let _turn = shared.then(|| one_cgroup.lock());
        attempt(&programs.folder, name, runtime, work)
    })?;
    for ((name, runtime), verdict) in tasks.iter().zip(&mut verdicts) {
        let (start, listed) = (Instant::now(), gaps.failure(name, runtime.name, host).is_some());
        let mut more = 0;
        while *verdict != Verdict::Pass && !listed && start.elapsed() < AGAIN {
            *verdict = attempt(&programs.folder, name, runtime, work)?;
            more += 1;
        }
        if more > 0 {
            println!("# {} {name}: {more} more attempts, alone", runtime.name);
        }
    }
    CGROUPS.iter().for_each(|name| cgroups::remove(name));
    let mut outcomes: Vec<Outcome> = tasks
        .iter()
        .zip(verdicts)
        .map(|((name, runtime), verdict)| Outcome {
            case: (*name).clone(),
            runtime: runtime.name,
            failure: match verdict {
                Verdict::Pass => None,
                Verdict::Fail(message) => Some(message),
            },
            reason: gaps.failure(name, runtime.name, host).map(|gap| gap.reason.clone()),
            sometimes: gaps.failure(name, runtime.name, host).is_some_and(|gap| gap.sometimes),
            unexpected: None,
        })
        .collect();
    judge(&mut outcomes);
    let report = Report { outcomes, version: programs.version };
    report.print();
    Ok(Some(report))
}

/// The names of all programs.
#[cfg(test)]
pub(crate) fn all_names(folder: &Path) -> Result<Vec<String>> {
    programs::named_in(&folder.join("runtime-tools/go.mod"))
}

/// Runs a program with a /dev/null that is not the machine's. It is what containers have as their stdin, and crun 1.8 gives
/// that to the user of the container.
const OWN_NULL: &str = "mount -t tmpfs tmpfs /tmp && mknod -m 666 /tmp/null c 1 3 && \
                        mount --bind /tmp/null /dev/null && umount /tmp && exec \"$@\" < /dev/null";

/// Run one program once.
fn attempt(programs: &Path, name: &str, runtime: &Runtime, work: &Work) -> Result<Verdict> {
    let folder = work.folder(&["runtime-tools", runtime.name, name])?;
    let temporary = work.folder(&["runtime-tools", runtime.name, name, "tmp"])?;
    let launcher = runtime.launcher(&folder)?;
    let (out, err) = (folder.join("stdout"), folder.join("stderr"));
    let mut command = runtime.in_view(Path::new("sh"));
    command.args(["-c", OWN_NULL, "sh"]).arg(programs.join(name));
    command.env("RUNTIME", &launcher).env("TMPDIR", &temporary).current_dir(programs);
    command.stdout(std::fs::File::create(&out).at("create", &out)?);
    command.stderr(std::fs::File::create(&err).at("create", &err)?);
    let status = command::run(&mut command, LIMIT)?.and_then(|status| status.code());
    runtime.sweep(&launcher, &folder.join("root"));
    let _ = std::fs::remove_dir_all(&temporary);
    Ok(tap::judge(status, &text_of(&out), &text_of(&err)))
}

/// Say for each outcome of the subject whether it is what it should be.
fn judge(outcomes: &mut [Outcome]) {
    let passed_by_a_control: Vec<String> = outcomes
        .iter()
        .filter(|o| o.runtime != SUBJECT && o.failure.is_none())
        .map(|o| o.case.clone())
        .collect();
    for outcome in outcomes.iter_mut().filter(|outcome| outcome.runtime == SUBJECT && !outcome.sometimes) {
        outcome.unexpected = match (&outcome.failure, &outcome.reason) {
            (Some(_), _) if passed_by_a_control.contains(&outcome.case) => Some("a control passes"),
            (Some(_), None) => Some("no reason is listed"),
            (None, Some(_)) => Some("it passes: take it out of gaps.toml"),
            (Some(_), Some(_)) | (None, None) => None,
        };
    }
}

impl Report {
    /// Nothing unexpected.
    pub(crate) fn good(&self) -> bool {
        self.outcomes.iter().all(|outcome| outcome.unexpected.is_none())
    }

    /// TAP: one line a case and runtime.
    fn print(&self) {
        println!("TAP version 13\n1..{}", self.outcomes.len());
        for (number, outcome) in (1..).zip(&self.outcomes) {
            let name = format!("{number} - {} {}", outcome.runtime, outcome.case);
            match (&outcome.failure, &outcome.reason) {
                (None, _) => println!("ok {name}"),
                (Some(_), Some(reason)) => println!("not ok {name} # TODO {reason}"),
                (Some(message), None) => println!("not ok {name}\n# {message}"),
            }
            if let Some(unexpected) = outcome.unexpected {
                println!("# unexpected: {unexpected}");
                if let Some(message) = &outcome.failure {
                    println!("# it said: {message}");
                }
            }
        }
    }

    /// One line about all of it.
    pub(crate) fn summary(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for outcome in &self.outcomes {
            if !names.contains(&outcome.runtime) {
                names.push(outcome.runtime);
            }
        }
        let count = |name: &str| {
            let of = |o: &&Outcome| o.runtime == name;
            let all = self.outcomes.iter().filter(of).count();
            let passed =
                self.outcomes.iter().filter(of).filter(|o| o.failure.is_none() && !o.sometimes).count();
            format!("{name} passes {passed} of {all}")
        };
        let counts: Vec<String> = names.iter().map(|name| count(name)).collect();
        let unexpected = self.outcomes.iter().filter(|outcome| outcome.unexpected.is_some()).count();
        format!("runtime-tools: {}; {unexpected} unexpected", counts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is unexpected of corten where a control passes or fails too.
    fn unexpected(ours: bool, control: bool, reason: Option<&str>, sometimes: bool) -> Option<&'static str> {
        let outcome = |runtime, passes: bool| Outcome {
            case: "a".to_owned(),
            runtime,
            failure: (!passes).then(|| "it failed".to_owned()),
            reason: reason.map(str::to_owned),
            sometimes,
            unexpected: None,
        };
        let mut outcomes = [outcome(SUBJECT, ours), outcome("runc", control)];
        judge(&mut outcomes);
        assert_eq!(outcomes[1].unexpected, None);
        outcomes[0].unexpected
    }

    #[test]
    fn what_a_control_passes_and_corten_does_not_is_unexpected() {
        // Whatever is listed.
        assert_eq!(unexpected(false, true, None, false), Some("a control passes"));
        assert_eq!(unexpected(false, true, Some("reason"), false), Some("a control passes"));
        assert_eq!(unexpected(false, false, None, false), Some("no reason is listed"));
        assert_eq!(unexpected(false, false, Some("reason"), false), None);
        assert_eq!(
            unexpected(true, false, Some("reason"), false),
            Some("it passes: take it out of gaps.toml")
        );
        assert_eq!(unexpected(true, true, None, false), None);
        assert_eq!(unexpected(true, false, Some("reason"), true), None);
    }
}
