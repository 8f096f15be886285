//! The lines of configuration that the README gives, taken from it and tried with the engines they are for.

#![expect(clippy::unwrap_used, clippy::expect_used)]

use integration::container::Container;
use integration::engine::{podman, unique};
use integration::runtime::{built, runtime};
use integration::shim::engine::{Engine, Release};
use integration::{needs, outcome, skip};
use std::fs;
use std::process::{Command, Stdio};

/// Where the README has the runtime.
const INSTALLED: &str = "/usr/local/bin/corten";

/// The blocks of the README in a language that contain a text, with the runtime where it is here.
fn blocks(language: &str, with: &str) -> Vec<String> {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let text = fs::read_to_string(readme).unwrap();
    let fence = format!("```{language}\n");
    let blocks = text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap());
    let path = built("corten").display().to_string();
    blocks.filter(|block| block.contains(with)).map(|block| block.replace(INSTALLED, &path)).collect()
}

fn block(language: &str, with: &str) -> String {
    let [block] = <[String; 1]>::try_from(blocks(language, with)).expect("one such block");
    block
}

/// A kubelet hands the handler of a pod's RuntimeClass to containerd, as crictl does.
#[test]
fn containerd_and_the_runtime_class() {
    let class = block("yaml", "kind: RuntimeClass");
    let handler = class.lines().find_map(|line| line.strip_prefix("handler: ")).unwrap();
    for release in Release::ALL {
        let Some(engine) = Engine::cri_with(release, &block("toml", "io.containerd.corten.v2")) else {
            skip::say(&format!("needs containerd with CRI, crictl and CNI ({release:?})"));
            continue;
        };
        let file = engine.directory.join("pod.json");
        let pod = serde_json::json!({
            "metadata": { "name": "readme", "namespace": "default", "uid": "readme", "attempt": 1 },
            "linux": { "cgroup_parent": engine.cgroup_parent() },
        });
        fs::write(&file, pod.to_string()).unwrap();
        let id = engine.crictl(&["runp", "--runtime", handler, file.to_str().unwrap()]).ok();
        let pods = engine.crictl(&["pods", "-o", "json"]).ok();
        assert!(pods.contains("\"runtimeHandler\": \"corten\""), "{pods}");
        assert_eq!(engine.processes_of("containerd-shim-corten-v2").len(), 1, "{release:?}");
        engine.crictl(&["stopp", id.trim()]).ok();
        engine.crictl(&["rmp", id.trim()]).ok();
    }
}

#[test]
fn docker_in_both_ways() {
    let blocks = blocks("json", "runtimes");
    assert_eq!(blocks.len(), 2);
    for (block, release) in blocks.iter().zip([Release::Distribution, Release::Newer]) {
        let settings: serde_json::Value = serde_json::from_str(block).unwrap();
        let Some(engine) = Engine::docker(release, &settings["runtimes"]["corten"].to_string()) else {
            skip::say(&format!("needs dockerd ({release:?})"));
            continue;
        };
        let said = engine.docker_command("docker run --rm --runtime corten busybox echo hello");
        assert_eq!(said.ok(), "hello\n", "{block}");
    }
}

#[test]
fn podman_by_its_configuration() {
    let podman = needs!(podman(), "root and podman");
    let file = podman.directory.join("readme.conf");
    let more = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n";
    let own = format!(
        "cgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\ntmp_dir = {:?}\n",
        podman.directory.join("tmp")
    );
    let block = block("toml", "runtime_supports_json").replacen("[engine]\n", &format!("[engine]\n{own}"), 1);
    fs::write(&file, format!("{more}{block}")).unwrap();
    let call = |words: &[&str]| {
        podman.unconfigured.call_with(words, |command| {
            command.env("CONTAINERS_CONF", &file);
        })
    };
    assert_eq!(call(&["info", "--format", "{{.Host.OCIRuntime.Name}}"]).ok().stdout.trim(), "corten");
    let run = ["run", "--rm", "--network", "none", "busybox:test"];
    assert_eq!(call(&[&run[..], &["echo", "hello"]].concat()).ok().stdout, "hello\n");
    let missing = call(&[&run[..], &["/no/such"]].concat());
    assert_eq!(missing.code(), 127, "{missing:#?}");
    assert!(missing.stderr.contains("no such file or directory"), "{missing:#?}");
}

/// What CRI-O does for a container of an `oci` runtime: conmon creates it, the runtime starts it, conmon says
/// how it ended.
#[test]
fn conmon_as_crio_calls_it() {
    let conmon = needs!(integration::engine::find("conmon"), "conmon");
    let block = block("toml", "crio.runtime");
    let value = |key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(&format!("{key} = "))).unwrap();
        line.trim_matches('"').to_owned()
    };
    assert_eq!(
        (value("runtime_path"), value("runtime_type")),
        (built("corten").display().to_string(), "oci".into())
    );
    if !runtime().is_ours() {
        skip!("needs Corten");
    }
    let mut c = Container::new();
    c.args(&["/bin/sh", "-c", "echo hello; exit 3"]).write_config();
    let path = |name: &str| c.text_path(name);
    for folder in ["exits", "persist", "root"] {
        fs::create_dir(path(folder)).unwrap();
    }
    let root = format!("--root={}", path("root"));
    let (runtime, bundle) = (value("runtime_path"), c.bundle().to_str().unwrap().to_owned());
    let (pid, log) = (path("conmon-pid"), format!("k8s-file:{}", path("log")));
    let (exits, persist, init, socket) = (path("exits"), path("persist"), path("pid"), path("sockets"));
    fs::create_dir(&socket).unwrap();
    let mut command = Command::new(conmon);
    command.args(["-b", &bundle, "-c", &c.id, "--exit-dir", &exits, "-l", &log, "--log-level", "info"]);
    command.args(["-n", &unique("crio"), "-P", &pid, "-p", &init, "--persist-dir", &persist, "-r", &runtime]);
    command.args(["--runtime-arg", &root, "--socket-dir-path", &socket, "-u", &c.id]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // It goes into the background when the container exists.
    let status = outcome::wait(&mut command.spawn().unwrap(), "conmon");
    assert!(status.success(), "{status:?}");
    outcome::until("the container is created", || fs::read_to_string(&init).is_ok_and(|pid| !pid.is_empty()));
    let call = |words: &[&str]| Command::new(&runtime).arg(&root).args(words).output().unwrap();
    let state = call(&["state", &c.id]);
    assert!(String::from_utf8_lossy(&state.stdout).contains("\"created\""), "{state:?}");
    assert!(call(&["start", &c.id]).status.success());
    let exit = format!("{exits}/{}", c.id);
    outcome::until("conmon tells the exit", || fs::read_to_string(&exit).is_ok_and(|code| code == "3"));
    assert!(fs::read_to_string(path("log")).unwrap().contains("stdout F hello"));
    assert!(call(&["delete", "--force", &c.id]).status.success());
}
