#!/bin/bash
# engine.sh: in the guest, the engine as packaging/install.sh installs it from $BIN: a unit of systemd, with containers in
# slices. Prints what is not as it should be.
set -u
# Has COMMAND print TEXT, and succeed.
has() { # TEXT COMMAND...
    local text=$1 said
    shift
    said=$("$@" 2>&1) && [[ $said == *"$text"* ]] && return
    printf 'engine.sh: %s\n  expected %s, said: %s\n' "$*" "$text" "$said"
    journalctl --no-pager -u cortend | tail -n 20
    exit 1
}
field() { docker inspect -f "{{.$1}}" "$2"; }
group() { cat "/proc/$(field State.Pid "$1")/cgroup"; }
property() { systemctl show --value -p "$1" "docker-$(field Id "$2").scope"; }
export DOCKER_HOST=unix:///run/corten/cortend.sock

has installed "$(dirname "$0")/../../packaging/install.sh"
systemctl daemon-reload
has '' systemctl start cortend
for _ in $(seq 50); do docker version > /dev/null 2>&1 && break; sleep 0.2; done
has 'Cgroup Driver: systemd' docker info
tar -C /opt/busybox-rootfs -c . | docker import - box > /dev/null

has '' docker run -d --name one -m 64m --pids-limit 20 box sleep 1000
has "/system.slice/docker-$(field Id one).scope" group one
has 67108864 property MemoryMax one
has 20 property TasksMax one
has '' docker update -m 80m --memory-swap 100m one
has 83886080 property MemoryMax one
has 83886080 cat "/sys/fs/cgroup/system.slice/docker-$(field Id one).scope/memory.max"
has 80MiB docker stats --no-stream one
has '' docker pause one
has Paused docker ps
has '' docker unpause one

# Containers are no part of the unit.
pid=$(field State.Pid one)
systemctl daemon-reload
has '' systemctl restart cortend
for _ in $(seq 50); do docker version > /dev/null 2>&1 && break; sleep 0.2; done
has "$pid" field State.Pid one
has said docker exec one echo said
systemctl kill --kill-who=main -s KILL cortend
for _ in $(seq 50); do docker version > /dev/null 2>&1 && break; sleep 0.2; done
has "$pid" field State.Pid one

# Another slice, which is within another one, and a control group that is no slice.
has '' docker run -d --name two --cgroup-parent corten-own.slice box sleep 1000
has "/corten.slice/corten-own.slice/docker-$(field Id two).scope" group two
has '' docker run -d --name three --cgroup-parent /corten-plain box sleep 1000
has "/corten-plain/$(field Id three)" group three
climbs=$(docker run --rm --cgroup-parent ../x.slice box true 2>&1)
has 'must not contain ".."' echo "$climbs"

has three docker rm -f one two three
has '' test -z "$(systemctl list-units --plain --no-legend 'docker-*'; find /sys/fs/cgroup -name '*docker-*')"
has '' systemctl stop cortend
has '' test -z "$(pgrep -f containerd-shim-corten)"
