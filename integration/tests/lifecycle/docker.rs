//! Containers, images, networks and volumes with the docker command line.

use integration::shim::engine::Engine;
use integration::shim::pod::until;

use super::{Check, NONE_LEFT, engine, has_networks, hold};

/// What a container reads of its limits, in either hierarchy.
const LIMITS: &str = "cd /sys/fs/cgroup; if [ -e pids.max ]; then cat pids.max cpu.max && [ $(cat cpu.weight) -lt 100 ]; \
     else cat pids/pids.max cpu/cpu.cfs_quota_us && grep -qx 512 cpu/cpu.shares; fi";

/// What containers with networks leave behind; fails where it cannot be told.
const LEFT: &str = "links=$(ip -br link) && nat=$(iptables-save -t nat) && rules=$(! command -v nft >/dev/null || nft list ruleset) && \
     namespaces=$(ls -A /run/corten/n) && containers=$(ls -A /run/corten/c) && echo \"$namespaces$containers\" && \
     { echo \"$links\" | grep -v '^lo '; echo \"$nat\" | grep -E 'DNAT.*to-dest'; echo \"$rules\" | grep 'dnat ip'; true; }";

#[test]
fn containers_are_run_as_they_are_asked_for() {
    let Some(engine) = engine() else { return integration::skip::say("needs docker") };
    let n = "docker run --rm --network none";
    let run = |more: &str| format!("{n} {more}");
    let same = |kind: &str, more: &str| {
        let link = format!("readlink /proc/self/ns/{kind}");
        format!("seen=$(docker run --rm {more} busybox {link}) || exit 2; [ $seen = $({link}) ]")
    };
    let checks: Vec<(String, i32, Vec<&str>)> = vec![
        (run("busybox echo hello"), 0, vec!["hello"]),
        (run("busybox sh -c 'echo err >&2; exit 7'"), 7, vec!["err"]),
        (run("busybox /no/such"), 127, vec!["no such file or directory"]),
        (run("busybox nosuch"), 127, vec!["executable file not found"]),
        (run("busybox ''"), 127, vec!["executable file not found"]),
        (run("busybox /etc/passwd"), 126, vec!["permission denied"]),
        (run("-e A=b busybox sh -c 'echo $A'"), 0, vec!["b"]),
        (run("-w /tmp busybox pwd"), 0, vec!["/tmp"]),
        (run("-u tester busybox id"), 0, vec!["uid=1000", "gid=1000"]),
        (run("-u 12:34 --group-add 56 busybox id"), 0, vec!["uid=12 gid=34 groups=34,56"]),
        (run("-u nobodyhere busybox id"), 125, vec!["unable to find user nobodyhere"]),
        (run("--hostname here busybox hostname"), 0, vec!["here"]),
        (run("--add-host there:1.2.3.4 busybox cat /etc/hosts"), 0, vec!["1.2.3.4\tthere"]),
        (run("--read-only busybox touch /x"), 1, vec!["Read-only"]),
        (run("--tmpfs /t:size=1m busybox grep ' /t ' /proc/mounts"), 0, vec!["tmpfs", "size=1024k"]),
        ("mkdir -p outer/inner && mount -t tmpfs inner outer/inner".into(), 0, vec![]),
        // With all that is mounted below, unless that is not wanted.
        (
            run(
                "--mount type=bind,src=$PWD/outer,dst=/host busybox touch /host/inner/x && umount outer/inner",
            ),
            0,
            vec![],
        ),
        (
            run("-v /etc:/host:ro busybox sh -c 'ls /host/passwd && touch /host/x'"),
            1,
            vec!["/host/passwd", "Read-only"],
        ),
        (
            run("--mount type=bind,source=/no/such,target=/x busybox true"),
            125,
            vec!["bind source path does not exist"],
        ),
        (
            run(
                "-m 64m busybox sh -c 'cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null || true'",
            ),
            0,
            vec!["67108864"],
        ),
        (run("-m 1m busybox true"), 125, vec!["Minimum memory limit"]),
        (
            run(&format!("--pids-limit 50 --cpus 0.5 --cpu-shares 512 busybox sh -c '{LIMITS}'")),
            0,
            vec!["50\n50000"],
        ),
        (run("--cap-drop ALL busybox grep CapEff /proc/self/status"), 0, vec!["0000000000000000"]),
        (run("--cap-add NET_ADMIN busybox ip link set lo down"), 0, vec![]),
        (run("--cap-add FLY busybox true"), 125, vec!["invalid capability"]),
        (
            run("--security-opt no-new-privileges busybox grep NoNewPrivs /proc/self/status"),
            0,
            vec!["NoNewPrivs:\t1"],
        ),
        // Nor may anything that is run in it later.
        (
            "docker run -d --name bound --network none --security-opt no-new-privileges busybox sleep 1000 && docker exec --privileged bound grep NoNewPrivs /proc/self/status && docker rm -f bound".to_owned(),
            0,
            vec!["NoNewPrivs:\t1"],
        ),
        (run("busybox grep Seccomp: /proc/self/status"), 0, vec!["Seccomp:\t2"]),
        (
            run("--security-opt seccomp=unconfined busybox grep Seccomp: /proc/self/status"),
            0,
            vec!["Seccomp:\t0"],
        ),
        (
            run(
                "--privileged busybox sh -c 'grep Seccomp: /proc/self/status; mount -t tmpfs t /mnt && echo mounted'",
            ),
            0,
            vec!["Seccomp:\t0", "mounted"],
        ),
        (run("--device /dev/null:/dev/mine busybox ls -l /dev/mine"), 0, vec!["/dev/mine"]),
        (run("--device /dev/nosuch busybox true"), 127, vec!["/dev/nosuch"]),
        (run("--ulimit nofile=100:100 busybox sh -c 'ulimit -n'"), 0, vec!["100"]),
        (run("--init busybox ps"), 0, vec!["init"]),
        (run("--shm-size 1m busybox grep /dev/shm /proc/mounts"), 0, vec!["size=1024k"]),
        (run("--sysctl net.ipv4.ip_forward=1 busybox cat /proc/sys/net/ipv4/ip_forward"), 0, vec!["1"]),
        (same("pid", "--pid host --network none"), 0, vec![]),
        (same("pid", "--network none"), 1, vec![]),
        (run("busybox sh -c 'ls /sys/class/net | xargs'"), 0, vec!["lo\n"]),
        (same("net", "--network host"), 0, vec![]),
        (same("net", "--network none"), 1, vec![]),
        (run("--runtime other busybox true"), 125, vec!["unknown or invalid runtime name: other"]),
        (run("--log-driver syslog busybox true"), 125, vec!["syslog"]),
        (run("--storage-opt size=1g busybox true"), 125, vec!["--storage-opt"]),
        (
            run("-t busybox tty").replace("docker", "script -qec 'docker") + "' /dev/null",
            0,
            vec!["/dev/pts/0"],
        ),
        (format!("echo typed | {}", run("-i busybox cat")), 0, vec!["typed"]),
        (run("busybox sh -c 'dd if=/dev/zero bs=1M count=5 2>/dev/null' | wc -c"), 0, vec!["5242880"]),
        ("docker run -d --pull never nosuchimage".into(), 125, vec!["No such image"]),
        (NONE_LEFT.into(), 0, vec![]),
    ];
    hold(&engine, &checks);
    until("no shim is left", || engine.shims().is_empty());
}

#[test]
fn containers_live_and_end() {
    let Some(engine) = engine() else { return integration::skip::say("needs docker") };
    let checks: &[Check<'_>] = &[
        (
            "docker run -d --network none --name live -l kind=test busybox sh -c 'trap \"exit 3\" TERM; echo started; echo oops >&2; while :; do sleep 0.1; done'",
            0,
            &[],
        ),
        ("docker ps", 0, &["live", "Up "]),
        ("docker ps -q -f label=kind=test -f status=running -f name=live | wc -l", 0, &["1"]),
        ("ids=$(docker ps -q -f label=kind=other) && [ -z \"$ids\" ]", 0, &[]),
        ("docker exec live echo inside", 0, &["inside"]),
        ("docker exec live sh -c 'exit 3'", 3, &[]),
        ("docker exec live nosuch; c=$?; [ $c = 126 ] || [ $c = 127 ]", 0, &["executable file not found"]),
        ("docker exec -u 1000 -e X=y -w /tmp live sh -c 'id -u; echo $X; pwd'", 0, &["1000", "y", "/tmp"]),
        ("echo typed | docker exec -i live cat", 0, &["typed"]),
        ("script -qec 'docker exec -t live tty' /dev/null", 0, &["/dev/pts/"]),
        ("docker exec live sh -c 'dd if=/dev/zero bs=1M count=5 2>/dev/null' | wc -c", 0, &["5242880"]),
        (
            "docker exec -d live sh -c 'echo detached > /tmp/detached' && until docker exec live grep . /tmp/detached; do sleep 0.05; done",
            0,
            &["detached"],
        ),
        ("docker logs live 2>/dev/null", 0, &["started"]),
        ("docker logs live 2>&1 >/dev/null", 0, &["oops"]),
        ("docker logs -t --tail 1 live", 0, &["Z "]),
        ("docker top live", 0, &["PID", "sleep"]),
        ("docker stats --no-stream live", 0, &["live", "iB / "]),
        (
            "docker pause live && docker inspect -f '{{.State.Status}}' live && docker unpause live",
            0,
            &["paused"],
        ),
        (
            "docker update -m 64m --memory-swap 64m live && docker inspect -f '{{.HostConfig.Memory}}' live",
            0,
            &["67108864"],
        ),
        ("docker rename live other && docker rename other live", 0, &[]),
        ("docker rename live live", 1, &["same name"]),
        // Nothing is an empty text or 0 for clients that expect these, and not null.
        (
            "docker create --name bare --network none busybox && docker inspect bare | jq -c '.[0] | [.NetworkSettings.IPAddress, .NetworkSettings.IPPrefixLen, .ProcessLabel]'; docker rm bare",
            0,
            &["[\"\",0,\"\"]"],
        ),
        // Names in filters are regular expressions, with the slash or without.
        (
            "for n in '^/live$' 'l[i]ve' '^ive' 'live$'; do docker ps -q -f name=$n | wc -l; done | xargs",
            0,
            &["1 1 0 1\n"],
        ),
        ("docker ps -f status=odd", 1, &["invalid filter 'status=odd'"]),
        // What the command line says once, it says once.
        (
            "docker run --rm --network none busybox nosuch >out 2>&1; [ $? = 127 ] && ! grep 'Error waiting' out",
            0,
            &[],
        ),
        (
            "t=$(date +%s); docker run --rm --network none --name seen busybox true; docker events --since $t --until $(date +%s.%N) -f container=seen --format '{{.Action}}' | xargs",
            0,
            &["create attach start die destroy"],
        ),
        // What clients take for granted.
        (
            "docker inspect -f '{{json .HostConfig.CapAdd}} {{json .HostConfig.PidsLimit}} {{index .HostConfig.ReadonlyPaths 0}} {{.GraphDriver.Data.MergedDir}}' live",
            0,
            &["null null /proc/bus /"],
        ),
        ("docker run --network none --name live busybox true", 125, &["is already in use by container"]),
        ("docker rm live", 1, &["container is running", "live"]),
        (
            "docker update --cpus 0.5 live && docker update --cpu-quota 20000 live",
            1,
            &["Nano CPUs and CPU Quota cannot both be set"],
        ),
        ("docker restart -t 1 live && docker exec live echo again", 0, &["again"]),
        (
            "docker top live >/dev/null && docker events --since 60s --until $(date +%s.%N) -f event=top --format '{{.Action}} {{.Actor.Attributes.name}}'",
            0,
            &["top live"],
        ),
        ("docker kill -s TERM live && docker wait live", 0, &["3"]),
        (
            "docker start live && docker stop -t 5 live && docker inspect -f '{{.State.ExitCode}}' live",
            0,
            &["3"],
        ),
        ("docker start live && docker kill live && docker wait live", 0, &["137"]),
        ("docker ps -a -f exited=137", 0, &["Exited (137)"]),
        ("docker rm live && docker inspect live", 1, &["No such"]),
        (
            "docker run -d --network none --name oom -m 16m --memory-swap 16m busybox tail /dev/zero && docker wait oom && docker inspect -f '{{.State.OOMKilled}}' oom; docker rm oom",
            0,
            &["137", "true"],
        ),
        (
            "docker run -d --network none --name policy --restart on-failure:2 busybox false && until docker inspect -f '{{.RestartCount}} {{.State.Status}}' policy | grep '2 exited'; do sleep 0.2; done; docker rm -f policy",
            0,
            &["2 exited"],
        ),
        (
            "docker run -d --network none --name always --restart always busybox sleep 0.2 && until docker inspect -f '{{.RestartCount}}' always | grep -v '^0$'; do sleep 0.2; done && docker stop always && docker inspect -f '{{.State.Status}}' always; docker rm -f always",
            0,
            &["exited"],
        ),
        (
            "docker run -d --network none --name healthy --health-cmd true --health-interval 200ms busybox sleep 60 && until docker inspect -f '{{.State.Health.Status}}' healthy | grep '^healthy'; do sleep 0.2; done; docker rm -f healthy",
            0,
            &["healthy"],
        ),
        (
            "docker run -d --network none --name sick --health-cmd 'echo no; false' --health-interval 100ms --health-retries 2 busybox sleep 60 && until docker inspect -f '{{json .State.Health}}' sick | grep '\"unhealthy\"'; do sleep 0.2; done; docker rm -f sick",
            0,
            &["\"unhealthy\"", "no\\n"],
        ),
        (
            "docker run -d --network none --name aa busybox sleep 60 && docker run --rm --network container:aa --pid container:aa busybox ps; docker rm -f aa",
            0,
            &["sleep 60"],
        ),
        (
            "docker create --network none --name cc busybox echo created && docker start -a cc && docker rm cc",
            0,
            &["created"],
        ),
        (
            "docker run -d --network none --name rot --log-opt max-size=1k --log-opt max-file=2 busybox sh -c 'for i in $(seq 100); do echo line $i; done' && docker wait rot && docker logs rot >rot && tail -1 rot && [ $(wc -l <rot) -lt 60 ] && docker rm rot",
            0,
            &["line 100"],
        ),
        (
            "docker run -d --network none --name slow busybox sh -c 'echo one; until [ -e /go ]; do sleep 0.02; done; echo two' && docker logs -f slow >followed & until grep -s one followed; do sleep 0.02; done; docker exec slow touch /go; wait; cat followed; docker wait slow; docker rm slow",
            0,
            &["one\ntwo"],
        ),
        // One that waits to be started again does not run.
        (
            "docker run -d --network none --name again --restart always busybox false && until docker inspect -f '{{.RestartCount}} {{.State.Status}}' again | grep '5 restarting'; do sleep 0.1; done; docker info -f '{{.ContainersRunning}}'; docker rm -f again",
            0,
            &["5 restarting\n0\n"],
        ),
        // What the engine itself may use is not all there is.
        (
            "taskset -apc 0 $(pgrep -xo cortend) >/dev/null && [ $(docker info -f '{{.NCPU}}') = $(grep -c '^cpu[0-9]' /proc/stat) ] && echo all",
            0,
            &["all"],
        ),
        (
            "docker container prune -f --filter until=2020-01-01T10:00 && docker images -q --filter until=2020-01-01 | wc -l",
            0,
            &["0B\n0\n"],
        ),
        ("docker container prune -f", 0, &[]),
        (NONE_LEFT, 0, &[]),
    ];
    hold(&engine, checks);
    until("no shim is left", || engine.shims().is_empty());
}

#[test]
fn files_go_in_and_out() {
    let Some(engine) = engine() else { return integration::skip::say("needs docker") };
    let checks: &[Check<'_>] = &[
        (
            "docker run -d --network none --name box -v data:/data busybox sh -c 'mkdir /new; echo x > /new/file; rm /bin/dd; echo y >> /etc/group; sleep 60' && until docker exec box grep -qx y /etc/group; do sleep 0.05; done",
            0,
            &[],
        ),
        ("docker diff box >out && ! grep -E '/etc/(hosts|hostname|resolv.conf)|/proc|/sys|/dev' out", 0, &[]),
        ("docker diff box", 0, &["A /new", "A /new/file", "D /bin/dd", "C /etc", "C /etc/group"]),
        ("echo into > file && docker cp file box:/tmp/ && docker exec box cat /tmp/file", 0, &["into"]),
        ("docker cp file box:/data/ && docker exec box cat /data/file", 0, &["into"]),
        ("docker cp box:/new/file got && cat got", 0, &["x"]),
        ("docker cp box:/new - | tar -t", 0, &["new/file"]),
        ("docker cp file box:/no/such/dir/", 1, &[]),
        // The other names of a folder: through a link, of what is in it, and of everything that is no file of
        // the kernel's.
        (
            "docker exec box ln -s /new /ln && docker cp box:/ln/ to && docker cp box:/ln/. to2 && docker cp box:/ all && cat to/file to2/file all/new/file && ls all/proc all/dev | wc -l",
            0,
            &["x\nx\nx\n3\n"],
        ),
        ("head -c 9000000 /dev/zero > large; docker cp large nosuch:/x", 1, &["No such container", "nosuch"]),
        (
            "docker create --name own -u tester --network none busybox && docker cp -a file own:/tmp/f && docker cp own:/tmp/f - | tar -tv --numeric-owner; docker rm own",
            0,
            &["1000/1000"],
        ),
        // The engine's files are seen in what is mounted over the image's folder.
        (
            "docker run --rm --network none --hostname here -v etc:/etc busybox cat /etc/hostname && docker volume rm etc",
            0,
            &["here"],
        ),
        (
            "docker commit -c 'CMD [\"a\"]' -c 'WORKDIR rel' -c 'ENTRYPOINT [\"e\"]' box made:2 && docker inspect -f '{{.Config.Cmd}} {{.Config.WorkingDir}}' made:2 && docker rmi made:2",
            0,
            &["[a] /rel"],
        ),
        (
            "rm -f /tmp/through; docker exec box ln -s / /evil && docker cp file box:/evil/tmp/through && docker exec box cat /tmp/through && [ ! -e /tmp/through ]",
            0,
            &["into"],
        ),
        // Links are followed one after the other, each from where it is.
        (
            "docker exec box sh -c 'mkdir -p /far/deep && echo low >/far/low && echo top >/low && ln -s far/deep /near && ln -s ../low /near/up && ln -s near /again' && docker cp file box:/near/up && docker cp file box:/again && docker exec box cat /far/low /far/deep/file /low",
            0,
            &["into\ninto\ntop"],
        ),
        // The folder that something is put into stays what it is.
        (
            "mkdir -m 700 bare && docker cp bare/. box:/far && docker exec box stat -c %a /far && docker exec box ln -s low /far/link && docker cp bare box:/far/link/",
            1,
            &["755", "cannot overwrite non-directory"],
        ),
        (
            "docker exec box sh -c 'ln -s x /one && ln /one /two' && docker export box | tar -tv | grep -c 'two link to one'",
            0,
            &["1"],
        ),
        (
            "docker stop -t 0 box && docker cp file box:/stopped && docker cp box:/stopped - | tar -xO",
            0,
            &["into"],
        ),
        // What would be mounted there when it ran.
        (
            "docker cp box:/data/file - | tar -tv && docker cp box:/data/. - | tar -xO && echo more > more && docker cp more box:/data/ && docker run --rm --network none -v data:/x busybox cat /x/more",
            0,
            &[" file\n", "into\nmore"],
        ),
        // Also by a folder above it, or through a link: what has been copied there is what it finds.
        (
            "docker create --name still --network none -v in:/deep/in busybox cat /deep/in/file && mkdir -p up/deep/in && echo up >up/deep/in/file && tar -C up -c deep | docker cp - still:/ && docker cp still:/deep - | tar -t && docker start -a still && docker rm still",
            0,
            &["deep/in/file\nup\n"],
        ),
        (
            "docker create --name still --network none -v in:/deep/in:ro busybox && ln -s /deep/in lead && docker cp lead still:/lead && docker cp still:/lead/file - | tar -xO && tar -C up -c deep | docker cp - still:/",
            1,
            &["up", "Read-only file system"],
        ),
        ("docker rm still && docker volume rm in && ! grep -q /view /proc/self/mounts", 0, &[]),
        // To look at what is about to run is not to take it away.
        (
            "docker create --name seen --network none busybox sh -c 'sleep 1; echo x >/new && rm /etc/group && echo well' && { until [ -e seen ]; do curl -sI --unix-socket ${DOCKER_HOST#unix://} 'http://x/containers/seen/archive?path=/etc' >/dev/null; done & }; docker start -a seen; touch seen; wait; docker rm seen",
            0,
            &["\nwell\n"],
        ),
        ("docker export box | tar -t | grep new/file", 0, &["new/file"]),
        // Neither the layer nor its files have what is only zeros.
        // The time of a folder is told by no list, and kept.
        (
            "docker run --name aged --network none busybox touch -d @1300000000 /tmp && docker diff aged | grep -c tmp; docker commit aged aged && docker run --rm --network none aged stat -c %Y /tmp && docker rm aged && docker rmi aged",
            0,
            &["0\n", "1300000000"],
        ),
        (
            "docker run --name holes --network none busybox dd if=/dev/null of=/holes bs=1M seek=128 && docker commit holes holes && docker run --rm --network none holes stat -c %s /holes && docker rm holes && [ $(du -sm data | cut -f1) -lt 64 ]",
            0,
            &["134217728"],
        ),
        (
            "docker commit -m note -c 'CMD cat /new/file' box made:1 && docker run --rm --network none made:1",
            0,
            &["x"],
        ),
        // Their end may come between any two steps of it.
        (
            "for n in 1 2 3 4 5 6; do c=$(docker run -d --network none busybox touch /x) && i=$(docker commit $c) && docker rm -f $c && docker rmi $i || exit 1; done",
            0,
            &["Deleted"],
        ),
        ("docker run --rm --network none made:1 ls /bin/dd", 1, &["No such file"]),
        ("docker history made:1", 0, &["note"]),
        (
            "docker export box | docker import -c 'CMD echo imported' - flat:1 && docker run --rm --network none flat:1",
            0,
            &["imported"],
        ),
        (
            "docker save made:1 busybox -o saved.tar && docker rm box && docker rmi made:1 && docker load -i saved.tar && docker run --rm --network none made:1",
            0,
            &["Loaded image: made:1", "x"],
        ),
        (
            "docker tag busybox other/name:2 && docker images -q other/name | wc -l && docker rmi other/name:2",
            0,
            &["1", "Untagged: other/name:2"],
        ),
        ("docker images -f reference='fl*' --format '{{.Repository}}'", 0, &["flat"]),
        ("docker image inspect busybox -f '{{.Os}} {{json .Config.Cmd}}'", 0, &["linux [\"/bin/sh\"]"]),
        (
            "docker volume ls -q; docker run --rm --network none -v data:/x busybox cat /x/file && docker volume rm data",
            0,
            &["data", "into"],
        ),
        (
            "docker run --name anon --network none -v /anon busybox true && docker volume ls -q | wc -l && docker rm -v anon && docker volume ls -q | wc -l",
            0,
            &["1\nanon\n0\n"],
        ),
        ("docker rmi nosuch", 1, &["No such image: nosuch"]),
        ("echo no tar | docker load", 1, &["archive"]),
        ("docker system df", 0, &["Images", "Local Volumes"]),
        ("docker info", 0, &["Storage Driver: overlay2", "Default Runtime: corten"]),
        // Where cAdvisor looks for what a container writes.
        (
            "id=$(docker run -d --name seen busybox sh -c 'echo written >/file; sleep 1000') && at=$(docker info -f '{{.DockerRootDir}}') && until grep . $at/overlay2/$(cat $at/image/overlay2/layerdb/mounts/$id/mount-id)/diff/file; do sleep 0.1; done; docker rm -f seen && [ ! -e $at/overlay2/$id ]",
            0,
            &["written"],
        ),
        ("docker swarm init", 1, &["Swarm mode is not offered"]),
        ("docker image prune -af && ids=$(docker images -q) && [ -z \"$ids\" ]", 0, &[]),
    ];
    hold(&engine, checks);
    let layers = std::fs::read_dir(engine.directory.join("data/layers")).unwrap().count();
    assert_eq!(layers, 0, "nothing of removed images is left");
}

#[test]
fn containers_find_each_other() {
    let Some(engine) = engine() else { return integration::skip::say("needs docker") };
    if !has_networks() {
        return integration::skip::say("needs netavark and aardvark-dns");
    }
    find_each_other(&engine);
}

pub(super) fn find_each_other(engine: &Engine) {
    let serve = "sh -c 'while :; do echo served | nc -l -p 80; done'";
    let web = format!("docker run -d --name web -p 127.0.0.1:8080:80 -p 9000:80 -p 7000 busybox {serve}");
    let peer = format!("docker run -d --name peer --network mine --network-alias other busybox {serve}");
    let knock = |port| {
        format!(
            "docker run --rm --network host busybox sh -c 'until nc -w 2 127.0.0.1 {port} | grep .; do sleep 0.05; done'"
        )
    };
    let [first, second] = [knock(8080), knock(9000)];
    let checks: &[Check<'_>] = &[
        (
            "docker run --rm busybox sh -c 'ip -4 addr show eth0; ip route; cat /etc/hosts'",
            0,
            &["inet 172.", "default via 172.", "172.17.0.2\t"],
        ),
        (
            "docker run --rm --dns 1.2.3.4 --dns-search here busybox cat /etc/resolv.conf",
            0,
            &["nameserver 1.2.3.4", "search here"],
        ),
        (&web, 0, &[]),
        (
            "docker port web",
            0,
            &["80/tcp -> 127.0.0.1:8080", "80/tcp -> 0.0.0.0:9000", "7000/tcp -> 0.0.0.0:"],
        ),
        // By ports of the host, and of containers.
        (
            "docker run -d --name open --expose 53/udp --expose 80-82 busybox sleep 1000; for f in publish=8080 publish=80 publish=8999-9001/tcp publish=8080/udp expose=7000 expose=81-90 expose=53 expose=53/UDP; do echo $f $(docker ps --format '{{.Names}}' -f $f); done; docker ps --format '{{.Names}}' -f publish=9000 -f expose=82 | xargs; docker rm -f open",
            0,
            &[
                "\npublish=8080 web\npublish=80\npublish=8999-9001/tcp web\npublish=8080/udp\nexpose=7000 web\nexpose=81-90 open\nexpose=53\nexpose=53/UDP open\nopen web\n",
            ],
        ),
        ("docker ps -f publish=9-8", 1, &["invalid filter 'publish=9-8'"]),
        (&first, 0, &["served"]),
        (&second, 0, &["served"]),
        ("docker run --rm -p 127.0.0.1:8080:80 busybox true", 125, &["port is already allocated"]),
        (
            "docker run --rm -p 192.0.2.1:8081:80 busybox true",
            125,
            &["192.0.2.1:8081", "bind: cannot assign requested address"],
        ),
        (
            "docker run --rm --network bridge --ip 172.17.0.99 busybox true",
            125,
            &["supported on user defined networks only"],
        ),
        (
            "docker network create --subnet 10.99.0.0/24 --label kind=test mine && docker network inspect mine",
            0,
            &["10.99.0.0/24"],
        ),
        ("docker network create --subnet 10.99.0.0/16 more", 1, &["Pool overlaps"]),
        ("docker network create -d overlay more", 1, &["overlay"]),
        ("docker network create mine", 1, &["already exists"]),
        (&peer, 0, &[]),
        (
            "docker run --rm --network mine busybox sh -c 'for n in peer other; do until nc -w 2 $n 80 | grep .; do sleep 0.05; done; done'",
            0,
            &["served\nserved"],
        ),
        // By another name from now on, and by that of the network.
        (
            "docker rename peer pear && docker run --rm --network mine busybox sh -c 'for n in pear pear.mine; do until nc -w 2 $n 80 | grep .; do sleep 0.05; done; done; for n in pear peer; do nslookup $n | grep -q ^Name && echo known || echo unknown; done'; docker rename pear peer",
            0,
            // Newer resolvers say nothing of a name when there is nobody to ask.
            &["served\nserved\nknown\nunknown\n"],
        ),
        // What is no name would end the resolver for all.
        (
            "docker run --rm --network mine --network-alias 'a b' busybox true",
            125,
            &["alias \"a b\" is no name"],
        ),
        (
            "docker run --rm --network mine --hostname 'a\n1.2.3.4 peer' busybox true",
            125,
            &["invalid hostname"],
        ),
        (
            "docker run -d --name odd --hostname a,b,,c --network mine busybox sleep 1000 && docker exec odd hostname && docker exec odd nc -w 2 peer 80 && docker rm -f odd",
            0,
            &["a,b,,c", "served"],
        ),
        // Interfaces have the first number that is free.
        (
            "docker network create two && docker network connect two peer && docker network disconnect mine peer && docker network connect mine peer && docker exec peer ip -4 -o addr && docker network disconnect two peer && docker network rm two",
            0,
            &["eth0", "10.99.0."],
        ),
        ("docker run --rm busybox grep -c '^[[:space:]]' /etc/hosts", 1, &["0"]),
        // Not an image that is missing, which the command line would try to pull.
        ("docker run --rm --network nosuch busybox true", 125, &["network nosuch not found"]),
        ("docker run --rm --volumes-from nosuch busybox true", 125, &["No such container: nosuch"]),
        (
            "docker run --rm --network container:web --dns 1.1.1.1 busybox true",
            125,
            &["conflicting options: dns"],
        ),
        (
            "[ $(docker run --rm --network container:web busybox hostname) = $(docker exec web hostname) ]",
            0,
            &[],
        ),
        ("docker run --rm --network host -p 80:80 busybox true", 0, &["Published ports are discarded"]),
        (
            "docker run --rm --network mine --ip 10.99.0.77 busybox ip -4 addr show eth0",
            0,
            &["10.99.0.77/24"],
        ),
        ("docker run --rm --network mine --ip 10.98.0.1 busybox true", 125, &["does not belong"]),
        (
            "for n in 0 1 255; do docker run --rm --network mine --ip 10.99.0.$n busybox true && echo started; done 2>&1 | grep -c 'Address already in use'",
            0,
            &["3\n"],
        ),
        (
            "docker network connect mine web && docker exec web ip -4 addr show eth1 && docker run --rm --network mine busybox sh -c 'until nc -w 2 web 80 | grep .; do sleep 0.05; done' && docker network disconnect mine web && docker exec web ip -4 addr show eth1",
            1,
            &["10.99.0.", "served"],
        ),
        ("docker network rm mine", 1, &["active endpoints"]),
        ("docker network rm bridge", 1, &["pre-defined"]),
        ("docker restart -t 0 web && docker port web 80", 0, &["127.0.0.1:8080"]),
        (
            "docker rm -f web peer && docker network prune -f && docker network ls -q | wc -l",
            0,
            &["Deleted Networks:\nmine", "3"],
        ),
    ];
    hold(engine, checks);
    // The kernel takes a namespace's interfaces down when it gets to it.
    until("nothing is left behind", || {
        let left = engine.run(&["sh", "-c", LEFT]);
        left.status == 0 && left.out.trim().is_empty()
    });
}
