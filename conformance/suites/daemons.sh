# shellcheck shell=bash disable=SC2034
# Sourced by the suites: images without a registry, and daemons that leave no trace.
#
# A suite calls `enter_private "$@"` first: from then on it runs in mount, network, IPC and PID namespaces of its own, with its own
# /run, so that what the daemons start, mount, bind and route is gone with it.

HERE=$(cd "$(dirname "$0")" && pwd)
REPOSITORY=$(cd "$HERE/../.." && pwd)
CACHE=${CONFORMANCE_CACHE:-/var/cache/corten-conformance}

skip() {
    echo "$(basename "$0" .sh): skipped: needs $*"
    exit 0
}

need() { # PROGRAM...
    local program
    for program; do command -v "$program" > /dev/null || skip "$program"; done
}

# The runtime that every result is compared with.
control() { echo "${RUNC_BIN:-$(command -v runc)}"; }

# The runtime under test: $CORTEN_BIN, or the newest one cargo has built.
corten() {
    local target=${CARGO_TARGET_DIR:-$REPOSITORY/target}
    if [ -n "${CORTEN_BIN:-}" ]; then
        echo "$CORTEN_BIN"
    else
        find "$target" -maxdepth 3 -name corten -type f -perm -100 -printf '%T@ %p\n' 2> /dev/null | sort -rn | head -1 | cut -d' ' -f2
    fi
}

# path_of SUBJECT: its program, which NAME=PATH gives.
path_of() {
    case $1 in
    *=*) echo "${1#*=}" ;;
    *) corten ;;
    esac
}

# cgroups_of_its_own NAME: what daemons put their containers below, and leave there: goes at the end, unless it was there before.
cgroups_of_its_own() {
    local top
    for top in /sys/fs/cgroup/ /sys/fs/cgroup/*/; do [ -e "$top$1" ] || OWN_CGROUPS+=("$top$1"); done
}

enter_private() {
    [ "$(id -u)" = 0 ] || skip root
    if [ "${SUITE_PRIVATE:-}" != yes ]; then
        need unshare ip
        SUITE_PRIVATE=yes exec unshare --mount --net --ipc --pid --fork --kill-child --mount-proc --propagation private "$0" "$@"
    fi
    ip link set lo up
    mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /run
    mkdir -p /run/lock
    # Everything that a suite writes. On a real disk: overlay snapshots need one below.
    WORK=$(mktemp -d "${TMPDIR:-/var/tmp}/corten-suite.XXXXXX")
    # The root of a user namespace has to find its root file system.
    chmod 711 "$WORK"
    DAEMONS=()
    OWN_CGROUPS=()
    trap 'stop_daemons; rmdir "${OWN_CGROUPS[@]}" 2> /dev/null; [ -n "${KEEP:-}" ] && echo "kept $WORK" || rm -rf "$WORK"' EXIT
    trap 'exit 130' INT TERM
}

stop_daemons() {
    local pid
    for pid in "${DAEMONS[@]}"; do kill "$pid" 2> /dev/null && wait "$pid" 2> /dev/null; done
    DAEMONS=()
    # What is mounted below the working folder would survive its removal.
    awk -v w="$WORK/" 'index($5, w) == 1 { print $5 }' /proc/self/mountinfo | tac | xargs -r umount -l 2> /dev/null
}

daemon() { # LOG COMMAND...: start it in the background; it is stopped at the end
    local log=$1
    shift
    "$@" > "$log" 2>&1 &
    DAEMONS+=($!)
}

wait_for() { # SECONDS COMMAND...: until it succeeds
    local end=$((SECONDS + $1))
    shift
    until "$@" > /dev/null 2>&1; do
        [ $SECONDS -lt $end ] || { echo "$(basename "$0" .sh): did not come up: $*" >&2 && return 1; }
        sleep 0.2
    done
}

# busybox_tree DIR: a root file system with every applet.
busybox_tree() {
    local dir=$1 applet
    mkdir -p "$dir"/{bin,dev,etc,proc,root,sys,tmp,usr/share/nginx/html,var/run,home}
    chmod 1777 "$dir/tmp"
    cp "$(command -v busybox)" "$dir/bin/busybox"
    for applet in $(busybox --list | grep -vx busybox); do ln -f "$dir/bin/busybox" "$dir/bin/$applet"; done
    printf '%s\n' root:x:0:0:root:/root:/bin/sh www-data:x:33:33::/var/www:/bin/sh nobody:x:65534:65534::/:/bin/false \
        default-user:x:1000:1000::/home:/bin/sh > "$dir/etc/passwd"
    printf '%s\n' root:x:0: www-data:x:33: default-user:x:1000: group-defined-in-image:x:50000:default-user \
        nobody:x:65534: > "$dir/etc/group"
    # shellcheck disable=SC2016
    # Programs that busybox lacks, as far as the suites use them.
    printf '#!/bin/sh\nps | grep "[0-9] .* $1" | grep -v grep\n' > "$dir/bin/pgrep"
    printf '#!/bin/sh\ncat /proc/sysvipc/shm\n' > "$dir/bin/ipcs"
    # serve PORT NAME: a web server that looks like nginx and like httpd.
    cat > "$dir/bin/serve" << 'END'
#!/bin/sh
echo $$ > /var/run/nginx.pid
echo "Command line: 'httpd -D FOREGROUND'"
httpd -f -p "$1" -h /usr/share/nginx/html & wait
END
    chmod 755 "$dir/bin/pgrep" "$dir/bin/ipcs" "$dir/bin/serve"
    # A script's process has the script's name.
    ln "$dir/bin/serve" "$dir/bin/nginx"
    echo 'Welcome to nginx!' > "$dir/usr/share/nginx/html/index.html"
}

# setuid_tree DIR: a root file system with /bin/nnp, which says as whom it runs and belongs to root, setuid.
setuid_tree() {
    mkdir -p "$1/bin" "$1/dev" "$1/etc" "$1/proc" "$1/sys"
    printf '#include <stdio.h>\n#include <unistd.h>\nint main(void) { printf("Effective uid: %%d\\n", geteuid()); return 0; }\n' |
        gcc -static -o "$1/bin/nnp" -x c - && chmod 4755 "$1/bin/nnp"
}

# image DIR TREE CONFIG NAME...: add an image to the docker-archive in DIR. CONFIG is the JSON of its `config`.
image() {
    local dir=$1 tree=$2 config=$3 layer diff file tags
    shift 3
    mkdir -p "$dir"
    layer=$(basename "$tree").tar
    [ -e "$dir/$layer" ] || tar -C "$tree" --sort=name --clamp-mtime --mtime=@1600000000 --owner=0 --group=0 --numeric-owner -cf "$dir/$layer" .
    diff=$(sha256sum "$dir/$layer" | cut -d' ' -f1)
    jq -nc --argjson config "$config" --arg diff "sha256:$diff" '{architecture: "amd64", os: "linux", config: $config,
        created: "1970-01-01T00:00:00Z", rootfs: {type: "layers", diff_ids: [$diff]}, history: [{created_by: "tar"}]}' > "$dir/config.new"
    file=$(sha256sum "$dir/config.new" | cut -d' ' -f1).json
    mv "$dir/config.new" "$dir/$file"
    tags=$(printf '%s\n' "$@" | jq -R . | jq -sc .)
    jq -nc --arg file "$file" --arg layer "$layer" --argjson tags "$tags" '[{Config: $file, RepoTags: $tags, Layers: [$layer]}]' > "$dir/manifest.one"
    if [ -e "$dir/manifest.json" ]; then
        jq -sc add "$dir/manifest.json" "$dir/manifest.one" > "$dir/manifest.new" && mv "$dir/manifest.new" "$dir/manifest.json"
    else
        mv "$dir/manifest.one" "$dir/manifest.json"
    fi
    rm -f "$dir/manifest.one"
}

# ran_with PROGRAM...: note the versions of these programs for the table of results, and of the runtimes.
ran_with() {
    [ -n "${SUITE_RESULTS:-}" ] || return 0
    local program
    for program in "$(corten)" "$(control)" "$@"; do
        echo "$(basename "$program"): $("$program" --version 2>&1 | head -n 1)"
    done > "$SUITE_RESULTS/with"
}

# results_of RUNTIME: what the file RUNTIME.tap in the working folder says is a result.
results_of() {
    [ -z "${SUITE_RESULTS:-}" ] || cp "$WORK/$1.tap" "$SUITE_RESULTS/$1.tap"
}

# worse_than_control RUNTIME: the cases, one a line, that runc passes and RUNTIME does not, whether it fails them or never came to
# them. A control that passes nothing has not run.
worse_than_control() {
    passes() { sed -n 's/^ok //p' "$WORK/$1.tap" | sort -u; }
    [ -n "$(passes runc)" ] || { echo "$(basename "$0" .sh): the control passes nothing" >&2 && exit 2; }
    comm -23 <(passes runc) <(passes "$1")
}

# containerd_with RUNTIME CRI(yes|no): start containerd with its own folders; RUNTIME is runc, corten (our runtime behind containerd's
# shim), corten-shim (our shim) or corten-typed (our shim in the place of containerd's). Sets SOCKET.
containerd_with() {
    local runtime=$1 cri=$2 dir=$WORK/containerd-$1 type=io.containerd.runc.v2 binary="" path=""
    mkdir -p "$dir" /run/containerd
    case $runtime in
    runc) binary=$(control) ;;
    corten) binary=$(corten) ;;
    corten-shim) type=io.containerd.corten.v2 ;;
    corten-typed) path="runtime_path = '$(dirname "$(corten)")/containerd-shim-corten-v2'" ;;
    esac
    SOCKET=$dir/containerd.sock
    {
        echo "version = 2"
        echo "root = '$dir/root'"
        echo "state = '$dir/state'"
        [ "$cri" = yes ] || echo "disabled_plugins = ['io.containerd.grpc.v1.cri']"
        echo "[grpc]"
        echo "address = '$SOCKET'"
        [ "$cri" != yes ] || cat << END
[plugins.'io.containerd.grpc.v1.cri']
  sandbox_image = 'registry.k8s.io/pause:suite'
  restrict_oom_score_adj = true
  disable_apparmor = true
  tolerate_missing_hugetlb_controller = true
  stream_server_address = '127.0.0.1'
  [plugins.'io.containerd.grpc.v1.cri'.cni]
    bin_dir = '/usr/lib/cni'
    conf_dir = '$dir/cni'
  [plugins.'io.containerd.grpc.v1.cri'.containerd]
    default_runtime_name = 'suite'
    [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.suite]
      runtime_type = '$type'
      $path
      [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.suite.options]
        BinaryName = '$binary'
END
    } > "$dir/config.toml"
    RUNTIME_TYPE=$type RUNTIME_BINARY=$binary
    # containerd looks for the shim in its PATH: it is built beside the runtime.
    PATH=$(dirname "$(corten)"):$PATH daemon "$dir/log" containerd --config "$dir/config.toml"
    wait_for 30 ctr -a "$SOCKET" version
}

# check NAME PATTERN COMMAND...: what the command prints, and its status as the last word, must match the pattern. The result is
# added to the file $RESULTS. `run` as the command is what the suite puts into the array RUN.
check() {
    local name=$1 pattern=$2 output status
    shift 2
    [ "$1" != run ] || set -- "${RUN[@]}" "${@:2}"
    output=$(timeout 60 "$@" 2>&1 < /dev/null | tr -s '\0\r\n\t ' ' ' && exit "${PIPESTATUS[0]}")
    status=$?
    output="${output:+${output% } }$status"
    if [[ $output =~ ^$pattern$ ]]; then
        echo "ok $name" >> "$RESULTS"
    else
        printf 'not ok %s\n# %s\n' "$name" "${output:0:400}" >> "$RESULTS"
    fi
}

# verdict SUITE NAME: print NAME's results and whether one of them is worse than runc's; the status says so too.
verdict() {
    local worse passes
    passes() { grep '^ok ' "$WORK/$1.tap" | sort; }
    echo "TAP version 13"
    sed "s/^\(not \)*ok /&$1 $2: /" "$WORK/$2.tap"
    worse=$(worse_than_control "$2") || exit
    [ -z "$worse" ] || echo "# passes with runc, fails with $2: ${worse//$'\n'/, }"
    echo "$1: $2 passes $(passes "$2" | wc -l) of $(grep -c '^\(not \)*ok ' "$WORK/$2.tap"), runc passes $(passes runc | wc -l)"
    [ -z "$worse" ]
}
