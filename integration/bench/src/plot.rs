//! The picture of the results: bars, as SVG that shows on light and dark pages.

use crate::series::Row;
use std::fmt::Write;

/// The cases in the picture, with their names there.
const CASES: [(&str, &str); 5] = [
    ("run", "run"),
    ("run-docker", "run, as Docker has it"),
    ("life", "create, start, delete"),
    ("exec-docker", "exec with seccomp"),
    ("state", "state"),
];

/// Contestants in order, each with its colour; others are grey.
const COLOURS: [(&str, &str); 4] =
    [("corten", "#b7410e"), ("crun", "#4a7fb5"), ("runc", "#7a9e6b"), ("floor", "#9a9a9a")];

const WIDTH: f64 = 760.0;
const LEFT: f64 = 70.0;
const BAR: f64 = 13.0;
const ROOM: f64 = 90.0;

/// The least times, warm and cold: a group a case, a bar a contestant, the cold one paler behind it.
pub(crate) fn bars(rows: &[Row]) -> String {
    let mut body = String::new();
    let mut y = 40.0;
    for (case, title) in CASES {
        let group: Vec<&Row> = rows.iter().filter(|row| row.case == case && row.part.is_empty()).collect();
        let least = |samples| Row::times(samples).first().copied().unwrap_or_default();
        let most = group.iter().flat_map(|row| [least(&row.warm), least(&row.cold)]).fold(0.0, f64::max);
        if group.is_empty() || most == 0.0 {
            continue;
        }
        writeln!(body, "<text x=\"8\" y=\"{}\" class=\"t\">{title}</text>", y + 4.0).unwrap();
        y += 12.0;
        for row in group {
            let colour = COLOURS
                .iter()
                .find(|(name, _)| row.who.starts_with(name))
                .map_or("#777", |(_, colour)| *colour);
            let scale = (WIDTH - LEFT - ROOM) / most;
            let (warm, cold) = (least(&row.warm), least(&row.cold));
            let middle = y + BAR - 3.0;
            writeln!(
                body,
                "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                row.who
            )
            .unwrap();
            for (value, opacity) in [(cold, 0.35), (warm, 1.0)] {
                let width = value * scale;
                writeln!(
                    body,
                    "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\" opacity=\"{opacity}\"/>",
                    BAR - 2.0
                )
                .unwrap();
            }
            let end = LEFT + warm.max(cold) * scale + 6.0;
            let cold = if cold > 0.0 { format!(" / {cold:.2}") } else { String::new() };
            writeln!(body, "<text x=\"{end:.1}\" y=\"{middle}\">{warm:.2}{cold}</text>").unwrap();
            y += BAR;
        }
        y += 16.0;
    }
    let head = "milliseconds, least of all rounds: warm / cold (after 60 ms of rest, paler)";
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" height=\"{y}\">\n\
         <style>text{{font:11px sans-serif;fill:#777}}.t{{font-weight:bold;font-size:12px}}</style>\n\
         <text x=\"8\" y=\"16\">{head}</text>\n{body}</svg>\n"
    )
}
