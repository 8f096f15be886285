#!/bin/sh
# Fetches the sources of Docker Compose 5.6.0 and of the docker command line 29.9.2 from Go's proxy, and compiles both, their
# end-to-end tests, and what Compose builds with: buildx, and BuildKit, which it runs in a container; into a folder outside of
# the repository. Needs Go 1.26.8 or later, 6 GB of space, and many minutes. What is there already is not fetched again.
#
#   fetch-compose.sh [FOLDER]        default: compose in $CORTEN_CLIENTS or /var/cache/corten-clients
set -eu
folder=${1:-${CORTEN_CLIENTS:-/var/cache/corten-clients}/compose}
[ ! -e "$folder/complete" ] || exit 0
rm -rf "$folder"
mkdir -p "$folder/bin"
cd "$folder"

# The proxy that Go is told to ask first.
proxy=$(go env GOPROXY | cut -d , -f 1)

# NAME MODULE VERSION SUM: its source as the folder NAME.
fetch() {
  curl -fsSL -o source.zip "$proxy/$2/@v/$3.zip"
  echo "$4  source.zip" | sha256sum -c --quiet
  python3 -m zipfile -e source.zip modules
  mv "modules/$2@$3" "$1"
  rm -rf source.zip modules "$1/vendor"
}
fetch compose github.com/docker/compose/v5 v5.6.0 83c3fd9c5aa785ad8ed9eaccd88b1bb1c6e780e7439aed41da66c740493dc0c6
fetch cli github.com/docker/cli v29.9.2+incompatible bd61fa6bc53e769db040ea90156f1f110e44eea50163b44290b4d8f19d07699b
fetch buildkit github.com/moby/buildkit v0.34.2 d491e17052d6e45779fda89eeab5d41f157da373e963931f010dac650c7ebdfc
fetch buildx github.com/docker/buildx v0.38.2 2416b9c464a06871ca37bb1499de012ee6f4e04e9233dbadb0ee71fef812d2ec
# What it is built from is pinned by files that go does not know by these names.
mv cli/vendor.mod cli/go.mod
mv cli/vendor.sum cli/go.sum

export CGO_ENABLED=0 GOFLAGS='-mod=mod -ldflags=-s' GOTOOLCHAIN=local
(
  cd compose
  # Its tests look for these there.
  go build -o bin/build/docker-compose ./cmd
  go build -o bin/build/example-provider docs/examples/provider.go
  go test -c -tags e2e -o "$folder/bin/compose.test" ./pkg/e2e
)
(
  cd cli
  go build -o "$folder/bin/docker" ./cmd/docker
  for package in container image registry system; do
    go test -c -o "$folder/bin/$package.test" "./e2e/$package"
  done
)
(cd buildkit && go build -o "$folder/bin" ./cmd/buildkitd ./cmd/buildctl)
# Compose asks it for its version.
(cd buildx && go build -ldflags '-s -X github.com/docker/buildx/version.Version=v0.38.2' -o "$folder/bin/docker-buildx" ./cmd/buildx)
touch complete
