//! docker-py's own tests of the API, all of them. Those that are known not to pass are in `suite.toml`, each
//! with its reason; one that passes all the same is a failure too. It takes minutes:
//!
//! ```sh
//! integration/tests/lifecycle/fetch-clients.sh && DOCKER_PY=1 cargo test -p integration --test lifecycle suite
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use integration::shim::engine::{Engine, Release};
use integration::shim::pod::until;
use integration::skip;

use super::images::registry;
use super::{engine_with, fetched, has_networks};

/// What the tests pull from Docker Hub: all are busybox here, with the user and the folder that they look
/// for, and each an image of its own, of which a prune takes not the names away.
const IMAGES: &str = r#"printf 'FROM busybox\nRUN echo postgres:x:70:70::/:/bin/sh >> /etc/passwd && echo default:x:71:71::/:/bin/sh >> /etc/passwd && mkdir -p /var/opt && busybox --install -s /bin' | docker build -q --network none -t own -
printf 'FROM busybox\nCMD ["echo", "Hello from Docker!"]' | docker build -q -t 127.0.0.1:5000/library/hello-world:latest -
docker push -q 127.0.0.1:5000/library/hello-world:latest
for name in busybox:latest alpine:latest alpine:3.10; do
  printf "FROM own\nLABEL own=$name\n" | docker build -q -t 127.0.0.1:5000/library/$name - && docker push -q 127.0.0.1:5000/library/$name
done
docker rmi -f $(docker images -q) >/dev/null 2>&1
docker pull -q busybox && docker pull -q alpine && docker pull -q alpine:3.10"#;

/// Each test that ran, and whether it passed: lines such as `FAILED tests/integration/x.py::Class::test -
/// why`.
fn outcomes(text: &str) -> BTreeMap<&str, bool> {
    let of = |line| {
        let (kind, rest) = str::split_once(line, ' ')?;
        let name = rest.split(" - ").next()?.trim().strip_prefix("tests/integration/")?;
        matches!(kind, "PASSED" | "FAILED" | "ERROR").then_some((name, kind == "PASSED"))
    };
    text.lines().filter_map(of).collect()
}

/// The reason for which a test is known to fail: that of its own, or of its file or class.
fn reason<'a>(known: &'a BTreeMap<String, String>, name: &str) -> Option<&'a String> {
    known
        .iter()
        .find(|(key, _)| {
            name.strip_prefix(key.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        })
        .map(|(_, why)| why)
}

fn prepared() -> Option<(Engine, PathBuf)> {
    let suite = fetched().join("suite");
    Release::Distribution.find("docker-registry").filter(|_| suite.join("docker-py/tests").is_dir())?;
    let mut engine = engine_with(&["--registry-mirror", "http://127.0.0.1:5000"], |_| {})?;
    registry(&mut engine, "");
    until("the registry answers", || {
        engine.run(&["sh", "-c", "busybox wget -qO- http://127.0.0.1:5000/v2/"]).status == 0
    });
    engine.docker_command(IMAGES).ok();
    Some((engine, suite))
}

#[test]
fn docker_pys_own_tests_pass() {
    if std::env::var_os("DOCKER_PY").is_none() {
        return skip::say("needs DOCKER_PY=1, and minutes");
    }
    if !has_networks() {
        return skip::say("needs netavark and aardvark-dns");
    }
    let Some((engine, suite)) = prepared() else {
        return skip::say("needs docker, docker-registry, and tests/lifecycle/fetch-clients.sh");
    };
    let known: BTreeMap<String, String> = toml::from_str(include_str!("suite.toml")).unwrap();
    let dir = engine.directory.display().to_string();
    // Its tests of contexts leave one behind, below the working directory.
    let run = format!(
        "cd {0}/docker-py && rm -rf contexts && DOCKER_TEST_API_VERSION=1.43 setsid {0}/python/bin/python -m pytest -p no:cacheprovider --timeout 60 -rA -q --tb=short tests/integration >{dir}/suite.log 2>&1 </dev/null & echo $! >{dir}/suite.pid",
        suite.display()
    );
    engine.docker_command(&run).ok();
    // Longer than one command may take.
    let log = || std::fs::read_to_string(engine.directory.join("suite.log")).unwrap_or_default();
    let started = std::time::Instant::now();
    while !log().lines().last().is_some_and(|line| line.contains(" passed") && line.contains(" in ")) {
        assert!(started.elapsed().as_secs() < 1800, "it does not end: {}", log());
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    let log = log();
    let outcomes = outcomes(&log);
    let unexpected: Vec<_> = outcomes
        .iter()
        .filter(|(name, passed)| reason(&known, name).is_some() == **passed)
        .map(|(name, passed)| {
            format!("{name} {}", if *passed { "passed, and is known to fail" } else { "failed" })
        })
        .collect();
    let passed = outcomes.values().filter(|passed| **passed).count();
    println!("docker-py: {passed} of {} passed", outcomes.len());
    assert!(
        passed > 150 && unexpected.is_empty(),
        "{}\n{log}\n{}",
        unexpected.join("\n"),
        engine.log("cortend")
    );
}
