module corten.invalid/conformance/cri-tools

go 1.24.1

require sigs.k8s.io/cri-tools v1.34.0 // indirect

tool sigs.k8s.io/cri-tools/cmd/critest
