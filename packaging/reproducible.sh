#!/bin/bash
# Shows that a release build depends on nothing but the sources and the compiler: the last commit is built twice, in two
# directories, and every program must be the same byte for byte. Takes ten minutes and more.
#
#   packaging/reproducible.sh
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cargo_home=${CARGO_HOME:-$HOME/.cargo}
commit=$(git -C "$here" rev-parse HEAD)
host=$(rustc -vV | sed -n 's/^host: //p')
musl=$(uname -m)-unknown-linux-musl
builds=("$host -p runtime -p shim -p lifecycle")
# Where the toolchain has it.
[ ! -d "$(rustc --print target-libdir --target "$musl")" ] || builds+=("$musl -p runtime -p shim")
for name in one another-longer-name; do
  git clone --quiet --no-hardlinks "$here" "$scratch/$name"
  # Where it was built is in the messages of panics.
  flags="['--remap-path-prefix=$scratch/$name=/corten', '--remap-path-prefix=$cargo_home=/cargo']"
  for build in "${builds[@]}"; do
    # shellcheck disable=SC2086  # a target and packages
    (cd "$scratch/$name" && CARGO_TARGET_DIR=$scratch/$name/target CORTEN_COMMIT=$commit cargo build --quiet --release \
      --config "target.'cfg(target_os = \"linux\")'.rustflags=$flags" --target $build)
  done
  (cd "$scratch/$name/target" && find ./*/release -maxdepth 1 -type f -perm -u+x | sort | xargs sha256sum) | tee "$scratch/$name.sums"
done
cmp "$scratch/one.sums" "$scratch/another-longer-name.sums" && echo "the same, twice"
