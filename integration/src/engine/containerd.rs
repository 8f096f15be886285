//! containerd, driven by ctr.

use super::guard::Guard;
use super::{Client, directory, find, image_archive};
use crate::outcome::{self, Outcome};
use crate::runtime::runtime;
use std::path::PathBuf;
use std::sync::OnceLock;

const IMAGE: &str = "docker.io/library/busybox:test";

/// A containerd of this test program.
#[derive(Debug)]
pub struct Containerd {
    /// The ctr command.
    pub client: Client,
    /// Where it keeps things.
    pub directory: PathBuf,
    /// The cgroup that all its containers are in: the name of ctr's namespace.
    pub cgroup: String,
}

/// The daemon, started once. Nothing when the machine has none, or this program may not start one.
pub fn containerd() -> Option<&'static Containerd> {
    static CONTAINERD: OnceLock<Option<Containerd>> = OnceLock::new();
    CONTAINERD.get_or_init(start).as_ref()
}

fn start() -> Option<Containerd> {
    let tools = ["containerd", "ctr", "umoci", "skopeo", "unshare", "nsenter"];
    if !nix::unistd::geteuid().is_root() || tools.iter().any(|tool| find(tool).is_none()) {
        return None;
    }
    let directory = directory("containerd");
    let cgroup = format!("corten-it-ctr-{}", std::process::id());
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let config = format!(
        "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
         [grpc]\naddress = {:?}\n",
        path("root"),
        path("state"),
        path("sock")
    );
    std::fs::write(path("config.toml"), config).unwrap();
    let daemon = "containerd -c \"$1/config.toml\" 2>\"$1.daemon.log\" & daemon=$!";
    let guard = Guard::start(&directory, &cgroup, daemon, ":");
    let mut words = guard.enter();
    words.extend(["ctr", "-a", &path("sock"), "-n", &cgroup].map(String::from));
    let client = Client::new(&words, &directory);
    outcome::until("containerd", || client.call(&["version"]).status.success());
    let archive = image_archive(IMAGE);
    client.call(&["images", "import", archive.to_str().unwrap()]).ok();
    Some(Containerd { client, directory, cgroup })
}

impl Containerd {
    fn words<'a>(&self, verb: &[&'a str], flags: &[&'a str], id: &'a str, args: &[&'a str]) -> Vec<&'a str> {
        let mut words = verb.to_vec();
        words.extend(["--runc-binary", runtime().path.to_str().unwrap()]);
        words.extend(flags);
        words.extend([IMAGE, id]);
        words.extend(args);
        words
    }

    /// `ctr run --rm --runc-binary RUNTIME FLAGS IMAGE ID ARGS`, to its end.
    pub fn run(&self, flags: &[&str], id: &str, args: &[&str]) -> Outcome {
        self.client.call(&self.words(&["run", "--rm"], flags, id, args))
    }

    /// The command of [`Containerd::run`] on a terminal.
    pub fn run_on_terminal(&self, id: &str, args: &[&str]) -> (crate::console::Console, std::process::Child) {
        self.client.on_terminal(&self.words(&["run", "--rm", "--tty"], &[], id, args))
    }

    /// A task in the background, deleted when dropped.
    #[track_caller]
    pub fn detached(&self, flags: &[&str], args: &[&str]) -> Task<'_> {
        let id = super::unique("task");
        self.client.call(&self.words(&["run", "--detach"], flags, &id, args)).ok();
        Task { containerd: self, id }
    }
}

/// A task in the background.
#[derive(Debug)]
pub struct Task<'a> {
    containerd: &'a Containerd,
    /// Its id.
    pub id: String,
}

impl Task<'_> {
    /// `ctr task VERB FLAGS ID ARGS`.
    pub fn call(&self, verb: &str, flags: &[&str], args: &[&str]) -> Outcome {
        let mut words = vec!["task", verb];
        words.extend(flags);
        words.push(&self.id);
        words.extend(args);
        self.containerd.client.call(&words)
    }

    /// `ctr task exec`.
    pub fn exec(&self, flags: &[&str], args: &[&str]) -> Outcome {
        let id = super::unique("exec");
        let mut all = vec!["--exec-id", &id];
        all.extend(flags);
        self.call("exec", &all, args)
    }

    /// The status that `ctr task ls` shows.
    pub fn status(&self) -> String {
        let table = self.containerd.client.text(&["task", "ls"]);
        let line = table.lines().find(|line| line.split_whitespace().next() == Some(&self.id));
        line.and_then(|line| line.split_whitespace().nth(2)).unwrap_or_default().to_owned()
    }

    /// The pid that `ctr task ls` shows.
    ///
    /// # Panics
    /// When there is no such task.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        let table = self.containerd.client.text(&["task", "ls"]);
        let line = table.lines().find(|line| line.split_whitespace().next() == Some(&self.id)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        self.call("kill", &["--all", "--signal", "SIGKILL"], &[]);
        self.call("delete", &["--force"], &[]);
        self.containerd.client.call(&["container", "delete", &self.id]);
    }
}
