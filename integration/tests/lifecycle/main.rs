//! `cortend` with the programs that people use: the docker command line, Compose, docker-py.

mod build;
mod docker;

use integration::runtime;
use integration::shim::engine::{Engine, Release, image};
use integration::shim::pod::until;
use std::os::unix::fs::symlink;

/// A daemon with the image `busybox`; `None` without a docker command.
fn engine() -> Option<Engine> {
    Release::Distribution.find("docker")?;
    let mut engine = Engine::new(Release::Distribution);
    symlink(runtime::built("cortend"), engine.directory.join("bin/cortend")).unwrap();
    start(&mut engine);
    let archive = image("docker-archive");
    engine.docker_command(&format!("docker load -qi {}", archive.display())).ok();
    Some(engine)
}

fn start(engine: &mut Engine) {
    let dir = engine.directory.display().to_string();
    let (socket, root) = (format!("unix://{dir}/docker.sock"), format!("{dir}/data"));
    let parent = engine.cgroup_parent();
    let words = ["cortend", "-H", &socket, "--root", &root, "--exec-root", "/run/corten"];
    engine.daemon("cortend", &[&words[..], &["--cgroup-parent", &parent]].concat());
    until("cortend answers", || engine.docker_command("docker version").status == 0);
}

/// A script, its status, and what its output contains.
type Check<'a> = (&'a str, i32, &'a [&'a str]);

/// Runs all of them, and fails with all that went wrong.
#[track_caller]
fn hold(engine: &Engine, checks: &[Check<'_>]) {
    let mut failures = Vec::new();
    for (script, status, parts) in checks {
        let said = engine.docker_command(script);
        let text = format!("{}{}", said.out, said.err);
        if said.status != *status || !parts.iter().all(|part| text.contains(part)) {
            failures
                .push(format!("{script}\n  status {}, expected {status} and {parts:?}: {text}", said.status));
        }
    }
    assert!(failures.is_empty(), "{}\n{}", failures.join("\n"), engine.log("cortend"));
}
