#!/bin/bash
# link-order.sh BUNDLE: writes runtime/link-order.txt, the functions that a container's life runs through: those that most of
# its commands need first, then those of the same commands together, in the order of the first time. BUNDLE is one like
# Docker's, whose program ends by itself, with a sleep. As root, on x86_64; takes a few minutes. To be run again when the
# compiler or much of the runtime has changed; the budget test tells when it has faded.
set -euo pipefail
say() { echo "link-order.sh: $*" >&2; }
[ $# = 1 ] || { echo "usage: link-order.sh BUNDLE" >&2; exit 2; }
bundle=$(realpath "$1")
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
say "a release, with the linker's map"
CORTEN_LINK_MAP=$work/map cargo build --quiet --release -p runtime --target x86_64-unknown-linux-musl
corten=$(cargo metadata --format-version 1 --no-deps | jq -r .target_directory)/x86_64-unknown-linux-musl/release/corten
gcc -O1 -o "$work/step" integration/bench/step.c
read -r from to < <(readelf -SW "$corten" | awk '{ sub(/^ *\[ *[0-9]+\] */, "") } $1 == ".text" { print $3, $5 }')
to=$(printf '%x' $((16#$from + 16#$to)))
say "step by step through a start"
mkdir "$work/addresses"
step() {
  name=$1
  shift
  timeout 200 "$work/step" "$from" "$to" "$corten" --root "$work/state" "$@" < /dev/null > "$work/addresses/$name"
}
limits='{"memory": {"limit": 268435456}, "pids": {"limit": 100}, "cpu": {"shares": 512, "quota": 50000, "period": 100000}}'
mkdir "$work/plain"
ln -s "$bundle/rootfs" "$work/plain/rootfs"
"$corten" spec --bundle "$work/plain"
jq --argjson limits "$limits" '.process.terminal = false | .process.args = ["/bin/true"] | .linux.resources += $limits' \
  "$work/plain/config.json" > "$work/config.json"
{
  step 1-run run --bundle "$bundle" link-order-1
  step 2-plain run --bundle "$work/plain" --config "$work/config.json" link-order-1
  # Its container is traced until it executes its program, and so this command goes on as long.
  jq '.process.args = ["/bin/sleep", "600"]' "$bundle/config.json" > "$work/config.json"
  step 3-create create --bundle "$bundle" --config "$work/config.json" --pid-file "$work/pid" link-order-2 &
  until [ "$("$corten" --root "$work/state" state link-order-2 2> /dev/null | jq -r .status)" = created ]; do sleep 0.1; done
  step 4-state state link-order-2
  step 5-start start link-order-2
  wait
  step 6-exec exec link-order-2 /bin/true
  step 7-list list
  step 8-kill kill link-order-2 KILL
  step 9-delete delete --force link-order-2
} 2> "$work/errors" || true
# Lines of the map: address, address, size, alignment, and further in than sections and files, a symbol.
python3 - "$work/map" "$work/addresses" > "$work/order" << 'PYTHON'
import bisect, os, re, sys
line = re.compile(r"^ *([0-9a-f]+) +[0-9a-f]+ +([0-9a-f]+) +\d+ {10,}(\S+)$")
found = (line.match(text.rstrip("\n")) for text in open(sys.argv[1]))
symbols = sorted((int(at, 16), int(size, 16), name) for at, size, name in (m.groups() for m in found if m) if "/" not in name)
starts = [start for start, _, _ in symbols]
used = {}
for command in sorted(os.listdir(sys.argv[2])):
    for text in open(os.path.join(sys.argv[2], command), errors="replace"):
        if not re.fullmatch("[0-9a-f]+\n", text):
            continue  # what the traced commands print
        address = int(text, 16)
        start, size, name = symbols[bisect.bisect_right(starts, address) - 1]
        if address < start + size:
            commands = used.setdefault(name, [])
            if command not in commands:
                commands.append(command)
# Sorting keeps the order of those that are equal.
print("\n".join(sorted(used, key=lambda name: (-len(used[name]), used[name]))))
PYTHON
[ "$(wc -l < "$work/order")" -gt 100 ] || { cat "$work/errors" >&2; say "found too little"; exit 1; }
mv "$work/order" runtime/link-order.txt
wc -l runtime/link-order.txt
