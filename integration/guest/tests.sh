#!/bin/bash
# tests.sh: the tests that need pure cgroup v2, AppArmor, systemd or a user's own systemd, in the guest. Built here, run there:
# the resource tests without systemd, those of containers, engines and the shim that are about resources or labels, and the
# driver's tests as root and as a user.
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

# Runs a part in the guest. Emulated, it is slow: a part that fails is seen once more, and said to be unsteady if it passes.
guest() {
    integration/guest/run.sh "$@" && return
    echo "tests.sh: failed in the guest, once more"
    integration/guest/run.sh "$@" && echo "unsteady (failed, then passed): the part of the guest above" && return
    echo "failed: a part of the guest's tests: ${*: -1}"
    status=1
}

v2=$(program cgroup_v2) host=$(program cgroup_host) reader=$(program cgroup_reader) systemd=$(program cgroup_systemd)
guest --timeout 600 --program "$v2" --program "$host" --program "$reader" \
    "for test in ${v2##*/} ${host##*/} ${reader##*/}; do /usr/local/bin/\$test || exit; done"
# Pages that were written to can be told from others here, and AppArmor is there: what needs them of checkpoints, on a file
# system with id-mapped mounts.
criu=${CORTEN_CRIU:-/var/cache/corten-criu}
if [ -x "$criu/bin/criu" ]; then
    guest --timeout 600 --share "$criu" --env CORTEN_CRIU="$criu" --program "$binaries/corten" --program "$binaries/probe" "
        mkdir /usr/local/bin/deps /var/tmp/bundles && cd /usr/local/bin/deps && cp $(program containers) containers || exit
        TMPDIR=/var/tmp/bundles ./containers checkpoint::memory checkpoint::users labels::a_restored unified_hierarchy"
fi
# The tests look for the programs they start one folder up.
guest --timeout 1200 --program "$binaries/corten" --program "$binaries/probe" \
    --program "$binaries/containerd-shim-corten-v2" --program "$binaries/cortend" "
    mkdir /usr/local/bin/deps && cd /usr/local/bin/deps || exit
    cp $(program containers) containers && cp $(program attacks) attacks || exit
    cp $(program engine_docker) docker && cp $(program engine_containerd) containerd || exit
    cp $(program shim_task) task && cp $(program shim_exits) exits && cp $(program lifecycle) engine || exit
    ./containers limits:: cgroups:: apparmor exec::it_ exec::labels || failed=yes
    ./attacks identity::an_apparmor --test-threads=1 || failed=yes
    PROOFS=identity::an_apparmor ./attacks weakened::every_attack_succeeds || failed=yes
    ./containerd limits_and_metrics || failed=yes
    ./task statistics limits_can --test-threads=1 || failed=yes
    ./exits out_of_memory pausing --test-threads=1 || failed=yes
    ./docker limits_are memory_that stats || failed=yes
    # Its kernel has another way to make overlays.
    ./engine apparmor details::long_paths commands::builds_take networks::a_firewall || failed=yes
    [ -z \"\$failed\" ]"
# Every controller of version 1, some of which other machines lack; what needs version 2 beside them is not there.
guest --v1 --timeout 600 --program "$binaries/corten" --program "$binaries/probe" "
    mkdir /usr/local/bin/deps && cd /usr/local/bin/deps || exit
    cp $(program cgroup_host) host && cp $(program containers) containers || exit
    ./host && ./containers limits:: cgroups:: --skip version_2 --skip huge_pages --skip unified_keys"
guest --systemd --timeout 600 --program "$systemd" \
    "/usr/local/bin/${systemd##*/} && as-tester /usr/local/bin/${systemd##*/}"
guest --systemd --timeout 600 --env BIN="$binaries" "$PWD/integration/guest/engine.sh"
exit $status
