#!/bin/sh
# Build helm and kubeconform, which check the chart, and print the folder that they are in.
#
# They are built once for each version, into the user's cache folder. Without Go nothing is built: that is said, and is
# no fault; the tests that need them are then skipped.
set -eu
helm=v3.22.0
kubeconform=v0.7.0
folder=${XDG_CACHE_HOME:-$HOME/.cache}/queuemedic-lab/helm-$helm-kubeconform-$kubeconform

if [ ! -x "$folder/helm" ] || [ ! -x "$folder/kubeconform" ]; then
    go=$(command -v go || command -v /usr/local/go/bin/go) || {
        echo "helm, kubeconform: SKIPPED: Go is not installed, so the chart is not checked" >&2
        exit 0
    }
    began=$(date +%s)
    # CGO is not needed, and its compiler may be missing.
    export CGO_ENABLED=0 GOWORK=off GOFLAGS=-trimpath GOBIN="$folder.$$"
    "$go" install "helm.sh/helm/v3/cmd/helm@$helm" 2>/dev/null || "$go" install "helm.sh/helm/v3/cmd/helm@$helm"
    "$go" install "github.com/yannh/kubeconform/cmd/kubeconform@$kubeconform" 2>/dev/null
    mkdir -p "$folder"
    mv "$GOBIN/helm" "$GOBIN/kubeconform" "$folder"
    rmdir "$GOBIN"
    echo "helm, kubeconform: built in $(($(date +%s) - began)) s" >&2
fi
echo "$folder"
