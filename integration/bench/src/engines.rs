//! End to end: `ctr run --rm` and `docker run --rm`, and the memory of shims.
//!
//! An engine is containerd or dockerd of the distribution, in namespaces of its own; there is one with
//! Corten's shim and runtime, and one with those that the distribution has.

use crate::arguments::Arguments;
use crate::figures::Figure;
use crate::measure::{self, Sample};
use crate::series::Row;
use integration::shim::engine::{Engine, IMAGE, RUNTIME, Release};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

/// Containers whose shims are measured.
const CONTAINERS: usize = 50;

/// The two shims, by the names under which ctr selects them, and as the tables call them.
const SHIMS: [(&str, &str); 2] =
    [("corten and its shim", RUNTIME), ("runc and its shim", "io.containerd.runc.v2")];

/// What was measured through engines.
pub(crate) struct Measured {
    /// Times.
    pub(crate) rows: Vec<Row>,
    /// Memory.
    pub(crate) figures: Vec<Figure>,
}

/// Everything, or a line that says what is missing.
pub(crate) fn all(arguments: &Arguments, corten: &Path) -> Measured {
    let shim = integration::shim::pod::program();
    let mut measured = Measured { rows: Vec::new(), figures: Vec::new() };
    if !shim.is_file() {
        println!("no engines: needs {}", shim.display());
        return measured;
    }
    measure::pin(None);
    let rounds = arguments.rounds.div_ceil(6);
    match Engine::containerd(Release::Distribution) {
        Some(mut engine) => {
            equip(&engine, corten, &shim, false);
            measured.rows.extend(containerd(&engine, rounds));
            measured.figures.push(memory(&mut engine));
        }
        None => println!("no ctr: needs containerd"),
    }
    let entry = r#"{"path": "BIN/corten"}"#;
    let engines = [true, false].map(|ours| {
        let engine = Engine::docker(Release::Distribution, entry)?;
        equip(&engine, corten, &shim, ours);
        Some(engine)
    });
    match engines {
        [Some(ours), Some(theirs)] => measured.rows.extend(docker(&ours, &theirs, rounds)),
        _ => println!("no docker: needs docker.io"),
    }
    measured
}

/// Puts the release builds where the harness has put what it tests, or the shim of the engine's release in
/// the drop-in's place.
pub(crate) fn equip(engine: &Engine, corten: &Path, shim: &Path, drop_in: bool) {
    let theirs = engine.release.find("containerd-shim-runc-v2").unwrap();
    let programs = [
        ("corten", corten),
        ("containerd-shim-corten-v2", shim),
        ("containerd-shim-runc-v2", if drop_in { shim } else { &theirs }),
    ];
    for (name, program) in programs {
        let link = engine.directory.join("bin").join(name);
        let _ = fs::remove_file(&link);
        symlink(program, link).unwrap();
    }
}

fn row(case: &'static str, title: &'static str, who: &str) -> Row {
    Row { case, title, part: "", who: who.to_owned(), warm: Vec::new(), cold: Vec::new(), counted: None }
}

/// The time alone: what the client uses says nothing of the engine.
fn timed(engine: &Engine, words: &[&str]) -> Sample {
    let sample = measure::run(engine.command(words).stdout(Stdio::null()));
    Sample { wall: sample.wall, ..Sample::default() }
}

fn containerd(engine: &Engine, rounds: usize) -> Vec<Row> {
    eprintln!("ctr run --rm");
    let mut rows =
        SHIMS.map(|(who, _)| row("ctr", "ctr run --rm busybox true (containerd, on all processors)", who));
    let socket = engine.directory.join("containerd.sock").to_string_lossy().into_owned();
    for round in 0..rounds + 1 {
        for (row, (_, shim)) in rows.iter_mut().zip(SHIMS) {
            let id = format!("r{round}");
            let words = ["ctr", "-a", &socket, "run", "--rm", "--runtime", shim, IMAGE, &id, "true"];
            let sample = timed(engine, &words);
            // The first one finds nothing in the page cache.
            if round > 0 {
                row.warm.push(sample);
            }
        }
    }
    rows.into()
}

fn docker(ours: &Engine, theirs: &Engine, rounds: usize) -> Vec<Row> {
    eprintln!("docker run --rm");
    let title = "docker run --rm --network none busybox true (Docker, on all processors)";
    let mut rows = SHIMS.map(|(who, _)| row("docker", title, who));
    for round in 0..rounds + 1 {
        for (row, (engine, runtime)) in rows.iter_mut().zip([(ours, "corten"), (theirs, "runc")]) {
            let host = format!("unix://{}/docker.sock", engine.directory.display());
            let words = [
                "docker",
                "-H",
                &host,
                "run",
                "--rm",
                "--network",
                "none",
                "--runtime",
                runtime,
                "busybox",
                "true",
            ];
            let sample = timed(engine, &words);
            if round > 0 {
                row.warm.push(sample);
            }
        }
    }
    rows.into()
}

/// The memory of the shims of sleeping containers, on average.
fn memory(engine: &mut Engine) -> Figure {
    eprintln!("memory of {CONTAINERS} shims");
    let values = SHIMS.map(|(who, shim)| {
        let before = engine.shims();
        let names: Vec<String> = (0..CONTAINERS).map(|number| format!("m{number}")).collect();
        for name in &names {
            engine.ctr(&["run", "-d", "--runtime", shim, IMAGE, name, "sleep", "600"]).ok();
        }
        // Corten's gives memory back when it has been idle for five seconds.
        std::thread::sleep(std::time::Duration::from_secs(8));
        let shims: Vec<i32> = engine.shims().into_iter().filter(|pid| !before.contains(pid)).collect();
        let sum: f64 = shims.iter().map(|pid| f64::from(integration::proc::resident(*pid))).sum();
        for name in &names {
            engine.ctr(&["task", "rm", "-f", name]);
            engine.ctr(&["container", "rm", name]);
        }
        (who.to_owned(), Some(sum / f64::from(u32::try_from(shims.len()).unwrap())))
    });
    Figure {
        name: "shim",
        title: format!("resident memory of a shim, mean of {CONTAINERS}, kB"),
        values: values.into(),
    }
}
