#!/bin/sh
# Fetches from PyPI the newest docker-py that the tests know, and the last one whose source has its own tests, with what
# those need; into a folder outside of the repository. What is there already is not fetched again.
#
#   fetch-clients.sh [FOLDER]        default: $CORTEN_CLIENTS or /var/cache/corten-clients
set -eu
clients=${1:-${CORTEN_CLIENTS:-/var/cache/corten-clients}}
if [ ! -e "$clients/complete" ]; then
  rm -rf "$clients"
  mkdir -p "$clients"
  python3 -m venv "$clients/python"
  "$clients/python/bin/pip" install -q docker==7.1.0
  touch "$clients/complete"
fi
if [ ! -e "$clients/suite/complete" ]; then
  rm -rf "$clients/suite"
  mkdir -p "$clients/suite"
  python3 -m venv "$clients/suite/python"
  "$clients/suite/python/bin/pip" install -q docker==6.1.3 requests==2.31.0 urllib3==1.26.20 \
    pytest==7.1.2 pytest-timeout==2.1.0 paramiko==5.1.0
  "$clients/suite/python/bin/pip" download -q --no-deps --no-binary docker -d "$clients/suite" docker==6.1.3
  tar -xzf "$clients/suite/docker-6.1.3.tar.gz" -C "$clients/suite"
  mv "$clients/suite/docker-6.1.3" "$clients/suite/docker-py"
  touch "$clients/suite/complete"
fi
