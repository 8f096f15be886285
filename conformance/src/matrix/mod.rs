//! The matrix: the same bundle on corten and on each control, with a probe inside; every difference is
//! printed, and must be listed in `gaps.toml` with its reason.

mod bundle;
mod cases;
mod compare;
mod drive;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bundle::Case;
use compare::Seen;

use crate::cgroups;
use crate::error::{At as _, Result};
use crate::gaps::Gaps;
use crate::host::Host;
use crate::runtime::{Runtime, SUBJECT, beside_this_program};
use crate::work::{Work, in_parallel};

/// A place where corten shows something else than a control.
pub(crate) struct Difference {
    /// The case.
    pub(crate) case: &'static str,
    /// Path in the observation.
    pub(crate) path: String,
    /// The control.
    pub(crate) control: &'static str,
    /// What corten showed.
    pub(crate) ours: String,
    /// What the control showed.
    pub(crate) theirs: String,
    /// Index of its reason in `gaps.toml`.
    pub(crate) reason: Option<usize>,
}

/// How one case ended.
pub(crate) struct Row {
    /// The case.
    pub(crate) case: &'static str,
    /// For every runtime, whether a container came up.
    pub(crate) started: Vec<(&'static str, bool)>,
}

/// All of them.
pub(crate) struct Report {
    /// Every case.
    pub(crate) rows: Vec<Row>,
    /// Every difference, listed or not.
    pub(crate) differences: Vec<Difference>,
    /// Reasons in `gaps.toml` that explain nothing any more.
    pub(crate) stale: Vec<String>,
}

/// Run every case whose name contains `filter`.
pub(crate) fn run(
    runtimes: &[Runtime],
    host: &Host,
    gaps: &Gaps,
    work: &Work,
    filter: Option<&str>,
    jobs: usize,
) -> Result<Option<Report>> {
    let cases: Vec<Case> =
        cases::all().into_iter().filter(|case| filter.is_none_or(|text| case.name.contains(text))).collect();
    if runtimes.len() == 1 {
        println!("matrix: skipped: needs runc or crun, to compare with");
        return Ok(None);
    }
    let folder = work.folder(&["matrix"])?;
    // Containers with a user namespace pass through here.
    for path in [folder.as_path(), folder.parent().unwrap_or(Path::new("/"))] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o711)).at("chmod", path)?;
    }
    let probe = folder.join("probe");
    fs::copy(beside_this_program("conformance-probe")?, &probe).at("copy", &probe)?;
    let holder = Holder::start()?;
    let cgroup = format!("/conformance-{}", std::process::id());
    let setting = drive::Setting { probe: &probe, holder: holder.pid(), cgroup: &cgroup };
    let tasks: Vec<_> =
        cases.iter().flat_map(|case| runtimes.iter().map(move |runtime| (case, runtime))).collect();
    let seen = in_parallel(jobs, &tasks, |(case, runtime)| {
        let bundle = work.folder(&["matrix", runtime.name, case.name])?;
        let mut observation = drive::observe(case, runtime, &bundle, &setting)?;
        // crun now and then writes an error about its terminal into the container's output.
        if runtime.name != SUBJECT && observation.pointer("/report/nothing").is_some() {
            fs::remove_dir_all(&bundle).and_then(|()| fs::create_dir(&bundle)).at("make again", &bundle)?;
            observation = drive::observe(case, runtime, &bundle, &setting)?;
        }
        let text = format!("{observation:#}");
        fs::write(bundle.join("observation.json"), text).at("write", &bundle)?;
        Ok(compare::comparable(&observation, &names(&bundle, &setting, runtime.name, case.name)))
    });
    drop(holder);
    cgroups::remove(&cgroup);
    let report = Report::new(&tasks, &seen?, runtimes, gaps, host, filter.is_none());
    report.print(gaps, filter.is_some());
    Ok(Some(report))
}

/// The names of all cases.
#[cfg(test)]
pub(crate) fn all_names() -> Vec<&'static str> {
    cases::all().iter().map(|case| case.name).collect()
}

/// What differs from run to run, and the name it gets instead.
fn names(bundle: &Path, setting: &drive::Setting, runtime: &str, case: &str) -> Vec<(String, &'static str)> {
    let mut all = vec![
        (bundle.display().to_string(), "$BUNDLE"),
        (setting.cgroup_of(runtime, case), "$CGROUP"),
        (format!("matrix-{runtime}-{case}"), "$ID"),
    ];
    for (pid, host, name) in
        [("self".to_owned(), true, "host"), (setting.holder.to_string(), false, "joined")]
    {
        for entry in fs::read_dir(format!("/proc/{pid}/ns")).into_iter().flatten().flatten() {
            let link = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{}", entry.file_name().display()));
            let Ok(target) = link(&pid) else { continue };
            // What the holder shares with the host is the host's.
            if host || link("self").is_ok_and(|own| own != target) {
                all.push((target.display().to_string(), name));
            }
        }
    }
    all
}

/// A process in namespaces of its own, for the cases that join one.
struct Holder(Child);

impl Holder {
    fn start() -> Result<Holder> {
        // --fork: the PID namespace needs a first process, which is the child; its parent reports namespaces
        // "for children".
        let mut command = Command::new("unshare");
        command.args(["--net", "--ipc", "--uts", "--pid", "--fork", "--kill-child", "sleep", "600"]);
        let child = command.stdin(Stdio::null()).spawn().at("start", Path::new("unshare"))?;
        let holder = Holder(child);
        while holder.child().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Ok(holder)
    }

    fn child(&self) -> Option<u32> {
        let pid = self.0.id();
        fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
            .ok()?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    }

    fn pid(&self) -> u32 {
        self.child().unwrap_or(self.0.id())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // --kill-child takes the child along.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Report {
    fn new(
        tasks: &[(&Case, &Runtime)],
        seen: &[Seen],
        runtimes: &[Runtime],
        gaps: &Gaps,
        host: &Host,
        complete: bool,
    ) -> Report {
        let mut report = Report { rows: Vec::new(), differences: Vec::new(), stale: Vec::new() };
        for (tasks, seen) in tasks.chunks(runtimes.len()).zip(seen.chunks(runtimes.len())) {
            let all: Vec<_> =
                tasks.iter().map(|(case, runtime)| (case.name, runtime.name)).zip(seen).collect();
            let Some(((case, _), ours)) = all.iter().find(|((_, runtime), _)| *runtime == SUBJECT) else {
                continue;
            };
            let up = |seen: &Seen| seen.get("outcome/start").is_some_and(|text| text == "ok");
            report.rows.push(Row {
                case,
                started: all.iter().map(|((_, runtime), seen)| (*runtime, up(seen))).collect(),
            });
            for ((_, control), theirs) in all.iter().filter(|((_, runtime), _)| *runtime != SUBJECT) {
                report.differences.extend(compare::differences(ours, theirs).into_iter().map(|pair| {
                    Difference {
                        reason: gaps.difference(case, &pair.path, control, host),
                        case,
                        control,
                        path: pair.path,
                        ours: pair.subject,
                        theirs: pair.control,
                    }
                }));
            }
        }
        if complete {
            let known = |name: &String| {
                runtimes.iter().any(|runtime| runtime.name == name && gaps.knows(name, &runtime.version))
            };
            let unused = gaps.matrix.iter().enumerate().filter(|(index, gap)| {
                let used = report.differences.iter().any(|difference| difference.reason == Some(*index));
                !used && !gap.sometimes && host.all(&gap.when) && gap.controls.iter().all(known)
            });
            report.stale = unused.map(|(_, gap)| format!("{} {}", gap.case, gap.path)).collect();
        }
        report
    }

    fn unlisted(&self) -> impl Iterator<Item = &Difference> {
        self.differences.iter().filter(|difference| difference.reason.is_none())
    }

    /// Every difference is listed, and every reason is needed.
    pub(crate) fn good(&self) -> bool {
        self.unlisted().next().is_none() && self.stale.is_empty()
    }

    /// TAP: one line a case, and as comments every difference that is not listed (with `listed`: those too).
    fn print(&self, gaps: &Gaps, listed: bool) {
        println!("TAP version 13\n1..{}", self.rows.len());
        for (number, row) in (1..).zip(&self.rows) {
            let mine: Vec<_> =
                self.differences.iter().filter(|difference| difference.case == row.case).collect();
            let good = mine.iter().all(|difference| difference.reason.is_some());
            let known = mine.iter().filter(|difference| difference.reason.is_some()).count();
            let verdict = if good { "ok" } else { "not ok" };
            println!("{verdict} {number} - matrix {} ({known} listed differences)", row.case);
            for Difference { path, control, ours, theirs, reason, .. } in mine {
                match reason.and_then(|index| gaps.matrix.get(index)) {
                    Some(gap) if listed => println!("# {path}: as listed, not as {control}: {}", gap.reason),
                    Some(_) => {}
                    None => println!("# {path}: corten {ours:?}, {control} {theirs:?}"),
                }
            }
        }
        for stale in &self.stale {
            println!("# unexpected: {stale}: no such difference any more: take it out of gaps.toml");
        }
    }

    /// One line about all of it.
    pub(crate) fn summary(&self) -> String {
        let (all, unlisted) = (self.differences.len(), self.unlisted().count());
        let (cases, stale) = (self.rows.len(), self.stale.len());
        format!(
            "matrix: {cases} cases, {} differences with a reason, {unlisted} without, {stale} reasons unused",
            all - unlisted
        )
    }
}
