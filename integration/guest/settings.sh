# shellcheck shell=bash disable=SC2034
# Sourced by build.sh and run.sh: where the guest lives and what it is made of. Every value can be set from outside.

CACHE=${GUEST_CACHE:-/var/cache/corten-guest}
KERNEL=${GUEST_KERNEL:-6.1}     # 6.1: bookworm's own; 6.12: bookworm-backports'
CPUS=${GUEST_CPUS:-2}
MEMORY=${GUEST_MEMORY:-2G}

KERNEL_DIR=$CACHE/k-$KERNEL     # vmlinux, config, release, modules/
INITRAMFS=$KERNEL_DIR/initramfs
DISK=$CACHE/disk-$KERNEL.img    # Debian's root file system with this kernel's modules
SCRATCH=$CACHE/scratch.img      # /dev/vdb: an empty ext4 disk, for io limits
SWAP=$CACHE/swap.img            # /dev/vdc: a swap disk

# machine_dir plain|systemd: a machine that was booted once and saved while it waited for a command (disk, memory, devices).
machine_dir() { echo "$CACHE/machine-$1-$KERNEL-$CPUS-$MEMORY"; }
