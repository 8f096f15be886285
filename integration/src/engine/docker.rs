//! dockerd with the tested runtime as a runtime of its own.

use super::guard::{Guard, log_of};
use super::{Client, directory, find, image_tar};
use crate::outcome::{self, Outcome};
use crate::runtime::runtime;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::OnceLock;

/// The name of the tested runtime in dockerd's configuration.
const RUNTIME: &str = "tested";

/// A dockerd of this test program.
#[derive(Debug)]
pub struct Docker {
    /// The docker command.
    pub client: Client,
    /// Where it keeps things; bundles of volumes may be put here.
    pub directory: PathBuf,
    guard: Guard,
}

/// The daemon, started once. Nothing when the machine has none, or this program may not start one.
pub fn docker() -> Option<&'static Docker> {
    static DOCKER: OnceLock<Option<Docker>> = OnceLock::new();
    DOCKER.get_or_init(start).as_ref()
}

fn start() -> Option<Docker> {
    let tools = ["dockerd", "docker", "containerd", "iptables", "unshare", "nsenter", "tar"];
    if !nix::unistd::geteuid().is_root() || tools.iter().any(|tool| find(tool).is_none()) {
        return None;
    }
    let directory = directory("docker");
    let config = directory.join("daemon.json");
    let settings = json!({ "runtimes": { RUNTIME: { "path": runtime().path } }, "default-runtime": RUNTIME });
    std::fs::write(&config, settings.to_string()).unwrap();
    let cgroup = format!("corten-it-docker-{}", std::process::id());
    let daemon = format!(
        "dockerd --config-file \"$1/daemon.json\" --data-root \"$1/data\" --exec-root \"$1/exec\" \
         -H \"unix://$1/sock\" --pidfile \"$1/pid\" --cgroup-parent \"/{cgroup}\" 2>\"$1.daemon.log\" & daemon=$!"
    );
    let stop = "docker=\"timeout -k 1 20 docker -H unix://$1/sock\"; $docker ps -aq | xargs -r $docker rm -f >/dev/null";
    let guard = Guard::start(&directory, &cgroup, &daemon, stop);
    let socket = format!("unix://{}", directory.join("sock").display());
    let client = Client::new(&["docker", "-H", &socket], &directory).variable("DOCKER_CONFIG", &directory);
    outcome::until(&format!("dockerd: {}", log_of(&directory)), || client.call(&["info"]).status.success());
    client.call(&["import", image_tar().to_str().unwrap(), "busybox:test"]).ok();
    Some(Docker { client, directory, guard })
}

impl Docker {
    /// `docker run --rm --runtime tested FLAGS busybox:test ARGS`, to its end.
    pub fn run(&self, flags: &[&str], args: &[&str]) -> Outcome {
        self.client.call(&run_words(&["--rm"], flags, args))
    }

    /// As [`Docker::run`], returning what the container wrote.
    #[track_caller]
    pub fn text(&self, flags: &[&str], args: &[&str]) -> String {
        self.client.text(&run_words(&["--rm"], flags, args))
    }

    /// A container in the background, removed when dropped.
    #[track_caller]
    pub fn detached(&self, flags: &[&str], args: &[&str]) -> Detached<'_> {
        let id = self.client.text(&run_words(&["-d"], flags, args));
        Detached { docker: self, id }
    }

    /// Runs a script in the network namespace of the daemon, as if on its host.
    #[track_caller]
    pub fn on_host(&self, script: &str) -> Outcome {
        let mut words = self.guard.enter();
        words.extend(["sh", "-c", script].map(String::from));
        Client::new(&words, &self.directory).call(&[])
    }

    /// One field of `docker inspect` by a Go template.
    #[track_caller]
    pub fn inspect(&self, id: &str, format: &str) -> String {
        self.client.text(&["inspect", "--format", format, id])
    }
}

fn run_words<'a>(first: &[&'a str], flags: &[&'a str], args: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["run", "--runtime", RUNTIME];
    words.extend(first);
    words.extend(flags);
    words.push("busybox:test");
    words.extend(args);
    words
}

/// A container in the background.
#[derive(Debug)]
pub struct Detached<'a> {
    docker: &'a Docker,
    /// Its id.
    pub id: String,
}

impl Detached<'_> {
    /// A docker command on it: `logs`, `stop` and the like, with the id at the end.
    pub fn call(&self, words: &[&str]) -> Outcome {
        let mut all = words.to_vec();
        all.push(&self.id);
        self.docker.client.call(&all)
    }

    /// `docker exec FLAGS ID ARGS`.
    pub fn exec(&self, flags: &[&str], args: &[&str]) -> Outcome {
        let mut words = vec!["exec"];
        words.extend(flags);
        words.push(&self.id);
        words.extend(args);
        self.docker.client.call(&words)
    }

    /// One field of `docker inspect`.
    #[track_caller]
    pub fn inspect(&self, format: &str) -> String {
        self.docker.inspect(&self.id, format)
    }

    /// `State.Status`.
    #[track_caller]
    pub fn status(&self) -> String {
        self.inspect("{{.State.Status}}")
    }

    /// The exit code, when it has ended.
    #[track_caller]
    pub fn wait(&self) -> String {
        self.call(&["wait"]).ok().stdout.trim().to_owned()
    }

    /// Its pid on the host.
    ///
    /// # Panics
    /// When it has none.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        self.inspect("{{.State.Pid}}").parse().unwrap()
    }

    /// Waits until its log has a line.
    pub fn await_line(&self, line: &str) {
        outcome::until(&format!("{line:?} in the log"), || {
            self.call(&["logs"]).stdout.lines().any(|have| have == line)
        });
    }

    /// `docker inspect` as JSON.
    #[track_caller]
    pub fn all(&self) -> Value {
        self.call(&["inspect"]).ok().json()[0].clone()
    }
}

impl Drop for Detached<'_> {
    fn drop(&mut self) {
        self.docker.client.call(&["rm", "--force", &self.id]);
    }
}
