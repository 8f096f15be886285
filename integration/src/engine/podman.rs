//! podman, as root and as the user of the rootless tests.

use super::guard::Guard;
use super::{Client, directory, find, image_tar};
use crate::outcome::Outcome;
use crate::runtime::runtime;
use crate::user;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A podman of this test program.
#[derive(Debug)]
pub struct Podman {
    /// The podman command.
    pub client: Client,
    /// The same without the flag that names the runtime.
    pub unconfigured: Client,
    /// Where it keeps things.
    pub directory: PathBuf,
    guard: Guard,
}

/// podman as root. Nothing when the machine has none.
pub fn podman() -> Option<&'static Podman> {
    static PODMAN: OnceLock<Option<Podman>> = OnceLock::new();
    PODMAN.get_or_init(|| start("podman", None)).as_ref()
}

/// podman as an unprivileged user. Nothing when the machine has none, or no such user can be made.
pub fn rootless_podman() -> Option<&'static Podman> {
    static PODMAN: OnceLock<Option<Podman>> = OnceLock::new();
    PODMAN.get_or_init(|| start("podman-user", Some(user::user()?))).as_ref()
}

/// podman's own limits are above what root may set on small machines; and it asks for JSON logs by name only.
fn configuration(directory: &Path) -> String {
    format!(
        "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
         [engine]\nevents_logger = \"file\"\ncgroup_manager = \"cgroupfs\"\n\
         runtime_supports_json = [\"corten\", \"runc\", \"crun\"]\nruntime = \"tested\"\ntmp_dir = {:?}\n\
         [engine.runtimes]\ntested = [{:?}]\n",
        directory.join("tmp"),
        runtime().path
    )
}

fn start(name: &str, user: Option<&user::User>) -> Option<Podman> {
    let tools = ["podman", "conmon", "unshare", "nsenter", "tar"];
    if !nix::unistd::geteuid().is_root() || tools.iter().any(|tool| find(tool).is_none()) {
        return None;
    }
    let directory = directory(name);
    let config = directory.join("containers.conf");
    std::fs::write(&config, configuration(&directory)).unwrap();
    std::fs::write(directory.join("policy.json"), "{\"default\":[{\"type\":\"insecureAcceptAnything\"}]}")
        .unwrap();
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let flags = ["--root".to_owned(), path("root"), "--runroot".to_owned(), path("run")];
    let mut prefix = String::new();
    if let Some(user) = user {
        std::os::unix::fs::chown(&directory, Some(user.uid), Some(user.gid)).unwrap();
        for word in user.prefix(&path("")) {
            prefix += &format!("{} ", word.to_str().unwrap());
        }
    }
    let cgroup = format!("corten-it-{name}-{}", std::process::id());
    let stop = format!(
        "{prefix} env CONTAINERS_CONF=\"$1/containers.conf\" timeout -k 1 20 \\
         podman --root \"$1/root\" --runroot \"$1/run\" rm -fa -t 0 >/dev/null"
    );
    let guard = Guard::start(&directory, &cgroup, ":", &stop);
    let mut words = guard.enter();
    words.extend(prefix.split_whitespace().map(str::to_owned));
    // Its images come by way of /var/tmp otherwise, where the machine may let only root write.
    words.extend(["env".to_owned(), format!("TMPDIR={}", path("")), "podman".to_owned()]);
    words.extend(flags);
    let unconfigured = Client::new(&words, &directory);
    words.extend(["--runtime".to_owned(), runtime().path.to_str().unwrap().to_owned()]);
    let client = Client::new(&words, &directory).variable("CONTAINERS_CONF", &config);
    client.call(&["import", image_tar().to_str().unwrap(), "busybox:test"]).ok();
    Some(Podman { client, unconfigured, directory, guard })
}

impl Podman {
    /// `podman run --rm FLAGS busybox:test ARGS`, to its end.
    pub fn run(&self, flags: &[&str], args: &[&str]) -> Outcome {
        self.client.call(&words(&["run", "--rm"], flags, args))
    }

    /// As [`Podman::run`], returning what the container wrote.
    #[track_caller]
    pub fn text(&self, flags: &[&str], args: &[&str]) -> String {
        self.client.text(&words(&["run", "--rm"], flags, args))
    }

    /// `podman run --detach FLAGS busybox:test ARGS`; the id.
    #[track_caller]
    pub fn detached(&self, flags: &[&str], args: &[&str]) -> String {
        self.client.text(&words(&["run", "--detach"], flags, args))
    }

    /// Runs a script in podman's network namespace, as if on its host.
    pub fn on_host(&self, script: &str) -> Outcome {
        let mut words = self.guard.enter();
        words.extend(["sh", "-c", script].map(String::from));
        Client::new(&words, &self.directory).call(&[])
    }
}

fn words<'a>(verb: &[&'a str], flags: &[&'a str], args: &[&'a str]) -> Vec<&'a str> {
    let mut words = verb.to_vec();
    words.extend(flags);
    words.push("busybox:test");
    words.extend(args);
    words
}
