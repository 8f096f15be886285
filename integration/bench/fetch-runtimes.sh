#!/bin/bash
# Fetches the newest runc and crun of Debian sid, with the C library that they want, into a folder outside of the
# repository: nothing is installed. run.sh measures them beside the distribution's when they are there.
#
#   fetch-runtimes.sh [FOLDER]        default: $CORTEN_RUNTIMES or /var/cache/corten-runtimes
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-${CORTEN_RUNTIMES:-/var/cache/corten-runtimes}}
[ -e "$folder/complete" ] && exit 0
mkdir -p "$folder/root"
# shellcheck source=../own-apt.sh
. "$here/../own-apt.sh"
own_release "$folder/apt" sid
own_apt apt-get download runc crun libc6 libgcc-s1 libstdc++6 libblake3-0 libtbb12 libcap2 libjson-c5 libseccomp2 libsystemd0
for archive in *.deb; do dpkg -x "$archive" "$folder/root"; done
cp "$folder/root/usr/bin/runc" "$folder/root/usr/bin/crun" "$folder"
own_libraries "$folder/root" "$folder/runc" "$folder/crun"
for name in runc crun; do "$folder/$name" --version | sed -n 1p; done
rm -rf "$folder/apt"
touch "$folder/complete"
