//! What Corten is to reach beside the others, and whether it does.

use crate::calls;
use crate::report::Report;
use crate::series::Row;
use std::fmt::Write;

/// The least of the warm rounds, their median, or that of the cold ones.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Warm,
    Middle,
    Cold,
}

use When::{Cold, Middle, Warm};

/// Case, part, whom Corten is compared with, when, and the largest ratio.
const RATIOS: [(&str, &str, &str, When, f64); 12] = [
    ("run-docker", "", "crun", Warm, 0.5),
    ("run-docker", "", "crun", Cold, 0.25),
    ("run-docker", "", "runc", Warm, 0.1),
    ("run-docker", "", "floor", Warm, 1.6),
    ("life", "", "crun", Warm, 0.5),
    ("life", "", "crun", Cold, 0.3),
    ("exec", "", "crun", Warm, 0.4),
    ("exec", "", "crun", Cold, 0.2),
    ("exec-docker", "", "crun", Warm, 0.4),
    ("exec-docker", "", "crun", Cold, 0.2),
    ("run-200", "", "crun", Warm, 0.6),
    ("state", "", "crun", Warm, 0.25),
];

/// System calls of a create, and kB of any process.
const MOST_CALLS: u64 = 250;
const MOST_MEMORY: u64 = 2048;

/// The targets for which something was measured, as a table. The floor's own figure is what the kernel's work
/// alone comes to.
pub(crate) fn table(report: &Report) -> String {
    let mut text =
        String::from("| target | limit | is | | of medians | the floor |\n|---|--:|--:|---|--:|--:|\n");
    let mut line = |what: &str, limit: f64, is: f64, middle: Option<f64>, floor: Option<f64>| {
        let met = if is <= limit { "met" } else { "**not met**" };
        let rounded = |number: f64| ((number * 1000.0).round() / 1000.0).to_string();
        let (middle, floor) =
            (middle.map(rounded).unwrap_or_default(), floor.map(rounded).unwrap_or_default());
        writeln!(text, "| {what} | {limit} | {} | {met} | {middle} | {floor} |", rounded(is)).unwrap();
    };
    for (case, part, whom, wanted, limit) in RATIOS {
        let ours = time(report, case, part, "corten", wanted);
        let theirs = time(report, case, part, whom, wanted);
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            let when = if wanted == Warm { "warm" } else { "cold, median" };
            let middle = |who| {
                Some(who).filter(|_| wanted == Warm).and_then(|who| time(report, case, part, who, Middle))
            };
            let floor = time(report, case, part, "floor", wanted).filter(|_| whom != "floor");
            line(
                &format!("{case}, {when}: × {whom}"),
                limit,
                ours / theirs,
                middle("corten").zip(middle(whom)).map(|(ours, theirs)| ours / theirs),
                floor.map(|floor| floor / theirs),
            );
        }
    }
    let create = |who: &str| {
        let all = report.rows.iter().filter(|row| row.who == who);
        let row = all.into_iter().find(|row| (row.case, row.part) == calls::CREATE)?;
        Some(to_f64(row.counted.as_ref()?.calls()))
    };
    if let Some(calls) = create("corten") {
        line("system calls of a create, as Docker has it", to_f64(MOST_CALLS), calls, None, create("floor"));
    }
    let peak = |who: &str| {
        let all = report.rows.iter().filter(|row| row.who == who);
        all.filter_map(|row| Some(row.counted.as_ref()?.peak)).max().map(to_f64)
    };
    if let Some(most) = peak("corten") {
        line("peak memory of a process, kB", to_f64(MOST_MEMORY), most, None, peak("floor"));
    }
    if let Some((ours, crun)) = limits(report) {
        line("smallest memory limit, kB: not above crun's", crun, ours, None, None);
    }
    for (row, theirs) in slower(report) {
        let what = format!("{} {}: not slower than {}", row.case, row.part, theirs.who);
        line(&what, 1.0, ratio(row, theirs), None, None);
    }
    text
}

fn to_f64(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

/// Whether a contestant is a release of a runtime (`crun`, `crun-1.28`), or an engine with it.
fn is_release(name: &str, runtime: &str) -> bool {
    name.strip_prefix(runtime).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', ' ']))
}

/// Of the releases of a runtime that took part (`crun`, `crun-1.28`) the fastest counts. Warm, the least time
/// is what a command costs when nothing disturbs it. Cold, the kernel's grace periods are what is measured,
/// and the least time is that of who was lucky: there it is the one in the middle.
fn time(report: &Report, case: &str, part: &str, who: &str, when: When) -> Option<f64> {
    let rows =
        report.rows.iter().filter(|row| row.case == case && row.part == part && is_release(&row.who, who));
    let times = rows.filter_map(|row| match when {
        Warm => Row::times(&row.warm).first().copied(),
        Middle => Row::middle_time(&row.warm),
        Cold => Row::middle_time(&row.cold),
    });
    times.min_by(f64::total_cmp)
}

fn ratio(row: &Row, theirs: &Row) -> f64 {
    let least = |row: &Row| Row::times(&row.warm).first().copied().unwrap_or(f64::NAN);
    least(row) / least(theirs)
}

/// Where another runtime is faster than Corten.
fn slower(report: &Report) -> Vec<(&Row, &Row)> {
    let mut found = Vec::new();
    for row in report.rows.iter().filter(|row| row.who.starts_with("corten")) {
        let others = report.rows.iter().filter(|other| (other.case, other.part) == (row.case, row.part));
        let others = others.filter(|other| ["runc", "crun"].iter().any(|name| is_release(&other.who, name)));
        found.extend(others.filter(|other| ratio(row, other) > 1.0).map(|other| (row, other)));
    }
    found
}

fn limits(report: &Report) -> Option<(f64, f64)> {
    let figure = report.figures.iter().find(|figure| figure.name == "limit")?;
    let of = |name: &str| {
        let all = figure.values.iter().filter(|(who, _)| is_release(who, name));
        all.filter_map(|(_, value)| *value).min_by(f64::total_cmp)
    };
    Some((of("corten")?, of("crun")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Sample;
    use std::time::Duration;

    fn row(who: &str, case: &'static str, millis: u64) -> Row {
        let sample = Sample { wall: Duration::from_millis(millis), ..Sample::default() };
        let warm = vec![sample];
        Row { case, title: "", part: "", who: who.into(), warm, cold: Vec::new(), counted: None }
    }

    #[test]
    fn the_fastest_release_of_a_runtime_counts_and_what_is_slower_is_said() {
        let rows = vec![
            row("corten", "state", 2),
            row("crun", "state", 16),
            row("crun-1.28", "state", 4),
            row("crunchy", "state", 1),
            row("floor", "state", 1),
            row("corten", "run", 9),
            row("runc", "run", 8),
        ];
        let text =
            table(&Report { rows, figures: Vec::new(), about: String::new(), hierarchies: Vec::new() });
        assert!(text.contains("| state, warm: × crun | 0.25 | 0.5 | **not met** | 0.5 | 0.25 |"), "{text}");
        assert!(text.contains("| run : not slower than runc | 1 | 1.125 | **not met** |  |  |"), "{text}");
    }
}
