//! Corten beside other runtimes and beside the floor, in one interleaved run: `integration/bench/run.sh
//! --help`.
//!
//! | module | what it holds |
//! |---|---|
//! | [`arguments`] | the command line |
//! | [`ground`] | a mount namespace, a tmpfs and control groups of the bench's own; bundles |
//! | [`contestant`] | a runtime or the floor, and how its verbs are called |
//! | [`measure`] | one command: time, faults, memory, system calls |
//! | [`cases`] | what is measured: one command at a time |
//! | [`crowds`] | what is measured: many containers |
//! | [`figures`] | what is no time: sizes, memory limits |
//! | [`series`] | rounds of a case, interleaved, warm and cold |
//! | [`engines`] | what is measured: through containerd and Docker |
//! | [`shims`] | Corten's shim beside containerd's: SHIM.md |
//! | [`compare`] | what the floor's containers see beside what Corten's see |
//! | [`report`], [`targets`], [`calls`], [`plot`] | the tables, RESULTS.md and the picture |
//! | [`picture`] | a trace of Corten as a picture |
//! | [`sys`] | system calls that neither the standard library nor nix wraps |
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![deny(unsafe_code)]

mod arguments;
mod calls;
mod cases;
mod compare;
mod compiler;
mod contestant;
mod crowds;
mod engines;
mod figures;
mod ground;
mod hierarchies;
mod measure;
mod picture;
mod plot;
mod report;
mod series;
mod shims;
#[allow(unsafe_code)]
mod sys;
mod targets;

use arguments::Arguments;
use contestant::Contestant;
use ground::Ground;
use std::process::{Command, ExitCode};

/// Set for the process that measures; the one that cleans up after it has started it.
const INNER: &str = "CORTEN_BENCH_GROUND";

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    if let Some(trace) = &arguments.picture {
        print!("{}", picture::of(trace));
        return ExitCode::SUCCESS;
    }
    match std::env::var_os(INNER) {
        Some(directory) => inner(&arguments, directory.as_ref()),
        None => outer(&arguments),
    }
}

/// Starts the process that measures, and takes away what it has made, however it ends.
fn outer(arguments: &Arguments) -> ExitCode {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("bench: run it as root");
        return ExitCode::from(2);
    }
    let name = ground::name(std::process::id());
    let directory = std::env::temp_dir().join(&name);
    std::fs::create_dir_all(&directory).unwrap();
    sys::pass_signals_on();
    let own = std::env::current_exe().unwrap();
    let mut inner = Command::new(own);
    inner.args(std::env::args_os().skip(1)).env(INNER, &directory);
    // Where the harness of engines looks for the shim.
    inner.env("SHIM", contestant::shim(arguments));
    let mut inner = inner.spawn().unwrap();
    sys::passed_on_to(inner.id().cast_signed());
    let status = inner.wait().unwrap();
    ground::clear(&name);
    let _none = std::fs::remove_dir_all(contestant::programs(&directory));
    std::fs::remove_dir(&directory).unwrap_or_else(|error| eprintln!("{}: {error}", directory.display()));
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn inner(arguments: &Arguments, directory: &std::path::Path) -> ExitCode {
    if arguments.shims {
        return shims::run(arguments);
    }
    let ground = Ground::new(directory, arguments.v2);
    let contestants = Contestant::all(arguments, &ground);
    if !compare::same(&ground, &contestants) {
        return ExitCode::FAILURE;
    }
    if arguments.compare {
        return ExitCode::SUCCESS;
    }
    let mut report = report::Report::new(&contestants, &ground, (arguments.rounds, arguments.cold));
    for case in cases::all().filter(|case| arguments.wants(case)) {
        report.add(series::run(case, arguments, &ground, &contestants));
    }
    if arguments.wants_named("figures") {
        report.add_figures(figures::all(&ground, &contestants));
    }
    if arguments.wants_named("engines") {
        let measured = engines::all(arguments, &contestants[0].path);
        report.add(measured.rows);
        report.add_figures(measured.figures);
    }
    if report.has_creates() {
        report.hierarchies = hierarchies::trace(&ground, &contestants);
    }
    report.finish();
    if arguments.write {
        report.write(arguments.v2);
        if !arguments.v2 {
            measure::pin(arguments.cpu);
            let picture = picture::of_a_start(&ground, &contestants[0]);
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/start.svg"), picture).unwrap();
        }
    }
    ExitCode::SUCCESS
}
