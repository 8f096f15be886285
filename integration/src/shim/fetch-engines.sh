#!/bin/sh
# Fetches newer engines than the distribution has, from newer releases of Debian, into a folder outside of the repository.
# Nothing is installed: the packages are unpacked there and run as they are. Uses a private apt configuration, by package
# name. What is there already is not fetched again.
#
#   fetch-engines.sh [FOLDER]        default: $CORTEN_ENGINES or /var/cache/corten-engines
set -eu
here=$(cd "$(dirname "$0")" && pwd)
engines=${1:-${CORTEN_ENGINES:-/var/cache/corten-engines}}

fetch() { # RELEASE PACKAGE...
    release=$1
    shift
    [ ! -e "$engines/$release.complete" ] || return 0
    apt=$engines/apt-$release
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$engines/$release"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $release main" \
        > "$apt/sources.list"
    : > "$apt/status"
    own_apt() {
        apt-get -q -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
            -o Dir::State="$apt" -o Dir::State::Lists="$apt/lists" -o Dir::State::Status="$apt/status" \
            -o Dir::Cache="$apt/cache" -o Acquire::Languages=none -o APT::Sandbox::User=root "$@"
    }
    own_apt update > /dev/null
    cd "$apt/cache/archives"
    for package; do
        # One that is not in the archive any more is no reason to do without the others.
        own_apt download "$package" || echo "not there: $package" >&2
    done
    for archive in *.deb; do dpkg -x "$archive" "$engines/$release"; done
    rm -rf "$apt"
    touch "$engines/$release.complete"
}

fetch trixie containerd
fetch sid containerd docker.io docker-cli
if [ ! -e "$engines/crictl" ]; then
    cd "$here/crictl"
    CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$engines/crictl" sigs.k8s.io/cri-tools/cmd/crictl ||
        echo "not there: crictl" >&2
fi
