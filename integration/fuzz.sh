#!/bin/bash
# Runs every fuzz target for some seconds with libFuzzer, starting from its corpus; ends with status 1 when one of them
# has found something. What is found is one file: put it into the target's corpus, where the tests of the crate run it.
#
#   integration/fuzz.sh SECONDS              every target that long (21 of them: 60 seconds are 21 minutes)
#   integration/fuzz.sh SECONDS CRATE TARGET one target, e.g. runtime config
#
# Coverage comes from flags of the stable compiler, so neither cargo-fuzz nor a nightly compiler is needed; where there are
# both, `cargo +nightly fuzz run TARGET` in the crate's folder does the same. The flags take the place of the workspace's
# own: libFuzzer finds its hooks as weak symbols, which needs a dynamic program. SANITIZER=address looks at memory as well.
# New inputs are kept in $FUZZ_FOUND (target/fuzz-found) and used by the next run.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:?how many seconds for each target}
target=${CARGO_TARGET_DIR:-$PWD/target}
found=${FUZZ_FOUND:-$target/fuzz-found}
export CARGO_TARGET_DIR=$target/fuzz${SANITIZER:+-$SANITIZER}
export RUSTFLAGS="--cfg=fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
[ -z "${SANITIZER:-}" ] || export RUSTC_BOOTSTRAP=1 RUSTFLAGS="$RUSTFLAGS -Zsanitizer=$SANITIZER"
host=$(rustc --print host-tuple)
status=0
for crate in ${2:-runtime shim seccomp-profiles lifecycle/tree}; do
  cargo build --quiet --release --target "$host" --manifest-path "$crate/fuzz/Cargo.toml"
  for source in "$crate"/fuzz/fuzz_targets/${3:-*}.rs; do
    name=$(basename "$source" .rs)
    kept=$found/$crate/$name
    mkdir -p "$kept"
    dictionary=()
    [ ! -e "$crate/fuzz/$name.dict" ] || dictionary=("-dict=$crate/fuzz/$name.dict")
    echo "# $crate $name"
    "$CARGO_TARGET_DIR/$host/release/$name" "$kept" "$crate/fuzz/corpus/$name" "${dictionary[@]}" -max_total_time="$seconds" \
      -max_len=8192 -timeout=20 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1 -artifact_prefix="$kept/found-" \
      > "$kept.log" 2>&1 || { status=1; grep -v '^stat::' "$kept.log" | tail -n 30; }
    grep -E 'number_of_executed_units|average_exec' "$kept.log" || true
  done
done
exit $status
