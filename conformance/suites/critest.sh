#!/bin/bash
# critest.sh [RUNTIME...]: the Kubernetes CRI validation suite (cri-tools, built from the pinned Go module) against containerd, once
# with runc as its default runtime and once with corten. A test that passes with runc and fails with corten fails the command.
#
# RUNTIME: corten (behind containerd's own shim, the default), corten-shim (our shim), corten-typed (our shim in the place of
# containerd's). $CRITEST: a critest to use instead. $RUNC_BIN: another runc.
# $CONTAINERD: a folder with another containerd (and its shim) than that of $PATH.
# $FOCUS, $SKIP: regular expressions over the names of tests. Tests that only pull images from registries are skipped.
set -uo pipefail
# shellcheck source=daemons.sh
. "$(dirname "$0")/daemons.sh"
PATH=${CONTAINERD:+$CONTAINERD:}$PATH
need containerd ctr runc jq busybox iptables gcc
[ -x /usr/lib/cni/bridge ] || skip "the CNI plug-ins (containernetworking-plugins)"
[ -n "$(corten)" ] || skip "corten (cargo build -p runtime)"

# Build before the network goes away.
CRITEST=${CRITEST:-$CACHE/critest-$(cat "$HERE/../cri-tools/go.mod" "$HERE/../cri-tools/go.sum" | sha256sum | cut -c1-16)}
if [ ! -x "$CRITEST" ]; then
    need go
    echo "# building critest, some minutes"
    mkdir -p "$CACHE"
    (cd "$HERE/../cri-tools" && CGO_ENABLED=0 go test -c -trimpath -ldflags '-s -w' -o "$CRITEST" sigs.k8s.io/cri-tools/cmd/critest) ||
        skip "Go 1.24 and its module proxy"
fi
enter_private "$@"
[ $# -gt 0 ] || set -- corten

mount -t tmpfs tmpfs /var/lib/cni 2> /dev/null || { mkdir -p /var/lib/cni && mount -t tmpfs tmpfs /var/lib/cni; }
echo 1 > /proc/sys/net/ipv4/ip_forward
TREE=$WORK/tree
busybox_tree "$TREE"
K8S=registry.k8s.io CRI=gcr.io/k8s-staging-cri-tools E2E=registry.k8s.io/e2e-test-images
setuid_tree "$WORK/setuid"
web() { jq -nc --arg port "$1" '{Cmd: ["/bin/nginx", $port, "nginx: master process"]}'; }
image "$WORK/images" "$TREE" '{"Cmd":["/bin/sleep","2147483647"]}' $K8S/pause:suite
image "$WORK/images" "$TREE" '{"Cmd":["/bin/sh"]}' $E2E/busybox:1.29-2
image "$WORK/images" "$TREE" "$(web 80)" $E2E/nginx:1.14-2 $E2E/httpd:2.4.39-4
image "$WORK/images" "$TREE" "$(web 12003)" $CRI/hostnet-nginx-amd64:latest
image "$WORK/images" "$WORK/setuid" '{"Cmd":["/bin/nnp"]}' $E2E/nonewprivs:1.3
image "$WORK/images" "$TREE" '{"User":"1000","Cmd":["/bin/sh"]}' $CRI/test-image-predefined-group:latest
tar -C "$WORK/images" -cf "$WORK/images.tar" .

run() { # RUNTIME: its failed and passed tests go to $WORK/RUNTIME.failed, .passed
    containerd_with "$1" yes || { tail -20 "$WORK/containerd-$1/log" >&2 && exit 2; }
    mkdir -p "$WORK/containerd-$1/cni"
    jq -n '{cniVersion: "0.4.0", name: "suite", plugins: [
        {type: "bridge", bridge: "suite0", isGateway: true, ipMasq: true, ipam: {type: "host-local", subnet: "10.88.0.0/16",
         routes: [{dst: "0.0.0.0/0"}]}}, {type: "portmap", capabilities: {portMappings: true}}]}' > "$WORK/containerd-$1/cni/10-suite.conflist"
    ctr -a "$SOCKET" -n k8s.io images import "$WORK/images.tar" > /dev/null || exit 2
    "$CRITEST" --runtime-endpoint "unix://$SOCKET" --ginkgo.no-color --ginkgo.json-report "$WORK/$1.json" \
        ${FOCUS:+--ginkgo.focus "$FOCUS"} --ginkgo.skip "${SKIP:-public image|listImage|image status|Image Manager}" \
        --ginkgo.seed 1 > "$WORK/$1.log" 2>&1
    # Written at the end, with what kept it from running all of it.
    jq -e '.[0] | (.SpecReports | length > 0) and ((.SpecialSuiteFailureReasons // []) == [])' "$WORK/$1.json" > /dev/null 2>&1 ||
        { echo "critest: $1 broke off" >&2 && tail -20 "$WORK/$1.log" >&2 && exit 2; }
    for state in failed passed skipped; do
        jq -r --arg state $state '.[0].SpecReports[] | select(.LeafNodeType == "It" and (.State == $state or ($state == "failed" and
            (.State == "panicked" or .State == "timedout" or .State == "interrupted")))) |
            (.ContainerHierarchyTexts + [.LeafNodeText]) | join(" ")' "$WORK/$1.json" | sort > "$WORK/$1.$state"
    done
    sed 's/^/ok /' "$WORK/$1.passed" > "$WORK/$1.tap"
    sed 's/^/not ok /' "$WORK/$1.failed" >> "$WORK/$1.tap"
    results_of "$1"
    stop_daemons
}

cgroups_of_its_own k8s.io
ran_with containerd
run runc
result=0
for runtime; do
    run "$runtime"
    # Of what containerd does not say that the runtime can do, a test is skipped.
    worse=$(worse_than_control "$runtime") || exit
    worse=$(grep -vFxf "$WORK/$runtime.skipped" <<< "$worse")
    [ -z "$worse" ] || { sed "s/^/not ok - $runtime: /" <<< "$worse" && result=1; }
    comm -12 "$WORK/runc.failed" "$WORK/$runtime.failed" | sed "s/^/# fails with runc as well: /"
    comm -12 "$WORK/runc.failed" "$WORK/$runtime.passed" | sed "s/^/# fails with runc only: /"
    echo "critest: $runtime passes $(wc -l < "$WORK/$runtime.passed") and fails $(wc -l < "$WORK/$runtime.failed")," \
        "runc passes $(wc -l < "$WORK/runc.passed") and fails $(wc -l < "$WORK/runc.failed"); $(grep -c . <<< "$worse") pass with runc only"
done
exit $result
