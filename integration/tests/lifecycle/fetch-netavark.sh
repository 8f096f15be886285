#!/bin/sh
# Fetches netavark and aardvark-dns of newer releases of Debian, with the C library that they want, into a folder outside of
# the repository: nothing is installed. What is there already is not fetched again.
#
#   fetch-netavark.sh [FOLDER]        default: $CORTEN_NETAVARK or /var/cache/corten-netavark
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-${CORTEN_NETAVARK:-/var/cache/corten-netavark}}
[ ! -e "$folder/complete" ] || exit 0
rm -rf "$folder"
mkdir -p "$folder"
# shellcheck source=../../own-apt.sh
. "$here/../../own-apt.sh"
for release in trixie sid; do
  own_release "$folder/apt" "$release"
  own_apt apt-get download netavark aardvark-dns libc6 libgcc-s1
  for archive in *.deb; do dpkg -x "$archive" "$folder/$release"; done
  programs=$folder/$release/usr/lib/podman
  own_libraries "$folder/$release" "$programs/netavark" "$programs/aardvark-dns"
  rm -rf "$folder/apt"
  "$programs/netavark" --version
done
touch "$folder/complete"
