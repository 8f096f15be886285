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
use integration::shim::Said;
use integration::shim::engine::{Engine, Release, image};
use integration::shim::pod::until;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

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

/// A script, its status, and what its output contains: a number or a word stands for a whole one, anything else for a part.
type Check<'a> = (&'a str, i32, &'a [&'a str]);

/// That there is no container, by an engine that says so.
const NONE_LEFT: &str = r#"ids=$(docker ps -aq) && [ -z "$ids" ]"#;

/// Runs all of them, and fails with all that went wrong. The engine answers after them: much that is nowhere is not
/// seen without one, either.
#[track_caller]
fn hold<'a>(engine: &Engine, checks: &[(impl AsRef<str>, i32, impl AsRef<[&'a str]>)]) {
    let failures = failures(checks, |script| engine.docker_command(script));
    assert!(failures.is_empty(), "{failures}\n{}", engine.log("cortend"));
    let lives = engine.docker_command("docker version");
    assert_eq!(lives.status, 0, "the engine has gone: {}\n{}", lives.err, engine.log("cortend"));
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
        let Some(wrong) = said.is_not(*status, parts) else { continue };
        // What a client of an older release does not know the engine is never asked, and the rest may build on it.
        if client() < 23 && is_unknown_to_the_client(&(said.out + &said.err)) {
            integration::skip::say(&format!("from here on it needs a newer docker command line: {script}"));
            break;
        }
        failures.push(format!("{script}\n  {wrong}"));
    }
    failures.join("\n")
}

/// Whether the command line itself refuses an option: it says where its options are to be found, and the engine nothing.
fn is_unknown_to_the_client(text: &str) -> bool {
    let unknown = ["unknown flag: --", "unknown shorthand flag: ", "unexpected key '"];
    text.contains("See 'docker ")
        && !text.contains("from daemon")
        && unknown.iter().any(|unknown| text.contains(unknown))
}

/// The release of the docker command line.
fn client() -> u32 {
    static MAJOR: OnceLock<u32> = OnceLock::new();
    *MAJOR.get_or_init(|| {
        let output = Command::new("docker").arg("--version").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let version = text.strip_prefix("Docker version ").and_then(|text| text.split('.').next());
        version.and_then(|major| major.parse().ok()).unwrap_or_else(|| panic!("docker --version: {text}"))
    })
}

#[test]
fn what_an_engine_refuses_is_no_matter_of_the_client() {
    let client = "unknown flag: --link\nSee 'docker build --help'.\n";
    assert!(is_unknown_to_the_client(client));
    for engine in [
        "Error response from daemon: dockerfile parse error on line 2: unknown flag: --link\n",
        "dockerfile parse error on line 2: unknown flag: --link\n",
        "docker: Error response from daemon: unexpected key 'x'\nSee 'docker run --help'.\n",
    ] {
        assert!(!is_unknown_to_the_client(engine), "{engine}");
    }
    let checks: [Check<'_>; 2] = [("first", 0, &["0"]), ("second", 0, &[])];
    let said = |status, out: &str| Said { status, out: out.to_owned(), err: String::new() };
    let failures = failures(&checks, |script| if script == "first" { said(0, "10") } else { said(1, "") });
    assert!(failures.contains("first\n") && failures.contains("second\n"), "{failures}");
}
