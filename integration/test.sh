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

packages=(
  gcc libc6-dev libseccomp-dev linux-libc-dev busybox-static strace jq procps iproute2 iptables nftables uidmap
  runc crun containerd docker.io podman conmon containernetworking-plugins golang-github-containers-common
  umoci skopeo docker-registry netavark aardvark-dns slirp4netns fuse-overlayfs catatonit tini
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

# The budget of system calls, faults and memory is that of the release build, which takes as long as the lints do.
cargo build --quiet --release -p runtime &
release=$!

# Other releases of containerd, and crictl, which Debian 12 does not have: without them their tests are skipped.
mkdir -p target
integration/src/shim/fetch-engines.sh > target/fetch-engines.log 2>&1 &
engines=$!

say "cargo fmt, clippy, doc"
cargo fmt --all --check
cargo clippy --workspace --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet

# The guest is emulated and takes minutes to build: that goes on beside the tests.
guest=
if [ "$mode" = all ]; then
  say "build the guest, in the background"
  integration/guest/build.sh > target/guest-build.log 2>&1 &
  guest=$!
fi

status=0
wait "$engines" || { say "no other releases of containerd"; tail -n 5 target/fetch-engines.log; }
wait "$release" || { echo "test.sh: the release build failed" >&2; exit 1; }
say "tests of the workspace"
BUDGET=required cargo run --quiet -p integration --bin suite || status=1

if [ "$mode" = all ]; then
  say "resources, systemd driver and rootless in the guest"
  if wait "$guest"; then
    integration/guest/tests.sh || status=1
  else
    tail -n 20 target/guest-build.log
    status=1
  fi
  say "seccomp programs against libseccomp"
  cargo test --quiet -p seccomp-profiles --features libseccomp-oracle || status=1
  say "validation suites: runtime-tools and the matrix of runtimes"
  cargo build --quiet -p runtime -p conformance
  cargo run --quiet -p conformance || status=1
fi

[ $status = 0 ] && say "all passed" || say "failed"
exit $status
