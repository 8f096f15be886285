#!/bin/bash
# containerd-client.sh [RUNTIME...]: containerd 2's own client integration tests (its Go package integration/client, built from the
# pinned module), with its Go shim and runc first. A test that passes there and fails with corten fails the command. The tests start
# their containerd by themselves and pull their images from registries: here, from one of our own that answers for those names.
#
# RUNTIME: corten-shim (our shim, the default), corten-typed (our shim in the place of containerd's), corten (behind containerd's own
# shim). $RUNC_BIN: another runc. $FOCUS, $SKIP: regular expressions over the names of tests; those that need no shim (of
# images, content, snapshots, leases) are skipped. $TIMES: how often each runs; not all can run twice, those of checkpoints not at all.
set -uo pipefail
# shellcheck source=daemons.sh
. "$(dirname "$0")/daemons.sh"
ENGINES=${CORTEN_ENGINES:-/var/cache/corten-engines}/sid/usr/bin
export RUNC_BIN=${RUNC_BIN:-${CORTEN_RUNTIMES:-/var/cache/corten-runtimes}/runc}
# Without it, the tests of checkpoints are skipped.
CRIU=${CORTEN_CRIU:-/var/cache/corten-criu}/bin
[ -x "$ENGINES/containerd" ] || skip "$ENGINES/containerd (integration/src/shim/fetch-engines.sh)"
[ -x "$RUNC_BIN" ] || skip "$RUNC_BIN (integration/bench/fetch-runtimes.sh)"
need docker-registry skopeo openssl jq busybox
[ -n "$(corten)" ] || skip "corten (cargo build -p runtime -p shim)"

# Build before the network goes away: the tests, and the runtime that fails on purpose in some of them.
MODULE=$HERE/../containerd-client
TESTS=$CACHE/containerd-client-$(cat "$MODULE/go.mod" "$MODULE/go.sum" | sha256sum | cut -c1-16)
if [ ! -x "$TESTS/client.test" ]; then
    need go
    echo "# building containerd's tests, some minutes"
    mkdir -p "$TESTS"
    package=github.com/containerd/containerd/v2/integration
    (cd "$MODULE" && export CGO_ENABLED=0 && go build -trimpath -ldflags '-s -w' -o "$TESTS/runc-fp" "$package/failpoint/cmd/runc-fp" &&
        go test -c -trimpath -ldflags '-s -w' -o "$TESTS/client.test" "$package/client") || skip "Go 1.24 and its module proxy"
fi
enter_private "$@"
[ $# -gt 0 ] || set -- corten-shim

mkdir -p "$WORK"/{registry,runc,corten,typed}

# What each runtime has in PATH. The tests also call `runc` by themselves: that has to be the runtime under test.
ln -s "$RUNC_BIN" "$WORK/runc/runc"
ln -s "$(corten)" "$WORK/corten/runc"
ln -s "$(dirname "$(corten)")/containerd-shim-corten-v2" "$WORK/typed/containerd-shim-runc-v2"

# An image like those that the tests know, whose busybox is not Debian's: with the users that they look for and no others, a setuid
# program, a bash, and an nc that SIGTERM ends although it is the first process.
TREE=$WORK/tree
busybox_tree "$TREE"
mkdir -p "$TREE/run" "$TREE/usr/bin"
printf '%s\n' root:x:0:0:root:/root:/bin/sh sys:x:3:3:sys:/dev:/bin/false www-data:x:33:33::/var/www:/bin/false > "$TREE/etc/passwd"
printf '%s\n' root:x:0: sys:x:3: www-data:x:33: > "$TREE/etc/group"
cp "$TREE/bin/busybox" "$TREE/usr/bin/passwd" && chmod 4755 "$TREE/usr/bin/passwd"
rm -f "$TREE/bin/nc"
# shellcheck disable=SC2016
printf '#!/bin/sh\ntrap "exit 143" TERM\nbusybox nc "$@" & wait $!\n' > "$TREE/bin/nc"
# shellcheck disable=SC2016
printf '#!/bin/sh\nexec sh "$@"\n' > "$TREE/bin/bash"
chmod 755 "$TREE/bin/nc" "$TREE/bin/bash"

# The registry, by the names of those that the tests ask.
echo "127.0.0.1 localhost ghcr.io" > "$WORK/hosts"
mount --bind "$WORK/hosts" /etc/hosts
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=suite -addext "subjectAltName=DNS:ghcr.io" \
    -keyout "$WORK/key.pem" -out "$WORK/cert.pem" 2> /dev/null || exit 2
export SSL_CERT_FILE=$WORK/cert.pem
cat > "$WORK/registry.yml" << END
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $WORK/registry}}
http: {addr: "127.0.0.1:443", tls: {certificate: $WORK/cert.pem, key: $WORK/key.pem}}
END
daemon "$WORK/registry.log" docker-registry serve "$WORK/registry.yml"
wait_for 20 bash -c ': < /dev/tcp/127.0.0.1/443' || exit 2
for name in busybox:1.36 volume-ownership:2.1; do
    rm -rf "$WORK/image"
    image "$WORK/image" "$TREE" '{"Cmd":["/bin/sh"],"Env":["PATH=/bin"]}' "ghcr.io/containerd/$name"
    tar -C "$WORK/image" -cf "$WORK/image.tar" .
    skopeo copy --insecure-policy --quiet --format oci "docker-archive:$WORK/image.tar" "docker://ghcr.io/containerd/$name" >> "$WORK/registry.log" 2>&1 ||
        { tail "$WORK/registry.log" >&2 && exit 2; }
done

run() { # RUNTIME
    local type=io.containerd.runc.v2 path=$WORK/corten:$ENGINES:$TESTS:$PATH
    case $1 in
    runc) path=$WORK/runc:$path ;;
    corten-shim) type=io.containerd.corten.v2 path=$(dirname "$(corten)"):$path ;;
    corten-typed) path=$WORK/typed:$path ;;
    esac
    [ ! -x "$CRIU/criu" ] || path=$CRIU:$path
    mkdir -p "$WORK/$1-lib" "$WORK/$1-tmp" /tmp/runc-test
    # A containerd, its shims and containers may survive tests that fail: they end with the namespace, before the next runtime's turn.
    # The folders are those that are in the tests. The shell is there to reap.
    # shellcheck disable=SC2016
    PATH=$path TEST_RUNTIME=$type TMPDIR=$WORK/$1-tmp LIB=$WORK/$1-lib unshare --mount --pid --fork --kill-child --mount-proc bash -c '
        mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /run && mount -t tmpfs tmpfs /tmp/runc-test && mount --bind "$LIB" /var/lib || exit 2
        cd "$TMPDIR" && "$@"
        exit $?' tests "$TESTS/client.test" -test.root -test.v ${FOCUS:+-test.run "$FOCUS"} \
        -test.skip "${SKIP:-^(Fuzz|Test(Image|Import|Export|Convert|Migration|Transfer|Content|Snapshotter|IDMapped|Lease))}" \
        -test.count "${TIMES:-1}" -test.timeout 10m > "$WORK/$1.log" 2>&1
    rmdir /tmp/runc-test
    for top in "${OWN_CGROUPS[@]}"; do
        [ ! -d "$top" ] || find "$top" -mindepth 1 -depth -type d -exec rmdir {} +
    done 2> /dev/null
    sed -n 's/^ *--- PASS: \([^ ]*\) .*/ok \1/p; s/^ *--- FAIL: \([^ ]*\) .*/not ok \1/p' "$WORK/$1.log" > "$WORK/$1.tap"
    # Those that did not come to their end.
    comm -23 <(sed -n 's/^=== RUN *//p' "$WORK/$1.log" | sort -u) <(sed -n 's/^ *--- [A-Z]*: \([^ ]*\) .*/\1/p' "$WORK/$1.log" | sort -u) |
        sed 's/^/not ok /' >> "$WORK/$1.tap"
    [ -s "$WORK/$1.tap" ] || { tail -20 "$WORK/$1.log" >&2 && exit 2; }
    results_of "$1"
}

for name in containerd/shim containerd testing testing-TestRegressionIssue{4769,6429} "$(printf 'n%.0s' {1..76})"; do
    cgroups_of_its_own "$name"
done
ran_with "$ENGINES/containerd"
run runc
result=0
for runtime; do
    run "$runtime"
    verdict containerd-client "$runtime" || result=1
done
exit $result
