#!/bin/bash
# build.sh: make the guest that run.sh runs commands in, from Debian's packages. Root, Debian 12 or later, 3 GB of disk.
#
# Nothing is installed on this machine but a few base tools that almost every Debian has (see `tools`); everything else is
# unpacked in the cache ($GUEST_CACHE, default /var/cache/corten-guest). The script can be run again at will: a part whose
# inputs did not change is not made again. What it makes, in order:
#
#   tools       QEMU, mmdebstrap, kmod and busybox, unpacked, not installed
#   kernel      Debian's kernel as an uncompressed ELF file (booted through PVH, which skips the slow part) and its modules
#   initramfs   busybox and the modules that reach the disk, the ports and the shared folders
#   rootfs      Debian 12 with systemd and the container tools listed in `packages`
#   disk        rootfs, the files of `root/` and the modules as an ext4 image
#   machines    one booted machine without systemd and one with it, saved while they wait for a command
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=settings.sh
. "$HERE/settings.sh"
export DEBIAN_FRONTEND=noninteractive
PACKAGES=$(xargs < "$HERE/packages")
TOOLS=$CACHE/tools
TOOL_LIBRARIES=$TOOLS/usr/lib/x86_64-linux-gnu:$TOOLS/lib/x86_64-linux-gnu

say() { echo "[guest ${SECONDS}s] $*" >&2; }
die() { echo "build.sh: $*" >&2; exit 1; }

# Package mirrors fail now and then; a build that takes minutes should not end for it.
retry() {
    for _ in 1 2 3 4 5 6; do
        "$@" && return
        say "again in 10 s: $*"
        sleep 10
    done
    return 1
}

# The address from which this machine gets a Debian release (bookworm, bookworm-security).
release_address() {
    # shellcheck disable=SC2016
    env -u APT_CONFIG apt-get indextargets --format '$(CODENAME) $(REPO_URI)' | awk -v c="$1" '$1 == c { print $2; exit }'
}

write_sources() { # FILE RELEASE...
    local file=$1 signed="[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    shift
    printf "deb $signed $MIRROR %s main\n" "$@" > "$file"
    [ -z "$SECURITY" ] || echo "deb $signed $SECURITY bookworm-security main" >> "$file"
}

# An apt with lists and archives of its own: it shares no lock with other users of apt, and it can read backports.
private_apt() {
    mkdir -p "$CACHE/apt/lists/partial" "$CACHE/apt/archives/partial"
    write_sources "$CACHE/apt/sources.list" bookworm bookworm-updates bookworm-backports
    cat > "$CACHE/apt/apt.conf" << END
Dir::Etc::SourceList "$CACHE/apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$CACHE/apt/lists";
Dir::Cache::Archives "$CACHE/apt/archives";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
APT::Sandbox::User "root";
Debug::NoLocking "1";
Acquire::Languages "none";
Acquire::Retries "3";
END
    export APT_CONFIG=$CACHE/apt/apt.conf
    if [ -z "$(find "$CACHE/apt/lists" -name '*Packages*' -mmin -1440 -print -quit)" ]; then
        retry apt-get -qq update
    fi
}

# unpack DIR RELEASE PACKAGE...: the packages, and what they need that this machine lacks, unpacked in DIR.
unpack() (
    dir=$1 release=$2
    shift 2
    private_apt
    mkdir -p "$dir/archives/partial"
    retry apt-get -qq -y -t "$release" -o Dir::Cache::Archives="$dir/archives" -o APT::Get::ReInstall=true \
        --download-only --no-install-recommends install "$@" > "$dir/apt.log" 2>&1
    for file in "$dir"/archives/*.deb; do dpkg -x "$file" "$dir"; done
    rm -rf "$dir/archives"
)

make_tools() {
    local need=""
    command -v mkfs.ext4 > /dev/null || need="$need e2fsprogs"
    command -v xz > /dev/null || need="$need xz-utils"
    command -v zstd > /dev/null || need="$need zstd"
    command -v perl > /dev/null || need="$need perl"
    if [ -n "$need" ]; then
        say "installing$need"
        # shellcheck disable=SC2086
        retry apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $need > "$CACHE/tools.log" 2>&1
    fi
    if ! "$CACHE/qemu/run" --version > /dev/null 2>&1; then # backports: its emulation is up to twice as fast as bookworm's
        say "qemu"
        rm -rf "$CACHE/qemu"
        mkdir -p "$CACHE/qemu"
        unpack "$CACHE/qemu" bookworm-backports qemu-system-x86
        cat > "$CACHE/qemu/run" << 'END'
#!/bin/sh
Q=$(dirname "$0"); export LD_LIBRARY_PATH=$Q/usr/lib/x86_64-linux-gnu:$Q/lib/x86_64-linux-gnu
exec "$Q/usr/bin/qemu-system-x86_64" -L "$Q/usr/share/qemu" -L "$Q/usr/share/seabios" -L "$Q/usr/lib/ipxe/qemu" "$@"
END
        chmod +x "$CACHE/qemu/run"
        "$CACHE/qemu/run" --version | head -1 >&2
    fi
    if [ ! -x "$TOOLS/usr/bin/mmdebstrap" ]; then
        say "tools"
        rm -rf "$TOOLS"
        mkdir -p "$TOOLS"
        unpack "$TOOLS" bookworm mmdebstrap kmod busybox-static
    fi
    ln -sf kmod "$TOOLS/bin/depmod"
    ln -sf kmod "$TOOLS/bin/modprobe"
    "$TOOLS/bin/busybox" true
}

# The ELF kernel inside a bzImage: its header gives the place and the size of the compressed payload
# (Documentation/arch/x86/boot.rst: setup_sects at 0x1f1, payload_offset at 0x248, payload_length at 0x24c).
extract_kernel() { # BZIMAGE VMLINUX
    local sectors offset length
    sectors=$(od -An -tu1 -j 497 -N 1 "$1")
    offset=$(od -An -tu4 -j 584 -N 4 "$1")
    length=$(od -An -tu4 -j 588 -N 4 "$1")
    payload() { # 4: the uncompressed size, appended
        dd if="$1" iflag=skip_bytes,count_bytes skip=$(((sectors + 1) * 512 + offset)) count=$((length - 4)) bs=1M status=none
    }
    case $(payload "$1" | od -An -tx1 -N 4 | tr -d ' ') in
    fd377a58) payload "$1" | xz -dc > "$2" ;;
    28b52ffd) payload "$1" | zstd -dcq > "$2" ;;
    *) die "$1: a compression this script does not know" ;;
    esac
    [ "$(od -An -tx1 -N 4 "$2" | tr -d ' ')" = 7f454c46 ] || die "$1: no ELF kernel inside"
}

# The modules a container host may need, uncompressed; drivers of real hardware and rare protocols are left out.
copy_modules() { # FROM TO
    local from=$1 to=$2 part
    mkdir -p "$to/kernel/drivers/net" "$to/kernel/drivers/char/hw_random"
    cp "$from"/modules.* "$to/"
    for part in arch block crypto fs lib mm net; do cp -a "$from/kernel/$part" "$to/kernel/"; done
    for part in wireless mac80211 bluetooth nfc can ax25 batman-adv tipc sctp rds smc ceph netrom rose mac802154 \
        ieee802154 6lowpan dccp hsr atm appletalk phonet lapb x25 openvswitch; do rm -rf "$to/kernel/net/$part"; done
    for part in ocfs2 gfs2 ceph smb cifs nfs nfsd reiserfs jfs hfs hfsplus ntfs ntfs3 ufs afs coda orangefs dlm f2fs \
        nilfs2 minix sysv qnx4 qnx6 affs befs bfs omfs efs hpfs adfs ecryptfs ksmbd bcachefs zonefs; do
        rm -rf "$to/kernel/fs/$part"
    done
    for part in block virtio md vhost net/vxlan net/ipvlan net/macvlan net/bonding net/geneve; do
        [ ! -d "$from/kernel/drivers/$part" ] || cp -a "$from/kernel/drivers/$part" "$to/kernel/drivers/${part%/*}/"
    done
    rm -rf "$to/kernel/drivers/block/"{drbd,mtip32xx,aoe,rbd*}
    cp "$from"/kernel/drivers/net/*.ko* "$to/kernel/drivers/net/"
    cp "$from"/kernel/drivers/char/virtio*.ko* "$to/kernel/drivers/char/" 2> /dev/null || true
    cp "$from"/kernel/drivers/char/hw_random/{virtio*,rng-core*} "$to/kernel/drivers/char/hw_random/" 2> /dev/null || true
    find "$to" -name '*.ko.xz' -print0 | xargs -0 -r -P2 -n 50 xz -d
}

make_kernel() {
    [ ! -e "$KERNEL_DIR/done" ] || return 0
    mkdir -p "$CACHE/debs"
    (
        private_apt
        cd "$CACHE/debs"
        package=$(apt-cache show linux-image-amd64 | awk -v k="$KERNEL." '/^Depends:/ && index($0, k) { print $2; exit }')
        package=${package%,}
        [ -n "$package" ] || die "no Debian kernel $KERNEL found"
        say "kernel $package"
        retry apt-get -qq download "$package"
        rm -rf "$KERNEL_DIR"
        mkdir -p "$KERNEL_DIR/unpacked"
        dpkg -x "$(find . -name "${package}_*.deb" | sort | tail -1)" "$KERNEL_DIR/unpacked/"
    )
    local release from=$KERNEL_DIR/unpacked
    release=$(ls "$from/lib/modules")
    echo "$release" > "$KERNEL_DIR/release"
    extract_kernel "$from/boot/vmlinuz-$release" "$KERNEL_DIR/vmlinux"
    cp "$from/boot/config-$release" "$KERNEL_DIR/config"
    copy_modules "$from/lib/modules/$release" "$KERNEL_DIR/modules/lib/modules/$release"
    LD_LIBRARY_PATH=$TOOL_LIBRARIES "$TOOLS/bin/depmod" -b "$KERNEL_DIR/modules" "$release" 2> /dev/null
    rm -rf "$from"
    touch "$KERNEL_DIR/done"
}

make_initramfs() {
    if [ "$INITRAMFS" -nt "$KERNEL_DIR/done" ] && [ "$INITRAMFS" -nt "$HERE/initramfs-init" ]; then return; fi
    local release tree module file
    release=$(cat "$KERNEL_DIR/release")
    tree=$(mktemp -d "$CACHE/initramfs.XXXXXX")
    mkdir -p "$tree"/{bin,m,proc,sys,dev,r}
    cp "$TOOLS/bin/busybox" "$tree/bin/busybox"
    ln -s busybox "$tree/bin/sh"
    install -m 755 "$HERE/initramfs-init" "$tree/init"
    mknod "$tree/dev/console" c 5 1
    mknod "$tree/dev/null" c 1 3
    for module in virtio_pci virtio_blk virtio_console virtio_rng 9pnet_virtio 9p ext4 crc32c_generic crc32c_intel; do
        LD_LIBRARY_PATH=$TOOL_LIBRARIES "$TOOLS/bin/modprobe" -S "$release" -d "$KERNEL_DIR/modules" --show-depends "$module"
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r file; do
        cp "$file" "$tree/m/"
        basename "$file" >> "$tree/modules.order"
    done
    (cd "$tree" && find . | "$TOOLS/bin/busybox" cpio -o -H newc 2> /dev/null) > "$INITRAMFS.new"
    rm -rf "$tree"
    mv "$INITRAMFS.new" "$INITRAMFS"
    say "initramfs $(du -h "$INITRAMFS" | cut -f1)"
}

make_rootfs() {
    [ "$(cat "$CACHE/rootfs.key" 2> /dev/null)" != "$PACKAGES" ] || return 0
    say "rootfs (mmdebstrap, about a minute)"
    rm -rf "$CACHE/rootfs"
    write_sources "$CACHE/root.list" bookworm bookworm-updates
    env -u APT_CONFIG PATH="$TOOLS/usr/bin:$PATH" unshare -m --propagation private "$TOOLS/usr/bin/mmdebstrap" --mode=root --variant=minbase \
        --components=main --include="${PACKAGES// /,}" --aptopt='Acquire::Retries "5"' \
        --aptopt='APT::Install-Recommends "false"' --dpkgopt='force-unsafe-io' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' bookworm "$CACHE/rootfs" "$CACHE/root.list" > "$CACHE/mmdebstrap.log" 2>&1 ||
        { tail -20 "$CACHE/mmdebstrap.log" >&2 && die "mmdebstrap failed"; }
    echo "$PACKAGES" > "$CACHE/rootfs.key"
}

make_disk() {
    local key modules=$CACHE/rootfs/usr/lib/modules
    key=$(cd "$HERE" && find root prepare-root -type f -print0 | sort -z | xargs -0 sha256sum |
        cat - "$CACHE/rootfs.key" "$KERNEL_DIR/release" | sha256sum | cut -c1-16)
    [ ! -e "$DISK" ] || [ "$(cat "$DISK.key" 2> /dev/null)" != "$key" ] || return 0
    say "disk"
    "$HERE/prepare-root" "$CACHE/rootfs"
    rm -rf "$modules"
    mkdir -p "$modules"
    cp -a "$KERNEL_DIR"/modules/lib/modules/* "$modules/"
    rm -f "$DISK.key" "$DISK.new"
    truncate -s 3G "$DISK.new"
    mkfs.ext4 -q -F -m 0 -O ^has_journal,^metadata_csum -E lazy_itable_init=1,root_owner=0:0 -d "$CACHE/rootfs" "$DISK.new"
    mv "$DISK.new" "$DISK"
    echo "$key" > "$DISK.key"
}

make_extra_disks() {
    local new
    if [ ! -e "$SCRATCH" ]; then
        new=$SCRATCH.new
        rm -f "$new" && truncate -s 1G "$new" && mkfs.ext4 -q -F -E lazy_itable_init=1 "$new" && mv "$new" "$SCRATCH"
    fi
    if [ ! -e "$SWAP" ]; then
        new=$SWAP.new
        rm -f "$new" && truncate -s 512M "$new" && mkswap "$new" > /dev/null 2>&1 && mv "$new" "$SWAP"
    fi
}

# Boot once, wait until the agent asks for a command, and save the machine: every later run starts there in a second or two.
make_machine() { # plain|systemd
    local dir key
    dir=$(machine_dir "$1")
    key=$(cat "$DISK.key" "$KERNEL_DIR/release" "$HERE/run.sh" <(cksum "$INITRAMFS") <("$CACHE/qemu/run" --version) \
        <(grep -m1 'model name' /proc/cpuinfo) | sha256sum | cut -c1-16)
    [ ! -e "$dir/state" ] || [ "$(cat "$dir/key" 2> /dev/null)" != "$key" ] || return 0
    say "machine: $1"
    rm -rf "$dir.new"
    mkdir -p "$dir.new"
    case $1 in
    plain) ln "$DISK" "$dir.new/disk.img" ;; # only read until the machine is saved
    systemd) cp --sparse=always "$DISK" "$dir.new/disk.img" ;;
    esac
    "$HERE/run.sh" "--$1" --save "$dir.new" || die "the $1 machine did not boot"
    echo "$key" > "$dir.new/key"
    rm -rf "$dir"
    mv "$dir.new" "$dir"
    say "machine $1 saved: $(du -sh "$dir" | cut -f1)"
}

[ "$(id -u)" = 0 ] || die "needs root (mmdebstrap, device nodes)"
[ "$(uname -m)" = x86_64 ] || die "the guest is built for x86_64 only"
mkdir -p "$CACHE"
exec 9> "$CACHE/lock"
flock 9
MIRROR=$(release_address bookworm)
SECURITY=$(release_address bookworm-security)
[ -n "$MIRROR" ] || die "apt has no Debian 12 source here; run apt-get update first"

# Two cores: unpacking packages and booting machines overlap.
make_tools
make_rootfs &
rootfs=$!
make_kernel
make_initramfs
make_extra_disks
wait "$rootfs"
make_disk
make_machine plain &
plain=$!
make_machine systemd
wait "$plain"
say "ready: $(du -sh "$CACHE" | cut -f1) in $CACHE"
