//! Docker Compose's own end-to-end tests, and those of the docker command line, with their own programs. Those that are
//! known not to pass are in `compose.toml`, each with its reason; one that passes all the same is a failure too. It needs
//! Go, and takes many minutes:
//!
//! ```sh
//! integration/tests/lifecycle/fetch-compose.sh && COMPOSE=1 cargo test -p integration --test lifecycle compose
//! ```
//!
//! `COMPOSE=compose/TestUp` runs those whose names begin so. `MOBY_LOGS` is a folder for what each says.
//!
//! What is Docker Hub's comes from a registry of each test's own, by a mirror; it is all made of busybox. Compose builds as
//! it does wherever the engine has no BuildKit in it: with one that runs in a container.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use integration::shim::engine::{Engine, Release};
use integration::shim::pod::until;
use integration::{rootfs, runtime, skip};

use super::images::registry;
use super::moby::{BOX, hold_all, keep, said_by, words_for};
use super::{fetched, has_networks, start};

/// Of the tests of the command line, those that use an engine.
const PACKAGES: [&str; 5] = ["compose", "container", "image", "registry", "system"];

/// What the tests pull, each pushed to where the mirror has it. `BIN` is the folder of the programs, `CORTEN` the runtime.
const IMAGES: &str = r#"mkdir -p box/run box/usr/local/bin box/usr/share/nginx/html context
ln -s /bin/busybox box/usr/bin/env
ln -s /run box/var/run
# What that of Debian does without, and an option with which it crashes.
printf '#!/bin/sh\n[ $# != 0 ] || exec env\neval "echo \\"\$$1\\""\n' > box/usr/bin/printenv
printf '#!/bin/sh\nfor word; do shift; case $word in -T*) ;; *) set -- "$@" "$word" ;; esac; done\nexec busybox wget "$@"\n' > box/usr/bin/wget
printf '#!/bin/sh\nwhile [ $# -gt 1 ]; do shift; done\nexec wget -qO- "$1"\n' > box/usr/bin/curl
chmod 755 box/usr/bin/printenv box/usr/bin/wget box/usr/bin/curl
tar -cC box . > context/box.tar
cp -L --parents $(command -v bash) $(ldd $(command -v bash) | grep -o '/[^ ]*') box
tar -cC box . > context/bash.tar
cd context
printf '#!/bin/sh\n[ "$1" = -t ] || exec httpd -f -p 80 -h /usr/share/nginx/html\necho test is successful >&2\n' > nginx
printf '#!/bin/sh\nexec httpd -f -p ${PORT:-8080} -h /www\n' > server
echo '<h1>Welcome to nginx!</h1>' > index.html
echo '{"word":"x"}' > noun
cp $(command -v docker-registry) BIN/buildkitd BIN/buildctl .
cp CORTEN buildkit-runc
cat > registry.yml <<'END'
{version: 0.1, storage: {filesystem: {rootdirectory: /var/lib/registry}}, http: {addr: ":5000"}}
END
# The way out of its container leads to the mirror.
cat > buildkit <<'END'
#!/bin/sh
mirror=$(ip route | sed -n 's/^default via \([^ ]*\).*/\1:5000/p')
mkdir -p /etc/buildkit
printf '[registry."docker.io"]\nmirrors = ["%s"]\n[registry."%s"]\nhttp = true\n' $mirror $mirror > /etc/buildkit/buildkitd.toml
exec buildkitd "$@"
END
chmod 755 nginx server buildkit
push() {
  cat > Dockerfile
  docker build -q --network none -t 127.0.0.1:5000/$1 . && docker push -q 127.0.0.1:5000/$1
}
path='ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
printf "FROM scratch\nADD box.tar /\n$path\nCMD [\"sh\"]" | push library/busybox:latest
printf "FROM scratch\nADD bash.tar /\n$path\nCMD [\"bash\"]" | push library/bash:latest
docker tag 127.0.0.1:5000/library/busybox box
docker tag 127.0.0.1:5000/library/bash bash
for tag in latest 3.12 3.13.12 3.14 3.15 3.18 3.19 3.20 3.22; do
  printf "FROM box\nRUN echo $tag > /etc/alpine-release\nCMD [\"/bin/sh\"]" | push library/alpine:$tag
done
for name in busybox:1.35.0 debian:latest; do
  printf "FROM bash\nRUN echo $name > /etc/name" | push library/$name
done
printf 'FROM box\nCMD ["echo", "Hello from Docker!"]' | push library/hello-world:latest
printf 'FROM box\nSTOPSIGNAL KILL\nCMD ["sleep", "infinity"]' | push library/mariadb:latest
printf 'FROM box\nSTOPSIGNAL KILL\nCMD ["sleep", "infinity"]' | push gtardif/sentences-db:latest
# The shell of busybox takes its own wget first.
printf 'FROM bash\nRUN ln -sf $(command -v bash) /bin/sh\nCOPY nginx /usr/bin/\nCOPY index.html /usr/share/nginx/html/\nEXPOSE 80\nSTOPSIGNAL KILL\nCMD ["nginx"]' | push library/nginx:latest
docker tag 127.0.0.1:5000/library/nginx nginx
printf 'FROM nginx\nRUN echo 3 > /etc/alpine-release' | push library/nginx:alpine
printf 'FROM box\nENTRYPOINT ["curl"]' | push alpine/curl:latest
printf 'FROM box\nCOPY noun /www/\nCOPY server /usr/bin/java\nEXPOSE 8080\nSTOPSIGNAL KILL\nCMD ["java", "-Xmx8m", "-Xms8m", "-jar", "/app/words.jar"]' | push gtardif/sentences-api:latest
printf 'FROM box\nCOPY noun /www/words/\nCOPY index.html /www/\nCOPY server /dispatcher\nENV PORT=80\nEXPOSE 80\nSTOPSIGNAL KILL\nCMD ["/dispatcher"]' | push gtardif/sentences-web:latest
printf 'FROM bash\nCOPY docker-registry /bin/registry\nCOPY registry.yml /etc/\nEXPOSE 5000\nVOLUME /var/lib/registry\nENTRYPOINT ["registry", "serve", "/etc/registry.yml"]' | push library/registry:3
printf 'FROM box\nCOPY buildkitd buildctl buildkit-runc buildkit /usr/bin/\nVOLUME /var/lib/buildkit\nENTRYPOINT ["buildkit"]' | push moby/buildkit:buildx-stable-1
for name in alpine busybox; do
  docker tag 127.0.0.1:5000/library/$name registry:5000/$name:frozen && docker push -q registry:5000/$name:frozen
done
docker rmi -f $(docker images -q) > /dev/null 2>&1
docker pull -q alpine
docker pull -q moby/buildkit:buildx-stable-1
docker pull -q registry:5000/alpine:frozen
docker pull -q registry:5000/busybox:frozen
# A builder that has begun once, with what most are built on.
for name in alpine busybox debian nginx nginx:alpine; do
  printf "services: {x: {build: {dockerfile_inline: 'FROM $name'}}}" | DOCKER_BUILDKIT=1 docker compose -p warm -f - build --quiet
done
docker rmi warm-x
# What it has stays in its volume; the folder is another for each test.
docker rm -f buildx_buildkit_default"#;

/// A machine as the tests take it for granted: the socket is where it always is, mounts are shared, and a registry has a name.
const HOST: &str = "set -e
cd DIR
mount --make-rshared /
ln -s $PWD/docker.sock /run/docker.sock
{ cat /etc/hosts; echo 127.0.0.1 registry; } > /run/hosts
mount --bind /run/hosts /etc/hosts
mkdir -p .docker/cli-plugins cli-plugins t
echo {} > .docker/config.json";

/// What a run of one test needs.
struct Suite {
    /// What `fetch-compose.sh` has made.
    folder: PathBuf,
    /// The data of an engine that has images and a builder, and that of a registry.
    data: PathBuf,
}

impl Suite {
    /// The images, made once; `None` when something is not on this machine.
    fn prepared() -> Option<Suite> {
        let folder = fetched().join("compose");
        Release::Distribution.find("docker-registry").filter(|_| folder.join("complete").is_file())?;
        let mut suite = Suite { folder, data: PathBuf::new() };
        let mut engine = suite.engine();
        let script = [BOX, IMAGES].concat().replace("BIN", &suite.folder.join("bin").to_string_lossy());
        let script = script.replace("CORTEN", &runtime::built("corten").to_string_lossy());
        let dir = engine.directory.clone();
        let own = dir.display();
        let variables =
            [format!("DOCKER_CONFIG={own}"), "DOCKER_BUILDKIT=0".into(), format!("TMPDIR={own}/t")];
        // It takes minutes, as they do.
        let text = said_by(&engine, &dir, Path::new("/bin/sh"), &variables, &["-c", &script]);
        assert!(text.trim_end().ends_with("buildx_buildkit_default"), "{text}");
        engine.kill("cortend", nix::sys::signal::Signal::SIGTERM);
        suite.data = rootfs::base().join("compose");
        fs::create_dir(&suite.data).unwrap();
        for name in ["data", "registry"] {
            fs::rename(engine.directory.join(name), suite.data.join(name)).unwrap();
        }
        Some(suite)
    }

    /// An engine with a registry, and what there is of data for both.
    fn engine(&self) -> Engine {
        let mut engine = Engine::new(Release::Distribution);
        let dir = engine.directory.clone();
        let link = |from: &Path, to: &str| symlink(from, dir.join(to)).unwrap();
        engine.run(&["sh", "-c", &HOST.replace("DIR", &dir.to_string_lossy())]).ok();
        link(&runtime::built("cortend"), "bin/cortend");
        link(&self.folder.join("bin/docker"), "bin/docker");
        // In the folders of the tests' own configuration and of ours.
        for plugins in [".docker/cli-plugins", "cli-plugins"] {
            link(&self.folder.join("bin/docker-buildx"), &format!("{plugins}/docker-buildx"));
        }
        link(&self.folder.join("compose/bin/build/docker-compose"), "cli-plugins/docker-compose");
        if self.data.is_dir() {
            let from = self.data.join(".").to_string_lossy().into_owned();
            engine.run(&["cp", "-a", &from, &dir.to_string_lossy()]).ok();
        }
        registry(&mut engine, "");
        let more = ["--registry-mirror", "http://127.0.0.1:5000", "--insecure-registry", "registry:5000"];
        start(&mut engine, &more);
        until("the registry answers", || {
            engine.run(&["busybox", "wget", "-qO-", "http://127.0.0.1:5000/v2/"]).status == 0
        });
        engine
    }

    /// The program of a package's tests, and their folder in the source.
    fn place(&self, package: &str) -> (PathBuf, PathBuf) {
        let source =
            if package == "compose" { "compose/pkg/e2e".to_owned() } else { format!("cli/e2e/{package}") };
        (self.folder.join(format!("bin/{package}.test")), self.folder.join(source))
    }

    /// The names of a package's tests.
    fn names(&self, package: &str) -> Vec<String> {
        let mut command = std::process::Command::new(self.place(package).0);
        let said = command.args(["-test.list", "."]).env("TEST_DOCKER_HOST", "-").output().unwrap();
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        text.lines().filter(|line| line.starts_with("Test")).map(|line| format!("{package}/{line}")).collect()
    }

    /// What one test says. It has a copy of its folder, as some write there.
    fn run(&self, name: &str) -> String {
        let (package, test) = name.split_once('/').unwrap();
        let engine = self.engine();
        let dir = engine.directory.display().to_string();
        let (program, source) = self.place(package);
        let copy = engine.directory.join("pkg/e2e");
        fs::create_dir(engine.directory.join("pkg")).unwrap();
        engine.run(&["cp", "-a", &source.to_string_lossy(), &copy.to_string_lossy()]).ok();
        let variables = [
            "TEST_DOCKER_HOST=unix:///run/docker.sock".to_owned(),
            format!("HOME={dir}"),
            format!("TMPDIR={dir}/t"),
        ];
        let text = said_by(&engine, &copy, &program, &variables, &words_for(test));
        keep(name, &text, &engine);
        text
    }
}

#[test]
fn composes_own_tests_pass() {
    let Some(wanted) = std::env::var("COMPOSE").ok().filter(|wanted| !wanted.is_empty()) else {
        return skip::say("needs COMPOSE=1, and many minutes");
    };
    if !has_networks() {
        return skip::say("needs netavark and aardvark-dns");
    }
    let Some(suite) = Suite::prepared() else {
        return skip::say("needs docker-registry, and tests/lifecycle/fetch-compose.sh");
    };
    let wanted = if wanted == "1" { "" } else { &wanted };
    let names = PACKAGES.iter().flat_map(|package| suite.names(package)).collect();
    hold_all("compose", names, wanted, include_str!("compose.toml"), |name| suite.run(name));
}
