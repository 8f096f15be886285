#!/bin/sh
# Fetches newer engines than the distribution has, from newer releases of Debian, into a folder outside of the repository.
# Nothing is installed: the packages are unpacked there and run as they are. Uses a private apt configuration, by package
# name. What is there already is not fetched again.
#
#   fetch-engines.sh [FOLDER]        default: $CORTEN_ENGINES or /var/cache/corten-engines
set -eu
here=$(cd "$(dirname "$0")" && pwd)
engines=${1:-${CORTEN_ENGINES:-/var/cache/corten-engines}}
# shellcheck source=../../own-apt.sh
. "$here/../../own-apt.sh"

fetch() { # RELEASE PACKAGE...
    release=$1
    shift
    [ "$(cat "$engines/$release.complete" 2> /dev/null)" != "$*" ] || return 0
    rm -rf "${engines:?}/$release"
    mkdir -p "$engines/$release"
    own_release "$engines/apt-$release" "$release"
    for package; do
        # One that is not in the archive any more is no reason to do without the others.
        own_apt apt-get download "$package" || echo "not there: $package" >&2
    done
    for archive in *.deb; do dpkg -x "$archive" "$engines/$release"; done
    rm -rf "$engines/apt-$release"
    echo "$*" > "$engines/$release.complete"
}

fetch trixie containerd
fetch sid containerd docker.io docker-cli docker-compose
if [ ! -e "$engines/crictl" ]; then
    cd "$here/crictl"
    CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$engines/crictl" sigs.k8s.io/cri-tools/cmd/crictl ||
        echo "not there: crictl" >&2
fi
