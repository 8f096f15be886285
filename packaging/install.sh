#!/bin/bash
# Installs what was built, or takes it away again.
#
#   packaging/install.sh             to PREFIX (default: /usr/local), below DESTDIR (default: none)
#   packaging/install.sh uninstall   every file that it installed there, and directories that are empty then
#
# BIN is where the programs were built (default: the release build of this checkout; of corten and the shim the newer
# one, where there is one against musl too). Configuration of engines is put into
# share/doc/corten/examples, word for word as the README has it; nothing in /etc is touched.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
prefix=${PREFIX:-/usr/local}
root=${DESTDIR:-}$prefix
list=$root/share/corten/installed

if [ "${1:-}" = uninstall ]; then
  [ -f "$list" ] || { echo "install.sh: nothing is installed in $root" >&2; exit 1; }
  while read -r name; do
    rm -f "$root/$name"
    # Upwards as far as nothing else is there.
    (cd "$root" && rmdir -p --ignore-fail-on-non-empty "$(dirname "$name")" 2> /dev/null) || true
  done < <(cat "$list"; echo share/corten/installed)
  exit 0
fi
[ $# = 0 ] || { echo "usage: install.sh [uninstall]" >&2; exit 1; }

target() {
  local directory
  directory=$(cd "$here" && cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
  echo "$directory/$(rustc -vV | sed -n 's/^host: //p')/release"
}
bin=${BIN:-$(target)}
newer() { # NAME
  local musl=${bin/-gnu\/release/-musl\/release}/$1
  if [ -z "${BIN:-}" ] && [ "$musl" -nt "$bin/$1" ]; then echo "$musl"; else echo "$bin/$1"; fi
}
corten=$(newer corten)
programs=("$corten" "$(newer containerd-shim-corten-v2)" "$bin/cortend")
for program in "${programs[@]}"; do
  [ -x "$program" ] || { echo "install.sh: there is no $program: cargo build --release" >&2; exit 1; }
done

installed=()
put() { # MODE FILE NAME
  install -D -m "$1" "$2" "$root/$3"
  installed+=("$3")
}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

for program in "${programs[@]}"; do
  put 755 "$program" "bin/$(basename "$program")"
done
for profile in default strict nested; do
  put 644 "$here/seccomp-profiles/profiles/$profile.json" "share/corten/seccomp/$profile.json"
done

mkdir "$scratch/man"
"$corten" help --man "$scratch/man"
for page in "$scratch"/man/*.8; do
  gzip -9n "$page"
  put 644 "$page.gz" "share/man/man8/$(basename "$page").gz"
done
for shell in bash zsh fish; do "$corten" completion "$shell" > "$scratch/$shell"; done
put 644 "$scratch/bash" share/bash-completion/completions/corten
put 644 "$scratch/fish" share/fish/vendor_completions.d/corten.fish
put 644 "$scratch/zsh" share/zsh/vendor-completions/_corten

# The configuration of engines, from the README: the block of a language that has a word.
example() { # NAME LANGUAGE WORD
  awk -v fence="\`\`\`$2" -v word="$3" -v prefix="$prefix" '
    $0 == fence { inside = 1; text = ""; next }
    inside && $0 == "```" { inside = 0; if (index(text, word) && !done) { printf "%s", text; done = 1 } next }
    inside { gsub("/usr/local/bin/", prefix "/bin/"); text = text $0 "\n" }
    END { if (!done) exit 1 }
  ' "$here/README.md" > "$scratch/example" || { echo "install.sh: the README has no $1" >&2; exit 1; }
  put 644 "$scratch/example" "share/doc/corten/examples/$1"
}
example containerd.toml toml io.containerd.corten.v2
example runtimeclass.yaml yaml 'kind: RuntimeClass'
example docker-daemon.json json '"path"'
example docker-daemon-with-shim.json json '"runtimeType"'
example containers.conf toml runtime_supports_json
example crio.conf toml crio.runtime
sed "s#@PREFIX@#$prefix#g" "$here/packaging/cortend.service" > "$scratch/unit"
put 644 "$scratch/unit" lib/systemd/system/cortend.service
for document in README.md ARCHITECTURE.md SECURITY.md CONTRIBUTING.md CHANGELOG.md; do
  put 644 "$here/$document" "share/doc/corten/$document"
done
put 644 "$here/LICENSE" share/doc/corten/copyright
mkdir -p "$(dirname "$list")"
printf '%s\n' "${installed[@]}" > "$list"
echo "installed ${#installed[@]} files in $root"
