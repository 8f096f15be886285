#!/bin/bash
# killed.sh: in the guest with systemd, `corten create` is killed at many points: `delete --force` and, if systemd came to the call
# only afterwards, the next create leave no scope of it, and its id can be had again. Prints what is not as it should be.
set -u
work=$(mktemp -d)
cd "$work" && cp -a /opt/busybox-rootfs rootfs && corten spec || exit
sed -i 's/"terminal": true/"terminal": false/; s/"sh"/"true"/' config.json
c() { timeout 60 corten --root "$work/state" --systemd-cgroup "$@" < /dev/null > "$work/said" 2>&1; }
scopes() { find /sys/fs/cgroup -name 'corten-killed*.scope'; }
failed=0
for number in $(seq 15); do
    corten --root "$work/state" --systemd-cgroup create "killed$number" < /dev/null > /dev/null 2>&1 &
    sleep "0.$(printf %03d $((40 + number * 14)))"
    kill -9 $! 2> /dev/null
    wait $! 2> /dev/null
    c delete --force "killed$number" || { echo "killed.sh: delete: $(cat said)"; failed=1; }
done
sleep 3
echo "killed.sh: scopes that came late: $(scopes | wc -l)"
for number in $(seq 15); do
    c run "killed$number" || { echo "killed.sh: killed$number again: $(cat said)"; failed=1; }
done
[ -z "$(scopes)" ] || { echo "killed.sh: left: $(scopes)"; failed=1; }
exit $failed
