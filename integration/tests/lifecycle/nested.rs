//! Engines in privileged containers of the engine: its own, and Docker's.

use integration::shim::engine::Release;
use integration::{runtime, skip};

use super::{engine, has_networks, hold};

/// An image of empty folders, for a container that has the programs of this machine.
const HOST: &str = "mkdir -p host/usr host/etc host/corten host/var/lib host/run host/tmp && \
                    for name in bin sbin lib lib64; do ln -s usr/$name host/$name; done && \
                    tar -C host -c . | docker import - host && docker save -o busybox.tar busybox";

#[test]
fn an_engine_in_a_container_has_containers() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    if !has_networks() {
        return skip::say("needs netavark and aardvark-dns");
    }
    let programs = runtime::built("cortend");
    let programs = programs.parent().unwrap().display().to_string();
    let daemons = [
        ("own", "cortend -H unix:///run/docker.sock"),
        ("docker", "dockerd -H unix:///run/docker.sock --storage-driver overlay2"),
    ];
    engine.docker_command(HOST).ok();
    for (name, daemon) in daemons {
        if name == "docker" && Release::Distribution.find("dockerd").is_none() {
            skip::say("dockerd in a container: needs dockerd");
            continue;
        }
        let start = format!(
            "docker run -d --name {name} --privileged --tmpfs /run --tmpfs /tmp -v /var/lib/{} \
             -v /usr:/usr:ro -v /etc:/etc -v {programs}:/corten:ro -v $PWD/busybox.tar:/busybox.tar host \
             sh -c 'export PATH=/corten:$PATH; exec {daemon} >/tmp/log 2>&1'",
            if name == "own" { "corten" } else { "docker" }
        );
        let inside = |script: &str| {
            format!(
                "docker exec -e DOCKER_HOST=unix:///run/docker.sock -e DOCKER_BUILDKIT=0 {name} sh -c '{script}'"
            )
        };
        let checks = [
            (start, 0, vec![]),
            (
                inside(
                    "n=0; until docker version; do sleep 0.1; [ $((n+=1)) -lt 600 ] || { cat /tmp/log; exit 1; }; done",
                ),
                0,
                vec![],
            ),
            (inside("docker load -qi /busybox.tar"), 0, vec!["Loaded image: busybox"]),
            (
                inside(
                    "docker run -d -m 100m --pids-limit 50 --name limited -p 8080:80 busybox sh -c \"exec httpd -f -p 80\"",
                ),
                0,
                vec![],
            ),
            (
                inside("docker stats --no-stream --format \"{{.MemUsage}} {{.PIDs}}\" limited"),
                0,
                vec!["/ 100MiB 1\n"],
            ),
            (inside("curl -si http://127.0.0.1:8080/"), 0, vec!["404 Not Found"]),
            (
                inside(
                    "docker pause limited && docker top limited && docker unpause limited && docker exec limited id -u",
                ),
                0,
                vec!["httpd", "0\n"],
            ),
            (inside("docker run --rm busybox sh -c \"exit 7\""), 7, vec![]),
            (
                inside(
                    "printf \"FROM busybox\\nRUN echo built >/x\\n\" | docker build -qt b - && docker run --rm b cat /x",
                ),
                0,
                vec!["built\n"],
            ),
        ];
        hold(&engine, &checks);
        let folders = format!("ls -d /sys/fs/cgroup/*/{0}/*/ /sys/fs/cgroup/{0}/*/", engine.name);
        let groups = || engine.run(&["sh", "-c", &folders]).out;
        assert_ne!(groups(), "", "{name} runs");
        engine.docker_command(&format!("docker rm -fv {name}")).ok();
        assert_eq!(groups(), "", "{name}");
    }
}
