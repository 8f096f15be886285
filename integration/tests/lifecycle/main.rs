//! `cortend` with the programs that people use: the docker command line, Compose, docker-py.

mod apparmor;
mod build;
mod clients;
mod commands;
mod compose;
mod configs;
mod crashes;
mod details;
mod docker;
mod execs;
mod granted;
mod hostile;
mod images;
mod logs;
mod moby;
mod nested;
mod netavark;
mod networks;
mod pulls;
mod requests;
mod rootless;
mod storage;
mod suite;
mod tokens;
mod versions;
mod volumes;

use integration::runtime;
use integration::shim::engine::{Engine, Release, Said, image};
use integration::shim::pod::until;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A daemon with the image `busybox`; `None` without a docker command.
fn engine() -> Option<Engine> {
    engine_with(&[], |_| {})
}

/// The same with more arguments; `prepare` is called before it is started.
fn engine_with(more: &[&str], prepare: impl FnOnce(&Engine)) -> Option<Engine> {
    Release::Distribution.find("docker")?;
    let mut engine = Engine::new(Release::Distribution);
    symlink(runtime::built("cortend"), engine.directory.join("bin/cortend")).unwrap();
    prepare(&engine);
    start(&mut engine, more);
    let archive = image("docker-archive");
    engine.docker_command(&format!("docker load -qi {}", archive.display())).ok();
    Some(engine)
}

/// Starts the daemon, in the engine's folder; files in `more` are relative to it.
fn start(engine: &mut Engine, more: &[&str]) {
    let dir = engine.directory.display().to_string();
    let socket = format!("unix://{dir}/docker.sock");
    let root = format!("{dir}/data");
    let parent = engine.cgroup_parent();
    let own = ["-H", &socket, "--root", &root, "--exec-root", "/run/corten", "--cgroup-parent", &parent];
    let more: Vec<String> = more.iter().map(|word| word.replace("tls/", &format!("{dir}/tls/"))).collect();
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    engine.daemon("cortend", &[&["cortend"], &own[..], &more].concat());
    until("cortend answers", || engine.docker_command("docker version").status == 0);
}

/// Starts a server in Python: the distribution's, as a wrapper around another would go by another name.
fn python(engine: &mut Engine, name: &str, words: &[&str]) {
    let _before = symlink("/usr/bin/python3", engine.directory.join("bin/python3"));
    engine.daemon(name, &[&["python3"], words].concat());
}

/// Whether containers can have networks here.
fn has_networks() -> bool {
    Path::new("/usr/lib/podman/netavark").exists()
}

/// Where `fetch-clients.sh`, `fetch-moby.sh` and `fetch-compose.sh` put what they fetch.
fn fetched() -> PathBuf {
    std::env::var_os("CORTEN_CLIENTS").map_or("/var/cache/corten-clients".into(), PathBuf::from)
}

/// `curl` of a path of the API, with more of its options; its answer is the body and the status.
fn curl(options: &str, path: &str) -> String {
    format!(
        "curl -s --max-time 20 -w ' %{{http_code}}\\n' --unix-socket ${{DOCKER_HOST#unix://}} {options} \"http://x/{path}\""
    )
}

/// A script, its status, and what its output contains.
type Check<'a> = (&'a str, i32, &'a [&'a str]);

/// Runs all of them, and fails with all that went wrong.
#[track_caller]
fn hold<'a>(engine: &Engine, checks: &[(impl AsRef<str>, i32, impl AsRef<[&'a str]>)]) {
    let failures = failures(checks, |script| engine.docker_command(script));
    assert!(failures.is_empty(), "{failures}\n{}", engine.log("cortend"));
}

/// What goes wrong when `run` runs each of the scripts.
fn failures<'a>(
    checks: &[(impl AsRef<str>, i32, impl AsRef<[&'a str]>)],
    run: impl Fn(&str) -> Said,
) -> String {
    let mut failures = Vec::new();
    for (script, status, parts) in checks {
        let (script, parts) = (script.as_ref(), parts.as_ref());
        let said = run(script);
        let text = said.out + &said.err;
        // What a client of an older release does not know the engine is never asked, and the rest may build on it.
        if ["unknown flag: --", "unknown shorthand flag: ", "unexpected key '"]
            .iter()
            .any(|old| text.contains(old))
        {
            integration::skip::say(&format!("from here on it needs a newer docker command line: {script}"));
            break;
        }
        if said.status != *status || !parts.iter().all(|part| text.contains(part)) {
            failures
                .push(format!("{script}\n  status {}, expected {status} and {parts:?}: {text}", said.status));
        }
    }
    failures.join("\n")
}
