//! A trace of `corten --trace` as a picture: a row a step, the runtime and the container's process on one
//! clock.

use crate::contestant::Contestant;
use crate::ground::{Ground, Shape};
use crate::measure;
use serde_json::Value;
use std::fmt::Write;
use std::path::Path;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 300.0;
const ROW: f64 = 15.0;

/// A step.
struct Step {
    name: String,
    /// 1: the runtime, 2: the container's process.
    who: u64,
    /// Microseconds from the first step on.
    begin: f64,
    end: f64,
    /// Steps that it is a part of.
    depth: usize,
}

/// Steps shorter than this share of the whole are left out when they are part of another.
const LEAST: f64 = 0.004;

/// How many starts are traced to draw one.
const STARTS: usize = 40;

/// The picture of a start: of the fastest of some, so that it shows what a start takes and not what else the
/// machine does.
///
/// # Panics
/// When Corten fails.
pub(crate) fn of_a_start(ground: &Ground, corten: &Contestant) -> String {
    let file = ground.directory.join("trace.json");
    ground.bundle("traced", Shape::Docker, &["/bin/true"], |_| {});
    let traced = (0..STARTS).map(|_| {
        let sample = measure::run(&mut corten.traced_run(ground, "traced", &file));
        (sample.wall, of(&file))
    });
    traced.min_by_key(|(wall, _)| *wall).map(|(_, picture)| picture).unwrap_or_default()
}

/// The picture of a trace file.
///
/// # Panics
/// When the file is no trace.
pub(crate) fn of(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let steps = steps(&serde_json::from_str(&text).expect("a trace is JSON"));
    let whole = steps.iter().map(|step| step.end).fold(0.0, f64::max);
    let shown: Vec<&Step> =
        steps.iter().filter(|step| step.depth == 0 || (step.end - step.begin) / whole >= LEAST).collect();
    draw(&shown, whole)
}

/// The steps by their beginning, with what they are part of.
fn steps(events: &Value) -> Vec<Step> {
    let events = events.as_array().expect("a trace is a list");
    let number = |event: &Value, key: &str| event[key].as_f64().unwrap_or_default();
    let mut steps = Vec::new();
    let mut open = None;
    for event in events {
        let name = event["name"].as_str().unwrap_or_default().to_owned();
        let (who, at) = (event["tid"].as_u64().unwrap_or_default(), number(event, "ts"));
        match event["ph"].as_str() {
            Some("X") => {
                steps.push(Step { name, who, begin: at, end: at + number(event, "dur"), depth: 0 });
            }
            Some("B") => open = Some(at),
            Some("E") => steps.push(Step { name, who, begin: open.unwrap_or(at), end: at, depth: 0 }),
            _ => {}
        }
    }
    let first = steps.iter().map(|step| step.begin).fold(f64::INFINITY, f64::min);
    for step in &mut steps {
        step.begin -= first;
        step.end -= first;
    }
    // What begins at the same time and lasts longer is the whole.
    steps.sort_by(|one, other| one.begin.total_cmp(&other.begin).then(other.end.total_cmp(&one.end)));
    for at in 0..steps.len() {
        let (before, rest) = steps.split_at_mut(at);
        let step = &mut rest[0];
        step.depth = before
            .iter()
            .filter(|other| other.who == step.who && other.end >= step.end && other.end > step.begin)
            .count();
    }
    steps
}

fn draw(steps: &[&Step], whole: f64) -> String {
    let scale = (WIDTH - LEFT - 60.0) / whole;
    let mut body = String::new();
    let mut y = 30.0;
    for step in steps {
        let (colour, class) = if step.who == 1 { ("#4a7fb5", "r") } else { ("#b7410e", "c") };
        let opacity = if step.depth == 0 { 1.0 } else { 0.55 };
        let indent = 12.0 * f64::from(u32::try_from(step.depth).unwrap_or_default());
        let x = LEFT + step.begin * scale;
        let width = ((step.end - step.begin) * scale).max(1.0);
        let name = step.name.replace('&', "&amp;").replace('<', "&lt;");
        writeln!(
            body,
            "<text x=\"{}\" y=\"{}\" class=\"{class}\">{name}</text><rect x=\"{x:.1}\" y=\"{}\" width=\"{width:.1}\" \
             height=\"{}\" fill=\"{colour}\" opacity=\"{opacity}\"/><text x=\"{:.1}\" y=\"{}\">{:.0}</text>",
            8.0 + indent,
            y + 11.0,
            y + 2.0,
            ROW - 4.0,
            x + width + 4.0,
            y + 11.0,
            step.end - step.begin,
        )
        .unwrap();
        y += ROW;
    }
    let mut grid = String::new();
    let mut tick = 0.0;
    while tick <= whole {
        let x = LEFT + tick * scale;
        writeln!(
            grid,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"24\" y2=\"{y}\" stroke=\"#777\" opacity=\"0.25\"/>\
             <text x=\"{x:.1}\" y=\"20\" text-anchor=\"middle\">{} ms</text>",
            tick / 1000.0
        )
        .unwrap();
        tick += if whole > 4000.0 { 1000.0 } else { 500.0 };
    }
    let height = y + 8.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\">\n\
         <style>text{{font:11px sans-serif;fill:#777}}.r{{fill:#4a7fb5}}.c{{fill:#b7410e}}</style>\n\
         <text x=\"8\" y=\"20\"><tspan class=\"r\">the runtime</tspan>, <tspan class=\"c\">the container's process</tspan>; µs</text>\n\
         {grid}{body}</svg>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_parts_of_those_of_the_same_process_that_last_longer() {
        let event = |kind: &str, tid: u64, name: &str, ts: f64, dur: f64| serde_json::json!({ "ph": kind, "tid": tid, "name": name, "ts": ts, "dur": dur });
        let events = serde_json::json!([
            event("M", 1, "thread_name", 0.0, 0.0),
            event("B", 1, "again", 1000.0, 0.0),
            event("E", 1, "again", 1200.0, 0.0),
            event("X", 1, "whole", 1300.0, 500.0),
            event("X", 1, "part", 1300.0, 100.0),
            event("X", 2, "of the child", 1350.0, 20.0),
        ]);
        let found: Vec<(String, f64, f64, usize)> =
            steps(&events).into_iter().map(|step| (step.name, step.begin, step.end, step.depth)).collect();
        let expected = [
            ("again", 0.0, 200.0, 0),
            ("whole", 300.0, 800.0, 0),
            ("part", 300.0, 400.0, 1),
            ("of the child", 350.0, 370.0, 0),
        ];
        assert_eq!(found, expected.map(|(name, begin, end, depth)| (name.to_owned(), begin, end, depth)));
    }
}
