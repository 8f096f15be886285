//! `cortend`: the engine's daemon, and the logger of its containers.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use ipnet::IpNet;
use lifecycle::api::server::{self, Listener};
use lifecycle::api::tls;
use lifecycle::engine::{Engine, Settings};
use lifecycle::error::{Error, Result};
use lifecycle::files;
use lifecycle::logger;
use lifecycle::rootless;
use lifecycle::task;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    // A logger is started for each container: it must not pay for anything else.
    let result = match (words.next(), words.next(), words.next()) {
        (Some(word), Some(config), None) if word == "logger" => logger::run(config.as_ref()),
        _ => daemon(Options::parse()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cortend: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Corten's engine: speaks the Docker Engine API on a Unix socket
#[derive(Debug, Parser)]
#[command(name = "cortend", version)]
struct Options {
    /// Where to listen; may be given several times [default: unix:///run/corten/cortend.sock]
    #[arg(short = 'H', long, value_name = "SOCKET")]
    host: Vec<String>,
    /// Let clients with a certificate in over TCP: -H tcp://ADDRESS:PORT needs this and the three files
    #[arg(long)]
    tlsverify: bool,
    /// The certificates of those who sign clients' certificates
    #[arg(long, value_name = "FILE")]
    tlscacert: Option<PathBuf>,
    /// This engine's certificate
    #[arg(long, value_name = "FILE")]
    tlscert: Option<PathBuf>,
    /// The key of this engine's certificate
    #[arg(long, value_name = "FILE")]
    tlskey: Option<PathBuf>,
    /// Who may use the socket beside root, if there is such a group
    #[arg(short = 'G', long, default_value = "docker")]
    group: String,
    /// Where images, containers and volumes are [default: /var/lib/corten]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Where what is needed only while containers run is [default: /run/corten]
    #[arg(long, value_name = "DIR")]
    exec_root: Option<PathBuf>,
    /// The control group below which containers are; a slice of systemd, such as system.slice, is systemd's [default: /corten]
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<String>,
    /// A registry that is asked before Docker Hub; may be given several times
    #[arg(long, value_name = "URL")]
    registry_mirror: Vec<String>,
    /// A registry, or a network of them, that may do without TLS or with any certificate, as those on this machine may; may
    /// be given several times
    #[arg(long, value_name = "HOST[:PORT]|CIDR")]
    insecure_registry: Vec<String>,
    /// The shim [default: beside this program, or on PATH]
    #[arg(long, value_name = "PROGRAM")]
    shim: Option<PathBuf>,
}

fn daemon(mut options: Options) -> Result<()> {
    let unprivileged = rootless::is() || !nix::unistd::geteuid().is_root();
    let place = |given: &mut Option<PathBuf>, default: &str, variable, below_home| {
        let path = match given.take() {
            Some(given) => given,
            None if unprivileged => rootless::directory(variable, below_home)?,
            None => default.into(),
        };
        std::path::absolute(path).map_err(Error::step("find a directory"))
    };
    let exec_root = place(&mut options.exec_root, "/run/corten", "XDG_RUNTIME_DIR", None)?;
    if !nix::unistd::geteuid().is_root() {
        return rootless::enter(&exec_root);
    }
    if options.host.is_empty() {
        let folder = if unprivileged { &exec_root } else { Path::new("/run/corten") };
        options.host.push(format!("unix://{}/cortend.sock", folder.display()));
    }
    let parent = if unprivileged { "" } else { "/corten" };
    let settings = Settings {
        root: place(&mut options.root, "/var/lib/corten", "XDG_DATA_HOME", Some(".local/share"))?,
        exec_root,
        cgroup_parent: options.cgroup_parent.take().unwrap_or_else(|| parent.to_owned()),
        mirrors: options.registry_mirror.iter().map(|url| mirror(url)).collect::<Result<_>>()?,
        insecure: insecure(&options.insecure_registry)?,
        shim: options.shim.take().unwrap_or_else(task::find),
    };
    // What it makes is not to depend on who has started it.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    // One waits for each client that does not read what it has asked for: where all do, nobody else is answered.
    let runtime = runtime.worker_threads(2).max_blocking_threads(1 << 15).enable_all().build();
    runtime.map_err(Error::step("start the event loop"))?.block_on(serve(settings, &options))
}

async fn serve(settings: Settings, options: &Options) -> Result<()> {
    // The socket may be in this one.
    files::make_dir(&settings.exec_root, 0o711)?;
    files::make_closed_dir(&settings.root)?;
    let _alone = files::lock(&settings.root.join("lock"))?;
    let mut listeners = Vec::new();
    for host in &options.host {
        listeners.push(listen(options, host).await?);
    }
    let engine = Engine::open(settings).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    for listener in listeners {
        tokio::spawn(listener.serve(engine));
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    // Containers go on: they belong to their shims.
    for socket in options.host.iter().filter_map(|host| socket_of(host)) {
        std::fs::remove_file(socket).map_err(Error::at("remove", socket))?;
    }
    Ok(())
}

/// The URL of a mirror; without TLS it has to be insecure.
fn mirror(url: &str) -> Result<String> {
    let bad = || Error::invalid(format!("--registry-mirror {url}: expected https://host[:port]"));
    let scheme = if url.starts_with("http://") { "http" } else { "https" };
    host(url).map(|host| format!("{scheme}://{host}/")).ok_or_else(bad)
}

/// The host and port in a URL without a path.
fn host(url: &str) -> Option<String> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or(url);
    let host = rest.trim_end_matches('/');
    (!host.is_empty() && !host.contains('/')).then(|| host.to_lowercase())
}

/// The networks and hosts of insecure registries, this machine among them.
fn insecure(named: &[String]) -> Result<Vec<String>> {
    let bad = |text| Error::invalid(format!("--insecure-registry {text}: expected host[:port] or a network"));
    let network = |text: &str| Some(text.parse::<IpNet>().ok()?.trunc().to_string());
    let all = ["127.0.0.0/8", "::1/128"].into_iter().chain(named.iter().map(String::as_str));
    all.map(|text| network(text).or_else(|| host(text)).ok_or_else(|| bad(text))).collect()
}

/// The path in `unix:///path` or `/path`.
fn socket_of(host: &str) -> Option<&Path> {
    host.strip_prefix("unix://").or_else(|| host.starts_with('/').then_some(host)).map(Path::new)
}

/// Listens where one `-H` says.
async fn listen(options: &Options, host: &str) -> Result<Listener> {
    if let Some(socket) = socket_of(host) {
        return server::listen(socket, &options.group).await.map(Listener::Unix);
    }
    let Some(address) = host.strip_prefix("tcp://") else {
        return Err(Error::invalid(format!("-H {host}: expected unix:///path or tcp://address:port")));
    };
    let (true, Some(authority), Some(certificate), Some(key)) =
        (options.tlsverify, &options.tlscacert, &options.tlscert, &options.tlskey)
    else {
        return Err(Error::invalid(format!(
            "-H {host}: whoever reaches this engine is root here, so TCP needs certificates on both sides: --tlsverify --tlscacert FILE --tlscert FILE --tlskey FILE"
        )));
    };
    let acceptor = tls::acceptor(authority, certificate, key)?;
    let listener = TcpListener::bind(address).await.map_err(Error::step("listen on TCP"))?;
    Ok(Listener::Tcp(listener, acceptor))
}
