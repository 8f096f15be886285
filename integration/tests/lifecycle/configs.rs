//! Docker's words mean what they mean to dockerd: the config.json that both engines write is the same.

use integration::shim::engine::{Release, image};
use integration::shim::pod::until;

use super::{engine, has_networks};

const COMPARE: &str = include_str!("configs.py");

#[test]
fn configurations_are_those_that_docker_makes() {
    let Some(mut engine) = engine() else { return integration::skip::say("needs docker") };
    if Release::Distribution.find("dockerd").is_none() || !has_networks() {
        return integration::skip::say("needs dockerd, netavark and aardvark-dns");
    }
    let dir = engine.directory.display().to_string();
    std::fs::write(engine.directory.join("configs.py"), COMPARE).unwrap();
    std::fs::write(engine.directory.join("dockerd.json"), "{}").unwrap();
    let path = |name: &str| format!("{dir}/{name}");
    let (socket, config, data, exec, pid) = (
        format!("unix://{dir}/dockerd.sock"),
        path("dockerd.json"),
        path("dockerd/data"),
        path("dockerd/exec"),
        path("dockerd.pid"),
    );
    let parent = engine.cgroup_parent();
    engine.daemon(
        "dockerd",
        &[
            "dockerd",
            "-H",
            &socket,
            "--config-file",
            &config,
            "--data-root",
            &data,
            "--exec-root",
            &exec,
            "--pidfile",
            &pid,
            "--cgroup-parent",
            &parent,
        ],
    );
    until("dockerd answers", || engine.docker_command(&format!("docker -H {socket} version")).status == 0);
    let archive = image("docker-archive");
    engine.docker_command(&format!("docker -H {socket} load -qi {}", archive.display())).ok();
    let said = engine.docker_command("python3 configs.py");
    assert!(
        said.status == 0 && said.out == "52 compared\n",
        "{}{}{}",
        said.out,
        said.err,
        engine.log("dockerd")
    );
}
