//! Pulls that break off: of a registry that hangs up, and of an engine that is killed.

use std::fs;

use integration::shim::engine::{Engine, Release};
use integration::shim::pod::until;
use integration::skip;
use nix::sys::signal::Signal;

use super::images::registry;
use super::{Check, engine, hold, python, start};

/// A proxy before the registry: `PORT AT TIMES WAY`. So many times it hangs up after `AT` bytes of a large blob,
/// and writes down what it was asked for. The ways are `whole`, without ranges; `stop`, it waits for a file `go` before; `plain`.
const PROXY: &str = r#"
import http.client, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
port, at, times, way = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
class Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        global times
        asked = {key: self.headers[key] for key in ("Accept", "Range") if key in self.headers}
        begin = asked.get("Range", "bytes=0-")
        if way == "whole":
            asked.pop("Range", None)
        server = http.client.HTTPConnection("127.0.0.1", 5000)
        server.request("GET", self.path, headers=asked)
        answer = server.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for key in ("Content-Type", "Content-Range", "Docker-Content-Digest"):
            if key in answer.headers:
                self.send_header(key, answer.headers[key])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        total = int(answer.headers.get("Content-Range", "/" + str(len(body))).split("/")[1])
        if total < 3000000:
            self.wfile.write(body)
            return
        cut = at if times > 0 else len(body)
        self.wfile.write(body[:cut])
        print("asked", begin[len("bytes="):-1], "sent", cut, flush=True)
        while times > 0 and way == "stop" and not os.path.exists(os.path.dirname(sys.argv[0]) + "/go"):
            time.sleep(0.02)
        times = max(times - 1, 0)
        self.close_connection = True
ThreadingHTTPServer(("127.0.0.1", port), Proxy).serve_forever()
"#;

/// Puts an image of two layers into the registry, the upper one of `make`.
fn publish(engine: &Engine, name: &str, make: &str) {
    let script = format!(
        "rm -rf ctx; mkdir -p ctx/more; cp /bin/busybox ctx; (cd ctx/more; {make})
         printf 'FROM scratch\nCOPY busybox /bin/\nCOPY more /\n' > ctx/Dockerfile
         docker build -q --network none -t 127.0.0.1:5000/{name} ctx && docker push -q 127.0.0.1:5000/{name}"
    );
    engine.docker_command(&script).ok();
}

/// Fails unless nothing is left when all images are removed.
#[track_caller]
fn clear(engine: &Engine) {
    engine.docker_command("docker rmi -f $(docker images -q)").ok();
    empty(engine);
}

/// Starts a registry; `None` when there is none here.
fn with_registry() -> Option<Engine> {
    Release::Distribution.find("docker-registry")?;
    let mut engine = engine()?;
    registry(&mut engine, "");
    until("the registry answers", || {
        engine.run(&["sh", "-c", "busybox wget -qO- http://127.0.0.1:5000/v2/"]).status == 0
    });
    fs::write(engine.directory.join("proxy.py"), PROXY).unwrap();
    Some(engine)
}

fn proxy(engine: &mut Engine, words: &str) {
    let port = words.split(' ').next().unwrap().to_owned();
    let program = engine.directory.join("proxy.py").display().to_string();
    let words: Vec<&str> = [&*program].into_iter().chain(words.split(' ')).collect();
    python(engine, &format!("proxy-{port}"), &words);
    until("the proxy answers", || {
        engine.run(&["busybox", "wget", "-qO-", &format!("http://127.0.0.1:{port}/v2/")]).status == 0
    });
}

/// Fails unless there is no image, and nothing that one was to be made of.
#[track_caller]
fn empty(engine: &Engine) {
    let said = engine.docker_command(
        "docker images -aq; docker system df --format '{{.Type}} {{.TotalCount}} {{.Size}}' | grep Images; find data/layers data/blobs/sha256 data/trees data/tmp -mindepth 1 -maxdepth 2 2>/dev/null",
    );
    assert_eq!(said.out, "Images 0 0B\n", "{}", engine.log("cortend"));
}

/// What the proxy was asked for of the large blob, and how much of that it sent.
fn asked(engine: &Engine, port: u32) -> Vec<(u64, u64)> {
    let log = fs::read_to_string(engine.directory.join(format!("proxy-{port}.log"))).unwrap();
    let lines = log.lines().filter_map(|line| line.strip_prefix("asked ")?.split_once(" sent "));
    lines.map(|(from, sent)| (from.parse().unwrap(), sent.parse().unwrap())).collect()
}

const LARGE: &str = "head -c 4000000 /dev/urandom > large";

#[test]
fn a_download_that_breaks_off_goes_on_from_there() {
    let Some(mut engine) = with_registry() else { return skip::say("needs docker and docker-registry") };
    publish(&engine, "large:1", LARGE);
    clear(&engine);
    for words in ["5001 700000 4 plain", "5002 1500000 2 whole", "5003 100000 1000 plain"] {
        proxy(&mut engine, words);
    }
    let pulled = |port: u32| {
        format!(
            "docker pull 127.0.0.1:{port}/large:1 && docker run --rm --network none 127.0.0.1:{port}/large:1 busybox cat /large | cmp - ctx/more/large && docker rmi 127.0.0.1:{port}/large:1"
        )
    };
    let partial = "grep -c '\" 206 ' docker-registry.log";
    let checks: &[Check<'_>] = &[
        (&pulled(5001), 0, &["Pull complete", "Downloaded newer image", "Deleted: sha256:"]),
        (partial, 0, &["4\n"]),
        // One that knows of no ranges gives all of it again.
        (&pulled(5002), 0, &["Pull complete", "Deleted: sha256:"]),
        (partial, 0, &["4\n"]),
    ];
    hold(&engine, checks);
    let mut next = 0;
    let all = asked(&engine, 5001);
    for (from, sent) in &all {
        assert_eq!(*from, next, "no byte twice, and none left out: {all:?}");
        next += sent;
    }
    assert!(all.len() == 5 && next > 4_000_000, "{all:?}");
    assert_eq!(asked(&engine, 5002).iter().filter(|(from, _)| *from > 0).count(), 2);
    // And one that always hangs up is given up.
    let said = engine.docker_command("docker pull -q 127.0.0.1:5003/large:1");
    assert_eq!((said.status, said.out.as_str(), said.err.lines().count()), (1, "", 1), "{said:?}");
    assert!(said.err.contains("127.0.0.1:5003: "), "{said:?}");
    assert_eq!(asked(&engine, 5003).len(), 5);
    // The layer that did arrive goes with the next image, at the latest.
    publish(&engine, "other:1", "echo other > other");
    clear(&engine);
}

/// Starts the engine that was killed in the middle of a pull: nothing is left of it, and it can be done again.
#[track_caller]
fn killed(engine: &mut Engine, image: &str, file: &str) {
    engine.docker_command("touch go").ok();
    start(engine, &[]);
    empty(engine);
    let run = format!("docker run --rm --network none {image} busybox wc -c {file}");
    let said = engine.docker_command(&run);
    assert!(said.status == 0 && said.err.contains("Pull complete"), "{said:?}");
    clear(engine);
}

/// Whether a file of a layer is there that is being unpacked.
fn is_unpacked(engine: &Engine, file: &str) -> bool {
    let folders = fs::read_dir(engine.directory.join("data/tmp")).unwrap().flatten();
    folders.into_iter().any(|folder| folder.path().join("layer/fs/many").join(file).exists())
}

/// Kills the engine when it has unpacked this file of a layer; whether that was in the middle of it.
fn hit(engine: &mut Engine, file: &str) -> bool {
    engine.docker_command("docker pull 127.0.0.1:5000/many:1 >/dev/null 2>&1 &").ok();
    let images = engine.directory.join("data/images.json");
    let has_all = || fs::read_to_string(&images).unwrap_or_default().contains("many:1");
    until("some files are unpacked", || is_unpacked(engine, file) || has_all());
    engine.kill("cortend", Signal::SIGKILL);
    is_unpacked(engine, file) && !is_unpacked(engine, "20000")
}

#[test]
fn a_pull_that_is_killed_leaves_nothing() {
    let Some(mut engine) = with_registry() else { return skip::say("needs docker and docker-registry") };
    publish(&engine, "many:1", "mkdir many; for i in $(seq -w 20000); do echo $i > many/$i; done");
    publish(&engine, "large:1", LARGE);
    clear(&engine);
    proxy(&mut engine, "5004 2000000 1 stop");
    // One layer is here, and half of the other.
    engine.docker_command("docker pull 127.0.0.1:5004/large:1 >/dev/null 2>&1 &").ok();
    until("half a layer has arrived", || {
        asked(&engine, 5004).len() == 1 && engine.docker_command("ls data/layers").out.lines().count() == 1
    });
    engine.kill("cortend", Signal::SIGKILL);
    killed(&mut engine, "127.0.0.1:5004/large:1", "/large");
    for file in ["00001", "07000", "14000"] {
        // It may have all before it is killed: once more then.
        let mut misses = 0;
        while !hit(&mut engine, file) {
            misses += 1;
            assert!(misses < 20, "it was never hit");
            start(&mut engine, &[]);
            engine.docker_command("docker rmi -f $(docker images -q)");
            empty(&engine);
        }
        killed(&mut engine, "127.0.0.1:5000/many:1", "/many/20000");
    }
}
