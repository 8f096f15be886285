#!/bin/sh
# Fetches the sources of Docker Compose 2.40.3 and of the docker command line 28.5.2 from Go's proxy, and compiles both, their
# end-to-end tests, and what Compose builds with: buildx, and BuildKit, which it runs in a container; into a folder outside of
# the repository. Needs Go 1.25 or later, 6 GB of space, and many minutes. What is there already is not fetched again.
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
fetch compose github.com/docker/compose/v2 v2.40.3 911d6acb0356c42d50e69023da4d3f4cbc96a446d58185233da573060d7d3a79
fetch cli github.com/docker/cli v28.5.2+incompatible ae8f0f3ffa308bcee47cc2cb85e087ff082ba0a6c4a5cb379bfdcaa18d62d411
fetch buildkit github.com/moby/buildkit v0.25.1 85b1a723ed8f1a80694417807555c66094094b38fa90331238d6b41f76aeb144
fetch buildx github.com/docker/buildx v0.29.1 3caf33e613eae171720c5fe9d0c80d28d3d8470ee277aeb7e78dde0815084be1
# What it is built from is pinned by files that go does not know by these names.
mv cli/vendor.mod cli/go.mod
mv cli/vendor.sum cli/go.sum

export CGO_ENABLED=0 GOFLAGS='-mod=mod -ldflags=-s' GOTOOLCHAIN=local
(
  cd compose
  # Its tests look for these there.
  go build -o bin/build/docker-compose ./cmd
  go build -o bin/build/example-provider docs/examples/provider.go
  go test -c -o "$folder/bin/compose.test" ./pkg/e2e
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
(cd buildx && go build -ldflags '-s -X github.com/docker/buildx/version.Version=v0.29.1' -o "$folder/bin/docker-buildx" ./cmd/buildx)
touch complete
