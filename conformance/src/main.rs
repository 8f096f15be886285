//! `conformance [SUITE...]`: run the same cases on corten and on the distribution's runc and crun, and say
//! where they differ.
//!
//! Two suites are here: `runtime-tools` (the OCI validation programs) and `matrix` (one bundle on three
//! runtimes, a probe inside). Suites that need daemons or the guest are scripts in `suites/`, which are run
//! from here too. Nothing here shares a type with Corten's own crates: a mistake made there cannot be
//! repeated here.
//!
//! Exit status: 0 when every case of corten passes or is listed in `gaps.toml`; 1 when not; 2 when nothing
//! could be run. A suite that this machine has no tool-chain for is no failure: "skipped: needs X".

mod cgroups;
mod command;
mod error;
mod gaps;
mod host;
mod matrix;
mod results;
mod runtime;
mod runtime_tools;
mod scripts;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;

use error::{Error, Result};
use gaps::Gaps;
use host::Host;
use runtime::Runtime;
use scripts::Suite;

const USAGE: &str = "\
usage: conformance [OPTION]... [SUITE]...

suites: runtime-tools, matrix (default: these two), guest-cgroups, critest, critest-2, containerd,
containerd-client, docker, and podman, or all
  --case TEXT     only cases whose name contains TEXT, with the listed differences of the matrix (runtime-tools and matrix)
  --update        write these suites' sections of conformance/RESULTS.md (without --case)
  --keep          keep the working folder: outputs, bundles, reports
  --jobs N        cases at a time (default 4; most of them wait most of the time)

environment: CORTEN_BIN, RUNC_BIN, CRUN_BIN: the runtimes (default: corten beside this program, runc and crun of $PATH);
CONFORMANCE_CACHE: where validation programs are built (default /var/cache/corten-conformance);
CONFORMANCE_PROGRAMS: a folder where they already are;
CONFORMANCE_KEPT: the folder `suites` that --keep has left, to judge again what is there instead of running scripts";

struct Options {
    runtime_tools: bool,
    matrix: bool,
    scripts: Vec<&'static Suite>,
    case: Option<String>,
    update: bool,
    keep: bool,
    jobs: usize,
}

fn options() -> std::result::Result<Options, lexopt::Error> {
    use lexopt::prelude::{Long, Value, ValueExt};
    let mut options = Options {
        runtime_tools: false,
        matrix: false,
        scripts: Vec::new(),
        case: None,
        update: false,
        keep: false,
        jobs: 4,
    };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("case") => options.case = Some(arguments.value()?.string()?),
            Long("update") => options.update = true,
            Long("keep") => options.keep = true,
            Long("jobs") => options.jobs = arguments.value()?.parse()?,
            Long("help") => {
                println!("{USAGE}");
                std::process::exit(0);
            }
            Value(suite) if suite == "runtime-tools" => options.runtime_tools = true,
            Value(suite) if suite == "matrix" => options.matrix = true,
            Value(suite) if suite == "all" => {
                (options.runtime_tools, options.matrix) = (true, true);
                options.scripts = scripts::SUITES.iter().collect();
            }
            Value(suite) => match scripts::SUITES.iter().find(|known| suite == known.name) {
                Some(known) => options.scripts.push(known),
                None => return Err(Value(suite).unexpected()),
            },
            other => return Err(other.unexpected()),
        }
    }
    if !options.runtime_tools && !options.matrix && options.scripts.is_empty() {
        (options.runtime_tools, options.matrix) = (true, true);
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("conformance: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("conformance: {error}");
            ExitCode::from(2)
        }
    }
}

/// Run what was asked for; true when nothing unexpected happened.
fn run(options: &Options) -> Result<bool> {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return Ok(true);
    }
    let host = Host::look();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let gaps = Gaps::read(&folder.join("gaps.toml"))?;
    let work = work::Work::new(options.keep)?;
    let runtimes = Runtime::all(&host, &work.folder(&["launchers"])?)?;
    let filter = options.case.as_deref();

    let tools = match options.runtime_tools {
        true => runtime_tools::run(&runtimes, &host, &gaps, &folder, &work, filter, options.jobs)?,
        false => None,
    };
    let matrix = match options.matrix {
        true => matrix::run(&runtimes, &host, &gaps, &work, filter, options.jobs)?,
        false => None,
    };

    let ran = tools.as_ref().map(|report| report.outcomes.len()).into_iter();
    let ran = ran.chain(matrix.as_ref().map(|report| report.rows.len()));
    if filter.is_some() && (tools.is_some() || matrix.is_some()) && ran.sum::<usize>() == 0 {
        return Err(Error::Usage("no case of these suites has such a name".into()));
    }

    let mut good = true;
    let mut sections = Vec::new();
    let with = results::with(&host, &runtimes);
    if let Some(tools) = &tools {
        println!("{}", tools.summary());
        good &= tools.good();
        sections.push(results::validation(&with, &runtimes, tools));
    }
    if let Some(matrix) = &matrix {
        println!("{}", matrix.summary());
        good &= matrix.good();
        sections.push(results::comparison(&with, &runtimes, matrix));
    }
    for suite in &options.scripts {
        if let Some(report) = scripts::run(suite, &folder, &gaps, &host, &work)? {
            println!("{}", report.summary());
            good &= report.good();
            sections.push(results::suite(&host, &report));
        }
    }
    if options.update {
        if filter.is_some() {
            return Err(Error::Usage("--update needs all cases of its suites".into()));
        }
        results::write(&folder.join("RESULTS.md"), sections)?;
    }
    Ok(good)
}
