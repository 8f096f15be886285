//! `cortend`: the engine's daemon, and the logger of its containers.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use lifecycle::api::server::{self, Listener};
use lifecycle::api::tls::Identity;
use lifecycle::engine::{Engine, Settings};
use lifecycle::error::{Error, Result};
use lifecycle::logger;
use lifecycle::rootless;
use lifecycle::task::Shims;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    // A logger is started for each container: it must not pay for anything else.
    let result = match (words.next(), words.next(), words.next()) {
        (Some(word), Some(config), None) if word == "logger" => logger::run(config.as_ref()),
        (Some(word), None, None) if word == "hold" => rootless::keep(),
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
    let path = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("FILE").value_parser(value_parser!(PathBuf)).help(help)
    };
    Command::new("cortend")
        .about("Corten's engine: speaks the Docker Engine API on a Unix socket")
        .version(env!("CARGO_PKG_VERSION"))
        .arg(
            option("host", "SOCKET", "unix:///run/corten/cortend.sock", "Where to listen; may be given several times")
                .short('H')
                .action(ArgAction::Append),
        )
        .arg(Arg::new("tlsverify").long("tlsverify").action(ArgAction::SetTrue).help(
            "Let clients with a certificate in over TCP: -H tcp://ADDRESS:PORT needs this and the three files",
        ))
        .arg(path("tlscacert", "The certificates of those who sign clients' certificates"))
        .arg(path("tlscert", "This engine's certificate"))
        .arg(path("tlskey", "The key of this engine's certificate"))
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
            Arg::new("registry-mirror")
                .long("registry-mirror")
                .value_name("URL")
                .action(ArgAction::Append)
                .help("A registry that is asked before Docker Hub; may be given several times"),
        )
        .arg(
            Arg::new("shim")
                .long("shim")
                .value_name("PROGRAM")
                .help("The shim [default: beside this program, or on PATH]"),
        )
}

fn daemon(options: &ArgMatches) -> Result<()> {
    let text = |name: &str| options.get_one::<String>(name).cloned().unwrap_or_default();
    let given = |name: &str| options.value_source(name) != Some(ValueSource::DefaultValue);
    let unprivileged = rootless::is() || !nix::unistd::geteuid().is_root();
    let place = |name: &str| -> Result<PathBuf> {
        let path = match name {
            "root" if unprivileged && !given(name) => {
                rootless::directory("XDG_DATA_HOME", Some(".local/share"))?
            }
            "exec-root" if unprivileged && !given(name) => rootless::directory("XDG_RUNTIME_DIR", None)?,
            _ => PathBuf::from(text(name)),
        };
        std::path::absolute(path).map_err(Error::step("find a directory"))
    };
    let exec_root = place("exec-root")?;
    if !nix::unistd::geteuid().is_root() {
        return rootless::enter(&exec_root);
    }
    let hosts: Vec<String> = match unprivileged && !given("host") {
        true => vec![format!("unix://{}/cortend.sock", exec_root.display())],
        false => options.get_many("host").into_iter().flatten().cloned().collect(),
    };
    let own = std::env::current_exe().map_err(Error::step("find this program"))?;
    let settings = Settings {
        root: place("root")?,
        exec_root,
        cgroup_parent: match unprivileged && !given("cgroup-parent") {
            true => String::new(),
            false => text("cgroup-parent"),
        },
        mirrors: options
            .get_many("registry-mirror")
            .into_iter()
            .flatten()
            .map(mirror)
            .collect::<Result<_>>()?,
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
        let mut listeners = Vec::new();
        for host in &hosts {
            listeners.push(listen(options, host).await?);
        }
        let engine = Engine::open(settings).await?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        for listener in listeners {
            tokio::spawn(listener.serve(Arc::clone(&engine)));
        }
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // Containers go on: they belong to their shims.
        for socket in hosts.iter().filter_map(|host| socket_of(host)) {
            std::fs::remove_file(socket).map_err(Error::at("remove", socket))?;
        }
        Ok(())
    })
}

/// The host and port of a mirror; without TLS it has to be on this machine.
fn mirror(url: &String) -> Result<String> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or(url);
    let host = rest.trim_end_matches('/');
    match host.is_empty() || host.contains('/') {
        true => Err(Error::invalid(format!("--registry-mirror {url}: expected https://host[:port]"))),
        false => Ok(host.to_owned()),
    }
}

/// The path in `unix:///path` or `/path`.
fn socket_of(host: &str) -> Option<&Path> {
    host.strip_prefix("unix://").or_else(|| host.starts_with('/').then_some(host)).map(Path::new)
}

/// Listens where one `-H` says.
async fn listen(options: &ArgMatches, host: &str) -> Result<Listener> {
    if let Some(socket) = socket_of(host) {
        let group = options.get_one::<String>("group").map(String::as_str);
        return server::listen(socket, group).await.map(Listener::Unix);
    }
    let Some(address) = host.strip_prefix("tcp://") else {
        return Err(Error::invalid(format!("-H {host}: expected unix:///path or tcp://address:port")));
    };
    let file = |name: &str| options.get_one::<PathBuf>(name).cloned();
    let (true, Some(authority), Some(certificate), Some(key)) =
        (options.get_flag("tlsverify"), file("tlscacert"), file("tlscert"), file("tlskey"))
    else {
        return Err(Error::invalid(format!(
            "-H {host}: whoever reaches this engine is root here, so TCP needs certificates on both sides: --tlsverify --tlscacert FILE --tlscert FILE --tlskey FILE"
        )));
    };
    let acceptor = Identity { authority, certificate, key }.acceptor()?;
    let listener = TcpListener::bind(address).await.map_err(Error::step("listen on TCP"))?;
    Ok(Listener::Tcp(listener, acceptor))
}
