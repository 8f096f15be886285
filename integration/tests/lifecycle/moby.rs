//! Docker's own integration tests, of the engine and of the command line, those of its newest engine that Go's
//! proxy has as source. Those that are known not to pass are in `moby.toml`, each with its reason; one that passes
//! all the same is a failure too. It needs Go, and takes many minutes:
//!
//! ```sh
//! integration/tests/lifecycle/fetch-moby.sh && MOBY=1 cargo test -p integration --test lifecycle moby
//! ```
//!
//! `MOBY=container/TestExec` runs those whose names begin so. `MOBY_LOGS` is a folder for what each says.
//!
//! Each test has an engine of its own, with the images that it looks for: what it or the daemons that it
//! starts leave behind is gone with the engine's namespaces, and one that panics or hangs hides no other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;

use integration::shim::engine::{Engine, Release};
use integration::{rootfs, runtime, skip};

use super::{fetched, has_networks, start};

/// Of the engine's API. Those of swarm and of plugins are left out, and those of dockerd's own options.
const PACKAGES: [&str; 8] =
    ["build", "container", "image", "network", "networking", "session", "system", "volume"];

/// The tests of the command line, which have a folder and names of their own.
const COMMANDS: &str = "integration-cli";

/// Suites of these that are about swarm, plugins and dockerd's own options.
const LEFT_OUT: [&str; 6] = [
    "DockerCLIPluginLogDriverSuite",
    "DockerCLIPluginsSuite",
    "DockerDaemonSuite",
    "DockerExternalVolumeSuite",
    "DockerPluginSuite",
    "DockerSwarmSuite",
];

/// A tree of busybox with all its names, `box`, and as an archive.
pub(super) const BOX: &str = r#"set -e
mkdir -p box/bin box/dev box/etc box/home box/proc box/root box/sys box/tmp box/usr/bin box/usr/sbin box/var/spool/mail box/var/www
chmod 1777 box/tmp
chmod 700 box/root
cp "$(command -v busybox)" box/bin/busybox
for name in $(busybox --list); do [ $name = busybox ] || ln -s busybox box/bin/$name; done
cat > box/etc/passwd <<'END'
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
sys:x:3:3:sys:/dev:/bin/false
mail:x:8:8:mail:/var/spool/mail:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
operator:x:37:37:Operator:/var:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
END
cat > box/etc/group <<'END'
root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
disk:x:6:
mail:x:8:
wheel:x:10:root
video:x:28:
audio:x:29:
www-data:x:33:
operator:x:37:
staff:x:50:
users:x:100:
nobody:x:65534:
END
# That of Debian does without these.
cat > box/bin/addgroup <<'END'
#!/bin/sh
while getopts g:S option; do
  case $option in g) id=$OPTARG ;; esac
done
shift $((OPTIND - 1))
echo "$1:x:${id:-1000}:" >> /etc/group
END
cat > box/bin/adduser <<'END'
#!/bin/sh
id=1000
while getopts DHSu:G: option; do
  case $option in u) id=$OPTARG ;; G) group=$OPTARG ;; esac
done
shift $((OPTIND - 1))
[ "$group" ] || { group=$1; addgroup -g $id $1; }
echo "$1:x:$id:$(sed -n "s/^$group:x:\([0-9]*\):.*/\1/p" /etc/group)::/home/$1:/bin/sh" >> /etc/passwd
END
chmod 755 box/bin/addgroup box/bin/adduser
tar -cC box . > box.tar
"#;

/// What the tests would find in the folder of Docker's own builds: images of that tree, and of the smallest program. `HELLO`
/// is the folder of that.
const IMAGES: &str = r#"path='ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
for tag in latest glibc; do docker import -c "$path" -c 'CMD ["sh"]' box.tar busybox:$tag; done
cp -a box debian
for program in bash findmnt; do
  path=$(command -v $program)
  cp -L --parents $path $(ldd $path | grep -o '/[^ ]*') debian
done
tar -cC debian . | docker import -c 'CMD ["bash"]' - debian:trixie-slim
for architecture in amd64 arm64; do
  tar --transform s/$architecture/hello/ -cC HELLO $architecture |
    docker import --platform linux/$architecture -c 'CMD ["/hello"]' - hello-world:$architecture
done
tar --transform s/amd64/hello/ -cC HELLO amd64 | docker import -c 'CMD ["/hello"]' - hello-world:frozen"#;

/// Stands for dockerd where a test starts one: as many of its options as there are here.
const DOCKERD: &str = r#"#!/bin/bash
words=(--cgroup-parent CGROUP)
while [ $# -gt 0 ]; do
  case $1 in
    --data-root) words+=(--root "$2"); shift ;;
    --exec-root | --host) words+=("$1" "$2"); shift ;;
    --registry-mirror=* | --insecure-registry=*) words+=("$1") ;;
    --pidfile) echo $$ > "$2"; shift ;;
  esac
  shift
done
[ ! "$DOCKER_TEST_RESOLV_CONF_PATH" ] || mount --bind "$DOCKER_TEST_RESOLV_CONF_PATH" /etc/resolv.conf
exec cortend "${words[@]}"
"#;

/// Makes the engine's namespaces a machine as the tests take it for granted: mounts are shared, as by systemd,
/// interfaces are in /sys, and there is a network, in which the name answers by which they find out their own address.
const HOST: &str = "set -e
mount --make-rshared /
mkdir -p /run/sys
mount -t sysfs sys /run/sys
for tree in class/net devices/virtual/net; do mount --bind /run/sys/$tree /sys/$tree; done
ip link add eth0 type veth peer name wire
ip address add 192.0.2.1/24 dev eth0
ip link set wire up
ip link set eth0 up
{ cat /etc/hosts; echo 192.0.2.1 hub.docker.com; } > /run/hosts
mount --bind /run/hosts /etc/hosts
mkdir /run/t
busybox httpd -p 192.0.2.1:80 -h /run/t";

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Passed,
    Failed,
    Skipped,
}

/// What a run of one test needs.
struct Suite {
    /// What `fetch-moby.sh` has made.
    folder: PathBuf,
    /// The data of an engine that has the images.
    data: PathBuf,
}

/// An engine with this folder of data, and none of its own programs started but the daemon.
fn engine(data: Option<&Path>) -> Engine {
    let mut engine = Engine::new(Release::Distribution);
    let bin = engine.directory.join("bin");
    symlink(runtime::built("cortend"), bin.join("cortend")).unwrap();
    if let Some(busybox) = Release::Distribution.find("busybox") {
        symlink(busybox, bin.join("ping")).unwrap();
    }
    if let Some(registry) = Release::Distribution.find("docker-registry") {
        symlink(registry, bin.join("registry")).unwrap();
    }
    fs::write(bin.join("dockerd"), DOCKERD.replace("CGROUP", &engine.cgroup_parent())).unwrap();
    fs::set_permissions(bin.join("dockerd"), fs::Permissions::from_mode(0o755)).unwrap();
    engine.run(&["sh", "-c", HOST]).ok();
    if let Some(data) = data {
        let own = engine.directory.join("data");
        engine.run(&["cp", "-a", &data.to_string_lossy(), &own.to_string_lossy()]).ok();
    }
    start(&mut engine, &[]);
    engine
}

impl Suite {
    /// The images, made once; `None` when something is not on this machine.
    fn prepared() -> Option<Suite> {
        let folder = fetched().join("moby");
        Release::Distribution.find("docker").filter(|_| folder.join("complete").is_file())?;
        let mut engine = engine(None);
        let hello = folder.join("hello");
        engine.docker_command(&[BOX, IMAGES].concat().replace("HELLO", &hello.to_string_lossy())).ok();
        engine.kill("cortend", nix::sys::signal::Signal::SIGTERM);
        let data = rootfs::base().join("moby");
        fs::rename(engine.directory.join("data"), &data).unwrap();
        Some(Suite { folder, data })
    }

    /// The names of the command line's tests, as their source has them: the program does not list its suites'.
    fn commands(&self) -> Vec<String> {
        let mut names = Vec::new();
        for file in fs::read_dir(self.folder.join("source").join(COMMANDS)).unwrap() {
            let path = file.unwrap().path();
            if !path.to_string_lossy().ends_with("_test.go") || path.to_string_lossy().contains("_windows_") {
                continue;
            }
            for line in fs::read_to_string(path).unwrap().lines() {
                let method = line.strip_prefix("func (s *").and_then(|line| line.split_once(") "));
                let Some((suite, rest)) = method else { continue };
                let test = rest.split('(').next().unwrap_or_default();
                if test.starts_with("Test") && !LEFT_OUT.contains(&suite) {
                    names.push(format!("{COMMANDS}/Test{suite}/{test}"));
                }
            }
        }
        names.sort();
        assert!(!names.is_empty());
        names
    }

    /// The names of a package's tests. It asks an engine for them.
    fn names(&self, package: &str) -> Vec<String> {
        let engine = engine(Some(&self.data));
        let text = self.output(&engine, package, &["-test.list", "."]);
        let name = |line: &str| line.starts_with("Test").then(|| format!("{package}/{line}"));
        let names: Vec<_> = text.lines().filter_map(name).collect();
        assert!(!names.is_empty(), "{package}: {text}");
        names
    }

    /// What one test says.
    fn run(&self, name: &str) -> String {
        let (package, test) = name.split_once('/').unwrap();
        let engine = engine(Some(&self.data));
        let text = self.output(&engine, package, &words_for(test));
        keep(name, &text, &engine);
        text
    }

    /// What the tests of a package say with these arguments.
    fn output(&self, engine: &Engine, package: &str, words: &[impl AsRef<str>]) -> String {
        let dir = engine.directory.display().to_string();
        let within = if package == COMMANDS { "source" } else { "source/integration" };
        let folder = self.folder.join(within).join(package);
        let program = self.folder.join(format!("bin/{package}.test"));
        let variables = [
            format!("DOCKER_HOST=unix://{dir}/docker.sock"),
            format!("DEST={dir}/dest"),
            // Below it are the sockets of other daemons' shims: a long path is none for these.
            "TMPDIR=/run/t".to_owned(),
            format!("HOME={dir}"),
            // Its own builds test an old one, too.
            "TEST_CLIENT_BINARY=/usr/bin/docker".to_owned(),
            // Otherwise they expect images as containerd keeps them.
            "TEST_INTEGRATION_USE_GRAPHDRIVER=1".to_owned(),
        ];
        said_by(engine, &folder, &program, &variables, words)
    }
}

/// The arguments with which a program of tests runs one.
pub(super) fn words_for(test: &str) -> Vec<String> {
    let only: Vec<_> = test.split('/').map(|part| format!("^{part}$")).collect();
    let words = ["-test.v", "-test.timeout", "300s", "-test.parallel", "2", "-test.run", &only.join("/")];
    words.map(str::to_owned).to_vec()
}

/// Keeps what a test and the engine have said, where somebody wants it.
pub(super) fn keep(name: &str, text: &str, engine: &Engine) {
    if let Some(folder) = std::env::var_os("MOBY_LOGS").map(PathBuf::from) {
        fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        fs::write(folder.join(format!("{name}.log")), text).unwrap();
        fs::write(folder.join(format!("{name}.cortend")), engine.log("cortend")).unwrap();
    }
}

/// What a program of tests says, in its folder. The time it has is its own to keep to: only one that hangs is killed.
pub(super) fn said_by(
    engine: &Engine,
    folder: &Path,
    program: &Path,
    variables: &[String],
    words: &[impl AsRef<str>],
) -> String {
    let (folder, program) = (folder.to_string_lossy(), program.to_string_lossy());
    let mut line = vec!["env", "-C", &folder];
    line.extend(variables.iter().map(String::as_str));
    line.extend(["timeout", "-k", "5", "320", &*program]);
    line.extend(words.iter().map(AsRef::as_ref));
    let log = engine.directory.join("tests.log");
    let file = File::create(&log).unwrap();
    let mut command = engine.command(&line);
    command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
    command.status().unwrap();
    String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned()
}

/// How each test of a package ended, and each of its parts. One that began and of whose end nothing is said
/// has failed: it hung, or panicked.
fn ends(package: &str, text: &str) -> BTreeMap<String, End> {
    let mut ends = BTreeMap::new();
    for line in text.lines() {
        let line = line.trim_start();
        let named = |prefix| {
            let rest = str::strip_prefix(line, prefix)?.trim_start();
            Some(format!("{package}/{}", rest.split(' ').next()?))
        };
        if let Some(name) = named("=== RUN ") {
            ends.entry(name).or_insert(End::Failed);
        }
        let kinds = [("--- PASS: ", End::Passed), ("--- FAIL: ", End::Failed), ("--- SKIP: ", End::Skipped)];
        for (prefix, end) in kinds {
            if let Some(name) = named(prefix) {
                ends.insert(name, end);
            }
        }
    }
    ends
}

/// Whether a test is this one or a part of it.
fn is_part(name: &str, whole: &str) -> bool {
    name.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What is not as `known` says; it may also be so `sometimes: `. A test that failed in its parts is judged by these alone.
fn unexpected(ends: &BTreeMap<String, End>, known: &BTreeMap<String, String>) -> Vec<String> {
    let failed: BTreeSet<&String> =
        ends.iter().filter(|(_, end)| **end == End::Failed).map(|(name, _)| name).collect();
    let by_itself = |name: &&&String| !failed.iter().any(|other| *other != **name && is_part(other, name));
    let is_known = |name: &str| known.keys().any(|key| is_part(name, key));
    let news = failed.iter().filter(by_itself).filter(|name| !is_known(name));
    let mut said: Vec<String> = news.map(|name| format!("{name} failed")).collect();
    for (key, why) in known {
        let mut parts = ends.iter().filter(|(name, _)| is_part(name, key)).peekable();
        if parts.peek().is_none() {
            said.push(format!("{key} is known to fail, and there is no such test"));
        } else if parts.clone().any(|(_, end)| *end == End::Passed)
            && !failed.iter().any(|name| is_part(name, key))
            && !why.starts_with("sometimes: ")
        {
            said.push(format!("{key} passed, and is known to fail"));
        }
    }
    said
}

/// How all of these tests ended, some of them beside each other: most wait.
fn run_all(names: Vec<String>, run: impl Fn(&str) -> String + Sync) -> BTreeMap<String, End> {
    let queue = Mutex::new(names.into_iter());
    let all = Mutex::new(BTreeMap::new());
    let work = || {
        loop {
            let Some(name) = queue.lock().unwrap().next() else { return };
            let package = name.split('/').next().unwrap();
            let mut ends = ends(package, &run(&name));
            ends.entry(name).or_insert(End::Failed);
            all.lock().unwrap().append(&mut ends);
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
    all.into_inner().unwrap()
}

#[test]
fn mobys_own_tests_pass() {
    let Some(wanted) = std::env::var("MOBY").ok().filter(|wanted| !wanted.is_empty()) else {
        return skip::say("needs MOBY=1, and many minutes");
    };
    if !has_networks() {
        return skip::say("needs netavark and aardvark-dns");
    }
    let Some(suite) = Suite::prepared() else {
        return skip::say("needs docker, and tests/lifecycle/fetch-moby.sh");
    };
    let wanted = if wanted == "1" { "" } else { &wanted };
    let is_wanted = |name: &&&str| name.starts_with(wanted) || is_part(wanted, name);
    let names = PACKAGES.iter().filter(is_wanted).flat_map(|package| suite.names(package));
    let commands = [COMMANDS].iter().filter(is_wanted).flat_map(|_| suite.commands());
    hold_all("moby", names.chain(commands).collect(), wanted, include_str!("moby.toml"), |name| {
        suite.run(name)
    });
}

/// Runs those of the tests whose names begin so, and fails with all that is not as `known` says.
pub(super) fn hold_all(
    title: &str,
    mut names: Vec<String>,
    wanted: &str,
    known: &str,
    run: impl Fn(&str) -> String + Sync,
) {
    names.retain(|name| name.starts_with(wanted) || is_part(wanted, name));
    let mut known: BTreeMap<String, String> = toml::from_str(known).unwrap();
    let is_asked = |key: &str| names.iter().any(|name| is_part(key, name) || is_part(name, key));
    known.retain(|key, _| wanted.is_empty() || is_asked(key));
    assert!(!names.is_empty(), "{wanted}: there is no such test");
    let packages: BTreeSet<String> =
        names.iter().filter_map(|name| Some(name.split_once('/')?.0.to_owned())).collect();
    let ends = run_all(names, run);
    for name in packages {
        let count = |end| ends.iter().filter(|(test, is)| is_part(test, &name) && **is == end).count();
        let [passed, failed, skipped] = [End::Passed, End::Failed, End::Skipped].map(count);
        println!("{title} {name}: {passed} passed, {failed} failed, {skipped} skipped");
    }
    let unexpected = unexpected(&ends, &known);
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
}

#[test]
fn mobys_results_are_read() {
    let text = "=== RUN   TestA\n=== RUN   TestA/b_c\n    --- FAIL: TestA/b_c (0.00s)\n--- FAIL: TestA (0.10s)\n\
                === RUN   TestB\n--- PASS: TestB (1.00s)\n=== RUN   TestC\n--- SKIP: TestC (0.00s)\n\
                === RUN   TestD\npanic: test timed out after 5m0s\n";
    let ends = ends("p", text);
    assert_eq!(ends["p/TestA/b_c"], End::Failed);
    assert_eq!(ends["p/TestB"], End::Passed);
    assert_eq!(ends["p/TestC"], End::Skipped);
    let known = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), String::new())).collect();
    let all = ["p/TestA/b_c failed", "p/TestD failed"];
    assert_eq!(unexpected(&ends, &known(&[])), all);
    assert_eq!(unexpected(&ends, &known(&["p/TestA", "p/TestD"])), [""; 0]);
    assert_eq!(unexpected(&ends, &known(&["p/TestA/b_c", "p/TestD", "p/TestC"])), [""; 0]);
    let stale = unexpected(&ends, &known(&["p/TestA", "p/TestD", "p/TestB", "p/TestE"]));
    assert_eq!(stale.len(), 2, "{stale:?}");
}
