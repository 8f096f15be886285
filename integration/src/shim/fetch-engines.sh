#!/bin/sh
# Fetches newer engines than the distribution has, from Debian sid, into a folder outside of the repository. Nothing is
# installed: the packages are unpacked there and run as they are. Uses a private apt configuration, by package name.
#
#   fetch-engines.sh [FOLDER]        default: $CORTEN_ENGINES or /var/cache/corten-engines
set -eu
here=$(cd "$(dirname "$0")" && pwd)
engines=${1:-${CORTEN_ENGINES:-/var/cache/corten-engines}}
packages="containerd docker.io docker-cli"
[ -e "$engines/complete" ] && exit 0
mkdir -p "$engines/apt/lists/partial" "$engines/apt/cache/archives/partial" "$engines/sid"
cat > "$engines/apt/sources.list" <<X
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian sid main
X
: > "$engines/apt/status"
apt() {
    apt-get -q -o Dir::Etc::SourceList="$engines/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State="$engines/apt" -o Dir::State::Lists="$engines/apt/lists" -o Dir::State::Status="$engines/apt/status" \
        -o Dir::Cache="$engines/apt/cache" -o Acquire::Languages=none -o APT::Sandbox::User=root "$@"
}
apt update > /dev/null
cd "$engines/apt/cache/archives"
for package in $packages; do
    # One that is not in the archive any more is no reason to do without the others.
    apt download "$package" || echo "not there: $package" >&2
done
for archive in *.deb; do dpkg -x "$archive" "$engines/sid"; done
rm -rf "$engines/apt"
cd "$here/crictl"
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$engines/crictl" sigs.k8s.io/cri-tools/cmd/crictl ||
    echo "not there: crictl" >&2
touch "$engines/complete"
