//! The table.

use crate::arguments::Arguments;
use crate::contestant::Contestant;
use crate::series::Row;

/// What has been measured so far.
pub(crate) struct Report {
    rows: Vec<Row>,
    first: String,
}

impl Report {
    /// Nothing yet.
    pub(crate) fn new(contestants: &[Contestant], _arguments: &Arguments) -> Report {
        Report { rows: Vec::new(), first: contestants[0].name.clone() }
    }

    /// Prints the rows of a case and keeps them.
    pub(crate) fn add(&mut self, rows: Vec<Row>) {
        for line in table(&rows, &self.first) {
            println!("{line}");
        }
        self.rows.extend(rows);
    }

    /// Writes the results.
    pub(crate) fn finish(&self) {}
}

/// The head of [`table`].
const HEAD: &str = "                      |   warm: min   median      p95   x first |   cold: min   median   x first |  CPU ms   faults     kB    calls";

fn table(rows: &[Row], first: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut part = None;
    for row in rows {
        if part != Some(row.part) {
            part = Some(row.part);
            let title = if row.part.is_empty() { row.title } else { row.part };
            lines.push(format!("\n{title}\n{HEAD}"));
        }
        let base = rows.iter().find(|other| other.who == first && other.part == row.part).unwrap_or(row);
        lines.push(line(row, base));
    }
    lines
}

fn line(row: &Row, base: &Row) -> String {
    let warm = Row::times(&row.warm);
    let cold = Row::times(&row.cold);
    let at = |times: &[f64], share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1))).copied();
    let text = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
    let ratio = |times: &[f64], base: &[f64], share| Some(at(times, share)? / at(base, share)?);
    let cpu = row.middle(|sample| sample.usage.cpu.as_secs_f64() * 1000.0);
    let faults = row.middle(|sample| sample.usage.faults as f64);
    format!(
        "  {:20}| {:>11} {:>8} {:>8} {:>9} | {:>11} {:>8} {:>9} | {:>7} {:>8} {:>6} {:>8}",
        row.who,
        text(at(&warm, 0)),
        text(at(&warm, 50)),
        text(at(&warm, 95)),
        text(ratio(&warm, &Row::times(&base.warm), 0)),
        text(at(&cold, 0)),
        text(at(&cold, 50)),
        text(ratio(&cold, &Row::times(&base.cold), 50)),
        text(Some(cpu)),
        faults,
        row.counted.map_or("-".to_owned(), |counted| counted.peak.to_string()),
        row.counted.map_or("-".to_owned(), |counted| counted.calls.to_string()),
    )
}
