//! The daemon is killed: containers go on, and the next one knows all of them.

use std::io::Write;
use std::os::unix::net::UnixStream;

use integration::runtime;
use integration::shim::engine::Engine;
use integration::shim::pod::until;
use nix::sys::signal::Signal;

use super::{Check, NONE_LEFT, engine, engine_with, hold, start};

/// How many containers there are when the daemon is killed.
const MANY: usize = 50;

#[test]
fn containers_outlive_the_daemon() {
    // A file of its own, to be replaced.
    let copied = |engine: &Engine| {
        let program = engine.directory.join("bin/cortend");
        std::fs::remove_file(&program).unwrap();
        std::fs::copy(runtime::built("cortend"), program).unwrap();
    };
    let Some(mut engine) = engine_with(&[], copied) else { return integration::skip::say("needs docker") };
    // They end when there is a file.
    let n = "mkdir -p gate; docker run -d --network none -v $PWD/gate:/gate";
    let wait = "until [ -e /gate/open ]; do sleep 0.02; done";
    let count = format!(
        "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line $i; sleep 0.01; done; {wait}; printf unfinished; exit 5"
    );
    engine.docker_command(&format!("{n} --name counts busybox sh -c '{count}'")).ok();
    engine
        .docker_command(&format!("{n} --name stays busybox sh -c 'while :; do echo tick; sleep 0.1; done'"))
        .ok();
    let once = format!("mkdir /gate/once 2>/dev/null || exec sleep 1000; {wait}; exit 1");
    engine.docker_command(&format!("{n} --name again --restart always busybox sh -c '{once}'")).ok();
    engine.docker_command(&format!("{n} --name gone --rm busybox sh -c '{wait}'")).ok();
    let stopped = "docker stop -t 0 always && docker inspect -f '{{.State.Status}}' always";
    let always = format!("{n} --name always --restart always busybox sleep 1000 && {stopped}");
    assert!(engine.docker_command(&always).ok().contains("exited"));
    let pids = engine.docker_command("docker inspect -f '{{.State.Pid}}' counts again gone").ok();
    let ending: Vec<&str> = pids.lines().collect();
    let shims = engine.shims();
    assert_eq!((shims.len(), ending.len()), (4, 3));
    engine.kill("cortend", Signal::SIGKILL);
    // Three of them end while nobody is there.
    engine.docker_command("touch gate/open").ok();
    until("three have ended", || !ending.iter().any(|pid| engine.run(&["kill", "-0", pid]).status == 0));
    start(&mut engine, &[]);
    // From now on there is another version on disk.
    engine.docker_command("printf '#!/bin/sh\nexit 1' >new && chmod +x new && mv new bin/cortend").ok();
    let checks: &[Check<'_>] = &[
        ("docker wait counts", 0, &["5"]),
        ("docker logs counts | wc -l", 0, &["300"]),
        ("docker logs --tail 1 counts", 0, &["unfinished"]),
        ("docker exec stays echo inside", 0, &["inside"]),
        (
            "until docker inspect -f '{{.State.Status}} {{.RestartCount}}' again | grep 'running [1-9]'; do sleep 0.1; done",
            0,
            &[],
        ),
        ("until ! docker inspect gone >/dev/null 2>&1; do sleep 0.1; done", 0, &[]),
        // Only until the engine is started again.
        ("until docker inspect -f '{{.State.Status}}' always | grep running; do sleep 0.1; done", 0, &[]),
        (
            "docker logs --tail 1 -f stays >ticks & until [ $(wc -l <ticks) -ge 2 ]; do sleep 0.05; done; docker stop -t 0 stays; wait; cat ticks",
            0,
            &["tick\ntick"],
        ),
        ("docker start stays && docker rm -f stays again counts always", 0, &[]),
        (NONE_LEFT, 0, &[]),
    ];
    hold(&engine, checks);
    until("no shim is left", || engine.shims().is_empty());
}

/// A setup of netavark's that takes two seconds after the namespace was opened.
const SLOW_NETAVARK: &str = r#"real=/usr/lib/podman/netavark; cp $real netavark.real
cat >netavark.slow <<END
#!/bin/sh
[ "\$5" = setup ] || exec $PWD/netavark.real "\$@"
exec 3<"\$6"; touch $PWD/begun; sleep 2
$PWD/netavark.real "\$1" "\$2" "\$3" "\$4" setup /proc/\$\$/fd/3; touch $PWD/ended
END
chmod +x netavark.slow && mount --bind netavark.slow $real"#;

#[test]
fn a_start_that_was_broken_off_leaves_no_namespace() {
    let Some(mut engine) = engine() else { return integration::skip::say("needs docker") };
    if !super::has_networks() {
        return integration::skip::say("needs netavark and aardvark-dns");
    }
    for pause in ["0.05", "0.1", "0.2"] {
        let start_one = format!(
            "docker create --name half -p 9099:80 busybox sleep 1000 && (docker start half >/dev/null 2>&1 & sleep {pause})"
        );
        engine.docker_command(&start_one).ok();
        engine.kill("cortend", Signal::SIGKILL);
        start(&mut engine, &[]);
        engine.docker_command("docker rm -f half").ok();
        let left = engine.run(&["ls", "-A", "/run/corten/n"]).ok();
        assert_eq!(left, "", "after {pause} s");
    }
    // netavark does not end with the engine: what it makes after that is taken back too.
    engine.docker_command(SLOW_NETAVARK).ok();
    engine.docker_command("docker create --name half -p 9099:80 busybox sleep 1000; docker start half >/dev/null 2>&1 & until [ -e begun ]; do sleep 0.02; done").ok();
    engine.kill("cortend", Signal::SIGKILL);
    start(&mut engine, &[]);
    engine.docker_command("until [ -e ended ]; do sleep 0.1; done; docker rm -f half").ok();
    let left = "nat=$(iptables-save -t nat) && names=$(ls -A /run/corten/n) && [ -z \"$names\" ] && ! echo \"$nat\" | grep -E 'DNAT.*to-dest'";
    until("nothing is left", || engine.run(&["sh", "-c", left]).status == 0);
    until("no shim is left", || engine.shims().is_empty());
}

#[test]
fn fifty_containers_are_taken_up_again() {
    let Some(mut engine) = engine() else { return integration::skip::say("needs docker") };
    // Each policy has containers that stay, and some that end while nobody is there.
    let create = format!(
        "i=0; while [ $i -lt {MANY} ]; do
           case $((i % 5)) in
             0) set -- --restart always busybox sleep 1000;;
             1) set -- --restart unless-stopped busybox sleep 1000;;
             2) set -- --restart on-failure:3 busybox sh -c 'read x; exit 7';;
             3) set -- busybox sh -c 'read x; exit 9';;
             4) set -- --restart always busybox sh -c 'read x; exit 1';;
           esac
           docker create -i --network none --name c$i -l kind=many \"$@\" >/dev/null || exit 1
           i=$((i+1))
         done
         docker start $(docker ps -aq) | wc -l"
    );
    assert_eq!(engine.docker_command(&create).ok().trim(), MANY.to_string());
    let pids = "docker inspect -f '{{.Name}} {{.State.Pid}}' $(docker ps -q) | sort";
    let before = engine.docker_command(pids).ok();
    assert_eq!(before.lines().count(), MANY);
    let shims = engine.shims();
    engine.kill("cortend", Signal::SIGKILL);
    start(&mut engine, &[]);
    assert_eq!(engine.docker_command(pids).ok(), before, "all of them, with the processes they had");
    let mut now = engine.shims();
    now.sort_unstable();
    assert_eq!(
        now,
        {
            let mut shims = shims;
            shims.sort_unstable();
            shims
        },
        "no shim more, no shim less"
    );
    // Thirty end while nobody is there: those with a policy run again, those without are known to have been
    // killed.
    let ending = "for i in $(seq 0 49); do case $((i % 5)) in 2|3|4) docker inspect -f '{{.State.Pid}}' c$i;; esac; done";
    let ending = engine.docker_command(ending).ok();
    engine.kill("cortend", Signal::SIGKILL);
    engine.docker_command(&format!("kill -9 {}", ending.replace('\n', " "))).ok();
    start(&mut engine, &[]);
    let count = |fields: &str, wanted: &str, number: usize| {
        let script = format!("docker inspect -f '{fields}' $(docker ps -aq) | grep -c '{wanted}'");
        until(wanted, || engine.docker_command(&script).out.trim() == number.to_string());
    };
    count("{{.State.Status}} {{.RestartCount}}", "running 0", 20);
    count("{{.State.Status}} {{.RestartCount}}", "running 1", 20);
    count("{{.State.Status}} {{.State.ExitCode}}", "exited 137", 10);
    engine.docker_command("docker rm -f $(docker ps -aq)").ok();
    until("no shim is left", || engine.shims().is_empty());
}

#[test]
fn a_daemon_without_descriptors_takes_no_container_for_lost() {
    let Some(mut engine) = engine() else { return integration::skip::say("needs docker") };
    let run = "for i in $(seq 20); do docker run -d --network none busybox sleep 1000; done >/dev/null; docker inspect -f '{{.State.Pid}}' $(docker ps -q | sort)";
    let before = engine.docker_command(run).ok();
    engine.kill("cortend", Signal::SIGKILL);
    // Enough for some of them alone, and then for all.
    let poor = format!(
        "prlimit --nofile=24:1000 cortend -H unix://$PWD/docker.sock --root $PWD/data --exec-root /run/corten --cgroup-parent {} 2>poor & sleep 2; prlimit --pid $! --nofile=1000; for i in $(seq 100); do timeout 5 docker version >/dev/null 2>&1 && break; sleep 0.1; done; sleep 1; docker inspect -f '{{{{.State.Pid}}}}' $(docker ps -q | sort); kill -9 $!",
        engine.cgroup_parent()
    );
    let said = engine.docker_command(&poor);
    assert_eq!(before, said.out, "{} {}", said.err, engine.docker_command("cat poor").out);
}

#[test]
fn clients_that_go_leave_nothing_open() {
    let Some(engine) = engine() else { return integration::skip::say("needs docker") };
    let script = r#"docker run -d --name quiet --network none busybox sleep 1000
daemon=$(pgrep -xo cortend); open() { ls /proc/$daemon/fd | wc -l; }
for what in 'logs -f quiet' events 'wait quiet' 'attach quiet' stats; do
  before=$(open) clients=
  for i in $(seq 10); do docker $what >/dev/null 2>&1 </dev/null & clients="$clients $!"; done
  until [ $(open) -ge $((before + 10)) ]; do sleep 0.05; done
  kill -9 $clients
  for i in $(seq 50); do [ $(open) -le $before ] && echo "none of: $what" && break; sleep 0.1; done
done"#;
    let wanted = ["of: logs", "of: events", "of: wait quiet", "of: attach", "of: stats"];
    hold(&engine, &[(script, 0, &wanted)]);
}

#[test]
fn a_container_whose_record_is_damaged_keeps_its_files() {
    let Some(mut engine) = engine() else { return integration::skip::say("needs docker") };
    engine.docker_command("docker create --name box --network none busybox echo whole").ok();
    engine.kill("cortend", Signal::SIGKILL);
    engine
        .docker_command(
            "mv data/containers/*/container.json kept && echo '{' >$(echo data/containers/*)/container.json",
        )
        .ok();
    start(&mut engine, &[]);
    engine
        .docker_command("docker rmi -f busybox && docker image prune -af && [ -z \"$(docker ps -aq)\" ]")
        .ok();
    engine.kill("cortend", Signal::SIGKILL);
    engine.docker_command("mv kept $(echo data/containers/*)/container.json").ok();
    start(&mut engine, &[]);
    hold(&engine, &[("docker start -a box", 0, &["whole"])]);
}

#[test]
fn a_machine_that_was_restarted_has_its_containers_again() {
    let Some(mut engine) = engine() else { return integration::skip::say("needs docker") };
    if !super::has_networks() {
        return integration::skip::say("needs netavark and aardvark-dns");
    }
    let serve = "sh -c 'echo $HOSTNAME >>/data/starts; cp /data/starts .; exec httpd -f -p 80'";
    let before = [
        "set -e; docker network create near; docker volume create kept; docker volume create -o type=tmpfs -o device=x lost",
        &format!("docker run -d --name server --restart always --network near -p 8080:80 -v kept:/data -v lost:/lost -h s busybox {serve}"),
        "docker run -d --name old --restart always -h o busybox sleep 1000; docker pause old",
        "for i in 1 2 3; do docker run -d --name joins$i --restart unless-stopped --network container:server --ipc container:linked$((i-1)) busybox sleep 1000 2>/dev/null ||
           docker run -d --name joins$i --restart unless-stopped --network container:server busybox sleep 1000
           docker run -d --name linked$i --ipc shareable --restart always --link old:one busybox sleep 1000; done",
        "docker run -d --name once busybox sleep 1000; docker run -d --rm --name gone busybox sleep 1000",
        "docker run -d --name failing --restart on-failure busybox sleep 1000",
        "docker run -d --name stopped --restart unless-stopped busybox sleep 1000; docker stop -t 0 stopped",
    ];
    engine.docker_command(&before.join("\n")).ok();
    engine.reboot();
    start(&mut engine, &[]);
    let up = "failing\njoins1\njoins2\njoins3\nlinked1\nlinked2\nlinked3\nold\nserver\n";
    let status = "docker inspect -f '{{.State.Status}} {{.State.ExitCode}}'";
    let all = "n=0; until [ $(docker ps -q -f status=running | wc -l) = 9 ] || [ $((n+=1)) -gt 200 ]; do sleep 0.1; done";
    let checks = [
        (format!("{all}; docker ps --format '{{{{.Names}}}}' -f status=running | sort"), 0, vec![up]),
        (format!("{status} once stopped; docker ps -aq | wc -l"), 0, vec!["exited 255\nexited", "\n11\n"]),
        ("curl -sf http://127.0.0.1:8080/starts".into(), 0, vec!["s\ns\n"]),
        ("docker run --rm --network near busybox wget -qO- http://server/starts".into(), 0, vec!["s\ns\n"]),
        ("for i in 1 2 3; do docker exec joins$i wget -qO- http://127.0.0.1/starts; done | wc -l".into(), 0, vec!["6\n"]),
        ("for i in 1 2 3; do docker exec linked$i cat /etc/hosts; done | grep -c \"$(docker inspect -f '{{.NetworkSettings.IPAddress}}' old).one\"".into(), 0, vec!["3\n"]),
        ("docker exec server grep ' /lost ' /proc/mounts".into(), 0, vec!["tmpfs"]),
        ("docker rm -f $(docker ps -aq) | wc -l; docker network rm near && docker volume rm kept lost && iptables-save -t nat >nat && ! grep DNAT.*to-dest nat".into(), 0, vec!["11\n"]),
    ];
    hold(&engine, &checks);
    until("no shim is left", || engine.shims().is_empty());
}

/// An image whose volumes take a while to be filled.
const FULL_OF_FILES: &str = r#"mkdir ctx && cat > ctx/Dockerfile <<'END'
FROM busybox
RUN for d in 1 2 3 4; do mkdir /$d; i=0; while [ $i -lt 4000 ]; do : > /$d/$i; i=$((i+1)); done; done
VOLUME /1 /2 /3 /4
CMD ["true"]
END
DOCKER_BUILDKIT=0 docker build -q --network none -t full ctx; docker create --name taken busybox"#;

#[test]
fn what_was_being_made_or_had_ended_is_known_for_what_it_is() {
    let Some(mut engine) = engine() else { return integration::skip::say("needs docker") };
    engine.docker_command(FULL_OF_FILES).ok();
    let making = "docker create --name half -v named:/1 full >/dev/null 2>&1 & until docker inspect -f '{{len .Mounts}}' half 2>&1 | grep -q '^[1-9]'; do :; done";
    let meanwhile: &[Check<'_>] = &[
        // Names and volumes are taken before anything is copied.
        (
            "docker create --name taken -v other:/x full; docker volume inspect other",
            1,
            &["Conflict", "no such volume"],
        ),
        (&format!("{making}; docker volume rm named"), 1, &["volume is in use"]),
        ("docker start -a half && docker rm -v half && docker volume rm named", 0, &[]),
        // What was made for what is refused then.
        (
            "docker create --mount type=volume,dst=/a --mount type=bind,src=/nowhere,dst=/b busybox",
            1,
            &["/nowhere"],
        ),
        ("docker volume ls -q | wc -l", 0, &["0"]),
        ("docker create --rm --name goes -v /made busybox", 0, &[]),
        (making, 0, &[]),
    ];
    hold(&engine, meanwhile);
    engine.kill("cortend", Signal::SIGKILL);
    start(&mut engine, &[]);
    let after: &[Check<'_>] = &[
        ("docker ps -aq | wc -l; docker volume ls -q", 0, &["1\nnamed\n"]),
        ("docker run -d --network none --name ends --restart on-failure:1 busybox sleep 0.5", 0, &[]),
    ];
    hold(&engine, after);
    // Its end is cleaned up after.
    let state = engine.docker_command("echo /run/corten/r/corten/$(docker inspect -f '{{.Id}}' ends)").ok();
    until("it has ended", || engine.run(&["test", "-e", state.trim()]).status != 0);
    engine.kill("cortend", Signal::SIGKILL);
    start(&mut engine, &[]);
    let told =
        "docker wait ends; docker inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}' ends";
    hold(&engine, &[(told, 0, &["0\nexited 0 0\n"])]);
}

#[test]
fn clients_that_read_nothing_keep_nobody_from_an_answer() {
    let Some(engine) = engine() else { return integration::skip::say("needs docker") };
    let lines = r#"awk 'BEGIN { while (i < 40000) print "one line of many:", i++ }'"#;
    engine.docker_command(&format!("docker run --network none --name chat busybox {lines} >/dev/null")).ok();
    let open = || {
        let mut stream = UnixStream::connect(engine.directory.join("docker.sock")).unwrap();
        let request = b"GET /containers/chat/logs?stdout=1 HTTP/1.1\r\nHost: engine\r\n\r\n";
        stream.write_all(request).unwrap();
        stream
    };
    // More than a pool of threads has by itself.
    let clients: Vec<_> = (0..600).map(|_| open()).collect();
    hold(
        &engine,
        &[("docker logs --tail 1 chat && docker rm chat", 0, &["one line of many: 39999\nchat\n"])],
    );
    drop(clients);
}
