//! The options of logs, which are those of dockerd's `json-file`.

use integration::shim::engine::Engine;
use integration::shim::pod::until;
use integration::{proc, skip};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Check, curl, engine, engine_with, hold};

/// Where the files of a container's log are.
const FILES: &str = "log=$(docker inspect -f '{{.LogPath}}' box)";

#[test]
fn attributes_are_written_with_each_line() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let raw = curl("", "v1.51/containers/box/logs?stdout=1&details=1&tail=1");
    let name =
        "docker run -d --network none --name box --label 'odd=a b,c=<d>~*' --label other=x -e V=env -e W=w";
    let options = "--log-opt labels=one --log-opt labels-regex='^od' --log-opt env=V,NONE --log-opt env-regex='^PA.H$' --log-opt tag='{{.Name}}/{{.ImageName}}'";
    let script =
        "echo first; echo second >&2; until [ -e /go ]; do sleep 0.02; done; echo third; echo fourth";
    let run = format!("{name} {options} own sh -c '{script}'");
    let details = "PATH=%2Fbin,V=env,odd=a+b%2Cc%3D%3Cd%3E~%2A,one=1,tag=box%2Fown";
    let line = |text: &str| format!("{details} {text}\n");
    let (first, last) = (line("first"), line("third") + &line("fourth"));
    let follow = "docker logs --details --tail 2 -f box >followed 2>&1 & until grep -s second followed; do sleep 0.02; done; docker exec box touch /go; wait; cat followed";
    let checks: &[(String, i32, &[&str])] = &[
        ("printf 'FROM busybox\nENV PATH=/bin\nLABEL one=1\n' >Dockerfile && docker build -q -t own .".into(), 0, &[]),
        (run, 0, &[]),
        ("until docker logs box 2>&1 | grep second; do sleep 0.02; done".into(), 0, &[]),
        ("docker logs --details box".into(), 0, &[&first]),
        (follow.into(), 0, &[&last]),
        ("docker wait box; docker logs --details --tail 2 box".into(), 0, &[&last]),
        // A time is before them.
        ("since=$(docker logs -t --tail 2 box | head -1 | cut -d' ' -f1); docker logs --details --since $since box | wc -l; docker logs -t --details --since $since box | cut -d' ' -f2-".into(), 0, &["2\n", &last]),
        (raw, 0, &[&line("fourth"), " 200"]),
        ("docker logs box".into(), 0, &["first\nthird\nfourth\n"]),
        (format!(r#"{FILES}; grep first $log; jq -r .attrs.odd $log"#), 0, &[
            r#"{"log":"first\n","stream":"stdout","attrs":{"PATH":"/bin","V":"env","odd":"a b,c=\u003cd\u003e~*","one":"1","tag":"box/own"},"time":"2"#,
            "a b,c=<d>~*\n",
        ]),
        // The name is that of the start; without attributes there is nothing but the space.
        ("docker rename box new && docker start -a new && docker logs --details --tail 1 new && docker rm new".into(), 0, &["tag=new%2Fown "]),
        ("docker run --name box --network none busybox echo plain && docker logs --details box; docker rm box".into(), 0, &["\n plain\n"]),
    ];
    hold(&engine, checks);
}

#[test]
fn options_that_cannot_be_had_are_refused() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let create = |options: &str| format!("docker create --network none {options} busybox true");
    let refused = [
        ("--log-opt invalid=true", "unknown log opt 'invalid' for json-file log driver"),
        (
            "--log-opt compress=true",
            "compress cannot be true when max-file is less than 2 or max-size is not set",
        ),
        ("--log-opt max-size=0", "max-size must be a positive number"),
        ("--log-opt max-file=0", "max-file cannot be less than 1"),
        ("--log-opt env-regex='['", "error parsing regexp"),
        ("--log-opt labels-regex='((a{200}){200}){200}'", "exceeds size limit"),
        ("--log-opt tag='{{upper .Name}}'", "'{{upper .Name}}' is not offered: expected .ID"),
        ("--log-opt mode=non-blocking", "log opt 'mode=non-blocking' is not offered"),
        ("--log-opt mode=odd", "logger: logging mode not supported: odd"),
        ("--log-opt max-buffer-size=1m", "max-buffer-size option is only supported with 'mode=non-blocking'"),
        ("--log-driver syslog", "logger: no log driver named 'syslog' is registered"),
    ];
    let refused = refused.map(|(options, text)| (create(options), 1, [text]));
    hold(&engine, &refused);
    let body = r#"-X POST -H Content-Type:application/json -d '{"Image":"busybox","Cmd":["true"],"HostConfig":{"LogConfig":{"Type":"none","Config":{"invalid":"true"}}}}'"#;
    let checks: &[(String, i32, &[&str])] = &[
        (super::NONE_LEFT.into(), 0, &[]),
        (create("--log-opt mode=blocking --log-opt compress=false"), 0, &[]),
        // Without a log its options are nobody's; the command line has them refused itself.
        (curl(body, "v1.51/containers/create?name=none"), 0, &[" 201"]),
        ("docker logs none".into(), 1, &["configured logging driver does not support reading"]),
    ];
    hold(&engine, checks);
}

/// What is wrong with numbered lines, of which the oldest may be gone: one that is missing or twice; and the last.
const COUNTED: &str = r#"docker logs box | awk 'NR > 1 && $1 != last + 1 { print last, "before", $1 } { last = $1 } END { print NR, "lines to", last }'"#;

#[test]
fn rotated_files_are_compressed_and_read() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let run = "docker run -d --network none --name box --log-opt max-size=20k --log-opt compress=true";
    let lines =
        "for i in $(seq 3000); do echo $i; [ $i != 600 ] || until [ -e /go ]; do sleep 0.02; done; done";
    let checks: &[(String, i32, &[&str])] = &[
        (format!("{run} --log-opt max-file=30 busybox sh -c '{lines}'"), 0, &[]),
        (
            "until docker logs --tail 1 box | grep 600; do sleep 0.05; done; docker logs box | head -1"
                .into(),
            0,
            &["1\n"],
        ),
        // As it grows, too, nothing is missing or there twice.
        (
            format!(
                "{} & sleep 1; docker exec box touch /go; wait; docker wait box",
                COUNTED.replace("logs", "logs -f")
            ),
            0,
            &["3000 lines to 3000\n0\n"],
        ),
        (COUNTED.into(), 0, &["3000 lines to 3000\n"]),
        ("docker logs --tail 700 box | head -1; docker rm box".into(), 0, &["2301\n"]),
        (format!("{run} --log-opt max-file=4 busybox sh -c 'seq 3000' && docker wait box"), 0, &[]),
        (
            format!("{FILES}; ls ${{log%/*}} | sed -n 's/.*-json.log/log/p' | sort | xargs"),
            0,
            &["log log.1.gz log.2.gz log.3.gz\n"],
        ),
        (
            format!(
                "{FILES}; for n in 1 2 3; do gzip -t $log.$n.gz && stat -c %a $log.$n.gz; done; zcat $log.1.gz | tail -1 | jq -r .stream"
            ),
            0,
            &["640\n640\n640\nstdout\n"],
        ),
        (COUNTED.into(), 0, &[" lines to 3000\n"]),
        ("docker rm box".into(), 0, &[]),
    ];
    hold(&engine, checks);
}

#[test]
fn a_log_outlives_a_logger_that_is_killed_while_it_compresses() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    // Each run goes on where the one before has stopped, as far as it is in the log.
    let run = "docker run -d --network none --name box -v $PWD/from:/from --log-opt max-size=4m --log-opt max-file=5 --log-opt compress=true busybox";
    let line = format!(r#"at++ "-{}""#, "x".repeat(200)).replace('"', r#"\""#);
    let script = format!(r#"exec awk -v at=$(cat /from/at) "BEGIN {{ while (1) print {line} }}""#);
    let last = "docker logs --tail 1 box | cut -d- -f1";
    let counted = COUNTED.replace("awk ", "awk -F- ");
    let mut kills = 0;
    engine.docker_command("mkdir from && echo 1 >from/at").ok();
    engine.docker_command(&format!("{run} sh -c '{script}'")).ok();
    for _ in 0..6 {
        // Known before: it may have compressed the file while it is looked for.
        let logger = logger(&engine);
        until("a file is being compressed", || is_compressing(&engine));
        kill(Pid::from_raw(logger), Signal::SIGKILL).unwrap();
        kills += usize::from(is_compressing(&engine));
        let checks: &[Check<'_>] = &[
            ("docker kill box; docker wait box", 0, &[]),
            (&counted, 0, &[" lines to "]),
            // The whole of each run is in it, and the end of the one before.
            (&format!("{last}; echo $(($({last}) + 1)) >from/at; docker start box"), 0, &[]),
        ];
        hold(&engine, checks);
        let said = engine.docker_command(&counted).ok();
        assert!(!said.contains("before"), "{said}");
    }
    assert!(kills > 0, "none was killed while it compressed");
    engine.docker_command("docker rm -f box").ok();
}

/// Whether there is a file that a logger has not compressed yet.
fn is_compressing(engine: &Engine) -> bool {
    let containers = std::fs::read_dir(engine.directory.join("data/containers")).unwrap();
    let mut files = containers.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    files.any(|file| file.unwrap().path().extension() == Some("unfinished".as_ref()))
}

/// The logger's pid.
fn logger(engine: &Engine) -> i32 {
    let is_logger = |pid: &i32| {
        proc::nul_separated(&format!("/proc/{pid}/cmdline")).get(1).is_some_and(|word| word == "logger")
    };
    engine.processes_of("cortend").into_iter().find(is_logger).unwrap()
}

/// Nothing can be written for a while, and then again.
const FULL: &str = r#"say='i=0; while :; do echo said $i; i=$((i+1)); sleep 0.01; done'
docker run -d --name one --network none busybox sh -c "$say"
docker run -d --name many --network none --log-opt max-size=1k --log-opt max-file=3 busybox sh -c "$say"
docker run -d --name stops --network none busybox sh -c "$say"; docker create --name goes busybox
sleep 0.5; dd if=/dev/zero of=data/rest bs=64k 2>/dev/null; dd if=/dev/zero of=data/rest2 bs=1 2>/dev/null; sleep 1
docker stop -t 0 stops && docker rm -f stops goes && docker inspect -f 'runs: {{.State.Running}}' one many
dd if=/dev/zero of=data/rest3 bs=1 2>/dev/null; sleep 0.5; rm data/rest*; since=$(( $(date +%s) + 1 ))
for name in one many; do
  for i in $(seq 50); do docker logs --since $since $name | grep said && break; sleep 0.1; done | head -1
done; docker kill one many; ls data/containers/*/*-json.log* | wc -l
cat data/containers/*/*-json.log* | grep -vc '^{"log":"said [0-9]*\\n","stream":"stdout","time":"[^"]*"}$'"#;

#[test]
fn a_full_disk_ends_no_container() {
    let small = |engine: &Engine| {
        let data = engine.directory.join("data");
        std::fs::create_dir(&data).unwrap();
        engine.run(&["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", &data.display().to_string()]).ok();
    };
    let Some(engine) = engine_with(&[], small) else { return skip::say("needs docker") };
    let wanted = ["\nstops\nstops\ngoes\nruns: true\nruns: true\nsaid ", "\none\nmany\n4\n0\n"];
    hold(&engine, &[(FULL, 1, &wanted)]);
}
