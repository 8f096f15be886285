#!/bin/sh
# Fetches a criu that works on today's kernels (that of Debian 12 does not: it knows no kernel newer than itself) from
# Debian sid, with the C library it wants, into a folder outside of the repository. Nothing is installed: the
# packages are unpacked there, and `bin/criu` runs it through its own loader. What is there already is not fetched again.
#
#   fetch-criu.sh [FOLDER]        default: $CORTEN_CRIU or /var/cache/corten-criu
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-${CORTEN_CRIU:-/var/cache/corten-criu}}
[ ! -x "$folder/bin/criu" ] || exit 0

rm -rf "$folder"
mkdir -p "$folder/root" "$folder/bin"
# shellcheck source=../own-apt.sh
. "$here/../own-apt.sh"
own_release "$folder/apt" sid
# criu itself and the libraries that it is linked to; of python and the like it needs nothing.
own_apt apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances \
    criu | grep '^[a-z]' | grep -E '^(criu|lib[a-z0-9.+-]*|zlib1g)(:.*)?$' | sort -u > "$apt/wanted"
own_apt apt-get download $(cat "$apt/wanted") > /dev/null
for archive in *.deb; do dpkg -x "$archive" "$folder/root"; done
cd /
rm -rf "$folder/apt"

loader=$(ls "$folder"/root/usr/lib64/ld-linux-*.so.2 "$folder"/root/lib64/ld-linux-*.so.2 \
    "$folder"/root/usr/lib/*-linux-gnu*/ld-linux-*.so.* 2> /dev/null | head -n 1)
libraries=$(ls -d "$folder"/root/usr/lib/*-linux-gnu* | head -n 1)
program=$(ls "$folder"/root/usr/sbin/criu "$folder"/root/usr/bin/criu 2> /dev/null | head -n 1)
cat > "$folder/bin/criu.new" << END
#!/bin/sh
exec $loader --library-path $libraries $program "\$@"
END
chmod 755 "$folder/bin/criu.new"
"$folder/bin/criu.new" --version
mv "$folder/bin/criu.new" "$folder/bin/criu"
