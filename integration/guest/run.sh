#!/bin/bash
# run.sh [OPTION]... COMMAND: run a shell command in the guest that build.sh made. Its standard output and error come out
# here and its exit status is this script's (124: it took too long, 125: the guest failed or was never built).
#
#   --systemd            in the guest where systemd is PID 1 (default: --plain, without systemd)
#   --v1                 without systemd and with the v1 hierarchies instead of v2; boots, which takes some seconds more
#   --timeout SECONDS    hard limit, boot included (default 300)
#   --program FILE       copied to /usr/local/bin in the guest; may be given several times
#   --share FOLDER       also shared, read and write, under the same path as here
#   --env NAME=VALUE     set for the command; may be given several times
#   --cold               boot instead of starting from the saved machine
#   --console            the kernel's console goes to standard error afterwards
#   --keep               keep the folder of this run, and say where it is
#   --save FOLDER        for build.sh: boot, wait for the agent, save the machine in FOLDER
#
# The repository (read-only) and cargo's target folder ($CARGO_TARGET_DIR, default REPOSITORY/target) are seen in the guest
# under the same paths as here: a test program finds there what its build recorded. The root disk is thrown away afterwards.
# $CORTEN_GUEST is "plain", "systemd" or "v1" inside.
set -uo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=settings.sh
. "$HERE/settings.sh"
REPOSITORY=$(cd "$HERE/../.." && pwd)
TARGET=${CARGO_TARGET_DIR:-$REPOSITORY/target}

usage() {
    echo "usage: run.sh [--systemd|--v1] [--timeout SECONDS] [--program FILE] [--share FOLDER] [--env NAME=VALUE]" \
        "[--cold] [--console] [--keep] COMMAND" >&2
    exit 125
}

mode=plain limit=300 share="" cold="" console="" keep="" save="" programs=() environment=()
while [ $# -gt 0 ]; do
    case $1 in
    --plain | --systemd) mode=${1#--} ;;
    --v1) mode=v1 cold=yes ;;
    --cold) cold=yes ;;
    --console) console=yes ;;
    --keep) keep=yes ;;
    --timeout | --program | --share | --env | --save)
        [ $# -gt 1 ] || usage
        case $1 in
        --timeout) limit=$2 ;;
        --program) programs+=("$2") ;;
        --share) share=$2 ;;
        --env) environment+=("$2") ;;
        --save) save=$2 ;;
        esac
        shift
        ;;
    --*) usage ;;
    *) break ;;
    esac
    shift
done
[ -n "$save" ] || [ $# = 1 ] || usage
machine=$(machine_dir "$mode")
if [ ! -e "$DISK.key" ]; then
    echo "run.sh: the guest is not built yet: run $HERE/build.sh" >&2
    exit 125
fi
[ -n "$save" ] || [ -e "$machine/state" ] || cold=yes

run=$(mktemp -d "${TMPDIR:-/tmp}/guest.XXXXXX")
qemu="" readers=()
# Readers wait for a writer that may never have come: open and close the pipes once.
release_readers() { : 8<> "$run/out.out" 9<> "$run/err.out"; }
# shellcheck disable=SC2317
clean_up() {
    [ -z "$qemu" ] || kill "$qemu" 2> /dev/null
    [ ${#readers[@]} = 0 ] || kill "${readers[@]}" 2> /dev/null
    if [ -n "$keep" ]; then echo "kept $run" >&2; else rm -rf "$run"; fi
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

# The control folder: what guest-agent reads.
quote() { printf "'%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"; }
mkdir -p "$run/control/bin" "$run/empty" "$TARGET"
printf '%s\n' "${1:-true}" > "$run/control/cmd"
for pair in "CORTEN_GUEST=$mode" "${environment[@]}"; do
    printf 'export %s=%s\n' "${pair%%=*}" "$(quote "${pair#*=}")"
done > "$run/control/env"
for file in "${programs[@]}"; do
    cp "$file" "$run/control/bin/" || exit 125
done
TARGET=$(realpath "$TARGET")
printf '%s\n' "repository $REPOSITORY" "target $TARGET" > "$run/control/shares"
if [ -n "$share" ]; then
    share=$(realpath "$share")
    echo "share $share" >> "$run/control/shares"
fi
for pipe in ctl out err monitor; do mkfifo "$run/$pipe.in" "$run/$pipe.out"; done

# A saved machine is one made with exactly these devices: they may not depend on anything but settings.sh.
disk=$machine/disk.img keep_disk=off memory=(-object "memory-backend-ram,id=ram,size=$MEMORY") incoming=()
if [ -n "$save" ]; then
    disk=$save/disk.img keep_disk=on
    memory=(-object "memory-backend-file,id=ram,size=$MEMORY,mem-path=$save/ram,share=on")
elif [ -n "$cold" ]; then
    disk=$DISK
else
    memory=(-object "memory-backend-file,id=ram,size=$MEMORY,mem-path=$machine/ram,share=off")
    incoming=(-incoming defer)
fi
snapshot=on
[ $keep_disk = off ] || snapshot=off
case $mode in
plain) init="cgroup_no_v1=all g.rootflags=ro,noatime g.init=/usr/local/sbin/guest-init" ;;
v1) init="g.rootflags=ro,noatime g.init=/usr/local/sbin/guest-init g.cgroup=v1" ;;
systemd) init="cgroup_no_v1=all g.rootflags=rw,noatime g.init=/sbin/init" ;;
esac
arguments="console=ttyS0 quiet panic=-1 reboot=t mitigations=off init_on_alloc=0 randomize_kstack_offset=off nokaslr
    rodata=off cryptomgr.notests=1 net.ifnames=0 systemd.unified_cgroup_hierarchy=1 swapaccount=1 psi=1
    apparmor=1 security=apparmor g.root=/dev/vda $init"
disk() { printf '%s\n' -drive "file=$2,if=none,id=$1,format=raw,snapshot=$3,cache=unsafe" -device "virtio-blk-pci,drive=$1"; }
folder() { printf '%s\n' -fsdev "local,id=$1,path=$2,security_model=none$3" -device "virtio-9p-pci,fsdev=$1,mount_tag=$1"; }
port() {
    printf '%s\n' -chardev "pipe,id=$1,path=$run/$1" -device "virtserialport,chardev=$1,name=g.$1"
}
devices=()
while read -r word; do devices+=("$word"); done < <(
    disk root "$disk" $snapshot
    disk scratch "$SCRATCH" on
    disk swap "$SWAP" on
    printf '%s\n' -device virtio-serial-pci
    port ctl
    port out
    port err
    folder ctl "$run/control" ""
    folder repository "$REPOSITORY" ",readonly=on,multidevs=remap"
    folder target "$TARGET" ",multidevs=remap"
    folder share "${share:-$run/empty}" ",multidevs=remap"
)

cat "$run/out.out" & readers+=($!)
cat "$run/err.out" >&2 & readers+=($!)
timeout -k 5 "$limit" "${QEMU:-$CACHE/qemu/run}" -M pc,usb=off,memory-backend=ram -accel tcg,thread=multi \
    -cpu qemu64,+fsgsbase,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16,+lahf-lm,+rdrand,+rdseed,+rdtscp \
    -smp "$CPUS" -m "$MEMORY" "${memory[@]}" "${incoming[@]}" -nodefaults -no-user-config -display none -no-reboot \
    -kernel "$KERNEL_DIR/vmlinux" -initrd "$INITRAMFS" -append "$(echo "$arguments" | xargs)" \
    -chardev "file,id=console,path=$run/console" -serial chardev:console \
    -chardev "pipe,id=monitor,path=$run/monitor" -mon chardev=monitor,mode=readline \
    "${devices[@]}" -device virtio-rng-pci < /dev/null > "$run/qemu.log" 2>&1 &
qemu=$!
exec 7<> "$run/ctl.in" 6<> "$run/monitor.in" 5<> "$run/monitor.out"

# Wait for the agent, let the guest settle, save all but the memory (which is the mapped file itself), and stop.
if [ -n "$save" ]; then
    until grep -qs G-READY "$run/console" || ! kill -0 $qemu 2> /dev/null; do sleep 0.2; done
    sleep 3
    printf 'migrate_set_capability x-ignore-shared on\nmigrate "exec:cat > %s"\nquit\n' "$save/state.new" >&6
    wait $qemu
    qemu=""
    release_readers
    wait "${readers[@]}"
    readers=()
    if [ -s "$save/state.new" ] && grep -q G-READY "$run/console"; then
        mv "$save/state.new" "$save/state"
        exit
    fi
    tail -n 40 "$run/console" "$run/qemu.log" >&2
    exit 125
fi

[ -n "$cold" ] || printf 'migrate_set_capability x-ignore-shared on\nmigrate_incoming "exec:cat %s"\n' "$machine/state" >&6
printf 'GO %s %s %s\n' "$(date +%s)" "$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')" msize=512000,cache=loose >&7
wait $qemu
ended=$?
qemu=""
release_readers
wait "${readers[@]}"
readers=()
[ -z "$console" ] || cat "$run/console" >&2
[ ! -s "$run/control/rc" ] || exit "$(cat "$run/control/rc")"
{
    echo "run.sh: no exit status from the guest (qemu: $ended)"
    tail -n 5 "$run/qemu.log"
    tail -n 25 "$run/console"
} >&2
[ $ended = 124 ] || [ $ended = 137 ] || exit 125
exit 124
