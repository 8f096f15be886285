// Not Go code of ours: the module proxy is where podman's system tests come from, in a pinned version (that of Debian 12's podman).
module corten.invalid/conformance/podman-tests

go 1.24

require github.com/containers/podman/v4 v4.3.1
