#!/bin/sh
# Fetches the newest docker-py that the tests know from PyPI, into a folder outside of the repository. What is there
# already is not fetched again.
#
#   fetch-clients.sh [FOLDER]        default: $CORTEN_CLIENTS or /var/cache/corten-clients
set -eu
clients=${1:-${CORTEN_CLIENTS:-/var/cache/corten-clients}}
[ ! -e "$clients/complete" ] || exit 0
rm -rf "$clients"
mkdir -p "$clients"
python3 -m venv "$clients/python"
"$clients/python/bin/pip" install -q docker==7.1.0
touch "$clients/complete"
