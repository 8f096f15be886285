#!/bin/bash
# docker.sh [RUNTIME...]: what people do with the docker command, with dockerd's own runc and with corten as runtime. Prints TAP; a
# check that passes with runc and fails with corten fails the command.
#
# RUNTIME: corten (behind containerd's own shim, the default), corten-shim (our shim, under the name of containerd's, which is how
# Docker 20.10 finds one), or anything that dockerd can start by path: NAME=PATH.
set -uo pipefail
# shellcheck source=daemons.sh
. "$(dirname "$0")/daemons.sh"
need dockerd docker containerd runc jq busybox iptables
[ -n "$(corten)" ] || skip "corten (cargo build -p runtime)"
enter_private "$@"
[ $# -gt 0 ] || set -- corten

TREE=$WORK/tree
busybox_tree "$TREE"
image "$WORK/images" "$TREE" '{"Cmd":["/bin/sh"]}' busybox:latest
tar -C "$WORK/images" -cf "$WORK/images.tar" .
RUN=(docker run --rm)
mkdir "$WORK/volume" "$WORK/build"
echo from-the-host > "$WORK/volume/file"
printf 'FROM busybox\nRUN echo built > /built\nCMD cat /built\n' > "$WORK/build/Dockerfile"

engine() { # NAME PATH: dockerd with that runtime as its default
    local dir=$WORK/docker-$1
    mkdir -p "$dir"
    jq -n --arg path "$2" '{runtimes: {suite: {path: $path}}, "default-runtime": "suite", "storage-driver": "overlay2",
        "cgroup-parent": "/corten-docker-suite",
        features: {buildkit: false}}' > "$dir/daemon.json"
    export DOCKER_HOST=unix://$dir/docker.sock DOCKER_CONFIG=$dir DOCKER_BUILDKIT=0
    local path=$PATH
    if [ "$1" = corten-shim ]; then
        mkdir "$dir/bin"
        ln -s "$(dirname "$2")/containerd-shim-corten-v2" "$dir/bin/containerd-shim-runc-v2"
        path=$dir/bin:$PATH
    fi
    PATH=$path daemon "$dir/log" dockerd --config-file "$dir/daemon.json" --data-root "$dir/data" --exec-root "$dir/exec" \
        -H "$DOCKER_HOST" --pidfile "$dir/pid"
    wait_for 60 docker version || { tail "$dir/log" >&2 && exit 2; }
    docker load -qi "$WORK/images.tar" > /dev/null
}

resources() {
    local memory=/sys/fs/cgroup/memory cpu=/sys/fs/cgroup/cpu
    check memory '67108864 0' run -m 64m busybox cat $memory/memory.limit_in_bytes
    check memory-swap '134217728 0' run -m 64m busybox cat $memory/memory.memsw.limit_in_bytes
    check cpus '25000 100000 0' run --cpus .25 busybox cat $cpu/cpu.cfs_quota_us $cpu/cpu.cfs_period_us
    check cpu-shares '512 0' run --cpu-shares 512 busybox cat $cpu/cpu.shares
    check cpuset '0 0' run --cpuset-cpus 0 busybox cat /sys/fs/cgroup/cpuset/cpuset.cpus
    check cpuset-missing '.*[Rr]equested CPUs are not available.* 125' run --cpuset-cpus 500 busybox true
    check pids '20 0' run --pids-limit 20 busybox cat /sys/fs/cgroup/pids/pids.max
    check out-of-memory 'true 137 0' sh -c 'docker run --name oom -m 16m busybox sh -c "tail /dev/zero" > /dev/null 2>&1
        docker inspect -f "{{.State.OOMKilled}} {{.State.ExitCode}}" oom; docker rm oom > /dev/null'
    check update '33554432 0' sh -c 'docker run -d --name up -m 64m busybox sleep 60 > /dev/null
        docker update -m 32m --memory-swap 64m up > /dev/null
        docker exec up cat /sys/fs/cgroup/memory/memory.limit_in_bytes; docker rm -f up > /dev/null'
    check ulimit '100 0' run --ulimit nofile=100:200 busybox sh -c 'ulimit -n'
    check shm-size '.*16\.0M.* 0' run --shm-size 16m busybox df -h /dev/shm
    check oom-score '500 0' run --oom-score-adj 500 busybox cat /proc/self/oom_score_adj
}

rights() {
    check capabilities 'CapEff: 00000000a80425fb 0' run busybox grep CapEff /proc/self/status
    check cap-drop 'CapEff: 0000000000000000 0' run --cap-drop ALL busybox grep CapEff /proc/self/status
    check cap-add 'CapEff: 00000000a80435fb 0' run --cap-add NET_ADMIN busybox grep CapEff /proc/self/status
    check link-forbidden '.*not permitted.* [12]' run busybox ip link set lo down
    check link-allowed '0' run --cap-add NET_ADMIN busybox ip link set lo down
    check seccomp '.*not permitted.* 1' run busybox unshare -m true
    check seccomp-unconfined 'Seccomp: 0 0' run --security-opt seccomp=unconfined busybox grep Seccomp: /proc/self/status
    check no-new-privileges 'NoNewPrivs: 1 0' run --security-opt no-new-privileges busybox grep NoNewPrivs /proc/self/status
    check user 'uid=1000.* gid=1000.* 0' run -u 1000:1000 busybox id
    check group-add '.*50000.* 0' run -u 1000 --group-add 50000 busybox id
    check device 'crw.* 1, *5 .*/dev/mine 0' run --device /dev/zero:/dev/mine busybox ls -l /dev/mine
    check device-forbidden '.*not permitted.* 1' run busybox sh -c 'mknod /x c 1 1 && cat /x'
    check masked '0 0' run busybox sh -c 'cat /proc/keys /proc/timer_list 2> /dev/null | wc -c'
    check sysctl '5 0' run --sysctl net.ipv4.ping_group_range='5 5' busybox sh -c 'cut -f1 /proc/sys/net/ipv4/ping_group_range'
}

files() {
    check read-only '.*Read-only file system.* 1' run --read-only busybox touch /x
    check tmpfs '.*1024 .* 0' run --tmpfs /x:size=1m busybox df /x
    check volume 'from-the-host 0' run -v "$WORK/volume:/v:ro" busybox cat /v/file
    check volume-read-only '.*Read-only.* 1' run -v "$WORK/volume:/v:ro" busybox touch /v/x
    check volume-file 'from-the-host 0' run -v "$WORK/volume/file:/etc/one" busybox cat /etc/one
    check volume-named 'kept 0' sh -c 'docker volume create kept > /dev/null; docker run --rm -v kept:/v busybox sh -c "echo kept > /v/f"
        docker run --rm -v kept:/v busybox cat /v/f; docker volume rm kept > /dev/null'
    check hostname 'suite 0' run -h suite busybox hostname
    check hosts '.*10\.1\.2\.3 other.* 0' run --add-host other:10.1.2.3 busybox cat /etc/hosts
    check workdir '/new/place 0' run -w /new/place busybox pwd
    check environment '.*A=1.* 0' run -e A=1 busybox env
    check terminal '/dev/pts/0 0' run -t busybox tty
    check terminal-console '.*c.* 136, .*/dev/console 0' run -t busybox ls -l /dev/console
    check copy 'copied 0' sh -c 'docker create --name copied busybox cat /tmp/f > /dev/null; echo copied > '"$WORK"'/f
        docker cp '"$WORK"'/f copied:/tmp/f > /dev/null 2>&1; docker start -a copied; docker rm copied > /dev/null'
    check build '.*built 0' sh -c 'docker build -qt built '"$WORK"'/build > /dev/null && docker run --rm built'
}

ends() {
    check exit-status '7' run busybox sh -c 'exit 7'
    check killed '.*137' run busybox sh -c 'sleep 9 & kill -9 $!; wait $!'
    check not-found '.*no such file or directory.* 127' run busybox /nothing
    check not-in-path '.*executable file not found.* 127' run busybox nothing
    check not-executable '.*permission denied.* 126' run busybox /etc/passwd
    check stop 'ready stopped 0' sh -c 'docker run -d --name stopped busybox sh -c "trap \"echo stopped; exit 0\" TERM; echo ready; while :; do sleep 0.1; done" > /dev/null
        until docker logs stopped | grep -q ready; do sleep 0.05; done; docker stop stopped > /dev/null; docker logs stopped; docker rm stopped > /dev/null'
    check kill-signal 'ready usr1 0' sh -c 'docker run -d --name killed busybox sh -c "trap \"echo usr1; exit 0\" USR1; echo ready; while :; do sleep 0.1; done" > /dev/null
        until docker logs killed | grep -q ready; do sleep 0.05; done; docker kill -s USR1 killed > /dev/null; docker wait killed > /dev/null; docker logs killed; docker rm killed > /dev/null'
    check restart-policy '2 0' sh -c 'docker run -d --name again --restart on-failure:2 busybox false > /dev/null
        until docker inspect -f "{{.RestartCount}} {{.State.Status}}" again | grep -x "2 exited" > /dev/null; do sleep 0.1; done
        docker inspect -f "{{.RestartCount}}" again; docker rm -f again > /dev/null'
    check init '.*docker-init.* 0' run --init busybox sh -c 'cat /proc/1/comm /proc/1/cmdline'
    check logs 'out err 0' sh -c 'docker run --name logged busybox sh -c "echo out; sleep 0.2; echo err >&2" > /dev/null 2>&1; docker logs logged 2>&1; docker rm logged > /dev/null'
}

living() {
    docker run -d --name live --health-cmd true --health-interval 1s busybox sh -c 'while :; do sleep 0.2; done' > /dev/null 2>&1
    check exec 'inside 0' docker exec live echo inside
    check exec-status '9' docker exec live sh -c 'exit 9'
    check exec-user 'uid=1000.* 0' docker exec -u 1000 live id
    check exec-workdir '/tmp 0' docker exec -w /tmp live pwd
    check exec-environment '.*A=1.* 0' docker exec -e A=1 live env
    check exec-terminal '/dev/pts/0 0' docker exec -t live tty
    check exec-not-found '.*no such file or directory.* 12[67]' docker exec live /nothing
    check exec-privileged 'CapEff: 0+[1-9a-f][0-9a-f]+ 0' docker exec --privileged live grep CapEff /proc/self/status
    check top '.*while.* 0' docker top live
    check stats '.*live .*iB / .*iB.* 0' docker stats --no-stream live
    check pause 'paused running 0' sh -c 'docker pause live > /dev/null; docker inspect -f "{{.State.Status}}" live
        docker unpause live > /dev/null; docker inspect -f "{{.State.Status}}" live'
    check exec-paused '.*paused.* 1' sh -c 'docker pause live > /dev/null; docker exec live true && echo ran; docker unpause live > /dev/null; false'
    check healthy 'healthy 0' sh -c 'until docker inspect -f "{{.State.Health.Status}}" live | grep -x healthy; do sleep 0.1; done'
    check restart 'inside 0' sh -c 'docker restart -t 0 live > /dev/null; docker exec live echo inside'
    check shared-namespaces '.*while.* 0' run --pid container:live --net container:live busybox ps
    docker rm -f live > /dev/null
    check host-namespaces '.*(systemd|docker).* 0' run --pid host --uts host --ipc host --net host busybox ps
    check published 'Welcome to nginx! 0' sh -c 'docker run -d --name web -p 127.0.0.1:8080:80 busybox httpd -f -h /usr/share/nginx/html > /dev/null
        until busybox wget -qO- http://127.0.0.1:8080/ 2> /dev/null; do sleep 0.05; done; docker rm -f web > /dev/null'
    check network-names 'Welcome to nginx! 0' sh -c 'docker network create named > /dev/null
        docker run -d --name web --network named busybox httpd -f -h /usr/share/nginx/html > /dev/null
        docker run --rm --network named busybox sh -c "until wget -qO- http://web/ 2> /dev/null; do sleep 0.05; done"; docker rm -f web > /dev/null; docker network rm named > /dev/null'
}

suite() { # NAME PATH
    RESULTS=$WORK/$1.tap
    : > "$RESULTS"
    engine "$1" "$2"
    resources
    rights
    files
    ends
    living
    results_of "$1"
    stop_daemons
    find /sys/fs/cgroup -depth -type d -path '*/corten-docker-suite*' -exec rmdir {} + 2> /dev/null
}

ran_with dockerd containerd
suite runc "$(control)"
result=0
for runtime; do
    name=${runtime%%=*}
    suite "$name" "$(path_of "$runtime")"
    verdict docker "$name" || result=1
done
exit $result
