//! Rounds of a case: all contestants in turn in each round, so that what else the machine does hits them
//! alike.

use crate::arguments::Arguments;
use crate::cases::{Case, Scene};
use crate::contestant::Contestant;
use crate::ground::Ground;
use crate::measure::{self, Counted, Sample};
use std::time::Duration;

/// How long the machine is left alone before a command in the cold rounds: longer than an RCU grace period
/// takes to be over.
pub(crate) const GAP: Duration = Duration::from_millis(60);

/// Rounds that are not counted, of cases whose rounds are short.
const WARM_UP: usize = 3;

/// All that was measured of one contestant in one part of a case.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// The case.
    pub(crate) case: &'static str,
    /// What the case is.
    pub(crate) title: &'static str,
    /// The part of it; empty for the whole.
    pub(crate) part: &'static str,
    /// Whose.
    pub(crate) who: String,
    /// Without a gap.
    pub(crate) warm: Vec<Sample>,
    /// With a gap before each command.
    pub(crate) cold: Vec<Sample>,
    /// System calls and memory.
    pub(crate) counted: Option<Counted>,
}

impl Row {
    /// Wall times in milliseconds, sorted.
    pub(crate) fn times(samples: &[Sample]) -> Vec<f64> {
        let mut times: Vec<f64> = samples.iter().map(|sample| sample.wall.as_secs_f64() * 1000.0).collect();
        times.sort_by(f64::total_cmp);
        times
    }

    /// The wall time in the middle, in milliseconds.
    pub(crate) fn middle_time(samples: &[Sample]) -> Option<f64> {
        let times = Self::times(samples);
        times.get(times.len() / 2).copied()
    }

    /// The middle of a figure of the warm samples.
    pub(crate) fn middle(&self, figure: impl Fn(&Sample) -> f64) -> f64 {
        let mut all: Vec<f64> = self.warm.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or_default()
    }
}

/// Runs one case.
pub(crate) fn run(
    case: &Case,
    arguments: &Arguments,
    ground: &Ground,
    contestants: &[Contestant],
) -> Vec<Row> {
    eprintln!("{}: {}", case.name, case.title);
    measure::pin(if case.parallel { None } else { arguments.cpu });
    let mut scenes: Vec<Scene<'_>> = contestants
        .iter()
        .filter(|who| case.floor || !who.floor)
        .map(|who| Scene { ground, who, name: format!("{}-0", who.name), gap: Duration::ZERO })
        .collect();
    scenes.iter().for_each(case.before);
    let mut rows = Vec::new();
    let warm = arguments.rounds.div_ceil(case.every);
    let warm_up = if case.every == 1 { WARM_UP } else { 0 };
    for round in 0..warm_up + warm {
        let counts = round >= warm_up;
        turn(
            case,
            &scenes,
            round,
            |row, sample| {
                if counts {
                    row.warm.push(sample)
                }
            },
            &mut rows,
        );
    }
    for scene in &mut scenes {
        scene.gap = GAP;
    }
    for round in 0..if case.cold { arguments.cold.div_ceil(case.every) } else { 0 } {
        turn(case, &scenes, round, |row, sample| row.cold.push(sample), &mut rows);
    }
    for scene in &scenes {
        for (part, counted) in (case.count)(scene) {
            let of = |row: &&mut Row| row.part == part && row.who == scene.who.name;
            if let Some(row) = rows.iter_mut().find(of) {
                row.counted = Some(counted);
            }
        }
    }
    scenes.iter().for_each(case.after);
    // Part by part as the first contestant had them, in the order of the contestants.
    let parts: Vec<&str> = rows.iter().map(|row| row.part).collect();
    rows.sort_by_key(|row| {
        let part = parts.iter().position(|part| *part == row.part);
        (part, contestants.iter().position(|who| who.name == row.who))
    });
    rows
}

/// One round: each contestant once, beginning with another one each time.
fn turn(
    case: &Case,
    scenes: &[Scene<'_>],
    round: usize,
    mut note: impl FnMut(&mut Row, Sample),
    rows: &mut Vec<Row>,
) {
    for index in 0..scenes.len() {
        let scene = &scenes[(index + round) % scenes.len()];
        for (part, sample) in (case.round)(scene) {
            let of = |row: &Row| row.part == part && row.who == scene.who.name;
            let at = rows.iter().position(of).unwrap_or_else(|| {
                rows.push(Row {
                    case: case.name,
                    title: case.title,
                    part,
                    who: scene.who.name.clone(),
                    warm: Vec::new(),
                    cold: Vec::new(),
                    counted: None,
                });
                rows.len() - 1
            });
            note(&mut rows[at], sample);
        }
    }
}
