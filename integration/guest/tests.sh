#!/bin/bash
# tests.sh: the tests that need pure cgroup v2, AppArmor, systemd or a user's own systemd, in the guest. Built here, run there:
# the resource tests without systemd, those of containers, engines and the shim that are about resources or labels, and the
# driver's tests as root and as a user. Ends with one line of counts, and what was skipped.
set -uo pipefail
cd "$(dirname "$0")/../.."
# Prints the test programs of a package, and with it the others that the tests start.
programs() {
    cargo test --quiet "$@" --no-run --message-format=json | jq -r 'select(.executable and .profile.test) | .executable'
}
program() { grep "/$1-" <<< "$programs"; }
programs=$(programs -p runtime && programs -p integration --test containers --test attacks --test engine_docker --test engine_containerd \
    --test shim_task --test shim_exits --test lifecycle)
cargo build --quiet --workspace --bins || exit
binaries=$(dirname "$(dirname "$(program cgroup_v2)")")
status=0

# What is said in the guest: of one part, and the lines of all that was skipped there.
log=$(mktemp) skips=$(mktemp)
trap 'rm -f "$log" "$skips"' EXIT
passed=0 failed=0 unsteady=0

attempt() { integration/guest/run.sh "$@" 2>&1 | tee "$log"; }

# Adds up the numbers of the part that just ended.
counted() {
    local good bad
    while read -r good bad; do
        passed=$((passed + good)) failed=$((failed + bad))
    done < <(sed -n 's/^test result: .* \([0-9]*\) passed; \([0-9]*\) failed.*/\1 \2/p' "$log")
    # A test that says so more than once in the same words is one.
    grep -o 'skipped: .*' "$log" | sort -u >> "$skips"
    return 0
}

# Runs a part in the guest. Emulated, it is slow: a part that fails is seen once more, and said to be unsteady if it passes.
guest() {
    attempt "$@" && counted && return
    echo "tests.sh: failed in the guest, once more"
    if attempt "$@"; then
        counted
        unsteady=$((unsteady + 1))
        echo "unsteady (failed, then passed): the part of the guest above"
        return
    fi
    counted
    echo "failed: a part of the guest's tests: ${*: -1}"
    status=1
}

# Prints filters of a program's tests, each of which there is a test for.
tests() { # PROGRAM FILTER...
    local name=$1 filter
    shift
    for filter; do
        [ "$filter" = --skip ] || "$(program "$name")" --list "$filter" 2> /dev/null | grep ': test$' > /dev/null ||
            { echo "tests.sh: no test of $name is called $filter" >&2 && return 1; }
    done
    echo "$*"
}
checkpoints=$(tests containers checkpoint::memory checkpoint::users labels::a_restored unified_hierarchy) &&
    shared_checkpoints=$(tests containers unified_hierarchy hierarchies_that) &&
    containers=$(tests containers limits:: cgroups:: apparmor exec::it_ exec::labels namespaces::time) &&
    attacks=$(tests attacks identity::an_apparmor) &&
    containerd=$(tests engine_containerd limits_and_metrics) &&
    task=$(tests shim_task statistics limits_can) &&
    exits=$(tests shim_exits out_of_memory pausing) &&
    docker=$(tests engine_docker limits_are memory_that stats) &&
    engine=$(tests lifecycle apparmor details::long_paths commands::builds_take networks::a_firewall) &&
    version_1=$(tests containers limits:: cgroups:: --skip version_2 --skip huge_pages --skip unified_keys) || exit

v2=$(program cgroup_v2) host=$(program cgroup_host) reader=$(program cgroup_reader) systemd=$(program cgroup_systemd)
guest --timeout 600 --program "$v2" --program "$host" --program "$reader" \
    "for test in ${v2##*/} ${host##*/} ${reader##*/}; do /usr/local/bin/\$test || exit; done"
# Pages that were written to can be told from others here, and AppArmor is there: what needs them of checkpoints, on a file
# system with id-mapped mounts.
criu=${CORTEN_CRIU:-/var/cache/corten-criu}
if [ -x "$criu/bin/criu" ]; then
    guest --timeout 600 --share "$criu" --env CORTEN_CRIU="$criu" --program "$binaries/corten" --program "$binaries/probe" "
        mkdir /usr/local/bin/deps /var/tmp/bundles && cd /usr/local/bin/deps && cp $(program containers) containers || exit
        TMPDIR=/var/tmp/bundles ./containers $checkpoints"
    # What systemd mounts is shared, and not all of it can be saved.
    guest --systemd --timeout 600 --share "$criu" --env CORTEN_CRIU="$criu" --program "$binaries/corten" \
        --program "$binaries/probe" "
        findmnt -no PROPAGATION /sys/fs/cgroup | grep -x shared || exit
        mkdir /usr/local/bin/deps /var/tmp/bundles && cd /usr/local/bin/deps && cp $(program containers) containers || exit
        TMPDIR=/var/tmp/bundles ./containers $shared_checkpoints"
else
    echo "skipped: checkpoints in the guest: needs criu (integration/src/fetch-criu.sh)" | tee -a "$skips"
fi
# The tests look for the programs they start one folder up.
guest --timeout 1200 --program "$binaries/corten" --program "$binaries/probe" \
    --program "$binaries/containerd-shim-corten-v2" --program "$binaries/cortend" "
    mkdir /usr/local/bin/deps && cd /usr/local/bin/deps || exit
    cp $(program containers) containers && cp $(program attacks) attacks || exit
    cp $(program engine_docker) docker && cp $(program engine_containerd) containerd || exit
    cp $(program shim_task) task && cp $(program shim_exits) exits && cp $(program lifecycle) engine || exit
    ./containers $containers || failed=yes
    ./attacks $attacks --test-threads=1 || failed=yes
    PROOFS=$attacks ./attacks weakened::${attacks%%::*} || failed=yes
    ./containerd $containerd || failed=yes
    ./task $task --test-threads=1 || failed=yes
    ./exits $exits --test-threads=1 || failed=yes
    ./docker $docker || failed=yes
    # Its kernel has another way to make overlays.
    ./engine $engine || failed=yes
    [ -z \"\$failed\" ]"
# Every controller of version 1, some of which other machines lack; what needs version 2 beside them is not there.
guest --v1 --timeout 600 --program "$binaries/corten" --program "$binaries/probe" "
    mkdir /usr/local/bin/deps && cd /usr/local/bin/deps || exit
    cp $(program cgroup_host) host && cp $(program containers) containers || exit
    ./host && ./containers $version_1"
guest --systemd --timeout 600 --program "$systemd" \
    "/usr/local/bin/${systemd##*/} && as-tester /usr/local/bin/${systemd##*/}"
guest --systemd --timeout 600 --program "$binaries/corten" "$PWD/integration/guest/killed.sh"
guest --systemd --timeout 600 --env BIN="$binaries" "$PWD/integration/guest/engine.sh"
sort "$skips"
# Of those that were skipped, libtest says that they passed.
passed=$((passed - $(grep -c ']$' "$skips")))
echo "the guest: $passed passed, $failed failed, $(wc -l < "$skips") skipped, $unsteady unsteady parts"
exit $status
