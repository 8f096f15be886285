#!/bin/bash
# Sets up what building needs, builds Corten, makes a root file system from the distribution's static busybox, and runs a
# container from it that shows where it is.
#
#   integration/try.sh            on a fresh Debian or Ubuntu machine, as root
#   BUNDLE=DIR integration/try.sh keep the bundle in DIR (default: a temporary directory)
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "try.sh: run it as root (sudo $0)" >&2; exit 1; }
say() { printf '\n\033[1m# %s\033[0m\n' "$*"; }

need=()
command -v gcc > /dev/null || need+=(gcc libc6-dev)
[ -x /bin/busybox ] || [ -x /usr/bin/busybox ] || need+=(busybox-static)
command -v cargo > /dev/null || need+=(rustup)
if [ ${#need[@]} -gt 0 ]; then
  say "apt-get install ${need[*]}"
  apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${need[@]}" > /dev/null
fi
cargo --version > /dev/null 2>&1 || rustup toolchain install 1.95 --profile minimal

# Against musl where the toolchain can have it: that starts faster.
triple=$(uname -m)-unknown-linux-musl
rustup target add "$triple" > /dev/null 2>&1 || triple=$(rustc -vV | sed -n 's/^host: //p')
say "cargo build --release -p runtime --target $triple"
cargo build --release -p runtime --target "$triple"
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
corten=$target/$triple/release/corten

bundle=${BUNDLE:-$(mktemp -d)}
say "a bundle in $bundle: busybox as the root file system, corten spec as config.json"
mkdir -p "$bundle/rootfs/bin"
cp "$(command -v busybox || echo /bin/busybox)" "$bundle/rootfs/bin/busybox"
for name in sh id hostname ps mount ip cat ls grep echo; do ln -sf busybox "$bundle/rootfs/bin/$name"; done
rm -f "$bundle/config.json"
"$corten" spec --bundle "$bundle"
cat > "$bundle/rootfs/hello" <<'X'
#!/bin/sh
echo "user        $(id)"
echo "host name   $(hostname)"
echo "processes   $(ps | grep -c .) lines of ps, and PID 1 is $(cat /proc/1/comm)"
echo "interfaces  $(ip -o link | while read -r _ name _; do printf '%s ' "$name"; done)"
echo "root        $(mount | grep ' on / ')"
echo "hidden      /proc/kcore and /sys/firmware: $(ls /sys/firmware | grep -c .) entries"
echo "privileges  $(grep CapEff /proc/self/status | cat)"
X
chmod +x "$bundle/rootfs/hello"
sed -i -e 's/"terminal": true/"terminal": false/' -e 's/"sh"/"\/hello"/' "$bundle/config.json"

say "$corten run --bundle $bundle hello"
"$corten" run --bundle "$bundle" hello
say "that was a container. The next one: $corten run --bundle $bundle NAME"
