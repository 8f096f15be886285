#!/bin/bash
# Runs the unit tests of the crates that have unsafe code, and of the seccomp compiler, under a sanitizer (address, with leaks;
# memory and thread need a standard library that is built with them). Uses the stable compiler's own runtime library.
#
#   integration/sanitize.sh [SANITIZER] [ARGUMENTS OF CARGO TEST]
set -euo pipefail
cd "$(dirname "$0")/.."
sanitizer=${1:-address}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/sanitize-$sanitizer
# A sanitizer is a part of the program that wants to be linked dynamically, unlike a release.
export RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=$sanitizer"
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_stack_use_after_return=1}
cargo test --target "$(rustc --print host-tuple)" -p runtime -p shim -p seccomp-profiles --lib "${@:2}"
