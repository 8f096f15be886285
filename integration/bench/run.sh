#!/bin/bash
# Measures Corten beside runc, crun and the floor, and writes RESULTS.md and its pictures: 6 to 8 minutes on a quiet
# machine, as root.
#
#   integration/bench/run.sh            everything
#   integration/bench/run.sh --quick    the main cases, in half a minute
#   integration/bench/run.sh --shims    Corten's shim beside containerd's, written to SHIM.md: some minutes, and 11 of them
#                                       with --execs 100000, as in the SHIM.md that is here
#   integration/bench/run.sh --help
#
# fetch-runtimes.sh gets newer ones than the distribution has; they take part when they are there.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --quiet --release -p runtime -p shim
cargo build --quiet -p bench -p integration
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
newer=()
# The programs against musl, where the toolchain has it (rustup target add); the other corten is measured beside it.
corten=()
musl=$(uname -m)-unknown-linux-musl
if [ -d "$(rustc --print target-libdir --target "$musl")" ]; then
  cargo build --quiet --release -p runtime -p shim --target "$musl"
  corten=(--corten "$target/$musl/release/corten")
  newer+=("corten-glibc=$target/$(rustc -vV | sed -n 's/^host: //p')/release/corten")
fi
for name in crun runc; do
  program=${CORTEN_RUNTIMES:-/var/cache/corten-runtimes}/$name
  if [ -x "$program" ]; then
    version=$("$program" --version | sed -n '1s/.* \([0-9]*\.[0-9]*\).*/\1/p')
    newer+=("$name-$version=$program")
  fi
done
bench=$target/$(rustc -vV | sed -n 's/^host: //p')/debug/bench
"$bench" "${corten[@]}" "$@" "${newer[@]}"
# The main cases once more, where there are control groups of both versions.
if [ $# = 0 ] && [ -d /sys/fs/cgroup/unified ]; then
  "$bench" "${corten[@]}" --quick --v2 --write "${newer[@]}"
fi
# What Docker's default profile and ours cost to compile, beside libseccomp.
if [ $# = 0 ] && [ -e /usr/include/seccomp.h ]; then
  {
    echo "# What a seccomp profile costs"
    echo
    echo "Written by \`integration/bench/run.sh\`; times are in microseconds. libseccomp is that of the distribution."
    echo
    echo '```text'
    cargo run --quiet --release -p seccomp-profiles --features libseccomp-oracle --example compile_cost
    echo '```'
  } > integration/bench/SECCOMP.md
fi
