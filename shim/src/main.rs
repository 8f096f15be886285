//! The containerd shim's program: what the command line asks for, and how its outcome is told.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use shim::args::{Action, Args};
use shim::oci::BUILT_IN;
use shim::{bootstrap, cleanup, daemon, info};

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let program = words.next().unwrap_or_default();
    let program = Path::new(&program).file_name().map_or("shim".into(), |name| name.to_string_lossy());
    if program == BUILT_IN {
        // The one file is both: under this name it is the runtime.
        std::process::exit(runtime::command::run(words));
    }
    let words = words.map(|word| word.to_string_lossy().into_owned());
    match run(&program, words.collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(program: &str, words: Vec<String>) -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse(words)?;
    let printed = match args.action {
        Action::Start => bootstrap::start(&args)?,
        Action::Delete => cleanup::delete(&args)?,
        Action::Info => info::describe("io.containerd.corten.v2")?,
        Action::Version => info::version(program).into_bytes(),
        Action::Serve => return Ok(daemon::serve(&args)?),
    };
    Ok(io::stdout().write_all(&printed)?)
}
