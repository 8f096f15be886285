//! The table on standard output, and RESULTS.md.

use crate::contestant::Contestant;
use crate::figures::Figure;
use crate::ground::Ground;
use crate::series::Row;
use crate::{calls, plot, targets};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

/// What has been measured so far.
pub(crate) struct Report {
    /// Of all cases.
    pub(crate) rows: Vec<Row>,
    /// What is no time.
    pub(crate) figures: Vec<Figure>,
    /// Machine, versions and commit.
    pub(crate) about: String,
    /// What control groups of version 1 take of a start, call by call.
    pub(crate) hierarchies: Vec<String>,
}

impl Report {
    /// Nothing yet.
    pub(crate) fn new(contestants: &[Contestant], ground: &Ground, rounds: (usize, usize)) -> Report {
        let about = about(contestants, ground, rounds);
        Report { rows: Vec::new(), figures: Vec::new(), about, hierarchies: Vec::new() }
    }

    /// Whether creates were measured.
    pub(crate) fn has_creates(&self) -> bool {
        self.rows.iter().any(|row| (row.case, row.part) == calls::CREATE)
    }

    /// Prints the rows of a case and keeps them.
    pub(crate) fn add(&mut self, rows: Vec<Row>) {
        print!("{}", tables(&rows, &rows));
        self.rows.extend(rows);
    }

    /// Prints a figure and keeps it.
    pub(crate) fn add_figures(&mut self, figures: Vec<Figure>) {
        print!("{}", figure_table(&figures));
        self.figures.extend(figures);
    }

    /// Prints which targets are met.
    pub(crate) fn finish(&self) {
        print!("\n{}", targets::table(self));
    }

    /// Writes RESULTS.md and its picture, under another name for the view of version 2.
    pub(crate) fn write(&self, v2: bool) {
        let home = Path::new(env!("CARGO_MANIFEST_DIR"));
        let [results, bars] =
            if v2 { ["RESULTS-v2.md", "results-v2.svg"] } else { ["RESULTS.md", "results.svg"] };
        let mut text = format!("{HOW}![times]({bars})\n\n");
        text.push_str(&self.about);
        write!(
            text,
            "\n## Targets\n\n{}\n## Times\n{}",
            targets::table(self),
            tables(&self.rows, &self.rows)
        )
        .unwrap();
        text.push_str(&calls::table(&self.rows, &self.hierarchies));
        if !self.figures.is_empty() {
            write!(text, "\n## Sizes\n{}", figure_table(&self.figures)).unwrap();
        }
        std::fs::write(home.join(results), text).unwrap();
        std::fs::write(home.join(bars), plot::bars(&self.rows)).unwrap();
        println!("written: {}", home.join(results).display());
    }
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The machine, as rows of a table: processors and kernel.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "| machine | {processors} × {} |\n| kernel | {} |\n",
        model.unwrap_or("?"),
        said("uname", &["-r"])
    )
}

/// What else the machine has to do, and what is measured, as rows. Times mean less on a busy machine; counts
/// do not.
fn load_and_commit() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let changed = !said("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
    format!(
        "| load before | {} |\n| commit | {}{} |\n",
        load.split(' ').next().unwrap_or_default(),
        said("git", &["rev-parse", "--short=10", "HEAD"]),
        if changed { " and changes" } else { "" },
    )
}

fn about(contestants: &[Contestant], ground: &Ground, (warm, cold): (usize, usize)) -> String {
    let versions: Vec<String> =
        contestants.iter().map(|who| format!("{} ({})", who.name, who.version)).collect();
    format!(
        "| | |\n|---|---|\n{}| control groups | {} |\n{}| rounds | {warm} warm, {cold} cold |\n| contestants | {} |\n",
        machine(),
        ground.layout,
        load_and_commit(),
        versions.join(", "),
    )
}

/// The beginning of SHIM.md's table: no contestants but the distribution's runc.
pub(crate) fn about_machine() -> String {
    let runc = said("runc", &["--version"]);
    let runc = runc.lines().next().unwrap_or("?");
    format!("| | |\n|---|---|\n{}{}| runc | {runc} |\n", machine(), load_and_commit())
}

/// The beginning of RESULTS.md.
const HOW: &str = "\
# Results

Written by `integration/bench/run.sh`, which runs all contestants in turn in each round, on one processor and one tmpfs.
Times are in milliseconds. *Cold* is after a pause of 60 ms: what the kernel has put off, above all RCU grace periods, is
over by then, and whoever makes it wait for another one waits some 10 ms, now and then by luck only for its end. × is the
ratio to Corten's times: of the least ones warm, of the medians cold. CPU time and page faults: the middle of the warm rounds.
System calls and peak memory (of one process) are counted in a run of their own; those of the container's program are not
counted, and `/bin/true` is [`true.c`](true.c), against musl as the floor is: Debian's busybox takes up to half a millisecond
to begin, in everybody's time. All programs are copies that were written as an installation writes them: a linker does it in
small pieces, and the kernel maps them piece by piece.

`floor` is [`floor.c`](floor.c): the same kernel work in a straight line, with no configuration, checks or state. What its
containers see is compared with what Corten's see before each run.

";

const HEAD: &str = "\
|                      |    warm |  median |     p95 |     × |    cold |  median |     × |    CPU |  faults |   calls |      kB |
|----------------------|--------:|--------:|--------:|------:|--------:|--------:|------:|-------:|--------:|--------:|--------:|
";

/// The rows as tables with headings; `all` has the rows that ratios refer to.
fn tables(rows: &[Row], all: &[Row]) -> String {
    let mut text = String::new();
    let mut before = None;
    for row in rows {
        let key = (row.case, row.part);
        if before != Some(key) {
            before = Some(key);
            let (open, part) = if row.part.is_empty() { ("", "") } else { (": ", row.part) };
            write!(text, "\n### {}{open}{part}\n\n{HEAD}", row.title).unwrap();
        }
        let base = all.iter().find(|other| (other.case, other.part) == key).unwrap_or(row);
        text.push_str(&line(row, base));
    }
    text
}

fn line(row: &Row, base: &Row) -> String {
    let (warm, cold) = (Row::times(&row.warm), Row::times(&row.cold));
    let share = |times: &[f64], percent: usize| times.get(times.len() * percent / 100).copied();
    let warm_base = Row::times(&base.warm);
    let ratio = |times: &[f64], base: &[f64]| Some(times.first()? / base.first()?);
    // Of a client of an engine it would say nothing.
    let used = |figure: f64| (figure > 0.0).then_some(figure);
    let number = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.2}"));
    let counted = |figure: fn(&crate::measure::Counted) -> u64| {
        row.counted.as_ref().map_or(String::new(), |counted| figure(counted).to_string())
    };
    format!(
        "| {:20} | {:>7} | {:>7} | {:>7} | {:>5} | {:>7} | {:>7} | {:>5} | {:>6} | {:>7} | {:>7} | {:>7} |\n",
        row.who,
        number(share(&warm, 0)),
        number(share(&warm, 50)),
        number(share(&warm, 95)),
        number(ratio(&warm, &warm_base)),
        number(share(&cold, 0)),
        number(share(&cold, 50)),
        number(Row::middle_time(&row.cold).zip(Row::middle_time(&base.cold)).map(|(one, other)| one / other)),
        number(used(row.middle(|sample| sample.usage.cpu.as_secs_f64() * 1000.0))),
        used(row.middle(|sample| f64::from(u32::try_from(sample.usage.faults).unwrap_or(u32::MAX))))
            .map_or(String::new(), |faults| faults.to_string()),
        counted(crate::measure::Counted::calls),
        counted(|counted| counted.peak),
    )
}

fn figure_table(figures: &[Figure]) -> String {
    let mut text = String::new();
    for figure in figures {
        write!(text, "\n### {}\n\n| | |\n|---|--:|\n", figure.title).unwrap();
        for (who, value) in &figure.values {
            let value =
                value.map_or("none".to_owned(), |value| format!("{}", (value * 100.0).round() / 100.0));
            writeln!(text, "| {who} | {value} |").unwrap();
        }
    }
    text
}
