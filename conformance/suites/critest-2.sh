#!/bin/bash
# critest-2.sh [RUNTIME...]: critest.sh with containerd 2 and a runc that knows user namespaces: those that the tests of the shim and
# the bench fetch.
set -uo pipefail
cd "$(dirname "$0")" || exit 2
engines=${CORTEN_ENGINES:-/var/cache/corten-engines}/sid/usr/bin
runc=${RUNC_BIN:-${CORTEN_RUNTIMES:-/var/cache/corten-runtimes}/runc}
for file in "$engines/containerd" "$runc"; do
    [ -x "$file" ] ||
        { echo "critest-2: skipped: needs $file (integration/src/shim/fetch-engines.sh, integration/bench/fetch-runtimes.sh)" && exit 0; }
done
CONTAINERD=$engines RUNC_BIN=$runc exec ./critest.sh "$@"
