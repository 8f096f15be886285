#!/bin/bash
# Installs what the tests need and passes them all: formatting, lints, documentation, unit tests, containers, engines, the
# validation suites, and the guest with pure cgroup v2 and systemd. Ends with one line of counts.
#
#   integration/test.sh           everything, as root on Debian 12 (other releases: where the packages have these names)
#   integration/test.sh quick     without the guest and the validation suites
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "test.sh: run it as root (sudo $0)" >&2; exit 1; }
mode=${1:-all}
say() { printf '\n# [%4ds] %s\n' "$SECONDS" "$*"; }
space() { df --output=avail -BG target | tail -n 1 | tr -dc 0-9; }

packages=(
  gcc libc6-dev ca-certificates libseccomp-dev linux-libc-dev busybox-static strace jq procps iproute2 iptables nftables uidmap
  runc crun containerd docker.io podman conmon containernetworking-plugins golang-github-containers-common
  umoci skopeo docker-registry docker-compose openssl python3-venv netavark aardvark-dns slirp4netns fuse-overlayfs catatonit tini
  groff-base mandoc zsh fish curl xz-utils bzip2
)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null | grep -qx installed || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  say "apt-get install ${missing[*]}"
  apt-get -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" > /dev/null
fi
cargo --version > /dev/null 2>&1 || { echo "test.sh: needs Rust 1.95 or later (rustup toolchain install 1.95)" >&2; exit 1; }

# The budget of system calls, faults and memory is that of the release build against musl, where the toolchain can have it. It
# takes as long as the lints do.
mkdir -p target
musl=$(uname -m)-unknown-linux-musl
rm -f "target/$musl/release/corten" "target/$musl/release/containerd-shim-corten-v2"
release=
if rustup target add "$musl" > target/musl.log 2>&1; then
  cargo build --quiet --release -p runtime -p shim --target "$musl" &
  release=$!
fi

# Other releases of containerd, and crictl, which Debian 12 does not have: without them their tests are skipped.
[ "$(space)" -ge 10 ] || say "$(space) GB of space are free: what is built here takes 10"
integration/src/shim/fetch-engines.sh > target/fetch-engines.log 2>&1 &
engines=$!
integration/tests/lifecycle/fetch-clients.sh > target/fetch-clients.log 2>&1 &
clients=$!
integration/tests/lifecycle/fetch-netavark.sh > target/fetch-netavark.log 2>&1 &
netavark=$!

# A criu that works on this kernel: that of Debian 12 does not on newer ones.
integration/src/fetch-criu.sh > target/fetch-criu.log 2>&1 &
criu=$!

say "cargo fmt, clippy, doc"
cargo fmt --all --check
cargo clippy --workspace --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
# A machine of the other architecture is not here: there, what people install is compiled, and no more.
if rustup target add aarch64-unknown-linux-gnu > target/aarch64.log 2>&1; then
  cargo clippy --quiet -p runtime -p shim --target aarch64-unknown-linux-gnu -- -D warnings
else
  say "skipped: compiling for aarch64 (needs rustup target add aarch64-unknown-linux-gnu)"
fi

# The guest is emulated and takes minutes to build: that goes on beside the tests.
guest=
if [ "$mode" = all ]; then
  say "build the guest, in the background"
  integration/guest/build.sh > target/guest-build.log 2>&1 &
  guest=$!
fi

wait "$clients" || { say "no docker-py of PyPI"; tail -n 5 target/fetch-clients.log; }
wait "$netavark" || { say "no other releases of netavark"; tail -n 5 target/fetch-netavark.log; }
wait "$engines" || { say "no other releases of containerd"; tail -n 5 target/fetch-engines.log; }
wait "$criu" || { say "no criu"; tail -n 5 target/fetch-criu.log; }
[ -z "$release" ] || wait "$release" || { echo "test.sh: the release build failed" >&2; exit 1; }

# Each stage is kept in target/test-NAME.log, and what failed in it is said once more at the end.
failed=() stages=()
stage() { # NAME TEXT COMMAND...
  local name=$1
  stages+=("$name")
  say "$2"
  shift 2
  "$@" 2>&1 | tee "target/test-$name.log" || failed+=("$name")
}

# The lines of a log that tell of a failure, with what a failed test wrote.
failures() {
  awk '
    /^---- .* ----$/ { told = 30 }
    /^not ok .*# (TODO|SKIP)/ { next }
    told > 0 || /FAILED|^failed: |^unsteady|panicked at|^not ok |^# unexpected|^error|corten \(|[0-9]+ passed, [0-9]+ failed/ { print substr($0, 1, 400) }
    told > 0 { told-- }
  ' "$1" | tail -n 60
}

# Its last line counts what passed, failed, was skipped, and was unsteady.
suite() { cargo run --quiet -p integration --bin suite -- "$@"; }

BUNDLE=$PWD/target/try stage try "the first command of the README" integration/try.sh
[ -z "$release" ] || export BUDGET=required
stage workspace "tests of the workspace" suite

if [ -n "$release" ]; then
  CORTEN_BIN=$PWD/target/$musl/release/corten \
    stage musl "containers with the release build against musl" suite -p integration --test containers
  SHIM=$PWD/target/$musl/release/containerd-shim-corten-v2 CORTEN_BIN=$PWD/target/$musl/release/corten \
    stage musl-shim "the shim with the release builds against musl" suite -p integration --test 'shim_*'
else
  say "skipped: containers with the release build against musl (needs rustup target add $musl)"
  tail -n 3 target/musl.log
fi

if [ "$mode" = all ]; then
  wait "$guest" || tail -n 20 target/guest-build.log
  stage guest "resources, systemd driver and rootless in the guest" integration/guest/tests.sh
  stage seccomp "seccomp programs against libseccomp" suite -p seccomp-profiles --features libseccomp-oracle
  cargo build --quiet -p runtime -p conformance
  stage conformance "validation suites: runtime-tools and the matrix of runtimes" cargo run --quiet -p conformance
else
  say "skipped: the guest, seccomp programs against libseccomp, the validation suites ($mode)"
fi

if [ ${#failed[@]} -gt 0 ]; then
  for name in "${failed[@]}"; do
    printf '\n# failed: %s\n' "$name"
    failures "target/test-$name.log"
  done
  say "failed: ${failed[*]} ($(space) GB of space are free)"
  exit 1
fi
# What passed only when it was seen once more, in any of the stages.
for name in "${stages[@]}"; do
  grep -H '^unsteady' "target/test-$name.log" || true
done
say "all passed"
for name in "${stages[@]}"; do
  grep -E '^([a-z ]+: )?[0-9]+ passed, [0-9]+ failed' "target/test-$name.log" | sed "s/^/$name: /" || true
done
