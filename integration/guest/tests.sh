#!/bin/bash
# tests.sh: the tests that need pure cgroup v2, systemd or a user's own systemd, in the guest. Built here, run there: the
# resource tests without systemd, the driver's tests as root and as a user.
set -uo pipefail
cd "$(dirname "$0")/../.."
programs=$(cargo test --quiet -p runtime --no-run --message-format=json | jq -r 'select(.executable and .profile.test) | .executable')
program() { grep "/$1-" <<< "$programs"; }
status=0

v2=$(program cgroup_v2) host=$(program cgroup_host) reader=$(program cgroup_reader) systemd=$(program cgroup_systemd)
integration/guest/run.sh --timeout 600 --program "$v2" --program "$host" --program "$reader" \
    "for test in ${v2##*/} ${host##*/} ${reader##*/}; do /usr/local/bin/\$test || exit; done" || status=1
integration/guest/run.sh --systemd --timeout 600 --program "$systemd" \
    "/usr/local/bin/${systemd##*/} && as-tester /usr/local/bin/${systemd##*/}" || status=1
# Where AppArmor is: the attacks on labels.
cargo build --quiet --workspace --bins
attacks=$(cargo test --quiet -p integration --test attacks --no-run --message-format=json | jq -r 'select(.executable and .profile.test) | .executable')
integration/guest/run.sh --timeout 600 "$attacks identity::an_apparmor --test-threads=1" || status=1
exit $status
