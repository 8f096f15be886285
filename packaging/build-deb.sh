#!/bin/bash
# Makes a Debian package of the release build, with Debian's own tools alone.
#
#   packaging/build-deb.sh [DIRECTORY]   writes corten_VERSION_ARCH.deb to DIRECTORY (default: target)
#
# BIN is as for install.sh; COMPRESSION is what dpkg-deb -Z takes (default: xz).
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
to=${1:-$here/target}
mkdir -p "$to"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/Cargo.toml" | head -n 1)
architecture=$(dpkg --print-architecture)
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
DESTDIR=$stage PREFIX=/usr "$here/packaging/install.sh" > /dev/null
# dpkg knows what it installed.
rm "$stage/usr/share/corten/installed"
mkdir "$stage/DEBIAN"
cat > "$stage/DEBIAN/control" <<END
Package: corten
Version: $version
Architecture: $architecture
Maintainer: The Corten maintainers <maintainers@corten.invalid>
Section: admin
Priority: optional
Installed-Size: $(du -sk --apparent-size "$stage/usr" | cut -f 1)
Recommends: uidmap, iptables
Suggests: containerd, docker.io, podman, criu, netavark, aardvark-dns
Description: OCI container runtime, containerd shim and engine
 corten makes containers from OCI bundles and takes runc's command line;
 containerd-shim-corten-v2 is a runtime of containerd; cortend is an engine
 for the stock docker command line. All three are static programs.
END
(cd "$stage" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum > DEBIAN/md5sums)
find "$stage" -type d -exec chmod 755 {} +
# The same package of the same commit: dpkg-deb takes the time of every file from this.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$here" log -1 --format=%ct 2> /dev/null || echo 0)}
export SOURCE_DATE_EPOCH
find "$stage" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group "-Z${COMPRESSION:-xz}" --build "$stage" "$to/corten_${version}_$architecture.deb"
