#!/bin/bash
# podman.sh [RUNTIME...]: podman's own system tests (bats), those files whose tests start containers and need no registry, with runc
# first and then with corten. Prints TAP; a test that passes with runc and fails with corten fails the command.
#
# RUNTIME: corten (the default) or NAME=PATH. $FILES: other test files, as numbers or names. The tests come from the Go module of
# Debian's podman version; its test image is replaced by one made here.
set -uo pipefail
# shellcheck source=daemons.sh
. "$(dirname "$0")/daemons.sh"
need podman bats runc conmon jq busybox buildah socat
[ -n "$(corten)" ] || skip "corten (cargo build -p runtime)"
MODULE=github.com/containers/podman/v4
SOURCE=${PODMAN_SOURCE:-$(need go && cd "$HERE/../podman-tests" && go mod download -json $MODULE 2> /dev/null | jq -r '.Dir // empty')}
[ -d "$SOURCE/test/system" ] || skip "podman's tests ($MODULE from the Go module proxy)"
export PODMAN_SOURCE=$SOURCE
enter_private "$@"
[ $# -gt 0 ] || set -- corten
FILES=${FILES:-030-run 035-logs 045-start 050-stop 055-rm 065-cp 075-exec 080-pause 130-kill 140-diff 160-volumes 170-run-userns
    180-blkio 190-run-ipcns 200-pod 220-healthcheck 280-update 420-cgroups 450-interactive}

TREE=$WORK/tree
busybox_tree "$TREE"
# As far as the tests use what the real image has.
mkdir -p "$TREE/home/podman" "$TREE/srv" "$TREE/usr/bin"
touch "$TREE/etc/services" "$TREE/etc/mtab"
ln "$TREE/bin/nsenter" "$TREE/usr/bin/nsenter"
printf '#!/bin/sh\n[ $# = 0 ] && exec env\nenv | sed -n "s/^$1=//p" | grep .\n' > "$TREE/bin/printenv"
chmod 755 "$TREE/bin/printenv"
echo 20220615 > "$TREE/home/podman/testimage-id"
printf '#!/bin/sh\necho Confirmed: testimage pause invoked as $0\nwhile :; do sleep 0.1; done\n' > "$TREE/home/podman/pause"
chmod 755 "$TREE/home/podman/pause"
echo 'NAME="Alpine Linux"' > "$TREE/etc/os-release"
touch --date=@1600000000 "$TREE/home/podman/testimage-id"
image "$WORK/images" "$TREE" '{"WorkingDir":"/home/podman","Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
    "Labels":{"created_by":"test/system/build-testimage","created_at":"2022-06-15T00:00:00Z"},
    "Cmd":["/bin/echo","This container is intended for podman CI testing"]}' quay.io/libpod/testimage:20220615
image "$WORK/images" "$TREE" '{"Cmd":["/home/podman/pause"]}' k8s.gcr.io/pause:3.5
tar -C "$WORK/images" -cf "$WORK/images.tar" .
cp -r "$SOURCE/test/system" "$WORK/tests"
chmod -R u+w "$WORK/tests"

suite() { # NAME PATH
    local dir=$WORK/podman-$1 file
    mkdir -p "$dir/tmp"
    cat > "$dir/containers.conf" << END
[containers]
default_ulimits = ["nofile=2048:2048", "nproc=2048:2048"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime_supports_json = ["runc", "crun", "$1"]
[engine.runtimes]
$1 = ["$2"]
END
    export CONTAINERS_CONF=$dir/containers.conf BATS_TMPDIR=$dir/tmp TMPDIR=$dir/tmp PODMAN_TIMEOUT=60
    export PODMAN="podman --root $dir/root --runroot $dir/run --tmpdir $dir/libpod --storage-driver overlay --runtime $2"
    $PODMAN load -qi "$WORK/images.tar" > /dev/null || { echo "podman.sh: no image" >&2 && exit 2; }
    : > "$WORK/$1.tap"
    for file in $FILES; do
        timeout 900 bats --tap "$WORK/tests/$file"*.bats 2>&1 | sed "s/^\(ok\|not ok\) [0-9]* /\1 $file: /" |
            sed -n "/^ok .* # skip/{s/^ok/# skipped/;p;d};/^ok /p;/^not ok /p;/^#/p" >> "$WORK/$1.tap"
        $PODMAN pod rm -fa > /dev/null 2>&1
        $PODMAN rm -fa > /dev/null 2>&1
    done
    results_of "$1"
}

cgroups_of_its_own libpod_parent
ran_with podman conmon
suite runc "$(control)"
result=0
for runtime; do
    name=${runtime%%=*}
    suite "$name" "$(path_of "$runtime")"
    grep -E '^(not )?ok ' "$WORK/$name.tap" | sort > "$WORK/all"
    echo "TAP version 13"
    cat "$WORK/all"
    worse=$(worse_than_control "$name") || exit
    worse=$(grep -vFxf <(sed -n 's/^# skipped \(.*\) # skip.*/\1/p' "$WORK/$name.tap") <<< "$worse")
    [ -z "$worse" ] || { sed 's/^/# passes with runc only: /' <<< "$worse" && result=1; }
    count() { grep -c "$1" "$WORK/$2.tap"; }
    echo "podman: $name passes $(count '^ok ' "$name") and fails $(count '^not ok ' "$name"), runc passes $(count '^ok ' runc) and" \
        "fails $(count '^not ok ' runc); $(count '^# skipped' runc) skipped by the tests themselves"
done
exit $result
