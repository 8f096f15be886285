//! Docker's words mean what they mean to dockerd: the config.json that both engines write is the same, and so is what they
//! tell of it.

use integration::shim::engine::{Release, image};
use integration::shim::pod::until;

use super::{engine, has_networks};

const CONFIGS: &str = include_str!("configs.py");
const EVENTS: &str = include_str!("events.py");

#[test]
fn configurations_and_events_are_those_of_docker() {
    let Some(mut engine) = engine() else { return integration::skip::say("needs docker") };
    if Release::Distribution.find("dockerd").is_none() || !has_networks() {
        return integration::skip::say("needs dockerd, netavark and aardvark-dns");
    }
    let dir = engine.directory.display().to_string();
    std::fs::write(engine.directory.join("configs.py"), CONFIGS).unwrap();
    std::fs::write(engine.directory.join("events.py"), EVENTS).unwrap();
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
    for (script, count) in [("configs.py", 58), ("events.py", 42)] {
        let said = engine.docker_command(&format!("python3 {script}"));
        let whole = said.status == 0 && said.out == format!("{count} compared\n");
        assert!(whole, "{}{}{}", said.out, said.err, engine.log("dockerd"));
    }
}
