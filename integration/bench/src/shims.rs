//! Corten's shim beside containerd's own, side by side in one run: memory, and how long things take. Written
//! to SHIM.md.
//!
//! Each release of containerd that the machine has is started once, in namespaces of its own; both shims
//! serve it by turns. Memory hardly depends on what else the machine does; of times the least ones are
//! compared.

use crate::arguments::Arguments;
use crate::{contestant, engines, report};
use integration::shim::engine::{Engine, IMAGE, RUNTIME, Release};
use integration::shim::pod::program;
use integration::shim::{Held, Pod};
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The two shims, by the names under which ctr selects them.
const SHIMS: [&str; 2] = [RUNTIME, "io.containerd.runc.v2"];

/// Containers whose shims are measured.
const CONTAINERS: u32 = 50;

/// Processes that are executed at once.
const AT_ONCE: usize = 30;

/// Both have a moment to settle: Corten's gives memory back when it has been idle for five seconds.
const SETTLE: Duration = Duration::from_secs(8);

/// One line of a table: what, of Corten's shim and of containerd's, and the limit of the ratio; 0 for none.
struct Line {
    what: String,
    values: [f64; 2],
    at_least: f64,
    /// What Corten's may be at most, whatever the other is.
    at_most: f64,
}

/// Measures, prints and writes.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let shim = contestant::shim(arguments);
    let corten = arguments.corten.clone().unwrap_or_else(|| contestant::released("corten"));
    let mut text = format!("{HOW}{}", report::about_machine());
    let mut missed = Vec::new();
    for release in Release::ALL {
        let Some(mut engine) = Engine::containerd(release) else {
            println!("no containerd ({release:?})");
            continue;
        };
        engines::equip(&engine, &corten, &shim, false);
        let version = engine.run(&["containerd", "--version"]).out;
        let version = version.split_whitespace().nth(2).unwrap_or("?").to_owned();
        eprintln!("containerd {version}");
        write!(text, "\n## containerd {version}\n\n{HEAD}").unwrap();
        let lines = [memory(&mut engine), pods(&mut engine), times(&engine, arguments)];
        for line in lines.into_iter().flatten() {
            text.push_str(&table_line(&line, &mut missed));
        }
    }
    text.push_str(&executions(arguments.execs, &mut missed));
    text.push_str(&verdict(&missed));
    print!("{text}");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("SHIM.md");
    std::fs::write(&file, text).unwrap();
    println!("written: {}", file.display());
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn table_line(line: &Line, missed: &mut Vec<String>) -> String {
    let [ours, theirs] = line.values;
    let ratio = theirs / ours;
    let limit = match line.at_least {
        limit if limit > 0.0 => {
            if ratio < limit {
                missed.push(format!("{}: × {ratio:.2} is less than × {limit}", line.what));
            }
            format!("{limit}")
        }
        _ => String::new(),
    };
    if line.at_most > 0.0 && ours > line.at_most {
        missed.push(format!("{}: {ours:.1} is more than {}", line.what, line.at_most));
    }
    format!("| {} | {ours:.1} | {theirs:.1} | {ratio:.2} | {limit} |\n", line.what)
}

fn start(engine: &Engine, shim: &str, id: &str, group: Option<&str>) {
    let group = group.map(|group| format!("io.containerd.runc.v2.group={group}"));
    let mut words = vec!["run", "-d", "--runtime", shim];
    words.extend(group.iter().flat_map(|group| ["--annotation", group]));
    words.extend([IMAGE, id, "sleep", "600"]);
    engine.ctr(&words).ok();
}

fn remove(engine: &Engine, names: &[String]) {
    for name in names {
        engine.ctr(&["task", "rm", "-f", name]);
        engine.ctr(&["container", "rm", name]);
    }
}

/// The mean of what some shims hold: resident memory, their share of it, memory of their own, threads.
fn mean(shims: &[i32]) -> [f64; 4] {
    let mut sums = [0; 4];
    for shim in shims {
        let held = Held::of(*shim);
        let values = [held.resident, held.share, held.dirty, held.threads as u64];
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    }
    sums.map(|sum| f64::from(u32::try_from(sum).unwrap()) / shims.len() as f64)
}

/// One shim for each container.
fn memory(engine: &mut Engine) -> Vec<Line> {
    eprintln!("  memory of {CONTAINERS} shims");
    let all = SHIMS.map(|shim| {
        let names: Vec<String> = (0..CONTAINERS).map(|number| format!("m{number}")).collect();
        names.iter().for_each(|name| start(engine, shim, name, None));
        std::thread::sleep(SETTLE);
        let shims = engine.shims();
        assert_eq!(shims.len(), names.len(), "one shim for each container");
        let mean = mean(&shims);
        remove(engine, &names);
        mean
    });
    let what = ["resident memory, kB", "share of memory (PSS), kB", "memory of its own, kB", "threads"];
    let of = |index: usize| Line {
        what: format!("a shim of one container, mean of {CONTAINERS}: {}", what[index]),
        values: all.map(|values| values[index]),
        at_least: if index < 3 { 8.0 } else { 0.0 },
        at_most: [1500.0, 0.0, 300.0, 1.0][index],
    };
    (0..4).map(of).collect()
}

/// One shim for all containers, as in a pod.
fn pods(engine: &mut Engine) -> Vec<Line> {
    eprintln!("  memory of a pod");
    let all = SHIMS.map(|shim| {
        let names: Vec<String> = (0..CONTAINERS).map(|number| format!("p{number}")).collect();
        let measured = |engine: &Engine| {
            std::thread::sleep(SETTLE);
            let shims = engine.shims();
            assert_eq!(shims.len(), 1, "one shim for the pod");
            Held::of(shims[0])
        };
        start(engine, shim, &names[0], Some("pod"));
        let one = measured(engine);
        names[1..].iter().for_each(|name| start(engine, shim, name, Some("pod")));
        let many = measured(engine);
        remove(engine, &names);
        let growth =
            |of: fn(Held) -> u64| of(many).saturating_sub(of(one)) as f64 / f64::from(CONTAINERS - 1);
        [many.resident as f64, many.dirty as f64, growth(|held| held.resident), growth(|held| held.dirty)]
    });
    let what = ["resident memory, kB", "memory of its own, kB"];
    let each =
        ["growth of resident memory for each further container, kB", "growth of its own memory for each, kB"];
    let of = |(index, what): (usize, &&str)| Line {
        what: format!("a shim of {CONTAINERS} containers: {what}"),
        values: all.map(|values| values[index]),
        at_least: 0.0,
        at_most: if index < 2 { 0.0 } else { 50.0 },
    };
    what.iter().chain(&each).enumerate().map(of).collect()
}

fn timed(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64() * 1000.0
}

/// Adds the time of one round of some work with each shim, which of them goes first by turns.
fn round(number: usize, times: &mut [Vec<f64>; 2], work: impl Fn(usize)) {
    for index in if number.is_multiple_of(2) { [0, 1] } else { [1, 0] } {
        let time = timed(|| work(index));
        // The first round finds nothing in the page cache.
        if number > 0 {
            times[index].push(time);
        }
    }
}

fn times(engine: &Engine, arguments: &Arguments) -> Vec<Line> {
    let rounds = arguments.rounds.div_ceil(2);
    let live = ["live0", "live1"];
    live.iter().zip(SHIMS).for_each(|(name, shim)| start(engine, shim, name, None));
    let [mut run, mut exec, mut many] = [const { [Vec::new(), Vec::new()] }; 3];
    eprintln!("  ctr run --rm, ctr task exec");
    for number in 0..=rounds {
        round(number, &mut run, |index| {
            let id = format!("r{number}-{index}");
            engine.ctr(&["run", "--rm", "--runtime", SHIMS[index], IMAGE, &id, "true"]).ok();
        });
        round(number, &mut exec, |index| {
            engine.ctr(&["task", "exec", "--exec-id", &format!("e{number}"), live[index], "true"]).ok();
        });
    }
    eprintln!("  {AT_ONCE} execs at once");
    for number in 0..=rounds.div_ceil(6) {
        round(number, &mut many, |index| {
            std::thread::scope(|scope| {
                for process in 0..AT_ONCE {
                    let id = format!("p{number}-{process}");
                    let live = live[index];
                    scope.spawn(move || engine.ctr(&["task", "exec", "--exec-id", &id, live, "true"]).ok());
                }
            });
        });
    }
    remove(engine, &live.map(str::to_owned));
    let at_once = format!("{AT_ONCE} × `ctr task exec` at once");
    let of = |(what, times): (&str, [Vec<f64>; 2])| {
        let sorted = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times
        });
        let pick = |at: fn(&[f64]) -> f64| [at(&sorted[0]), at(&sorted[1])];
        let line = |word: &str, values| Line {
            what: format!("{what}: {word}, ms"),
            values,
            at_least: 1.0,
            at_most: 0.0,
        };
        [line("least", pick(|times| times[0])), line("median", pick(|times| times[times.len() / 2]))]
    };
    [("`ctr run --rm … true`", run), ("`ctr task exec … true`", exec), (&at_once, many)]
        .into_iter()
        .flat_map(of)
        .collect()
}

/// What a shim holds while it executes one process after the other.
fn executions(count: usize, missed: &mut Vec<String>) -> String {
    eprintln!("{count} processes one after the other");
    let mut pod = Pod::new(&["sleep", "86400"]);
    pod.run(0);
    let shim = pod.shim_pid();
    let mut text = format!(
        "\n## {count} processes, one after the other\n\nExecuted over ttrpc by {}: by turns with FIFOs, with a terminal and with neither.\n\n",
        program().file_name().unwrap_or_default().display()
    );
    text.push_str("| processes so far | memory of its own, kB | anonymous memory, kB | resident, kB | descriptors | threads | children | seconds |\n|--:|--:|--:|--:|--:|--:|--:|--:|\n");
    let begun = Instant::now();
    let mut seen: Option<Held> = None;
    for number in 0..=count {
        if number > 0 {
            pod.exec_once(number);
        }
        let step = (count / 10).max(1);
        if number % step == 0 && number > 0 {
            // The last exit is reaped and its descriptors are closed a moment after the answer.
            std::thread::sleep(Duration::from_millis(200));
            let held = Held::of(shim);
            let seconds = begun.elapsed().as_secs();
            writeln!(
                text,
                "| {number} | {} | {} | {} | {} | {} | {} | {seconds} |",
                held.dirty, held.anonymous, held.resident, held.descriptors, held.threads, held.children
            )
            .unwrap();
            let before = *seen.get_or_insert(held);
            if held.anonymous > before.anonymous + 32 || held.counts() != before.counts() {
                missed.push(format!("after {number} processes {held:?}, before {before:?}"));
            }
        }
    }
    text
}

fn verdict(missed: &[String]) -> String {
    match missed {
        [] => "\nEvery target is met.\n".to_owned(),
        missed => missed.iter().fold("\nNot met:\n\n".to_owned(), |text, line| format!("{text}- {line}\n")),
    }
}

/// The beginning of the file.
const HOW: &str = "\
# The shim beside containerd's

Written by `integration/bench/run.sh --shims`: containerd-shim-corten-v2 with its built-in runtime, and the containerd-shim-runc-v2
of the same containerd with the distribution's runc, by turns in one run. Targets: eight times less memory, and faster in everything
(the last column is the least ratio); of one shim, 1500 kB resident, 300 kB of its own, 50 kB for each further container; constant
over any number of executed processes.

";

const HEAD: &str = "\
| | Corten's | containerd's | × | at least |
|---|--:|--:|--:|--:|
";
