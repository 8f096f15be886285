#!/bin/bash
# containerd.sh [RUNTIME...]: containerd's task API through ctr, with runc first and then with corten. Prints TAP; a check that passes
# with runc and fails with corten fails the command.
#
# RUNTIME: corten (behind containerd's own shim, the default), corten-shim (our shim, which is beside corten).
# shellcheck disable=SC2317,SC2016
set -uo pipefail
# shellcheck source=daemons.sh
. "$(dirname "$0")/daemons.sh"
need containerd ctr runc jq busybox script
[ -n "$(corten)" ] || skip "corten (cargo build -p runtime)"
PATH=$(dirname "$(corten)"):$PATH
enter_private "$@"
[ $# -gt 0 ] || set -- corten

TREE=$WORK/tree
busybox_tree "$TREE"
image "$WORK/images" "$TREE" '{"Cmd":["/bin/sh"]}' docker.io/library/busybox:latest
tar -C "$WORK/images" -cf "$WORK/images.tar" .
IMAGE=docker.io/library/busybox:latest

# ctr run with the runtime under test: create OPTION... -- ID COMMAND...
create() {
    local options=()
    while [ "$1" != -- ]; do options+=("$1") && shift; done
    shift
    ctr run --runtime "$RUNTIME_TYPE" ${RUNTIME_BINARY:+--runc-binary "$RUNTIME_BINARY"} "${options[@]}" "$IMAGE" "$@"
}
one() { # OPTION... -- COMMAND...: a container that goes away by itself
    local options=()
    while [ "$1" != -- ]; do options+=("$1") && shift; done
    shift
    create --rm "${options[@]}" -- "one-$BASHPID" "$@"
}
remove() {
    ctr task rm -f "$1" > /dev/null 2>&1
    ctr container rm "$1"
}
# What the host's FILE says for a container made with these options: limit FILE OPTION...
limit() {
    local file=$1
    shift
    create -d "$@" -- limited sleep 60 && cat "${file/ID/suite/limited}"
    remove limited
}
export -f create one remove limit
RUN=(bash -c 'one "$@"' one)

one_shot() {
    check run 'hello 0' run -- echo hello
    check exit-status '7' run -- sh -c 'exit 7'
    check not-found '.*no such file or directory.* 1' run -- /nothing
    check not-in-path '.*executable file not found.* 1' run -- nothing
    check environment '.*A=1.* 0' run --env A=1 -- env
    check workdir '/tmp 0' run --cwd /tmp -- pwd
    check read-only '.*Read-only.* 1' run --read-only -- touch /x
    check bind-mount 'root:.* 0' run --mount "type=bind,src=$TREE/etc,dst=/mnt,options=rbind:ro" -- head -1 /mnt/passwd
    check terminal '.*/dev/pts/0 0' script -qec 'one --tty -- tty' /dev/null
    check memory '67108864 0' bash -c 'limit /sys/fs/cgroup/memory/ID/memory.limit_in_bytes --memory-limit 67108864'
    check cpu-quota '50000 0' bash -c 'limit /sys/fs/cgroup/cpu/ID/cpu.cfs_quota_us --cpu-quota 50000 --cpu-period 100000'
    check cpu-shares '512 0' bash -c 'limit /sys/fs/cgroup/cpu/ID/cpu.shares --cpu-shares 512'
    check cgroup '.*one-.* 0' run -- cat /proc/self/cgroup
    check host-network '.*lo.* 0' run --net-host -- ip link
    check seccomp 'Seccomp: 2 0' run --seccomp -- grep Seccomp: /proc/self/status
    check capability '.*CapEff: 00000000a82425fb 0' run --cap-add CAP_SYS_ADMIN --cap-drop CAP_SYS_TTY_CONFIG -- grep CapEff /proc/self/status
}

long_lived() {
    check start '0' bash -c 'create "$@"' create -d -- live sh -c 'trap "exit 5" TERM; while :; do sleep 0.1; done'
    check list '.*live [0-9]+ RUNNING.* 0' ctr task ls
    check exec 'inside 0' ctr task exec --exec-id e1 live echo inside
    check exec-status '9' ctr task exec --exec-id e2 live sh -c 'exit 9'
    check exec-user '.*uid=1000.* 0' ctr task exec --exec-id e3 --user 1000 live id
    check exec-terminal '.*/dev/pts/0 .*0' script -qec 'ctr task exec --exec-id e4 --tty live tty' /dev/null
    check exec-not-found '.*no such file or directory.* 1' ctr task exec --exec-id e5 live /nothing
    check pause '0' ctr task pause live
    check paused '.*live [0-9]+ PAUSED.* 0' ctr task ls
    check resume '0' ctr task resume live
    check processes '.*PID.* [0-9]+ .* 0' ctr task ps live
    check metrics '.*memory\.usage_in_bytes [1-9][0-9]*.* 0' ctr task metrics live
    check kill '0' ctr task kill -s TERM live
    check stopped '.*live [0-9]+ STOPPED.* 0' bash -c 'until ctr task ls | grep "live .* STOPPED"; do sleep 0.1; done'
    check delete '.*exit code 5.* 0' ctr task rm live
    remove live > /dev/null 2>&1
    check many '20 0' bash -c 'for n in $(seq 20); do create -d -- many-$n sleep 30 > /dev/null 2>&1 & done; wait
        ctr task ls | grep -c "many-.*RUNNING"; for n in $(seq 20); do remove many-$n > /dev/null 2>&1 & done; wait'
    check out-of-memory '.*TaskOOM.* 0' bash -c 'ctr events > '"$WORK"'/events &
        until [ -s '"$WORK"'/events ]; do ctr namespaces label suite listened=$((n+=1)); sleep 0.05; done
        one --memory-limit 16777216 -- sh -c "tail /dev/zero" > /dev/null 2>&1
        until grep -q tasks/oom '"$WORK"'/events; do sleep 0.05; done
        kill $!; grep -o "tasks/oom" '"$WORK"'/events | sed s,tasks/oom,TaskOOM,'
    check nothing-left '0 0' bash -c 'ctr task ls -q | grep -vc "^$" || true'
}

suite() { # NAME
    RESULTS=$WORK/$1.tap
    : > "$RESULTS"
    containerd_with "$1" no || { tail "$WORK/containerd-$1/log" >&2 && exit 2; }
    export CONTAINERD_ADDRESS=$SOCKET CONTAINERD_NAMESPACE=suite RUNTIME_TYPE RUNTIME_BINARY IMAGE
    ctr images import "$WORK/images.tar" > /dev/null || exit 2
    one_shot
    long_lived
    [ ! -d /sys/fs/cgroup/memory/suite ] || rmdir /sys/fs/cgroup/*/suite 2> /dev/null
    results_of "$1"
    stop_daemons
}

ran_with containerd
suite runc
result=0
for runtime; do
    suite "$runtime"
    verdict containerd "$runtime" || result=1
done
exit $result
