//! `cortend`: the engine's daemon, and the logger of its containers.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use lifecycle::api::server;
use lifecycle::engine::{Engine, Settings};
use lifecycle::error::{Error, Result};
use lifecycle::logger;
use lifecycle::task::Shims;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    // A logger is started for each container: it must not pay for anything else.
    let result = match (words.next(), words.next(), words.next()) {
        (Some(word), Some(config), None) if word == "logger" => logger::run(config.as_ref()),
        _ => daemon(&command_line().get_matches()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cortend: {error}");
            ExitCode::FAILURE
        }
    }
}

fn command_line() -> Command {
    let option = |name: &'static str, value: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).default_value(default).help(help)
    };
    Command::new("cortend")
        .about("Corten's engine: speaks the Docker Engine API on a Unix socket")
        .version(env!("CARGO_PKG_VERSION"))
        .arg(option("host", "SOCKET", "unix:///run/corten/cortend.sock", "Where to listen").short('H'))
        .arg(
            option(
                "group",
                "GROUP",
                "docker",
                "Who may use the socket beside root, if there is such a group",
            )
            .short('G'),
        )
        .arg(option("root", "DIR", "/var/lib/corten", "Where images, containers and volumes are"))
        .arg(option("exec-root", "DIR", "/run/corten", "Where what is needed only while containers run is"))
        .arg(option("cgroup-parent", "PATH", "/corten", "The control group below which containers are"))
        .arg(
            Arg::new("shim")
                .long("shim")
                .value_name("PROGRAM")
                .help("The shim [default: beside this program, or on PATH]"),
        )
}

fn daemon(options: &ArgMatches) -> Result<()> {
    let text = |name: &str| options.get_one::<String>(name).cloned().unwrap_or_default();
    let host = text("host");
    let socket = match host.split_once("://") {
        Some(("unix", path)) => PathBuf::from(path),
        None if host.starts_with('/') => PathBuf::from(&host),
        _ => {
            return Err(Error::invalid(format!(
                "-H {host}: expected unix:///path; this engine does not listen on a network"
            )));
        }
    };
    let own = std::env::current_exe().map_err(Error::step("find this program"))?;
    let absolute = |name: &str| std::path::absolute(text(name)).map_err(Error::step("find a directory"));
    let settings = Settings {
        root: absolute("root")?,
        exec_root: absolute("exec-root")?,
        cgroup_parent: text("cgroup-parent"),
        shim: options.get_one::<String>("shim").map_or_else(Shims::find, PathBuf::from),
        own,
    };
    // What it makes is not to depend on who has started it.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Error::step("start the event loop"))?;
    runtime.block_on(async {
        lifecycle::files::make_dir(&settings.exec_root, 0o711)?;
        let listener = server::listen(&socket, Some(&text("group"))).await?;
        let engine = Engine::open(settings).await?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            () = server::serve(engine, listener) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // Containers go on: they belong to their shims.
        std::fs::remove_file(&socket).map_err(Error::at("remove", &socket))
    })
}
