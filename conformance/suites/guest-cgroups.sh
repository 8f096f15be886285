#!/bin/bash
# guest-cgroups.sh: the cgroup programs of runtime-tools, once more where every v1 controller exists and root has every capability:
# in the project's guest, booted with v1 hierarchies. (They know nothing of cgroup v2: "cgroupv2 is not supported yet".)
set -uo pipefail
# shellcheck source=daemons.sh
. "$(dirname "$0")/daemons.sh"
GUEST=$REPOSITORY/integration/guest
"$GUEST/run.sh" true || skip "the guest (integration/guest/build.sh)"
runtime=$(corten)
[ -n "$runtime" ] || skip "corten (cargo build -p runtime)"
runner=$(dirname "$runtime")/conformance
[ -x "$runner" ] || skip "the runner (cargo build -p conformance)"
programs=$(find "$CACHE" -maxdepth 1 -name 'runtime-tools-*' -type d -printf '%T@ %p\n' 2> /dev/null | sort -rn | head -1 | cut -d' ' -f2)
[ -n "$programs" ] || skip "the validation programs (cargo run -p conformance -- runtime-tools)"
output=$(mktemp)
trap 'rm -f "$output"' EXIT
"$GUEST/run.sh" --v1 --timeout "${TIMEOUT:-1500}" --share "$programs" --program "$runtime" --program "$runner" "
    cp -r $programs /tmp/programs
    uname -sr
    for case in linux_cgroups delete_resources process_capabilities process_oom; do
        CONFORMANCE_PROGRAMS=/tmp/programs CORTEN_BIN=/usr/local/bin/corten conformance runtime-tools --case \$case --jobs 2 || failed=yes
    done
    [ -z \"\$failed\" ]" | tee "$output"
status=${PIPESTATUS[0]}
if [ -n "${SUITE_RESULTS:-}" ]; then
    ran_with crun
    tr -d '\r' < "$output" | sed -n 's/^\(Linux .*\)/the guest, where they run: \1, every controller on v1/p' >> "$SUITE_RESULTS/with"
    for name in corten runc crun; do
        tr -d '\r' < "$output" | sed -n "s/^\(ok\|not ok\) [0-9]* - $name /\1 /p" > "$SUITE_RESULTS/$name.tap"
    done
fi
exit "$status"
