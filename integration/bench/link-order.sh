#!/bin/bash
# link-order.sh BUNDLE: writes runtime/link-order.txt, the functions that a container's start runs through, in the order of the
# first time. BUNDLE is one like Docker's, whose program ends by itself. As root, on x86_64; takes a
# few minutes. To be run again when the compiler or much of the runtime has changed; the budget test tells when it has faded.
set -euo pipefail
[ $# = 1 ] || { echo "usage: link-order.sh BUNDLE" >&2; exit 2; }
bundle=$(realpath "$1")
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# With its symbols, and beside the other builds.
CARGO_TARGET_DIR=$work/target CARGO_PROFILE_RELEASE_STRIP=false cargo build --quiet --release -p runtime
corten=$(find "$work/target" -path '*/release/corten' -type f | head -n 1)
gcc -O1 -o "$work/step" integration/bench/step.c
read -r from to < <(readelf -SW "$corten" | awk '{ sub(/^ *\[ *[0-9]+\] */, "") } $1 == ".text" { print $3, $5 }')
to=$(printf '%x' $((16#$from + 16#$to)))
step() { "$work/step" "$from" "$to" "$corten" --root "$work/state" "$@" < /dev/null; }
{
  step run --bundle "$bundle" link-order-1
  step create --bundle "$bundle" link-order-2
  step state link-order-2
  step start link-order-2
  step delete --force link-order-2
} > "$work/addresses" 2> "$work/errors" || true
nm -S "$corten" | awk 'NF == 4 && $3 ~ /[tTwWi]/ { print $1, $2, $4 }' | sort > "$work/symbols"
python3 - "$work/symbols" "$work/addresses" > runtime/link-order.txt << 'PYTHON'
import bisect, sys
symbols = sorted((int(a, 16), int(b, 16), c) for a, b, c in (line.split() for line in open(sys.argv[1])))
starts = [start for start, _, _ in symbols]
seen = {}
for line in open(sys.argv[2]):
    try:
        address = int(line, 16)
    except ValueError:
        continue
    start, size, name = symbols[bisect.bisect_right(starts, address) - 1]
    if address < start + size:
        seen.setdefault(name)
print("\n".join(seen))
PYTHON
wc -l runtime/link-order.txt
