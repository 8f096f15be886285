#!/bin/sh
# Fetches the source of Docker 29 from Go's proxy, and compiles its integration tests and the program of its image
# hello-world; into a folder outside of the repository. Needs Go 1.26.3 or later, 4 GB of space, and minutes. What is there
# already is not fetched again.
#
#   fetch-moby.sh [FOLDER]        default: moby in $CORTEN_CLIENTS or /var/cache/corten-clients
set -eu
moby=${1:-${CORTEN_CLIENTS:-/var/cache/corten-clients}/moby}
[ ! -e "$moby/bin/integration-cli.test" ] || [ ! -e "$moby/complete" ] || exit 0
module=github.com/moby/moby/v2
version=v2.0.0-beta.24
sum=650b1bcd5467df06826054cb7a1dadd060899127cf6397eeae60ec8335727410

rm -rf "$moby"
mkdir -p "$moby/bin"
cd "$moby"
# From the proxy that Go is told to ask first.
curl -fsSL -o source.zip "$(go env GOPROXY | cut -d , -f 1)/$module/@v/$version.zip"
echo "$sum  source.zip" | sha256sum -c --quiet
python3 -m zipfile -e source.zip .
mv "$module@$version" source
rm -rf source.zip github.com source/vendor
cd source
# Python's unzip forgets that.
chmod +x integration-cli/fixtures/auth/*
export CGO_ENABLED=0 GOFLAGS=-mod=mod GOTOOLCHAIN=local
for package in build container image network networking session system volume; do
  go test -c -o "$moby/bin/$package.test" "./integration/$package"
done
go test -c -o "$moby/bin/integration-cli.test" ./integration-cli

# The images hello-world of two architectures have one each of these.
mkdir "$moby/hello"
cat > "$moby/hello/hello.go" << 'END'
package main

import "fmt"

func main() {
	fmt.Println("\nHello from Docker!\nThis message shows that your installation appears to be working correctly.")
}
END
for architecture in amd64 arm64; do
  GOFLAGS= GOARCH=$architecture go build -trimpath -ldflags '-s -w' -o "$moby/hello/$architecture" "$moby/hello/hello.go"
done
touch "$moby/complete"
